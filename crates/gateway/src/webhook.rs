//! News for one receiver outside, such as a chat or a pager: signed as Standard Webhooks 1.0 says, tried again for a while, and never in
//! the way of a call. It only tells; nothing that is answered is read but the status.

mod signature;
mod waiting;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::Full;
use tokio::sync::Notify;
use tokio::time::Instant;
use url::{Position, Url};

use crate::beside::{NeverCalled, apart, chain, pause, retry_after};
use crate::forward::{AddressGuard, Client, client_beside};
use crate::meter::Meter;
use crate::secrets::SecretDirectory;
use signature::{Keys, NoSecret};
use waiting::{Item, Next, Waiting};

/// Where news go, and with what they are signed.
#[derive(Clone)]
pub struct Receiver {
    /// Its path may be a secret: it is in no log and no error.
    pub url: Url,
    /// Where the file is.
    pub secrets: SecretDirectory,
    /// The name of the file with the secret, or with two of them: the present and the former one. It is read for each request.
    pub secret: String,
    /// Which addresses it may have.
    pub guard: AddressGuard,
    /// The sockets of this very process, where it may not be.
    pub own: Vec<SocketAddr>,
    pub persistence: Persistence,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("place", &&self.url[..Position::BeforePath]).finish_non_exhaustive()
    }
}

/// How long one is told that does not listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// From the connection to the head of the answer.
    pub deadline: Duration,
    /// After the first failure; each further one waits four times as long.
    pub first: Duration,
    /// The longest between two times, also where the receiver asks for more.
    pub longest: Duration,
    /// After so long it is given up.
    pub life: Duration,
    /// So much may wait; of more, the oldest is given up.
    pub capacity: usize,
}

impl Default for Persistence {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(15),
            first: Duration::from_secs(2),
            longest: Duration::from_secs(600),
            life: Duration::from_secs(3_600),
            capacity: 1_024,
        }
    }
}

