use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;

use super::*;
use crate::kept::KeptSpan;
use crate::names;
use crate::read::{read, read_part};
use crate::sent::Beside;

const BOT: &str = "Agent/finance/bot";
const OTHER: &str = "Agent/finance/other";
const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

fn whose(principal: &str) -> Whose {
    Whose { principal: principal.to_owned(), identity: "oidc:urn:x#bot".to_owned(), user: None }
}

fn span(trace: u128, id: u64, name: &str) -> KeptSpan {
    let span = Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        name: name.to_owned(),
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        ..Span::default()
    };
    KeptSpan { span: Some(span), resource: vec![names::text("service.name", "x")], ..KeptSpan::default() }
}

fn store(dir: &Path) -> Store {
    Store::open(dir, Limits::default()).expect("a store")
}

fn sent(kept: &KeptSpan) -> Sent<'_> {
    Sent { beside: Beside::new(&kept.resource).of(&kept.scope), span: kept.span.as_ref().expect("a span") }
}

fn put(store: &mut Store, principal: &str, spans: &[KeptSpan]) -> Taken {
    let spans = spans.iter().map(sent);
    let (taken, _) = store.append(&whose(principal), spans, SystemTime::now()).expect("written");
    taken
}

/// Who said what in a trace.
fn said(dir: &Path, trace: u128) -> Vec<(String, String)> {
    let found = read(dir, trace).expect("read");
    assert_eq!(found.damage, [""; 0]);
    let name = |kept: &KeptSpan| kept.span.as_ref().expect("a span").name.clone();
    let mut said: Vec<_> = found.spans.iter().map(|kept| (kept.principal.clone(), name(kept))).collect();
    said.sort();
    said
}

fn as_said(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(who, what)| ((*who).to_owned(), (*what).to_owned())).collect()
}

#[test]
fn the_first_stands_and_the_same_again_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut one = store(dir.path());
    let first = put(&mut one, BOT, &[span(TRACE, 1, "a"), span(TRACE, 1, "b"), span(TRACE, 2, "c")]);
    assert_eq!(first, Taken { stored: 2, altered: 1, ..Taken::default() }, "also within one request");
    let again = put(&mut one, BOT, &[span(TRACE, 1, "a"), span(TRACE, 1, "b"), span(TRACE, 3, "d")]);
    assert_eq!(again, Taken { stored: 1, repeated: 1, altered: 1, ..Taken::default() });
    // The ids are its own: whose they are as well is another's span.
    let other = put(&mut one, OTHER, &[span(TRACE, 1, "forged")]);
    assert_eq!(other.stored, 1);
    assert_eq!(said(dir.path(), TRACE), as_said(&[(BOT, "a"), (BOT, "c"), (BOT, "d"), (OTHER, "forged")]));
    assert!(said(dir.path(), TRACE + 1).is_empty());
}

#[test]
fn whose_it_is_is_what_was_proven_and_not_what_it_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut claims = span(TRACE, 1, "a");
    claims.principal = OTHER.to_owned();
    claims.user = Some("urn:x#ada".to_owned());
    claims.resource.push(names::text(names::AGENT_NAME, "other"));
    put(&mut store(dir.path()), BOT, &[claims]);
    let found = read(dir.path(), TRACE).expect("read").spans;
    assert_eq!((&*found[0].principal, found[0].user.as_deref()), (BOT, None));
    assert_eq!(names::AGENT.text(&found[0].resource), Some("other"), "said, and kept as that");
}

#[test]
fn a_process_that_begins_anew_knows_what_came_last_and_writes_to_no_old_file() {
    let dir = tempfile::tempdir().expect("a directory");
    put(&mut store(dir.path()), BOT, &[span(TRACE, 1, "a")]);
    let taken = put(&mut store(dir.path()), BOT, &[span(TRACE, 1, "a"), span(TRACE, 2, "b")]);
    assert_eq!(taken, Taken { stored: 1, repeated: 1, ..Taken::default() });
    let altered = put(&mut store(dir.path()), BOT, &[span(TRACE, 2, "altered")]);
    assert_eq!(altered.altered, 1);
    assert_eq!(files::numbers(&dir.path().join(lane_name(BOT))).expect("files"), [1, 2]);
    assert_eq!(said(dir.path(), TRACE), as_said(&[(BOT, "a"), (BOT, "b")]));
}

#[test]
fn the_first_stands_for_who_reads_also_where_the_writer_knows_it_no_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut one = store(dir.path());
    put(&mut one, BOT, &[span(TRACE, 1, "a")]);
    one.recent = Recent::default();
    assert_eq!(put(&mut one, BOT, &[span(TRACE, 1, "altered")]).stored, 1);
    assert_eq!(said(dir.path(), TRACE), as_said(&[(BOT, "a")]));
    assert_eq!(read(dir.path(), TRACE).expect("read").altered, 1);
}

