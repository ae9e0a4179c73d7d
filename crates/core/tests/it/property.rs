//! Every decision is Cedar's, and follows the rules of `authorize`: generated policies, entities and calls, decided by the crate and
//! by an oracle of Cedar's own authorizer that shares nothing with it.
//!
//! `VIDIMUS_PROPERTY_CASES` sets how many calls are compared (10,000 by default), `VIDIMUS_PROPERTY_SEED` where to begin; a
//! failure prints the seed that shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use vidimus_core::call::{Arguments, Call};
use vidimus_core::decision::{Decision, Outcome};
use vidimus_core::refusal::Code;
use vidimus_core::resource::Object;
use vidimus_core::snapshot::Snapshot;

use crate::generate::{self, Sample};
use crate::oracle::arguments::hides;
use crate::oracle::{Answer, BUILT_IN, Expected, Oracle};

/// Calls compared for each generated configuration.
const CALLS: u64 = 12;

#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    cases: u64,
    configurations: u64,
    policies: usize,
    refused_policies: usize,
    allowed: u64,
    held: u64,
    changed: u64,
    implied: u64,
    beyond_limits: u64,
    forbidden: u64,
    by_default: u64,
    failed: u64,
    unseen: u64,
    could_not: u64,
}

impl Seen {
    fn and(self, other: Self) -> Self {
        Self {
            cases: self.cases + other.cases,
            configurations: self.configurations + other.configurations,
            policies: self.policies + other.policies,
            refused_policies: self.refused_policies + other.refused_policies,
            allowed: self.allowed + other.allowed,
            held: self.held + other.held,
            changed: self.changed + other.changed,
            implied: self.implied + other.implied,
            beyond_limits: self.beyond_limits + other.beyond_limits,
            forbidden: self.forbidden + other.forbidden,
            by_default: self.by_default + other.by_default,
            failed: self.failed + other.failed,
            unseen: self.unseen + other.unseen,
            could_not: self.could_not + other.could_not,
        }
    }
}

#[test]
fn every_decision_is_cedars() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (cases, first) = (number("VIDIMUS_PROPERTY_CASES", 10_000), number("VIDIMUS_PROPERTY_SEED", 1));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let seen = std::thread::scope(|scope| {
        let some = |thread: u64| {
            let mut seen = Seen::default();
            let mut seed = first + thread;
            while seen.cases * threads < cases {
                configuration(seed, &mut seen);
                seed += threads;
            }
            seen
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || some(thread))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).fold(Seen::default(), Seen::and)
    });
    assert!(seen.cases >= cases, "{seen:?}");
    println!("{seen:?}");
    // The generator must reach what it is there for.
    let minimum = seen.cases / 50;
    for (what, count) in [
        ("allowed", seen.allowed),
        ("held", seen.held * 2),
        ("changed", seen.changed * 6),
        ("forbidden", seen.forbidden),
        ("by default", seen.by_default),
        ("failed", seen.failed),
        ("unseen", seen.unseen),
        ("could not", seen.could_not),
        ("beyond limits", seen.beyond_limits),
        // Of the few calls that connect or list.
        ("implied", seen.implied * 5),
    ] {
        assert!(count >= minimum, "{what}: {seen:?}");
    }
    assert!(seen.refused_policies * 3 < seen.policies, "{seen:?}");
}

fn configuration(seed: u64, seen: &mut Seen) {
    let (objects, calls) = generate::world(seed, CALLS);
    let policies = objects.iter().filter(|object| matches!(object, Object::Policy(_))).count();
    let oracle = Oracle::new(&objects);
    let (snapshot, rejected) = Snapshot::build(objects);
    for rejection in &rejected {
        // The generator does not know all of Cedar's type system; what it writes must at least parse.
        assert!(!rejection.reason.contains("fault"), "seed {seed}: {rejection:?}");
        assert!(rejection.object.to_string().starts_with("Policy"), "seed {seed}: {rejection:?}");
        if std::env::var_os("VIDIMUS_PROPERTY_REJECTED").is_some() {
            println!("{} <- {}", rejection.reason, rejection.value);
        }
    }
    let accepted: BTreeSet<String> = snapshot.policies().map(ToString::to_string).collect();
    let wanted = oracle.accepted.iter().cloned().chain(BUILT_IN.map(|(id, _)| id.to_owned())).collect();
    assert_eq!(accepted, wanted, "seed {seed}");
    seen.configurations += 1;
    seen.policies += policies;
    seen.refused_policies += rejected.len();
    for sample in &calls {
        let show = || shown(seed, &snapshot, sample);
        sample.ask(&snapshot, |call| {
            compare(&snapshot, &oracle, call, sample, seen, &show);
            seen.cases += 1;
        });
    }
}

