use super::*;
use crate::protocol::event::{self, Change, Rewrite};
use crate::protocol::llm::added_usage::WithoutUsage;
use crate::protocol::mcp::listing;

const HEAD: &str =
    "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n: \"usage\" in a comment\n\n";
const USAGE: &str =
    "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":11}}\n\n";
const TAIL: &str = "data: [DONE]\n\n";
const LIST: &str =
    r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a","x":1.50},{"name":"b"}],"nextCursor":"c"}}"#;

/// Shows what is called `b`.
#[derive(Debug)]
struct OnlyB;

impl EventFilter for OnlyB {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        event::rewrite(event, self)
    }
}

impl Rewrite for OnlyB {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        if !data.trim_start().starts_with(['{', '[']) {
            return Ok(Change::Same);
        }
        Ok(listing::filter_any(data, &listing::read(data)?, &mut |_, name, _| name == "b")?
            .map_or(Change::Same, Change::To))
    }

    fn id(&mut self, _id: &str) -> Result<Option<String>, Refusal> {
        Ok(None)
    }
}

fn listings() -> EventStream {
    EventStream::new(Box::new(OnlyB), 1000, TooLong::EndsStream)
}

fn without_usage() -> EventStream {
    EventStream::new(Box::new(WithoutUsage), WithoutUsage::MAX_EVENT, TooLong::Passes)
}

fn push(events: &mut EventStream, chunk: &str) -> String {
    String::from_utf8(events.push(&Bytes::copy_from_slice(chunk.as_bytes())).expect("readable").into())
        .expect("UTF-8")
}

/// What a stream becomes when it comes in chunks of `size` bytes.
fn changed(mut events: EventStream, stream: &str, size: usize) -> Result<String, Refusal> {
    let mut out = Vec::new();
    for chunk in stream.as_bytes().chunks(size) {
        out.extend_from_slice(&events.push(&Bytes::copy_from_slice(chunk))?);
    }
    out.extend_from_slice(&events.finish()?);
    Ok(String::from_utf8(out).expect("UTF-8"))
}

fn pass(stream: &str, size: usize) -> String {
    changed(without_usage(), stream, size).expect("usage is looked for, not required")
}

#[test]
fn the_usage_chunk_goes_however_the_stream_is_cut() {
    let crlf = |text: &str| text.replace('\n', "\r\n");
    for (given, expected) in [
        (format!("{HEAD}{USAGE}{TAIL}"), format!("{HEAD}{TAIL}")),
        (crlf(&format!("{HEAD}{USAGE}{TAIL}")), crlf(&format!("{HEAD}{TAIL}"))),
        (format!("{HEAD}{}", USAGE.trim_end()), HEAD.to_owned()),
        (format!("\n\n{USAGE}\n{TAIL}"), format!("\n\n\n{TAIL}")),
        (format!("id: 1\ndata: {{\"choices\":[],\ndata: \"usage\":{{}}}}\n\n{TAIL}"), TAIL.to_owned()),
    ] {
        for size in 1..=given.len() {
            assert_eq!(pass(&given, size), expected, "chunks of {size}");
        }
    }
}

#[test]
fn everything_else_passes_as_it_came() {
    let long = format!("data: {{\"choices\":[],\"usage\":{{}},\"x\":\"{}\"}}\n\n", "y".repeat(20_000));
    for stream in [
        "",
        "data: [DONE]",
        "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n",
        "data: {\"choices\":[],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"index\":0}],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":1}}\n\n",
        "event: x\r\n\r\n\n\n\r\n",
        "data: \u{7f}\"usage\" not JSON\n\n",
        &long,
    ] {
        for size in [1, 2, 3, 7, 1000, 100_000] {
            assert_eq!(pass(stream, size), stream, "chunks of {size}");
        }
    }
}

