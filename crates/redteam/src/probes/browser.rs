//! Pages in browsers.

use super::good;
use crate::estate::ORIGIN;
use crate::expect::Expect;
use crate::probe::{Message, Probe, Protocol};

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let refused = |name: &str, tries: &str, origin: &[u8]| {
        Probe::new(format!("browser/{name}"), tries, Protocol::Mcp, good().with("Origin", origin))
    };
    let preflight = |origin: &str| {
        Message::new("OPTIONS", "/mcp/r/tools")
            .with("Origin", origin)
            .with("Access-Control-Request-Method", "POST")
            .with("Access-Control-Request-Headers", "authorization,content-type,mcp-session-id")
    };
    let open = "Access-Control-Allow-Origin";
    let lower = open.to_ascii_lowercase();
    vec![
        refused("origin-other", "a page of another origin", b"http://evil.example"),
        refused("origin-null", "a page without an origin", b"null"),
        refused("origin-empty", "an empty origin", b""),
        refused("origin-suffix", "an origin that ends right", b"http://evil-app.example"),
        refused("origin-prefix", "an origin that begins right", b"http://app.example.evil"),
        refused("origin-scheme", "the origin by another scheme", b"https://app.example"),
        refused("origin-port", "the origin on another port", b"http://app.example:81"),
        refused("origin-case", "the origin with a user", b"http://x@app.example"),
        refused("origin-path", "the origin with a path", b"http://app.example/"),
        refused("origin-odd", "an origin of odd bytes", b"http://app.example\xff"),
        Probe::new(
            "browser/origin-twice",
            "two origins",
            Protocol::Mcp,
            good().with("Origin", ORIGIN).with("Origin", "http://evil.example"),
        ),
        Probe::new(
            "browser/preflight-other",
            "a preflight of another origin",
            Protocol::Http,
            preflight("http://evil.example"),
        )
        .expect(Expect::answered(&[400, 401, 403, 404, 405]).hides(&[open, &lower])),
        Probe::new(
            "browser/preflight-null",
            "a preflight without an origin",
            Protocol::Http,
            preflight("null"),
        )
        .expect(Expect::answered(&[400, 401, 403, 404, 405]).hides(&[open, &lower])),
        Probe::new(
            "browser/preflight",
            "the control: a preflight of an allowed origin is answered",
            Protocol::Http,
            preflight(ORIGIN),
        )
        .expect(Expect::answered(&[200, 204]).shows(&[ORIGIN])),
        Probe::new(
            "browser/allowed",
            "the control: an allowed page reads its answer",
            Protocol::Mcp,
            good().with("Origin", ORIGIN),
        )
        .expect(Expect::passed().shows(&[ORIGIN]).hides(&["allow-credentials"])),
        Probe::new(
            "browser/own-page",
            "the control: the gateway's own page",
            Protocol::Mcp,
            good().with("Origin", "http://{{host}}"),
        )
        .expect(Expect::passed()),
        Probe::new(
            "browser/rebinding",
            "a name of an attacker that leads to loopback",
            Protocol::Mcp,
            good().without("Host").with("Host", "evil.example").with("Origin", "http://evil.example"),
        ),
    ]
}
