use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use vidimus_core::keep::{KeptPayload, MAX_KEPT};
use vidimus_core::obligation::Changed;
use vidimus_core::record::{Attempt, EffectKind, EffectRecord, JobRun};

use crate::queue::{END_BYTES, KEPT_PLACES, Purpose, Shared, Submitted};
use crate::seal::{Chain, SealKey};
use crate::storage::Disk;
use crate::tail::{End, SegmentFile};
use crate::times::Span;
use crate::{Closed, Config, Durability, frame};

/// A queue whose records go to a file of the operating system that fails in a known way.
fn shared(path: &str, durability: Durability) -> Shared {
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("a device");
    let config = Config { dir: PathBuf::from("/nowhere"), durability, ..Config::default() };
    let segment = SegmentFile::new(Box::new(file), PathBuf::from(path));
    let chain = Chain::new(Arc::new(SealKey::derive(b"secret").expect("a key")), [0; 16], 0);
    Shared::new(config, Arc::new(Disk), 0, End { segment, length: 0, times: Span::default(), chain })
}

fn submit(shared: &Shared, record: &[u8]) -> Result<Submitted, Closed> {
    let mut frame = Vec::new();
    frame::begin(&mut frame);
    frame.extend_from_slice(record);
    shared.submit(&mut frame, Purpose::Only, Waker::noop())
}

fn assert_failed(shared: &Shared, index: u64, reason: &str) {
    match shared.poll(index, Waker::noop()) {
        Poll::Ready(Err(Closed::Failed { reason: found })) => assert!(found.contains(reason), "{found}"),
        other => panic!("{other:?}"),
    }
    assert!(!shared.is_open());
    assert!(matches!(submit(shared, b"{}"), Err(Closed::Failed { .. })), "takes a record after a failure");
}

#[test]
fn a_full_disk_closes_the_ledger() {
    let shared = shared("/dev/full", Durability::Commit);
    assert!(matches!(submit(&shared, b"{}"), Ok(Submitted::Done(0, _))));
    assert_failed(&shared, 0, "No space left");
    assert_eq!(shared.acknowledged(), 0);
}

#[test]
fn a_failed_fsync_closes_the_ledger() {
    // fsync is invalid on /dev/null.
    let shared = shared("/dev/null", Durability::Sync);
    assert!(matches!(submit(&shared, b"{}"), Ok(Submitted::Waits(0, _))));
    assert!(shared.poll(0, Waker::noop()).is_pending());
    let error = shared.write_pending().expect_err("fsync fails");
    shared.fail(&error.story());
    assert_failed(&shared, 0, "cannot fsync /dev/null");
    assert_eq!((shared.acknowledged(), shared.synced()), (0, 0));
}

#[test]
fn a_failed_later_fsync_closes_the_ledger_but_takes_nothing_back() {
    let shared = shared("/dev/null", Durability::Commit);
    assert!(matches!(submit(&shared, b"{}"), Ok(Submitted::Done(0, _))));
    assert_eq!(shared.poll(0, Waker::noop()), Poll::Ready(Ok(())));
    shared.fail(&shared.sync().expect_err("fsync fails").story());
    assert_eq!(shared.poll(0, Waker::noop()), Poll::Ready(Ok(())), "it was in the kernel's hands");
    assert_failed(&shared, 1, "fsync");
    assert_eq!(shared.synced(), 0);
}

#[test]
fn what_is_too_large_or_too_much_is_refused_and_closes_nothing() {
    let mut shared = shared("/dev/null", Durability::Sync);
    shared.config.max_pending_bytes = 100;
    let bytes = frame::MAX_RECORD + 1;
    assert_eq!(submit(&shared, &vec![b' '; bytes]).err(), Some(Closed::TooLarge { bytes }));
    assert!(submit(&shared, &[b' '; 60]).is_ok());
    assert_eq!(submit(&shared, &[b' '; 60]).err(), Some(Closed::Behind { bytes: 80 }));
    assert!(shared.is_open());
}

#[test]
fn a_writer_that_does_not_stop_hands_over() {
    // A segment that is always full: the caller writes its own record and leaves the rest, and the role, to the thread.
    let mut shared = shared("/dev/null", Durability::Commit);
    shared.config.segment_bytes = 0;
    assert!(matches!(submit(&shared, b"{}"), Ok(Submitted::Done(0, _))));
    assert_eq!(shared.poll(0, Waker::noop()), Poll::Ready(Ok(())));
    assert!(!shared.idle());
    assert!(shared.wake_ups.wait_for_work().write);
    assert!(matches!(submit(&shared, b"{}"), Ok(Submitted::Waits(1, _))));
    assert!(shared.poll(1, Waker::noop()).is_pending());
}

