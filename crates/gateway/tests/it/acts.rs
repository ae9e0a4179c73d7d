//! Acts of people against calls that are under way.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::Value;
use vidimus_core::act::{Act, Declassified, Granted, Lifted, OfGrant, OfSubject, Terms};
use vidimus_core::approval::pending::State;
use vidimus_core::clock::Clock as _;
use vidimus_core::refusal::Code;
use vidimus_core::resource::{self, Object, Origin};
use vidimus_core::snapshot::{Configuration, Overlay, Snapshot};
use vidimus_gateway::millis;
use vidimus_ledger::storage::{Disk, Open, Storage, Stored};
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, objects};

pub const ADMIN: &str = "User/urn:vidimus:local#admin";

/// Brings what stands into force whenever it changes, as the registry does.
fn follow(world: &World) {
    follow_with(world, &objects(&world.upstream));
}

/// The same with other objects.
pub fn follow_with(world: &World, values: &[Value]) {
    let shared = world.gate.shared.clone();
    let objects: Vec<Object> =
        values.iter().map(|value| resource::check(&Origin::default(), value).expect("good")).collect();
    tokio::spawn(async move {
        let mut changes = shared.acts.changes();
        let mut in_force: Option<Arc<Overlay>> = None;
        loop {
            let overlay = changes.borrow_and_update().overlay.clone();
            if in_force.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &overlay)) {
                let standing = overlay.clone();
                let configuration =
                    Configuration { objects: objects.clone(), standing, ..Configuration::default() };
                let (snapshot, _) = Snapshot::default().next(configuration);
                shared.take_into_use(Arc::new(snapshot));
                in_force = Some(overlay);
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Streams that were open when somebody was quarantined have ended, and calls that were on their way are refused or cut: after the act no
/// byte of an answer comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_cuts_what_is_open_and_refuses_what_is_on_its_way() {
    const OPEN: usize = 40;
    let world = World::new().await;
    follow(&world);
    for subject in ["Agent/t/caller", "MCPServer/t/tools"] {
        let mut open = Vec::new();
        for _ in 0..OPEN {
            let (response, stream) = world.streaming("echo").await;
            assert!(stream.event("{}").await);
            open.push((response, stream));
        }
        let before = world.upstream.received().len();
        let (answer, late) = Answer::stream("application/json");
        world.upstream.next(answer);
        let on_its_way = world.send(world.tool("echo"));
        let act = async {
            world.upstream.until_received(before + 1).await;
            let subject = OfSubject { subject: subject.parse().expect("a subject") };
            let done = world.gate.shared.act(ADMIN, Act::Quarantine(subject), "INC-7").await.expect("done");
            // Too late.
            late.send(r#"{"jsonrpc":"2.0","id":1,"result":{"secret":1}}"#.to_owned()).await;
            drop(late);
            done
        };
        let (answered, done) = tokio::join!(on_its_way, act);
        let body = answered.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        let secret = body.is_ok_and(|body| String::from_utf8_lossy(&body).contains("secret"));
        assert!(!secret, "{subject}");
        for (response, _stream) in open {
            let id = call_id(response.headers());
            let ended = response.into_body().collect().await;
            assert!(ended.is_err(), "cut, not finished");
            let records = world.records(&id, 2).await;
            assert_eq!(records[1]["code"], "revoked", "{records:?}");
        }
        let (status, headers, body) = world.call(world.tool("echo")).await;
        assert_eq!(status.as_u16(), 200, "a refusal in the protocol's words: {body:?}");
        assert_eq!(headers["vidimus-code"], "forbidden_by_policy");
        let lift = Lifted { of: done.id, subject: subject.parse().expect("a subject") };
        world.gate.shared.act(ADMIN, Act::Lift(lift), "closed").await.expect("done");
    }
}

/// Two calls for one last use: one gets it, and it goes on to its end although the grant has no uses left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_calls_for_a_last_use_one_gets_it() {
    let world = World::new().await;
    follow(&world);
    let terms = Terms {
        agent: "Agent/t/caller".parse().expect("an agent"),
        resources: vec!["Tool/t/tools/lent".parse().expect("a tool")],
        transaction: None,
        uses: Some(1),
    };
    let until_ms = millis(world.clock.now().wall).0 + 3_600_000;
    let grant = Act::Grant(Granted { request: None, terms, until_ms });
    let done = world.gate.shared.act(ADMIN, grant, "CASE-12").await.expect("done");
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let calls = (0..8).map(|_| world.send(world.tool("lent")));
    let answers = futures_util::future::join_all(calls).await;
    let (allowed, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| !answer.headers().contains_key("vidimus-code"));
    assert_eq!((allowed.len(), refused.len()), (1, 7));
    for refused in refused {
        let code = refused.headers()["vidimus-code"].to_str().expect("text").to_owned();
        assert!(code == "no_permit" || code == "grant_spent", "{code}");
    }
    // Out of force by now, and the stream of the one goes on.
    let refused = world.call(world.tool("lent")).await;
    assert!(["no_permit", "grant_spent"].contains(&refused.1["vidimus-code"].to_str().expect("text")));
    let mut body = allowed.into_iter().next().expect("one").into_body();
    for _ in 0..3 {
        assert!(stream.event("{}").await);
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
    }
    // Until it is revoked.
    let revoke = Act::Revoke(OfGrant { of: done.id });
    world.gate.shared.act(ADMIN, revoke, "done").await.expect("done");
    assert!(body.collect().await.is_err(), "cut");
    let used = world.all_records().iter().filter(|record| record["act"]["useGrant"].is_object()).count();
    assert_eq!(used, 1);
}

/// A stream goes on by what permits it now, and ends with that, whatever it began by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_goes_on_by_another_grant_ends_with_that_one() {
    let world = World::new().await;
    follow(&world);
    let lend = async |seconds: i64| {
        let terms = Terms {
            agent: "Agent/t/caller".parse().expect("an agent"),
            resources: vec!["Tool/t/tools/lent".parse().expect("a tool")],
            transaction: None,
            uses: Some(9),
        };
        let until_ms = millis(world.clock.now().wall).0 + seconds * 1_000;
        let grant = Act::Grant(Granted { request: None, terms, until_ms });
        world.gate.shared.act(ADMIN, grant, "CASE-12").await.expect("done").id
    };
    let longer = lend(500).await;
    let (answer, stream) = world.streaming("lent").await;
    let mut body = answer.into_body();
    lend(300).await;
    world.gate.shared.act(ADMIN, Act::Revoke(OfGrant { of: longer }), "done").await.expect("done");
    assert!(stream.event("{}").await);
    assert!(body.frame().await.is_some_and(|frame| frame.is_ok()), "the other grant permits it");
    world.clock.advance(Duration::from_secs(301));
    stream.event("{}").await;
    assert!(body.collect().await.is_err(), "cut, though nobody has recorded the end of the grant");
}

/// What is nothing that can be is refused by whatever way it is asked for, and is on no record.
#[tokio::test]
async fn nobody_acts_on_what_can_be_nothing() {
    let world = World::new().await;
    let act = async |act: Act| {
        let done =
            tokio::time::timeout(Duration::from_millis(200), world.gate.shared.act(ADMIN, act, "INC-7"));
        // What is done waits for who brings it into force.
        done.await.map_or(Ok(()), |done| done.map(drop)).map_err(|refusal| refusal.code)
    };
    let quarantine =
        |subject: &str| Act::Quarantine(OfSubject { subject: subject.parse().expect("a subject") });
    for bad in ["Identity/garbage", "Chain/not-a-uuid", "Chain/ext-", "User/#"] {
        assert_eq!(act(quarantine(bad)).await, Err(Code::MessageInvalid), "{bad}");
    }
    for good in ["Identity/oidc:https://i#a", "Chain/ext-1", "User/https://i#a"] {
        assert_eq!(act(quarantine(good)).await, Ok(()), "{good}");
    }
    let declassify = |subject: &str, person: Option<&str>| {
        let (label, subject) = ("x".into(), subject.parse().expect("a subject"));
        Act::Declassify(Declassified { label, person: person.map(Into::into), subject })
    };
    assert_eq!(act(declassify("Chain/tx-1", None)).await, Err(Code::MessageInvalid));
    assert_eq!(act(declassify("Agent/t/caller", Some("ada"))).await, Err(Code::MessageInvalid));
    let lend = |transaction: &str| {
        let terms = Terms {
            agent: "Agent/t/caller".parse().expect("an agent"),
            resources: vec!["Tool/t/tools/lent".parse().expect("a tool")],
            transaction: Some(transaction.to_owned()),
            uses: None,
        };
        Act::Grant(Granted { request: None, terms, until_ms: i64::MAX / 4 })
    };
    assert_eq!(act(lend("tx-1")).await, Err(Code::MessageInvalid));
    let acts = world.all_records().iter().filter(|record| record["kind"] == "act").count();
    assert_eq!(acts, 3);
}

/// Attack: of an approval and a use of a grant, which one call takes together, the disk takes one. What is on record is used.
#[tokio::test]
async fn what_the_ledger_took_of_several_acts_is_done() {
    let disk = FillsUp::default();
    let world = World::on(Arc::new(disk.clone())).await;
    let mut all =
        super::approvals::holding(&world, &super::approvals::HOLD.replace("tools/echo", "tools/lent"));
    all[5]["spec"]["cedar"] =
        serde_json::json!("forbid (principal, action, resource == Tool::\"t/tools/none\");");
    follow_with(&world, &all);
    let terms = Terms {
        agent: "Agent/t/caller".parse().expect("an agent"),
        resources: vec!["Tool/t/tools/lent".parse().expect("a tool")],
        transaction: None,
        uses: Some(5),
    };
    let until_ms = millis(world.clock.now().wall).0 + 3_600_000;
    let grant = Act::Grant(Granted { request: None, terms, until_ms });
    let done = world.gate.shared.act(ADMIN, grant, "CASE-12").await.expect("done");
    let code = super::chains::code(&world, world.tool("lent")).await;
    assert_eq!(code.as_deref(), Some("approval_required"));
    let approval =
        world.gate.acts.standing().approvals.all().next().expect("asked").question.approval.clone();
    let yes = super::approvals::yes(&approval, None);
    world.gate.shared.act(super::approvals::BOB, yes, "looked at").await.expect("approved");
    // That the gateway asks the server about the tool, how that ended, and the use.
    disk.takes(3);
    let code = super::chains::code(&world, world.tool("lent")).await;
    assert_eq!(code.as_deref(), Some("ledger_closed"));
    let standing = world.gate.acts.standing();
    let state = standing.approvals.get(&approval).expect("kept").state;
    assert_eq!((state, standing.grants[&done.id].used), (State::Used, 0));
    let acts: Vec<String> = world
        .all_records()
        .iter()
        .filter_map(|record| record["act"].as_object()?.keys().next().cloned())
        .collect();
    assert_eq!(acts, ["grant", "ask", "approve", "use"], "as it is on record");
    assert!(world.upstream.received().is_empty());
}

/// A disk that takes so many more writes of records.
#[derive(Clone, Debug)]
struct FillsUp(Arc<AtomicUsize>);

impl Default for FillsUp {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::MAX)))
    }
}

impl FillsUp {
    fn takes(&self, writes: usize) {
        self.0.store(writes, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Filling(Box<dyn Stored>, FillsUp);

impl Storage for FillsUp {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        Disk.make_dir(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Stored>> {
        let file = Disk.open(path, how)?;
        let is_segment = path.extension().is_some_and(|extension| extension == "log");
        Ok(if is_segment { Box::new(Filling(file, self.clone())) } else { file })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Disk.sync_dir(path)
    }

    fn sync_everything(&self, path: &Path) -> io::Result<()> {
        Disk.sync_everything(path)
    }
}

impl Stored for Filling {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let less = |left: usize| Some(if left == usize::MAX { left } else { left.checked_sub(1)? });
        self.1
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .map_err(|_| io::ErrorKind::StorageFull)?;
        self.0.write(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.0.cut(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}
