//! What the policies say together, and what the objects bring to it: counted, so that what one of them says can be taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::{Effect, EntityUid};

use super::standing;
use crate::decide::chain_reads::{ChainReads, Limits};
use crate::decide::index::Key;
use crate::decide::pace::Pace;
use crate::decide::schema::Type;
use crate::decide::statement::Statement;
use crate::guard::Guarding;
use crate::keep::Keep;
use crate::resource::window::{Window, WindowSpec};
use crate::resource::{Object, ObjectKey, Policy};
use crate::shards::Shards;

/// How often each value is said.
type Tally<T> = BTreeMap<T, usize>;

/// The windows of permits, by what they say.
pub(super) type Windows = Arc<BTreeMap<WindowSpec, (Arc<Window>, usize)>>;

/// What statements and objects say together.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    reads: Tally<ChainReads>,
    /// The same without what is only tried.
    binding: Tally<ChainReads>,
    paces: Tally<Pace>,
    windows: Windows,
    ending: Shards<Arc<str>, ()>,
    keeping: Shards<Arc<str>, Keep>,
    /// Also of what is only tried.
    guarding: Shards<Arc<str>, Guarding>,
    /// How many permit people something in more than one namespace.
    permits_of_people: usize,
    /// How many let pass what no other permits.
    rollouts: usize,
    /// Those that say who may bear which names.
    ruling: Vec<Arc<Statement>>,
    /// `issuer#subject` of whom those name that say in more than one namespace what people may.
    people: Tally<Arc<str>>,
    limits: Limits,
    /// The policies that take the place of built-in ones.
    replacing: BTreeMap<ObjectKey, Arc<Policy>>,
}

impl Said {
    pub(super) fn add_policy(&mut self, object: &Object) {
        if let Object::Policy(policy) = object
            && !policy.replaces.is_empty()
        {
            self.replacing.insert(ObjectKey::of(object), policy.clone());
        }
    }

    pub(super) fn remove_policy(&mut self, object: &Object) {
        self.replacing.remove(&ObjectKey::of(object));
    }

    pub(super) fn replacing(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<Policy>)> {
        self.replacing.iter()
    }

    pub(super) fn add(&mut self, statement: &Arc<Statement>) {
        *self.reads.entry(reads(statement)).or_default() += 1;
        if !statement.observes {
            *self.binding.entry(statement.chain_reads).or_default() += 1;
        }
        if is_timed(statement) {
            if let Some(pace) = statement.pace {
                *self.paces.entry(pace).or_default() += 1;
            }
            if let Some(windowed) = &statement.windowed {
                let window = &windowed.window;
                let all = Arc::make_mut(&mut self.windows);
                all.entry(window.spec().clone()).or_insert_with(|| (window.clone(), 0)).1 += 1;
            }
        }
        // What is only tried ends nothing; it permits nothing either, and so keeps nothing.
        if statement.ends_chain && !statement.observes {
            self.ending.insert(statement.id.clone(), ());
        }
        if !statement.keeps.is_nothing() && !statement.observes {
            self.keeping.insert(statement.id.clone(), statement.keeps);
        }
        if let Some(guarding) = statement.guards.clone() {
            let observes = statement.observes;
            self.guarding.insert(statement.id.clone(), Guarding { observes, ..guarding });
        }
        self.permits_of_people += usize::from(permits_people(statement));
        self.rollouts += usize::from(statement.lets_pass);
        for person in people(statement) {
            *self.people.entry(person.into()).or_default() += 1;
        }
        if statement.actions.register && !statement.observes && !statement.lets_pass {
            self.ruling.push(statement.clone());
        }
    }

    pub(super) fn remove(&mut self, statement: &Arc<Statement>) {
        take_back(&mut self.reads, &reads(statement));
        if !statement.observes {
            take_back(&mut self.binding, &statement.chain_reads);
        }
        if is_timed(statement) {
            if let Some(pace) = &statement.pace {
                take_back(&mut self.paces, pace);
            }
            if let Some(windowed) = &statement.windowed {
                let all = Arc::make_mut(&mut self.windows);
                match all.get_mut(windowed.window.spec()) {
                    Some((_, count)) if *count > 1 => *count -= 1,
                    _ => drop(all.remove(windowed.window.spec())),
                }
            }
        }
        self.ending.remove(&*statement.id);
        self.keeping.remove(&*statement.id);
        self.guarding.remove(&*statement.id);
        self.permits_of_people -= usize::from(permits_people(statement));
        self.rollouts -= usize::from(statement.lets_pass);
        people(statement).for_each(|person| take_back(&mut self.people, &person.into()));
        self.ruling.retain(|other| !Arc::ptr_eq(other, statement));
    }

