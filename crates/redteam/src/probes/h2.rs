//! HTTP/2: what its frames and fields can say that a request of HTTP/1.1 cannot, and floods of frames.

use super::{good, mcp};
use crate::expect::{Effect, Expect, Record, Told};
use crate::http2::Part;
use crate::probe::{Crowd, Door, Manner, Message, Probe, Protocol, Request};

type Fields = Vec<(String, Vec<u8>)>;

/// The fields of a good call, by `who`.
fn fields(who: &str) -> Fields {
    let pairs = [
        (":method", "POST".to_owned()),
        (":scheme", "http".to_owned()),
        (":path", "/mcp/r/tools".to_owned()),
        (":authority", "{{host}}".to_owned()),
        ("authorization", format!("Bearer {{{{{who}}}}}")),
        ("content-type", "application/json".to_owned()),
        ("accept", "application/json, text/event-stream".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect()
}

fn asked(fields: Fields) -> Vec<Part> {
    vec![Part::Fields { stream: 1, fields, ends: false }, Part::data(1, good().body.unwrap_or_default())]
}

/// Without the first, with the second, where they are not empty.
fn changed(without: &str, with: &[(&str, &str)]) -> Vec<Part> {
    let mut fields = fields("alice");
    fields.retain(|(name, _)| name != without);
    fields.extend(with.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())));
    // Pseudo-fields go first, in the order in which they stand, unless the row is about that.
    fields.sort_by_key(|(name, _)| !name.starts_with(':'));
    asked(fields)
}

/// Name, what is hoped for, the field that is taken out, those that are put in.
type Row = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const ROWS: &[Row] = &[
    ("host-other", "a Host that is not the authority", "", &[("host", "evil.example")]),
    ("host-twice", "two Hosts", "", &[("host", "{{host}}"), ("host", "evil.example")]),
    ("authority-twice", "two authorities", "", &[(":authority", "evil.example")]),
    ("authority-none", "no authority", ":authority", &[]),
    ("authority-userinfo", "an authority with a user", ":authority", &[(":authority", "alice@{{host}}")]),
    ("authority-path", "an authority that is more", ":authority", &[(":authority", "{{host}}/mcp")]),
    ("path-twice", "two paths", "", &[(":path", "/mcp/r/second")]),
    ("path-empty", "an empty path", ":path", &[(":path", "")]),
    ("path-bare", "a path without a slash", ":path", &[(":path", "mcp/r/tools")]),
    ("path-star", "the server as a whole", ":path", &[(":path", "*")]),
    ("path-absolute", "another server", ":path", &[(":path", "http://{{upstream}}/mcp")]),
    ("path-space", "a path that ends a request line", ":path", &[(":path", "/mcp/r/tools HTTP/1.1\r\nX: y")]),
    ("method-twice", "two methods", "", &[(":method", "DELETE")]),
    (
        "method-space",
        "a method that ends a request line",
        ":method",
        &[(":method", "POST /x HTTP/1.1\r\nX:")],
    ),
    ("method-connect", "a tunnel", ":method", &[(":method", "CONNECT")]),
    ("protocol", "an extended tunnel", ":method", &[(":method", "CONNECT"), (":protocol", "websocket")]),
    ("scheme-twice", "two schemes", "", &[(":scheme", "https")]),
    ("status", "a field of answers", "", &[(":status", "200")]),
    ("pseudo-unknown", "a pseudo-field that nobody knows", "", &[(":evil", "x")]),
    ("name-capital", "a name in capitals", "", &[("Content-Length", "7")]),
    ("name-space", "a name with a space", "", &[("x y", "z")]),
    ("name-colon", "a name that ends a field", "", &[("x: y\r\nz", "z")]),
    ("value-lines", "a value that is two fields", "", &[("x", "a\r\nauthorization: Bearer {{bob}}")]),
    ("value-nul", "a NUL in a value", "", &[("x", "a\0b")]),
    ("connection", "a field of one connection", "", &[("connection", "close")]),
    ("transfer-encoding", "a framing of HTTP/1.1", "", &[("transfer-encoding", "chunked")]),
    ("upgrade", "another protocol", "", &[("upgrade", "h2c")]),
    ("te", "a coding that is not trailers", "", &[("te", "gzip")]),
    ("length-long", "a length that is too much", "", &[("content-length", "4000")]),
    ("length-short", "a length that is too little", "", &[("content-length", "2")]),
    ("length-twice", "two lengths", "", &[("content-length", "2"), ("content-length", "3")]),
    ("authorization-twice", "two principals", "", &[("authorization", "Bearer {{bob}}")]),
    ("authorization-none", "no credential", "authorization", &[]),
];

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    // Fields of answers are compressed, so what is told is not looked at: nothing may reach the upstream.
    let nothing = || Expect {
        effect: Effect::None,
        told: Told::Whatever,
        record: Record::NotLooked,
        ..Expect::either()
    };
    let probe = |name: &str, tries: &str, parts: Vec<Part>| {
        let mut probe = Probe::new(format!("http2/{name}"), tries, Protocol::Http, Message::new("", ""));
        probe.request = Request::Streams(parts);
        probe.expect(nothing())
    };
    let passes = || Expect { record: Record::NotLooked, told: Told::Status(&[200]), ..Expect::passed() };
    let mut probes: Vec<Probe> =
        ROWS.iter().map(|(name, tries, without, with)| probe(name, tries, changed(without, with))).collect();
    let mut late = fields("alice");
    late.rotate_left(3);
    let smuggled = "POST /mcp/r/tools HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: Bearer {{alice}}\r\nContent-Length: 2\r\n\r\n{}";
    let many = (0..3_000).map(|number| (format!("x-{number}"), b"y".to_vec()));
    let frame =
        |kind, flags, stream, payload: &[u8]| Part::Frame { kind, flags, stream, payload: payload.to_vec() };
    let begun = Part::Fields { stream: 1, fields: fields("alice"), ends: true };
    probes.extend([
        probe("pseudo-late", "pseudo-fields behind others", asked(late)),
        probe(
            "body-is-a-request",
            "a request of HTTP/1.1 as a body",
            vec![Part::Fields { stream: 1, fields: fields("alice"), ends: false }, Part::data(1, smuggled)],
        ),
        probe(
            "data-behind-end",
            "a body behind the end",
            vec![begun.clone(), Part::data(1, good().body.unwrap_or_default())],
        ),
        probe("fields-many", "3,000 fields", asked(fields("alice").into_iter().chain(many).collect())),
        probe(
            "stream-even",
            "a stream that only servers open",
            vec![Part::Fields { stream: 2, fields: fields("alice"), ends: false }, Part::data(2, "{}")],
        ),
        probe(
            "stream-zero",
            "a call on the connection itself",
            vec![Part::Fields { stream: 0, fields: fields("alice"), ends: true }],
        ),
        probe("padding", "more padding than there is", vec![frame(1, 0x0d, 1, &[200, 0, 0])]),
        probe("hpack-broken", "fields that cannot be read", vec![frame(1, 5, 1, &[0xff; 64])]),
        probe(
            "hpack-table",
            "a table of fields without end",
            vec![frame(1, 5, 1, &[0x3f, 0xff, 0xff, 0xff, 0xff, 0x0f])],
        ),
        probe("continuation-alone", "fields that go on from none", vec![frame(9, 4, 1, &[0x82])]),
        probe("frame-large", "a frame over the limit", vec![frame(0, 1, 1, &[0; 20_000])]),
        probe("good", "the control: a call passes", asked(fields("alice"))).expect(passes()),
    ]);
    probes.extend(floods().into_iter().map(|(name, tries, parts)| {
        let sends = Request::Streams(parts);
        let crowd = Crowd { count: 8, door: Door::Listen, sends };
        probe(name, tries, asked(fields("alice")))
            .expect(passes())
            .manner(Manner { crowd: Some(crowd), ..Manner::default() })
    }));
    probes
}

