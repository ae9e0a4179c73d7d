//! What is known of a recorded call is what is decided of the call itself, and what its record lacks is not guessed.

use std::sync::Arc;

use vidimus_core::call::{Action, Ask, Call, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis, User};
use vidimus_core::decision::{About, Outcome};
use vidimus_core::guard::{Came, Guard, Guarded, Kinds, Looked};
use vidimus_core::recorded::{Foreseen, Recorded};
use vidimus_core::refusal::Code;
use vidimus_core::resource::Object;
use vidimus_core::snapshot::Snapshot;

use crate::generate;
use crate::world::{Facts, agent, cluster, objects, server, snapshot};

/// The record of a call that `by` decided.
fn recorded(by: &Snapshot, call: &Call<'_>) -> Recorded {
    let id: Arc<str> = "call".into();
    let about = About {
        id: &id,
        trace: "",
        parent: None,
        time: "",
        protocol: "mcp",
        body: "",
        snapshot: by.digest(),
        approval: call.approvals.first().map(|_| "approval"),
        on_account_of: None,
        kept: None,
        aged: None,
    };
    Recorded::of(&by.authorize(call).record(&about))
}

/// The caller as a record says it: without what it lacks, in place of which something else stands that must not matter.
fn as_recorded(call: &Call<'_>, recorded: &Recorded) -> (Caller, i64, bool) {
    let Caller { proven, chain } = call.caller;
    let user =
        proven.user.as_ref().map(|user| User { email: Some("else@example.com".into()), ..user.clone() });
    let first = chain.actors.is_empty();
    let started = if first { call.now } else { UnixMillis(call.now.0 - 987_654_321) };
    let chain = Chain { started, ..(**chain).clone() };
    let caller = Caller { proven: Arc::new(Proven { user, ..(**proven).clone() }), chain: Arc::new(chain) };
    let is_model = call.ask.action == Action::CallModel;
    let tokens = recorded.tokens_estimated().unwrap_or(if is_model { 7_654_321 } else { 0 });
    (caller, tokens, recorded.streaming().unwrap_or(is_model && !call.ask.streaming))
}

#[test]
fn what_is_certain_is_what_is_decided() {
    let (mut certain, mut open, mut allowed) = (0, 0, 0);
    for seed in 1..=80 {
        let (all, calls) = generate::world(seed, 12);
        let mut number = 0;
        // Others than those that decided and were recorded.
        let some = all.iter().filter(|object| {
            number += 1;
            !matches!(object, Object::Policy(_)) || number % 3 != 0
        });
        let (old, _) = Snapshot::build(all.iter().skip(1).cloned().collect());
        let (new, _) = Snapshot::build(some.cloned().collect());
        for sample in calls.iter().filter(|sample| sample.is_about(&old) && sample.is_about(&new)) {
            sample.ask(&new, |call| {
                // A chain begins with its first hop.
                let chain = Chain { started: call.now, ..(*call.caller.chain).clone() };
                let first = Caller { chain: Arc::new(chain), ..call.caller.clone() };
                let is_first = call.caller.chain.actors.is_empty();
                // Nothing but a model call has tokens, or streams.
                let is_model = call.ask.action == Action::CallModel;
                let (tokens_estimated, streaming) =
                    if is_model { (call.ask.tokens_estimated, call.ask.streaming) } else { (0, false) };
                let ask = Ask { tokens_estimated, streaming, ..call.ask };
                let so_far = if is_first { SoFar::nothing() } else { call.so_far };
                let call = Call { caller: if is_first { &first } else { call.caller }, ask, so_far, ..*call };
                let decision = new.authorize(&call);
                let record = recorded(&old, &call);
                let (caller, tokens_estimated, streaming) = as_recorded(&call, &record);
                let ask = Ask { tokens_estimated, streaming, ..call.ask };
                let found = record.foresee(&new, &Call { caller: &caller, ask, ..call });
                // What is taken for granted: see `Recorded`.
                if matches!(
                    decision.code(),
                    Some(Code::PolicyError | Code::Unrepresentable | Code::ChainLimit)
                ) {
                    return;
                }
                match found {
                    Foreseen::Certain { outcome, ref policies, .. } => {
                        assert_eq!(
                            outcome,
                            decision.outcome(),
                            "seed {seed} {policies:?}\n{sample:#?}\n{decision:#?}"
                        );
                        certain += 1;
                        allowed += u32::from(outcome == Outcome::Allow);
                    }
                    Foreseen::Open { policies, .. } => {
                        assert!(!policies.is_empty(), "seed {seed}\n{sample:#?}");
                        open += 1;
                    }
                }
            });
        }
    }
    // The generator must reach what this is there for.
    assert!(certain > 300 && open > 8 && allowed > 30, "{certain} {open} {allowed}");
}

