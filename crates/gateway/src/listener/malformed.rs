//! Requests that are none: what hyper answers itself, or ends a connection for. They concern nobody who could be named, and are
//! recorded and counted all the same, as every refusal is.

use std::error::Error;

use http::header::TRANSFER_ENCODING;
use http::request::Parts;
use http::{Request, Uri};
use vidimus_core::refusal::{Code, Refusal};

use super::authority;
use crate::gate::Gate;
use crate::handle::{self, Peer};

/// What hyper lets pass and HTTP does not: it is for one host, and its body comes in one coding (RFC 9112 section 6.1; hyper itself
/// wants `chunked` to be the last).
///
/// # Errors
/// `request_malformed`.
pub(super) fn check(parts: &Parts) -> Result<(), Refusal> {
    authority::named(parts)?;
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Refusal::new(Code::RequestMalformed, "the only transfer coding that is served is chunked")),
    }
}

/// Records the request that ended a connection.
pub(super) async fn record(gate: &Gate, peer: &Peer, refusal: Refusal) {
    let mut parts = Request::new(()).into_parts().0;
    // Its path was not read.
    parts.uri = Uri::from_static("*");
    handle::refuse(gate, &parts, peer, refusal).await;
}

/// The refusal that the end of a connection was; `None` for a peer that left, or was too slow: that is no message.
pub(super) fn refusal(error: &(dyn Error + 'static)) -> Option<Refusal> {
    let found = error.downcast_ref::<hyper::Error>()?;
    let (code, message) = if found.is_parse_too_large() {
        (Code::HeadersTooLarge, "the address or the headers of the request are too long")
    } else if found.is_parse() || broke_http2(found) {
        (Code::RequestMalformed, "the request is not one of HTTP")
    } else {
        return None;
    };
    Some(Refusal::new(code, message).with_detail(found))
}

/// Whether it was this end that found the other one to break HTTP/2.
fn broke_http2(error: &hyper::Error) -> bool {
    error.source().and_then(<dyn Error>::downcast_ref::<h2::Error>).is_some_and(h2::Error::is_library)
}