fn shown(seed: u64, snapshot: &Snapshot, sample: &Sample) -> String {
    let policies: Vec<String> = snapshot
        .objects()
        .iter()
        .filter_map(|object| match object {
            Object::Policy(policy) => {
                Some(format!("{} ({:?}): {}", policy.meta.key(), policy.scope, policy.cedar))
            }
            _ => None,
        })
        .collect();
    format!("seed {seed}\n{sample:#?}\n{}", policies.join("\n"))
}

fn compare(
    snapshot: &Snapshot,
    oracle: &Oracle,
    call: &Call<'_>,
    sample: &Sample,
    seen: &mut Seen,
    show: &dyn Fn() -> String,
) {
    let arguments = sample.arguments.as_ref().map(|text| serde_json::from_str::<Value>(text).unwrap());
    let expected = oracle.authorize(call, arguments.as_ref());
    let hidden = hidden(oracle, call, arguments.as_ref());
    // Cold and warm.
    for _ in 0..2 {
        let decision = snapshot.authorize(call);
        let found = found(&decision);
        match &expected {
            Expected::Exactly(wanted) if hidden.is_empty() || found == *wanted => {
                assert_eq!(&found, wanted, "{decision:#?}\n{}", show());
            }
            Expected::Exactly(wanted) => {
                assert!(is_short_of(&found, wanted, oracle), "{wanted:?}\n{decision:#?}\n{}", show());
            }
            Expected::ByUse { must, may, refused, asking } => {
                by_use(&decision, (*must, may, refused, asking), oracle, &|| {
                    format!("{decision:#?}\n{expected:#?}\n{}", show())
                });
            }
        }
        let is_allowed = matches!(decision.outcome(), Outcome::Allow | Outcome::AllowWithObligations);
        assert_eq!(is_allowed, found.code.is_none(), "{decision:#?}");
        let is_changed = found.code.is_none() && !found.changing.is_empty();
        assert_eq!(decision.outcome() == Outcome::AllowWithObligations, is_changed, "{decision:#?}");
        let is_held = found.code == Some(Code::ApprovalRequired);
        assert_eq!(decision.outcome() == Outcome::Hold, is_held, "{decision:#?}");
        assert_eq!(decision.to_approve().is_some(), is_held, "{decision:#?}");
        assert_eq!(decision.outcome() == Outcome::Deny, found.code.is_some() && !is_held, "{decision:#?}");
        assert!(decision.facts().windows(2).all(|pair| pair[0].0 < pair[1].0), "{decision:#?}\n{}", show());
        assert!(decision.closest_permits().is_empty() || found.code == Some(Code::NoPermit), "{decision:#?}");
        assert_eq!(decision.call().digest(), call.digest());
    }
    let decision = snapshot.authorize(call);
    seen.changed += u64::from(decision.outcome() == Outcome::AllowWithObligations);
    match decision.code() {
        None if matches!(expected, Expected::ByUse { .. }) => seen.implied += 1,
        None => seen.allowed += 1,
        Some(Code::ApprovalRequired) => seen.held += 1,
        Some(Code::ForbiddenByPolicy) => seen.forbidden += 1,
        Some(Code::NoPermit) => seen.by_default += 1,
        Some(Code::DelegationTooDeep | Code::DelegationTooWide | Code::ChainLimit | Code::ChainEnded) => {
            seen.beyond_limits += 1;
        }
        Some(Code::Unrepresentable) => seen.unseen += 1,
        Some(_) => seen.failed += 1,
    }
    // What the arguments allow, a listing shows.
    let allowed = oracle.policies(call, arguments.as_ref()).is_permitted();
    let mut unknown = *call;
    unknown.ask.arguments = Arguments::Unknown;
    let could = snapshot.could_allow(&unknown);
    assert!(could || !allowed, "hidden although allowed\n{}", show());
    let could_known = snapshot.could_allow(call);
    assert!(if hidden.is_empty() { could_known == allowed } else { !could_known || allowed }, "{}", show());
    seen.could_not += u64::from(!could);
    // What a policy cannot see must not matter to what is decided without it.
    if let (None | Some(Code::NoPermit), Some(arguments), Expected::Exactly(wanted)) =
        (decision.code(), &arguments, &expected)
    {
        for place in hidden {
            for value in [-4, 0, 4, 5, 9, 13] {
                let with = oracle.with_tag(call, arguments, place, value);
                assert_eq!(&with, wanted, "{place:?} {value}\n{}", show());
            }
        }
    }
}

