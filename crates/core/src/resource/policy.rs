//! `Policy`.

use std::sync::Arc;

use super::*;

/// How far a policy reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// It governs resources of its own namespace only.
    #[default]
    Namespace,
    /// It governs everything, and says so.
    Cluster,
}

/// A policy object: Cedar text not yet compiled. [`crate::snapshot::Snapshot::build`] compiles it.
#[derive(Clone, Debug)]
pub struct Policy {
    pub meta: Meta,
    pub description: Arc<str>,
    pub scope: Scope,
    /// One or more Cedar policies. The id of the only one is `namespace/name`; of several `namespace/name#N` (from 0) or `namespace/name#<@id>`.
    pub cedar: Arc<str>,
}
