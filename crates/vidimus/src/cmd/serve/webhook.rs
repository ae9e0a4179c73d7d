//! `--webhook`: whoever is to be told of what people are asked, and of what becomes of it. It only tells: what is answered comes to the
//! admin address, with a person's token, as from anybody else.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use url::{Host, Position, Url};
use vidimus_core::approval::happened::{Happened, Mark};
use vidimus_core::approval::pending::{Approvals, Pending, State};
use vidimus_core::standing::Standing;
use vidimus_gateway::{Persistence, Receiver, SecretDirectory, Shared, Webhook};
use vidimus_query::approvals::ApprovalEvent;

use super::Serve;
use super::questions::{described, now, time};
use super::supervisor::Supervisor;

/// Before it begins, and before it begins anew after a panic.
const AGAIN: Duration = Duration::from_millis(100);
/// Between two looks at what stands, however much is done.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest between two looks.
const LOOK: Duration = Duration::from_secs(60);

/// The address of whoever is told. Its path and query may be a secret, as those of chats are.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookAddress(Url);

impl fmt::Debug for WebhookAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookAddress({}/…)", &self.0[..Position::BeforePath])
    }
}

/// An https address, or one of this machine.
pub(super) fn address(text: &str) -> anyhow::Result<WebhookAddress> {
    const WRITE: &str =
        "write an https URL, as in https://chat.example/hooks/vidimus, or an http URL of this machine";
    let url = Url::parse(text).map_err(|_| anyhow!("it is not a URL; {WRITE}"))?;
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    ensure!(
        url.scheme() == "https" || url.scheme() == "http" && is_here,
        "names of people and things go there; {WRITE}"
    );
    ensure!(url.username().is_empty() && url.password().is_none(), "it has a user or password; {WRITE}");
    ensure!(url.fragment().is_none(), "it has a fragment; {WRITE}");
    Ok(WebhookAddress(url))
}

/// Begins to tell, where somebody is to be told.
///
/// # Errors
/// For a receiver that cannot be used, or no secret.
pub(super) fn begin(
    supervisor: &mut Supervisor,
    serve: &Serve,
    shared: &Arc<Shared>,
    secrets: Option<SecretDirectory>,
    (listen, admin, tls): (SocketAddr, SocketAddr, Option<SocketAddr>),
) -> anyhow::Result<()> {
    let (Some(WebhookAddress(url)), Some(secret)) = (&serve.webhook, &serve.webhook_secret) else {
        return Ok(());
    };
    let receiver = Receiver {
        url: url.clone(),
        secrets: secrets
            .context("--webhook-secret is a file in the directory of --secrets, and there is none")?,
        secret: secret.clone(),
        guard: serve.address_guard(),
        own: [listen, admin].into_iter().chain(tls).collect(),
        persistence: Persistence::default(),
    };
    let here = Arc::new(Here { gateway: serve.callers_url(listen), admin: serve.people_url() });
    let webhook = Arc::new(Webhook::new(receiver).context("--webhook")?);
    tracing::info!(webhook = webhook.place(), "what people are asked is told to the webhook");
    let shared = shared.clone();
    supervisor.repeated("webhook", AGAIN, move || {
        let (shared, webhook, here) = (shared.clone(), webhook.clone(), here.clone());
        async move {
            tokio::join!(tell(&shared, &webhook, &here), webhook.deliver(&shared.meter));
        }
    });
    Ok(())
}

/// Where this gateway is.
struct Here {
    /// As callers see it.
    gateway: String,
    /// Its admin address as people reach it, where that is known.
    admin: Option<String>,
}

