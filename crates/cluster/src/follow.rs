//! One kind of objects (or pods, or namespaces), or one object by its name, listed and then watched for ever.
//!
//! A watch begins where the last one ended, so nothing between the two is missed. It ends every few seconds in good order, which is how an API server that is
//! behind a broken network is told from one that has nothing to say. A list is read again only where the API server does not have the past any more (410),
//! refuses, or is further back than what it said before: its store was put back to a copy.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use kube_client::core::params::{ListParams, WatchParams};
use kube_client::core::{Request, WatchEvent};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use vidimus_core::resource::{API_VERSION, Kind};

use crate::access::Client;
use crate::answer;
use crate::live::Told;
use crate::seen::FieldManager;

/// How long one watch goes on, in seconds.
const WATCH: u32 = 15;
/// One that ends sooner did not end in good order.
const EARLY: Duration = Duration::from_secs(14);
/// How long one may say nothing: it should have ended.
const SILENT: Duration = Duration::from_secs(25);
/// How long the API server may take to begin an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long one page of a list may take.
const PAGE_TIME: Duration = Duration::from_secs(30);
/// Objects of one page.
const PAGE: u32 = 500;
/// A watch that ends sooner than this is not followed by the next one at once.
const LEAST: Duration = Duration::from_secs(1);
/// The annotation in which `kubectl apply` keeps the object as it was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Before what failed is tried again: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// The name of a kind in paths.
pub(crate) const fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Agent => "agents",
        Kind::McpServer => "mcpservers",
        Kind::LlmProvider => "llmproviders",
        Kind::ServiceIdentity => "serviceidentities",
        Kind::Policy => "policies",
    }
}

/// Where the objects of a kind are, of all namespaces or of one.
pub fn collection(kind: Kind, namespace: Option<&str>) -> String {
    match namespace {
        None => format!("/apis/{API_VERSION}/{}", plural(kind)),
        Some(namespace) => format!("/apis/{API_VERSION}/namespaces/{namespace}/{}", plural(kind)),
    }
}

/// What is wrong, without what was sent, where the server is named by who says it.
pub(crate) fn why(error: &kube_client::Error) -> String {
    answer::not_done("", error).reason
}

/// That it is not heard, and why.
fn lost<T>(server: &str, error: &kube_client::Error) -> Told<T> {
    match error {
        kube_client::Error::Api(status) if status.code == 403 => Told::Forbidden(why(error)),
        _ => Told::Lost(answer::not_done(server, error).to_string()),
    }
}

/// Whether the API server does not have the version any more from which a watch was to begin.
fn is_expired(status: &kube_client::core::Status) -> bool {
    status.code == 410 || status.reason == "Expired" || status.reason == "Gone"
}

/// Longer and longer, and not the same for all that wait.
#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    pub(crate) fn next(&mut self) -> Duration {
        let (first, most) = AGAIN;
        let wait = first.saturating_mul(1 << self.0.min(8)).min(most);
        self.0 = self.0.saturating_add(1);
        // Half of it by chance: all replicas lost the same API server.
        let chance = RandomState::new().hash_one(self.0) % 1000;
        wait / 2 + wait.mul_f64(chance as f64 / 2000.0)
    }

    pub(crate) fn reset(&mut self) {
        self.0 = 0;
    }
}

/// How a watch ended.
enum Ended<T> {
    /// In good order: the next one begins at this version.
    Whole(String),
    /// The API server was not heard any more: the next one begins at this version too.
    Lost(String, String),
    /// There is nothing to begin at: all is listed anew.
    Expired,
    /// It does not want to.
    Refused(Told<T>),
}

/// Hears what one watch tells; false once nobody does any more.
type Tell<T> = Box<dyn Fn(Told<T>) -> bool + Send + Sync>;

