use super::*;

/// A field of a message.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![(number << 3) | 2];
    let mut length = value.len();
    while length > 127 {
        out.push(u8::try_from(length % 128).expect("seven bits") | 128);
        length /= 128;
    }
    out.push(u8::try_from(length).expect("seven bits"));
    [&out, value].concat()
}

fn pair(number: u8, name: &str, value: &str) -> Vec<u8> {
    field(number, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

/// What a question says beside the usual.
#[derive(Default)]
struct Asks<'a> {
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    raw_headers: &'a [(&'a str, &'a str)],
    extensions: &'a [(&'a str, &'a str)],
    body: &'a [u8],
    raw_body: &'a [u8],
    certificate: &'a str,
    principal: &'a str,
}

impl Asks<'_> {
    fn message(&self) -> Vec<u8> {
        let mut http = [field(2, b"POST"), field(4, self.path.as_bytes()), field(5, b"gw.example")].concat();
        http.extend(self.headers.iter().flat_map(|(name, value)| pair(3, name, value)));
        let raw = |(name, value): &(&str, &str)| {
            field(1, &[field(1, name.as_bytes()), field(3, value.as_bytes())].concat())
        };
        if !self.raw_headers.is_empty() {
            http.extend(field(13, &self.raw_headers.iter().flat_map(raw).collect::<Vec<_>>()));
        }
        for (number, body) in [(11, self.body), (12, self.raw_body)] {
            if !body.is_empty() {
                http.extend(field(number, body));
            }
        }
        let address = field(1, &field(1, &field(2, b"192.0.2.7")));
        let shown = [field(4, self.principal.as_bytes()), field(5, self.certificate.as_bytes())].concat();
        let mut attributes = [field(1, &[address, shown].concat()), field(4, &field(2, &http))].concat();
        attributes.extend(self.extensions.iter().flat_map(|(name, value)| pair(10, name, value)));
        field(1, &attributes)
    }

    fn read(&self) -> Result<Check, Refusal> {
        Check::read(self.message().into(), 65_536)
    }

    fn request(&self, planes: &DataPlanes) -> (Parts, Peer, Option<Code>) {
        let (parts, peer, fault) = self.read().expect("a question").request(planes);
        (parts, peer, fault.map(|fault| fault.code))
    }
}

fn plain() -> DataPlanes {
    DataPlanes::new(Vec::new(), false, false)
}

fn on(path: &str) -> Asks<'_> {
    Asks { path, ..Asks::default() }
}

#[test]
fn a_question_is_the_request_that_it_is_about() {
    let asks = Asks {
        headers: &[
            (":path", "/mcp/a/b?beta=true"),
            (":method", "POST"),
            (":authority", "gw.example"),
            (":scheme", "https"),
            ("authorization", "Bearer a"),
            ("content-length", "2"),
            (PARTIAL, "false"),
        ],
        raw_body: b"{}",
        ..on("/mcp/a/b?beta=true")
    };
    let (parts, peer, fault) = asks.request(&plain());
    assert_eq!(fault, None);
    assert_eq!((parts.method, parts.uri.to_string().as_str()), (Method::POST, "/mcp/a/b?beta=true"));
    assert_eq!(parts.headers["host"], "gw.example");
    assert_eq!(parts.headers["authorization"], "Bearer a");
    assert_eq!(parts.headers.len(), 4, "{:?}", parts.headers);
    assert_eq!((peer.address.ip().to_string().as_str(), peer.svid.is_none()), ("192.0.2.7", true));
    assert_eq!(asks.read().expect("a question").body, "{}");
    let raw = Asks {
        raw_headers: &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
        body: b"{}",
        ..on("/mcp/a/b")
    };
    let (parts, ..) = raw.request(&plain());
    assert_eq!(parts.headers.get_all("authorization").iter().count(), 2, "each line as it came");
}

