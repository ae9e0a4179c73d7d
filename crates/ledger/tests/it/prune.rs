//! Records that were kept long enough go; whatever else is missing is missing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use vidimus_ledger::{
    ArchiveAt, ArchiveError, Checkpoint, Config, Finding, Ledger, Note, OpenError, Options, Prover,
    PruneError, Pruned, Query, Retention, SearchError, fsck, pruned, read_from, search, verify,
};

use crate::support::{
    Asked, BY, config, copy, decide, grow, items, kept_long_enough, report, segments, summed,
};

fn small(dir: &Path) -> Config {
    Config { segment_bytes: 20_000, checkpoint_interval: Duration::from_millis(5), ..config(dir) }
}

/// Prunes all that may go, and closes.
async fn prune(dir: &Path, archive: Option<&Path>) -> Option<Pruned> {
    let ledger = Ledger::open(small(dir)).expect("opened");
    let at = archive.map(|dir| ArchiveAt::Directory(dir.to_owned()));
    let archive = at.as_ref().map(Into::into);
    let pruned = ledger.prune(&Retention { archive, ..kept_long_enough() }, &BY).expect("pruned");
    ledger.close().await;
    pruned
}

fn indexes(dir: &Path) -> Vec<u64> {
    search(dir, &Query::default()).expect("searched").map(|hit| hit.expect("read").index).collect()
}

fn note(dir: &Path) -> String {
    fs::read_to_string(dir.join("checkpoint")).expect("read")
}

fn first(dir: &Path) -> u64 {
    let path = segments(dir).remove(0);
    path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok()).expect("a number")
}

#[tokio::test]
async fn what_went_is_on_record_and_all_that_is_left_is_proven_as_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    grow(small(dir), 100).await;
    let early = note(dir);
    grow(small(dir), 900).await;
    let late = note(dir);
    let kept = search(dir, &Query { id: Some("n-990".to_owned()), ..Query::default() }).expect("searched");
    let record = kept.map(|hit| hit.expect("read").record).next().expect("a record");
    let proof = Prover::latest(dir).expect("a prover").prove(990, &record).expect("proven");

    let gone = prune(dir, None).await.expect("pruned");
    // The hashes of the last tile before what stays are in a full one: 768 of 1,000.
    let minimum = gone.minimum();
    assert!((600..=768).contains(&minimum), "{gone:?}");
    assert_eq!((first(dir), gone.record, gone.prune.from), (minimum, 1000, 0));
    assert_eq!(pruned(dir).expect("read"), Some(gone.clone()));
    assert_eq!(Ledger::open(small(dir)).expect("opened").minimum().expect("read"), minimum);
    let said = gone.to_string();
    assert!(said.starts_with(&format!("records 0 to {} were pruned on 2026-11-28T", minimum - 1)), "{said}");
    assert!(said.contains("by User/local#ada") && said.ends_with("policy 4.2"), "{said}");

    let options = Options { trusted: vec![early.clone(), late.clone()], ..Options::default() };
    let checked = verify(dir, &options).expect("verified");
    assert!(checked.intact(), "{:?}", checked.findings);
    assert_eq!((checked.records, checked.confirmed), (1001, 1001));
    assert!(checked.notes.contains(&Note::Pruned(Box::new(gone))), "{:?}", checked.notes);
    assert!(checked.tiles > 0);

    let mut prover = Prover::latest(dir).expect("a prover");
    prover.prove(990, &record).expect("proven");
    proof.verify(&record, &prover.key().clone()).expect("an old proof is as good as it was");
    for older in [&early, &late] {
        prover.consistency(&Checkpoint::unverified(older).expect("a note")).expect("continued");
    }
    assert_eq!(indexes(dir), (minimum..=1000).collect::<Vec<_>>());
    let first = read_from(dir, minimum - 1).expect("read").next();
    assert!(matches!(first, Some(Err(SearchError::Pruned { .. }))), "{first:?}");
    assert_eq!(
        read_from(dir, minimum).expect("read").map(|hit| hit.expect("read").index).next(),
        Some(minimum)
    );

    let everything = Config { check_all_on_open: true, ..small(dir) };
    let ledger = Ledger::open(everything).expect("opened");
    assert!(ledger.tiles().hashes(0, 0, 256).expect("read").is_some(), "hashes stay");
    assert_eq!(ledger.tiles().entries(0, 256, &mut None).expect("read"), None, "records do not");
    assert!(ledger.tiles().entries(3, 232, &mut None).expect("read").is_some());
    ledger.close().await;
    // Once more, when there is more.
    grow(small(dir), 500).await;
    let again = prune(dir, None).await.expect("pruned");
    assert!(again.minimum() > minimum && again.prune.from == minimum, "{again:?}");
    assert!(verify(dir, &options).expect("verified").intact());
    assert!(again.to_string().contains(&format!("the last of them, from {minimum} on")), "{again}");
    assert!(prune(dir, None).await.is_none(), "nothing else may go");
}

