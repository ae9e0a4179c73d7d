//! Who can call what: how the policies in force stand to calls that nobody makes, whatever their context. What
//! [`Snapshot::authorize`] decides of one call is said here of all calls of a principal on a resource, from the same index and the
//! same partial evaluation; a property test holds the two together.

pub mod people;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::authorize::UNNAMED;
use crate::call::{Action, Target};
use crate::decide::entities::EntityFault;
use crate::decide::survey::Table;
use crate::entity::EntityId;
use crate::resource::window::WindowSpec;
use crate::resource::{DelegationLimits, LlmProvider, Object, Principal};
use crate::snapshot::Snapshot;

/// One thing that may be called, and how.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// What is done.
    pub action: Action,
    /// What it is done to.
    pub target: Target<'a>,
    /// Whether the target stands for every tool, resource, prompt or skill of its server or agent that nothing names: policies that
    /// look at the name are conditions then. Its own name is `*`.
    pub any_other: bool,
}

/// How the calls of a principal on a resource are answered, over all contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answered {
    /// Each is allowed.
    Always,
    /// Some may be allowed: it depends on the conditions.
    Conditionally,
    /// None is without the approval of a person; some may be with it.
    Held,
    /// None is.
    Never,
}

impl Answered {
    /// As it stands in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Conditionally => "conditional",
            Self::Held => "held",
            Self::Never => "never",
        }
    }
}

/// A policy of which only the context is left to be known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition {
    /// Its id.
    pub policy: Arc<str>,
    /// What is left of it but for its window, in Cedar's words; `true` where that is nothing.
    pub when: Arc<str>,
    /// What of the context it looks at, by the names that facts of decisions have; sorted.
    pub reads: Vec<Arc<str>>,
    /// Whether evaluating it is sure to succeed: it cannot fail, and looks at no argument that might not be seen.
    pub certain: bool,
    /// Of a forbid that asks for an approval: whether it is satisfied wherever there is none.
    pub unless_approved: bool,
    /// Of a permit, when it permits what is left of it.
    pub window: Option<WindowSpec>,
}

/// The use of a part of something, by which the whole may be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Implied {
    /// How it is used, and what: `invokeTool Tool/finance/ledger/get_invoice`.
    pub by: Arc<str>,
    /// Whether each call of it is allowed, or would be with the approval of a person.
    pub always: bool,
}

/// How the policies stand to the calls of a principal on a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outlook {
    /// The permits that are satisfied whatever the context, sorted.
    pub permits: Vec<Arc<str>>,
    /// The forbids that are, and the policies that fail, sorted.
    pub refusals: Vec<Arc<str>>,
    /// The permits that depend on the context, sorted.
    pub permits_when: Vec<Condition>,
    /// The forbids that depend on the context, sorted.
    pub refusals_when: Vec<Condition>,
    /// The forbids that are satisfied whatever the context and ask for an approval, sorted.
    pub holds: Vec<Arc<str>>,
    /// Those of them that depend on the context, sorted.
    pub holds_when: Vec<Condition>,
    /// The forbids that are satisfied whatever the context and change what is called instead of refusing it, sorted.
    pub changes: Vec<Arc<str>>,
    /// Those of them that depend on the context, sorted.
    pub changes_when: Vec<Condition>,
    /// Where no permit is satisfied: what implies the whole, at most [`MAX_IMPLIED`].
    pub implied: Vec<Implied>,
    /// The limits of the agent's own record that hold beside the policies.
    pub limits: DelegationLimits,
}

/// How many uses are named that imply the whole.
pub const MAX_IMPLIED: usize = 8;

impl Outlook {
    /// What follows for the calls. Refused all the same are arguments that no policy can see exactly, chains deeper than any may be,
    /// chains that have ended, and what the authority class of somebody through whom a call came does not let it do.
    pub fn answered(&self) -> Answered {
        let may_be_permitted =
            self.is_permitted() || !self.permits_when.is_empty() || !self.implied.is_empty();
        if !self.refusals.is_empty() || !may_be_permitted {
            return Answered::Never;
        }
        if !self.holds.is_empty() || self.holds_when.iter().any(|condition| condition.unless_approved) {
            return Answered::Held;
        }
        match self.is_always_permitted()
            && self.holds_when.is_empty()
            && self.limits == DelegationLimits::default()
        {
            true => Answered::Always,
            false => Answered::Conditionally,
        }
    }

