//! Parts of one log: an archive, and what is left of the log.

use vidimus_ledger::{ActBy, ArchiveAt, Retention};
use vidimus_registry::configurations::Archive;

use super::*;
use crate::audit::{Asked, EvidenceAsked, ExportQuestion, Exported, InLog, export_by};

/// A log as it was, and what is left of it beside the archive of what was pruned.
fn parted(at: &Path) -> (PathBuf, [PathBuf; 2]) {
    let (log, archive) = (at.join("log"), at.join("archive"));
    let records = (0..600).map(|index| match index {
        // Calls of which every third is another agent's, all of them under way when the last begins.
        0..300 => {
            let who = if index % 3 == 0 { "Agent/a/other" } else { "Agent/a/bot" };
            decision(&index.to_string(), index, json!({"principal": who, "trace": format!("{index:032x}-{:016x}", 1)}))
        }
        _ => json!({
            "bytes_in": 1, "bytes_out": 1, "decision": index - 300, "duration_us": 1, "id": (index - 300).to_string(), "kind": "effect",
            "result": "ok", "status": 200, "time": time(index), "version": 1,
        }),
    });
    let config = Config {
        dir: log.clone(),
        origin: Some("log.example".to_owned()),
        segment_bytes: 20_000,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let ledger = Ledger::open(config.clone()).expect("a log");
    for record in records {
        let record = Kept::read(record.to_string().as_bytes()).expect("a record");
        runtime.block_on(ledger.record(&record)).expect("kept");
    }
    runtime.block_on(ledger.close());
    let whole = copy(&log, &at.join("whole"));
    let ledger = Ledger::open(config).expect("a log");
    let to = ArchiveAt::Directory(archive.clone());
    let before = "2026-11-29T00:00:00Z".parse().expect("a time");
    let retention = Retention {
        before,
        stands: u64::MAX,
        witnessed: false,
        archive: Some((&to).into()),
        new_archive: false,
    };
    let by = ActBy { actor: "User/local#ada", id: "p", time: "2026-11-29T00:00:00.000000Z", why: "policy" };
    let minimum = ledger.prune(&retention, &by).expect("pruned").expect("some").minimum();
    runtime.block_on(ledger.close());
    assert!((301..600).contains(&minimum), "{minimum}: decisions of what is left are in the archive");
    (whole, [log, archive])
}

/// What a part has of a call whose decision another part has is found by who asked, as in the log that was not parted.
#[test]
fn an_effect_is_found_by_a_decision_that_another_part_of_the_log_has() {
    let directory = tempfile::tempdir().expect("a directory");
    let (whole, parts) = parted(directory.path());
    let (whole, parts) = (Logs::of(&[whole]), Logs::of(&parts));
    assert_eq!(parts.all().len(), 1);
    let some = |text: &str| Some(text.to_owned());
    let asked = SearchQuestion { kind: Some(Kind::Effect), ..SearchQuestion::default() };
    for (asked, count) in [
        (SearchQuestion { principal: some("other"), ..asked.clone() }, 100),
        (SearchQuestion { policy: some("p"), ..asked.clone() }, 300),
        (SearchQuestion { resource: some("get"), ..asked.clone() }, 300),
        (SearchQuestion { transaction: some("t-299"), ..asked.clone() }, 1),
        (SearchQuestion { trace: Some(format!("{:032x}", 299)), ..asked.clone() }, 1),
        (SearchQuestion { user: some("nobody"), ..asked.clone() }, 0),
        (asked, 300),
    ] {
        for oldest_first in [true, false] {
            let asked = SearchQuestion { oldest_first, ..asked.clone() };
            let found = |logs: &Logs| -> Vec<(u64, Option<Asked>)> {
                let found = search(logs, &asked, &Cursor::default()).expect("a question");
                found.map(|one| one.expect("whole").found).map(|one| (one.index, one.decided)).collect()
            };
            let (one, other) = (found(&whole), found(&parts));
            assert_eq!((one.len(), &one), (count, &other), "{asked:?}");
        }
    }
    let shown = show(&parts, &ShowQuestion { id: "299".to_owned() }, true);
    assert_eq!((shown.records.len(), shown.damage.len()), (2, 0), "{shown:#?}");
    // Evidence of one part has what stands there, whoever has the decision.
    let [log] = parts.all() else { panic!("one log") };
    let asked =
        SearchQuestion { kind: Some(Kind::Effect), principal: some("other"), ..SearchQuestion::default() };
    let question = ExportQuestion {
        asked: EvidenceAsked::Search(asked),
        since_checkpoints: Vec::new(),
        cosigned: false,
        exported: Exported { at: "2026-11-29T00:00:00Z".to_owned(), by: "me".to_owned() },
    };
    let archive = Archive::at(&directory.path().join("configurations"));
    let all = log.directories.iter().map(|dir| {
        let written =
            export_by(&InLog(dir.to_owned()), (dir, &log.others(dir)), &archive, &question, std::io::sink());
        written.expect("written").records
    });
    assert_eq!(all.sum::<u64>(), 100);
}