#[test]
fn what_is_complete_passes_at_once_and_what_is_held_is_bounded() {
    let mut events = without_usage();
    assert_eq!(push(&mut events, &format!("{TAIL}data: {{")), TAIL);
    assert_eq!(push(&mut events, "}\n"), "");
    assert_eq!(push(&mut events, "\n"), "data: {}\n\n");
    assert_eq!(push(&mut events, "data: {}\r\n\r"), "data: {}\r\n\r");
    assert_eq!(push(&mut events, "\n"), "\n");
    let mut passed = 0;
    for _ in 0..100 {
        passed += push(&mut events, &"x".repeat(1024)).len();
        assert!(events.event.len() <= WithoutUsage::MAX_EVENT);
    }
    assert_eq!(passed, 100 * 1024);
    assert_eq!(push(&mut events, &format!("\n\n{USAGE}{TAIL}")), format!("\n\n{TAIL}"));
}

#[test]
fn a_listing_in_any_answer_is_filtered_and_all_else_passes_as_it_came() {
    let stream = format!(
        "id: 1\ndata: \n\nevent: message\nid: 2\ndata: {LIST}\n\n: ping\r\n\r\ndata: {{\"method\":\r\ndata: \"n\"}}\r\n\r\n"
    );
    let filtered = stream.replace(r#"{"name":"a","x":1.50},"#, "");
    for size in 1..=stream.len() {
        assert_eq!(changed(listings(), &stream, size).as_deref(), Ok(&*filtered), "chunks of {size}");
    }
    for (member, name) in [("resources", "uri"), ("resourceTemplates", "uriTemplate"), ("prompts", "name")] {
        let list =
            format!("data: {{\"result\":{{\"{member}\":[{{\"{name}\":\"a\"}},{{\"{name}\":\"b\"}}]}}}}\n\n");
        let filtered = list.replace(&format!("{{\"{name}\":\"a\"}},"), "");
        assert_eq!(changed(listings(), &list, 7).as_deref(), Ok(&*filtered));
    }
    for other in [
        "data: {\"error\":{\"code\":\ndata:4}}\n\n",
        "data: {\"result\":{\"capabilities\":{\"tools\":{}},\"tools\":{}}}\n\n",
        "data: {\"result\":null}\n\n",
        "event: ping\ndata: 12:30\n\n",
    ] {
        assert_eq!(changed(listings(), other, 5).as_deref(), Ok(other));
    }
}

#[test]
fn no_way_of_writing_events_hides_a_listing() {
    for stream in [
        format!("\u{feff}data: {LIST}\n\n"),
        format!("event: message\rdata: {LIST}\r\r"),
        format!("id: 1\r\ndata:{LIST}\r\n\r\n"),
        format!("data: {LIST}"),
        format!(": x\r\rdata: {LIST}\r\n\rdata: {LIST}\n\r\n"),
        LIST.replace(',', ",\ndata: ").replacen('{', "data: {", 1),
        format!("data: {}\n\n", LIST.replace("tools", "t\\u006fols")),
    ] {
        for size in 1..=stream.len() {
            let filtered = changed(listings(), &stream, size).expect("readable");
            assert!(filtered.contains("\"b\"") && !filtered.contains("\"a\""), "{stream:?} {filtered:?}");
            assert_eq!(changed(listings(), &filtered, size).map(|again| again.contains("\"b\"")), Ok(true));
        }
    }
}

#[test]
fn data_of_several_lines_stays_data() {
    let stream = "data: {\"result\":{\"tools\":[{\"name\":\ndata: \"b\"}]}}\n\n";
    assert_eq!(changed(listings(), stream, 3).as_deref(), Ok(stream));
}

#[test]
fn what_could_hide_a_listing_ends_the_stream() {
    let long = format!("data: {}", "x".repeat(2000));
    for stream in [
        r#"data: {"result":{"tools":[{"name":"a","name":"b"}]}}"#,
        r#"data: {"result":{"tools":[],"tools":[{"name":"a"}]}}"#,
        r#"data: {"result":{"x":1},"result":{"tools":[{"name":"a"}]}}"#,
        r#"data: [{"result":{"tools":[{"name":"a"}]}}]"#,
        r#"data: {"result":{"tools":["a"]}}"#,
        r#"data: {"result":"#,
        &long,
    ] {
        for size in [1, 10, 10_000] {
            let ended = changed(listings(), &format!("{stream}\n\n"), size);
            assert_eq!(ended.map_err(|refusal| refusal.code), Err(Code::UpstreamInvalid), "{stream}");
        }
    }
    let passes = EventStream::new(Box::new(OnlyB), 1000, TooLong::Passes);
    assert_eq!(changed(passes, &long, 100).as_deref(), Ok(&*long));
}

/// Writes each event anew, and counts them.
#[derive(Debug)]
struct Anew(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl EventFilter for Anew {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let is_event = !event.is_empty();
        self.0.fetch_add(usize::from(is_event), std::sync::atomic::Ordering::Relaxed);
        Ok(is_event.then(|| b": x\n\n".to_vec()))
    }
}

/// What is counted of an event is counted once.
#[test]
fn an_event_is_looked_at_once_however_the_stream_is_cut() {
    let stream = "data: a\n\ndata: b\n\n: c\n\ndata: d\n\n";
    for size in 1..=stream.len() {
        let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let events = EventStream::new(Box::new(Anew(count.clone())), 1000, TooLong::EndsStream);
        let written = changed(events, stream, size).expect("events");
        assert_eq!(written, ": x\n\n".repeat(4), "chunks of {size}");
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 4, "chunks of {size}");
    }
}

