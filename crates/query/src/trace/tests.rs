use std::time::SystemTime;

use vidimus_core::record::VERSION;
use vidimus_ledger::{Config, Ledger};
use vidimus_traces::{Beside, Limits, Sent, Store, Whose};

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const BOT: &str = "Agent/finance/bot";

fn begun() -> (tempfile::TempDir, Ledger, tokio::runtime::Runtime) {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(Config { dir: dir.path().join("ledger"), ..Config::default() }).expect("a log");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    (dir, ledger, runtime)
}

/// A decision and its effect: which call, in which chain, by which span of the gateway's and below which.
fn calls(ledger: &Ledger, runtime: &tokio::runtime::Runtime, all: &[(&str, &str, &str, Option<&str>)]) {
    for (number, (id, transaction, span, parent)) in all.iter().enumerate() {
        let record = serde_json::json!({
            "action": "invokeTool", "body": "", "chain": [], "depth": 1, "facts": {}, "id": id, "identity": "oidc:urn:x#bot", "kind": "decision",
            "method": "tools/call", "outcome": "allow", "parent": parent, "policies": ["finance/read"], "principal": BOT, "protocol": "mcp",
            "resource": "Tool/finance/ledger/get", "snapshot": "", "time": format!("2026-11-28T08:00:0{number}.000000Z"),
            "trace": format!("{TRACE}-{span}"), "transaction": transaction, "version": VERSION,
        });
        let decision = Kept::read(record.to_string().as_bytes()).expect("a record");
        let index = runtime.block_on(ledger.record(&decision)).expect("recorded");
        let record = serde_json::json!({
            "bytes_in": 1, "bytes_out": 1, "decision": index, "duration_us": 500_000, "id": id, "kind": "effect", "result": "ok", "status": 200,
            "time": format!("2026-11-28T08:00:0{number}.600000Z"), "tokens_output": 7, "time_to_first_token_us": 9, "version": VERSION,
        });
        let effect = Kept::read(record.to_string().as_bytes()).expect("a record");
        runtime.block_on(ledger.record(&effect)).expect("recorded");
    }
}

fn span(id: u64, parent: u64, name: &str) -> KeptSpan {
    let parent = if parent == 0 { Vec::new() } else { parent.to_be_bytes().to_vec() };
    let mut kept = KeptSpan { span: Some(Default::default()), ..KeptSpan::default() };
    let span = kept.span.as_mut().expect("a span");
    span.trace_id = u128::from_str_radix(TRACE, 16).expect("hex").to_be_bytes().to_vec();
    span.span_id = id.to_be_bytes().to_vec();
    span.parent_span_id = parent;
    span.name = name.to_owned();
    // 2026-11-28T08:00:00Z, and so many milliseconds.
    span.start_time_unix_nano = 1_795_852_800_000_000_000 + id * 1_000_000;
    span.end_time_unix_nano = span.start_time_unix_nano + 1_000_000_000;
    span.attributes = vec![names::text(names::AGENT_NAME, "other"), names::text("a", "b")];
    kept
}

fn send(dir: &Path, principal: &str, spans: &[KeptSpan]) {
    let mut store = Store::open(&dir.join("traces"), Limits::default()).expect("a store");
    let whose = Whose { principal: principal.to_owned(), identity: "oidc:urn:x#bot".to_owned(), user: None };
    let sent = spans.iter().map(|kept| {
        let span = kept.span.as_ref().expect("a span");
        Sent { beside: Beside::new(&kept.resource).of(&kept.scope), span }
    });
    store.append(&whose, sent, SystemTime::now()).expect("written");
}

fn shown(dir: &Path, id: &str) -> ShownTrace {
    let question = TraceQuestion { id: id.to_owned() };
    show(&dir.join("ledger"), &dir.join("traces"), &question).expect("shown")
}

/// Each node on a line, indented.
fn lines(shown: &ShownTrace) -> Vec<String> {
    assert_eq!(shown.damage, [""; 0]);
    let line = |node: &Node| {
        let missing = if node.parent_missing { " (missing)" } else { "" };
        format!("{}{}{missing}", "  ".repeat(node.depth), node.name)
    };
    shown.nodes.iter().map(line).collect()
}

