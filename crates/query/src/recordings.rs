//! A data directory in which calls are recorded, for tests.

use std::path::PathBuf;
use std::sync::Arc;

use vidimus_core::call::{Arguments, Ask, Call, SoFar};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis, User};
use vidimus_core::decision::{About, Outcome};
use vidimus_core::entity::EntityId;
use vidimus_core::json::Json;
use vidimus_core::record::{EffectRecord, Kept, Record};
use vidimus_core::snapshot::Snapshot;
use vidimus_ledger::{Config, Ledger};
use vidimus_registry::configurations::{Archive, Configurations};

use crate::replay::{principal, target};

/// An agent, a server and a policy, which says what it has of `spec` in the form of YAML's block style, without indentation.
pub(crate) fn estate(policy: &str, spec: &str) -> String {
    let spec: Vec<String> = spec.lines().map(|line| format!("  {line}")).collect();
    format!(
        r#"apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {{name: bot, namespace: a}}
spec: {{owner: ada.l@example.com, team: t, purpose: p, riskLevel: low, identities: [{{oidc: {{issuer: "urn:vidimus:local", subject: bot}}}}]}}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {{name: bank, namespace: a}}
spec: {{owner: ada.l@example.com, team: t, riskLevel: low, endpoint: {{url: "http://127.0.0.1:1/mcp"}}}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {{name: {policy}, namespace: a}}
spec:
  description: d
{}
"#,
        spec.join("\n")
    )
}

/// Of which calls of tools are permitted with an amount of at most so much.
pub(crate) fn limited(limit: usize) -> String {
    let amount =
        format!(r#"context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= {limit}"#);
    estate(
        "p",
        &format!(
            "cedar: >-\n  permit (principal, action == Action::\"invokeTool\", resource) when {{{amount}}};"
        ),
    )
}

pub(crate) struct Recordings {
    directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    ledger: Option<Ledger>,
    kept: Configurations,
    count: usize,
}

/// A call to be recorded.
#[derive(Clone, Copy)]
pub(crate) struct Made<'a> {
    pub(crate) principal: &'a str,
    pub(crate) method: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) args: &'a str,
    pub(crate) depth: usize,
    pub(crate) user: Option<&'a str>,
    pub(crate) tokens: i64,
    pub(crate) time: &'a str,
}

impl<'a> Made<'a> {
    pub(crate) fn by(principal: &'a str, resource: &'a str) -> Self {
        let time = "2026-11-27T12:00:00.000000Z";
        Self { principal, method: "tools/call", resource, args: "{}", depth: 1, user: None, tokens: 0, time }
    }
}

/// The effects of a call that asked its client for something, and was taken back while it waited: of that whose decision is at this index.
pub(crate) fn ends_twice(decision: u64) -> [Kept; 2] {
    let id = format!("call-{}", decision + 1);
    let effect = serde_json::json!({
        "kind": "effect", "version": 1, "id": id, "decision": decision, "result": "ok", "status": 200, "bytes_in": 1, "bytes_out": 2,
        "duration_us": 3, "time": "2026-11-27T13:00:00.000000Z",
    });
    let mut second = effect.clone();
    for (member, value) in [("status", 0), ("bytes_in", 0), ("bytes_out", 0)] {
        second[member] = value.into();
    }
    for (member, value) in [("result", "failed"), ("code", "revoked"), ("detail", EffectRecord::WAITED)] {
        second[member] = value.into();
    }
    [effect, second].map(|effect| Kept::read(effect.to_string().as_bytes()).expect("a record"))
}

impl Recordings {
    pub(crate) fn begin() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let config = Config { dir: directory.path().join("ledger"), ..Config::default() };
        let ledger = Some(Ledger::open(config).expect("a log"));
        let kept = Configurations::open(&directory.path().join("configurations")).expect("a directory");
        Self { directory, runtime, ledger, kept, count: 0 }
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.directory.path().join("ledger")
    }

    pub(crate) fn archive(&self) -> Archive {
        Archive::at(&self.directory.path().join("configurations"))
    }

    /// Keeps a configuration.
    pub(crate) fn keep(&mut self, world: &Snapshot) {
        self.kept.keep(world).expect("kept");
    }

    /// Decides a call, and records it.
    pub(crate) fn call(&mut self, world: &Snapshot, made: Made<'_>) -> Outcome {
        let id: EntityId = made.principal.parse().expect("a principal");
        let resource: EntityId = made.resource.parse().expect("a resource");
        let now: jiff::Timestamp = made.time.parse().expect("a time");
        let now = UnixMillis(now.as_millisecond());
        let user = made.user.map(|user| crate::explain::user(user).expect("a person"));
        let user = user.map(|user| User { email: Some("ada@example.com".into()), ..user });
        let proven = Proven {
            principal: principal(world, &id).expect("registered"),
            identity: "oidc:urn:vidimus:local#x".into(),
            user,
            delegated: None,
            instance: None,
            expires: None,
        };
        let started = if made.depth > 1 { UnixMillis(now.0 - 60_000) } else { now };
        let actors =
            (1..made.depth).map(|hop| format!("Agent/other/hop-{hop}").parse().expect("an agent")).collect();
        let chain = Chain { transaction: "t".into(), started, actors };
        let caller = Caller { proven: Arc::new(proven), chain: Arc::new(chain) };
        let arguments = Json::parse(made.args.as_bytes()).expect("JSON");
        let action = crate::explain::target::action(&resource).expect("an action");
        let ask = Ask {
            arguments: if made.resource.starts_with("Tool/") {
                Arguments::Known(&arguments)
            } else {
                Arguments::None
            },
            tokens_estimated: made.tokens,
            ..Ask::about(made.method, action, target(world, &resource).expect("registered"))
        };
        let call =
            Call { caller: &caller, ask, now, source_ip: None, approvals: &[], so_far: SoFar::nothing() };
        let decision = world.authorize(&call);
        self.count += 1;
        let id: Arc<str> = format!("call-{}", self.count).into();
        let about = About {
            id: &id,
            trace: "",
            parent: None,
            time: made.time,
            protocol: "mcp",
            body: "",
            snapshot: world.digest(),
            approval: None,
            on_account_of: None,
            kept: None,
            aged: None,
        };
        let record = Record::Decision(decision.record(&about));
        let ledger = self.ledger.as_ref().expect("open");
        self.runtime.block_on(ledger.record(&record)).expect("recorded");
        decision.outcome()
    }

    /// Records something else than a decision.
    pub(crate) fn record(&mut self, record: &Record<'_>) {
        let ledger = self.ledger.as_ref().expect("open");
        self.runtime.block_on(ledger.record(record)).expect("recorded");
    }

    /// All of it is on disk.
    pub(crate) fn end(&mut self) {
        let ledger = self.ledger.take().expect("open");
        self.runtime.block_on(ledger.close());
    }
}
