//! Asks the admin address of a running gateway, as a person.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Builder;
use url::Url;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_identity::PersonTokenRequest;
use vidimus_query::acts::ActDone;

use super::identity;
use crate::clock::SystemClock;
use crate::output::{self, Format, printable};

/// Maximum bytes of an answer: as many as what is refused may have.
const MAX: usize = 256 * 1024 * 1024;
/// From asking to the last byte.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where a token is, that need not be issued here.
const TOKEN: &str = "VIDIMUS_OPERATOR_TOKEN";
/// The life of a token that is issued for one request.
const LIFE: Duration = Duration::from_secs(60);

/// `127.0.0.1:9901`, `localhost:9901`, or an http URL.
pub(super) fn address(text: &str) -> anyhow::Result<Url> {
    const WRITE: &str = "write the gateway's --admin, as in 127.0.0.1:9901";
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    let url = url.context(WRITE)?;
    ensure!(url.scheme() == "http", "the admin address is plain HTTP; {WRITE}");
    ensure!(url.path() == "/" && url.query().is_none() && url.fragment().is_none(), WRITE);
    Ok(url)
}

/// The gateway that is asked, and by whom.
#[derive(Debug, clap::Args)]
pub(super) struct Asking {
    /// The admin address of the gateway.
    #[arg(long, env = "VIDIMUS_ADMIN", default_value = "127.0.0.1:9901", value_name = "ADDRESS", value_parser = address)]
    admin: Url,
    /// The data directory of the gateway: its built-in issuer issues a token for --as, where VIDIMUS_OPERATOR_TOKEN has none.
    #[arg(long, env = "VIDIMUS_DATA", default_value = "vidimus-data")]
    data: std::path::PathBuf,
    #[command(flatten)]
    who: Who,
}

/// Who asks.
#[derive(Debug, clap::Args)]
pub(super) struct Who {
    /// Who you are, as the built-in issuer says it, whatever token is in VIDIMUS_OPERATOR_TOKEN [default: admin].
    #[arg(long = "as", value_name = "NAME")]
    operator: Option<String>,
    /// A group that you are in, as the built-in issuer says it; may be given several times.
    #[arg(long = "as-group", value_name = "GROUP")]
    operator_group: Vec<String>,
    /// The keys that the gateway shares with others, as its --shared-keys: the built-in
    /// issuer is there then, and not in --data.
    #[arg(long, env = "VIDIMUS_SHARED_KEYS", value_name = "DIR")]
    shared_keys: Option<std::path::PathBuf>,
}

impl Asking {
    /// What `path` answers.
    pub(super) fn get<A: DeserializeOwned>(&self, path: &str) -> anyhow::Result<A> {
        let token = token(&self.data, &self.who)?;
        read(path, &exchange(&self.admin, path, &token, None)?)
    }

    /// The same, for who has a runtime, and goes on where nothing answers for a while.
    pub(super) async fn look<A: DeserializeOwned>(&self, path: &str) -> Result<A, Unanswered> {
        let token = token(&self.data, &self.who).map_err(Unanswered::Refused)?;
        read(path, &asked(&self.admin, path, &token, None).await?).map_err(Unanswered::Refused)
    }

    /// What `path` answers to `question`.
    pub(super) fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        question: &impl Serialize,
    ) -> anyhow::Result<A> {
        let token = token(&self.data, &self.who)?;
        let body = serde_json::to_vec(question)?;
        read(path, &exchange(&self.admin, path, &token, Some(body))?)
    }
}

