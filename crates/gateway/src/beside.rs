//! What has in common that goes out beside the calls: to the webhook, to witnesses, to sinks and to a ClickHouse.

mod web;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};
use rand::RngExt as _;
use vidimus_core::resource::Network;

use crate::forward::AddressGuard;
pub(crate) use web::Web;

/// An address to which nothing goes.
#[derive(Debug, thiserror::Error)]
pub enum NeverCalled {
    #[error(
        "the address {0} is one that is never called: metadata services, special-purpose networks and --deny-upstream"
    )]
    Network(String),
    #[error("it is this gateway's own address {0}")]
    Own(SocketAddr),
    #[error(
        "its port is that of this gateway's own {0}, which listens on all addresses; let the receiver have another one"
    )]
    OwnPort(SocketAddr),
}

/// Which addresses a receiver may have that is none of this process's `own` sockets.
///
/// # Errors
/// See [`NeverCalled`].
pub(crate) fn apart(
    mut guard: AddressGuard,
    host: &str,
    port: u16,
    own: &[SocketAddr],
) -> Result<AddressGuard, NeverCalled> {
    let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    for own in own.iter().copied().filter(|own| own.port() == port) {
        if own.ip().is_unspecified() {
            return Err(NeverCalled::OwnPort(own));
        }
        if literal.is_some_and(|literal| literal.to_canonical() == own.ip().to_canonical()) {
            return Err(NeverCalled::Own(own));
        }
        // Whatever the name resolves to later.
        let denied = guard.denied.iter().copied().chain([Network::from(own.ip())]);
        guard.denied = denied.collect::<Vec<_>>().into();
    }
    guard.check_literal(host).map_err(|_| NeverCalled::Network(host.to_owned()))?;
    Ok(guard)
}

/// An error with what led to it. None of it has the path of an address.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// How long whoever answers wants not to be asked again, in seconds as the header `Retry-After` says it.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER).map(HeaderValue::to_str)?.ok()?;
    text.parse().ok().map(Duration::from_secs)
}

/// Before the next try after so many failures: each waits four times as long, by a part more or less, so that many do not come at once.
pub(crate) fn pause(
    failures: u32,
    asked: Option<Duration>,
    (first, longest): (Duration, Duration),
) -> Duration {
    let grown = first.saturating_mul(4_u32.saturating_pow(failures.saturating_sub(1)));
    let pause = grown.max(asked.unwrap_or_default()).min(longest);
    pause.mul_f64(rand::rng().random_range(0.75..1.25))
}