    fn is_permitted(&self) -> bool {
        !self.permits.is_empty() || self.implied.iter().any(|one| one.always)
    }

    /// Whether nothing but the missing approval of a person, and the limits of the agent's record, could keep a call from being allowed.
    fn is_always_permitted(&self) -> bool {
        let conditions = self.permits_when.iter().chain(&self.holds_when).chain(&self.changes_when);
        self.is_permitted()
            && self.refusals.is_empty()
            && self.refusals_when.is_empty()
            && conditions.into_iter().all(|condition| condition.certain)
    }

    /// Of a part, together with the whole that it belongs to: what refuses either refuses it, and what permits either permits it.
    fn and(&self, whole: &Self) -> Self {
        fn all<T: Clone + Ord>(one: &[T], other: &[T]) -> Vec<T> {
            one.iter().chain(other).cloned().collect::<BTreeSet<T>>().into_iter().collect()
        }
        Self {
            permits: all(&self.permits, &whole.permits),
            refusals: all(&self.refusals, &whole.refusals),
            permits_when: all(&self.permits_when, &whole.permits_when),
            refusals_when: all(&self.refusals_when, &whole.refusals_when),
            holds: all(&self.holds, &whole.holds),
            holds_when: all(&self.holds_when, &whole.holds_when),
            changes: all(&self.changes, &whole.changes),
            changes_when: all(&self.changes_when, &whole.changes_when),
            implied: Vec::new(),
            limits: self.limits,
        }
    }
}

/// Pairs that have one answer: each of these principals with each of these accesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    /// By their places in what was asked, ascending.
    pub principals: Vec<usize>,
    /// By their places in what was asked, ascending.
    pub accesses: Vec<usize>,
    pub outlook: Outlook,
}

/// The policies could not be evaluated: a fault of this program.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the policies could not be evaluated: {0}")]
pub struct NotSurveyed(String);

impl NotSurveyed {
    pub(crate) fn new(fault: &EntityFault) -> Self {
        Self(fault.to_string())
    }
}

impl Snapshot {
    /// How each of `principals` stands to each of `accesses`, by the rules of [`Snapshot::authorize`]; pairs with one answer are together.
    /// Deterministic, and in the order of what is asked. Principals and targets must be of this snapshot.
    ///
    /// Of an agent as a whole it says nothing of its card and the list of one's own tasks, which whoever may use a skill may have.
    ///
    /// # Errors
    /// [`NotSurveyed`]: what is registered cannot be expressed for Cedar, which is a fault of this crate.
    pub fn reach<'a>(
        &'a self,
        principals: &[Principal],
        accesses: &[Access<'a>],
    ) -> Result<Vec<Pairs>, NotSurveyed> {
        let mut surveyed = Surveyed::default();
        let asked: Vec<Asked> = accesses.iter().map(|access| surveyed.asked(self, *access)).collect();
        let table = self.survey(principals, &surveyed.accesses);
        let table = table.map_err(|fault| NotSurveyed::new(&fault))?;
        Ok(Answers { table: &table, principals, surveyed: &surveyed.accesses, asked: &asked }.pairs())
    }

    /// Everybody who is registered, sorted.
    pub fn principals(&self) -> Vec<Principal> {
        let all = self.objects().iter().filter_map(|object| match object {
            // As it is registered: an object of a contested name is not.
            Object::Agent(agent) => self.agent(&agent.id.id).cloned().map(Principal::Agent),
            Object::Service(service) => self.service(&service.id.id).cloned().map(Principal::Service),
            Object::McpServer(_) | Object::LlmProvider(_) | Object::Policy(_) => None,
        });
        let mut all: Vec<Principal> = all.collect();
        all.sort_by(|one, other| one.entity().cmp(other.entity()));
        all
    }