    pub(super) fn add_object(&mut self, object: &Object) {
        self.limits.add(object);
    }

    pub(super) fn remove_object(&mut self, object: &Object) {
        self.limits.remove(object);
    }

    /// What of the state of chains is looked at by anything, and by what is not only tried.
    pub(super) fn chain_reads(&self) -> (ChainReads, ChainReads) {
        let all =
            |tally: &Tally<ChainReads>| tally.keys().copied().fold(ChainReads::default(), ChainReads::and);
        (all(&self.reads).with_limits(self.limits), all(&self.binding).with_limits(self.limits))
    }

    /// How often what is said may change by the time alone, beside the windows.
    pub(super) fn pace(&self) -> Option<Pace> {
        let of_objects = self.limits.have_age().then_some(Pace::Minute);
        self.paces.keys().copied().fold(of_objects, |pace, other| Pace::quicker(pace, Some(other)))
    }

    pub(super) fn windows(&self) -> &Windows {
        &self.windows
    }

    /// Whether a call that this policy refuses ends its chain.
    pub(super) fn is_ending(&self, policy: &str) -> bool {
        self.ending.contains_key(policy)
    }

    /// What records keep of a call that these policies permit.
    pub(super) fn kept_by(&self, policies: &[Arc<str>]) -> Keep {
        if self.keeping.is_empty() {
            return Keep::default();
        }
        let of_each = policies.iter().filter_map(|policy| self.keeping.get(&**policy).copied());
        of_each.fold(Keep::default(), Keep::and)
    }

    /// The guard that lifts this policy.
    pub(super) fn guard_of(&self, policy: &str) -> Option<Guarding> {
        self.guarding.get(policy).cloned()
    }

    /// Whether a guard lifts any.
    pub(super) fn has_guards(&self) -> bool {
        !self.guarding.is_empty()
    }

    pub(super) const fn permits_people(&self) -> bool {
        self.permits_of_people > 0
    }

    /// Whether something lets pass what no other permits.
    pub(super) const fn lets_pass(&self) -> bool {
        self.rollouts > 0
    }

    /// Whether such a policy names somebody.
    pub(super) fn names_person(&self, issuer: &str, subject: &str) -> bool {
        !self.people.is_empty() && self.people.contains_key(&*format!("{issuer}#{subject}"))
    }

    /// `issuer#subject` of all whom such policies name.
    pub(super) fn people(&self) -> impl Iterator<Item = &str> {
        self.people.keys().map(|person| &**person)
    }

    pub(super) fn ruling(&self) -> &[Arc<Statement>] {
        &self.ruling
    }
}

/// What is only tried ends nothing.
fn reads(statement: &Statement) -> ChainReads {
    let ends = statement.chain_reads.ends && !statement.observes;
    ChainReads { ends, ..statement.chain_reads }
}

/// What is only tried ends nothing, and when grants end is known of each ([`super::Snapshot::next_grant_end`]).
fn is_timed(statement: &Statement) -> bool {
    !statement.observes && !standing::is_of_grant(&statement.id)
}

fn permits_people(statement: &Statement) -> bool {
    operates(statement) && statement.effect == Effect::Permit
}

/// Whether it says what people may, in more than one namespace: whoever writes such a policy operates the whole.
fn operates(statement: &Statement) -> bool {
    statement.actions.of_people(None)
        && !statement.observes
        && !statement.scope.iter().any(Key::is_of_a_namespace)
}

/// Whom it names, each once.
fn people(statement: &Statement) -> impl Iterator<Item = &str> {
    let is_person = |literal: &&EntityUid| literal.type_name().basename() == Type::User.as_str();
    let named = operates(statement).then(|| statement.literals()).into_iter().flatten();
    let named: BTreeSet<&str> = named.filter(is_person).map(|literal| literal.id().unescaped()).collect();
    named.into_iter()
}

fn take_back<T: Ord>(tally: &mut Tally<T>, value: &T) {
    match tally.get_mut(value) {
        Some(count) if *count > 1 => *count -= 1,
        _ => drop(tally.remove(value)),
    }
}