/// Attack: a caller of whom the data plane does not say from where it comes, as over a socket of the machine, has the address of the data plane,
/// and a policy that permits what comes from there.
#[test]
fn the_address_of_the_data_plane_is_never_the_callers() {
    for said in [&b""[..], b"@vidimus", b"/run/proxy.sock"] {
        let address = field(1, &field(1, &field(1, &field(2, said))));
        let request = field(4, &field(2, &field(4, b"/mcp/a/b")));
        let message = field(1, &[address, request].concat());
        let (_, peer, _) = Check::read(message.into(), 65_536).expect("a question").request(&plain());
        assert!(peer.address.ip().is_unspecified(), "{said:?}: {}", peer.address);
    }
    let (_, peer, _) = Check::read(field(1, &[]).into(), 65_536).expect("a question").request(&plain());
    assert!(peer.address.ip().is_unspecified(), "nothing at all is said");
}

/// Attack: one request for the data plane, and another one here.
#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let malformed = Some(Code::RequestMalformed);
    let headers = |headers| Asks { headers, ..on("/mcp/a/b") }.request(&plain()).2;
    for (lines, expected) in [
        (&[("x-a", "b")][..], None),
        (&[(":path", "/mcp/a/other")], malformed),
        (&[(":method", "GET")], malformed),
        (&[(":authority", "other.example")], malformed),
        (&[("host", "other.example")], malformed),
        (&[("host", "gw.example"), ("host", "gw.example")], malformed),
        (&[("x a", "b")], malformed),
        (&[("", "b")], malformed),
        (&[("x-a", "b\r\nauthorization: Bearer c")], malformed),
        (&[("x-a", "b\0")], malformed),
    ] {
        assert_eq!(headers(lines), expected, "{lines:?}");
    }
    for path in
        ["", "*", "mcp/a/b", "http://gw/mcp/a/b", "/mcp/a/b#x", "/mcp/a/b?x#y", "/mcp/a/ b", "/mcp/a/\u{7f}b"]
    {
        let (parts, _, fault) = on(path).request(&plain());
        assert_eq!((fault, parts.uri.path()), (Some(Code::RouteUnknown), "*"), "{path:?}");
    }
    // What is a path, and no route, is refused by `Route::parse`, as of any caller.
    for path in ["/mcp//a/b", "/mcp/a/b/../c", "/mcp/a%2fb", "/mcp/a/%62", "/mcp/a/b/%2e%2e"] {
        let (parts, _, fault) = on(path).request(&plain());
        assert_eq!((fault, parts.uri.path()), (None, path));
        let route = Route::parse(path);
        assert!(route.is_none_or(|route| !matches!(route.rest, "" | "/")), "{path}");
    }
}

/// Attack: a body of which the data plane sent a part, so that the rest goes on undecided.
#[test]
fn a_part_of_a_body_is_refused() {
    let asks = |headers| Asks { headers, raw_body: b"{}", ..on("/mcp/a/b") }.request(&plain()).2;
    let cut = Some(Code::BodyTooLarge);
    for (lines, expected) in [
        (&[][..], None),
        (&[(PARTIAL, "false"), ("content-length", "2")], None),
        (&[(PARTIAL, "true")], cut),
        (&[(PARTIAL, "True")], cut),
        (&[(PARTIAL, "")], cut),
        (&[(PARTIAL, "false"), (PARTIAL, "false")], cut),
        (&[(PARTIAL, "false"), ("content-length", "3")], cut),
        (&[("content-length", "2, 3")], cut),
    ] {
        assert_eq!(asks(lines), expected, "{lines:?}");
    }
}