/// A call at one gateway that leads to one at another, and spans that land at either: one tree, as if all had been sent to one.
#[test]
fn what_two_gateways_have_is_one_tree() {
    let ((one, first, runtime), (other, second, _)) = (begun(), begun());
    calls(&first, &runtime, &[("call-1", "call-1", "00000000000000aa", None)]);
    calls(&second, &runtime, &[("call-2", "call-1", "00000000000000bb", Some("0000000000000001"))]);
    runtime.block_on(first.close());
    runtime.block_on(second.close());
    send(one.path(), BOT, &[span(1, 0xaa, "plan"), span(2, 0xbb, "work")]);
    let mut altered = span(1, 0, "another");
    altered.span.as_mut().expect("a span").name = "another".to_owned();
    std::thread::sleep(std::time::Duration::from_millis(5));
    // Sent again to the other one; and something else by an id that is used.
    send(other.path(), BOT, &[span(2, 0xbb, "work"), altered, span(3, 0xbb, "rest")]);
    let question = |id: &str| TraceQuestion { id: id.to_owned() };
    for id in [TRACE, "call-1", "call-2"] {
        let at = |dir: &Path| (InLog(dir.join("ledger")), dir.join("traces"));
        let (a, b) = (at(one.path()), at(other.path()));
        let places = [Place { ledger: &b.0, spans: &b.1 }, Place { ledger: &a.0, spans: &a.1 }];
        let shown = show_by(&places, &question(id)).expect("shown");
        let expected = [
            "tools/call Tool/finance/ledger/get",
            "  plan",
            "    tools/call Tool/finance/ledger/get",
            "      work",
            "      rest",
        ];
        assert_eq!(lines(&shown), expected, "{id}");
        assert_eq!(shown.altered, 1, "{id}");
    }
    // By itself the other one knows nothing of what led there.
    assert!(!lines(&shown(other.path(), TRACE)).iter().any(|line| line.ends_with("plan")));
}

#[test]
fn what_is_on_record_and_what_agents_say_are_one_tree() {
    let (dir, ledger, runtime) = begun();
    calls(
        &ledger,
        &runtime,
        &[
            ("call-1", "chain-1", "00000000000000aa", Some("0000000000000002")),
            ("call-2", "chain-1", "00000000000000bb", None),
        ],
    );
    drop(ledger);
    send(dir.path(), BOT, &[span(1, 0, "invoke_agent"), span(2, 1, "execute_tool"), span(4, 99, "lost")]);
    // What was called goes on below the gateway's span.
    send(dir.path(), "Agent/finance/stranger", &[span(3, 0xaa, "get"), span(2, 0, "forged")]);
    let call = "tools/call Tool/finance/ledger/get";
    let expected = [
        call.to_string(),
        "invoke_agent".to_owned(),
        "  execute_tool".to_owned(),
        format!("    {call}"),
        "      get".to_owned(),
        "forged".to_owned(),
        "lost (missing)".to_owned(),
    ];
    for id in [TRACE, &format!("{TRACE}-00000000000000aa"), "call-1", "call-2", "chain-1"] {
        let shown = shown(dir.path(), id);
        let mut lines = lines(&shown);
        // The second call began a second later than the spans, and nobody says below what.
        let last = lines.pop().expect("lines");
        assert_eq!(last, call, "{id}");
        lines.insert(0, last);
        assert_eq!(lines, expected, "{id}");
        assert_eq!(shown.traces, [TRACE]);
    }
    let shown = shown(dir.path(), TRACE);
    let of = |name: &str| shown.nodes.iter().find(|node| node.name == name).expect("a node");
    let called = of(call).call.as_ref().expect("a call");
    assert_eq!(
        (&*called.outcome, called.result.as_deref(), called.tokens_output),
        ("allow", Some("ok"), Some(7))
    );
    assert_eq!((of(call).took_us, called.time_to_first_token_us), (Some(500_000), Some(9)));
    let claims = of("execute_tool").claims.as_ref().expect("a span");
    assert_eq!(
        (of("execute_tool").principal.as_deref(), claims.agent.as_deref()),
        (Some(BOT), Some("other"))
    );
    assert_eq!((claims.stranger, &*claims.attributes["a"]), (false, "b"));
    assert!(of("forged").claims.as_ref().is_some_and(|claims| claims.stranger));
}

#[test]
fn spans_that_are_below_themselves_are_shown_once_and_said_to_be_lost() {
    let (dir, ledger, _) = begun();
    drop(ledger);
    send(dir.path(), BOT, &[span(1, 2, "a"), span(2, 1, "b"), span(3, 1, "c")]);
    assert_eq!(lines(&shown(dir.path(), TRACE)), ["a (missing)", "  b", "  c"]);
}

#[test]
fn a_trace_of_nobody_is_empty() {
    let (dir, ledger, _) = begun();
    drop(ledger);
    for id in [TRACE, "call-1", "", "-", &"0".repeat(32)] {
        let shown = shown(dir.path(), id);
        assert!(shown.nodes.is_empty() && shown.damage.is_empty(), "{id}");
    }
}

