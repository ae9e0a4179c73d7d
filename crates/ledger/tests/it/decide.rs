//! Decisions: what is on record, and what the verdict opens.

use std::sync::Arc;

use serde_json::{Value, json};
use vidimus_core::call::{Action, Ask, Call, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis};
use vidimus_core::decision::About;
use vidimus_core::permit::Verdict;
use vidimus_core::resource::{Origin, Principal, check};
use vidimus_core::snapshot::Snapshot;
use vidimus_ledger::{Closed, Ledger, Query, search};

use crate::support::{assert_whole, config, refusal, time};

/// Invoice-bot may call `get_invoice` of the ledger and nothing else.
pub(crate) fn snapshot() -> Snapshot {
    let object = |kind: &str, name: &str, spec: Value| {
        let metadata = json!({ "name": name, "namespace": "finance" });
        let object =
            json!({ "apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec });
        check(&Origin::default(), &object).expect("an object")
    };
    let cedar = r#"permit (principal, action, resource == Tool::"finance/ledger/get_invoice");"#;
    let (snapshot, rejected) = Snapshot::build(vec![
        object(
            "Agent",
            "invoice-bot",
            json!({ "owner": "a@example.com", "team": "finance", "purpose": "a test", "riskLevel": "low",
                    "identities": [{ "spiffe": "spiffe://corp.example/invoice-bot" }] }),
        ),
        object(
            "MCPServer",
            "ledger",
            json!({ "owner": "a@example.com", "team": "finance", "riskLevel": "low",
                    "endpoint": { "url": "http://ledger.finance:9000/mcp" } }),
        ),
        object("Policy", "read", json!({ "description": "a test", "cedar": cedar })),
    ]);
    assert_eq!(rejected, []);
    snapshot
}

pub(crate) fn invoice_bot(snapshot: &Snapshot) -> Caller {
    let principal = Principal::Agent(snapshot.agent("finance/invoice-bot").expect("an agent").clone());
    let identity = "spiffe://corp.example/invoice-bot".into();
    let chain = Chain { transaction: "txn-1".into(), started: UnixMillis(1), actors: Vec::new() };
    let proven = Proven { principal, identity, user: None, delegated: None, instance: None, expires: None };
    Caller { proven: Arc::new(proven), chain: Arc::new(chain) }
}

/// Decides on a call of `tool`, as call `id`.
pub(crate) async fn decide(
    ledger: &Ledger,
    snapshot: &Snapshot,
    caller: &Caller,
    id: &str,
    tool: &str,
) -> Result<Verdict, Closed> {
    let server = snapshot.mcp_server("finance/ledger").expect("a server");
    let ask = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server, name: tool });
    let call = Call {
        caller,
        ask,
        now: UnixMillis(1_790_000_000_000),
        source_ip: None,
        so_far: SoFar::nothing(),
        approvals: &[],
    };
    let about = About {
        id: &Arc::from(id),
        trace: "",
        parent: None,
        time: &time(0),
        protocol: "mcp",
        body: "sha256:00",
        snapshot: snapshot.digest(),
        approval: None,
        on_account_of: None,
        kept: None,
        aged: None,
    };
    ledger.decide(snapshot.authorize(&call), &about).await
}

#[tokio::test]
async fn a_verdict_is_of_the_record_that_is_kept() {
    let snapshot = snapshot();
    let caller = invoice_bot(&snapshot);

    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(config(dir.path())).expect("opened");
    assert_eq!(ledger.record(&refusal("before")).await, Ok(0));
    let decide = async |id: &str, tool: &str| decide(&ledger, &snapshot, &caller, id, tool).await;
    match decide("allowed", "get_invoice").await.expect("recorded") {
        Verdict::Permitted(permit) => {
            assert_eq!((permit.call(), permit.index()), ("allowed", 1));
            assert_eq!(permit.destination().id().to_string(), "MCPServer/finance/ledger");
            assert_eq!(permit.caller().proven.principal.entity().to_string(), "Agent/finance/invoice-bot");
        }
        other => panic!("{other:?}"),
    }
    match decide("refused", "delete_invoice").await.expect("recorded") {
        Verdict::Refused(refusal) => assert_eq!(refusal.code.as_str(), "no_permit"),
        other => panic!("{other:?}"),
    }
    ledger.close().await;
    // What cannot be recorded opens nothing, whatever was decided.
    assert_eq!(decide("later", "get_invoice").await.err(), Some(Closed::Finished));

    let hits = search(dir.path(), &Query::default()).expect("searched").map(|hit| hit.expect("read"));
    let kept: Vec<_> = hits
        .map(|hit| {
            let record: Value = serde_json::from_slice(&hit.record).expect("JSON");
            (hit.index, record["id"].clone(), record["outcome"].clone(), record["resource"].clone())
        })
        .collect();
    let expected = [
        (0, json!("before"), json!("deny"), Value::Null),
        (1, json!("allowed"), json!("allow"), json!("Tool/finance/ledger/get_invoice")),
        (2, json!("refused"), json!("deny"), json!("Tool/finance/ledger/delete_invoice")),
    ];
    assert_eq!(kept, expected);
    assert_whole(dir.path(), 3);
}