#[test]
fn whoever_waits_when_the_ledger_fails_is_woken() {
    struct Flag(AtomicBool);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let shared = shared("/dev/null", Durability::Sync);
    let flags = [(); 3].map(|()| Arc::new(Flag(AtomicBool::new(false))));
    for flag in &flags {
        let mut frame = Vec::new();
        frame::begin(&mut frame);
        frame.extend_from_slice(b"{}");
        assert!(shared.submit(&mut frame, Purpose::Only, &flag.clone().into()).is_ok());
    }
    // A later poll replaces the waker, as a future that moved to another task needs it.
    let moved = Arc::new(Flag(AtomicBool::new(false)));
    assert!(shared.poll(1, &moved.clone().into()).is_pending());
    shared.fail("broken");
    let woken = [&flags[0], &flags[1], &flags[2], &moved].map(|flag| flag.0.load(Ordering::SeqCst));
    assert_eq!(woken, [true, false, true, true]);
}

#[test]
fn the_record_of_an_end_fits_the_room_that_is_kept_for_it() {
    // Ids of calls and tokens are UUIDs, codes are this crate family's own: twice as long as the longest there is.
    let (long, task, most) = ("x".repeat(80), "x".repeat(1024), (1 << 53) - 1);
    // What would have to be escaped is not in it.
    let detail = "x".repeat(256);
    let record = EffectRecord {
        attempts: Vec::new(),
        bytes_in: most,
        bytes_out: most,
        changed: Some(Changed { cap_tokens: most, guard_answer: most, redact: most, redact_answer: most }),
        charged_spend: Some(most),
        charged_tokens: Some(most),
        code: Some((&*long).into()),
        decision: most,
        detail: Some(std::borrow::Cow::Borrowed(&detail)),
        duration_us: most,
        id: (&*long).into(),
        job: None,
        kept: None,
        kind: EffectKind,
        result: "cancelled".into(),
        status: 599,
        task: Some((&*task).into()),
        time: "2026-11-21T08:30:00.123456Z".into(),
        time_per_output_token_us: Some(most),
        time_to_first_token_us: Some(most),
        token: Some((&*long).into()),
        tokens_cache_written: Some(most),
        tokens_input: Some(most),
        tokens_input_cached: Some(most),
        tokens_output: Some(most),
        tokens_reasoning: Some(most),
        version: u8::MAX,
    };
    let bytes = frame::HEADER + serde_json::to_vec(&record).expect("JSON").len();
    assert!(bytes <= END_BYTES, "{bytes}");
    // So it does with the longest job in it, which makes no task.
    let job = JobRun {
        exit: Some(u32::MAX),
        image: Some("x".repeat(300)),
        output: Some("0".repeat(64)),
        uid: Some(long.clone()),
    };
    let ran = EffectRecord { job: Some(std::borrow::Cow::Owned(job)), task: None, ..record.clone() };
    let bytes = frame::HEADER + serde_json::to_vec(&ran).expect("JSON").len();
    assert!(bytes <= END_BYTES, "{bytes}");
    // So it does with as many tries of a model as there may be, of which none makes a task.
    let mut attempt = Attempt::of(&"x".repeat(300));
    (attempt.code, attempt.duration_us, attempt.status) =
        (Some("upstream_refused_address".into()), most, 599);
    let tried = EffectRecord { attempts: vec![attempt; 3], task: None, ..record.clone() };
    let bytes = frame::HEADER + serde_json::to_vec(&tried).expect("JSON").len();
    assert!(bytes <= END_BYTES, "{bytes}");
    // So it does with the longest answer in it.
    let kept = KeptPayload {
        bytes: most,
        key: Some("0".repeat(32)),
        sealed: Some("x".repeat((MAX_KEPT + 28).div_ceil(3) * 4)),
        too_long: true,
        unkept: None,
    };
    let record = EffectRecord { kept: Some(std::borrow::Cow::Owned(kept)), ..record };
    let bytes = frame::HEADER + serde_json::to_vec(&record).expect("JSON").len();
    assert!(bytes <= (1 + KEPT_PLACES) * END_BYTES, "{bytes}");
}
