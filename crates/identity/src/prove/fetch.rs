//! Fetching an issuer's metadata and keys: bounded in time and size, over TLS, without redirects and without proxies.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use url::{Host, Url};
use vidimus_core::json::Json;

use super::ConfigError;
use super::keys::KeySetError;

/// The largest discovery document or JWK Set, in bytes.
pub(super) const MAX_DOCUMENT: usize = 256 * 1024;

/// What is asked for: an API server has its key set by its own media type (RFC 7517, section 8.5) alone, and answers 406 where that is not accepted.
const ACCEPTED: &str = "application/json, application/jwk-set+json";

/// Why an issuer's keys could not be had. For the operator, not for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(
        "'{url}' is not an https URL (http is allowed on loopback only, unless insecure issuers are allowed)"
    )]
    Address { url: String },
    #[error("{url}: {reason}")]
    Transport { url: String, reason: String },
    #[error("{url}: no answer within {} ms", limit.as_millis())]
    Timeout { url: String, limit: Duration },
    #[error("{url}: answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url}: the answer has more than {MAX_DOCUMENT} bytes")]
    TooLarge { url: String },
    #[error("{url}: the metadata is not a JSON object with 'issuer' and 'jwks_uri'")]
    Metadata { url: String },
    #[error("{url}: the metadata names the issuer '{found}'")]
    IssuerMismatch { url: String, found: String },
    #[error("{url}: {source}")]
    Keys { url: String, source: KeySetError },
    #[error("{server}; and {published}")]
    Nowhere { server: Box<FetchError>, published: Box<FetchError> },
}

/// The HTTP client for issuers.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    timeout: Duration,
    allow_insecure: bool,
}

impl Fetcher {
    pub(crate) fn new(
        roots: RootCertStore,
        timeout: Duration,
        allow_insecure: bool,
    ) -> Result<Self, ConfigError> {
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::Tls { reason: error.to_string() })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, timeout, allow_insecure })
    }

    /// The JWK Set of `issuer`, found by its metadata (OpenID Connect Discovery section 4).
    pub(crate) async fn key_set(&self, issuer: &str) -> Result<(String, Bytes), FetchError> {
        let base = self.checked(issuer, false)?;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = self.get(&url).await?;
        let keys = named_keys(&url, &document, issuer)?;
        // An https issuer cannot send us on to plain http, wherever that leads.
        let keys = self.checked(&keys, base.scheme() == "https")?.to_string();
        let document = self.get(&keys).await?;
        Ok((keys, document))
    }

    fn checked(&self, text: &str, https_only: bool) -> Result<Url, FetchError> {
        let refused = || FetchError::Address { url: text.chars().take(200).collect() };
        let url = Url::parse(text).map_err(|_| refused())?;
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        let scheme_fits = match url.scheme() {
            "https" => true,
            "http" => !https_only && (loopback || self.allow_insecure),
            _ => false,
        };
        let plain = url.username().is_empty() && url.password().is_none();
        if scheme_fits && plain && url.host().is_some() { Ok(url) } else { Err(refused()) }
    }

    async fn get(&self, url: &str) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.timeout, self.get_unbounded(url))
            .await
            .unwrap_or_else(|_| Err(FetchError::Timeout { url: url.to_owned(), limit: self.timeout }))
    }

    async fn get_unbounded(&self, url: &str) -> Result<Bytes, FetchError> {
        let transport = |reason: String| FetchError::Transport { url: url.to_owned(), reason };
        let uri: Uri = url.parse().map_err(|_| FetchError::Address { url: url.to_owned() })?;
        let request = Request::get(uri).header(http::header::ACCEPT, ACCEPTED).body(Empty::new());
        let request = request.map_err(|error| transport(error.to_string()))?;
        let reply = self.client.request(request).await.map_err(|error| transport(with_causes(&error)))?;
        // A redirect ends here too: the configured issuer answers itself or not at all.
        if reply.status() != http::StatusCode::OK {
            return Err(FetchError::Status { url: url.to_owned(), status: reply.status().as_u16() });
        }
        match Limited::new(reply.into_body(), MAX_DOCUMENT).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge { url: url.to_owned() }),
            Err(error) => Err(transport(error.to_string())),
        }
    }
}

/// Where the keys are that the metadata of `issuer` name; `url` is where those were had.
pub(super) fn named_keys(url: &str, document: &[u8], issuer: &str) -> Result<String, FetchError> {
    let none = || FetchError::Metadata { url: url.to_owned() };
    let metadata = Json::parse(document).map_err(|_| none())?;
    let text = |name: &str| metadata.get(name).and_then(Json::as_str);
    let (Some(found), Some(keys)) = (text("issuer"), text("jwks_uri")) else { return Err(none()) };
    if found != issuer {
        let found = found.chars().take(200).collect();
        return Err(FetchError::IssuerMismatch { url: url.to_owned(), found });
    }
    Ok(keys.to_owned())
}

/// hyper keeps the reason (refused, unknown host, bad certificate) in its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_and_names_nobody() {
        let timeout = Duration::from_secs(1);
        let fetcher = |allowed: bool| Fetcher::new(RootCertStore::empty(), timeout, allowed).unwrap();
        for (address, https_only, allowed, good) in [
            ("https://issuer.example", true, false, true),
            ("https://issuer.example/tenant/a", false, false, true),
            ("https://10.0.0.1:8443", true, false, true),
            ("https://user@issuer.example", false, true, false),
            ("https://:secret@issuer.example", false, true, false),
            ("https://user:secret@issuer.example", false, true, false),
            ("http://issuer.example", false, false, false),
            ("http://issuer.example", false, true, true),
            ("http://issuer.example", true, true, false),
            ("http://localhost:1", false, false, true),
            ("http://localhost:1", true, false, false),
            ("http://localhost.example", false, false, false),
            ("http://127.0.0.1", false, false, true),
            ("http://[::1]", false, false, true),
            ("http://10.0.0.1", false, false, false),
            ("ftp://issuer.example", false, true, false),
            ("file:///etc/passwd", false, true, false),
            ("issuer.example", false, true, false),
            ("", false, true, false),
        ] {
            let checked = fetcher(allowed).checked(address, https_only);
            assert_eq!(checked.is_ok(), good, "{address} {https_only} {allowed}: {checked:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_ends_early_is_not_one_that_is_too_large() {
        use std::io::{Read as _, Write as _};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{").unwrap();
        });
        let fetcher = Fetcher::new(RootCertStore::empty(), Duration::from_secs(10), false).unwrap();
        let found = fetcher.get(&url).await;
        assert!(matches!(found, Err(FetchError::Transport { .. })), "{found:?}");
        answering.join().unwrap();
    }
}