fn foreseen(old: &str, new: &str, arguments: &'static str) -> Foreseen {
    let world = |cedar: &str| {
        snapshot(objects(vec![agent("a", "bot")], vec![server("a", "tools")], vec![cluster(cedar)]))
    };
    let (old, new) = (world(old), world(new));
    let bank = |world: &Snapshot| world.mcp_server("a/tools").unwrap().clone();
    let facts = Facts::of(&old, "a/bot").with(arguments);
    let server = bank(&old);
    let record = facts
        .ask(Action::InvokeTool, Target::Tool { server: &server, name: "t" }, |call| recorded(&old, call));
    let server = bank(&new);
    let facts = Facts { arguments: None, ..facts };
    facts.ask(Action::InvokeTool, Target::Tool { server: &server, name: "t" }, |call| {
        record.foresee(&new, call)
    })
}

/// Whether it would be allowed; `None` where that is open.
fn allowed(old: &str, new: &str, arguments: &'static str) -> Option<bool> {
    match foreseen(old, new, arguments) {
        Foreseen::Certain { outcome, .. } => Some(outcome == Outcome::Allow),
        Foreseen::Open { .. } => None,
    }
}

fn permit(condition: &str) -> String {
    format!("permit (principal, action == Action::\"invokeTool\", resource) when {{ {condition} }};")
}

#[test]
fn an_argument_is_known_as_far_as_it_was_looked_at() {
    let text = |value: &str| {
        permit(&format!("context.args.hasTag(\"/a\") && context.args.getTag(\"/a\") == \"{value}\""))
    };
    let number =
        |op: &str| permit(&format!("context.numbers.hasTag(\"/a\") && context.numbers.getTag(\"/a\") {op}"));
    let long: &'static str = Box::leak(format!("{{\"a\": \"{}\"}}", "é".repeat(300)).into_boxed_str());
    for (old, new, arguments, expected) in [
        (text("x"), text("x"), "{\"a\": \"x\"}", Some(true)),
        (text("x"), text("y"), "{\"a\": \"x\"}", Some(false)),
        (text("y"), text("x"), "{\"a\": \"x\"}", Some(true)),
        (number("== 5"), number("> 4"), "{\"a\": 5}", Some(true)),
        (number("== 5"), number("> 5"), "{\"a\": 5}", Some(false)),
        (number("== 5"), number("> 5"), "{}", Some(false)),
        // The one view says nothing of the other.
        (number("== 5"), text("5"), "{\"a\": 5}", None),
        (text("5"), number("== 5"), "{\"a\": 5}", None),
        // It may be absent, or say so.
        (text("x"), text("absent"), "{\"a\": \"absent\"}", None),
        (text("x"), text("absent"), "{}", None),
        // It may have been cut.
        (text("x"), text("x"), long, None),
        // What a policy cannot see is not what its words say.
        (text("x"), text("a list"), "{\"a\": [1]}", None),
        (number("== 5"), number("== 5"), "{\"a\": \"5\"}", None),
        // What Cedar itself evaluates would have to see the arguments.
        (
            text("x"),
            permit("context.args.hasTag(\"/a\") && {a: context.args.getTag(\"/a\")} == {a: \"x\"}"),
            "{\"a\": \"x\"}",
            None,
        ),
        // Nobody looked.
        ("permit (principal, action, resource);".to_owned(), text("x"), "{\"a\": \"x\"}", None),
        (text("x"), text("x").replace("/a", "/b"), "{\"a\": \"x\"}", None),
    ] {
        assert_eq!(allowed(&old, &new, arguments), expected, "{old}\n{new}\n{arguments}");
    }
}

