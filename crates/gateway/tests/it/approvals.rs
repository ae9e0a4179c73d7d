//! Calls that wait for people: asked once, made once, and never what was not approved.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use vidimus_core::act::{Act, BY_ITSELF, Lifted, OfSubject, Subject};
use vidimus_core::approval::pending::{Approve, OfApproval, State, Use};
use vidimus_core::refusal::Code;
use vidimus_gateway::{Limits, Rate};
use vidimus_testkit::upstream::Answer;

use super::chains;
use super::world::{World, call_id, json_of, objects, snapshot};

pub const HOLD: &str = r#"@approval("payers") forbid (principal, action == Action::"invokeTool", resource == Tool::"t/tools/echo")
    unless { context has approval && context.approval.role == "payers" };"#;

pub const BOB: &str = "User/https://login.example#bob";

/// A world whose tool `echo` waits for an approval, with `more` changed.
async fn world(text: &str) -> World {
    let world = World::new().await;
    world.gate.take_into_use(snapshot(&holding(&world, text)));
    world
}

pub fn holding(world: &World, text: &str) -> Vec<Value> {
    let mut all = objects(&world.upstream);
    all.push(json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
        "metadata": {"namespace": "t", "name": "hold"}, "spec": {"description": "hold", "cedar": text}}));
    all
}

fn echo(world: &World, arguments: &Value) -> Request<Full<Bytes>> {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}});
    world.request(Method::POST, "/mcp/t/tools", &call)
}

