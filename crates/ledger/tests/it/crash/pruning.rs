//! Power losses while a log is pruned.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use vidimus_ledger::{
    ArchiveAt, Durability, Finding, Ledger, Note, Options, Query, Retention, fsck, pruned, search, verify,
};

use super::random::Random;
use super::recorder::Recorder;
use super::states::{Luck, after};
use super::{kept, log, scratch, small, states};
use crate::support::{BY, grow, kept_long_enough};

/// All of them signed for.
const RECORDS: u64 = 600;

/// After any of its steps the log opens, and has all records but those that are on record as gone; the archive has these then.
#[test]
fn a_power_loss_while_a_log_is_pruned_loses_nothing_else() {
    let dir = scratch();
    let root = dir.path();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(grow(small(&log(root), Durability::Commit), RECORDS));
    let recorder = Recorder::new(root);
    let ledger = Ledger::open_on(Arc::new(recorder.clone()), small(&log(root), Durability::Commit));
    let ledger = ledger.expect("opened");
    let at = ArchiveAt::Directory(root.join("archive"));
    let retention = Retention { archive: Some((&at).into()), ..kept_long_enough() };
    let minimum = ledger.prune(&retention, &BY).expect("pruned").expect("some").minimum();
    runtime.block_on(ledger.close());
    let recorded = recorder.log();
    for seed in 0..states() as u64 / 2 {
        let mut random = Random(seed);
        let done = random.below(recorded.operations.len() + 1);
        let luck = [Luck::Nothing, Luck::Everything, Luck::Beginning, Luck::Any][random.below(4)];
        let state = after(&recorded, done, luck, &mut random);
        let lost = scratch();
        state.write(lost.path());
        let started = catch_unwind(AssertUnwindSafe(|| start(lost.path(), minimum)));
        assert!(
            started.is_ok(),
            "seed {seed}: {luck:?} after {done} operations, kept in {}",
            kept(&recorded, &state, done, luck).display()
        );
    }
}

fn start(root: &std::path::Path, minimum: u64) {
    let (dir, archive) = (log(root), root.join("archive"));
    let checked = verify(&dir, &Options::default()).expect("verified");
    let wrong = checked.findings.iter().find(|finding| !matches!(finding, Finding::Tile { .. }));
    assert!(wrong.is_none(), "before the start: {wrong:?}");
    let looked = fsck(&dir, false).expect("looked");
    let damage = looked.faults.iter().find(|fault| !fault.means.is_well());
    assert!(damage.is_none(), "a start mends it: {damage:?}");
    let ledger = Ledger::open(small(&dir, Durability::Commit)).expect("opened");
    let first = pruned(&dir).expect("proven").map_or(0, |pruned| pruned.minimum());
    assert!(first == 0 || first == minimum, "{first}");
    let as_archive = Options { archive: true, ..Options::default() };
    let is_archived = |minimum: u64| {
        let checked = verify(&archive, &as_archive).expect("verified");
        assert!(checked.intact() && checked.records >= minimum, "{checked:?}");
        assert!(checked.notes.contains(&Note::Archive { records: checked.records }), "{checked:?}");
    };
    if first > 0 {
        is_archived(first);
    }
    let found: Vec<u64> =
        search(&dir, &Query::default()).expect("searched").map(|hit| hit.expect("read").index).collect();
    assert_eq!(found, (first..ledger.size()).collect::<Vec<_>>());
    assert!(ledger.size() >= RECORDS);
    // What was not done is done now.
    let at = ArchiveAt::Directory(archive.clone());
    let retention = Retention { archive: Some((&at).into()), ..kept_long_enough() };
    ledger.prune(&retention, &BY).expect("pruned");
    drop(ledger);
    is_archived(minimum);
    let checked = verify(&dir, &Options::default()).expect("verified");
    assert!(checked.intact(), "{:?}", checked.findings);
    assert!(checked.notes.iter().any(|note| matches!(note, Note::Pruned(_))), "{checked:?}");
}