#[tokio::test]
async fn only_whole_old_segments_that_are_signed_for_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(small(dir.path())).expect("opened");
    for index in 0..900 {
        let asked = Asked { id: format!("n-{index}"), second: index, ..Asked::default() };
        decide(&ledger, &asked).await;
    }
    ledger.close().await;
    let ledger = Ledger::open(small(dir.path())).expect("opened");
    let prunable = |retention: Retention<'_>| ledger.prunable(&retention).expect("looked");
    let all = prunable(kept_long_enough()).expect("some");
    let at = |second: u32| -> jiff::Timestamp { crate::support::time(second).parse().expect("a time") };
    assert_eq!(prunable(Retention { before: at(0), ..kept_long_enough() }), None);
    let some = prunable(Retention { before: at(300), ..kept_long_enough() }).expect("some");
    assert!(some <= 300 && some < all, "{some} of {all}");
    assert_eq!(prunable(Retention { stands: some, ..kept_long_enough() }), Some(some));
    assert!(prunable(Retention { stands: some - 1, ..kept_long_enough() }).is_none_or(|less| less < some));
    // Nobody has cosigned anything.
    assert_eq!(prunable(Retention { witnessed: true, ..kept_long_enough() }), None);
    ledger.keep_cosigned(ledger.tiles().checkpoint()).expect("kept");
    assert_eq!(prunable(Retention { witnessed: true, ..kept_long_enough() }), Some(all));
}

#[tokio::test]
async fn what_is_damaged_is_not_pruned() {
    let origin = tempfile::tempdir().expect("a directory");
    grow(small(origin.path()), 700).await;
    let altered = |dir: &Path| {
        let path = segments(dir).remove(0);
        let mut items = items(&fs::read(&path).expect("read"));
        let at = items.iter().position(|item| !item.starts_with(b"SEAL") && item.len() > 100).expect("one");
        let last = items[at].len() - 4;
        items[at][last] ^= 1;
        summed(&mut items[at]);
        fs::write(path, items.concat()).expect("written");
    };
    let tile = |dir: &Path| fs::write(dir.join("tile/0/000"), [7_u8; 8192]).expect("written");
    for harm in [&altered as &dyn Fn(&Path), &tile] {
        let dir = tempfile::tempdir().expect("a directory");
        copy(origin.path(), dir.path());
        let ledger = Ledger::open(small(dir.path())).expect("opened");
        harm(dir.path());
        let before = segments(dir.path());
        let refused = ledger.prune(&kept_long_enough(), &BY).expect_err("refused");
        assert!(matches!(refused, PruneError::Inconsistent), "{refused}");
        ledger.close().await;
        assert_eq!((segments(dir.path()), ledger.size()), (before, 700), "nothing is done, nor said to be");
        assert!(pruned(dir.path()).expect("read").is_none());
    }
}