/// Says what was done.
pub(super) fn told(done: &ActDone, what: &str, format: Format) -> anyhow::Result<ExitCode> {
    done.warnings.iter().for_each(|warning| output::warning(warning));
    match format {
        Format::Json => output::json(done)?,
        Format::Table => {
            output::line(&format!("{} {what}", printable(&done.subject)));
            output::line(&format!("act {}, record {}", done.act, done.record));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read<A: DeserializeOwned>(path: &str, body: &Bytes) -> anyhow::Result<A> {
    serde_json::from_slice(body).with_context(|| format!("--admin: the answer of {path}"))
}

/// The token of whoever asks: one that is given, or one of the built-in issuer, for whoever may read its key. What is said by a flag counts
/// before what is in the environment.
pub(super) fn token(data: &Path, who: &Who) -> anyhow::Result<SecretString> {
    let is_said = who.operator.is_some() || !who.operator_group.is_empty();
    if let Some(given) = std::env::var(TOKEN).ok().filter(|token| !token.is_empty() && !is_said) {
        return Ok(given.into());
    }
    let (name, groups) = (who.operator.as_deref().unwrap_or("admin"), &who.operator_group[..]);
    let local = identity::existing(data, who.shared_keys.as_deref()).with_context(|| {
        format!("who asks must prove who it is: put a token into {TOKEN} (`vidimus identity operator`), or give the gateway's --data")
    })?;
    let request =
        PersonTokenRequest { subject: name, groups, ttl: LIFE, now: millis(SystemClock.now().wall) };
    Ok(local.person_token(&request)?)
}

/// Why nothing is known.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Nothing answers, or not wholly, or not now: it may the next time.
    Unreached(anyhow::Error),
    /// It says no.
    Refused(anyhow::Error),
}

impl From<Unanswered> for anyhow::Error {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Unreached(error) | Unanswered::Refused(error) => error,
        }
    }
}

/// The body of what `path` answers.
///
/// # Errors
/// When nothing answers, or not with 200: what it says then.
pub(super) fn exchange(
    admin: &Url,
    path: &str,
    token: &SecretString,
    question: Option<Vec<u8>>,
) -> anyhow::Result<Bytes> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(asked(admin, path, token, question))?)
}

/// The same, for who has a runtime.
async fn asked(
    admin: &Url,
    path: &str,
    token: &SecretString,
    question: Option<Vec<u8>>,
) -> Result<Bytes, Unanswered> {
    let url = admin.join(path).map_err(|error| Unanswered::Refused(error.into()))?;
    let request = request(&url, token, question).map_err(Unanswered::Refused)?;
    let answered = async {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let answer = client.request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX).collect().await;
        let body = body.map_err(|error| anyhow!("{url}: {error}"))?.to_bytes();
        anyhow::Ok((status, body))
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await.map_err(anyhow::Error::from);
    let unreached = |error: anyhow::Error| {
        let connecting = error.downcast_ref::<hyper_util::client::legacy::Error>();
        let place = admin.authority();
        let what = if connecting.is_some_and(hyper_util::client::legacy::Error::is_connect) {
            format!(
                "no gateway answers at {place}: start `vidimus serve` with this --admin, or say where it is (--admin, VIDIMUS_ADMIN)"
            )
        } else {
            format!(
                "{place} did not answer in full: where something was to be done it may be done, so look before you try again"
            )
        };
        Unanswered::Unreached(error.context(what))
    };
    let (status, body) = answered.and_then(|answered| answered).map_err(unreached)?;
    let says = || anyhow!("{url} answered {status}{}", said(&body));
    match status {
        status if status.is_success() => Ok(body),
        status if status.is_server_error() => Err(Unanswered::Unreached(says())),
        _ => Err(Unanswered::Refused(says())),
    }
}

fn request(
    url: &Url,
    token: &SecretString,
    question: Option<Vec<u8>>,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
        .map_err(|_| anyhow!("the token in {TOKEN} is none"))?;
    authorization.set_sensitive(true);
    let mut request = Request::builder().uri(url.as_str()).header(AUTHORIZATION, authorization);
    if question.is_some() {
        request = request.method(Method::POST).header(CONTENT_TYPE, "application/json");
    }
    Ok(request.body(Full::from(question.unwrap_or_default()))?)
}

/// What a refusal says to people.
fn said(body: &[u8]) -> String {
    let refusal: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    refusal
        .get("error_description")
        .and_then(|text| text.as_str())
        .map(|text| format!(": {text}"))
        .unwrap_or_default()
}
