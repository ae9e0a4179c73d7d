//! What stands by acts, as a snapshot has it: it marks objects, and forbids as a policy does, so that decisions, explanations, streams
//! and records know of it without anything of their own.

mod grants;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use self::grants::Grants;
use super::refusing::OnlyRefusing;
use super::{Snapshot, builtin, coming};
use crate::act::Subject;
use crate::decide::statement::Statement;
use crate::entity::{EntityId, EntityKind};
use crate::resource::{Kind, Object, ObjectKey};
use crate::standing::Standing;

pub use self::grants::GRANT_ID;

/// What stands by acts, ready for a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// A text of all of it.
    key: String,
    quarantined: HashSet<ObjectKey>,
    statements: Vec<Arc<Statement>>,
    /// The same by their ids, with the texts that they were compiled from.
    compiled: HashMap<String, (String, Arc<Statement>)>,
    grants: Grants,
}

impl Overlay {
    /// Compiles what stands.
    ///
    /// # Errors
    /// The policy that could not be made of an act, and why. It is a fault of this crate; what stands must then not be taken for
    /// nothing.
    pub fn of(standing: &Standing) -> Result<Self, String> {
        Self::default().next(standing)
    }

    /// The same, where this is what stood before: what is as it was is not compiled again.
    ///
    /// # Errors
    /// As [`Overlay::of`].
    pub fn next(&self, standing: &Standing) -> Result<Self, String> {
        let mut overlay = Self::default();
        for subject in standing.quarantined.keys() {
            // Writing to a text does not fail.
            let _ = writeln!(overlay.key, "quarantine {subject}");
            match subject {
                Subject::Object(EntityId { kind: EntityKind::Agent, id }) => overlay.mark(Kind::Agent, id),
                Subject::Object(EntityId { kind: EntityKind::Service, id }) => {
                    overlay.mark(Kind::ServiceIdentity, id);
                }
                _ => overlay.forbid(self, subject)?,
            }
        }
        for (id, grant) in &standing.grants {
            let spent = if grant.is_spent() { " spent" } else { "" };
            // It is the terms that count, and they have one form.
            let terms = serde_json::to_string(&grant.terms).map_err(|error| error.to_string())?;
            let _ = writeln!(overlay.key, "grant {id} {} {terms}{spent}", grant.until_ms);
            overlay.grant(self, id, grant)?;
        }
        Ok(overlay)
    }

    /// Whether both say the same.
    pub fn is_as(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// A policy of what stands; `before` is what stood.
    fn add(&mut self, before: &Self, id: String, text: String) -> Result<(), String> {
        let had = before.compiled.get(&id).filter(|(had, _)| *had == text);
        let statement = match had {
            Some((_, statement)) => statement.clone(),
            None => builtin::compile(&id, &text).map_err(|reason| format!("{id}: {reason}"))?,
        };
        self.statements.push(statement.clone());
        self.compiled.insert(id, (text, statement));
        Ok(())
    }

    /// Whether nothing stands.
    pub fn is_empty(&self) -> bool {
        self.key.is_empty()
    }

    pub(super) fn quarantined(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        self.quarantined.iter().cloned()
    }

    pub(super) fn statements(&self) -> impl Iterator<Item = &Arc<Statement>> {
        self.statements.iter()
    }

    /// The same as it was: what its key was, and its policies by their ids.
    pub(super) fn restored(key: &str, policies: &BTreeMap<String, String>) -> Result<Self, String> {
        let compiled = policies
            .iter()
            .map(|(id, text)| builtin::compile(id, text).map_err(|reason| format!("{id}: {reason}")));
        Ok(Self {
            key: key.to_owned(),
            quarantined: HashSet::new(),
            statements: compiled.collect::<Result<_, _>>()?,
            compiled: HashMap::new(),
            // How often they may be used still is not what a configuration says.
            grants: Grants::default(),
        })
    }

    /// What the digest of a configuration has of it; the marks are in the objects.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    fn mark(&mut self, kind: Kind, id: &str) {
        self.quarantined.extend(ObjectKey::named(kind, id));
    }

    fn forbid(&mut self, before: &Self, subject: &Subject) -> Result<(), String> {
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
        self.add(before, format!("{}#{subject}", super::QUARANTINE_ID), text)?;
        match subject {
            Subject::User(id) => self.forbid_to_operate(before, id),
            _ => Ok(()),
        }
    }

    /// Whose account is taken out of use does nothing itself either, and does not put it back.
    fn forbid_to_operate(&mut self, before: &Self, user: &str) -> Result<(), String> {
        let text = format!(
            "@reason(\"the person is quarantined\")\nforbid (principal == User::{}, action in [Action::\"operate\", Action::\"read\"], resource);",
            quoted(user)
        );
        self.add(before, format!("{}#operator/{user}", super::QUARANTINE_ID), text)
    }
}

impl Snapshot {
    /// Whether this is what stands by acts in it.
    pub fn has(&self, standing: &Arc<Overlay>) -> bool {
        Arc::ptr_eq(&self.standing, standing)
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
            coming::is_quarantined(object) && (!acts.contains(&key) || self.quarantined_twice.contains(&key))
        })
    }
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