#[tokio::test]
async fn who_reads_while_a_log_is_pruned_meets_no_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    grow(small(dir), 1000).await;
    let ledger = Ledger::open(small(dir)).expect("opened");
    let mut oldest = search(dir, &Query::default()).expect("searched");
    let mut newest = search(dir, &Query { newest_first: true, ..Query::default() }).expect("searched");
    let mut reading = read_from(dir, 0).expect("read");
    for begun in [oldest.next(), newest.next(), reading.next()] {
        begun.expect("a record").expect("read");
    }
    let verifying = std::thread::scope(|scope| {
        let verifying = scope.spawn(|| (0..20).all(|_| report(dir).intact()));
        ledger.prune(&kept_long_enough(), &BY).expect("pruned").expect("some");
        verifying.join().expect("verified")
    });
    assert!(verifying, "a log that is pruned meanwhile is whole at any moment");
    let minimum = pruned(dir).expect("read").expect("some").minimum();
    for searched in [oldest, newest] {
        let found: Vec<u64> = searched.map(|hit| hit.expect("no damage").index).collect();
        assert!((minimum..999).all(|index| found.contains(&index)), "all that is left is found");
    }
    // Who reads one after the other is told where it goes on, and not that this is the end.
    let told: Vec<_> = reading.collect();
    let (gone, read) = told.split_last().expect("told");
    assert!(!read.is_empty() && read.iter().all(Result::is_ok), "what is open is read to its end");
    assert!(
        matches!(gone, Err(SearchError::Pruned { index, .. }) if *index == 1 + read.len() as u64),
        "{gone:?}"
    );
    ledger.close().await;
}

/// Whoever may delete files is not whoever may prune.
#[tokio::test]
async fn segments_that_somebody_deleted_are_missing_and_not_pruned() {
    let origin = tempfile::tempdir().expect("a directory");
    grow(small(origin.path()), 1000).await;
    let unpruned = tempfile::tempdir().expect("a directory");
    copy(origin.path(), unpruned.path());
    let gone = prune(origin.path(), None).await.expect("pruned");
    let proof = fs::read_to_string(origin.path().join("pruned")).expect("read");
    grow(small(origin.path()), 600).await;
    prune(origin.path(), None).await.expect("pruned");
    let delete = |dir: &Path| fs::remove_file(segments(dir).remove(0)).expect("removed");
    let write = |dir: &Path, text: &str| fs::write(dir.join("pruned"), text).expect("written");
    let (record, rest) = proof.split_once('\n').expect("a record");
    let minimum = gone.minimum();
    let wider = record.replace(&format!("\"minimum\":{minimum}"), &format!("\"minimum\":{}", minimum + 1));
    type Harm<'a> = (&'a str, &'a Path, &'a dyn Fn(&Path), bool);
    let cases: [Harm<'_>; 7] = [
        ("never pruned", unpruned.path(), &delete, false),
        ("more than was pruned", origin.path(), &delete, false),
        ("no proof", origin.path(), &|dir| fs::remove_file(dir.join("pruned")).expect("removed"), false),
        ("an older proof", origin.path(), &|dir| write(dir, &proof), false),
        ("another record", origin.path(), &|dir| write(dir, &format!("{wider}\n{rest}")), true),
        ("no record", origin.path(), &|dir| write(dir, rest), true),
        // Nothing that a log says of the future is true of its past.
        ("a log put back", unpruned.path(), &|dir| write(dir, &proof), false),
    ];
    for (what, from, harm, unproven) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        copy(from, dir.path());
        harm(dir.path());
        let report = report(dir.path());
        assert!(!report.intact(), "{what}: {report:?}");
        let found = report.findings.iter().any(|finding| matches!(finding, Finding::Pruned { .. }));
        assert_eq!(found, unproven, "{what}: {report:?}");
        let refused = Ledger::open(small(dir.path())).map(drop).expect_err(what);
        let fits =
            matches!(refused, OpenError::Segment(_) | OpenError::Pruned(_) | OpenError::RolledBack { .. });
        assert!(fits, "{what}: {refused}");
    }
}