/// Whether a denial is what it should be but for policies that could not see what they looked at.
fn is_short_of(found: &Answer, wanted: &Answer, oracle: &Oracle) -> bool {
    let on_arguments = |ids: &BTreeSet<String>| ids.iter().all(|id| oracle.is_on_arguments(id));
    match (found.code, wanted.code) {
        (Some(Code::Unrepresentable), _) => on_arguments(&found.policies),
        (Some(one), Some(other)) if one == other => {
            found.policies.is_subset(&wanted.policies)
                && on_arguments(&wanted.policies.difference(&found.policies).cloned().collect())
        }
        (Some(Code::ForbiddenByPolicy), Some(Code::PolicyError)) => on_arguments(&wanted.policies),
        _ => false,
    }
}

/// The places where policies may look and something is that they cannot see.
fn hidden(oracle: &Oracle, call: &Call<'_>, arguments: Option<&Value>) -> Vec<(&'static str, bool)> {
    let Some(arguments) = arguments.filter(|_| !oracle.passes_unseen(call)) else { return Vec::new() };
    let places = generate::POINTERS.iter().flat_map(|pointer| [(*pointer, false), (*pointer, true)]);
    places.filter(|place| hides(arguments, *place)).collect()
}

type ByUse<'a> = (bool, &'a BTreeMap<String, BTreeSet<String>>, &'a [Answer], &'a BTreeSet<String>);

/// No policy permits the whole: some use of a part must imply it, and the record must say which.
fn by_use(
    decision: &Decision<'_>,
    (must, may, refused, asking): ByUse<'_>,
    oracle: &Oracle,
    show: &dyn Fn() -> String,
) {
    if decision.code().is_none() || decision.outcome() == Outcome::Hold {
        let implied_by = decision.facts().iter().find(|(name, _)| &**name == "implied_by");
        let Some(permits) = implied_by.and_then(|(_, named)| may.get(&**named)) else {
            panic!("allowed, but by no use that could be\n{}", show())
        };
        let ids = texts(decision.policies());
        assert_eq!(decision.outcome() == Outcome::Hold, !asking.is_empty(), "{}", show());
        if !asking.is_empty() {
            assert_eq!(&ids, asking, "{}", show());
            return;
        }
        assert!(!ids.is_empty() && ids.is_superset(permits), "{}", show());
        let on_arguments = |id: &String| oracle.permits_on_arguments().any(|one| one == id);
        assert!(ids.difference(permits).all(on_arguments), "{}", show());
        return;
    }
    assert!(!must, "denied, but some use is allowed\n{}", show());
    assert!(refused.contains(&found(decision)), "{}", show());
}

fn found(decision: &Decision<'_>) -> Answer {
    let asking = decision.asking().iter().map(|one| one.policy.to_string()).collect();
    let changing = decision.obligations().iter().map(|one| one.policy.to_string()).collect();
    Answer { asking, changing, ..Answer::new(decision.code(), texts(decision.policies())) }
}

fn texts(ids: &[Arc<str>]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}