#[test]
fn what_is_decided_either_way_is_known_and_what_is_open_says_by_what() {
    let looks = "context.args.hasTag(\"/a\")";
    let old = "permit (principal, action == Action::\"invokeTool\", resource);";
    for (new, expected) in [
        (permit(looks), None),
        (format!("{} {old}", permit(looks)), Some(true)),
        (format!("{} {}", permit(looks), old.replace("permit", "forbid")), Some(false)),
        (permit(&format!("{looks} || true")), Some(true)),
        (permit(&format!("{looks} && context.delegation_depth > 3")), Some(false)),
        (format!("{} {}", permit(looks), permit(&format!("!({looks})"))), None),
        (
            format!(
                "{old} {}",
                permit(&format!("{looks} && context.delegation_depth > 3")).replace("permit", "forbid")
            ),
            Some(true),
        ),
        (permit("context.tokens_estimated > 5").replace("invokeTool", "callModel"), Some(false)),
    ] {
        assert_eq!(allowed(old, &new, "{}"), expected, "{new}");
    }
    let Foreseen::Open { lacks, policies } =
        foreseen(old, &permit("context.numbers.hasTag(\"/amount\")"), "{}")
    else {
        panic!("certain")
    };
    assert_eq!(lacks.iter().map(|name| &**name).collect::<Vec<_>>(), ["context.numbers[\"/amount\"]"]);
    assert_eq!(policies.iter().map(|name| &**name).collect::<Vec<_>>(), ["t/p"]);
}

/// What a chain had come to does not stand in the record of a call that continued it; of one that begins a chain it is known.
#[test]
fn only_a_chain_that_begins_is_held_to_its_limits() {
    let world = |max_calls| {
        let mut bot = agent("a", "bot");
        bot.delegation.max_calls = max_calls;
        let all = cluster("permit (principal, action, resource);");
        snapshot(objects(vec![bot], vec![server("a", "tools")], vec![all]))
    };
    let (old, new) = (world(None), world(Some(0)));
    for (depth, denied) in [(1, Some(Code::ChainLimit)), (2, None)] {
        let facts = Facts::of(&old, "a/bot").at_depth(depth);
        let target = Target::Tool { server: old.mcp_server("a/tools").unwrap(), name: "t" };
        let record = facts.ask(Action::InvokeTool, target, |call| recorded(&old, call));
        let facts = Facts::of(&new, "a/bot").at_depth(depth);
        let target = Target::Tool { server: new.mcp_server("a/tools").unwrap(), name: "t" };
        let found = facts.ask(Action::InvokeTool, target, |call| record.foresee(&new, call));
        let Foreseen::Certain { code, .. } = found else { panic!("open at {depth}") };
        assert_eq!(code, denied, "{depth}");
    }
}

/// By Cedar's own evaluator, as by ours: what stands in no record is open.
#[test]
fn what_a_chain_has_come_to_is_open_where_it_goes_on() {
    let all = "permit (principal, action, resource);";
    let world = |cedar: &str| {
        snapshot(objects(vec![agent("a", "bot")], vec![server("a", "tools")], vec![cluster(cedar)]))
    };
    let old = world(all);
    for condition in ["context.chain.calls == 1", "{calls: context.chain.calls} == {calls: 1}"] {
        let new = world(&permit(condition));
        for (depth, certain) in [(1, true), (2, false)] {
            let target = Target::Tool { server: old.mcp_server("a/tools").unwrap(), name: "t" };
            let facts = Facts::of(&old, "a/bot").at_depth(depth);
            let record = facts.ask(Action::InvokeTool, target, |call| recorded(&old, call));
            let target = Target::Tool { server: new.mcp_server("a/tools").unwrap(), name: "t" };
            let facts = Facts::of(&new, "a/bot").at_depth(depth);
            let found = facts.ask(Action::InvokeTool, target, |call| record.foresee(&new, call));
            assert_eq!(matches!(found, Foreseen::Certain { .. }), certain, "{condition} at {depth}");
        }
    }
}

/// To connect, some call of a tool is enough: which arguments it would have is not open, but any.
#[test]
fn who_could_call_a_tool_is_foreseen_to_connect() {
    let world = |cedar: &str| {
        snapshot(objects(vec![agent("a", "bot")], vec![server("a", "tools")], vec![cluster(cedar)]))
    };
    let old = world("permit (principal, action, resource);");
    for condition in ["context.args.hasTag(\"/a\")", "context.call_digest like \"*00*\""] {
        let new = world(&permit(condition));
        let target = Target::Server(old.mcp_server("a/tools").unwrap());
        let record = Facts::of(&old, "a/bot").ask(Action::ConnectServer, target, |call| recorded(&old, call));
        let target = Target::Server(new.mcp_server("a/tools").unwrap());
        let found =
            Facts::of(&new, "a/bot").ask(Action::ConnectServer, target, |call| record.foresee(&new, call));
        let Foreseen::Certain { outcome, .. } = found else { panic!("open: {condition}") };
        assert_eq!(outcome, Outcome::Allow, "{condition}");
    }
    // What the chain has come to is, whatever it had come to when it was asked.
    for calls in [0, 1] {
        let new = world(&permit(&format!("context.args.hasTag(\"/a\") && context.chain.calls == {calls}")));
        let target = Target::Server(old.mcp_server("a/tools").unwrap());
        let facts = Facts::of(&old, "a/bot").at_depth(2);
        let record = facts.ask(Action::ConnectServer, target, |call| recorded(&old, call));
        let target = Target::Server(new.mcp_server("a/tools").unwrap());
        let facts = Facts::of(&new, "a/bot").at_depth(2);
        let found = facts.ask(Action::ConnectServer, target, |call| record.foresee(&new, call));
        assert!(matches!(found, Foreseen::Open { .. }), "{calls}");
    }
}

