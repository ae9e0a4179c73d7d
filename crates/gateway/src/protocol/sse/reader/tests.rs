use super::*;
use crate::protocol::sse;

/// What a stream dispatches, by HTML section 9.2.6: the examples of that section, and what the fields of web-platform-tests'
/// `eventsource/format-*` are about, in words of our own. An event that has not ended when the stream does is not dispatched.
const CASES: &[(&str, &str, &[&str])] = &[
    ("one line", "data: a\n\n", &["a"]),
    ("lines are joined", "data: a\ndata: b\ndata: c\n\n", &["a\nb\nc"]),
    ("an example of the standard: a stock ticker", "data: YHOO\ndata: +2\ndata: 10\n\n", &["YHOO\n+2\n10"]),
    (
        "an example of the standard: a comment, ids, and a space that stays",
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        &["first event", "second event", " third event"],
    ),
    (
        "an example of the standard: empty data, and an event that has not ended",
        "data\n\ndata\ndata\n\ndata:",
        &["", "\n"],
    ),
    (
        "an example of the standard: a space after the colon is not data",
        "data:test\n\ndata: test\n\n",
        &["test", "test"],
    ),
    ("a byte order mark is not part of the first line", "\u{feff}data: a\n\ndata: b\n\n", &["a", "b"]),
    (
        "two byte order marks are one and a name that is none",
        "\u{feff}\u{feff}data: a\n\ndata: b\n\n",
        &["b"],
    ),
    ("a byte order mark later is part of a name", "data: a\n\n\u{feff}data: b\n\ndata: c\n\n", &["a", "c"]),
    ("a character that begins as the mark does", "\u{fefe}data: a\n\ndata: b\n\n", &["b"]),
    ("comments", "data:1\n:\0\n:\r\ndata:2\n:xxx\ndata:3\n:data:fail\n\n", &["1\n2\n3"]),
    ("LF, CR and CRLF", "data:a\ndata:b\rdata:c\r\ndata:d\n\r\n", &["a\nb\nc\nd"]),
    ("CR alone ends lines and events", "data:a\r\rdata:b\r\r", &["a", "b"]),
    ("CRLF ends lines and events", "data:a\r\n\r\ndata:b\r\n\r\n", &["a", "b"]),
    ("a CR, and a CRLF that is the empty line", "data:a\r\r\ndata:b\n\n", &["a", "b"]),
    ("only data is data", "Data:x\ndata :x\n data:x\ndatax:x\ndat:x\nda:ta:x\ndata:y\n\n", &["y"]),
    ("a colon in the data", "data::\ndata:a:b\n\n", &[":\na:b"]),
    ("a tab is not a space", "data:\ta\n\n", &["\ta"]),
    ("an event of other fields alone is none", "event: x\nid: 1\nretry: 7\n\ndata: a\n\n", &["a"]),
    ("a name of an event does not hide its data", "event: error\ndata: a\n\n", &["a"]),
    ("a null character", "data:\0\n\n\n\n", &["\0"]),
    ("UTF-8", "data: \u{f6}k\u{1f600}\n\n", &["\u{f6}k\u{1f600}"]),
    ("empty lines alone", "\n\n\r\r\r\n\r\n", &[]),
    ("nothing", "", &[]),
];

/// What is dispatched of a stream that comes in chunks of `size` bytes.
fn dispatched(stream: &str, size: usize) -> Vec<String> {
    let (mut reader, mut events) = (Reader::default(), Vec::new());
    let mut data: Option<Vec<u8>> = None;
    for chunk in stream.as_bytes().chunks(size) {
        reader.push(chunk, &mut |piece| match piece {
            Piece::Line => match &mut data {
                Some(data) => data.push(b'\n'),
                None => data = Some(Vec::new()),
            },
            Piece::Text(text) => data.as_mut().expect("a line has begun").extend_from_slice(text),
            Piece::End => events.extend(data.take()),
        });
    }
    events.into_iter().map(|data| String::from_utf8(data).expect("UTF-8")).collect()
}

#[test]
fn events_are_dispatched_as_the_standard_says_however_they_are_cut() {
    for (what, stream, expected) in CASES {
        for size in 1..=stream.len().max(1) {
            assert_eq!(dispatched(stream, size), *expected, "{what}, in chunks of {size}");
        }
    }
}

#[test]
fn the_lines_of_an_event_are_read_alike() {
    for (what, stream, expected) in CASES.iter().filter(|(_, _, expected)| expected.len() == 1) {
        // Of the cases with one event those that are one event alone.
        let event = stream.trim_end_matches(['\n', '\r']).trim_start_matches('\u{feff}');
        if event.contains("\n\n") || event.contains("\r\r") {
            continue;
        }
        let data: Vec<&str> = sse::lines(event).filter_map(|line| sse::value_of(line, "data")).collect();
        assert_eq!(data.join("\n"), expected[0], "{what}");
    }
}
