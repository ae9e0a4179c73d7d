//! Asks the admin address of a running gateway.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Builder;
use url::Url;

/// Maximum bytes of an answer: as many as what is refused may have.
const MAX: usize = 256 * 1024 * 1024;
/// From asking to the last byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// `127.0.0.1:9901`, `localhost:9901`, or an http URL.
pub(super) fn address(text: &str) -> anyhow::Result<Url> {
    const WRITE: &str = "write the gateway's --admin, as in 127.0.0.1:9901";
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    let url = url.context(WRITE)?;
    ensure!(url.scheme() == "http", "the admin address is plain HTTP; {WRITE}");
    ensure!(url.path() == "/" && url.query().is_none() && url.fragment().is_none(), WRITE);
    Ok(url)
}

/// The body of what `path` answers.
///
/// # Errors
/// When nothing answers, or not with 200.
pub(super) fn get(admin: &Url, path: &str) -> anyhow::Result<Bytes> {
    let url = admin.join(path)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let asked = async {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let answer = client.get(url.as_str().parse()?).await?;
        ensure!(answer.status().is_success(), "{url} answered {}", answer.status());
        let body = Limited::new(answer.into_body(), MAX).collect().await;
        Ok(body.map_err(|error| anyhow::anyhow!("{url}: {error}"))?.to_bytes())
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await })?
}
