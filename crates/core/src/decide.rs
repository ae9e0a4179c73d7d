//! How a call is decided: an index finds the policies that can matter on its edge, partial evaluation decides what does not
//! depend on the context, and what is left is evaluated per call. Each step is held to plain Cedar by a property test.

pub(crate) mod annotation;
pub(crate) mod annotation_names;
pub mod chain_reads;
pub(crate) mod changes;
pub(crate) mod deciding;
pub(crate) mod edge;
pub mod edges;
pub(crate) mod entities;
pub(crate) mod facts;
mod guarding;
pub(crate) mod index;
pub(crate) mod keeping;
mod kept_back;
pub(crate) mod limiting;
pub(crate) mod membership;
pub(crate) mod outlook;
pub(crate) mod pace;
pub(crate) mod people;
pub(crate) mod plain;
pub(crate) mod reads;
pub(crate) mod residual;
pub(crate) mod review;
pub mod schema;
pub(crate) mod statement;
pub(crate) mod survey;
pub(crate) mod tree;
pub(crate) mod trust;
pub(crate) mod view;
pub(crate) mod ways;

use std::sync::Arc;

use self::deciding::{Deciding, Step};
use self::edge::Edge;
use self::edges::Edges;
use self::entities::EntityFault;
use self::index::Index;
use self::review::Review;
use self::statement::Statement;
use self::survey::{Survey, Table};
use self::ways::Way;
use crate::call::Call;
use crate::decision::Finding;
use crate::obligation::KeptBack;
use crate::reach::Access;
use crate::resource::{McpServer, Principal};
use crate::review::Flaw;
use crate::snapshot::registered::Registered;

/// All policies, ready to decide.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    index: Arc<Index>,
    edges: Edges,
}

impl Policies {
    /// The policies without those that are `gone`, and with those that are `new`: together they are `all`. What is filed of the others
    /// is shared.
    pub(crate) fn with(
        &self,
        gone: &[Arc<Statement>],
        new: &[Arc<Statement>],
        all: impl FnOnce() -> Vec<Arc<Statement>>,
    ) -> Self {
        if gone.is_empty() && new.is_empty() {
            return self.again();
        }
        Self { index: Arc::new(self.index.with(gone, new, all)), edges: Edges::default() }
    }

    /// The same policies; nothing is decided yet.
    pub(crate) fn again(&self) -> Self {
        Self { index: self.index.clone(), edges: Edges::default() }
    }

    pub(crate) fn decide(&self, registered: &Registered, call: &Call<'_>) -> Finding {
        self.edge(registered, call).decide(&Deciding::of(*call, &Step::new()))
    }

    pub(crate) fn could_go_on(&self, registered: &Registered, call: &Call<'_>) -> bool {
        self.edge(registered, call).could_go_on(&Deciding::of(*call, &Step::new()))
    }

    pub(crate) fn could_allow(&self, registered: &Registered, call: &Call<'_>) -> bool {
        self.edge(registered, call).could_allow(&Deciding::of(*call, &Step::new()))
    }

    pub(crate) fn possible_allowance(&self, registered: &Registered, call: &Call<'_>) -> Option<Finding> {
        self.edge(registered, call).possible_allowance(&Deciding::of(*call, &Step::new()))
    }

    /// How they stand to each pair of a principal and an access, whatever the context.
    pub(crate) fn survey<'a>(
        &'a self,
        registered: &'a Registered,
        principals: &'a [Principal],
        accesses: &'a [Access<'a>],
    ) -> Result<Table, EntityFault> {
        Survey::new(&self.index, registered, principals, accesses)?.table()
    }

    /// See [`kept_back::kept_back`].
    pub(crate) fn kept_back(
        &self,
        registered: &Registered,
        principal: &Principal,
        server: &Arc<McpServer>,
    ) -> Result<KeptBack, EntityFault> {
        kept_back::kept_back(&self.index, registered, principal, server)
    }

    /// What is found of some of them.
    pub(crate) fn flaws(
        &self,
        registered: &Registered,
        (principals, accesses): (&[Principal], &[Access<'_>]),
        statements: &[&Arc<Statement>],
    ) -> Result<Vec<Vec<Flaw>>, EntityFault> {
        Review::new(&self.index, registered, principals, accesses)?.flaws(statements)
    }

    /// By which changes they might come to allow a call, or to allow it no longer.
    pub(crate) fn ways(
        &self,
        registered: &Registered,
        call: &Call<'_>,
        allow: bool,
    ) -> Result<Vec<Way>, EntityFault> {
        ways::proposed(&self.index, registered, call, allow)
    }

    pub(crate) fn forget_edges(&self) {
        self.edges.forget();
    }

    pub(crate) fn edges(&self) -> usize {
        self.edges.len()
    }

    fn edge(&self, registered: &Registered, call: &Call<'_>) -> Arc<Edge> {
        self.edges.of(call, || Edge::compile(&self.index, registered, call))
    }
}
