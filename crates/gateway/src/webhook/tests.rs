use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use http::StatusCode;
use vidimus_testkit::upstream::{Answer, Received, Upstream};

use super::*;
use crate::vitals::Vitals;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A directory of secrets with one in it.
fn secrets() -> (tempfile::TempDir, SecretDirectory) {
    let at = tempfile::tempdir().unwrap();
    fs::set_permissions(at.path(), Permissions::from_mode(0o700)).unwrap();
    write(at.path(), SECRET);
    let secrets = SecretDirectory::open(at.path(), None).unwrap();
    (at, secrets)
}

fn write(at: &Path, secret: &str) {
    let file = at.join("webhook");
    fs::write(&file, secret).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

fn receiver(url: &str, secrets: &SecretDirectory) -> Receiver {
    let quick = Duration::from_millis(2);
    let persistence = Persistence { first: quick, longest: quick * 4, ..Persistence::default() };
    Receiver {
        url: url.parse().unwrap(),
        secrets: secrets.clone(),
        secret: "webhook".to_owned(),
        guard: AddressGuard::default(),
        own: Vec::new(),
        persistence,
    }
}

fn ok() -> Answer {
    Answer::whole("text/plain", "").with_status(StatusCode::NO_CONTENT)
}

fn signed(received: &Received) -> (String, bool) {
    let header = |name: &str| received.header(name).unwrap().to_owned();
    let (id, seconds) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
    let (at, secrets) = secrets();
    let expected = Keys::read(&secrets, "webhook").unwrap().sign(&id, seconds, &received.body);
    drop(at);
    (id, header("webhook-signature").split(' ').any(|one| one == expected))
}

/// A webhook that tells, until it is dropped.
struct Telling {
    webhook: Arc<Webhook>,
    meter: Arc<Meter>,
    task: tokio::task::JoinHandle<()>,
}

impl Telling {
    fn to(receiver: Receiver) -> Self {
        let webhook = Arc::new(Webhook::new(receiver).unwrap());
        let meter = Arc::new(Meter::new(&Vitals::default()));
        let (teller, counter) = (webhook.clone(), meter.clone());
        let task = tokio::spawn(async move {
            teller.deliver(&counter).await;
        });
        Self { webhook, meter, task }
    }

    fn tell(&self, id: &str, body: &'static str) {
        self.webhook.tell(id.to_owned(), Bytes::from_static(body.as_bytes()), &self.meter);
    }

    fn counted(&self, result: &'static str) -> u64 {
        self.meter.webhooks_of(result)
    }

    async fn until(&self, result: &'static str, count: u64) {
        for _ in 0..2_000 {
            if self.counted(result) >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} {result}, {count} expected", self.counted(result));
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn it_is_told_signed_and_again_until_it_takes_it() {
    let (upstream, (_at, secrets)) = (Upstream::start(), secrets());
    upstream.otherwise(|_| ok());
    upstream.next(ok().with_status(StatusCode::INTERNAL_SERVER_ERROR));
    upstream.next(Answer::reset());
    // A redirect is no success, and nobody is told there.
    let elsewhere = Upstream::start();
    upstream.next(Answer::redirect(&elsewhere.url("/else")));
    let telling = Telling::to(receiver(&upstream.url("/hook?a=b"), &secrets));
    telling.tell("1-asked", "{\"type\":\"approval.asked\"}");
    let received = upstream.until_received(4).await;
    for one in &received {
        assert_eq!((one.method.as_str(), one.uri.to_string().as_str()), ("POST", "/hook?a=b"));
        assert_eq!(one.header("content-type"), Some("application/json"));
        assert_eq!(signed(one), ("1-asked".to_owned(), true));
        assert_eq!(&*one.body, b"{\"type\":\"approval.asked\"}");
    }
    telling.until("delivered", 1).await;
    assert_eq!((telling.counted("failed"), telling.counted("given_up")), (3, 0));
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn what_is_never_taken_is_in_nobodys_way_and_is_given_up() {
    let (upstream, (_at, secrets)) = (Upstream::start(), secrets());
    upstream.otherwise(|received| match received.header("webhook-id") {
        Some("bad") => ok().with_status(StatusCode::BAD_REQUEST).with_header("retry-after", "9999999999"),
        Some("gone") => ok().with_status(StatusCode::GONE),
        _ => ok(),
    });
    let mut receiver = receiver(&upstream.url("/"), &secrets);
    receiver.persistence.life = Duration::from_secs(2);
    let telling = Telling::to(receiver);
    for id in ["bad", "gone", "good"] {
        telling.tell(id, "{}");
    }
    telling.until("delivered", 1).await;
    telling.until("given_up", 2).await;
    assert!(telling.counted("failed") >= 1);
    assert_eq!(telling.webhook.waiting().len(), 0);
}

#[tokio::test]
async fn one_that_does_not_answer_is_left_and_so_much_waits_for_it() {
    let (upstream, (_at, secrets)) = (Upstream::start(), secrets());
    upstream.otherwise(|_| Answer::hang());
    let mut receiver = receiver(&upstream.url("/"), &secrets);
    (receiver.persistence.deadline, receiver.persistence.capacity) = (Duration::from_millis(50), 2);
    let telling = Telling::to(receiver);
    for id in ["a", "b", "c", "d", "e"] {
        telling.tell(id, "{}");
    }
    telling.until("failed", 2).await;
    telling.until("given_up", 1).await;
    assert!(telling.webhook.waiting().len() <= 2);
    upstream.otherwise(|_| ok());
    telling.until("delivered", 1).await;
}

#[tokio::test]
async fn a_secret_is_replaced_without_a_start() {
    let (upstream, (at, secrets)) = (Upstream::start(), secrets());
    upstream.otherwise(|_| ok());
    let telling = Telling::to(receiver(&upstream.url("/"), &secrets));
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (id, text, by_the_first) in [
        ("a", SECRET.to_owned(), true),
        ("b", format!("{other}\n{SECRET}"), true),
        ("c", other.to_owned(), false),
    ] {
        write(at.path(), &text);
        telling.tell(id, "{}");
        telling.until("delivered", u64::from(id.as_bytes()[0] - b'a') + 1).await;
        assert_eq!(signed(upstream.received().last().unwrap()), (id.to_owned(), by_the_first));
    }
    // What is no secret signs nothing; nothing is sent until there is one.
    write(at.path(), "none");
    telling.tell("d", "{}");
    telling.until("failed", 1).await;
    assert_eq!(upstream.received().len(), 3);
    write(at.path(), SECRET);
    telling.until("delivered", 4).await;
}

#[tokio::test]
async fn it_is_nowhere_that_no_call_goes_and_not_this_gateway() {
    let (_at, secrets) = secrets();
    let admin: SocketAddr = "127.0.0.1:9901".parse().unwrap();
    let everywhere: SocketAddr = "0.0.0.0:9902".parse().unwrap();
    let made = |url: &str| {
        let own = vec![admin, everywhere];
        Webhook::new(Receiver { own, ..receiver(url, &secrets) }).map_err(|no| no.to_string())
    };
    for (url, says) in [
        ("http://169.254.169.254/latest", "never called"),
        ("https://[fd00:ec2::254]/", "never called"),
        ("http://127.0.0.1:9901/approvals/approve", "own address 127.0.0.1:9901"),
        ("http://[::ffff:127.0.0.1]:9901/", "own address"),
        ("https://chat.example:9902/", "listens on all addresses"),
    ] {
        let error = made(url).unwrap_err();
        assert!(error.contains(says), "{url}: {error}");
    }
    assert!(made("http://127.0.0.1:9903/").is_ok());
    // Its path may be a secret.
    let shown = format!("{:?}", made("https://chat.example/services/T0/B0/hunter2?key=hunter2").unwrap());
    assert!(shown.contains("https://chat.example") && !shown.contains("hunter2"), "{shown}");
    // A name that leads here is refused when it is known where it leads.
    let upstream = Upstream::start();
    let own = vec![upstream.address()];
    let url = format!("http://localhost:{}/", upstream.address().port());
    let telling = Telling::to(Receiver { own, ..receiver(&url, &secrets) });
    telling.tell("a", "{}");
    telling.until("failed", 1).await;
    assert_eq!(upstream.connections(), 0);
    let why = telling.webhook.told().clone().unwrap();
    assert!(why.contains("no call may reach") || why.contains("onnect"), "{why}");
}

#[test]
fn a_secret_that_cannot_be_read_is_no_webhook() {
    let (at, secrets) = secrets();
    write(at.path(), "hunter2");
    let error = Webhook::new(receiver("http://127.0.0.1:1/", &secrets)).unwrap_err().to_string();
    assert!(error.contains("whsec_") && !error.contains("hunter2"), "{error}");
    let other = Receiver { secret: "../x".to_owned(), ..receiver("http://127.0.0.1:1/", &secrets) };
    assert!(matches!(Webhook::new(other), Err(NoWebhook::Secret(_))));
}
