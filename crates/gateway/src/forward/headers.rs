//! Which header fields go on, in requests and in answers: a list, and what the destination's record adds to it. The caller's
//! credentials never do, wherever it put them, and no answer speaks in the gateway's name.

use http::HeaderMap;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST,
    HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
};
use vidimus_core::resource::HeaderRules;
use vidimus_core::resource::field::header;

use crate::meter::{Direction, Meter};
use crate::protocol::sse::is_events;
use crate::trace::{TRACEPARENT, TraceContext};

/// The fields of any upstream's answer that the caller gets, by name, or by prefix where one ends in `-`.
const ANSWERED: [&str; 36] = [
    // What the body is, and how long it may be kept.
    "content-type",
    "content-encoding",
    "content-language",
    "cache-control",
    "expires",
    "deprecation",
    "sunset",
    "warning",
    // When and what to ask again.
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "allow",
    "ratelimit",
    "ratelimit-",
    "x-ratelimit-",
    // Which request this was, and how long it took.
    "request-id",
    "x-request-id",
    "x-correlation-id",
    "apim-request-id",
    "x-ms-request-id",
    "server-timing",
    "traceparent",
    "traceresponse",
    "tracestate",
    "cf-ray",
    // The protocols' own, and those of the providers.
    "mcp-",
    "a2a-",
    "x-a2a-extensions",
    "openai-",
    "anthropic-",
    "x-groq-",
    "x-stainless-",
    "x-openai-",
    "x-client-request-id",
    "x-amzn-errortype",
    "x-amzn-requestid",
];

/// The headers of a caller that go on: those that `names` allows (see `Binding::passed_headers`) and the record's `rules`, and none
/// that holds the caller's credential or that its `Connection` header keeps to this hop.
pub fn passed(
    headers: &HeaderMap,
    names: &[&str],
    rules: &HeaderRules,
    caller_credential: Option<&str>,
) -> (HeaderMap, Dropped) {
    let passes = |name: &str, value: &HeaderValue| {
        (is_listed(name, names) || rules.passes(name)) && !carries(value, caller_credential)
    };
    copy(headers, Direction::Request, passes)
}

/// The headers of an upstream's answer that the caller gets: those of the list and of the record's `rules`, and none that its
/// `Connection` header keeps to this hop. `length` is how long its body is, where HTTP says so: beside a transfer coding a
/// `Content-Length` says nothing (RFC 9112 section 6.3), and the caller would be told a length that the answer does not have.
pub fn to_caller(
    headers: &HeaderMap,
    length: Option<u64>,
    rules: Option<&HeaderRules>,
) -> (HeaderMap, Dropped) {
    let (mut out, dropped) = copy(headers, Direction::Answer, |name, _| {
        is_listed(name, &ANSWERED) || rules.is_some_and(|rules| rules.passes(name))
    });
    if out.contains_key(CACHE_CONTROL) {
        let kept = kept_by_the_caller(&out);
        out.insert(CACHE_CONTROL, kept);
    }
    if let Some(length) = length.filter(|_| headers.contains_key(CONTENT_LENGTH)) {
        out.insert(CONTENT_LENGTH, length.into());
    }
    (out, dropped)
}

/// How an answer may be kept of which an upstream says how: by its caller alone. To a shared cache it would be anybody's, also of whom policies let have none
/// (RFC 9111 section 3.5).
fn kept_by_the_caller(headers: &HeaderMap) -> HeaderValue {
    const KEPT: [&str; 5] = ["no-store", "no-cache", "no-transform", "must-revalidate", "immutable"];
    let is_age = |age: &str| !age.is_empty() && age.bytes().all(|digit| digit.is_ascii_digit());
    let is_kept = |said: &str| KEPT.contains(&said) || said.strip_prefix("max-age=").is_some_and(is_age);
    let said = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let said = said.flat_map(|line| line.split(',')).map(|one| one.trim().to_ascii_lowercase());
    let all: Vec<String> =
        std::iter::once("private".to_owned()).chain(said.filter(|one| is_kept(one))).collect();
    HeaderValue::try_from(all.join(", ")).unwrap_or(HeaderValue::from_static("private"))
}

