//! What policies have records keep of calls, sealed; and what becomes of it when the keys are destroyed.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use vidimus_core::act::{Act, Shred};
use vidimus_core::clock::Clock as _;
use vidimus_core::keep::{KeptPayload, MAX_KEPT, PayloadOf};
use vidimus_core::refusal::Code;
use vidimus_gateway::{Place, Plain, Unread, millis};
use vidimus_identity::TokenRequest;
use vidimus_testkit::upstream::Answer;

use super::acts::{ADMIN, follow_with};
use super::changes::{CARD, result_of};
use super::redis::Redis;
use super::replicas;
use super::world::{World, call_id};

const ADA: &str = "User/urn:vidimus:local#ada";
const BOT: &str = "Agent/t/caller";
const KEEPS: &str = r#"@keep("arguments, answer")
    permit (principal, action == Action::"invokeTool", resource == Tool::"t/tools/echo");"#;

/// The objects, of which the caller acts for people, and this policy.
fn with(world: &World, text: &str) -> Vec<Value> {
    let mut all = super::changes::with(world, text);
    for object in &mut all {
        if object["metadata"]["name"] == "caller" {
            object["spec"]["actsFor"] = json!([{ "issuer": "urn:vidimus:local" }]);
        }
    }
    all
}

async fn world(text: &str) -> World {
    let world = World::new().await;
    world.gate.take_into_use(super::world::snapshot(&with(&world, text)));
    world
}

/// A call of `echo` with these arguments, for a person or for nobody.
fn echo(world: &World, person: Option<&str>, arguments: &Value) -> Request<Full<Bytes>> {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}});
    let mut request = world.request(Method::POST, "/mcp/t/tools", &call);
    if person.is_some() {
        let now = millis(world.clock.now().wall);
        let ttl = Duration::from_secs(600);
        let asked = TokenRequest { subject: "caller", user: person, audience: "vidimus", ttl, now };
        let token = world.identity.token(&asked).expect("a token");
        let value = format!("Bearer {}", secrecy::ExposeSecret::expose_secret(&token));
        request.headers_mut().insert("authorization", HeaderValue::from_str(&value).expect("a header"));
    }
    request
}

/// Makes a call, which is answered with this, and gives its id and its records.
async fn made(world: &World, request: Request<Full<Bytes>>, answer: &Value) -> (String, Vec<Value>) {
    world.upstream.next(Answer::json(answer));
    let (status, headers, body) = world.call(request).await;
    assert_eq!(status, 200, "{body:?}");
    let id = call_id(&headers);
    let records = world.records(&id, 2).await;
    (id, records)
}

fn kept(record: &Value) -> KeptPayload {
    serde_json::from_value(record["kept"].clone()).unwrap_or_else(|error| panic!("{error}: {record}"))
}

/// What a record keeps, as another process reads it that has the keys.
fn read(world: &World, whose: &str, id: &str, of: PayloadOf, record: &Value) -> Result<String, Unread> {
    let place = Place { origin: world.gate.ledger.origin(), call: id, of };
    match world.payload_keys().open(whose, place, &kept(record))? {
        Plain::Whole(bytes) => Ok(String::from_utf8(bytes).expect("text")),
        Plain::Digest(digest) => Ok(format!("{digest:?}")),
    }
}

fn shred(subject: &str) -> Act {
    Act::Shred(Shred { keys: Vec::new(), records: 0, subject: subject.parse().expect("a subject") })
}

/// The log is whole: its last checkpoint is of what is there, and every record has its proof.
async fn is_intact(world: &World) {
    world.gate.ledger.close().await;
    let report = vidimus_ledger::verify(&world.ledger(), &vidimus_ledger::Options::default());
    let report = report.expect("verified");
    assert!(report.intact(), "{report:?}");
}

