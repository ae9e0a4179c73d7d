//! What is looked at before a message is: the host and the page that it comes by, and headers that say what the body says.

use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::BASE64;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderName, StatusCode};

use crate::fault::{Fault, INVALID, MISMATCH};
use crate::message::{Kind, Message};
use crate::{At, Config};

pub(crate) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The page that a request comes from, where it may come from one.
///
/// # Errors
/// 403 for a page that may not call, and for a name that a stranger's name server may have led here (DNS rebinding).
pub(crate) fn enter(parts: &Parts, config: &Config) -> Result<Option<HeaderValue>, Fault> {
    let forbidden = |what: String| Err(Fault::new(StatusCode::FORBIDDEN, INVALID, what));
    if !is_named(parts, config) {
        return forbidden(
            "the request names a host that is not this one; start with --allow-host NAME".to_owned(),
        );
    }
    let mut origins = parts.headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(None),
        (Some(origin), None)
            if config.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) =>
        {
            Ok(Some(origin.clone()))
        }
        _ => forbidden("no page of this origin may call; start with --allow-origin ORIGIN".to_owned()),
    }
}

/// Whether the host that a request names is an address, `localhost`, or one that was allowed: a page that was loaded by a name from
/// elsewhere says that name.
fn is_named(parts: &Parts, config: &Config) -> bool {
    // No page has a way to a socket of Unix.
    let At::Tcp(_) = config.at else { return true };
    let mut lines = parts.headers.get_all(HOST).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let named = line.to_str().ok().filter(|line| !line.contains('@'));
    let Some(named) = named.and_then(|line| line.parse::<Authority>().ok()) else { return false };
    if parts.uri.authority().is_some_and(|authority| *authority != named) {
        return false;
    }
    let host = named.host();
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok()
        || inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
        || config.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
}

/// That a message is JSON, and that its answer may be a document or events.
///
/// # Errors
/// 415 and 406.
pub(crate) fn negotiated(headers: &HeaderMap) -> Result<(), Fault> {
    let is_json = headers.get(CONTENT_TYPE).and_then(|line| line.to_str().ok()).is_some_and(|line| {
        let kind = line.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    });
    if !is_json {
        let what = "a message is application/json";
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID, what));
    }
    if accepts(headers, "application/json") && accepts(headers, "text/event-stream") {
        return Ok(());
    }
    let what = "the client must accept both application/json and text/event-stream";
    Err(Fault::new(StatusCode::NOT_ACCEPTABLE, INVALID, what))
}

/// Whether a client takes answers of a kind.
pub(crate) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let mut kinds = lines.flat_map(|line| line.split(',')).filter_map(|kind| kind.split(';').next());
    let group = wanted.split('/').next().unwrap_or_default();
    kinds.any(|kind| {
        let kind = kind.trim();
        let is_of_group = || kind.strip_suffix("/*").is_some_and(|own| own.eq_ignore_ascii_case(group));
        kind == "*/*" || kind.eq_ignore_ascii_case(wanted) || is_of_group()
    })
}

/// The one value of a header.
pub(crate) fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok(),
        _ => None,
    }
}

/// That the headers of a request of the stateless era say what its body says: whoever stands before may have looked at them alone.
///
/// # Errors
/// `HeaderMismatch` of MCP 2026-07-28.
pub(crate) fn mirrored(headers: &HeaderMap, message: &Message<'_>) -> Result<(), Fault> {
    let differ = |name: &HeaderName, what: &str| {
        let said = format!("header {name} is not what {what} of the body is");
        Err(Fault::new(StatusCode::BAD_REQUEST, MISMATCH, said))
    };
    if message.version.is_none() || one(headers, &VERSION) != message.version.as_deref() {
        return differ(&VERSION, "params._meta[\"io.modelcontextprotocol/protocolVersion\"]");
    }
    if message.kind != Kind::Request {
        return Ok(());
    }
    if one(headers, &METHOD) != Some(message.method.as_str()) {
        return differ(&METHOD, "the method");
    }
    if matches!(message.method.as_str(), "tools/call" | "prompts/get" | "resources/read") {
        let named = one(headers, &NAME).and_then(decoded);
        if named.is_none() || named != message.name {
            return differ(&NAME, "the name or URI");
        }
    }
    Ok(())
}