#[tokio::test]
async fn an_archive_has_what_went_as_it_was() {
    let (dir, archives) = (tempfile::tempdir().expect("a log"), tempfile::tempdir().expect("archives"));
    let (dir, archive) = (dir.path(), &archives.path().join("deep/archive"));
    grow(small(dir), 1000).await;
    let all: Vec<_> =
        search(dir, &Query::default()).expect("searched").map(|hit| hit.expect("read")).collect();
    let as_archive = Options { archive: true, ..Options::default() };
    let mut minimum = 0;
    for more in [0, 700] {
        grow(small(dir), more).await;
        minimum = prune(dir, Some(archive)).await.expect("pruned").minimum();
        let checked = verify(archive, &as_archive).expect("verified");
        assert!(checked.intact(), "{:?}", checked.findings);
        assert_eq!((checked.records, checked.confirmed), (minimum, minimum));
        assert!(checked.notes.contains(&Note::Archive { records: minimum }), "{:?}", checked.notes);
        assert_eq!(indexes(archive), (0..minimum).collect::<Vec<_>>());
    }
    let first = search(archive, &Query::default()).expect("searched").next().expect("a record");
    assert_eq!(first.expect("read"), all[0]);
    Prover::latest(archive).expect("a prover").prove(0, &all[0].record).expect("proven");
    // In the place of the log it is noticed, and nobody goes on writing there.
    assert_eq!(report(archive).findings, [Finding::Archive]);
    assert!(matches!(Ledger::open(small(archive)).map(drop), Err(OpenError::KeyMissing { .. })));
    copy(&dir.join("keys"), &archive.join("keys"));
    assert!(matches!(Ledger::open(small(archive)).map(drop), Err(OpenError::Archive { .. })));
    // What is put into an archive of another log, or leaves out something, is not pruned.
    let other = tempfile::tempdir().expect("a log");
    grow(small(other.path()), 600).await;
    let ledger = Ledger::open(small(other.path())).expect("opened");
    let at = ArchiveAt::Directory(archive.clone());
    let retention = Retention { archive: Some((&at).into()), ..kept_long_enough() };
    let refused = ledger.prune(&retention, &BY).expect_err("refused");
    assert!(matches!(refused, PruneError::Archive(ArchiveError::OtherLog { .. })), "{refused}");
    drop(ledger);
    // The records of the acts, which are younger than the others, are old by now.
    let kept_long_enough =
        || Retention { before: "2026-11-29T00:00:00Z".parse().expect("a time"), ..kept_long_enough() };
    grow(small(dir), 700).await;
    let ledger = Ledger::open(small(dir)).expect("opened");
    let more = ledger.prune(&kept_long_enough(), &BY).expect("pruned").expect("some");
    assert!(more.minimum() > minimum, "{more:?}");
    ledger.close().await;
    grow(small(dir), 700).await;
    let ledger = Ledger::open(small(dir)).expect("opened");
    let retention = Retention { archive: Some((&at).into()), ..kept_long_enough() };
    let refused = ledger.prune(&retention, &BY).expect_err("refused");
    assert!(matches!(refused, PruneError::Archive(ArchiveError::Gap { .. })), "{refused}");
    // Another one begins where the log does.
    let late = archives.path().join("late");
    let at = ArchiveAt::Directory(late.clone());
    let retention = Retention { archive: Some((&at).into()), ..kept_long_enough() };
    let pruned = ledger.prune(&retention, &BY).expect("pruned").expect("some");
    let checked = verify(&late, &as_archive).expect("verified");
    assert!(checked.intact(), "{:?}", checked.findings);
    assert_eq!(indexes(&late), (pruned.prune.from..pruned.minimum()).collect::<Vec<_>>());
}

/// A mount that is missing is an empty directory.
#[tokio::test]
async fn no_archive_begins_in_the_place_of_one_that_is_not_there_unless_it_is_said() {
    let (dir, archives) = (tempfile::tempdir().expect("a log"), tempfile::tempdir().expect("archives"));
    let (dir, archive) = (dir.path(), &archives.path().join("mount"));
    grow(small(dir), 1000).await;
    let went = prune(dir, Some(archive)).await.expect("pruned");
    assert!(went.prune.archived, "{went:?}");
    fs::rename(archive, archives.path().join("elsewhere")).expect("not mounted");
    fs::create_dir(archive).expect("an empty directory");
    grow(small(dir), 700).await;
    let ledger = Ledger::open(small(dir)).expect("opened");
    let before = segments(dir);
    let at = ArchiveAt::Directory(archive.clone());
    let retention = Retention { archive: Some((&at).into()), ..kept_long_enough() };
    // Who asks before is told, too: what is copied there beside it is not copied then.
    let asked = ledger.prunable(&retention).expect_err("refused");
    assert!(matches!(asked, PruneError::Archive(ArchiveError::Missing { .. })), "{asked}");
    let refused = ledger.prune(&retention, &BY).expect_err("refused");
    let PruneError::Archive(ArchiveError::Missing { minimum, .. }) = refused else { panic!("{refused}") };
    assert_eq!((minimum, segments(dir)), (went.minimum(), before), "nothing goes");
    assert_eq!(fs::read_dir(archive).expect("listed").count(), 0, "nor is anything made there");
    let retention = Retention { new_archive: true, ..retention };
    let more = ledger.prune(&retention, &BY).expect("pruned").expect("some");
    assert_eq!(indexes(archive), (went.minimum()..more.minimum()).collect::<Vec<_>>());
    ledger.close().await;
}