/// Which groups a person is in stands in no record.
#[test]
fn what_looks_at_the_groups_of_a_person_is_open() {
    let world = |cedar: &str| {
        snapshot(objects(vec![agent("a", "bot")], vec![server("a", "tools")], vec![cluster(cedar)]))
    };
    let old = world("permit (principal, action, resource);");
    let user = User {
        issuer: "https://i".into(),
        subject: "anna".into(),
        email: None,
        groups: ["staff".into()].into(),
    };
    for (condition, certain) in [
        ("context has on_behalf_of && context.on_behalf_of in UserGroup::\"https://i#staff\"", false),
        ("context has on_behalf_of && context.on_behalf_of == User::\"https://i#anna\"", true),
        // Who acted before is known, whoever the person is.
        ("!(Agent::\"a/other\" in context.chain.agents)", true),
    ] {
        let new = world(&permit(condition));
        let target = Target::Tool { server: old.mcp_server("a/tools").unwrap(), name: "t" };
        let facts = Facts { user: Some(user.clone()), ..Facts::of(&old, "a/bot") };
        let record = facts.ask(Action::InvokeTool, target, |call| recorded(&old, call));
        let target = Target::Tool { server: new.mcp_server("a/tools").unwrap(), name: "t" };
        let facts = Facts { user: Some(user.clone()), ..Facts::of(&new, "a/bot") };
        let found = facts.ask(Action::InvokeTool, target, |call| record.foresee(&new, call));
        assert_eq!(matches!(found, Foreseen::Certain { .. }), certain, "{condition}");
    }
}

/// What a guard that is built in found nothing in stands in the record. What another one would have found, and what becomes of a finding by the words of
/// another policy, does not.
#[test]
fn that_a_guard_found_nothing_is_known() {
    let waits = |condition: &str| {
        format!(
            "permit (principal, action, resource); forbid (principal, action == Action::\"invokeTool\", resource) unless {{ {condition} }};"
        )
    };
    let world = |cedar: &str| {
        snapshot(objects(vec![agent("a", "bot")], vec![server("a", "tools")], vec![cluster(cedar)]))
    };
    let secrets = waits("context.guarded.contains(\"secrets\")");
    let old = world(&secrets);
    for (came, cedar, expected) in [
        (Came::Passed, secrets.clone(), Some(Outcome::Allow)),
        (Came::Recorded, secrets.clone(), None),
        (Came::Found, secrets, None),
        (Came::Passed, waits("context.guarded.contains(\"injection\")"), None),
        (Came::Passed, waits("context.guarded.containsAll([\"secrets\"])"), None),
    ] {
        let mut looked = Guarded::default();
        looked.add(Looked { guard: Guard::Secrets, came, kinds: Kinds::new() }, []);
        let target = Target::Tool { server: old.mcp_server("a/tools").unwrap(), name: "t" };
        let record = Facts::of(&old, "a/bot").ask(Action::InvokeTool, target, |call| {
            let ask = Ask { guarded: &looked, ..call.ask };
            recorded(&old, &Call { ask, ..*call })
        });
        let new = world(&cedar);
        let target = Target::Tool { server: new.mcp_server("a/tools").unwrap(), name: "t" };
        let found =
            Facts::of(&new, "a/bot").ask(Action::InvokeTool, target, |call| record.foresee(&new, call));
        let outcome = match found {
            Foreseen::Certain { outcome, .. } => Some(outcome),
            Foreseen::Open { .. } => None,
        };
        assert_eq!(outcome, expected, "{came:?} {cedar}");
    }
}
