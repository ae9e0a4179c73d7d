//! Policies that are in force whatever objects are loaded. Their ids are below `vidimus/`, where no object's can be.

use std::sync::{Arc, LazyLock};

use crate::decide::statement::{Reach, Statement};
use crate::refusal::Code;
use crate::resource::policy::{Members, RESERVED_NAMESPACE, Scope};

/// The id of the forbid behind `spec.quarantined`.
pub const QUARANTINE_ID: &str = "vidimus/quarantine";

/// The id of the forbid that is in force while it is not known what was forbidden before.
pub const CLOSED_ID: &str = "vidimus/closed";

/// The id of the forbid that keeps agents of the authority class `advise` to tools that only read.
pub const ADVISE_ID: &str = "vidimus/advise";

/// The id of the forbid that holds what agents of the authority class `act-with-approval` do.
pub const ACT_WITH_APPROVAL_ID: &str = "vidimus/act-with-approval";

/// Who approves what the built-in policy of `act-with-approval` holds.
pub const CLASS_APPROVERS: &str = "approvers";

/// The id of the permit by which a first administrator exists, until a policy permits people something.
pub const FIRST_ADMINISTRATOR_ID: &str = "vidimus/first-administrator";

/// What to do about a refusal by these policies, where more is known than its code says: a quarantine has no owner to ask.
pub(crate) fn next_of(code: Code, policies: &[Arc<str>]) -> Option<&'static str> {
    let is_quarantine = |policy: &Arc<str>| policy.split('#').next() == Some(QUARANTINE_ID);
    (code == Code::ForbiddenByPolicy && policies.iter().any(is_quarantine)).then_some(
        "It is in quarantine, by an act of people or by its own record: who operates Vidimus sees by whom and why (`vidimus quarantine list`), and lifts it.",
    )
}

/// A built-in policy, compiled once.
pub(super) struct BuiltIn(LazyLock<Result<Arc<Statement>, String>>);

pub(super) static QUARANTINE: BuiltIn = BuiltIn(LazyLock::new(|| {
    let text = r#"
        @reason("the caller, or the agent that it calls, is quarantined")
        forbid (principal, action in [Action::"mcp", Action::"a2a", Action::"llm", Action::"listModels"], resource)
        when { principal.quarantined || (resource is Agent && resource.quarantined) || (resource is Skill && resource.quarantined) };
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

/// Those of the authority classes, which a policy may take the place of (`spec.replaces`). They are about agents whose record says its
/// class. `act` and `self-modify` call what policies permit.
pub(super) static CLASSES: [(&str, &BuiltIn); 2] =
    [(ADVISE_ID, &ADVISE), (ACT_WITH_APPROVAL_ID, &ACT_WITH_APPROVAL)];

static ADVISE: BuiltIn = BuiltIn(LazyLock::new(|| {
    let text = r#"
        @reason("the authority class of the caller is advise: it may call only tools that the server's record marks readOnly")
        forbid (principal is Agent, action == Action::"invokeTool", resource)
        when { principal.authority_class == "advise" && principal.authority_stated && !resource.read_only };
    "#;
    compile(ADVISE_ID, text)
}));

static ACT_WITH_APPROVAL: BuiltIn = BuiltIn(LazyLock::new(|| {
    let text = r#"
        @approval("approvers")
        @reason("the authority class of the caller is act-with-approval, and the server's record does not mark the tool readOnly")
        forbid (principal is Agent, action == Action::"invokeTool", resource)
        when { principal.authority_class == "act-with-approval" && principal.authority_stated && !resource.read_only }
        unless { context has approval };
    "#;
    compile(ACT_WITH_APPROVAL_ID, text)
}));

pub(super) static FIRST_ADMINISTRATOR: BuiltIn = BuiltIn(LazyLock::new(|| {
    let text = r#"
        permit (principal == User::"urn:vidimus:local#admin", action in [Action::"operate", Action::"read", Action::"export", Action::"shred", Action::"evaluate"], resource);
    "#;
    compile(FIRST_ADMINISTRATOR_ID, text)
}));

impl BuiltIn {
    /// The policy. An error is a fault of this crate.
    pub(super) fn compiled(&self) -> Result<Arc<Statement>, String> {
        self.0.clone()
    }
}

pub(super) fn compile(id: &str, text: &str) -> Result<Arc<Statement>, String> {
    let policy = cedar_policy::Policy::parse(None, text).map_err(|error| error.to_string())?;
    let reach = Reach {
        scope: Scope::Cluster,
        namespace: RESERVED_NAMESPACE,
        members: &Members::default(),
        window: None,
        plan: None,
        limits: &[],
        guards: &[],
    };
    let compiled = Statement::compile(&policy, id.into(), reach);
    compiled.map(Arc::new).map_err(|error| error.to_string())
}