/// A process that was killed had copied more than is archived in the end.
#[tokio::test]
async fn an_archive_has_nothing_behind_its_checkpoint() {
    let (dir, archives) = (tempfile::tempdir().expect("a log"), tempfile::tempdir().expect("archives"));
    let (dir, archive) = (dir.path(), &archives.path().join("archive"));
    let ledger = Ledger::open(small(dir)).expect("opened");
    for index in 0..900 {
        decide(&ledger, &Asked { id: format!("n-{index}"), second: index, ..Asked::default() }).await;
    }
    ledger.close().await;
    // As it is left behind: segments, and no checkpoint.
    fs::create_dir_all(archive.join("segments")).expect("made");
    for path in segments(dir).iter().take(9) {
        fs::copy(path, archive.join("segments").join(path.file_name().expect("a name"))).expect("copied");
    }
    let ledger = Ledger::open(small(dir)).expect("opened");
    let before = crate::support::time(200).parse().expect("a time");
    let at = ArchiveAt::Directory(archive.clone());
    let retention = Retention { before, archive: Some((&at).into()), ..kept_long_enough() };
    let minimum = ledger.prune(&retention, &BY).expect("pruned").expect("some").minimum();
    ledger.close().await;
    assert_eq!(indexes(archive), (0..minimum).collect::<Vec<_>>(), "and no more");
    let checked = verify(archive, &Options { archive: true, ..Options::default() }).expect("verified");
    assert!(checked.intact() && checked.records == minimum, "{checked:?}");
    let looked = fsck(archive, true).expect("looked");
    assert_eq!((looked.records, &looked.faults[..]), (minimum, &[][..]));
}

/// What the archive has by the same numbers is not what is here: it is not taken for it, and nothing goes.
#[tokio::test]
async fn a_log_that_was_put_back_does_not_go_into_the_archive_of_its_other_past() {
    let (dir, back) = (tempfile::tempdir().expect("a log"), tempfile::tempdir().expect("a copy"));
    let archives = tempfile::tempdir().expect("archives");
    let archive = &archives.path().join("archive");
    grow(small(dir.path()), 100).await;
    copy(dir.path(), back.path());
    grow(small(dir.path()), 700).await;
    let archived = prune(dir.path(), Some(archive)).await.expect("pruned").minimum();
    let ledger = Ledger::open(small(back.path())).expect("opened");
    for index in 0..1_500 {
        decide(&ledger, &Asked { id: format!("other-{index}"), ..Asked::default() }).await;
    }
    ledger.close().await;
    let ledger = Ledger::open(small(back.path())).expect("opened");
    let before = segments(back.path());
    let at = ArchiveAt::Directory(archive.clone());
    let retention = Retention { archive: Some((&at).into()), ..kept_long_enough() };
    let refused = ledger.prune(&retention, &BY).expect_err("refused");
    let PruneError::Archive(ArchiveError::OtherPast { archived: of, .. }) = refused else {
        panic!("{refused}")
    };
    assert_eq!((of, segments(back.path())), (archived, before));
    ledger.close().await;
    let checked = verify(archive, &Options { archive: true, ..Options::default() }).expect("verified");
    assert!(checked.intact(), "the archive is as it was: {:?}", checked.findings);
}
