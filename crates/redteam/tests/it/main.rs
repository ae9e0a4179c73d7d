//! Every probe against the binary of this build.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use vidimus_redteam::run::{self, Verdict};
use vidimus_redteam::stage::Stage;
use vidimus_redteam::{known, probes, report};

/// Beside this test's own directory, where cargo puts the binaries of the workspace.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("vidimus")
}

#[test]
fn redteam_every_attack_fails() {
    let mut stage = Stage::start(&binary(), probes::TIMES).unwrap();
    let outcomes = run::run(&mut stage, probes::all()).unwrap();
    // One that is mended leaves the list of those known to be broken: what is on it may break again unseen.
    let wrong = |outcome: &&run::Outcome| matches!(outcome.verdict, Verdict::Broken | Verdict::Mended);
    let wrong: Vec<_> = outcomes.iter().filter(wrong).cloned().collect();
    let names: Vec<_> = wrong.iter().map(|outcome| (outcome.verdict.as_str(), &outcome.name)).collect();
    assert!(wrong.is_empty(), "{names:?}\n{}{}", report::faults(&wrong), report::sums(&outcomes));
}

#[test]
fn redteam_probes_are_many_and_named_once() {
    let names: Vec<_> = probes::all().into_iter().map(|probe| probe.name).collect();
    let distinct: BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    assert!(names.len() >= 200, "{}", names.len());
    for (why, listed) in known::KNOWN {
        assert!(!why.is_empty());
        for name in *listed {
            assert!(distinct.contains(&(*name).to_owned()), "no probe is called {name}");
        }
    }
}