#[test]
fn a_torn_end_is_passed_over_and_what_the_index_lacks_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    put(&mut store(dir.path()), BOT, &[span(TRACE, 1, "a"), span(TRACE, 2, "b"), span(TRACE, 3, "c")]);
    let (data, index) = files::paths(&dir.path().join(lane_name(BOT)), 1);
    let file = OpenOptions::new().write(true).open(&data).expect("a file");
    let length = file.metadata().expect("its length").len();
    file.set_len(length - 1).expect("torn");
    // One whole entry, and a part of the next.
    OpenOptions::new().write(true).open(&index).expect("a file").set_len(ENTRY as u64 + 5).expect("torn");
    assert_eq!(said(dir.path(), TRACE), as_said(&[(BOT, "a"), (BOT, "b")]));
    put(&mut store(dir.path()), BOT, &[span(TRACE, 3, "c")]);
    assert_eq!(said(dir.path(), TRACE), as_said(&[(BOT, "a"), (BOT, "b"), (BOT, "c")]));
}

#[test]
fn what_is_damaged_is_said_and_the_rest_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    put(&mut store(dir.path()), BOT, &[span(TRACE, 1, "a"), span(TRACE, 2, "b")]);
    let (data, _) = files::paths(&dir.path().join(lane_name(BOT)), 1);
    let mut bytes = fs::read(&data).expect("read");
    bytes[20] ^= 1;
    fs::write(&data, bytes).expect("written");
    let found = read(dir.path(), TRACE).expect("read");
    assert_eq!((found.spans.len(), found.damage.len()), (1, 1), "{found:?}");
}

#[test]
fn a_start_leaves_what_stands_behind_a_damaged_span() {
    let dir = tempfile::tempdir().expect("a directory");
    put(&mut store(dir.path()), BOT, &[span(TRACE, 1, "a"), span(TRACE, 2, "b"), span(TRACE, 3, "c")]);
    let (data, _) = files::paths(&dir.path().join(lane_name(BOT)), 1);
    let mut bytes = fs::read(&data).expect("read");
    bytes[20] ^= 1;
    fs::write(&data, &bytes).expect("written");
    assert_eq!(put(&mut store(dir.path()), BOT, &[span(TRACE, 4, "d")]).stored, 1);
    assert_eq!(fs::read(&data).expect("read"), bytes, "nothing of it is cut off");
    let found = read(dir.path(), TRACE).expect("read");
    assert_eq!((found.spans.len(), found.damage.len()), (3, 1), "{found:?}");
}

#[test]
fn of_what_could_not_be_written_nothing_is_kept_and_no_file_is_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let lane = dir.path().join(lane_name(BOT));
    fs::create_dir(&lane).expect("a directory");
    let mut store = store(dir.path());
    let refused = |store: &mut Store, id| {
        let lost = span(TRACE, id, "lost");
        store.append(&whose(BOT), [sent(&lost)], SystemTime::now()).is_err()
    };
    let (data, index) = files::paths(&lane, 1);
    for full in [&data, &index] {
        std::os::unix::fs::symlink("/dev/full", full).expect("a full disk");
        assert!(refused(&mut store, 1), "{}", full.display());
        assert_eq!(fs::read_dir(&lane).expect("a directory").count(), 0, "{}", full.display());
    }
    assert_eq!(put(&mut store, BOT, &[span(TRACE, 1, "a")]).stored, 1);
    let kept = (store.bytes(), fs::read(&data).expect("read"));
    // The spans are written, and where they are is not.
    let aside = lane.join("aside");
    fs::rename(&index, &aside).expect("renamed");
    std::os::unix::fs::symlink("/dev/full", &index).expect("a full disk");
    assert!(refused(&mut store, 2));
    fs::rename(&aside, &index).expect("renamed");
    assert_eq!((store.bytes(), fs::read(&data).expect("read")), kept);
    assert_eq!(put(&mut store, BOT, &[span(TRACE, 2, "b")]).stored, 1, "and it goes on");
    assert_eq!(said(dir.path(), TRACE), as_said(&[(BOT, "a"), (BOT, "b")]));
}