/// Tells what happens, as long as anything can.
async fn tell(shared: &Shared, webhook: &Webhook, here: &Here) {
    let mut changes = shared.acts.changes();
    let mut seen = Seen::default();
    loop {
        let (standing, now) = (changes.borrow_and_update().standing.clone(), now());
        for (happened, pending) in seen.look(&standing, now) {
            let (id, body) = said(shared, &happened, &pending, (here, now));
            webhook.tell(id, body.into(), &shared.meter);
        }
        let changed = tokio::time::timeout(next(&standing.approvals, now), changes.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Until the next question goes on to others.
fn next(approvals: &Approvals, now: i64) -> Duration {
    let asking = approvals.all().flat_map(|pending| &pending.question.asking);
    let at = asking.filter_map(|wanted| wanted.escalation.as_ref()).map(|escalation| escalation.at);
    let until = at.filter(|at| *at > now).min().and_then(|at| u64::try_from(at - now).ok());
    until.map_or(LOOK, |millis| Duration::from_millis(millis).min(LOOK))
}

/// Where questions stood at the last look.
#[derive(Debug, Default)]
struct Seen {
    /// What stood; `None` before the first look.
    standing: Option<Arc<Standing>>,
    marks: BTreeMap<String, Mark>,
}

impl Seen {
    /// What happened since the last look. At the first, where each question stands: what was told before a start may not have arrived, and
    /// has the same id when it is told again.
    fn look(&mut self, standing: &Arc<Standing>, now: i64) -> Vec<(Happened, Pending)> {
        let mut all = Vec::new();
        let mut marks = BTreeMap::new();
        for pending in standing.approvals.all() {
            let (approval, mark) = (pending.question.approval.clone(), Mark::of(pending, now));
            let happened = match &self.standing {
                None => vec![mark.stands()],
                Some(_) => mark.since(self.marks.get(&approval)),
            };
            all.extend(happened.into_iter().map(|happened| (happened, pending.clone())));
            marks.insert(approval, mark);
        }
        for (approval, mark) in self.marks.iter().filter(|(approval, _)| !marks.contains_key(*approval)) {
            let before = self.standing.as_ref().and_then(|before| before.approvals.get(approval));
            if let (Some(happened), Some(pending)) = (mark.gone(), before) {
                all.push((happened, Pending { state: State::Expired, ..pending.clone() }));
            }
        }
        (self.standing, self.marks) = (Some(standing.clone()), marks);
        all
    }
}

/// The id and the body of what is told: all that an approver sees, but for the arguments. Of these it has the digests.
fn said(
    shared: &Shared,
    happened: &Happened,
    pending: &Pending,
    (here, now): (&Here, i64),
) -> (String, Vec<u8>) {
    let mut data = described(shared, pending, now);
    data.arguments = None;
    // A key that stands in the address of a server is for nobody else.
    if let Some((address, _)) = data.question.endpoint.split_once('?') {
        data.question.endpoint = address.to_owned();
    }
    let mut event = ApprovalEvent::of(happened, data, &time(now));
    event.gateway = Some(here.gateway.clone());
    event.page = here.admin.as_ref().map(|admin| format!("{admin}/approvals/{}", pending.question.approval));
    // Serializing what is all text and numbers does not fail.
    let body = serde_json::to_vec(&event).unwrap_or_default();
    (event.id, body)
}

#[cfg(test)]
mod tests {
    use vidimus_core::approval::pending::{Approve, Deed, Escalates, OfApproval, Question, Voided, Wanted};

    use super::*;

    fn question(approval: &str) -> Question {
        let escalation = Some(Escalates { at: 10, role: "managers".into() });
        Question {
            action: "invokeTool".into(),
            approval: approval.into(),
            arguments: None,
            asking: vec![Wanted {
                digest: None,
                escalation,
                policy: "t/p".into(),
                quorum: 1,
                reason: None,
                role: "payers".into(),
            }],
            before: None,
            call: "call-1".into(),
            chain: Vec::new(),
            chain_owners: Vec::new(),
            definition: None,
            digest: approval.into(),
            endpoint: "http://bank/".into(),
            identity: None,
            instance: None,
            method: "tools/call".into(),
            owner: "o@example.com".into(),
            principal: "Agent/a/x".into(),
            redacted: Vec::new(),
            resource: "Tool/a/s/pay".into(),
            same: None,
            until: 100,
            user: None,
            user_email: None,
            window: None,
        }
    }

    #[test]
    fn what_happens_is_told_once_and_what_stands_at_a_start() {
        let mut standing = Standing::default();
        let (mut seen, mut late) = (Seen::default(), None);
        let mut told = |standing: &Standing, now: i64| {
            let all = seen.look(&Arc::new(standing.clone()), now).into_iter();
            all.map(|(happened, pending)| happened.id(&pending.question.approval))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(told(&standing, 0), "");
        standing.approvals.apply(Deed::Ask(&question("1")), "vidimus", 0);
        assert_eq!(next(&standing.approvals, 0), Duration::from_millis(10));
        assert_eq!((told(&standing, 1), told(&standing, 2)), ("1-asked".to_owned(), String::new()));
        assert_eq!((told(&standing, 10), told(&standing, 11)), ("1-escalated-1".to_owned(), String::new()));
        assert_eq!(next(&standing.approvals, 10), LOOK);
        let approve = Approve {
            approval: "1".into(),
            email: None,
            escalation: None,
            role: "payers".into(),
            shown: "s".into(),
            unverified_email: None,
        };
        standing.approvals.apply(Deed::Approve(&approve), "User/i#b", 12);
        standing.approvals.apply(Deed::Ask(&question("2")), "vidimus", 12);
        standing.approvals.apply(Deed::Deny(&OfApproval { approval: "2".into() }), "User/i#b", 13);
        assert_eq!(told(&standing, 13), "1-voted-1 1-approved 2-asked 2-denied");
        // Who begins now is told where each stands.
        let stands: Vec<String> = late
            .get_or_insert_with(Seen::default)
            .look(&Arc::new(standing.clone()), 14)
            .iter()
            .map(|(happened, pending)| happened.id(&pending.question.approval))
            .collect();
        assert_eq!(stands, ["1-approved", "2-denied"]);
        let changed = Voided { approval: "1".into(), changed: "Policy/t/p".into() };
        standing.approvals.apply(Deed::Void(&changed), "vidimus", 20);
        assert_eq!(told(&standing, 20), "1-void");
        // What is forgotten before anybody says that it is over, is.
        standing.approvals.apply(Deed::Ask(&Question { until: 300, ..question("3") }), "vidimus", 200);
        assert_eq!(told(&standing, 200), "3-asked 3-escalated-1");
        standing.approvals.apply(Deed::Ask(&Question { until: 900, ..question("4") }), "vidimus", 400);
        assert_eq!(told(&standing, 400), "4-asked 4-escalated-1 3-expired");
    }

    #[test]
    fn an_address_that_would_be_read_on_the_way_is_refused() {
        for (text, says) in [
            ("http://chat.example/x", "https"),
            ("http://10.0.0.1/x", "https"),
            ("ftp://127.0.0.1/x", "https"),
            ("chat.example", "not a URL"),
            ("https://u:p@chat.example/x", "user or password"),
            ("https://chat.example/x#y", "fragment"),
        ] {
            let error = address(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        for good in
            ["https://chat.example/x?y=z", "http://127.0.0.1:8/x", "http://[::1]/", "http://localhost:1/"]
        {
            let taken = address(good).expect(good);
            assert!(!format!("{taken:?}").contains("x?y"), "{taken:?}");
        }
    }
}