/// One collection of objects, or one of it.
pub(crate) struct Follow<T = Value> {
    client: Client,
    /// For messages.
    name: String,
    request: Request,
    /// Which of the collection; all without it.
    fields: Option<String>,
    /// What is kept of each, as it comes; `None` of what is none.
    read: fn(Value) -> Option<T>,
    tell: Tell<T>,
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
    #[serde(default)]
    items: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

impl Follow {
    /// Objects, without what of them nobody reads. `name` is for messages, `collection` the path of the objects.
    pub(crate) fn new(
        client: Client,
        name: String,
        collection: String,
        tell: impl Fn(Told) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::reading(|object| Some(lean(object)), client, (name, collection), tell)
    }
}

/// An object without what others say of its fields, which is most of what comes with many an object, while it waits to be taken: of its managed fields it is
/// left who wrote it last, of its annotations all but the copy of itself.
fn lean(mut object: Value) -> Value {
    let manager = FieldManager::read(&object);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        match manager {
            Some(by) => {
                metadata.insert("managedFields".to_owned(), json!([{"manager": by.name, "time": by.time}]));
            }
            None => drop(metadata.remove("managedFields")),
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
    object
}

impl<T> Follow<T> {
    /// The same, of each what `read` keeps of it.
    pub(crate) fn reading(
        read: fn(Value) -> Option<T>,
        client: Client,
        (name, collection): (String, String),
        tell: impl Fn(Told<T>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { client, name, request: Request::new(collection), fields: None, read, tell: Box::new(tell) }
    }

    /// Only the object of this name.
    pub(crate) fn only(self, name: &str) -> Self {
        Self { fields: Some(format!("metadata.name={name}")), ..self }
    }

    /// Goes on for as long as somebody hears it.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::default();
        // Where the next watch begins, and whether the API server may have ended since that was known.
        let mut at: Option<(String, bool)> = None;
        loop {
            // Where it cannot be told now, the watch begins there, and whatever it says is doubted as before.
            let (known, is_sure) = match at.take() {
                Some((version, true)) => match self.has(&version).await {
                    Some(has) => (has.then_some(version), true),
                    None => (Some(version), false),
                },
                known => (known.map(|(version, _)| version), true),
            };
            let version = match known {
                Some(version) => version,
                None => match self.listed().await {
                    Ok(None) => return,
                    Ok(Some(version)) => version,
                    Err(lost) => {
                        if !self.told(lost) {
                            return;
                        }
                        sleep(backoff.next()).await;
                        continue;
                    }
                },
            };
            let begun = Instant::now();
            let ended = self.watch(version).await;
            if begun.elapsed() > LEAST {
                backoff.reset();
            }
            let lost = match ended {
                Ended::Whole(version) => {
                    // One that ended too soon may have ended with the API server. One that ended when it was to has told all; few API servers send a
                    // bookmark before the end of one that is so short.
                    let is_doubted = is_doubted(is_sure, begun.elapsed());
                    if !is_doubted && !self.told(Told::UpTo(Timestamp::now())) {
                        return;
                    }
                    at = Some((version, is_doubted));
                    sleep(LEAST.saturating_sub(begun.elapsed())).await;
                    continue;
                }
                Ended::Expired => {
                    tracing::info!(
                        "{}: the API server does not have the past any more; all is listed anew",
                        self.name
                    );
                    sleep(backoff.next()).await;
                    continue;
                }
                Ended::Lost(version, reason) => {
                    at = Some((version, true));
                    Told::Lost(reason)
                }
                Ended::Refused(lost) => lost,
            };
            if !self.told(lost) {
                return;
            }
            sleep(backoff.next()).await;
        }
    }

    /// Whether somebody hears it.
    fn told(&self, told: Told<T>) -> bool {
        (self.tell)(told)
    }

    /// Whether the API server is as far as a version, so that a watch can begin there: a watch that begins in the future is silent until it is reached. `None`
    /// where that cannot be told now.
    async fn has(&self, version: &str) -> Option<bool> {
        let page = self.page(&self.params().limit(1), ANSWER).await.ok()?;
        Some(is_as_far(&page.metadata.resource_version, version))
    }

    /// Tells of all of them, and gives as of which version; `None` where nobody hears it.
    async fn listed(&self) -> Result<Option<String>, Told<T>> {
        let begun = Timestamp::now();
        let (objects, version) = self.list().await?;
        tracing::debug!(objects = objects.len(), version, "{} listed", self.name);
        let heard = self.told(Told::Listed(objects)) && self.told(Told::UpTo(begun));
        Ok(heard.then_some(version))
    }

    /// All of them, and as of which version.
    async fn list(&self) -> Result<(Vec<T>, String), Told<T>> {
        let mut params = self.params().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = self.page(&params, PAGE_TIME).await?;
            all.extend(page.items.into_iter().flatten().filter_map(self.read));
            match page.metadata.next.filter(|token| !token.is_empty()) {
                Some(token) => params = self.params().limit(PAGE).continue_token(&token),
                None => return Ok((all, page.metadata.resource_version)),
            }
        }
    }

    fn params(&self) -> ListParams {
        ListParams { field_selector: self.fields.clone(), ..ListParams::default() }
    }

    /// One page of the list. `Client::request` would write what it cannot read into the log, which is no place for a Secret.
    async fn page(&self, params: &ListParams, within: Duration) -> Result<Page, Told<T>> {
        let request = self.request.list(params).map_err(|error| Told::Lost(error.to_string()))?;
        let text = timeout(within, self.client.request_text(request)).await;
        let text = text
            .map_err(|_| Told::Lost(self.client.silent(within).to_string()))?
            .map_err(|error| lost(self.client.server(), &error))?;
        serde_json::from_str(&text).map_err(|error| {
            Told::Lost(format!("its list is none (line {}, column {})", error.line(), error.column()))
        })
    }

    async fn watch(&self, mut version: String) -> Ended<T> {
        let params =
            WatchParams { field_selector: self.fields.clone(), ..WatchParams::default().timeout(WATCH) };
        let request = match self.request.watch(&params, &version) {
            Ok(request) => request,
            Err(error) => return Ended::Refused(Told::Lost(error.to_string())),
        };
        let opened = timeout(ANSWER, self.client.request_events::<Value>(request)).await;
        let events = match opened {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => return failed(self.client.server(), version, &error),
            Err(_) => return Ended::Lost(version, self.client.silent(ANSWER).to_string()),
        };
        if !self.told(Told::Alive) {
            return Ended::Whole(version);
        }
        let mut events = pin!(events);
        loop {
            let event = match timeout(SILENT, events.next()).await {
                Err(_) => {
                    return Ended::Lost(version, format!("nothing was heard for {} s", SILENT.as_secs()));
                }
                Ok(None) => break,
                Ok(Some(Err(error))) => return failed(self.client.server(), version, &error),
                Ok(Some(Ok(event))) => event,
            };
            let told = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version = version_of(&object).unwrap_or(version);
                    (self.read)(object).map_or(Told::Alive, Told::There)
                }
                WatchEvent::Deleted(object) => {
                    version = version_of(&object).unwrap_or(version);
                    (self.read)(object).map_or(Told::Alive, Told::Gone)
                }
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    Told::UpTo(Timestamp::now())
                }
                WatchEvent::Error(status) if is_expired(&status) => return Ended::Expired,
                WatchEvent::Error(status) => {
                    return Ended::Refused(Told::Lost(format!("{} ({})", status.message, status.code)));
                }
            };
            if !self.told(told) {
                break;
            }
        }
        // Whether it ended when it was to, or the API server did, the next one tells.
        Ended::Whole(version)
    }
}