#[test]
fn a_data_planes_configuration_names_the_object() {
    let asks = |path, extensions| {
        let (parts, _, fault) = Asks { extensions, ..on(path) }.request(&plain());
        fault.map_or_else(|| Ok(parts.uri.to_string()), Err)
    };
    let (route, unknown) = ((ROUTE, "/llm/a/b"), Err(Code::RouteUnknown));
    for (path, extensions, expected) in [
        ("/v1/messages?beta=true", &[route][..], Ok("/llm/a/b/v1/messages?beta=true".to_owned())),
        ("/api/v1/messages", &[route, (PREFIX, "/api")], Ok("/llm/a/b/v1/messages".to_owned())),
        ("/api/v1/messages", &[route, (PREFIX, "/api/")], Ok("/llm/a/b/v1/messages".to_owned())),
        ("/mcp", &[(ROUTE, "/mcp/a/b"), (PREFIX, "/mcp")], Ok("/mcp/a/b".to_owned())),
        ("/v1", &[("other", "x"), route], Ok("/llm/a/b/v1".to_owned())),
        ("/apiv1/messages", &[route, (PREFIX, "/api")], unknown.clone()),
        ("/other", &[route, (PREFIX, "/api")], unknown.clone()),
        ("/v1", &[(PREFIX, "/v1")], unknown.clone()),
        ("/v1", &[(ROUTE, "/llm/a")], unknown.clone()),
        ("/v1", &[(ROUTE, "/llm/a/b/v1")], unknown.clone()),
        ("/v1", &[("vidimus.dev/rout", "/llm/a/b")], unknown.clone()),
    ] {
        assert_eq!(asks(path, extensions), expected, "{path} {extensions:?}");
    }
    let asked = Asks { extensions: &[("vidimus.dev/rout", "/llm/a/b")], ..on("/v1") };
    let check = asked.read().expect("a question");
    let told = check.uri().expect_err("refused").message;
    assert!(told.contains("vidimus.dev/rout,") && told.contains(ROUTE), "{told}");
    let twice = Asks { extensions: &[route, route], ..on("/v1") };
    assert_eq!(twice.read().map(drop).map_err(|error| error.code), Err(Code::MessageInvalid));
}

/// Attack: a list of headers that is small on the wire and large in memory, or longer than any request may have.
#[test]
fn more_headers_than_a_request_may_have_are_not_kept() {
    let mut http = [field(2, b"POST"), field(4, b"/mcp/a/b"), field(5, b"gw")].concat();
    http.extend([b'\x1a', 0].repeat(1_000_000));
    let message = field(1, &field(4, &field(2, &http)));
    let check = Check::read(message.into(), 65_536).expect("a question");
    assert!(check.headers.len() <= 65_536 / HEADER, "{}", check.headers.len());
    let fault = check.request(&plain()).2.expect("refused");
    assert_eq!(fault.code, Code::HeadersTooLarge);
    let long = "a".repeat(70_000);
    let (.., fault) = Asks { headers: &[("x-a", &long)], ..on("/mcp/a/b") }.request(&plain());
    assert_eq!(fault, Some(Code::HeadersTooLarge));
}

/// Attack: a question that says a thing twice, so that one reader takes the first and another the last.
#[test]
fn what_is_said_twice_is_no_question() {
    let code = |message: Vec<u8>| Check::read(message.into(), 65_536).map(drop).map_err(|error| error.code);
    let http = |inside: Vec<u8>| field(1, &field(4, &field(2, &inside)));
    let path = || field(4, b"/mcp/a/b");
    let invalid = Err(Code::MessageInvalid);
    assert_eq!(code(http(path())), Ok(()));
    assert_eq!(code(http([path(), path()].concat())), invalid);
    assert_eq!(code([http(path()), http(path())].concat()), invalid);
    assert_eq!(code(http([field(11, b"a"), field(12, b"b")].concat())), invalid, "two bodies");
    let two = [pair(3, "a", "b"), field(13, &pair(1, "a", "b"))].concat();
    assert_eq!(code(http(two)), invalid, "two lists of headers");
    assert_eq!(code(b"\x0a\x05abc".to_vec()), invalid, "cut");
    assert_eq!(code(b"{}".to_vec()), invalid);
}

/// Attack: a caller's name from a data plane that is not believed, without a certificate, or with one that is none.
#[test]
fn who_calls_is_taken_from_a_certificate_and_only_where_that_is_wanted() {
    let believed = DataPlanes::new(Vec::new(), true, false);
    let named = Asks { principal: "spiffe://corp.example/a", ..on("/mcp/a/b") };
    let (_, peer, fault) = named.request(&plain());
    assert_eq!((peer.svid.is_none(), fault), (true, None), "nobody, so that the token counts");
    assert_eq!(named.request(&believed).2, Some(Code::SvidInvalid), "a name alone proves nothing");
    for certificate in ["x", "-----BEGIN%20CERTIFICATE-----%0AAAAA%0A-----END%20CERTIFICATE-----%0A"] {
        let shown = Asks { certificate, ..on("/mcp/a/b") };
        assert_eq!(shown.request(&believed).2, Some(Code::SvidInvalid), "{certificate}");
    }
    assert_eq!(on("/mcp/a/b").request(&believed).2, None, "none at all is no fault");
}