/// What is left of these headers where a policy redacts something of the answer: what the body is, in words of our own. A value of any
/// other, also of those that the record passes, may say what is redacted.
pub fn bare(headers: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    if headers.contains_key(CONTENT_TYPE) {
        let kind = if is_events(headers) { "text/event-stream" } else { "application/json" };
        out.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if let Some(length) = headers.get(CONTENT_LENGTH) {
        out.insert(CONTENT_LENGTH, length.clone());
    }
    out
}

/// Sets what the record has set, continues the trace, asks for an answer that can be read on its way back, and says of a body what it
/// was read as: a server that was told another charset or encoding would read another message in the same bytes.
pub fn finish(headers: &mut HeaderMap, rules: &HeaderRules, trace: &TraceContext, body: &[u8]) {
    for (name, value) in &*rules.set {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(&**name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    if let Ok(value) = HeaderValue::try_from(trace.header()) {
        headers.insert(TRACEPARENT, value);
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
}

/// The fields that did not go on, and are not such as each hop has its own.
#[derive(Debug)]
pub struct Dropped {
    direction: Direction,
    count: u64,
    /// Kept where somebody reads them.
    names: Vec<HeaderName>,
}

impl Dropped {
    fn new(direction: Direction) -> Self {
        Self { direction, count: 0, names: Vec::new() }
    }

    fn add(&mut self, name: &HeaderName) {
        self.count += 1;
        if tracing::enabled!(tracing::Level::DEBUG) {
            self.names.push(name.clone());
        }
    }

    /// Counts them, and names them in the log.
    pub fn report(self, meter: &Meter, call: &str) {
        if self.count > 0 {
            meter.headers_dropped(self.direction, self.count);
            let direction = self.direction.as_str();
            tracing::debug!(call, direction, names = ?self.names, "header fields were dropped; spec.endpoint.headers.pass lets them pass");
        }
    }
}

fn copy(
    headers: &HeaderMap,
    direction: Direction,
    passes: impl Fn(&str, &HeaderValue) -> bool,
) -> (HeaderMap, Dropped) {
    let (mut out, mut dropped) = (HeaderMap::with_capacity(headers.len() + 4), Dropped::new(direction));
    let of_this_hop = connection_options(headers);
    for (name, value) in headers {
        if of_each_hop(name) {
            continue;
        }
        let is_kept_here = of_this_hop.iter().any(|option| option.eq_ignore_ascii_case(name.as_str()));
        if !is_kept_here && passes(name.as_str(), value) {
            out.append(name, value.clone());
        } else if !(direction == Direction::Request && written_anew(name)) {
            dropped.add(name);
        }
    }
    (out, dropped)
}

/// Whether each hop has its own: never passed on in either direction (RFC 9110 section 7.6.1), or written by the gateway itself.
fn of_each_hop(name: &HeaderName) -> bool {
    const OF_EACH_HOP: [HeaderName; 7] =
        [CONNECTION, TE, TRANSFER_ENCODING, CONTENT_LENGTH, HOST, AUTHORIZATION, DATE];
    const OTHERS: [&str; 8] = [
        "keep-alive",
        "proxy-connection",
        "trailer",
        "upgrade",
        "http2-settings",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-authentication-info",
    ];
    OF_EACH_HOP.contains(name) || OTHERS.contains(&name.as_str())
}

/// Whether [`finish`] writes this field of a request, so that the upstream has it although the caller's own does not go on.
fn written_anew(name: &HeaderName) -> bool {
    [CONTENT_TYPE, ACCEPT_ENCODING, TRACEPARENT].contains(name)
}

/// Whether one of these names, or of these prefixes, which end in `-`, is that of a field.
fn is_listed(name: &str, listed: &[&str]) -> bool {
    listed.iter().any(|listed| header::is_listed(name, listed))
}

/// Whether a header of any name holds the credential that the caller authenticated with.
fn carries(value: &HeaderValue, credential: Option<&str>) -> bool {
    credential.is_some_and(|credential| {
        value.len() >= credential.len()
            && memchr::memmem::find(value.as_bytes(), credential.as_bytes()).is_some()
    })
}

fn connection_options(headers: &HeaderMap) -> Vec<&str> {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|option| !option.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Binding, a2a, llm, mcp};

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::try_from(*name).expect("name"),
                HeaderValue::from_str(value).expect("value"),
            );
        }
        map
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        map.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_goes_on_is_what_the_protocols_need_and_never_the_callers_credential() {
        let given = headers(&[
            ("authorization", "Bearer secret-token"),
            ("x-api-key", "secret-token"),
            ("x-goog-api-key", "another-token"),
            ("api-key", "another-token"),
            ("cookie", "s=1"),
            ("user-agent", "prefix secret-token"),
            ("connection", "keep-alive, mcp-hop"),
            ("mcp-hop", "1"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("host", "gateway"),
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-param-region", "eu"),
            ("a2a-version", "1.0"),
            ("tracestate", "a=b"),
            ("content-type", "application/json; charset=utf-7"),
            ("content-encoding", "gzip"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-user", "admin"),
            ("x-http-method-override", "PUT"),
            ("x-original-url", "/admin"),
            ("x-tenant", "a"),
            ("x-team-name", "b"),
            ("x-team-secret", "secret-token"),
            ("if-none-match", "\"1\""),
            ("range", "bytes=0-1"),
        ]);
        let none = HeaderRules::default();
        // Prefixes that begin what never passes, as no record can have them.
        let pass = ["x-tenant", "x-team-", "x-forwarded-", "x-http-", "mcp-", "x-"].map(Into::into);
        let some = HeaderRules { pass: pass.into(), ..none.clone() };
        let passed = |binding: &dyn Binding, given: &HeaderMap, rules, credential| {
            let (passed, _) = passed(given, binding.passed_headers(), rules, credential);
            names(&passed).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let secret = Some("secret-token");
        for (binding, rules, expected) in [
            (
                &mcp::StreamableHttp as &dyn Binding,
                &none,
                &["mcp-protocol-version", "mcp-param-region", "tracestate"][..],
            ),
            (&a2a::JsonRpc::OLD, &none, &["a2a-version", "tracestate"]),
            (&a2a::JsonRpc::OLD, &some, &["a2a-version", "tracestate", "x-tenant", "x-team-name"]),
            (&llm::OpenAi, &none, &["tracestate"]),
            (&llm::Gemini, &none, &["tracestate"]),
            (&llm::Azure, &none, &["tracestate"]),
            (&llm::Bedrock, &none, &["tracestate"]),
        ] {
            assert_eq!(passed(binding, &given, rules, secret), expected, "{binding:?}");
        }
        let model = headers(&[
            ("content-type", "application/json"),
            ("x-stainless-lang", "python"),
            ("openai-organization", "x"),
            ("openai-project", "x"),
            ("openai-beta", "x"),
            ("anthropic-version", "x"),
            ("anthropic-beta", "x"),
            ("idempotency-key", "x"),
        ]);
        for (binding, expected) in [
            (
                &llm::OpenAi as &dyn Binding,
                [
                    "x-stainless-lang",
                    "openai-organization",
                    "openai-project",
                    "openai-beta",
                    "idempotency-key",
                ]
                .as_slice(),
            ),
            (
                &llm::Anthropic,
                &["x-stainless-lang", "anthropic-version", "anthropic-beta", "idempotency-key"],
            ),
        ] {
            assert_eq!(passed(binding, &model, &none, None), expected, "{binding:?}");
        }
    }

    #[test]
    fn a_body_is_said_to_be_what_it_was_read_as_and_what_is_set_is_set() {
        let trace = TraceContext::from_header(None);
        let set = [("x-tenant".into(), "a b".into())];
        let rules = HeaderRules { set: set.into(), ..HeaderRules::default() };
        for (body, kind) in [(&b"{}"[..], Some("application/json")), (b"", None)] {
            let mut sent = headers(&[("x-tenant", "the caller's"), ("x-tenant", "twice")]);
            finish(&mut sent, &rules, &trace, body);
            assert_eq!(sent.get(CONTENT_TYPE).map(HeaderValue::as_bytes), kind.map(str::as_bytes));
            let tenants: Vec<_> = sent.get_all("x-tenant").iter().collect();
            assert_eq!(tenants, ["a b"]);
        }
    }

    #[test]
    fn of_a_redacted_answer_no_header_has_words() {
        for (kind, expected) in [
            ("application/json; note=4111", "application/json"),
            ("text/4111", "application/json"),
            ("Text/Event-Stream;note=4111", "text/event-stream"),
        ] {
            let given = headers(&[
                ("content-type", kind),
                ("content-length", "3"),
                ("content-encoding", "4111"),
                ("cache-control", "4111"),
                ("retry-after", "4111"),
                ("x-request-id", "4111"),
                ("x-ratelimit-remaining", "4111"),
                ("server-timing", "4111"),
                ("content-language", "4111"),
                ("mcp-protocol-version", "4111"),
                ("x-tenant", "4111"),
            ]);
            let expected = headers(&[("content-type", expected), ("content-length", "3")]);
            assert_eq!(bare(&given), expected, "{kind}");
        }
        assert!(bare(&headers(&[("x-request-id", "4111")])).is_empty());
    }

    /// Attack: a cache between callers and the gateway that keeps a card, or a task, for all who ask.
    #[test]
    fn what_may_be_kept_is_its_callers_alone() {
        for (given, expected) in [
            (&["public, max-age=60"][..], "private, max-age=60"),
            (&["Public", "S-MaxAge=9, Max-Age=60,must-revalidate"], "private, max-age=60, must-revalidate"),
            (&["no-store"], "private, no-store"),
            (&["private=\"set-cookie\", x=\"public\""], "private"),
            (&["x=\"public, max-age=60\"", "max-age="], "private"),
            (&[""], "private"),
        ] {
            let given: Vec<_> = given.iter().map(|line| ("cache-control", *line)).collect();
            let (kept, _) = to_caller(&headers(&given), None, None);
            let said: Vec<_> = kept.get_all(CACHE_CONTROL).iter().collect();
            assert_eq!(said, [expected], "{given:?}");
        }
        assert!(to_caller(&headers(&[("expires", "0")]), None, None).0.get(CACHE_CONTROL).is_none());
    }

    #[test]
    fn an_upstream_speaks_for_itself_only() {
        let given = headers(&[
            ("content-type", "application/json"),
            ("content-length", "3"),
            ("x-ratelimit-remaining-tokens", "7"),
            ("anthropic-ratelimit-requests-remaining", "7"),
            ("x-request-id", "r"),
            ("request-id", "r"),
            ("retry-after", "7"),
            ("openai-processing-ms", "7"),
            ("mcp-protocol-version", "x"),
            ("x-tenant", "t"),
            ("connection", "close, x-request-id"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("trailer", "x"),
            ("set-cookie", "a=b"),
            ("www-authenticate", "Bearer"),
            ("vidimus-call", "forged"),
            ("vidimus-code", "no_permit"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("alt-svc", "h3=\":443\""),
            ("strict-transport-security", "max-age=1"),
            ("clear-site-data", "*"),
            ("location", "http://elsewhere"),
            ("server", "nginx"),
            ("x-powered-by", "PHP"),
        ]);
        let mut expected = vec![
            "content-type",
            "x-ratelimit-remaining-tokens",
            "anthropic-ratelimit-requests-remaining",
            "request-id",
            "retry-after",
            "openai-processing-ms",
            "mcp-protocol-version",
            "content-length",
        ];
        let (kept, dropped) = to_caller(&given, Some(3), None);
        assert_eq!(names(&kept), expected);
        // Those that each hop has are not counted: length, connection, keep-alive, upgrade and trailer.
        assert_eq!(dropped.count, 26 - 8 - 4);
        // What no record can have does not pass, whatever a record has.
        let pass = ["x-tenant", "access-control-", "vidimus-", "alt-svc", "set-cookie"].map(Into::into);
        let rules = HeaderRules { pass: pass.into(), ..HeaderRules::default() };
        expected.insert(expected.len() - 1, "x-tenant");
        assert_eq!(names(&to_caller(&given, Some(3), Some(&rules)).0), expected);
    }
}