fn failed<T>(server: &str, version: String, error: &kube_client::Error) -> Ended<T> {
    let why = || answer::not_done(server, error).to_string();
    match error {
        kube_client::Error::Api(status) if is_expired(status) => Ended::Expired,
        // It is busy, or begins.
        kube_client::Error::Api(status) if status.code == 429 || status.code >= 500 => {
            Ended::Lost(version, why())
        }
        kube_client::Error::Api(_) | kube_client::Error::SerdeError(_) => Ended::Refused(lost(server, error)),
        _ => Ended::Lost(version, why()),
    }
}

/// Whether a watch that ended proves nothing: it ended with the API server, or began at a version that this may not have reached (`is_sure` where it has), and so
/// was silent whatever happened.
fn is_doubted(is_sure: bool, lasted: Duration) -> bool {
    !is_sure || lasted < EARLY
}

/// Whether a version is not before another. They are numbers; where they are not, nothing is known of it.
fn is_as_far(now: &str, version: &str) -> bool {
    matches!((now.parse::<u128>(), version.parse::<u128>()), (Ok(now), Ok(version)) if now >= version)
}

fn version_of(object: &Value) -> Option<String> {
    Some(object.pointer("/metadata/resourceVersion")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use kube_client::core::Status;
    use vidimus_core::resource::crds;

    use super::*;

    #[test]
    fn each_kind_is_where_its_crd_says() {
        let names: Vec<(String, String)> =
            crds().into_iter().map(|crd| (crd.spec.names.kind, crd.spec.names.plural)).collect();
        for kind in Kind::ALL {
            assert!(names.contains(&(kind.as_str().to_owned(), plural(kind).to_owned())), "{kind}");
        }
        assert_eq!(collection(Kind::Policy, None), "/apis/vidimus.dev/v1alpha1/policies");
        assert_eq!(collection(Kind::Agent, Some("a")), "/apis/vidimus.dev/v1alpha1/namespaces/a/agents");
    }

    #[test]
    fn of_what_others_say_of_an_object_it_is_left_who_wrote_it() {
        let metadata = |managed: Value, annotations: Value| json!({"metadata": {"name": "a", "managedFields": managed, "annotations": annotations}, "spec": {"x": 1}, "status": {"y": 2}});
        let by = |name: &str, subresource: &str| json!({"manager": name, "subresource": subresource, "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}});
        let object = metadata(
            json!([by("kubectl", ""), by("vidimus", "status")]),
            json!({LAST_APPLIED: "{}", "other": "stays"}),
        );
        let expected = metadata(
            json!([{"manager": "kubectl", "time": "2026-01-01T00:00:00Z"}]),
            json!({"other": "stays"}),
        );
        assert_eq!(FieldManager::read(&object), FieldManager::read(&expected));
        assert_eq!(lean(object), expected);
        for plain in [json!({"metadata": {"name": "a"}, "spec": {}}), json!(7), json!({"metadata": []})] {
            assert_eq!(lean(plain.clone()), plain);
        }
    }

    #[test]
    fn what_is_lost_goes_on_where_it_was_and_what_is_expired_begins_anew() {
        let api = |code: u16, reason: &str| {
            kube_client::Error::Api(Status::failure("m", reason).with_code(code).boxed())
        };
        for (error, ended) in [
            (api(410, "Expired"), "expired"),
            (api(410, "Gone"), "expired"),
            (api(403, "Forbidden"), "forbidden"),
            (api(404, "NotFound"), "refused"),
            (api(504, "Timeout"), "lost"),
            (api(429, "TooManyRequests"), "lost"),
            (kube_client::Error::ReadEvents(std::io::Error::other("reset")), "lost"),
        ] {
            let is = match failed::<Value>("https://a", "7".to_owned(), &error) {
                Ended::Expired => "expired",
                Ended::Refused(Told::Lost(reason)) => {
                    assert!(reason.contains("https://a says: m ("), "{reason}");
                    "refused"
                }
                Ended::Refused(told) => {
                    assert!(matches!(told, Told::Forbidden(reason) if reason.contains("m (403)")));
                    "forbidden"
                }
                Ended::Lost(version, _) => {
                    assert_eq!(version, "7");
                    "lost"
                }
                Ended::Whole(_) => "whole",
            };
            assert_eq!(is, ended, "{error}");
        }
    }

    #[test]
    fn a_store_that_was_put_back_is_noticed() {
        for (now, version, is) in [
            ("7", "7", true),
            ("8", "7", true),
            ("6", "7", false),
            ("10", "9", true),
            ("x", "7", false),
            ("7", "", false),
        ] {
            assert_eq!(is_as_far(now, version), is, "{now} {version}");
        }
    }

    /// Attack: an API server that was put back to a copy, and does not answer when it is asked how far it is: a watch that begins in its future is silent, and
    /// ends in good order.
    #[test]
    fn a_watch_that_may_have_begun_in_the_future_proves_nothing() {
        for (is_sure, lasted, is) in
            [(true, 15, false), (true, 13, true), (false, 15, true), (false, 13, true)]
        {
            assert_eq!(is_doubted(is_sure, Duration::from_secs(lasted)), is, "{is_sure} {lasted}");
        }
    }

    #[test]
    fn it_waits_longer_and_longer_up_to_a_limit() {
        let mut backoff = Backoff::default();
        for (least, most) in [(100, 200), (200, 400), (400, 800)] {
            let wait = backoff.next().as_millis();
            assert!((least..=most).contains(&wait), "{wait}");
        }
        for _ in 0..50 {
            assert!(backoff.next() <= AGAIN.1);
        }
        backoff.reset();
        assert!(backoff.next() <= AGAIN.0);
    }
}
