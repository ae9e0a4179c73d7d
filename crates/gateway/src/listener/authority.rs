//! The authority that a request names: its `Host`, or `:authority` of HTTP/2.
//!
//! Two readers of one request must see one host: it is there once, is valid, and is the same wherever it stands (RFC 9110 section
//! 7.2, RFC 9112 section 3.2, RFC 9113 section 8.3.1).

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::HOST;
use http::request::Parts;
use vidimus_core::refusal::{Code, Refusal};

/// The authority of a request.
///
/// # Errors
/// `request_malformed` where there is none, more than one, or one that is no host with an optional port.
pub fn named(parts: &Parts) -> Result<&str, Refusal> {
    let malformed = |what: &'static str| Err(Refusal::new(Code::RequestMalformed, what));
    let mut lines = parts.headers.get_all(HOST).iter();
    let host = match (lines.next(), lines.next()) {
        (_, Some(_)) => return malformed("header Host is given twice"),
        (None, None) => None,
        (Some(host), None) => match host.to_str() {
            Ok(host) => Some(host),
            Err(_) => return malformed("header Host is not a host"),
        },
    };
    let named = match (parts.uri.authority().map(http::uri::Authority::as_str), host) {
        (None, Some(host)) => host,
        (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host) => host,
        (Some(_), Some(_)) => return malformed("header Host and the address of the request differ"),
        // HTTP/1.1 has it in Host, whatever else names it.
        (Some(authority), None) if parts.version == http::Version::HTTP_2 => authority,
        (_, None) => return malformed("the request names no host"),
    };
    if is_valid(named) { Ok(named) } else { malformed("header Host is not a host") }
}

/// Whether nobody had to look up a name to come here by this authority: a page that was loaded from it came from this very address,
/// whatever a name server says (DNS rebinding).
pub fn is_literal(authority: &str) -> bool {
    let host = split(authority).0;
    host.eq_ignore_ascii_case("localhost") || host.parse::<Ipv4Addr>().is_ok() || is_ipv6(host)
}

/// Whether the host of an authority, whatever its port, is `name`.
pub fn is_host(authority: &str, name: &str) -> bool {
    split(authority).0.eq_ignore_ascii_case(name)
}

/// `uri-host [ ":" port ]`, of the hosts that exist: addresses and names of DNS.
fn is_valid(authority: &str) -> bool {
    let (host, port) = split(authority);
    (is_name(host) || is_ipv6(host))
        && port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// Whether `host` is a name of DNS or an IPv4 address, as far as its characters tell.
pub fn is_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 255
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

fn is_ipv6(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

/// Host, with its brackets, and port.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        // The colon is one of an IPv6 address.
        Some((_, port)) if port.ends_with(']') => (authority, None),
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Version};

    use super::*;

    fn check(uri: &str, hosts: &[&[u8]], version: Version) -> Result<String, &'static str> {
        let mut request = Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        let parts = request.body(()).expect("a request").into_parts().0;
        named(&parts).map(str::to_owned).map_err(|refusal| refusal.code.as_str())
    }

    #[test]
    fn there_is_one_host_and_it_is_one() {
        const BAD: Result<String, &str> = Err("request_malformed");
        let one = |host: &str| check("/mcp/a/b", &[host.as_bytes()], Version::HTTP_11);
        for good in
            ["gw", "gw.example:8080", "GW.example", "10.0.0.1", "[::1]:8080", "[::1]", "a_b:1", "localhost"]
        {
            assert_eq!(one(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            ":80",
            "gw:",
            "gw:http",
            "gw:99999",
            "gw:+80",
            "a b",
            "user@gw",
            "gw/path",
            "a,b",
            "[::1",
            "::1",
            "[]",
            "gw:80:80",
            "gw%2e",
            "gw#x",
            "gw?x",
            "gw\u{e9}",
            "http://gw",
        ] {
            let expected = if bad == "gw:" { Err("request_malformed") } else { BAD };
            assert_eq!(one(bad), expected, "{bad}");
        }
        assert_eq!(check("/", &[], Version::HTTP_11), BAD);
        assert_eq!(check("/", &[b"a", b"a"], Version::HTTP_11), BAD, "twice the same is twice");
        assert_eq!(check("/", &[b"\xff"], Version::HTTP_11), BAD);
        assert_eq!(check("http://a/", &[b"a"], Version::HTTP_11).as_deref(), Ok("a"));
        assert_eq!(check("http://a/", &[b"b"], Version::HTTP_11), BAD);
        assert_eq!(check("http://a/", &[], Version::HTTP_11), BAD);
        assert_eq!(check("http://a/", &[], Version::HTTP_2).as_deref(), Ok("a"));
        assert_eq!(check("http://a/", &[b"A"], Version::HTTP_2).as_deref(), Ok("A"));
        assert_eq!(check("http://a/", &[b"b"], Version::HTTP_2), BAD);
        assert_eq!(check("http://u@a/", &[], Version::HTTP_2), BAD);
    }

    #[test]
    fn a_literal_address_needs_no_name_server() {
        for literal in
            ["127.0.0.1", "127.0.0.1:9901", "[::1]:9901", "[::1]", "localhost:1", "LOCALHOST", "10.1.2.3"]
        {
            assert!(is_literal(literal), "{literal}");
        }
        for name in [
            "evil.example",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.1.evil.example",
            "0x7f.1",
            "127.1",
        ] {
            assert!(!is_literal(name), "{name}");
        }
        assert!(is_host("gw.example:443", "GW.example") && !is_host("gw.example.evil", "gw.example"));
    }
}