    /// The agents, servers and providers that are registered, sorted.
    pub fn wholes(&self) -> Vec<Target<'_>> {
        let all = self.objects().iter().filter_map(|object| match object {
            Object::Agent(agent) => self.agent(&agent.id.id).map(Target::Agent),
            Object::McpServer(server) => self.mcp_server(&server.id.id).map(Target::Server),
            Object::LlmProvider(provider) => self.llm_provider(&provider.id.id).map(Target::Provider),
            Object::Service(_) | Object::Policy(_) => None,
        });
        let mut all: Vec<Target<'_>> = all.collect();
        all.sort_by_cached_key(Target::entity);
        all
    }

    /// All that may be called of a target. Of a server, an agent or a provider: the whole, what its record lists, what policies name
    /// one by one, and any other part. Of a part: itself.
    pub fn accesses<'a>(&'a self, target: Target<'a>) -> Vec<Access<'a>> {
        let one = |action, target| Access { action, target, any_other: false };
        let whole = one(action(&target), target);
        match target {
            Target::Provider(provider) => std::iter::once(whole).chain(models(provider)).collect(),
            Target::Agent(agent) => {
                let skill = |name| Target::Skill { agent, name };
                let named = self.named_of(&agent.id.id).filter(|(action, _)| *action == Action::CallAgent);
                let named = named.map(|(action, name)| one(action, skill(name)));
                let any_other = Access { any_other: true, ..one(Action::CallAgent, skill(UNNAMED)) };
                std::iter::once(whole).chain(named).chain([any_other]).collect()
            }
            // What its members have is theirs.
            Target::Server(server) if server.members.is_some() => vec![whole],
            Target::Server(server) => {
                let part = |action, name| match action {
                    Action::ReadResource => Target::Resource { server, uri: name },
                    Action::GetPrompt => Target::Prompt { server, name },
                    _ => Target::Tool { server, name },
                };
                let listed = server.tool_sets.values().flatten().chain(server.tools.keys());
                let listed = listed.map(|name| (Action::InvokeTool, &**name));
                let named = self.named_of(&server.id.id).filter(|(action, _)| *action != Action::CallAgent);
                let parts: BTreeSet<(Action, &str)> = listed.chain(named).collect();
                let parts = parts.into_iter().map(|(action, name)| one(action, part(action, name)));
                let any_other = [Action::InvokeTool, Action::ReadResource, Action::GetPrompt]
                    .map(|action| Access { any_other: true, ..one(action, part(action, UNNAMED)) });
                std::iter::once(whole).chain(parts).chain(any_other).collect()
            }
            _ => vec![whole],
        }
    }
}

/// The action on a target.
const fn action(target: &Target<'_>) -> Action {
    match target {
        Target::Tool { .. } => Action::InvokeTool,
        Target::Resource { .. } => Action::ReadResource,
        Target::Prompt { .. } => Action::GetPrompt,
        Target::Server(_) => Action::ConnectServer,
        Target::Agent(_) | Target::Skill { .. } => Action::CallAgent,
        Target::Model { .. } => Action::CallModel,
        Target::Provider(_) => Action::ListModels,
    }
}

/// The registered models of a provider; no others can be called.
fn models(provider: &Arc<LlmProvider>) -> impl Iterator<Item = Access<'_>> {
    provider.models.iter().map(move |model| Access {
        action: Action::CallModel,
        target: Target::Model { provider, name: &model.name },
        any_other: false,
    })
}

/// From which edges one access is answered, by their places in what is surveyed.
#[derive(Clone, Debug)]
struct Asked {
    edge: usize,
    /// Of a skill: its agent.
    whole: Option<usize>,
    /// Of a server or a provider: what of it may be used.
    uses: Vec<usize>,
}

/// What is surveyed, each edge once.
#[derive(Debug, Default)]
struct Surveyed<'a> {
    accesses: Vec<Access<'a>>,
    places: HashMap<(EntityId, bool), usize>,
}

impl<'a> Surveyed<'a> {
    fn place(&mut self, access: Access<'a>) -> usize {
        let next = self.accesses.len();
        let place = *self.places.entry((access.target.entity(), access.any_other)).or_insert(next);
        if place == next {
            self.accesses.push(access);
        }
        place
    }

