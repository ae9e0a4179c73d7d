//! Policies that are in force whatever objects are loaded. Their ids are below `vidimus/`, where no object's can be.

use std::sync::{Arc, LazyLock};

use crate::decide::statement::{Reach, Statement};
use crate::resource::policy::{Members, RESERVED_NAMESPACE, Scope};

/// The id of the forbid behind `spec.quarantined`.
pub const QUARANTINE_ID: &str = "vidimus/quarantine";

/// The id of the forbid that is in force while it is not known what was forbidden before.
pub const CLOSED_ID: &str = "vidimus/closed";

/// A built-in policy, compiled once.
pub(super) struct BuiltIn(LazyLock<Result<Arc<Statement>, String>>);

pub(super) static QUARANTINE: BuiltIn = BuiltIn(LazyLock::new(|| {
    let text = r#"
        @reason("the caller is quarantined")
        forbid (principal, action in [Action::"mcp", Action::"a2a", Action::"llm", Action::"listModels"], resource)
        when { principal.quarantined };
    "#;
    compile(QUARANTINE_ID, text)
}));

pub(super) static CLOSED: BuiltIn = BuiltIn(LazyLock::new(|| {
    let text = r#"
        @reason("something that is configured cannot be read, and what was forbidden before is not known")
        forbid (principal, action, resource);
    "#;
    compile(CLOSED_ID, text)
}));

impl BuiltIn {
    /// The policy. An error is a fault of this crate.
    pub(super) fn compiled(&self) -> Result<Arc<Statement>, String> {
        self.0.clone()
    }
}

pub(super) fn compile(id: &str, text: &str) -> Result<Arc<Statement>, String> {
    let policy = cedar_policy::Policy::parse(None, text).map_err(|error| error.to_string())?;
    let reach = Reach { scope: Scope::Cluster, namespace: RESERVED_NAMESPACE, members: &Members::default() };
    let compiled = Statement::compile(&policy, id.into(), reach);
    compiled.map(Arc::new).map_err(|error| error.to_string())
}