#[tokio::test]
async fn a_payload_is_kept_where_a_policy_says_so_and_nowhere_else() {
    let world = world(KEEPS).await;
    let secret = json!({"iban": "DE89370400440532013000"});
    let (id, records) =
        made(&world, echo(&world, None, &secret), &result_of(&json!(1), &json!({"paid": "4711"}))).await;
    assert_eq!(read(&world, BOT, &id, PayloadOf::Arguments, &records[0]).expect("read"), secret.to_string());
    let answer = read(&world, BOT, &id, PayloadOf::Answer, &records[1]).expect("read");
    assert!(answer.contains("4711"), "{answer}");
    assert!(!json!(records).to_string().contains("DE89") && !json!(records).to_string().contains("4711"));
    assert_eq!(records[0]["policies"].as_array().map(Vec::len), Some(2), "all that permit it");
    // Another call of the same agent, which no such policy is about.
    let body = json!({"model": "small", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let (_, headers, _) =
        world.call(world.request(Method::POST, "/llm/t/models/v1/chat/completions", &body)).await;
    let records = world.records(&call_id(&headers), 2).await;
    assert!(records.iter().all(|record| record.get("kept").is_none()), "{records:?}");
    // Nor of one that is refused.
    let forbid = format!("{KEEPS} forbid (principal, action, resource == Tool::\"t/tools/echo\");");
    world.gate.take_into_use(super::world::snapshot(&with(&world, &forbid)));
    let (_, headers, _) = world.call(echo(&world, None, &secret)).await;
    let records = world.records(&call_id(&headers), 1).await;
    assert_eq!((records[0]["outcome"].clone(), records[0].get("kept")), (json!("deny"), None));
}

/// The key is the person's for whom the call is made, and the agent's where it is made for nobody.
#[tokio::test]
async fn each_person_has_a_key_of_its_own() {
    let world = world(KEEPS).await;
    let answer = result_of(&json!(1), &json!({"ok": true}));
    let (own, of_bot) = made(&world, echo(&world, None, &json!({"a": 1})), &answer).await;
    let (for_ada, of_ada) = made(&world, echo(&world, Some("ada"), &json!({"a": 2})), &answer).await;
    assert_eq!(of_ada[0]["user"], "urn:vidimus:local#ada");
    assert_ne!(kept(&of_bot[0]).key, kept(&of_ada[0]).key);
    assert_eq!(kept(&of_ada[0]).key, kept(&of_ada[1]).key, "one for the call and its answer");
    let arguments = PayloadOf::Arguments;
    assert_eq!(read(&world, ADA, &for_ada, arguments, &of_ada[0]).expect("read"), r#"{"a":2}"#);
    assert!(matches!(read(&world, BOT, &for_ada, arguments, &of_ada[0]), Err(Unread::NoKey)));
    // Attack: what was kept of the one call, in the place of the other's.
    assert!(matches!(read(&world, ADA, &own, arguments, &of_ada[0]), Err(Unread::Forged)));
    assert!(matches!(read(&world, ADA, &for_ada, PayloadOf::Answer, &of_ada[0]), Err(Unread::Forged)));
}

/// Attack: a value that a policy redacts, kept all the same.
#[tokio::test]
async fn what_is_redacted_is_redacted_in_what_is_kept() {
    let redacts = format!(
        "{KEEPS} @redact(\"/card\") @redact_answer(\"/card\") forbid (principal, action == Action::\"invokeTool\", resource);"
    );
    let world = world(&redacts).await;
    let answered = result_of(&json!(vidimus_testkit::upstream::ANSWERED), &json!({"card": CARD, "ok": true}));
    let (id, records) =
        made(&world, echo(&world, None, &json!({"card": CARD, "to": "ada"})), &answered).await;
    let arguments = read(&world, BOT, &id, PayloadOf::Arguments, &records[0]).expect("read");
    assert_eq!(arguments, r#"{"card":"[redacted]","to":"ada"}"#);
    let answer = read(&world, BOT, &id, PayloadOf::Answer, &records[1]).expect("read");
    assert!(answer.contains("[redacted]") && !answer.contains(CARD), "{answer}");
    // What cannot be told from the rest is not kept.
    let text = json!({"card": "none", "note": {"x": 1}});
    let in_text = redacts.replace("/card\") @redact_answer", "/note/x\") @redact_answer");
    world.gate.take_into_use(super::world::snapshot(&with(&world, &in_text)));
    let hidden = json!({"note": "{\"x\":1}"});
    for (arguments, unkept) in [(&text, None), (&hidden, Some("hidden"))] {
        let answered = result_of(&json!(vidimus_testkit::upstream::ANSWERED), &json!({"ok": true}));
        let (_, records) = made(&world, echo(&world, None, arguments), &answered).await;
        assert_eq!(kept(&records[0]).unkept.as_deref(), unkept, "{records:?}");
    }
}

#[tokio::test]
async fn a_stream_is_kept_as_it_passed_and_what_is_too_long_by_its_length() {
    let world = world(KEEPS).await;
    let event = result_of(&json!(1), &json!({"ok": true}));
    world.upstream.next(Answer::whole("text/event-stream", format!("data: {event}\n\n")));
    let (_, headers, body) = world.call(echo(&world, None, &json!({}))).await;
    let id = call_id(&headers);
    let records = world.records(&id, 2).await;
    assert_eq!(read(&world, BOT, &id, PayloadOf::Answer, &records[1]).expect("read").as_bytes(), &body[..]);
    let long = "x".repeat(MAX_KEPT);
    let (id, records) =
        made(&world, echo(&world, None, &json!({"a": long})), &result_of(&json!(1), &json!({"b": long})))
            .await;
    let (said, answered) = (kept(&records[0]), kept(&records[1]));
    assert_eq!((said.too_long, said.key, said.sealed, said.bytes), (true, None, None, MAX_KEPT as u64 + 8));
    assert!(answered.too_long && answered.bytes > MAX_KEPT as u64, "{answered:?}");
    assert!(
        read(&world, BOT, &id, PayloadOf::Answer, &records[1]).expect("read").starts_with('['),
        "its digest"
    );
    assert!(records.iter().all(|record| record.to_string().len() < 4096), "bounded");
}

/// What a policy has on record is, or the call does not pass.
#[tokio::test]
async fn without_a_key_nothing_passes() {
    let world = world(KEEPS).await;
    made(&world, echo(&world, None, &json!({})), &result_of(&json!(1), &json!({}))).await;
    let [file] = &world.payload_key_files()[..] else { panic!("one key") };
    let root = file.ancestors().nth(2).expect("a directory");
    std::fs::remove_dir_all(root).expect("removed");
    std::fs::write(root, "in the way").expect("written");
    let before = world.upstream.received().len();
    let (_, headers, _) = world.call(echo(&world, Some("ada"), &json!({}))).await;
    assert_eq!(headers["vidimus-code"], "ledger_closed");
    assert_eq!(world.upstream.received().len(), before, "nothing went out");
}

/// What stops all that is to be kept is named, and is not told any more once it is mended.
#[tokio::test]
async fn a_damaged_key_of_names_is_named_where_readiness_and_a_shred_are_asked() {
    let world = world(KEEPS).await;
    let root = world.ledger().with_file_name("payload-keys");
    std::fs::DirBuilder::new().mode(0o700).create(&root).expect("made");
    let naming = root.join("naming");
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&naming);
    file.and_then(|mut file| file.write_all(b"bad")).expect("written");
    assert_eq!(world.gate.shared.why_unkept().await, None, "nobody asked");
    let (_, headers, _) = world.call(echo(&world, Some("ada"), &json!({}))).await;
    assert_eq!(headers["vidimus-code"], "ledger_closed");
    let why = world.gate.shared.why_unkept().await.expect("said");
    assert!(why.contains("payload-keys/naming"), "{why}");
    std::fs::remove_file(&naming).expect("removed");
    assert_eq!(world.gate.shared.why_unkept().await, None);
    made(&world, echo(&world, Some("ada"), &json!({})), &result_of(&json!(1), &json!({}))).await;
    // A shred that cannot be done names the file, and is no fault of Vidimus.
    std::fs::remove_dir_all(&root).expect("removed");
    std::fs::write(&root, "in the way").expect("written");
    let refused = world.gate.shared.act(ADMIN, shred(ADA), "request").await.expect_err("refused");
    assert!(refused.message.contains("payload-keys"), "{refused:?}");
    assert!(!refused.next().contains("fault of Vidimus"), "{refused:?}");
}

#[tokio::test]
async fn what_is_shredded_is_read_by_nobody_and_the_log_is_whole() {
    let world = world(KEEPS).await;
    follow_with(&world, &with(&world, KEEPS));
    let answer = result_of(&json!(1), &json!({"ok": true}));
    let (id, of_ada) = made(&world, echo(&world, Some("ada"), &json!({"a": 1})), &answer).await;
    let (own, of_bot) = made(&world, echo(&world, None, &json!({"a": 2})), &answer).await;
    let refused = world.gate.shared.act(ADMIN, shred("User/urn:vidimus:local#nobody"), "request 1").await;
    assert_eq!(refused.expect_err("nothing to destroy").code, Code::ActUnfit);
    let refused = world.gate.shared.act(ADMIN, shred(ADA), " ").await;
    assert_eq!(refused.expect_err("why is not said").code, Code::MessageInvalid);
    assert!(read(&world, ADA, &id, PayloadOf::Answer, &of_ada[1]).is_ok(), "as it was");
    let done = world.gate.shared.act(ADMIN, shred(ADA), "erasure request 4711").await.expect("done");
    for (of, record) in [(PayloadOf::Arguments, &of_ada[0]), (PayloadOf::Answer, &of_ada[1])] {
        assert!(matches!(read(&world, ADA, &id, of, record), Err(Unread::NoKey)));
    }
    assert!(read(&world, BOT, &own, PayloadOf::Arguments, &of_bot[0]).is_ok());
    let act = &world.recorded(&done.id)[0];
    assert_eq!((&act["actor"], &act["why"]), (&json!(ADMIN), &json!("erasure request 4711")));
    let shredded = &act["act"]["shred"];
    assert_eq!((&shredded["subject"], &shredded["records"]), (&json!(ADA), &json!(256)));
    assert_eq!(shredded["keys"], json!([kept(&of_ada[0]).key]));
    // Whoever calls after it has another key, and what was kept before is as gone.
    let (later, records) = made(&world, echo(&world, Some("ada"), &json!({"a": 3})), &answer).await;
    assert_ne!(kept(&records[0]).key, kept(&of_ada[0]).key);
    assert!(read(&world, ADA, &later, PayloadOf::Arguments, &records[0]).is_ok());
    assert!(matches!(read(&world, ADA, &id, PayloadOf::Answer, &of_ada[1]), Err(Unread::NoKey)));
    is_intact(&world).await;
}

/// Attack: a call that is under way while the keys are destroyed, whose answer comes after it.
#[tokio::test]
async fn what_a_call_under_way_is_answered_is_not_kept_under_another_key() {
    let world = world(KEEPS).await;
    let (answer, stream) = Answer::stream("text/event-stream");
    world.upstream.next(answer);
    let response = world.send(echo(&world, Some("ada"), &json!({"a": 1}))).await;
    let id = call_id(response.headers());
    assert!(stream.event(&result_of(&json!(1), &json!({"b": CARD})).to_string()).await);
    world.gate.shared.act(ADMIN, shred(ADA), "request").await.expect("done");
    drop(stream);
    let body = response.into_body().collect().await.expect("whole").to_bytes();
    assert!(String::from_utf8_lossy(&body).contains(CARD), "the call goes on");
    let records = world.records(&id, 2).await;
    assert_eq!(kept(&records[1]), KeptPayload::unkept("shredded"));
    assert!(matches!(read(&world, ADA, &id, PayloadOf::Arguments, &records[0]), Err(Unread::NoKey)));
}

/// Calls and acts at once: whatever the order, no payload of before the last act is read after it, and all that came later is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_and_shreds_at_once_leave_nothing_behind() {
    let world = world(KEEPS).await;
    world.upstream.otherwise(|_| Answer::json(&result_of(&json!(1), &json!({"ok": true}))));
    world.call(echo(&world, Some("ada"), &json!({}))).await;
    let calls = async {
        let mut ids = Vec::new();
        for number in 0..60 {
            let (status, headers, _) = world.call(echo(&world, Some("ada"), &json!({"n": number}))).await;
            assert_eq!(status, 200);
            assert!(!headers.contains_key("vidimus-code"), "a shred refuses no call: {headers:?}");
            ids.push(call_id(&headers));
        }
        ids
    };
    let acts = async {
        for _ in 0..10 {
            // Between two calls there may be none.
            match world.gate.shared.act(ADMIN, shred(ADA), "again").await {
                Ok(_) => {}
                Err(refusal) => assert_eq!(refusal.code, Code::ActUnfit, "{refusal}"),
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    let (ids, ()) = tokio::join!(calls, acts);
    let _ = world.gate.shared.act(ADMIN, shred(ADA), "the last").await;
    for id in &ids {
        for (record, of) in world.records(id, 2).await.iter().zip([PayloadOf::Arguments, PayloadOf::Answer]) {
            if kept(record).sealed.is_some() {
                let read = read(&world, ADA, id, of, record);
                assert!(matches!(read, Err(Unread::NoKey)), "{id} {of}: {read:?}");
            }
        }
    }
    assert_eq!(world.payload_key_files(), Vec::<std::path::PathBuf>::new());
    let (id, records) = made(
        &world,
        echo(&world, Some("ada"), &json!({})),
        &json!({"jsonrpc": "2.0", "id": 1, "result": {}}),
    )
    .await;
    assert!(read(&world, ADA, &id, PayloadOf::Arguments, &records[0]).is_ok());
    is_intact(&world).await;
}

/// A stop between the keys going out of use and their end.
#[tokio::test]
async fn what_a_stop_left_is_destroyed_at_the_next_start() {
    let world = world(KEEPS).await;
    let (id, records) =
        made(&world, echo(&world, Some("ada"), &json!({"a": 1})), &result_of(&json!(1), &json!({}))).await;
    // As far as the act of a gateway that was killed then.
    drop(world.payload_keys().set_aside(ADA).expect("aside").expect("keys"));
    assert_eq!(world.payload_key_files().len(), 1);
    world.gate.shared.end_shredding().await;
    assert_eq!(world.payload_key_files(), Vec::<std::path::PathBuf>::new());
    assert!(matches!(read(&world, ADA, &id, PayloadOf::Arguments, &records[0]), Err(Unread::NoKey)));
    let acts: Vec<Value> = world.all_records().into_iter().filter(|record| record["kind"] == "act").collect();
    assert_eq!(acts.len(), 1);
    assert_eq!((&acts[0]["actor"], &acts[0]["act"]["shred"]["subject"]), (&json!("vidimus"), &json!(ADA)));
    world.gate.shared.end_shredding().await;
    assert_eq!(world.all_records().iter().filter(|record| record["kind"] == "act").count(), 1, "once");
}

/// Two gateways with one store, which keep.
async fn two() -> (Redis, World, World) {
    let (redis, one, other) = replicas::two().await;
    for world in [&one, &other] {
        follow_with(world, &with(world, KEEPS));
    }
    (redis, one, other)
}

/// Makes a call for ada that is kept, once what keeps is in force.
async fn made_kept(world: &World) -> (String, Vec<Value>) {
    for _ in 0..500 {
        let made = made(world, echo(world, Some("ada"), &json!({})), &result_of(&json!(1), &json!({}))).await;
        if made.1[0].get("kept").is_some() {
            return made;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing is kept");
}

/// The acts on record that destroy keys, once there are so many.
async fn shreds(world: &World, count: usize) -> Vec<Value> {
    for _ in 0..1_000 {
        let records = world.all_records();
        let shreds: Vec<Value> =
            records.into_iter().filter(|record| record["act"].get("shred").is_some()).collect();
        if shreds.len() >= count {
            return shreds;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("there are not {count} on record");
}

/// Attack: an act that destroyed keys is read again from the list that gateways share, where it comes back after an answer that was lost, or the
/// list is taken up anew: what was kept since goes with it.
#[tokio::test]
async fn an_act_that_is_read_again_destroys_nothing_that_was_kept_since() {
    let (redis, one, other) = two().await;
    let before = [made_kept(&one).await, made_kept(&other).await];
    let done = one.gate.shared.act(ADMIN, shred(ADA), "request").await.expect("done");
    let known = |world: &World| world.gate.acts.standing().agreed.clone().expect("agreed");
    for world in [&one, &other] {
        shreds(world, 1).await;
    }
    let since = [made_kept(&one).await, made_kept(&other).await];
    let mut again = one.recorded(&done.id)[0].clone();
    again.as_object_mut().expect("an act").remove("shared");
    let era = known(&one).era;
    redis.add_act(&era, &done.id, &done.id, &again.to_string()).await;
    // The same with another id, as one that nobody knows any more: of a time that is long over.
    again["id"] = json!("forgotten");
    again["time"] = json!("2020-01-01T00:00:00.000000Z");
    redis.add_act(&era, &done.id, "forgotten", &again.to_string()).await;
    for (world, ((id, was), (later, is))) in [&one, &other].into_iter().zip(before.iter().zip(&since)) {
        shreds(world, 3).await;
        for _ in 0..1_000 {
            if known(world).last == "forgotten" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(known(world).last, "forgotten");
        assert!(matches!(read(world, ADA, id, PayloadOf::Arguments, &was[0]), Err(Unread::NoKey)));
        assert!(read(world, ADA, later, PayloadOf::Arguments, &is[0]).is_ok());
        assert_ne!(made_kept(world).await.1[0]["kept"].get("key"), None, "in memory as well");
    }
}

/// Attack: the store is emptied while a gateway is away, so that it never hears that keys were destroyed.
#[tokio::test]
async fn an_act_that_destroys_keys_is_not_lost_with_the_store() {
    let (redis, one, other) = two().await;
    made_kept(&one).await;
    let done = one.gate.shared.act(ADMIN, shred(ADA), "request").await.expect("done");
    shreds(&other, 1).await;
    let era = |world: &World| world.gate.acts.standing().agreed.as_ref().map(|known| known.era.clone());
    let before = era(&one);
    redis.flush().await;
    for _ in 0..2_000 {
        if era(&one) != before && era(&one) == era(&other) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let third = World::sharing(redis.address(), Some(&one)).await;
    assert_eq!(shreds(&third, 1).await[0]["id"], json!(done.id));
}

/// Attack: a start ends what a stop left, and takes what was kept since with it, here and at the other gateways.
#[tokio::test]
async fn what_a_start_ends_is_about_the_keys_that_were_out_of_use_and_no_others() {
    let (_redis, one, other) = two().await;
    let (here, of_here) = made_kept(&one).await;
    let (there, of_there) = made_kept(&other).await;
    let [file] = &one.payload_key_files()[..] else { panic!("one key") };
    let folder = file.parent().expect("a folder");
    let key = std::fs::read(file).expect("read");
    drop(one.payload_keys().set_aside(ADA).expect("aside").expect("keys"));
    // A key that is in use since.
    std::fs::DirBuilder::new().mode(0o700).create(folder).expect("made");
    let since = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    since.expect("made").write_all(&key).expect("written");
    assert_eq!(one.payload_key_files().len(), 2);
    one.gate.shared.end_shredding().await;
    assert_eq!(one.payload_key_files(), std::slice::from_ref(file));
    assert!(read(&one, ADA, &here, PayloadOf::Arguments, &of_here[0]).is_ok());
    for world in [&one, &other] {
        assert_eq!(shreds(world, 1).await[0]["actor"], json!("vidimus"));
    }
    assert!(read(&other, ADA, &there, PayloadOf::Arguments, &of_there[0]).is_ok());
}

/// Each gateway has keys of its own, and an act at one reaches those of the others.
#[tokio::test]
async fn a_shred_at_one_gateway_reaches_the_keys_of_the_others() {
    let (_redis, one, other) = two().await;
    let of = [made_kept(&one).await, made_kept(&other).await];
    one.gate.shared.act(ADMIN, shred(ADA), "request").await.expect("done");
    for _ in 0..1000 {
        if other.payload_key_files().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (world, (id, records)) in [&one, &other].into_iter().zip(&of) {
        assert!(matches!(read(world, ADA, id, PayloadOf::Arguments, &records[0]), Err(Unread::NoKey)));
        let acts = world.all_records().into_iter().filter(|record| record["act"].get("shred").is_some());
        assert_eq!(acts.count(), 1);
    }
}
