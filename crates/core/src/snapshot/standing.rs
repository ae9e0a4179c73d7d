//! What stands by acts, as a snapshot has it: it marks objects, and forbids as a policy does, so that decisions, explanations, streams
//! and records know of it without anything of their own.

mod grants;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};

use self::grants::{Ends, Lent};
use super::refusing::OnlyRefusing;
use super::{Made, Snapshot, builtin, coming, digest};
use crate::act::Subject;
use crate::approval::Requirement;
use crate::decide::statement::Statement;
use crate::entity::{EntityId, EntityKind};
use crate::resource::{Kind, Object, ObjectKey};
use crate::standing::Standing;

pub use self::grants::GRANT_ID;
pub(super) use self::grants::is_of_grant;

/// What stands by acts, ready for a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// A text of all of it.
    key: String,
    quarantined: HashSet<ObjectKey>,
    statements: Vec<Arc<Statement>>,
    /// What each quarantine is made to.
    quarantines: BTreeMap<Subject, Arc<Part>>,
    lent: BTreeMap<Arc<str>, Lent>,
    /// Made when somebody asks.
    ends: OnceLock<Ends>,
}

/// What one quarantine or grant is made to; what stands on is not made again.
#[derive(Debug, Default)]
struct Part {
    /// Its line of the text of all.
    line: String,
    /// The agent or service that it marks.
    mark: Option<ObjectKey>,
    statements: Vec<Arc<Statement>>,
    /// The same as Cedar, by their ids.
    texts: Vec<(String, String)>,
    /// Why it could be made to nothing.
    void: Option<String>,
}

impl Overlay {
    /// Compiles what stands.
    ///
    /// # Errors
    /// The policy that could not be made of a quarantine, and why. It is a fault of this crate; what stands must then not be taken for
    /// nothing. A grant that no policy can be made of permits nothing ([`Overlay::void_grants`]).
    pub fn of(standing: &Standing) -> Result<Self, String> {
        Self::default().next(standing)
    }

    /// The same, where this is what stood before: what is as it was is neither compiled nor written again, so an act costs what it changes, and
    /// little for each of all others.
    ///
    /// # Errors
    /// As [`Overlay::of`].
    pub fn next(&self, standing: &Standing) -> Result<Self, String> {
        let quarantines = standing.quarantined.keys().map(|subject| {
            let part = match self.quarantines.get(subject) {
                Some(part) => part.clone(),
                None => Arc::new(Part::quarantine(subject)?),
            };
            Ok((subject.clone(), part))
        });
        let quarantines = quarantines.collect::<Result<BTreeMap<_, _>, String>>()?;
        let lent = self.lent_after(&standing.grants);
        let mut overlay = Self::default();
        let parts = || parts(&quarantines, &lent);
        overlay.key.reserve(parts().map(|part| part.line.len()).sum());
        for part in parts() {
            overlay.key.push_str(&part.line);
            overlay.quarantined.extend(part.mark.clone());
            overlay.statements.extend(part.statements.iter().cloned());
        }
        Ok(Self { quarantines, lent, ..overlay })
    }

