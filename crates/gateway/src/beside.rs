//! What requests have in common that go out beside the calls, to the webhook and to witnesses.

use std::error::Error;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};
use rand::RngExt as _;

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