#[test]
fn of_a_transaction_with_very_many_traces_not_all_are_read() {
    let (dir, ledger, runtime) = begun();
    let most = u128::try_from(MOST_TRACES).expect("few");
    for number in 1..=most + 1 {
        let record = serde_json::json!({
            "action": "invokeTool", "body": "", "chain": [], "depth": 1, "facts": {}, "id": format!("call-{number}"), "identity": "oidc:urn:x#bot",
            "kind": "decision", "method": "tools/call", "outcome": "allow", "policies": [], "principal": BOT, "protocol": "mcp",
            "resource": "Tool/finance/ledger/get", "snapshot": "", "time": "2026-11-28T08:00:00.000000Z",
            "trace": format!("{number:032x}-00000000000000aa"), "transaction": "chain-1", "version": VERSION,
        });
        let decision = Kept::read(record.to_string().as_bytes()).expect("a record");
        runtime.block_on(ledger.record(&decision)).expect("recorded");
    }
    drop(ledger);
    let of = |trace: u128, name: &str| {
        let mut kept = span(1, 0, name);
        kept.span.as_mut().expect("a span").trace_id = trace.to_be_bytes().to_vec();
        kept
    };
    send(dir.path(), BOT, &[of(1, "first"), of(most, "last"), of(most + 1, "beyond")]);
    let shown = shown(dir.path(), "chain-1");
    let mut spans: Vec<&str> =
        shown.nodes.iter().filter(|node| node.claims.is_some()).map(|node| &*node.name).collect();
    spans.sort_unstable();
    assert_eq!(spans, ["first", "last"]);
    assert_eq!(shown.nodes.len(), MOST_TRACES + 1 + spans.len(), "each call is shown");
    assert!(shown.damage.iter().any(|one| one.starts_with("of 1 more traces")), "{:?}", shown.damage);
}

#[test]
fn who_was_refused_took_no_part() {
    const STRANGER: &str = "Agent/finance/stranger";
    let (dir, ledger, runtime) = begun();
    calls(&ledger, &runtime, &[("call-1", "chain-1", "00000000000000aa", None)]);
    let refusal = serde_json::json!({
        "code": "no_permit", "id": "call-2", "identity": "oidc:urn:x#s", "kind": "refusal", "message": "no", "outcome": "deny", "path": "/mcp/a/b",
        "principal": STRANGER, "time": "2026-11-28T08:00:05.000000Z", "trace": format!("{TRACE}-00000000000000cc"), "version": VERSION,
    });
    let decision = serde_json::json!({
        "action": "invokeTool", "body": "", "chain": [], "code": "no_permit", "depth": 1, "facts": {}, "id": "call-3", "identity": "oidc:urn:x#s",
        "kind": "decision", "method": "tools/call", "outcome": "deny", "policies": [], "principal": STRANGER, "protocol": "mcp",
        "resource": "Tool/finance/ledger/get", "snapshot": "", "time": "2026-11-28T08:00:06.000000Z", "trace": format!("{TRACE}-00000000000000dd"),
        "transaction": "chain-3", "version": VERSION,
    });
    for record in [refusal, decision] {
        let record = Kept::read(record.to_string().as_bytes()).expect("a record");
        runtime.block_on(ledger.record(&record)).expect("recorded");
    }
    drop(ledger);
    send(dir.path(), BOT, &[span(1, 0, "own")]);
    send(dir.path(), STRANGER, &[span(2, 0, "forged")]);
    let shown = shown(dir.path(), TRACE);
    let stranger = |name: &str| {
        let node = shown.nodes.iter().find(|node| node.name == name).expect("a node");
        node.claims.as_ref().expect("a span").stranger
    };
    assert_eq!((stranger("own"), stranger("forged")), (false, true));
}

/// Attack: an agent that makes calls without end in one trace, so that nobody can show it.
#[test]
fn of_very_many_calls_the_first_are_shown_and_the_others_are_counted() {
    let decision = |number: usize| {
        let record = serde_json::json!({
            "action": "invokeTool", "body": "", "chain": [], "depth": 1, "facts": {}, "id": format!("call-{number}"), "identity": "oidc:urn:x#bot",
            "kind": "decision", "method": "tools/call", "outcome": "allow", "policies": [], "principal": BOT, "protocol": "mcp",
            "resource": "Tool/finance/ledger/get", "snapshot": "", "time": "2026-11-28T08:00:00.000000Z",
            "trace": format!("{TRACE}-{:016x}", number + 1), "transaction": "t", "version": VERSION,
        });
        Kept::read(record.to_string().as_bytes()).expect("a record")
    };
    let mut gathered = Gathered::default();
    for number in 0..MOST_CALLS + 5 {
        gathered.add(decision(number));
    }
    // What is met once more is no other call.
    gathered.add(decision(0));
    assert_eq!((gathered.calls.len(), gathered.calls_left_out), (MOST_CALLS, 5));
    let shown = gathered.shown(&[]);
    assert_eq!((shown.nodes.len(), shown.calls_left_out), (MOST_CALLS, 5));
}
