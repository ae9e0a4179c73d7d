//! Permits, as the gateway gets them: a call is decided, the decision is recorded, and the verdict is taken from that. There is no
//! other way to a permit, not for tests either.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use vidimus_core::call::{Action, Ask, Call, Destination, SoFar, Target};
use vidimus_core::caller::{Caller, UnixMillis};
use vidimus_core::decision::About;
use vidimus_core::permit::{Permit, Verdict};
use vidimus_core::resource::policy::{Members, Mode, Scope};
use vidimus_core::resource::{Meta, Object, Origin, Policy, Principal};
use vidimus_core::snapshot::Snapshot;
use vidimus_ledger::{Config, Ledger};

/// The permit of `caller` for a call to `destination`, recorded as call `id`, by a policy that permits everything.
///
/// # Panics
/// When a limit of the caller's own record refuses the call.
#[expect(clippy::panic, reason = "test support: this is an assertion")]
pub fn permit(caller: &Caller, destination: &Destination, id: &str) -> Permit {
    let (ask, object) = match destination {
        Destination::Server(server) => (
            Ask::about("ping", Action::ConnectServer, Target::Server(server)),
            Object::McpServer(server.clone()),
        ),
        Destination::Agent(agent) => {
            (Ask::about("SendMessage", Action::CallAgent, Target::Agent(agent)), Object::Agent(agent.clone()))
        }
        Destination::Provider(provider) => (
            Ask::about("models", Action::ListModels, Target::Provider(provider)),
            Object::LlmProvider(provider.clone()),
        ),
    };
    let principal = match &caller.proven.principal {
        Principal::Agent(agent) => Object::Agent(agent.clone()),
        Principal::Service(service) => Object::Service(service.clone()),
    };
    let (snapshot, rejected) = Snapshot::build(vec![everything(), principal, object]);
    let call = Call {
        caller,
        ask,
        now: UnixMillis(1_790_000_000_000),
        source_ip: None,
        so_far: SoFar::nothing(),
        approvals: &[],
    };
    match verdict(&snapshot, &call, id) {
        Verdict::Permitted(permit) => permit,
        other => panic!("not permitted: {other:?}; rejected: {rejected:?}"),
    }
}

fn everything() -> Object {
    let origin = Origin::default();
    let (namespace, name) = ("testkit".into(), "everything".into());
    Object::Policy(Arc::new(Policy {
        meta: Meta { namespace, name, labels: BTreeMap::new(), origin, ..Meta::default() },
        description: "a test".into(),
        scope: Scope::Cluster,
        mode: Mode::Enforce,
        replaces: Default::default(),
        members: Members::default(),
        window: None,
        plan: None,
        limits: Default::default(),
        guards: Default::default(),
        cedar: "permit (principal, action, resource);".into(),
    }))
}

/// The verdict on a call under `snapshot`, recorded as call `id` in a ledger that is gone when this returns.
///
/// # Panics
/// When the ledger cannot be made.
#[expect(clippy::expect_used, clippy::panic, reason = "test support: no temporary directory means no test")]
pub fn verdict(snapshot: &Snapshot, call: &Call<'_>, id: &str) -> Verdict {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = Config { dir: dir.path().to_owned(), ..Config::default() };
    let ledger = Ledger::open(config).expect("a new ledger");
    let about = About {
        id: &Arc::from(id),
        trace: "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        parent: None,
        time: "2026-11-21T08:30:00.123456Z",
        protocol: "mcp",
        body: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        snapshot: snapshot.digest(),
        approval: None,
        on_account_of: None,
        kept: None,
        aged: None,
    };
    let recorded = pin!(ledger.decide(snapshot.authorize(call), &about));
    // A ledger's only caller writes its record by itself, so there is nothing to wait for.
    match recorded.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(verdict) => verdict.expect("a record that is kept"),
        Poll::Pending => panic!("the ledger has another caller"),
    }
}