/// Frames by the thousand, beside which a call must pass. By nobody, so that none of them reaches the upstream.
fn floods() -> Vec<(&'static str, &'static str, Vec<Part>)> {
    let call = |stream: u32| {
        [
            Part::Fields { stream, fields: fields("nobody"), ends: false },
            Part::data(stream, mcp("{}").body.unwrap_or_default()),
        ]
    };
    let streams = || (0..400).map(|number| 2 * number + 1);
    let frames = |kind, flags, stream, payload: &[u8], count| {
        vec![Part::Frame { kind, flags, stream, payload: payload.to_vec() }; count]
    };
    let closed_window = Part::Frame { kind: 4, flags: 0, stream: 0, payload: vec![0, 4, 0, 0, 0, 0] };
    let open = Part::Frame { kind: 1, flags: 0, stream: 1, payload: vec![0x82] };
    vec![
        (
            "flood-resets",
            "calls that are taken back at once",
            streams().flat_map(|stream| call(stream).into_iter().chain([Part::reset(stream)])).collect(),
        ),
        ("flood-pings", "pings", frames(6, 0, 0, &[0; 8], 20_000)),
        ("flood-settings", "settings", frames(4, 0, 0, &[], 20_000)),
        (
            "flood-empty-data",
            "bodies of nothing",
            [
                vec![Part::Fields { stream: 1, fields: fields("nobody"), ends: false }],
                frames(0, 0, 1, &[], 20_000),
            ]
            .concat(),
        ),
        (
            "flood-continuations",
            "fields that do not end",
            [vec![open], frames(9, 0, 1, &[0x40, 1, b'x', 1, b'y'], 20_000)].concat(),
        ),
        ("flood-windows", "windows", frames(8, 0, 0, &[0, 0, 0, 1], 20_000)),
        ("flood-priorities", "priorities", frames(2, 0, 3, &[0, 0, 0, 0, 16], 20_000)),
        (
            "closed-windows",
            "answers that nobody lets come",
            [closed_window].into_iter().chain(streams().flat_map(call)).collect(),
        ),
    ]
}
