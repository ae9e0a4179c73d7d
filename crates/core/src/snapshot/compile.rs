//! From the text of a `Policy` object to statements.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{EntityUid, PolicySet, ValidationError, ValidationResult, ValidationWarning};
use miette::Diagnostic;

use super::bounds::Cost;
use super::depth::{self, TooDeep};
use super::names;
use crate::authorize::{self, Named};
use crate::decide::annotation::Misannotated;
use crate::decide::annotation_names;
use crate::decide::membership::Unclear;
use crate::decide::schema;
use crate::decide::statement::{NotCompiled, Reach, Statement};
use crate::resource::policy::Mode;
use crate::resource::{Limit, Policy, nearest};

/// Maximum length of the text of one `Policy` object in bytes. Etcd's limit for an object is 1.5 MB; a policy that a person has read is shorter.
pub const MAX_CEDAR: usize = 65_536;

/// Maximum length of an `@id` in bytes.
const MAX_ID: usize = 128;

/// Why a `Policy` object is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{place}: {message}")]
    Syntax { place: Place, message: String, help: Option<String> },
    #[error("spec.cedar holds no policy")]
    Empty,
    #[error("spec.cedar is {length} bytes long, more than {MAX_CEDAR}")]
    TooLong { length: usize },
    #[error("{place}: {what}")]
    TooDeep { place: Place, what: TooDeep },
    #[error("policy {number} is a template: it has a slot (?principal or ?resource)")]
    Template { number: usize },
    #[error("two policies of this object have the id '{id}'")]
    DuplicateId { id: Arc<str> },
    #[error(
        "@id(\"{id}\") is not an id of 1 to {MAX_ID} characters without white space and control characters"
    )]
    BadId { id: String },
    #[error("{place}: {message}")]
    Invalid { place: Place, message: String, help: Option<String> },
    #[error(transparent)]
    Unclear(Unclear),
    #[error(transparent)]
    Misannotated(Misannotated),
    #[error("{message}")]
    Registers { message: String },
    #[error("{message}")]
    Windowed { message: String },
    #[error("{message}")]
    Planned { message: String },
    #[error("{id} forbids, and what is rolled out only lets pass until a date")]
    RolledOut { id: Arc<str> },
    #[error("{message}")]
    Fault { message: String },
}

/// Where in `spec.cedar`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// 1-based; columns count characters.
    line: usize,
    column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {} of spec.cedar", self.line, self.column)
    }
}

impl Place {
    fn of(diagnostic: &dyn Diagnostic, text: &str) -> Self {
        let label = diagnostic.labels().and_then(|mut labels| labels.next());
        Self::at(label.map_or(0, |label| label.offset()), text)
    }

