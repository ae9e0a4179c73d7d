//! Which headers go on. The caller's credentials never do, wherever it put them.

use http::HeaderMap;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, DATE, EXPECT, FORWARDED, HOST,
    HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SERVER, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
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

/// Names by which callers present credentials, or by which gateways speak among themselves.
const CREDENTIALS: [&str; 12] = [
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-amz-security-token",
    "dpop",
    "txn-token",
    "workload-identity-token",
    "workload-proof-token",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// What a third party (a model provider) gets to see of the caller's headers, by name or prefix.
const THIRD_PARTY: [&str; 8] = [
    "content-type",
    "accept",
    "user-agent",
    "anthropic-version",
    "anthropic-beta",
    "openai-beta",
    "x-stainless-",
    "idempotency-key",
];

/// The headers for a server or agent of the estate: the caller's, less its credentials.
pub fn to_estate(headers: &HeaderMap, caller_credential: Option<&str>) -> HeaderMap {
    let named_by_connection = connection_options(headers);
    copy(headers, |name, value| {
        !is_credential(name)
            && !named_by_connection.iter().any(|option| option.eq_ignore_ascii_case(name.as_str()))
            && !carries(value, caller_credential)
    })
}

/// The headers for a third party: an allow-list.
pub fn to_third_party(headers: &HeaderMap, caller_credential: Option<&str>) -> HeaderMap {
    copy(headers, |name, value| {
        THIRD_PARTY.iter().any(|allowed| match allowed.strip_suffix('-') {
            Some(_) => name.as_str().starts_with(allowed),
            None => name.as_str() == *allowed,
        }) && !carries(value, caller_credential)
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

/// Continues the trace, and asks for an answer that can be read on its way back.
pub fn finish(headers: &mut HeaderMap, trace: &TraceContext) {
    if let Ok(value) = HeaderValue::from_str(&trace.header()) {
        headers.insert("traceparent", value);
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
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

fn is_credential(name: &HeaderName) -> bool {
    [AUTHORIZATION, COOKIE, FORWARDED, EXPECT, ACCEPT_ENCODING].contains(name)
        || CREDENTIALS.contains(&name.as_str())
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
    fn the_callers_credential_goes_no_further_under_any_name() {
        let given = headers(&[
            ("authorization", "Bearer secret-token"),
            ("x-api-key", "secret-token"),
            ("cookie", "s=1"),
            ("x-my-own", "prefix secret-token"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("host", "gateway"),
            ("mcp-protocol-version", "2025-11-25"),
            ("x-tenant", "blue"),
            ("x-forwarded-for", "1.2.3.4"),
        ]);
        assert_eq!(names(&to_estate(&given, Some("secret-token"))), ["mcp-protocol-version", "x-tenant"]);
        assert_eq!(names(&to_third_party(&given, Some("secret-token"))), [""; 0]);
        let model = headers(&[
            ("content-type", "application/json"),
            ("x-stainless-lang", "python"),
            ("openai-organization", "x"),
        ]);
        assert_eq!(names(&to_third_party(&model, None)), ["content-type", "x-stainless-lang"]);
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