/// The text of a header that is, or is not, in base64 (MCP 2026-07-28, "Value Encoding").
fn decoded(line: &str) -> Option<String> {
    let Some(encoded) = line.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(line.to_owned());
    };
    String::from_utf8(BASE64.decode(encoded.as_bytes()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use http::Request;

    use super::*;
    use crate::{Limits, Program};

    fn config(at: At) -> Config {
        let program = Program { command: "x".into(), arguments: vec![], environment: vec![] };
        let limits = Limits { sessions: 1, message: 1024, idle: Duration::from_secs(1) };
        let (hosts, origins) = (vec!["tools.svc".to_owned()], vec!["https://app.example".to_owned()]);
        Config { program, at, hosts, origins, shared: false, limits }
    }

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/mcp");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn no_page_comes_in_by_a_name_that_it_chose() {
        let config_tcp = config(At::Tcp("127.0.0.1:1".parse().expect("an address")));
        let status =
            |headers: &[(&str, &str)]| enter(&parts(headers), &config_tcp).map_err(|fault| fault.status);
        for host in [
            "127.0.0.1:8000",
            "localhost:1",
            "LOCALHOST",
            "[::1]:8000",
            "10.1.2.3",
            "tools.svc:9",
            "Tools.SVC",
        ] {
            assert_eq!(status(&[("host", host)]), Ok(None), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "user@127.0.0.1",
            "127.0.0.1.evil.example",
            "",
            "a b",
        ] {
            assert_eq!(status(&[("host", host)]), Err(StatusCode::FORBIDDEN), "{host}");
        }
        assert_eq!(status(&[]), Err(StatusCode::FORBIDDEN));
        assert_eq!(status(&[("host", "localhost"), ("host", "localhost")]), Err(StatusCode::FORBIDDEN));
        let page = |origin| status(&[("host", "localhost"), ("origin", origin)]);
        assert_eq!(page("https://app.example"), Ok(Some(HeaderValue::from_static("https://app.example"))));
        for origin in ["https://evil.example", "http://app.example", "null", "http://localhost", ""] {
            assert_eq!(page(origin), Err(StatusCode::FORBIDDEN), "{origin}");
        }
        let socket = config(At::Socket(PathBuf::from("/run/x")));
        assert!(enter(&parts(&[("host", "whatever")]), &socket).is_ok());
        assert!(enter(&parts(&[("origin", "https://evil.example")]), &socket).is_err());
    }

    #[test]
    fn headers_say_what_the_body_says() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"grüße","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let message = Message::read(text.as_bytes()).expect("a message");
        let good = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "=?base64?Z3LDvMOfZQ==?="),
        ];
        assert!(mirrored(&parts(&good).headers, &message).is_ok());
        for (name, other) in [
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-method", "tools/list"),
            ("mcp-name", "gruesse"),
            ("mcp-name", "=?base64?!!?="),
        ] {
            let bad = good.map(|(own, value)| (own, if own == name { other } else { value }));
            assert!(mirrored(&parts(&bad).headers, &message).is_err(), "{name}: {other}");
            let without: Vec<_> = good.into_iter().filter(|(own, _)| *own != name).collect();
            assert!(mirrored(&parts(&without).headers, &message).is_err(), "no {name}");
            let twice: Vec<_> =
                good.into_iter().chain(good.into_iter().filter(|(own, _)| *own == name)).collect();
            assert!(mirrored(&parts(&twice).headers, &message).is_err(), "{name} twice");
        }
    }

    #[test]
    fn what_a_client_accepts_is_read() {
        let both = |accept| {
            negotiated(
                &parts(&[("content-type", "application/json; charset=utf-8"), ("accept", accept)]).headers,
            )
            .is_ok()
        };
        assert!(
            both("application/json, text/event-stream") && both("*/*") && both("text/*;q=0.5,application/*")
        );
        assert!(!both("application/json") && !both("text/event-stream") && !both(""));
        let text = parts(&[("content-type", "text/plain"), ("accept", "*/*")]);
        assert_eq!(
            negotiated(&text.headers).map_err(|fault| fault.status),
            Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        );
    }
}
