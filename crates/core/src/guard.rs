//! What looks at the content of a call before it is decided for good (ADR 77): a forbid with `@guard("secrets")` stands until the guard has
//! looked, and `context.guarded` names those that lift it. What a guard is, is here; what it finds is found elsewhere, and comes in as data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::json_schema::HeldSchema;
use crate::obligation::Obligation;
use crate::resource::own_guard::{Looks, OwnGuard, Webhook};

/// A guard, by what it looks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// Texts that are written to be obeyed by a model: instructions in the place of data.
    Injection,
    /// What is about a person: numbers of cards, accounts and identities, addresses.
    PersonalData,
    /// Keys, tokens and passwords.
    Secrets,
    /// What a policy declares (`spec.guards`, ADR 87).
    Own(Arc<OwnGuard>),
}

impl Guard {
    /// Every guard that is built in, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Injection, Self::PersonalData, Self::Secrets];

    /// The name in `context.guarded` and in records. That of one that a policy declares has the policy's in it, so that no other policy's is taken
    /// for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Injection => "injection",
            Self::PersonalData => "personal_data",
            Self::Secrets => "secrets",
            Self::Own(own) => &own.id,
        }
    }

    /// The built-in guard of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|guard| guard.as_str() == name)
    }

    /// What is said is held to this; `None` of a guard that looks for something.
    pub fn schema(&self) -> Option<&HeldSchema> {
        match self {
            Self::Own(own) => match &own.looks {
                Looks::Schema(schema) => Some(schema),
                Looks::Patterns(_) | Looks::Webhook(_) => None,
            },
            Self::Injection | Self::PersonalData | Self::Secrets => None,
        }
    }

    /// Who is asked what there is to find, and has to be waited for; `None` of a guard that looks by itself.
    pub fn webhook(&self) -> Option<&Webhook> {
        match self {
            Self::Own(own) => match &own.looks {
                Looks::Webhook(webhook) => Some(webhook),
                Looks::Patterns(_) | Looks::Schema(_) => None,
            },
            Self::Injection | Self::PersonalData | Self::Secrets => None,
        }
    }
}

/// What becomes of a call in which a guard finds something; a later one is stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnFinding {
    /// `@on_finding("record")`: it passes, and the record says what was found.
    Record,
    /// `@on_finding("redact")`: it passes without the values in which something was found.
    Redact,
    /// The forbid stands: it refuses, or asks people where it has `@approval` too.
    Refuse,
}

/// What a policy says of a guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guarding {
    pub(crate) guard: Guard,
    pub(crate) on_finding: OnFinding,
    /// The policy is only tried.
    pub(crate) observes: bool,
}

/// A guard that has to look at a call, because policies refuse or hold the call until it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which one.
    pub guard: Guard,
    /// What becomes of the call if it finds something: the strictest of what these policies say.
    pub on_finding: OnFinding,
    /// The first of these policies, by its id.
    pub policy: Arc<str>,
}

/// What a guard came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It found nothing.
    Passed,
    /// It found something, which is only noted.
    Recorded,
    /// It found something, which does not go on.
    Redacted,
    /// It found something.
    Found,
    /// It found something that could not be taken out, where that was to be done.
    Unredactable,
    /// It could not look.
    Failed,
    /// It could not look, and its policy has calls pass then (`onFailure: open`).
    Open,
}

impl Came {
    /// The verdict as it stands in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Recorded => "recorded",
            Self::Redacted => "redacted",
            Self::Found => "found",
            Self::Unredactable => "unredactable",
            Self::Failed => "failed",
            Self::Open => "open",
        }
    }

    /// Whether it lifts what waits for it.
    const fn lifts(self) -> bool {
        matches!(self, Self::Passed | Self::Recorded | Self::Redacted | Self::Open)
    }
}

/// How often each kind of thing was found: `aws-access-token`. Never what. Of a guard that could not look it is why.
pub type Kinds = BTreeMap<Cow<'static, str>, u32>;

/// A guard that looked at a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    pub guard: Guard,
    pub came: Came,
    pub kinds: Kinds,
}

