use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use super::*;

/// A program of a few lines of shell in the place of the solver.
fn program(lines: &str, limit: Duration) -> (tempfile::TempDir, Process) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("solver");
    fs::write(&path, format!("#!/bin/sh\n{lines}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    let process = Process::new(SolverProgram { program: path, limit });
    (directory, process)
}

fn said(error: SolverError) -> String {
    match error {
        SolverError::Solver(said) => said,
        other => other.to_string(),
    }
}

/// Reads until it is asked, then goes on.
const READS: &str = "while read -r line && [ \"$line\" != '(check-sat)' ]; do :; done;";

#[tokio::test]
async fn what_is_answered_is_understood() {
    for (answer, expected) in [
        ("sat", Ok(Decision::Sat)),
        ("unsat", Ok(Decision::Unsat)),
        ("unknown", Ok(Decision::Unknown)),
        ("'(error \"no\")'", Err("(error \"no\")")),
        ("maybe", Err("maybe")),
        ("''", Err("")),
    ] {
        let (_kept, mut process) = program(&format!("{READS} echo {answer}; cat"), Duration::from_secs(20));
        let found = process.check_sat().await.map_err(said);
        assert_eq!(found, expected.map_err(str::to_owned), "{answer}");
        process.end().await;
    }
}

#[tokio::test]
async fn a_model_is_read_to_its_end() {
    let lines = format!("{READS} echo sat; read -r line; printf '(\\n(define-fun x () Int 4)\\n)\\n'; cat");
    let (_kept, mut process) = program(&lines, Duration::from_secs(20));
    let found = process.check_sat_with_model().await.expect("a model");
    let model = "(\n(define-fun x () Int 4)\n)\n".to_owned();
    assert_eq!(found, DecisionWithModel::Sat { model });
    process.end().await;
}

#[tokio::test]
async fn who_does_not_answer_in_time_is_ended_and_begun_again() {
    let lines = format!("echo $$ >> \"$0.pids\"; {READS} [ -e \"$0.late\" ] && echo unsat; exec sleep 600");
    let (kept, mut process) = program(&lines, Duration::from_millis(10));
    let begun = Instant::now();
    let late = process.check_sat().await.map_err(said);
    assert_eq!(late, Err("no answer within 0.01 s".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    fs::write(kept.path().join("solver.late"), "").expect("written");
    assert_eq!(process.check_sat().await.map_err(said), Ok(Decision::Unsat));
    process.end().await;
    let pids = fs::read_to_string(kept.path().join("solver.pids")).expect("two of them");
    let pids: Vec<&str> = pids.lines().collect();
    assert_eq!(pids.len(), 2);
    for pid in pids {
        assert!(!std::path::Path::new("/proc").join(pid).exists(), "{pid} goes on");
    }
}

#[tokio::test]
async fn who_says_too_much_is_ended() {
    for lines in ["tr '\\0' 'x' < /dev/zero", "echo sat; echo '('; yes '(define-fun x () Int 4)'"] {
        let (_kept, mut process) = program(&format!("{READS} {lines}"), Duration::from_secs(60));
        let found = process.check_sat_with_model().await.map_err(said);
        assert_eq!(found, Err("it answers with more than 16 MiB".to_owned()), "{lines}");
        assert!(process.running.is_none());
    }
}

#[tokio::test]
async fn who_ends_says_why_and_remarks_hold_nobody_up() {
    let (_kept, mut process) = program("echo 'No module named cvc5' >&2; exit 1", Duration::from_secs(20));
    let found = process.check_sat().await.map_err(said);
    assert_eq!(found, Err("it ended: No module named cvc5".to_owned()));
    let lines = format!("head -c 1000000 /dev/zero | tr '\\0' 'x' >&2; {READS} echo unsat; cat");
    let (_kept, mut process) = program(&lines, Duration::from_secs(20));
    assert_eq!(process.check_sat().await.map_err(said), Ok(Decision::Unsat));
    process.end().await;
}

#[tokio::test]
async fn what_is_no_solver_is_told_before_anything_is_asked() {
    let (_kept, mut process) = program(&format!("{READS} echo unsat; cat"), Duration::from_secs(20));
    assert_eq!(process.introduce().await.map_err(said), Err("it does not know that true can be".to_owned()));
    process.end().await;
    let none = SolverProgram { program: "/nowhere/cvc5".into(), limit: Duration::from_secs(1) };
    let error = Process::new(none).introduce().await.expect_err("nothing is there");
    assert!(matches!(error, SolverError::Io(error) if error.kind() == std::io::ErrorKind::NotFound));
}
