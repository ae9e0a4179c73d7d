//! The files of agents' spans: read, and opened to be written on. What opens takes a span, and gives it back.
#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use vidimus_traces::{Beside, KeptSpan, Limits, Sent, Store, Whose, read};

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
/// Where the spans of `Agent/a/b` are.
const PRINCIPAL: &str = "Agent/a/b";

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let (data, index) = rest.split_at(rest.len() * usize::from(*first) / 256);
    let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a directory");
    append(dir.path(), 1);
    let [principal] = std::fs::read_dir(dir.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect::<Vec<_>>()
        .try_into()
        .expect("one principal");
    std::fs::write(principal.join("0000000001.spans"), data).expect("a file");
    std::fs::write(principal.join("0000000001.index"), index).expect("a file");
    let _ = read(dir.path(), TRACE).expect("a store");
    append(dir.path(), 2);
    let found = read(dir.path(), TRACE).expect("a store");
    assert!(found.spans.iter().any(|kept| kept.ids().is_some_and(|ids| ids.span == 2)), "{found:?}");
});

fn append(dir: &std::path::Path, id: u64) {
    let mut store = Store::open(dir, Limits::default()).expect("a store");
    let mut kept = KeptSpan { span: Some(Default::default()), ..KeptSpan::default() };
    let span = kept.span.as_mut().expect("a span");
    (span.trace_id, span.span_id) = (TRACE.to_be_bytes().to_vec(), id.to_be_bytes().to_vec());
    let whose = Whose { principal: PRINCIPAL.to_owned(), identity: "x".to_owned(), user: None };
    let span = kept.span.as_ref().expect("a span");
    store.append(&whose, [Sent { beside: Beside::new(&[]), span }], SystemTime::now()).expect("written");
}