    /// Whether both say the same.
    pub fn is_as(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// Whether nothing stands.
    pub fn is_empty(&self) -> bool {
        self.key.is_empty()
    }

    pub(super) fn quarantined(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        self.quarantined.iter().cloned()
    }

    /// Those whom nothing else quarantines: neither their own record nor what is being written or in doubt.
    pub(super) fn by_acts_alone(
        &self,
        otherwise: &HashSet<ObjectKey>,
        twice: &HashSet<ObjectKey>,
    ) -> HashSet<ObjectKey> {
        self.quarantined().filter(|key| !otherwise.contains(key) && !twice.contains(key)).collect()
    }

    pub(super) fn statements(&self) -> impl Iterator<Item = &Arc<Statement>> {
        self.statements.iter()
    }

    /// Its policies as Cedar, by their ids.
    pub(super) fn texts(&self) -> BTreeMap<String, String> {
        let made = parts(&self.quarantines, &self.lent).flat_map(|part| part.texts.iter().cloned());
        // One that was restored has no others.
        let rest = if self.quarantines.is_empty() && self.lent.is_empty() { &*self.statements } else { &[] };
        let rest = rest.iter().map(|statement| (statement.id.to_string(), statement.policy.to_string()));
        made.chain(rest).collect()
    }

    /// The same as it was: what its key was, and its policies by their ids.
    pub(super) fn restored(key: &str, policies: &BTreeMap<String, String>) -> Result<Self, String> {
        let compiled = policies
            .iter()
            .map(|(id, text)| builtin::compile(id, text).map_err(|reason| format!("{id}: {reason}")));
        Ok(Self {
            key: key.to_owned(),
            statements: compiled.collect::<Result<_, _>>()?,
            // How often grants may be used still is not what a configuration says.
            ..Self::default()
        })
    }

    /// What the digest of a configuration has of it; the marks are in the objects.
    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

/// Everything, in its order.
fn parts<'p>(
    quarantines: &'p BTreeMap<Subject, Arc<Part>>,
    lent: &'p BTreeMap<Arc<str>, Lent>,
) -> impl Iterator<Item = &'p Arc<Part>> {
    quarantines.values().chain(lent.values().map(Lent::part))
}

impl Part {
    fn quarantine(subject: &Subject) -> Result<Self, String> {
        let mut part = Self { line: format!("quarantine {subject}\n"), ..Self::default() };
        match subject {
            Subject::Object(EntityId { kind: EntityKind::Agent, id }) => {
                part.mark = ObjectKey::named(Kind::Agent, id);
            }
            Subject::Object(EntityId { kind: EntityKind::Service, id }) => {
                part.mark = ObjectKey::named(Kind::ServiceIdentity, id);
            }
            _ => part.forbid(subject)?,
        }
        Ok(part)
    }

    fn add(&mut self, id: &str, text: &str) -> Result<(), String> {
        self.statements.push(builtin::compile(id, text).map_err(|reason| format!("{id}: {reason}"))?);
        self.texts.push((id.to_owned(), text.to_owned()));
        Ok(())
    }

    fn forbid(&mut self, subject: &Subject) -> Result<(), String> {
        const ACTIONS: &str = r#"[Action::"mcp", Action::"a2a", Action::"llm", Action::"listModels"]"#;
        let (what, scope, condition) = match subject {
            Subject::Object(EntityId { kind: EntityKind::McpServer, id }) => (
                "what is called",
                format!("action in Action::\"mcp\", resource in MCPServer::{}", quoted(id)),
                String::new(),
            ),
            Subject::Object(EntityId { id, .. }) => (
                "what is called",
                format!(
                    "action in [Action::\"llm\", Action::\"listModels\"], resource in LLMProvider::{}",
                    quoted(id)
                ),
                String::new(),
            ),
            Subject::Identity(id) => (
                "the caller's identity",
                every(ACTIONS),
                format!(" when {{ context.identity == {} }}", quoted(id)),
            ),
            Subject::Instance(id) => (
                "the calling copy",
                every(ACTIONS),
                format!(" when {{ context has instance && context.instance.id == {} }}", quoted(id)),
            ),
            Subject::User(id) => (
                "the person for whom is called",
                every(ACTIONS),
                format!(
                    " when {{ context has on_behalf_of && context.on_behalf_of == User::{} }}",
                    quoted(id)
                ),
            ),
            Subject::Chain(id) => {
                ("the chain", every(ACTIONS), format!(" when {{ context.transaction == {} }}", quoted(id)))
            }
        };
        let text = format!("@reason(\"{what} is quarantined\")\nforbid (principal, {scope}){condition};");
        self.add(&format!("{}#{subject}", super::QUARANTINE_ID), &text)?;
        match subject {
            Subject::User(id) => self.forbid_to_operate(id),
            _ => Ok(()),
        }
    }