    fn asked(&mut self, snapshot: &'a Snapshot, access: Access<'a>) -> Asked {
        let mut asked = Asked { edge: self.place(access), whole: None, uses: Vec::new() };
        match access.target {
            Target::Skill { agent, .. } => {
                let target = Target::Agent(agent);
                asked.whole = Some(self.place(Access { target, any_other: false, ..access }));
            }
            Target::Server(server) => {
                let parts = snapshot
                    .called_by(server)
                    .flat_map(|server| snapshot.accesses(Target::Server(server)).into_iter().skip(1));
                asked.uses = parts.map(|part| self.place(part)).collect();
            }
            Target::Provider(_) => {
                let parts = snapshot.accesses(access.target).into_iter().skip(1);
                asked.uses = parts.map(|part| self.place(part)).collect();
            }
            _ => {}
        }
        asked
    }
}

/// What is known of all edges, to be put together.
struct Answers<'t, 'a> {
    table: &'t Table,
    principals: &'t [Principal],
    surveyed: &'t [Access<'a>],
    asked: &'t [Asked],
}

/// What the answer of one pair is put together from: places in the table, and limits.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Parts {
    edge: usize,
    whole: Option<usize>,
    uses: Vec<usize>,
    /// Of which access the uses are: they are named in the answer.
    of: usize,
    limits: DelegationLimits,
}

impl Answers<'_, '_> {
    fn pairs(&self) -> Vec<Pairs> {
        let mut known: HashMap<Parts, Outlook> = HashMap::new();
        let mut pairs = Vec::new();
        let by_principal = self.principals.len() <= self.asked.len();
        let (rows, columns) = match by_principal {
            true => (self.principals.len(), self.asked.len()),
            false => (self.asked.len(), self.principals.len()),
        };
        for row in 0..rows {
            let mut groups: HashMap<Outlook, usize> = HashMap::new();
            let first = pairs.len();
            for column in 0..columns {
                let (principal, access) = if by_principal { (row, column) } else { (column, row) };
                let Some(parts) = self.parts(principal, access) else { continue };
                let outlook = known.entry(parts).or_insert_with_key(|parts| self.outlook(parts));
                let next = pairs.len() - first;
                let group = match groups.get(outlook) {
                    Some(group) => *group,
                    None => *groups.entry(outlook.clone()).or_insert(next),
                };
                if group == next {
                    pairs.push(Pairs { principals: vec![], accesses: vec![], outlook: outlook.clone() });
                }
                let Some(pair) = pairs.get_mut(first + group) else { continue };
                let (one, many) = match by_principal {
                    true => (&mut pair.principals, &mut pair.accesses),
                    false => (&mut pair.accesses, &mut pair.principals),
                };
                *one = vec![row];
                many.push(column);
            }
        }
        pairs
    }

    fn parts(&self, principal: usize, access: usize) -> Option<Parts> {
        let asked = self.asked.get(access)?;
        let limits = match self.principals.get(principal)? {
            Principal::Agent(agent) => agent.delegation,
            Principal::Service(_) => DelegationLimits::default(),
        };
        let place = |edge: &usize| self.table.place(*edge, principal);
        Some(Parts {
            edge: place(&asked.edge),
            whole: asked.whole.as_ref().map(place),
            uses: asked.uses.iter().map(place).collect(),
            of: if asked.uses.is_empty() { 0 } else { access },
            limits,
        })
    }

    fn outlook(&self, parts: &Parts) -> Outlook {
        let of = |place: usize| self.table.outlook(place).cloned().unwrap_or_default();
        let mut outlook = of(parts.edge);
        if let Some(whole) = parts.whole {
            outlook = outlook.and(&of(whole));
        }
        let uses = self.asked.get(parts.of).map(|asked| &*asked.uses).unwrap_or_default();
        if outlook.permits.is_empty() && outlook.refusals.is_empty() {
            let mut implied = Vec::new();
            for (use_of, place) in uses.iter().zip(&parts.uses) {
                let Some((outlook, access)) = self.table.outlook(*place).zip(self.surveyed.get(*use_of))
                else {
                    continue;
                };
                if outlook.answered() == Answered::Never {
                    continue;
                }
                let always = outlook.is_always_permitted();
                implied.push(Implied { by: access.to_string().into(), always });
            }
            // Those that need no condition first.
            implied.sort_by_key(|one| !one.always);
            implied.truncate(MAX_IMPLIED);
            outlook.implied = implied;
        }
        outlook.limits = parts.limits;
        outlook
    }
}

/// As a use stands in facts; what stands for others has no name but `*`.
impl std::fmt::Display for Access<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.action.as_str(), self.target.entity())
    }
}
