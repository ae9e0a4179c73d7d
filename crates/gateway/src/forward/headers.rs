//! Which headers go on. The caller's credentials never do, wherever it put them.

use http::HeaderMap;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SERVER, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    WWW_AUTHENTICATE,
};

use crate::trace::TraceContext;

/// Never passed on, in either direction (RFC 9110 section 7.6.1), or set by the gateway itself.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    CONTENT_LENGTH,
    HOST,
];

/// The headers of a caller that go on: those that `names` allows (see `Binding::passed_headers`), and none that holds the
/// caller's credential or that its `Connection` header keeps to this hop.
pub fn passed(headers: &HeaderMap, names: &[&str], caller_credential: Option<&str>) -> HeaderMap {
    let named_by_connection = connection_options(headers);
    copy(headers, |name, value| {
        names.iter().any(|allowed| match allowed.strip_suffix('-') {
            Some(_) => name.as_str().starts_with(allowed),
            None => name.as_str() == *allowed,
        }) && !named_by_connection.iter().any(|option| option.eq_ignore_ascii_case(name.as_str()))
            && !carries(value, caller_credential)
    })
}

/// The headers of an upstream's answer that the caller gets.
pub fn to_caller(headers: &HeaderMap) -> HeaderMap {
    let mut out = copy(headers, |name, _| {
        // A challenge of the upstream's is about the gateway's token, not the caller's; its cookies would be shared by callers.
        *name != WWW_AUTHENTICATE && *name != SET_COOKIE && *name != SERVER && *name != DATE
    });
    if let Some(length) = headers.get(CONTENT_LENGTH) {
        out.insert(CONTENT_LENGTH, length.clone());
    }
    out
}

/// Continues the trace, asks for an answer that can be read on its way back, and says of a body what it was read as: a server
/// that was told another charset or encoding would read another message in the same bytes.
pub fn finish(headers: &mut HeaderMap, trace: &TraceContext, body: &[u8]) {
    if let Ok(value) = HeaderValue::from_str(&trace.header()) {
        headers.insert("traceparent", value);
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
}

fn copy(headers: &HeaderMap, mut keep: impl FnMut(&HeaderName, &HeaderValue) -> bool) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        if !HOP_BY_HOP.contains(name) && name.as_str() != "keep-alive" && keep(name, value) {
            out.append(name, value.clone());
        }
    }
    out
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
            ("cookie", "s=1"),
            ("user-agent", "prefix secret-token"),
            ("connection", "keep-alive, mcp-hop"),
            ("mcp-hop", "1"),
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
            ("if-none-match", "\"1\""),
            ("range", "bytes=0-1"),
        ]);
        let passed = |binding: &dyn Binding, given: &HeaderMap, credential| {
            let passed = passed(given, binding.passed_headers(), credential);
            names(&passed).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let secret = Some("secret-token");
        assert_eq!(
            passed(&mcp::StreamableHttp, &given, secret),
            ["mcp-protocol-version", "mcp-param-region", "tracestate"]
        );
        assert_eq!(passed(&a2a::JsonRpc, &given, secret), ["a2a-version", "tracestate"]);
        assert_eq!(passed(&llm::OpenAi, &given, secret), [""; 0]);
        let model = headers(&[
            ("content-type", "application/json"),
            ("x-stainless-lang", "python"),
            ("openai-organization", "x"),
        ]);
        assert_eq!(passed(&llm::Anthropic, &model, None), ["x-stainless-lang"]);
    }

    #[test]
    fn a_body_is_said_to_be_what_it_was_read_as() {
        let trace = TraceContext::from_header(None);
        for (body, kind) in [(&b"{}"[..], Some("application/json")), (b"", None)] {
            let mut sent = HeaderMap::new();
            finish(&mut sent, &trace, body);
            assert_eq!(sent.get(CONTENT_TYPE).map(HeaderValue::as_bytes), kind.map(str::as_bytes));
        }
    }

    #[test]
    fn an_upstreams_cookies_and_challenges_stay_here() {
        let given = headers(&[
            ("set-cookie", "a=b"),
            ("www-authenticate", "Bearer"),
            ("content-length", "3"),
            ("x-y", "z"),
        ]);
        let mut kept = names(&to_caller(&given)).join(" ");
        kept.make_ascii_lowercase();
        assert_eq!(kept, "x-y content-length");
    }
}
