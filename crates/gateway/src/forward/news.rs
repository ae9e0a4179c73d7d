//! The one other place that calls go out to: a webhook that a caller named, to which news of a task go on. Its address is the permit's too.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::connect::capture_connection;
use url::{Position, Url};
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};

use super::{Upstream, connect};

/// How long a webhook may take to answer. The agent waits for it.
const TIME: Duration = Duration::from_secs(10);

/// News of a task on their way to where their caller wants them.
///
/// Like an [`super::Outbound`] it holds the permit, and goes where that was decided to go:
///
/// ```compile_fail,E0451
/// # use vidimus_gateway::Notice;
/// fn elsewhere(notice: Notice) -> Notice {
///     Notice { uri: http::Uri::from_static("http://elsewhere.example"), ..notice }
/// }
/// ```
#[derive(Debug)]
pub struct Notice {
    permit: Permit,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Notice {
    /// To the webhook of a permitted call.
    ///
    /// # Errors
    /// `upstream_refused_address` for no address that can be called.
    pub fn of(permit: Permit, headers: HeaderMap, body: Bytes) -> Result<Self, Refusal> {
        let unusable =
            || Refusal::new(Code::UpstreamRefusedAddress, "the webhook is not an address that can be called");
        let url: Url = permit.news_to().and_then(|url| url.parse().ok()).ok_or_else(unusable)?;
        let uri = url[..Position::AfterQuery].parse().map_err(|_| unusable())?;
        Ok(Self { permit, uri, headers, body })
    }
}

/// Tells it, once; what is answered is not read but for the status, and a redirect is not followed. The name of the webhook is looked up for each
/// connection, and the connection is to an address that was looked at then, whatever the name led to before. `is_beside`: it may be at the
/// gateway's own host.
///
/// # Errors
/// As [`super::forward`].
pub async fn tell(upstream: &Upstream, notice: Notice, is_beside: bool) -> Result<StatusCode, Refusal> {
    let Notice { uri, headers, body, permit: _permit } = notice;
    let client = upstream.news_client(is_beside)?;
    if let Some(host) = uri.host() {
        upstream.news_guard(is_beside).check_literal(host)?;
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let connection = capture_connection(&mut request);
    match tokio::time::timeout(TIME, client.request(request)).await {
        Ok(Ok(response)) => Ok(response.status()),
        Ok(Err(error)) => Err(connect::refusal(&error)),
        Err(_) => {
            if let Some(connection) = &*connection.connection_metadata() {
                connection.poison();
            }
            let message = format!("the webhook sent no answer within {} s", TIME.as_secs());
            Err(Refusal::new(Code::UpstreamTimeout, message))
        }
    }
}