    /// The place of a byte offset.
    fn at(offset: usize, text: &str) -> Self {
        let offset = offset.min(text.len());
        let before = text.get(..text.floor_char_boundary(offset)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

impl Problem {
    /// The same with another word on what to write, where there is one.
    fn helped(self, with: Option<String>) -> Self {
        match self {
            Self::Invalid { place, message, help } => Self::Invalid { place, message, help: with.or(help) },
            other => other,
        }
    }

    /// What to write instead.
    pub(crate) fn fix(&self) -> String {
        match self {
            Self::Syntax { help: Some(help), .. } | Self::Invalid { help: Some(help), .. } => help.clone(),
            Self::Syntax { .. } => {
                "write Cedar policies: permit (principal, action, resource) when { … };".to_owned()
            }
            Self::Invalid { .. } => "use the types and attributes of the policy schema".to_owned(),
            Self::Empty => "write at least one permit or forbid, or delete the object".to_owned(),
            Self::TooLong { .. } => "split it into several Policy objects".to_owned(),
            Self::TooDeep { .. } => {
                "split it into several policies, or use a set: [\"a\", \"b\"].contains(…)".to_owned()
            }
            Self::Template { .. } => "name the principal or resource, or a group of them".to_owned(),
            Self::DuplicateId { .. } => "give each policy of the object its own @id".to_owned(),
            Self::BadId { .. } => "write @id(\"a-short-name\")".to_owned(),
            Self::Unclear(Unclear { of, name }) => {
                format!("write the name with its namespace: {of}::\"namespace/{name}\"")
            }
            Self::Misannotated(what) => what.fix().to_owned(),
            Self::Windowed { .. } => {
                "put it into a policy without a window; for what people do, from and until may stay".to_owned()
            }
            Self::Planned { .. } => {
                "write permit (principal, action == Action::\"invokeTool\", resource), and put the others into a policy without a plan".to_owned()
            }
            Self::Registers { .. } => {
                "put action == Action::\"register\" (or registerObject) into a policy of its own, in an object with scope: Cluster and without a window".to_owned()
            }
            Self::RolledOut { .. } => "put the forbid into a policy without mode: rollout; it refuses from now on".to_owned(),
            Self::Fault { .. } => "report this as a fault of Vidimus, with the policy".to_owned(),
        }
    }

    /// The part of the text that is wrong, where it is known by itself.
    pub(crate) fn value(&self, cedar: &str) -> String {
        match self {
            Self::Syntax { place, .. } | Self::Invalid { place, .. } | Self::TooDeep { place, .. } => {
                cedar.lines().nth(place.line - 1).unwrap_or_default().trim().to_owned()
            }
            Self::DuplicateId { id } => id.to_string(),
            Self::BadId { id } => id.clone(),
            Self::Unclear(Unclear { of, name }) => format!("{of}::\"{name}\""),
            Self::Misannotated(what) => what.value().to_owned(),
            Self::Empty
            | Self::TooLong { .. }
            | Self::Template { .. }
            | Self::Registers { .. }
            | Self::Windowed { .. }
            | Self::Planned { .. }
            | Self::RolledOut { .. }
            | Self::Fault { .. } => cedar.trim().to_owned(),
        }
    }
}

impl From<NotCompiled> for Problem {
    fn from(why: NotCompiled) -> Self {
        match why {
            NotCompiled::Windowed => Self::Windowed { message: why.to_string() },
            NotCompiled::Planned => Self::Planned { message: why.to_string() },
            NotCompiled::Registers => Self::Registers { message: why.to_string() },
            NotCompiled::Fault(_) => Self::Fault { message: why.to_string() },
            NotCompiled::Unclear(unclear) => Self::Unclear(unclear),
            NotCompiled::Misannotated(what) => Self::Misannotated(what),
        }
    }
}

/// What the text of a policy object says.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) statements: Box<[Arc<Statement>]>,
    /// The parts of servers and agents that it names one by one.
    pub(crate) named: Named,
    /// The names that are looked up for it.
    pub(super) mentions: Box<[u64]>,
    /// What its author should look at although it is accepted: first what the type check says, so many.
    pub(crate) remarks: Vec<String>,
    type_remarks: usize,
    pub(super) cost: Arc<Cost>,
}

impl Compiled {
    /// Whether any of it refuses.
    pub(crate) fn has_forbids(&self) -> bool {
        self.statements.iter().any(|statement| statement.refuses())
    }

    /// What the type check has said of it.
    pub(crate) fn type_remarks(&self) -> &[String] {
        self.remarks.get(..self.type_remarks).unwrap_or_default()
    }
}

/// Parses, type-checks and compiles a policy object. It is accepted whole or not at all. Where the type check was made before, by this very program
/// ([`super::checks`]), `checked` is what that said.
pub(crate) fn compile(policy: &Policy, checked: Option<&[String]>) -> Result<Compiled, Problem> {
    let text: &str = &policy.cedar;
    if text.len() > MAX_CEDAR {
        return Err(Problem::TooLong { length: text.len() });
    }
    depth::check(text).map_err(|what| Problem::TooDeep { place: Place::at(what.at(), text), what })?;
    let set = PolicySet::from_str(text).map_err(|errors| {
        let help = errors.help().map(|help| help.to_string());
        Problem::Syntax { place: Place::of(&errors, text), message: errors.to_string(), help }
    })?;
    if let Some(template) = set.templates().next() {
        return Err(Problem::Template { number: number(template.id()) });
    }
    let mut parsed: Vec<&cedar_policy::Policy> = set.policies().collect();
    parsed.sort_by_key(|one| number(one.id()));
    if parsed.is_empty() {
        return Err(Problem::Empty);
    }
    let mut remarks = checked.map_or_else(|| check(&set, text), |said| Ok(said.to_vec()))?;
    let type_remarks = remarks.len();
    let key = policy.meta.key();
    let reach = Reach {
        scope: policy.scope,
        namespace: &policy.meta.namespace,
        members: &policy.members,
        window: policy.window.as_deref(),
        plan: policy.plan.as_ref(),
        limits: &policy.limits,
        guards: &policy.guards,
    };
    let mut ids = HashSet::new();
    let mut statements = Vec::new();
    for (place, one) in parsed.iter().enumerate() {
        let id = id(&key, one, place, parsed.len())?;
        if !ids.insert(id.clone()) {
            return Err(Problem::DuplicateId { id });
        }
        let observes = policy.mode == Mode::Observe;
        let mut statement = Statement::compile(one, id, reach)?;
        statement.observes = observes;
        statement.lets_pass = policy.mode == Mode::Rollout;
        if statement.lets_pass {
            remarks.push(rolled_out(policy, &statement)?);
        }
        if one.annotations().next().is_some() {
            let pst = one.to_pst().map_err(|error| Problem::Fault { message: error.to_string() })?;
            remarks.extend(annotation_names::remarks(one, pst.body(), &statement.id));
        }
        remarks.extend(without_effect(policy, one, &statement));
        statements.push(Arc::new(statement));
    }
    remarks.extend(uncounted(policy, &statements));
    remarks.extend(unnamed(policy, &parsed));
    Ok(Compiled {
        named: authorize::named(statements.iter()),
        mentions: names::mentions(&statements),
        cost: Arc::new(Cost::of(text, &statements)),
        statements: statements.into(),
        remarks,
        type_remarks,
    })
}

/// Whether two policies of one name compile to the same. A field that is added is one of those that are compared, or says here why it is not.
pub(super) fn is_alike(one: &Policy, other: &Policy) -> bool {
    let Policy {
        meta: _,
        description: _,
        replaces: _,
        scope,
        mode,
        members,
        window,
        plan,
        limits,
        guards,
        cedar,
    } = one;
    *cedar == other.cedar
        && *scope == other.scope
        && *mode == other.mode
        && *members == other.members
        && *window == other.window
        && *plan == other.plan
        && *limits == other.limits
        && *guards == other.guards
}

/// What is said of that in a statement which does not do what it seems to.
fn without_effect(policy: &Policy, one: &cedar_policy::Policy, statement: &Statement) -> Vec<String> {
    let (id, mut remarks) = (&statement.id, Vec::new());
    let forbids = statement.effect == cedar_policy::Effect::Forbid;
    if statement.asks.is_some() && !statement.looks_at_approval {
        remarks.push(format!("{id} asks for an approval and does not look at context.approval, so no approval lets a call pass; add unless {{ context has approval && context.approval.role == \"…\" }}"));
    }
    if policy.window.is_some() && forbids {
        remarks.push(format!("{id}: spec.window is about what is permitted, and this is forbidden at all times; say in a condition when it is, as in context.now"));
    }
    if policy.plan.is_some() && forbids {
        remarks.push(format!("{id}: spec.plan is about what is permitted, and this is forbidden whatever the plan is; say in a condition which calls it means, as in context.call_digest"));
    }
    if statement.loosens {
        remarks.push(format!("{id}: less trust_score could allow more; let a permit ask for at least so much, or forbid what has less"));
    }
    if one.annotation("ends_chain").is_some() && !statement.ends_chain {
        remarks.push(format!("{id}: @ends_chain does nothing on a permit; put it on a forbid"));
    }
    remarks
}

/// What is said of each limit that no call counts for.
fn uncounted(policy: &Policy, statements: &[Arc<Statement>]) -> impl Iterator<Item = String> {
    let counts = move |limit: &Limit| {
        let mut all = statements.iter().filter_map(|one| one.limits.as_ref()).flat_map(|all| all.iter());
        all.any(|counted| counted.id == limit.id)
    };
    policy.limits.iter().filter(move |limit| !counts(limit)).map(|limit| {
        let name = &limit.name;
        format!("no call counts for the limit {name}; say which do: @limit(\"{name}\") forbid (…);")
    })
}

/// What is said of each guard that nothing waits for.
fn unnamed(policy: &Policy, parsed: &[&cedar_policy::Policy]) -> Vec<String> {
    let names = |name: &str| {
        let is_in = |one: &&cedar_policy::Policy| {
            ["guard", "guard_answer"].iter().any(|annotation| one.annotation(annotation) == Some(name))
        };
        parsed.iter().any(is_in)
    };
    let told = policy.guards.iter().map(|guard| &guard.name).filter(|name| !names(name));
    told.map(|name| {
        format!("nothing waits for the guard {name}; say which calls do: @guard(\"{name}\") forbid (…) unless {{ context.guarded.contains(\"{}/{name}\") }};", policy.meta.key())
    })
    .collect()
}

/// What is said of each policy that lets pass what no other permits, for as long as it is there.
fn rolled_out(policy: &Policy, statement: &Statement) -> Result<String, Problem> {
    let id = statement.id.clone();
    if statement.effect == cedar_policy::Effect::Forbid {
        return Err(Problem::RolledOut { id });
    }
    let until = policy.window.as_ref().and_then(|window| window.spec().until.as_deref()).unwrap_or_default();
    let namespace = &policy.meta.namespace;
    Ok(format!(
        "{id}: until {until} calls in {namespace} that no policy permits pass, and their records say would_refuse; look for them (`vidimus audit search --text would_refuse`), permit what is meant, and delete the policy"
    ))
}

/// Compiles several objects, on all cores where there are many: type-checking is most of what a snapshot costs.
pub(crate) fn compile_all(policies: &[(&Arc<Policy>, Option<&[String]>)]) -> Vec<Result<Compiled, Problem>> {
    on_all_cores(policies, |policy, checked| compile(policy, checked))
}

/// The same with what else is made of each.
pub(super) fn on_all_cores<T: Send>(
    policies: &[(&Arc<Policy>, Option<&[String]>)],
    of: impl Fn(&Arc<Policy>, Option<&[String]>) -> Result<T, Problem> + Sync,
) -> Vec<Result<T, Problem>> {
    /// Below this many a thread costs more than it saves.
    const FEW: usize = 32;
    let one = |(policy, checked): &(&Arc<Policy>, Option<&[String]>)| of(policy, *checked);
    let one = &one;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = policies.len().div_ceil(threads).max(FEW);
    std::thread::scope(|scope| {
        let (first, rest) = policies.split_at(share.min(policies.len()));
        let others: Vec<_> = rest
            .chunks(share)
            .map(|some| (some, scope.spawn(move || some.iter().map(one).collect::<Vec<_>>())))
            .collect();
        let mut all: Vec<_> = first.iter().map(one).collect();
        for (some, thread) in others {
            let fault = || Problem::Fault { message: "the policy compiler stopped".to_owned() };
            all.extend(thread.join().unwrap_or_else(|_| some.iter().map(|_| Err(fault())).collect()));
        }
        all
    })
}

/// The number of a parsed policy in its text, from 0: Cedar calls them `policy0`, `policy1`, …
fn number(id: &cedar_policy::PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.strip_prefix("policy").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
}

fn id(key: &str, policy: &cedar_policy::Policy, place: usize, of: usize) -> Result<Arc<str>, Problem> {
    let given = policy.annotation("id");
    if let Some(id) = given {
        let good =
            !id.is_empty() && id.len() <= MAX_ID && !id.chars().any(|c| c.is_whitespace() || c.is_control());
        if !good {
            return Err(Problem::BadId { id: id.to_owned() });
        }
    }
    Ok(match given {
        _ if of == 1 => key.into(),
        Some(id) => format!("{key}#{id}").into(),
        None => format!("{key}#{place}").into(),
    })
}

/// Strict validation. What Cedar only warns of is refused too where it means that the policy is not what it looks like:
/// it can never apply (a forbid that protects nothing), or it reads in another order than it is written.
fn check(set: &PolicySet, text: &str) -> Result<Vec<String>, Problem> {
    let results = schema::validate(set).map_err(|message| Problem::Fault { message: message.to_owned() })?;
    // Cedar reports them in no order; a file that did not change must not say something else at every load.
    let errors = results.iter().flat_map(ValidationResult::validation_errors);
    if let Some(error) = errors.min_by_key(|error| in_order(*error)) {
        let problem = invalid(error, &error.to_string(), text);
        return Err(match error {
            ValidationError::UnrecognizedActionId(error) => problem.helped(known_action(&error.to_string())),
            ValidationError::UnsafeAttributeAccess(_) => {
                let help = of_another_type(&error.to_string());
                problem.helped(help)
            }
            _ => problem,
        });
    }
    let mut warnings: Vec<_> = results.iter().flat_map(ValidationResult::validation_warnings).collect();
    warnings.sort_by_cached_key(|warning| in_order(*warning));
    let mut remarks = Vec::new();
    for warning in warnings {
        match warning {
            ValidationWarning::ImpossiblePolicy(_) => {
                let help = "check the types: the action does not apply to them, or the conditions contradict each other";
                return Err(Problem::Invalid {
                    place: Place::of(warning, text),
                    message: "this policy can never apply".to_owned(),
                    help: Some(help.to_owned()),
                });
            }
            ValidationWarning::BidiCharsInString(_) | ValidationWarning::BidiCharsInIdentifier(_) => {
                return Err(invalid(warning, &warning.to_string(), text));
            }
            other => {
                let said = other.to_string();
                remarks.push(format!("{}; check that the text is what it looks like", without_id(&said)));
            }
        }
    }
    Ok(remarks)
}

/// Where it is in the text, then what it says.
fn in_order(diagnostic: &dyn Diagnostic) -> (Option<usize>, String) {
    let at = diagnostic.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    (at, diagnostic.to_string())
}

fn invalid(diagnostic: &dyn Diagnostic, message: &str, text: &str) -> Problem {
    let help = diagnostic.help().map(|help| help.to_string());
    Problem::Invalid { place: Place::of(diagnostic, text), message: without_id(message).to_owned(), help }
}

/// What to write instead of an unknown action. Cedar's own suggestion compares the name with the whole of `Action::"…"`, so that
/// short names win, and takes the first of its map, which is another at each start. Its error tells the action by its text only.
fn known_action(message: &str) -> Option<String> {
    let unknown: EntityUid = without_id(message).split_once('`')?.1.rsplit_once('`')?.0.parse().ok()?;
    let actions = schema::actions().ok()?;
    let mut known: Vec<String> =
        actions.iter().map(|action| action.uid().id().unescaped().to_owned()).collect();
    known.sort_unstable();
    let near = nearest(known.iter().map(String::as_str), unknown.id().unescaped());
    Some(match near {
        Some(near) => format!("did you mean Action::\"{near}\"?"),
        None => format!("write one of the actions of the schema: {}", known.join(", ")),
    })
}

/// What to write where an attribute is read of something that may be of a type without it, as `principal.version` is where the
/// principal may be a Service: Cedar names the type that lacks it, and suggests another of its attributes.
fn of_another_type(message: &str) -> Option<String> {
    let mut quoted = without_id(message).split('`').skip(1).step_by(2);
    let (attribute, lacking) = (quoted.next()?, quoted.next()?);
    let types = schema::types_with(attribute).ok()?;
    if types.is_empty() || types.iter().any(|one| one == lacking) {
        return None;
    }
    let all = types.join(", ");
    let first = types.first()?;
    Some(format!(
        "{attribute} is an attribute of {all}: say that it is one, as `is {first}` in the head of the policy, or before it as in \
         … is {first} && … .{attribute}"
    ))
}

/// Without ``for policy `policy0`, ``: the object and the place say it better.
fn without_id(message: &str) -> &str {
    match message.strip_prefix("for policy `") {
        Some(rest) => rest.split_once("`, ").map_or(message, |(_, rest)| rest),
        None => message,
    }
}