#[test]
fn nobodys_flood_takes_what_others_sent() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { bytes: 64 << 10, file: 8 << 10, ..Limits::default() };
    let mut store = Store::open(dir.path(), limits).expect("a store");
    put(&mut store, OTHER, &[span(TRACE, 1, "quiet")]);
    let mut evicted = 0;
    for id in 1..200 {
        let flood = [span(7, id, &"x".repeat(1000))];
        let (_, dropped) =
            store.append(&whose(BOT), flood.iter().map(sent), SystemTime::now()).expect("written");
        evicted += dropped.evicted;
    }
    assert!(store.bytes() <= limits.bytes, "{}", store.bytes());
    assert!(evicted > 100, "{evicted}");
    assert_eq!(said(dir.path(), TRACE), as_said(&[(OTHER, "quiet")]));
    let kept = read(dir.path(), 7).expect("read").spans.len() as u64;
    assert_eq!(kept + evicted, 199, "each is kept or counted");
}

#[test]
fn what_is_too_old_goes_and_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = store(dir.path());
    put(&mut store, BOT, &[span(TRACE, 1, "a"), span(TRACE, 2, "b")]);
    let age = Limits::default().age;
    assert_eq!(store.prune(SystemTime::now() + age / 2), Dropped::default());
    let dropped = store.prune(SystemTime::now() + age + Duration::from_secs(60));
    assert_eq!((dropped, store.bytes()), (Dropped { expired: 2, evicted: 0 }, 0));
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
    assert_eq!(put(&mut store, BOT, &[span(TRACE, 3, "c")]).stored, 1, "and it goes on");
}

#[test]
fn what_no_span_is_is_not_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = store(dir.path());
    let changed = |change: fn(&mut Span)| {
        let mut kept = span(TRACE, 1, "a");
        change(kept.span.as_mut().expect("a span"));
        kept
    };
    let malformed = [
        changed(|span| span.trace_id = vec![0; 16]),
        changed(|span| span.trace_id = vec![1; 15]),
        changed(|span| span.span_id = vec![0; 8]),
        changed(|span| span.span_id = Vec::new()),
        changed(|span| span.parent_span_id = vec![1; 7]),
        changed(|span| span.parent_span_id.clone_from(&span.span_id)),
        changed(|span| span.start_time_unix_nano = 3),
        changed(|span| *span = Span::default()),
    ];
    let mut heavy = span(TRACE, 1, "a");
    heavy.resource = vec![names::text("x", "x".repeat(40 << 10))];
    let mut many = span(TRACE, 1, "a");
    many.resource = vec![KeyValue::default(); 129];
    // Empty ones in each other: two bytes each to send.
    let mut nested = span(TRACE, 1, "a");
    let values = ArrayValue { values: vec![AnyValue::default(); 3_000] };
    let value = Some(AnyValue { value: Some(Value::ArrayValue(values)) });
    nested.resource = vec![KeyValue { key: "x".to_owned(), value, ..KeyValue::default() }];
    let large = [changed(|span| span.name = "x".repeat(64 << 10)), heavy, many, nested];
    let (bad, big) = (malformed.len() as u64, large.len() as u64);
    let taken = put(&mut store, BOT, &malformed.into_iter().chain(large).collect::<Vec<_>>());
    assert_eq!(taken, Taken { malformed: bad, too_large: big, ..Taken::default() });
    assert_eq!(taken.rejected(), bad + big);
    assert!(said(dir.path(), TRACE).is_empty());
}

/// A prompt that is longer than a span may be leaves no hole in the tree.
#[test]
fn of_what_is_too_much_as_much_is_kept_as_may_be() {
    let dir = tempfile::tempdir().expect("a directory");
    let changed = |id, change: fn(&mut Span)| {
        let mut kept = span(TRACE, id, "a");
        change(kept.span.as_mut().expect("a span"));
        kept
    };
    let all = [
        changed(1, |span| span.attributes = vec![names::text("prompt", "x".repeat(100 << 10))]),
        changed(2, |span| span.attributes = vec![names::number("x", 1); 129]),
        changed(3, |span| {
            span.events = vec![Event { attributes: vec![KeyValue::default(); 100], ..Event::default() }; 100];
        }),
        span(TRACE, 4, "a"),
    ];
    assert_eq!(put(&mut store(dir.path()), BOT, &all), Taken { stored: 4, cut: 3, ..Taken::default() });
    assert_eq!(said(dir.path(), TRACE), as_said(&[(BOT, "a"); 4]));
    // Also by a process that has read it from the files.
    assert_eq!(put(&mut store(dir.path()), BOT, &all), Taken { repeated: 4, ..Taken::default() });
}