    /// Whose account is taken out of use does nothing itself either, and does not put it back.
    fn forbid_to_operate(&mut self, user: &str) -> Result<(), String> {
        let text = format!(
            "@reason(\"the person is quarantined\")\nforbid (principal == User::{}, action in [Action::\"operate\", Action::\"read\"], resource);",
            quoted(user)
        );
        self.add(&format!("{}#operator/{user}", super::QUARANTINE_ID), &text)
    }
}

impl Snapshot {
    /// Whether this is what stands by acts in it.
    pub fn has(&self, standing: &Arc<Overlay>) -> bool {
        Arc::ptr_eq(&self.standing, standing)
    }

    /// Whether what stands by acts in both is the same one in memory.
    pub fn stands_as(&self, other: &Self) -> bool {
        self.has(&other.standing)
    }

    /// What policies in force ask of people.
    pub fn requirements(&self) -> impl Iterator<Item = &Arc<Requirement>> {
        self.statements_in_force().filter_map(|statement| statement.asks.as_ref())
    }

    /// The objects of which only what they refuse is in force. What is being written is not among them.
    pub fn only_refusing(&self) -> impl Iterator<Item = OnlyRefusing<'_>> {
        self.refusing.iter().map(|one| OnlyRefusing {
            object: &one.object,
            origin: &one.origin,
            contested: one.contested,
        })
    }

    /// Whether the same of what acts quarantine is quarantined by its own record too. Decisions are the same either way, and so is the
    /// digest.
    pub fn has_switches_of(&self, other: &Self) -> bool {
        self.quarantined_twice == other.quarantined_twice
    }

    /// The principals whose own record quarantines them (`spec.quarantined`), whether or not an act does so too: either suffices.
    pub fn quarantined_by_record(&self) -> impl Iterator<Item = &Object> {
        let acts: HashSet<ObjectKey> = self.standing.quarantined().collect();
        self.objects.iter().filter(move |object| {
            let key = ObjectKey::of(object);
            object.is_quarantined() && (!acts.contains(&key) || self.quarantined_twice.contains(&key))
        })
    }
}

/// What was made of `objects`, each with what its own record says where acts alone quarantine it: it is that which is looked for when something
/// else cannot be read, since an act that is done, or undone, changes no record.
pub(super) fn with_own<E>(
    objects: &[Object],
    made: Vec<Result<Arc<Made>, E>>,
    by_acts: &HashSet<ObjectKey>,
) -> Vec<Result<Arc<Made>, E>> {
    let own = |object: &Object| {
        if !coming::can_be_quarantined(object) || !by_acts.contains(&ObjectKey::of(object)) {
            return None;
        }
        let mut own = object.clone();
        match &mut own {
            Object::Agent(agent) => Arc::make_mut(agent).quarantined = false,
            Object::Service(service) => Arc::make_mut(service).quarantined = false,
            Object::McpServer(_) | Object::LlmProvider(_) | Object::Policy(_) => return None,
        }
        Some(Box::new(digest::of_object(&own)))
    };
    let with = |(object, made): (&Object, Result<Arc<Made>, E>)| {
        // Of nearly all objects nothing is to be done.
        let own = if by_acts.is_empty() { None } else { own(object) };
        made.map(|made| if made.own == own { made } else { Arc::new(Made { own, ..(*made).clone() }) })
    };
    objects.iter().zip(made).map(with).collect()
}

/// Which of the objects that acts quarantine are quarantined by their own records.
pub(super) fn quarantined_by_records<'o>(
    objects: impl Iterator<Item = &'o Object>,
    standing: &Overlay,
) -> HashSet<ObjectKey> {
    let acts: HashSet<ObjectKey> = standing.quarantined().collect();
    if acts.is_empty() {
        return acts;
    }
    let own = coming::quarantined(objects);
    own.filter(|key| acts.contains(key)).collect()
}

fn every(actions: &str) -> String {
    format!("action in {actions}, resource")
}

/// As a text in Cedar.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}
