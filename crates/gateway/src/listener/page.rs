//! Browsers: the page that a request comes from, and what a page may read of the answer (Fetch Standard, "CORS protocol").

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use url::Url;

use super::authority;
use crate::gate::Gate;
use crate::reply::ReplyBody;

/// What a page may send, by the routes.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
/// For how long a browser need not ask again, in seconds. Browsers cap it: Chromium at two hours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// What a page may read besides the headers that every page may. What is passed of an upstream's headers is for the caller to read,
/// so a page gets all of it; the names are for browsers that take `*` literally, as they do for requests with cookies.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "*, Mcp-Session-Id, Mcp-Protocol-Version, A2A-Version, WWW-Authenticate, Retry-After, X-Request-Id, Request-Id, \
    Vidimus-Call, Vidimus-Code",
);

/// Where a request comes from, as far as a browser says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// No browser, or a request that needs no leave.
    None,
    /// A page of the gateway's own address.
    Own,
    /// A page of an origin that may call.
    Allowed(HeaderValue),
    /// Any other page: it may not use a person's network position (MCP, transports, "Security warning").
    Foreign,
}

impl Page {
    pub(crate) fn of(gate: &Gate, parts: &Parts) -> Self {
        let mut lines = parts.headers.get_all(ORIGIN).iter();
        let Some(origin) = lines.next() else { return Self::None };
        if lines.next().is_some() {
            return Self::Foreign;
        }
        if gate.allowed_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
            return Self::Allowed(origin.clone());
        }
        let is_own = || {
            let origin = origin.to_str().ok()?;
            Some(is_own(origin, authority::named(parts).ok()?, &gate.public_url))
        };
        if is_own().unwrap_or(false) { Self::Own } else { Self::Foreign }
    }

    /// The answer to a browser that asks beforehand whether a page may send a request. It sends no credential with it.
    pub(super) fn preflight(&self, parts: &Parts) -> Option<Response<ReplyBody>> {
        let asked =
            parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asked || !matches!(self, Self::Allowed(_)) {
            return None;
        }
        let mut response = Response::new(ReplyBody::whole(""));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        // Which of them go on is the route's business, and is not told here: what is registered is not public.
        for wanted in parts.headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.append(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        headers.append(
            VARY,
            HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"),
        );
        Some(response)
    }

    /// Lets a page of an allowed origin read an answer, whatever it is.
    pub(super) fn announce(self, headers: &mut HeaderMap) {
        if let Self::Allowed(origin) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// Whether `origin` is that of the gateway's own pages: of its public address, or of the very address that was called, where no name
/// server had a say in it. A name that is neither may be one that a stranger's name server leads here.
fn is_own(origin: &str, named: &str, public_url: &str) -> bool {
    let public = Url::parse(public_url).is_ok_and(|url| url.origin().ascii_serialization() == origin);
    let called = || {
        let (scheme, from) = origin.split_once("://")?;
        let port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return None,
        };
        let of_scheme = |authority| str::strip_suffix(authority, port).unwrap_or(authority);
        Some(authority::is_literal(named) && of_scheme(from).eq_ignore_ascii_case(of_scheme(named)))
    };
    public || called().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_own_pages_are_those_that_no_name_server_can_forge() {
        let own = |origin, named| is_own(origin, named, "https://gw.example/base");
        for (origin, named) in [
            ("http://localhost:8080", "localhost:8080"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://localhost", "localhost:80"),
            ("https://localhost", "localhost:443"),
            ("https://gw.example", "gw.example"),
            ("https://gw.example", "inside:8080"),
        ] {
            assert!(own(origin, named), "{origin} at {named}");
        }
        for (origin, named) in [
            ("http://evil.example", "evil.example"),
            ("http://localhost:3000", "localhost:8080"),
            ("http://localhost:8080", "127.0.0.1:8080"),
            ("http://gw.example", "gw.example"),
            ("https://gw.example.evil", "gw.example"),
            ("https://gw.example:444", "gw.example"),
            ("null", "localhost:8080"),
            ("localhost:8080", "localhost:8080"),
            ("chrome-extension://localhost", "localhost"),
        ] {
            assert!(!own(origin, named), "{origin} at {named}");
        }
    }
}