#[test]
fn what_is_said_once_for_all_spans_does_not_become_more_than_there_is_room_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = store(dir.path());
    let resource = vec![names::text("x", "x".repeat(30_000))];
    let spans: Vec<Span> = (1..2_001).map(|id| span(TRACE, id, "a").span.expect("a span")).collect();
    let beside = Beside::new(&resource);
    let all = spans.iter().map(|span| Sent { beside, span });
    let (taken, _) = store.append(&whose(BOT), all, SystemTime::now()).expect("written");
    assert_eq!(taken.stored + taken.too_large, 2_000);
    assert!((500..600).contains(&taken.stored), "{taken:?}");
    // What has no bytes of its own is counted too.
    let resource = vec![KeyValue::default(); 128];
    let beside = Beside::new(&resource);
    let all = spans.iter().map(|span| Sent { beside, span });
    let (taken, _) = store.append(&whose(OTHER), all, SystemTime::now()).expect("written");
    assert_eq!(taken.stored + taken.too_large, 2_000);
    assert!((1_500..2_000).contains(&taken.stored), "{taken:?}");
}

#[test]
fn no_span_takes_the_room_that_is_the_ledgers() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { spare: u64::MAX, ..Limits::default() };
    let mut store = Store::open(dir.path(), limits).expect("a store");
    let kept = span(TRACE, 1, "a");
    let error = store.append(&whose(BOT), [sent(&kept)], SystemTime::now()).expect_err("no room");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    assert_eq!(store.bytes(), 0);
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
}

#[test]
fn a_trace_with_too_many_spans_is_read_in_part_and_what_others_sent_is_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = store(dir.path());
    for from in 0..6 {
        let flood = (1..1_001).map(|id| span(TRACE, from * 1_000 + id, "flood")).collect::<Vec<_>>();
        assert_eq!(put(&mut store, BOT, &flood).stored, 1_000);
    }
    put(&mut store, OTHER, &[span(TRACE, 1, "quiet")]);
    let found = read(dir.path(), TRACE).expect("read");
    assert_eq!((found.spans.len(), found.left_out), (5_000, 1_001));
    assert!(found.spans.iter().any(|kept| kept.principal == OTHER));
    let part = read_part(dir.path(), TRACE, 10).expect("read");
    assert_eq!((part.spans.len(), part.left_out), (500, 5_501));
    assert!(part.spans.iter().any(|kept| kept.principal == OTHER));
}

/// A disk on which, beside the room for one request, 100 KiB are for spans.
fn small_disk(dir: &Path) -> io::Result<u64> {
    let (mut taken, mut dirs) = (0, vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => dirs.push(entry.path()),
                false => taken += entry.metadata()?.len(),
            }
        }
    }
    Ok((MOST_REQUEST as u64 + 1 + (100 << 10)).saturating_sub(taken))
}

/// Attack: one agent sends until the disk has no room for spans, so that nobody's are kept any more.
#[test]
fn a_flood_down_to_the_mark_keeps_nobody_elses_spans_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { file: 4 << 10, spare: 1, ..Limits::default() };
    let mut one = Store::open(dir.path(), limits).expect("a store");
    one.free = small_disk;
    let long = "x".repeat(1000);
    let sends = |one: &mut Store, principal: &str, id: u64| {
        let span = span(TRACE + u128::from(id), id, &long);
        one.append(&whose(principal), [sent(&span)], SystemTime::now())
    };
    let mut flood = 0;
    let refused = loop {
        flood += 1;
        match sends(&mut one, BOT, flood) {
            Ok((taken, dropped)) => assert_eq!((taken.stored, dropped), (1, Dropped::default())),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull, "nobody else has anything: {refused}");
    assert!(flood > 50, "{flood}");
    // Others are kept, in the place of the oldest of the flood, up to an equal share. The flood goes on meanwhile.
    let (mut kept, mut evicted) = (0, 0);
    for number in 1..=200 {
        while sends(&mut one, BOT, flood).is_ok() {
            flood += 1;
        }
        if let Ok((taken, dropped)) = sends(&mut one, OTHER, number) {
            kept += taken.stored;
            evicted += dropped.evicted;
        }
    }
    let (of_bot, of_other) = (held(&one, BOT), held(&one, OTHER));
    assert!(evicted > 0 && kept > 30, "{kept} kept, {evicted} evicted");
    assert!(
        of_other * 3 > of_bot && of_bot * 3 > of_other,
        "equal shares, but for a file: {of_bot}, {of_other}"
    );
    // What others than spans take from the disk takes nobody's spans all at once.
    one.free = |_| Ok(0);
    assert_eq!(sends(&mut one, "Agent/a/third", 1).expect_err("full").kind(), io::ErrorKind::StorageFull);
    assert!(held(&one, BOT) > of_bot / 4, "{} of {of_bot}", held(&one, BOT));
}

fn held(store: &Store, principal: &str) -> u64 {
    store.lanes[&lane_name(principal)].bytes()
}