/// As it stands in a decision's facts: `redacted: aws-access-token 1, jwt 2`.
impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.came.as_str())?;
        for (number, (kind, count)) in self.kinds.iter().enumerate() {
            write!(f, "{}{kind} {count}", if number == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

/// The guards that looked at a call, and what they came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guarded {
    looked: Vec<Looked>,
    /// What has to be taken out, for what they came to to be true.
    obligations: Vec<Obligation>,
}

static NOTHING: Guarded = Guarded { looked: Vec::new(), obligations: Vec::new() };

impl Guarded {
    /// Of a call that no guard looked at.
    pub fn nothing() -> &'static Self {
        &NOTHING
    }

    /// One more guard looked; each does once.
    pub fn add(&mut self, looked: Looked, obligations: impl IntoIterator<Item = Obligation>) {
        if !self.has(&looked.guard) {
            self.looked.push(looked);
            self.obligations.extend(obligations);
        }
    }

    /// Whether this guard looked.
    pub fn has(&self, guard: &Guard) -> bool {
        self.looked.iter().any(|one| one.guard == *guard)
    }

    /// Those that looked.
    pub fn looked(&self) -> &[Looked] {
        &self.looked
    }

    /// What `context.guarded` has: those that lift what waits for them. Of several of one name, as of a policy as it was and as it is being written,
    /// all have to.
    pub fn lifting(&self) -> impl Iterator<Item = &str> {
        let stands =
            |name: &str| self.looked.iter().any(|one| !one.came.lifts() && one.guard.as_str() == name);
        self.looked.iter().map(|one| one.guard.as_str()).filter(move |name| !stands(name))
    }

    pub(crate) fn obligations(&self) -> &[Obligation] {
        &self.obligations
    }
}

/// Of several policies each guard once, without those that looked already. What is only tried decides of a guard where nothing else wants it,
/// and takes nothing out.
pub(crate) fn wanted<'p>(
    policies: impl Iterator<Item = (&'p Arc<str>, Guarding)>,
    guarded: &Guarded,
) -> Vec<Wanted> {
    #[expect(clippy::mutable_key_type, reason = "a pattern is compared by its text")]
    let mut all: BTreeMap<Guard, (bool, Wanted)> = BTreeMap::new();
    for (policy, Guarding { guard, on_finding, observes }) in policies {
        if guarded.has(&guard) {
            continue;
        }
        let on_finding = match on_finding {
            OnFinding::Redact if observes => OnFinding::Record,
            on_finding => on_finding,
        };
        let one = Wanted { guard: guard.clone(), on_finding, policy: policy.clone() };
        match all.get_mut(&guard) {
            Some((tried, known)) if *tried == observes => {
                known.on_finding = known.on_finding.max(on_finding);
                if one.policy < known.policy {
                    known.policy = one.policy;
                }
            }
            Some((tried, _)) if !*tried => {}
            _ => drop(all.insert(guard, (observes, one))),
        }
    }
    all.into_values().map(|(_, wanted)| wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::own_guard::OnFailure;

    #[test]
    fn the_strictest_holds_and_what_is_only_tried_counts_where_nothing_else_does() {
        let (secrets, injection) = (Guard::Secrets, Guard::Injection);
        let (a, b, c): (Arc<str>, Arc<str>, Arc<str>) = ("a".into(), "b".into(), "c".into());
        let says =
            |guard: &Guard, on_finding, observes| Guarding { guard: guard.clone(), on_finding, observes };
        let policies = [
            (&c, says(&secrets, OnFinding::Refuse, true)),
            (&b, says(&secrets, OnFinding::Record, false)),
            (&a, says(&secrets, OnFinding::Redact, false)),
            (&c, says(&injection, OnFinding::Redact, true)),
        ];
        let found = wanted(policies.clone().into_iter(), &Guarded::default());
        let expected = [
            Wanted { guard: injection.clone(), on_finding: OnFinding::Record, policy: c.clone() },
            Wanted { guard: secrets.clone(), on_finding: OnFinding::Redact, policy: a.clone() },
        ];
        assert_eq!(found, expected);
        let mut guarded = Guarded::default();
        guarded.add(Looked { guard: secrets, came: Came::Found, kinds: Kinds::new() }, []);
        let left = wanted(policies.into_iter(), &guarded);
        assert_eq!(left.into_iter().map(|one| one.guard).collect::<Vec<_>>(), [injection]);
        assert_eq!(guarded.lifting().count(), 0);
    }

    /// Attack: a policy of the same name, whose guard of the same name finds nothing.
    #[test]
    fn of_guards_of_one_name_all_have_to_let_pass() {
        let own = |timeout_ms| {
            let webhook = Webhook {
                url: "http://opa.example/".into(),
                ca_file: None,
                timeout_ms,
                on_failure: OnFailure::Closed,
            };
            Guard::Own(Arc::new(OwnGuard {
                id: "n/p/opa".into(),
                name: "opa".into(),
                looks: Looks::Webhook(webhook),
            }))
        };
        let mut guarded = Guarded::default();
        guarded.add(Looked { guard: own(1), came: Came::Passed, kinds: Kinds::new() }, []);
        assert_eq!(guarded.lifting().collect::<Vec<_>>(), ["n/p/opa"]);
        guarded.add(Looked { guard: own(2), came: Came::Found, kinds: Kinds::new() }, []);
        assert_eq!(guarded.lifting().count(), 0);
    }

    #[test]
    fn every_guard_is_known_by_its_name() {
        for guard in Guard::ALL {
            assert_eq!(Guard::named(guard.as_str()), Some(guard));
        }
        assert_eq!(Guard::named("Secrets"), None);
    }
}