/// A receiver that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoWebhook {
    #[error("{0}")]
    Secret(#[from] NoSecret),
    #[error(transparent)]
    Place(#[from] NeverCalled),
    #[error("it is not an address that can be called")]
    Unusable,
    #[error("the system's TLS roots cannot be read: {0}")]
    Roots(#[from] std::io::Error),
}

/// The receiver, and what it is still to be told.
pub struct Webhook {
    client: Client,
    uri: Uri,
    /// Scheme, host and port, for the log.
    place: String,
    secrets: SecretDirectory,
    secret: String,
    persistence: Persistence,
    waiting: Mutex<Waiting>,
    news: Notify,
    /// Why the last request failed, as the log was told.
    told: Mutex<Option<String>>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What came of one request.
enum Failed {
    /// It may be otherwise the next time, which is not to be before so long.
    Again(String, Option<Duration>),
    /// It will not.
    ForGood(String),
}

impl Webhook {
    /// # Errors
    /// For a secret that cannot be read, and an address that is never called, or this gateway's own.
    pub fn new(receiver: Receiver) -> Result<Self, NoWebhook> {
        let Receiver { url, secrets, secret, guard, own, persistence } = receiver;
        Keys::read(&secrets, &secret)?;
        let port = url.port_or_known_default().ok_or(NoWebhook::Unusable)?;
        let host = url.host_str().ok_or(NoWebhook::Unusable)?;
        let guard = apart(guard, host, port, &own)?;
        let uri = url[..Position::AfterQuery].parse().map_err(|_| NoWebhook::Unusable)?;
        Ok(Self {
            client: client_beside(guard, None)?,
            uri,
            place: url[..Position::BeforePath].to_owned(),
            secrets,
            secret,
            persistence,
            waiting: Mutex::new(Waiting::new(persistence.capacity)),
            news: Notify::new(),
            told: Mutex::default(),
        })
    }

    /// Scheme, host and port.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Has it told something, some time: this returns at once. `id` has no dots, and is the same where the same is told again.
    pub fn tell(&self, id: String, body: Bytes, meter: &Meter) {
        if let Some(oldest) = self.waiting().push(id, body, Instant::now()) {
            meter.webhook("given_up");
            tracing::warn!(
                id = oldest.id,
                place = self.place,
                "too much waits for the webhook; the oldest is not told any more"
            );
        }
        self.show(meter);
        self.news.notify_one();
    }

    /// Tells what waits, one after another, for ever.
    pub async fn deliver(&self, meter: &Meter) -> Infallible {
        loop {
            let next = self.waiting().next(Instant::now());
            match next {
                Next::Now(item) => self.settle(item, meter).await,
                Next::At(due) => {
                    // Either way it is looked what is next.
                    let _ = tokio::time::timeout_at(due, self.news.notified()).await;
                }
                Next::Nothing => self.news.notified().await,
            }
        }
    }

    async fn settle(&self, mut item: Item, meter: &Meter) {
        let Persistence { life, first, longest, .. } = self.persistence;
        let failed = match item.since.elapsed() < life {
            true => self.attempt(&item).await,
            false => Err(Failed::ForGood("it could not be told in time".to_owned())),
        };
        match failed {
            Ok(()) => {
                meter.webhook("delivered");
                if self.told().take().is_some() {
                    tracing::info!(place = self.place, "the webhook takes what it is told again");
                }
            }
            Err(Failed::Again(why, after)) => {
                meter.webhook("failed");
                self.log(&why);
                item.failures = item.failures.saturating_add(1);
                item.due = Instant::now() + pause(item.failures, after, (first, longest));
                if !self.waiting().put_back(item) {
                    meter.webhook("given_up");
                }
            }
            Err(Failed::ForGood(why)) => {
                meter.webhook("given_up");
                tracing::warn!(id = item.id, why, place = self.place, "the webhook was not told");
            }
        }
        self.show(meter);
    }

    /// Says why it fails, once until it is for another reason.
    fn log(&self, why: &str) {
        let mut told = self.told();
        if told.as_deref() != Some(why) {
            tracing::warn!(
                why,
                place = self.place,
                "the webhook did not take what it was told; it is tried again"
            );
            *told = Some(why.to_owned());
        }
    }

    async fn attempt(&self, item: &Item) -> Result<(), Failed> {
        let again = |why: String| Failed::Again(why, None);
        let keys = Keys::read(&self.secrets, &self.secret).map_err(|no| again(no.to_string()))?;
        let request =
            self.request(item, &keys, SystemTime::now()).map_err(|error| again(error.to_string()))?;
        let Persistence { deadline, .. } = self.persistence;
        // A redirect is no success, and is not followed: what is signed for one receiver is not for another.
        match tokio::time::timeout(deadline, self.client.request(request)).await {
            Ok(Ok(answer)) => judged(answer.status(), answer.headers()),
            Ok(Err(error)) => Err(again(chain(&error))),
            Err(_) => Err(again(format!("no answer within {} ms", deadline.as_millis()))),
        }
    }

    fn request(&self, item: &Item, keys: &Keys, now: SystemTime) -> http::Result<Request<Full<Bytes>>> {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("vidimus/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &item.id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", keys.sign(&item.id, seconds, &item.body))
            .body(Full::new(item.body.clone()))
    }

    fn show(&self, meter: &Meter) {
        meter.webhooks_waiting(self.waiting().len());
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, Option<String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a status means (Standard Webhooks 1.0, "Delivery success and failure").
fn judged(status: StatusCode, headers: &HeaderMap) -> Result<(), Failed> {
    if status.is_success() {
        return Ok(());
    }
    let why = format!("it answered {status}");
    if status == StatusCode::GONE {
        return Err(Failed::ForGood(why));
    }
    Err(Failed::Again(why, retry_after(headers)))
}

#[cfg(test)]
mod tests;