/// Asks something in each event that says so.
#[derive(Debug, Default)]
struct Asking(Vec<Question>);

impl EventFilter for Asking {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let question = Question { method: "m".into(), id: None, text: "{}".into() };
        self.0 = if event.starts_with(b"data: ask") { vec![question] } else { Vec::new() };
        Ok(None)
    }

    fn asked(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.0)
    }
}

/// What comes behind an event that asks comes behind it, and of that itself nothing where it is refused.
#[test]
fn a_stream_stops_at_an_event_that_asks_and_goes_on_once_that_is_decided() {
    for (stream, without) in [
        ("data: a\n\ndata: ask\n\ndata: b\n\ndata: ask\n\ndata: ask\n\n", "data: a\n\ndata: b\n\n"),
        ("data: ask\n\n", ""),
        (": x\n\ndata: ask\ndata: more\n\n: y\n\n", ": x\n\n: y\n\n"),
        ("data: ask\r\n\r\ndata: a\r\n\r\n", "data: a\r\n\r\n"),
    ] {
        for size in 1..=stream.len() {
            for passes in [true, false] {
                let mut events = EventStream::new(Box::new(Asking::default()), 1000, TooLong::EndsStream);
                let mut out = Vec::new();
                for chunk in stream.as_bytes().chunks(size) {
                    out.extend_from_slice(&events.push(&Bytes::copy_from_slice(chunk)).expect("events"));
                    while events.asked().is_some() {
                        assert!(
                            events.push(&Bytes::new()).expect("events").is_empty(),
                            "nothing passes meanwhile"
                        );
                        out.extend_from_slice(&events.go_on(passes).expect("events"));
                    }
                }
                out.extend_from_slice(&events.finish().expect("events"));
                let expected = if passes { stream } else { without };
                assert_eq!(String::from_utf8_lossy(&out), expected, "chunks of {size}");
            }
        }
    }
    // What asks and does not end is none, and what stopped is not lost.
    let mut events = EventStream::new(Box::new(Asking::default()), 1000, TooLong::EndsStream);
    events.push(&Bytes::from_static(b"data: ask\n")).expect("events");
    assert!(events.finish().is_err());
    events.push(&Bytes::from_static(b"data: ask\n\n")).expect("events");
    assert!(events.finish().is_err());
}
