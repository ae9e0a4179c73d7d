//! What Vidimus issues: the credential of each hop, and, for use without a cluster, local tokens and SVIDs.

pub(crate) mod ca;
pub(crate) mod files;
pub(crate) mod key;
pub(crate) mod keys;
pub(crate) mod local;
pub(crate) mod mint;
pub(crate) mod replica_keys;
