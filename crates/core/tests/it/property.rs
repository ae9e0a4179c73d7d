//! Every decision is Cedar's: generated policies, entities and calls, decided here and by Cedar's own authorizer.
//!
//! `VIDIMUS_PROPERTY_CASES` sets how many calls are compared (10,000 by default), `VIDIMUS_PROPERTY_SEED` where to begin; a
//! failure prints the seed that shows it.

use std::collections::BTreeSet;

use vidimus_core::call::{Arguments, Call};
use vidimus_core::refusal::Code;
use vidimus_core::resource::Object;
use vidimus_core::snapshot::Snapshot;

use crate::generate::{self, Sample};

/// Calls compared for each generated configuration.
const CALLS: u64 = 12;

#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    cases: u64,
    configurations: u64,
    policies: usize,
    refused_policies: usize,
    allowed: u64,
    forbidden: u64,
    by_default: u64,
    failed: u64,
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
            forbidden: self.forbidden + other.forbidden,
            by_default: self.by_default + other.by_default,
            failed: self.failed + other.failed,
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
    let least = seen.cases / 50;
    for (what, count) in [
        ("allowed", seen.allowed),
        ("forbidden", seen.forbidden),
        ("by default", seen.by_default),
        ("failed", seen.failed),
        ("could not", seen.could_not),
    ] {
        assert!(count >= least, "{what}: {seen:?}");
    }
    assert!(seen.refused_policies * 3 < seen.policies, "{seen:?}");
}

fn configuration(seed: u64, seen: &mut Seen) {
    let (objects, calls) = generate::world(seed, CALLS);
    let policies = objects.iter().filter(|object| matches!(object, Object::Policy(_))).count();
    let (snapshot, rejected) = Snapshot::build(objects);
    for rejection in &rejected {
        // The generator does not know all of Cedar's type system; what it writes must at least parse.
        assert!(!rejection.reason.contains("fault"), "seed {seed}: {rejection:?}");
        assert!(rejection.object.starts_with("Policy"), "seed {seed}: {rejection:?}");
        if std::env::var_os("VIDIMUS_PROPERTY_REJECTED").is_some() {
            println!("{} <- {}", rejection.reason, rejection.value);
        }
    }
    seen.configurations += 1;
    seen.policies += policies;
    seen.refused_policies += rejected.len();
    let reference = snapshot.reference().unwrap();
    for sample in &calls {
        sample.ask(&snapshot, |call| {
            compare(seed, &snapshot, &reference, call, sample, seen);
            seen.cases += 1;
        });
    }
}

fn compare(
    seed: u64,
    snapshot: &Snapshot,
    reference: &vidimus_core::decide::reference::Reference<'_>,
    call: &Call<'_>,
    sample: &Sample,
    seen: &mut Seen,
) {
    let wanted = reference.question(call, false).unwrap().answer();
    let show = || {
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
    };
    // Cold and warm.
    for _ in 0..2 {
        let decision = snapshot.decide(call);
        let policies: BTreeSet<String> = decision.policies().iter().map(ToString::to_string).collect();
        assert_eq!(
            (decision.code(), &policies),
            (wanted.code, &wanted.policies),
            "{decision:#?}\n{}",
            show()
        );
        assert_eq!(decision.allowed(), wanted.code.is_none());
        assert!(decision.facts().windows(2).all(|pair| pair[0].0 < pair[1].0), "{decision:#?}\n{}", show());
        assert!(decision.near().is_empty() || wanted.code == Some(Code::NoPermit), "{decision:#?}");
    }
    match wanted.code {
        None => seen.allowed += 1,
        Some(Code::ForbiddenByPolicy) => seen.forbidden += 1,
        Some(Code::NoPermit) => seen.by_default += 1,
        Some(_) => seen.failed += 1,
    }
    // What the arguments allow, a listing shows.
    let mut unknown = *call;
    unknown.context.arguments = Arguments::Unknown;
    let could = snapshot.could_allow(&unknown);
    assert!(could || wanted.code.is_some(), "hidden although allowed\n{}", show());
    assert_eq!(snapshot.could_allow(call), wanted.code.is_none(), "known arguments\n{}", show());
    seen.could_not += u64::from(!could);
}