fn answers(world: &World) {
    world.upstream.next(Answer::json(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
}

/// Makes the call; the code of its refusal, and the approval that it waits for.
async fn make(world: &World, request: Request<Full<Bytes>>) -> (Option<String>, Option<String>, HeaderMap) {
    let (_, headers, body) = world.call(request).await;
    let text = |name: &str| json_of(&body).pointer(name).and_then(Value::as_str).map(str::to_owned);
    (text("/error/data/code"), text("/error/data/approval"), headers)
}

async fn waits(world: &World, arguments: &Value) -> String {
    let (code, approval, headers) = make(world, echo(world, arguments)).await;
    assert_eq!(
        (code.as_deref(), &headers["retry-after"]),
        (Some("approval_required"), &"10".parse().expect("text"))
    );
    approval.expect("the id of an approval")
}

async fn approve(world: &World, actor: &str, approval: &str) -> Result<(), Code> {
    approve_as(world, actor, approval, None).await
}

/// The approval of one of the payers.
pub fn yes(approval: &str, escalation: Option<&str>) -> Act {
    let (role, shown, escalation) = ("payers".into(), "s".into(), escalation.map(str::to_owned));
    let approval = approval.into();
    Act::Approve(Approve { approval, email: None, escalation, role, shown, unverified_email: None })
}

async fn approve_as(
    world: &World,
    actor: &str,
    approval: &str,
    escalation: Option<&str>,
) -> Result<(), Code> {
    let act = yes(approval, escalation);
    world.gate.shared.act(actor, act, "looked at").await.map(|_| ()).map_err(|refusal| refusal.code)
}

fn acts(world: &World) -> Vec<String> {
    let records = world.all_records();
    let acts = records.iter().filter_map(|record| record["act"].as_object()?.keys().next().cloned());
    acts.collect()
}

async fn settled(world: &World, acts_wanted: &[&str]) {
    for _ in 0..1_000 {
        if acts(world) == acts_wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(acts(world), acts_wanted);
}

#[tokio::test]
async fn a_held_call_completes_once_when_it_is_approved_and_is_held_again() {
    let world = world(HOLD).await;
    let arguments = json!({"amount": 5});
    let approval = waits(&world, &arguments).await;
    // Each try of the same call waits for the same approval, however it is written.
    assert_eq!(waits(&world, &json!({"amount": 5.0})).await, approval);
    assert_eq!(acts(&world), ["ask"]);
    let shown = world.gate.questions.arguments(&approval).expect("what is asked");
    assert_eq!(json_of(shown.as_bytes()), arguments);
    assert!(world.upstream.received().is_empty());
    approve(&world, BOB, &approval).await.expect("approved");
    answers(&world);
    let (code, _, headers) = make(&world, echo(&world, &arguments)).await;
    assert_eq!((code, world.upstream.received().len()), (None, 1));
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!((&records[0]["outcome"], &records[0]["approval"]), (&json!("allow"), &json!(approval)));
    settled(&world, &["ask", "approve", "use", "came"]).await;
    let again = waits(&world, &arguments).await;
    assert_ne!(again, approval);
    let asked = world.gate.acts.standing().approvals.get(&again).expect("asked").question.clone();
    let before = asked.before.expect("the call was made before");
    assert_eq!((before.approval, before.result.as_deref()), (approval, Some("ok")));
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn an_approval_is_good_for_nothing_else() {
    let world = world(HOLD).await;
    let approval = waits(&world, &json!({"amount": 5})).await;
    approve(&world, BOB, &approval).await.expect("approved");
    // Other arguments.
    assert_ne!(waits(&world, &json!({"amount": 6})).await, approval);
    assert_ne!(waits(&world, &json!({"amount": 5, "to": "x"})).await, approval);
    // Another text of the policy.
    world.gate.take_into_use(snapshot(&holding(&world, &HOLD.replace("unless {", "unless { true &&"))));
    assert_ne!(waits(&world, &json!({"amount": 5})).await, approval);
    // Another place of the server.
    let mut moved = holding(&world, HOLD);
    moved[3]["spec"]["endpoint"]["url"] = json!(world.upstream.url("/other"));
    world.gate.take_into_use(snapshot(&moved));
    assert_ne!(waits(&world, &json!({"amount": 5})).await, approval);
    // A forbid that asks nobody.
    let no = format!("{HOLD} forbid (principal, action, resource == Tool::\"t/tools/echo\");");
    world.gate.take_into_use(snapshot(&holding(&world, &no)));
    let (code, ..) = make(&world, echo(&world, &json!({"amount": 5}))).await;
    assert_eq!(code.as_deref(), Some("forbidden_by_policy"));
    assert!(world.upstream.received().is_empty());
}

/// Attack: what holds a call is changed, and changed back once it was approved; or where it goes is.
#[tokio::test]
async fn an_approval_does_not_come_back_with_what_asked_for_it() {
    let world = world(HOLD).await;
    let other_text = holding(&world, &HOLD.replace("unless {", "unless { true &&"));
    let mut moved = holding(&world, HOLD);
    moved[3]["spec"]["endpoint"]["url"] = json!(world.upstream.url("/other"));
    let mut without = holding(&world, HOLD);
    without.pop();
    for (round, between) in [other_text, moved, without].iter().enumerate() {
        let arguments = json!({"round": round});
        let approval = waits(&world, &arguments).await;
        approve(&world, BOB, &approval).await.expect("approved");
        // What has nothing to do with it changes nothing of it.
        let mut beside = holding(&world, HOLD);
        beside[0]["spec"]["purpose"] = json!("calls often");
        world.gate.take_into_use(snapshot(&beside));
        world.gate.take_into_use(snapshot(between));
        world.gate.take_into_use(snapshot(&holding(&world, HOLD)));
        // From the first moment on, whether or not it is on record.
        let again = waits(&world, &arguments).await;
        assert_ne!(again, approval);
        assert!(world.upstream.received().is_empty());
        let standing = world.gate.acts.standing();
        let pending = standing.approvals.get(&approval).expect("kept");
        let changed = if round == 1 { "Tool/t/tools/echo" } else { "t/hold" };
        assert_eq!((pending.state, pending.changed.as_deref()), (State::Expired, Some(changed)));
        let records = world.all_records();
        let about = records.iter().filter_map(|record| record["act"].as_object()?.iter().next());
        let about = about.filter(|(_, act)| act["approval"] == json!(approval));
        let about: Vec<(&str, &Value)> = about.map(|(what, act)| (what.as_str(), &act["changed"])).collect();
        assert_eq!(about, [("ask", &Value::Null), ("approve", &Value::Null), ("void", &json!(changed))]);
    }
    // And as a configuration that had never been anything else: an approval that was not touched is good.
    let approval = waits(&world, &json!({"round": 9})).await;
    approve(&world, BOB, &approval).await.expect("approved");
    answers(&world);
    assert_eq!(make(&world, echo(&world, &json!({"round": 9}))).await.0, None);
}

/// What was changed while the gateway did not run voids it too; what an earlier version asked says not of what it is.
#[tokio::test]
async fn an_approval_does_not_outlive_its_policy_over_a_start() {
    let world = world(HOLD).await;
    let approval = waits(&world, &json!({})).await;
    world.gate.void_since_start();
    world.gate.shared.record_void().await;
    let state = || world.gate.acts.standing().approvals.get(&approval).expect("kept").state;
    assert_eq!(state(), State::Asked);
    // As a start with another text has it.
    let other = world.again(snapshot(&holding(&world, &HOLD.replace("unless {", "unless { true &&")))).await;
    for record in world.all_records().iter().filter(|record| record["act"]["ask"].is_object()) {
        let question = serde_json::from_value(record["act"]["ask"].clone()).expect("a question");
        other
            .gate
            .shared
            .act(BY_ITSELF, Act::Ask(Box::new(question)), "a policy holds the call")
            .await
            .expect("asked");
    }
    other.gate.void_since_start();
    other.gate.shared.record_void().await;
    let standing = other.gate.acts.standing();
    assert_eq!(standing.approvals.get(&approval).map(|one| one.state), Some(State::Expired));
}

/// Who is asked is told what the same call came to before, also where another policy held it then.
#[tokio::test]
async fn what_a_call_came_to_before_is_told_under_another_policy_too() {
    let world = world(HOLD).await;
    let approval = waits(&world, &json!({"amount": 5})).await;
    approve(&world, BOB, &approval).await.expect("approved");
    answers(&world);
    let (code, _, headers) = make(&world, echo(&world, &json!({"amount": 5}))).await;
    assert_eq!(code, None);
    settled(&world, &["ask", "approve", "use", "came"]).await;
    let other = HOLD.replace("unless {", "unless { true &&");
    world.gate.take_into_use(snapshot(&holding(&world, &other)));
    for (arguments, is_told) in [(json!({"amount": 5.0}), true), (json!({"amount": 6}), false)] {
        let again = waits(&world, &arguments).await;
        let before = world.gate.acts.standing().approvals.get(&again).expect("asked").question.before.clone();
        let told = before.map(|before| (before.approval, before.call, before.result));
        let of_call = (approval.clone(), call_id(&headers), Some("ok".to_owned()));
        assert_eq!(told, is_told.then_some(of_call), "{arguments}");
    }
}

/// Who approves sees what the policy lets people see, and approves the whole call; under another redaction it is another question.
#[tokio::test]
async fn what_is_redacted_is_not_shown_and_approved_all_the_same() {
    let redacting =
        |pointers: &str| HOLD.replace("@approval", &format!("@redact_shown(\"{pointers}\") @approval"));
    let world = world(&redacting("/ssn /cards/*/number")).await;
    let arguments =
        |ssn: &str| json!({"SSN": ssn, "amount": 5, "cards": [{"name": "a", "number": {"n": "4111"}}]});
    let approval = waits(&world, &arguments("123-45-6789")).await;
    let shown = world.gate.questions.arguments(&approval).expect("what is asked");
    assert_eq!(&*shown, r#"{"SSN":"[redacted]","amount":5,"cards":[{"name":"a","number":"[redacted]"}]}"#);
    let question = world.gate.acts.standing().approvals.get(&approval).expect("asked").question.clone();
    assert_eq!(question.redacted, ["/cards/*/number", "/ssn"]);
    assert_eq!(question.arguments, Some(sha256_of(&shown)), "what is on record is what was shown");
    approve(&world, BOB, &approval).await.expect("approved");
    // It looks the same, and is another call.
    assert_ne!(waits(&world, &arguments("987-65-4321")).await, approval);
    // Another redaction, of the same call.
    world.gate.take_into_use(snapshot(&holding(&world, &redacting("/ssn"))));
    let other = waits(&world, &arguments("123-45-6789")).await;
    assert_ne!(other, approval);
    let shown = world.gate.questions.arguments(&other).expect("what is asked");
    assert!(shown.contains("4111") && !shown.contains("6789"), "{shown}");
    approve(&world, BOB, &other).await.expect("approved");
    answers(&world);
    assert_eq!(make(&world, echo(&world, &arguments("123-45-6789"))).await.0, None);
    let sent = &world.upstream.received()[0].json()["params"]["arguments"];
    assert_eq!(sent["SSN"], "123-45-6789", "the call is made as it was asked");
}

fn sha256_of(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

#[tokio::test]
async fn who_may_not_approve_does_not_and_what_is_denied_stays_so() {
    let world = world(HOLD).await;
    let approval = waits(&world, &json!({})).await;
    assert_eq!(approve(&world, "Agent/t/stranger", &approval).await, Err(Code::ActUnfit));
    assert_eq!(approve(&world, BY_ITSELF, &approval).await, Err(Code::ActUnfit));
    assert_eq!(approve(&world, BOB, "another").await, Err(Code::IdUnknown));
    let deny = Act::Deny(OfApproval { approval: approval.clone() });
    world.gate.shared.act(BOB, deny, "not today").await.expect("denied");
    for _ in 0..2 {
        let (code, ..) = make(&world, echo(&world, &json!({}))).await;
        assert_eq!(code.as_deref(), Some("approval_denied"));
    }
    assert_eq!(approve(&world, BOB, &approval).await, Err(Code::ActUnfit));
    assert_eq!(acts(&world), ["ask", "deny"]);
    // Until the question's time is over.
    world.clock.advance(Duration::from_secs(3_600));
    assert_ne!(waits(&world, &json!({})).await, approval);
}

#[tokio::test]
async fn what_is_answered_too_late_lets_nothing_pass() {
    let world = world(HOLD).await;
    let approval = waits(&world, &json!({})).await;
    approve(&world, BOB, &approval).await.expect("approved");
    world.clock.advance(Duration::from_secs(3_600));
    assert_ne!(waits(&world, &json!({})).await, approval);
    assert!(world.upstream.received().is_empty());
    world.clock.advance(Duration::from_secs(3_600));
    world.gate.shared.expire_approvals().await;
    assert_eq!(acts(&world), ["ask", "approve", "ask", "expire"]);
}

/// Whom a question went on to approves it in the role that the policy asks for; not before, and not what another policy asks.
#[tokio::test]
async fn a_question_goes_on_to_others_after_its_time() {
    const ESCALATES: &str = "@approval(\"payers\") @escalation(\"managers\") @escalate_after(\"15m\")";
    let world = world(&HOLD.replace("@approval(\"payers\")", ESCALATES)).await;
    let approval = waits(&world, &json!({"amount": 5})).await;
    assert_eq!(approve_as(&world, BOB, &approval, Some("managers")).await, Err(Code::ActUnfit));
    world.clock.advance(Duration::from_secs(900));
    assert_eq!(approve_as(&world, BOB, &approval, Some("others")).await, Err(Code::ActUnfit));
    approve_as(&world, BOB, &approval, Some("managers")).await.expect("approved");
    answers(&world);
    assert_eq!(make(&world, echo(&world, &json!({"amount": 5}))).await.0, None);
    // Under other terms it is another question.
    let approval = waits(&world, &json!({"amount": 6})).await;
    let other = ESCALATES.replace("15m", "16m");
    world.gate.take_into_use(snapshot(&holding(&world, &HOLD.replace("@approval(\"payers\")", &other))));
    assert_ne!(waits(&world, &json!({"amount": 6})).await, approval);
}

/// Of many calls at once, one is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_calls_that_race_for_one_approval_one_is_made() {
    let world = Arc::new(world(HOLD).await);
    let approval = waits(&world, &json!({})).await;
    approve(&world, BOB, &approval).await.expect("approved");
    answers(&world);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { make(&world, echo(&world, &json!({}))).await.0 })
        })
        .collect();
    let mut made = 0;
    for call in calls {
        made += u32::from(call.await.expect("an answer").is_none());
    }
    assert_eq!((made, world.upstream.received().len()), (1, 1));
}

/// The claim is on record before anything is sent: a gateway that fell in between does not send again.
#[tokio::test]
async fn a_claim_that_nothing_is_known_of_is_told_to_who_is_asked_next() {
    let world = world(HOLD).await;
    let approval = waits(&world, &json!({})).await;
    approve(&world, BOB, &approval).await.expect("approved");
    let used = Act::Use(Use { approval: approval.clone(), call: "call-lost".into() });
    world.gate.shared.act(BY_ITSELF, used, "the approved call is made").await.expect("claimed");
    let again = waits(&world, &json!({})).await;
    let asked = world.gate.acts.standing().approvals.get(&again).expect("asked").question.clone();
    let before = asked.before.expect("the claim is known");
    assert_eq!((&*before.call, before.result), ("call-lost", None));
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn what_goes_beside_the_arguments_is_approved_with_them() {
    let world = world(HOLD).await;
    let call = |params: &Value, beside: &Value| {
        let mut call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        call.as_object_mut().expect("an object").extend(beside.as_object().expect("an object").clone());
        world.request(Method::POST, "/mcp/t/tools", &call)
    };
    let plain = json!({"name": "echo", "arguments": {"amount": 5}});
    let with = |more: Value| {
        let mut params = plain.clone();
        params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        params
    };
    let approval = waits(&world, &json!({"amount": 5})).await;
    approve(&world, BOB, &approval).await.expect("approved");
    for (params, beside) in [
        (with(json!({"_meta": {"com.bank/account": "M"}})), json!({})),
        (with(json!({"_meta": {"progressToken": "pay M"}})), json!({})),
        (with(json!({"input": {"amount": 9}})), json!({})),
        (with(json!({"requestState": "other"})), json!({})),
        (plain.clone(), json!({"account": "M"})),
    ] {
        let (code, other, _) = make(&world, call(&params, &beside)).await;
        assert_eq!(code.as_deref(), Some("approval_required"), "{params} {beside}");
        assert_ne!(other.as_deref(), Some(&*approval), "{params} {beside}");
        assert!(world.upstream.received().is_empty());
    }
    // What a client says of each request is no other call.
    answers(&world);
    let (code, ..) = make(&world, call(&with(json!({"_meta": {"progressToken": 7}})), &json!({}))).await;
    assert_eq!((code, world.upstream.received().len()), (None, 1));
}

#[tokio::test]
async fn a_number_that_is_two_numbers_is_not_approved() {
    const MODELS: &str = r#"@approval("payers") forbid (principal, action == Action::"callModel", resource)
        unless { context has approval && context.approval.role == "payers" };"#;
    let world = world(MODELS).await;
    let ask = |seed: &str| {
        let body =
            format!(r#"{{"model":"small","messages":[{{"role":"user","content":"x"}}],"seed":{seed}}}"#);
        let request = world.request(Method::POST, "/llm/t/models/v1/chat/completions", &Value::Null);
        request.map(|_| Full::new(Bytes::from(body)))
    };
    for seed in ["12345678901234567890123", "1e-400", "5.00000000000000000000001"] {
        let (_, _, body) = world.call(ask(seed)).await;
        assert_eq!(json_of(&body).pointer("/error/code"), Some(&json!("unrepresentable")), "{seed}");
    }
    let (_, _, body) = world.call(ask("5.5")).await;
    assert_eq!(json_of(&body).pointer("/error/code"), Some(&json!("approval_required")));
}

#[tokio::test]
async fn a_quarantine_denies_what_waits_and_a_quarantined_approver_approved_nothing() {
    let world = world(HOLD).await;
    super::acts::follow_with(&world, &holding(&world, HOLD));
    let state = |approval: &str| world.gate.acts.standing().approvals.get(approval).expect("known").state;
    let quarantine = async |subject: &str, lifted: bool| {
        let subject: Subject = subject.parse().expect("a subject");
        let act = Act::Quarantine(OfSubject { subject: subject.clone() });
        let done = world.gate.shared.act(super::acts::ADMIN, act, "caught").await.expect("done");
        if lifted {
            let act = Act::Lift(Lifted { of: done.id, subject });
            world.gate.shared.act(super::acts::ADMIN, act, "over").await.expect("done");
        }
    };
    let asked = waits(&world, &json!({"amount": 1})).await;
    let approved = waits(&world, &json!({"amount": 2})).await;
    approve(&world, BOB, &approved).await.expect("approved");
    quarantine("MCPServer/t/tools", true).await;
    assert_eq!((state(&asked), state(&approved)), (State::Denied, State::Denied));
    let (code, ..) = make(&world, echo(&world, &json!({"amount": 2}))).await;
    assert_eq!(code.as_deref(), Some("approval_denied"));
    // Who approved is caught: it may have been somebody else.
    let other = waits(&world, &json!({"amount": 3})).await;
    approve(&world, BOB, &other).await.expect("approved");
    quarantine(BOB, false).await;
    assert_ne!(waits(&world, &json!({"amount": 3})).await, other, "it is asked anew");
    assert_eq!(state(&other), State::Expired);
    assert!(world.upstream.received().is_empty());
}

/// Attack: of two who approve, the first is caught, before the second approves or after. What it approved is void, and nobody else's vote is
/// taken for two.
#[tokio::test]
async fn the_vote_of_somebody_who_is_quarantined_counts_for_no_quorum() {
    const CAROL: &str = "User/https://login.example#carol";
    let two = HOLD.replace("@approval(\"payers\")", "@approval(\"payers\") @quorum(\"2\")");
    let world = world(&two).await;
    super::acts::follow_with(&world, &holding(&world, &two));
    let subject: Subject = BOB.parse().expect("a subject");
    for between in [true, false] {
        let arguments = json!({"between": between});
        let approval = waits(&world, &arguments).await;
        approve(&world, BOB, &approval).await.expect("approved");
        if !between {
            approve(&world, CAROL, &approval).await.expect("approved");
        }
        let act = Act::Quarantine(OfSubject { subject: subject.clone() });
        let done = world.gate.shared.act(super::acts::ADMIN, act, "caught").await.expect("done");
        assert_eq!(approve(&world, CAROL, &approval).await, Err(Code::ActUnfit), "{between}");
        let again = waits(&world, &arguments).await;
        assert_ne!(again, approval, "{between}");
        assert!(world.upstream.received().is_empty());
        let standing = world.gate.acts.standing();
        let void = standing.approvals.get(&approval).expect("kept");
        assert_eq!((void.state, void.changed.as_deref()), (State::Expired, Some(BOB)), "{between}");
        // Neither does it vote now, nor is what it voted good again when it is back.
        assert_eq!(approve(&world, BOB, &again).await, Err(Code::ActUnfit));
        let lift = Act::Lift(Lifted { of: done.id, subject: subject.clone() });
        world.gate.shared.act(super::acts::ADMIN, lift, "it was not").await.expect("done");
        assert_eq!(waits(&world, &arguments).await, again);
    }
    let approval = waits(&world, &json!({"between": false})).await;
    approve(&world, BOB, &approval).await.expect("approved");
    approve(&world, CAROL, &approval).await.expect("approved");
    answers(&world);
    assert_eq!(make(&world, echo(&world, &json!({"between": false}))).await.0, None);
}

/// Attack: whoever answers for an agent earlier in the chain approves what that set off; or approves the same in the chain of somebody else, and
/// has its own agent use that.
#[tokio::test]
async fn nobody_approves_what_his_agent_set_off_earlier_in_the_chain() {
    let world = World::new().await;
    let all = chains::estate(&world, |all| {
        all[0]["spec"]["owner"] = json!("mallory@example.com");
        chains::also(all, r#"permit (principal == Agent::"t/stranger", action, resource);"#);
        chains::also(all, HOLD);
    });
    world.gate.take_into_use(snapshot(&all));
    let own = chains::begin(&world).await;
    let other = chains::begin_as(&world, "stranger").await;
    let held = async |token: &str| {
        let call = chains::with(token, echo(&world, &json!({"amount": 5})));
        let (code, approval, _) = make(&world, call).await;
        assert_eq!(code.as_deref(), Some("approval_required"));
        approval.expect("the id of an approval")
    };
    let by_mallory = async |approval: &str| {
        let (approval, email, shown) = (approval.into(), Some("Mallory@example.com".into()), "s".into());
        let act = Act::Approve(Approve {
            approval,
            email,
            escalation: None,
            role: "payers".into(),
            shown,
            unverified_email: None,
        });
        let done = world.gate.shared.act("User/https://login.example#m-7", act, "looked at").await;
        done.map(drop).map_err(|refusal| refusal.code)
    };
    let asked = held(&own).await;
    let question = world.gate.acts.standing().approvals.get(&asked).expect("asked").question.clone();
    assert_eq!(
        (question.chain, question.chain_owners),
        (vec!["Agent/t/caller".to_owned()], vec!["mallory@example.com".to_owned()],)
    );
    assert_eq!(by_mallory(&asked).await, Err(Code::ActUnfit));
    let of_other = held(&other).await;
    assert_ne!(of_other, asked);
    assert_eq!(by_mallory(&of_other).await, Ok(()));
    assert_eq!(held(&own).await, asked, "the approval of another chain is none of this one");
}

#[tokio::test]
async fn a_flood_of_tries_of_one_held_call_is_counted() {
    const TRIES: usize = 40;
    let few = Rate { burst: 5, per_second: 1 };
    let world = World::with(Limits { refused_principal: few, refused: few, ..Limits::default() }).await;
    world.gate.take_into_use(snapshot(&holding(&world, HOLD)));
    let approval = waits(&world, &json!({"amount": 5})).await;
    for _ in 0..TRIES {
        assert_eq!(waits(&world, &json!({"amount": 5})).await, approval);
    }
    let decisions = world.all_records().into_iter().filter(|record| record["kind"] == "decision").count();
    assert!((2..=7).contains(&decisions), "{decisions} records of {TRIES} tries");
    approve(&world, BOB, &approval).await.expect("approved");
    answers(&world);
    let (code, ..) = make(&world, echo(&world, &json!({"amount": 5}))).await;
    assert_eq!(code, None);
}
