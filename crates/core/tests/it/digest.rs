//! The digest of a call is that of its exact action: the same for each try, another one for anything else.

use std::collections::HashMap;
use std::sync::Arc;

use vidimus_core::call::{Action, Arguments, Ask, Call, CallDigest, Content, SoFar, Target, step_digest};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis, User};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::json::Json;
use vidimus_core::resource::Principal;

use crate::generate::Dice;
use crate::world::{agent, server, service};

/// One action as data; `arguments` is JSON text, empty for none.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Deed {
    service: bool,
    principal: &'static str,
    user: Option<(&'static str, &'static str)>,
    action: Action,
    server: &'static str,
    name: &'static str,
    method: &'static str,
    arguments: String,
}

fn deed() -> Deed {
    Deed {
        service: false,
        principal: "x",
        user: Some(("https://i", "u0")),
        action: Action::InvokeTool,
        server: "s",
        name: "pay",
        method: "tools/call",
        arguments: r#"{"to":"bob","amount":5}"#.to_owned(),
    }
}

/// What may differ between two tries of one action.
#[derive(Clone, Copy)]
struct Circumstances {
    now: i64,
    depth: usize,
    email: Option<&'static str>,
    transaction: &'static str,
    identity: &'static str,
    address: Option<[u8; 4]>,
    streaming: bool,
}

const FIRST: Circumstances = Circumstances {
    now: 1,
    depth: 0,
    email: None,
    transaction: "t1",
    identity: "spiffe://a/x",
    address: None,
    streaming: false,
};

fn digest(deed: &Deed, circumstances: Circumstances) -> CallDigest {
    let user = deed.user.map(|(issuer, subject)| User {
        issuer: issuer.into(),
        subject: subject.into(),
        email: circumstances.email.map(Arc::from),
        groups: Arc::default(),
    });
    let principal = match deed.service {
        true => Principal::Service(Arc::new(service("a", deed.principal))),
        false => Principal::Agent(Arc::new(agent("a", deed.principal))),
    };
    let identity = circumstances.identity.into();
    let proven = Proven { principal, identity, user, delegated: None, instance: None, expires: None };
    let actors = vec![EntityId::new(EntityKind::Agent, "earlier/hop"); circumstances.depth];
    let started = UnixMillis(circumstances.now - 5);
    let chain = Chain { transaction: circumstances.transaction.into(), started, actors };
    let caller = Caller { proven: Arc::new(proven), chain: Arc::new(chain) };
    let server = Arc::new(server("a", deed.server));
    let target = match deed.action {
        Action::InvokeTool => Target::Tool { server: &server, name: deed.name },
        Action::ReadResource => Target::Resource { server: &server, uri: deed.name },
        Action::GetPrompt => Target::Prompt { server: &server, name: deed.name },
        _ => Target::Server(&server),
    };
    let parsed = (!deed.arguments.is_empty()).then(|| Json::parse(deed.arguments.as_bytes()).unwrap());
    let arguments = parsed.as_ref().map_or(Arguments::None, Arguments::Known);
    let Circumstances { now, streaming, address, .. } = circumstances;
    let ask = Ask { arguments, streaming, ..Ask::about(deed.method, deed.action, target) };
    let (now, source_ip) = (UnixMillis(now), address.map(Into::into));
    Call { caller: &caller, ask, now, source_ip, so_far: SoFar::nothing(), approvals: &[] }.digest()
}

fn digest_of(caller: &Caller, ask: Ask<'_>) -> CallDigest {
    let so_far = SoFar::nothing();
    Call { caller, ask, now: UnixMillis(0), source_ip: None, so_far, approvals: &[] }.digest()
}

#[test]
fn a_task_and_where_news_of_it_go_are_part_of_what_is_done() {
    let agents = Arc::new(agent("a", "y"));
    let caller = crate::world::caller(
        &Principal::Agent(Arc::new(agent("a", "x"))),
        &Chain { transaction: "t".into(), started: UnixMillis(0), actors: Vec::new() },
        None,
    );
    let about = |method, task, push_url| {
        let ask = Ask { task, push_url, ..Ask::about(method, Action::CallAgent, Target::Agent(&agents)) };
        digest_of(&caller, ask)
    };
    let digests = [
        about("CancelTask", None, None),
        about("CancelTask", Some("1"), None),
        about("CancelTask", Some("2"), None),
        about("CancelTask", None, Some("1")),
        about("CancelTask", Some("1"), Some("1")),
    ];
    for (at, one) in digests.iter().enumerate() {
        assert!(digests.iter().skip(at + 1).all(|other| other != one), "{at}");
    }
    assert_eq!(about("CancelTask", Some("1"), None), about("CancelTask", Some("1"), None));
}

fn params<'a>(params: &'a Json<'a>) -> Content<'a> {
    Content { params: Some(params), ..Content::default() }
}

/// What is said to an agent or a model is part of what is done; the id of the message is not.
#[test]
fn what_a_message_says_is_part_of_what_is_done() {
    let agents = Arc::new(agent("a", "y"));
    let caller = crate::world::caller(
        &Principal::Agent(Arc::new(agent("a", "x"))),
        &Chain { transaction: "t".into(), started: UnixMillis(0), actors: Vec::new() },
        None,
    );
    let of = |text: &str| {
        let content = Json::parse(text.as_bytes()).unwrap();
        let about = Ask::about("SendMessage", Action::CallAgent, Target::Agent(&agents));
        let ask = Ask { content: params(&content), ..about };
        digest_of(&caller, ask)
    };
    let first =
        of(r#"{"message": {"messageId": "0c7a2f2e-93d1-4a3c-8a54-000000000001", "parts": [{"text": "a"}]}}"#);
    let again = r#"{"message": {"parts": [{"text": "a"}], "messageId": "0c7a2f2e93d14a3c8a54000000000002"}}"#;
    assert_eq!(first, of(again));
    let of_tool = |text: &str| {
        let server = Arc::new(server("a", "s"));
        let content = Json::parse(text.as_bytes()).unwrap();
        let about = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server: &server, name: "t" });
        digest_of(&caller, Ask { content: params(&content), ..about })
    };
    let with = |id: u32| format!(r#"{{"message": {{"messageId": "0c7a2f2e-93d1-4a3c-8a54-{id:012}"}}}}"#);
    assert_ne!(of_tool(&with(1)), of_tool(&with(2)), "only an agent's message has an id of its own");
    for other in [
        // An id that could say something does.
        r#"{"message": {"messageId": "pay M", "parts": [{"text": "a"}]}}"#,
        // What MCP says about a request is not A2A's.
        r#"{"message": {"parts": [{"text": "a"}]}, "_meta": {"progressToken": 1}}"#,
        r#"{"message": {"parts": [{"text": "a"}]}, "_meta": {"progressToken": "pay M"}}"#,
        r#"{"message": {"parts": [{"text": "a"}]}, "_meta": {"com.bank/account": "M"}}"#,
        r#"{"message": {"messageId": "1", "parts": [{"text": "b"}]}}"#,
        r#"{"message": {"messageId": "1", "parts": [{"text": "a"}], "contextId": "c"}}"#,
        r#"{"message": {"messageId": "1", "parts": [{"text": "a", "messageId": "1"}]}}"#,
        r#"{"message": {"messageId": "1", "parts": [{"text": "a"}]}, "metadata": {}}"#,
        r#""a""#,
    ] {
        assert_ne!(first, of(other), "{other}");
    }
}

#[test]
fn each_try_of_one_action_has_one_digest() {
    let first = digest(&deed(), FIRST);
    for again in [
        Circumstances { now: 9, ..FIRST },
        Circumstances { depth: 3, ..FIRST },
        Circumstances { email: Some("u@example.com"), ..FIRST },
        Circumstances { transaction: "t2", ..FIRST },
        Circumstances { identity: "oidc:https://i#x", ..FIRST },
        Circumstances { address: Some([10, 0, 0, 1]), ..FIRST },
        Circumstances { streaming: true, ..FIRST },
    ] {
        assert_eq!(digest(&deed(), again), first);
    }
    for spelling in [
        r#"{"amount":5,"to":"bob"}"#,
        "{ \"amount\" : 5.0,\n\t\"to\" : \"b\\u006fb\" }",
        r#"{"to":"bob","amount":5e0}"#,
        r#"{"to":"bob","amount":0.5e1}"#,
    ] {
        assert_eq!(digest(&Deed { arguments: spelling.to_owned(), ..deed() }, FIRST), first, "{spelling}");
    }
}

#[test]
fn the_text_of_a_digest_is_stable() {
    // Computed outside: printf '%s' '{"action":"invokeTool","arguments":{"amount":5,"to":"bob"},"method":"tools/call",
    // "principal":"Agent/a/x","target":"Tool/a/s/pay","user":{"issuer":"https://i","subject":"u0"},"version":3}' | sha256sum
    let wanted = "sha256:ca36221c4bd996c970dbd0ed9b418a9d6f9bead991eefb2e127a4e369f4b8a23";
    assert_eq!(digest(&deed(), FIRST).to_string(), wanted);
}

#[test]
fn another_action_has_another_digest() {
    let with = |arguments: &str| Deed { arguments: arguments.to_owned(), ..deed() };
    let deeds = [
        deed(),
        Deed { service: true, ..deed() },
        Deed { principal: "y", ..deed() },
        Deed { user: None, ..deed() },
        Deed { user: Some(("https://i", "u1")), ..deed() },
        Deed { user: Some(("https://j", "u0")), ..deed() },
        // Both are `a#b#c` when joined.
        Deed { user: Some(("a#b", "c")), ..deed() },
        Deed { user: Some(("a", "b#c")), ..deed() },
        Deed { action: Action::ReadResource, ..deed() },
        Deed { action: Action::GetPrompt, ..deed() },
        Deed { action: Action::ConnectServer, ..deed() },
        Deed { server: "t", ..deed() },
        Deed { name: "pay2", ..deed() },
        Deed { name: "pay/2", ..deed() },
        Deed { method: "tools/other", ..deed() },
        with(""),
        with("null"),
        with("{}"),
        with("[]"),
        with(r#""""#),
        with(r#"{"to":"bob"}"#),
        with(r#"{"to":"bob","amount":6}"#),
        with(r#"{"to":"bob","amount":"5"}"#),
        with(r#"{"to":"bob","amount":5,"more":null}"#),
        with(r#"{"to":"Bob","amount":5}"#),
        with(r#"{"to":"bob ","amount":5}"#),
        with(r#"{"to":["bob"],"amount":5}"#),
        with(r#"{"to":"bob","amount":[5]}"#),
        with(r#"{"to":"bob","amount":5.000000000000001}"#),
        with(r#"{"to":"bob","amount":9007199254740992}"#),
        with(r#"{"to":"bob","amount":9007199254740993}"#),
        with(r#"{"to":"bob","amount":9007199254740994}"#),
        // The same letter to a reader: one character, or two.
        with("{\"to\":\"b\u{f6}b\",\"amount\":5}"),
        with("{\"to\":\"bo\u{308}b\",\"amount\":5}"),
        // A member that looks like one of the digest's own.
        with(r#"{"user":{"issuer":"https://i","subject":"u1"}}"#),
    ];
    let mut seen = HashMap::new();
    for deed in deeds {
        if let Some(other) = seen.insert(digest(&deed, FIRST), deed.clone()) {
            panic!("{other:?}\n{deed:?}");
        }
    }
}

/// A JSON value whose equality is that of RFC 8785.
#[derive(Clone, PartialEq, Debug)]
enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Array(Vec<Value>),
    Object(std::collections::BTreeMap<String, Value>),
}

const NUMBERS: [f64; 9] = [0.0, 1.0, -1.0, 0.1, 1e21, 1e-7, 1.5, 9_007_199_254_740_992.0, 1e300];
const TEXTS: [&str; 9] = ["", "a", "b", "1", "é", "\n", "\"\\/", "\u{1f600}", "\u{e000}"];

fn some_value(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth == 0 { 4 } else { 6 }) {
        0 => Value::Null,
        1 => Value::Bool(dice.chance(50)),
        2 => Value::Number(NUMBERS[dice.below(NUMBERS.len())]),
        3 => Value::Text(dice.one(&TEXTS).to_owned()),
        4 => Value::Array((0..dice.below(3)).map(|_| some_value(dice, depth - 1)).collect()),
        _ => {
            let member = |dice: &mut Dice| (dice.one(&TEXTS).to_owned(), some_value(dice, depth - 1));
            Value::Object((0..dice.below(4)).map(|_| member(dice)).collect())
        }
    }
}

/// One of the ways in which the value can be written.
fn spelled(value: &Value, dice: &mut Dice) -> String {
    let text = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => match dice.below(3) {
            0 => format!("{number:e}"),
            1 if number.fract() == 0.0 => format!("{number:.1}"),
            _ => format!("{number}"),
        },
        Value::Text(text) => spelled_text(text, dice),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| spelled(item, dice)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(members) => {
            let mut spelled: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{}:{}", spelled_text(name, dice), spelled(value, dice)))
                .collect();
            for place in (1..spelled.len()).rev() {
                spelled.swap(place, dice.below(place + 1));
            }
            format!("{{{}}}", spelled.join(","))
        }
    };
    format!("{}{text}{}", dice.one(&["", " ", "\n", "\t"]), dice.one(&["", " ", "\r\n"]))
}

fn spelled_text(text: &str, dice: &mut Dice) -> String {
    let mut spelled = String::new();
    for c in text.chars() {
        let mut units = [0; 2];
        let plain = c >= ' ' && c != '"' && c != '\\';
        match dice.below(2) {
            0 if plain => spelled.push(c),
            _ => spelled.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}"))),
        }
    }
    format!("\"{spelled}\"")
}

#[test]
fn digests_are_equal_exactly_where_values_are() {
    let mut dice = Dice::new(11);
    let mut seen: HashMap<CallDigest, Value> = HashMap::new();
    let mut met_again = 0;
    for _ in 0..4_000 {
        let value = some_value(&mut dice, 3);
        let mut of_spelling = || {
            let arguments = spelled(&value, &mut dice);
            digest(&Deed { arguments, ..deed() }, FIRST)
        };
        let (one, two) = (of_spelling(), of_spelling());
        assert_eq!(one, two, "{value:?}");
        if let Some(other) = seen.insert(one, value.clone()) {
            assert_eq!(other, value);
            met_again += 1;
        }
    }
    // Every pair of different values was compared by way of the map.
    assert!(seen.len() > 500 && met_again > 500, "{} {met_again}", seen.len());
    let values: Vec<&Value> = seen.values().collect();
    assert!(values.iter().enumerate().all(|(place, value)| !values[..place].contains(value)));
}

/// What of a request's `_meta` is about the request, and ids of a message: good where it stands, and said like anything else elsewhere.
const OF_EACH_TRY: [(&str, &str); 5] = [
    ("traceparent", r#""00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01""#),
    ("progressToken", "7"),
    ("io.modelcontextprotocol/clientInfo", r#"{"name":"bot","version":"1"}"#),
    ("messageId", r#""67e55044-10b1-426f-9247-bb680e5fe0c8""#),
    ("messageId", "1"),
];
const SAID: [(&str, &str); 7] = [
    ("traceparent", r#""pay mallory""#),
    ("progressToken", r#""pay mallory""#),
    ("io.modelcontextprotocol/clientInfo", r#"{"account":"M"}"#),
    ("messageId", r#""pay mallory""#),
    ("x-env", r#"["sandbox"]"#),
    ("account", "null"),
    ("account", r#""M""#),
];

/// An object of such members, with the names of every place of a message among those of others.
fn some_object(dice: &mut Dice, depth: usize) -> serde_json::Value {
    let mut members = serde_json::Map::new();
    for _ in 0..dice.below(3) {
        let all: Vec<_> = OF_EACH_TRY.iter().chain(&SAID).collect();
        let (name, value) = *all[dice.below(all.len())];
        let places = ["params", "beside", "headers", "query", "_meta", "message", "arguments"];
        match dice.below(if depth == 0 { 1 } else { 2 }) {
            0 => members.insert(name.to_owned(), serde_json::from_str(value).unwrap()),
            _ => members.insert(dice.one(&places).to_owned(), some_object(dice, depth - 1)),
        };
    }
    serde_json::Value::Object(members)
}

/// What is said at each place, without exactly what may be left out there.
fn left(action: Action, places: &[Option<serde_json::Value>; 4]) -> String {
    let mut places = places.clone();
    places.iter_mut().flatten().for_each(serde_json::Value::sort_all_objects);
    let params = places[3].as_mut().and_then(serde_json::Value::as_object_mut);
    if let Some(params) = params {
        let at = if action == Action::CallAgent { "message" } else { "_meta" };
        let left_out = |name: &str, value: &serde_json::Value| {
            (name == "messageId") == (at == "message")
                && OF_EACH_TRY.contains(&(name, value.to_string().as_str()))
        };
        let inner = params.get_mut(at).and_then(serde_json::Value::as_object_mut);
        let is_empty = inner.is_some_and(|inner| {
            inner.retain(|name, value| !left_out(name, value));
            inner.is_empty()
        });
        if is_empty && at == "_meta" {
            params.remove(at);
        }
        if params.is_empty() {
            places[3] = None;
        }
    }
    format!("{action:?} {places:?}")
}

/// Nothing that a caller writes at one place of a message has the digest of what stands at another, and nothing is left out of a digest but
/// what has its known form in its place.
#[test]
fn calls_of_one_digest_say_the_same_at_each_place() {
    let (agents, tools) = (Arc::new(agent("a", "y")), Arc::new(server("a", "s")));
    let chain = Chain { transaction: "t".into(), started: UnixMillis(0), actors: Vec::new() };
    let caller = crate::world::caller(&Principal::Agent(Arc::new(agent("a", "x"))), &chain, None);
    let (mut dice, mut met_again) = (Dice::new(23), 0);
    let (mut approvals, mut steps) = (HashMap::new(), HashMap::new());
    for _ in 0..20_000 {
        let mut place = || dice.chance(40).then(|| some_object(&mut dice, 2));
        let places = [place(), place(), place(), place()];
        let texts = places.each_ref().map(|value| value.as_ref().map(ToString::to_string));
        let parsed =
            texts.each_ref().map(|text| text.as_ref().map(|text| Json::parse(text.as_bytes()).unwrap()));
        let [beside, headers, query, params] = parsed.each_ref().map(Option::as_ref);
        let content = Content { beside, headers, params, query };
        let action = [Action::InvokeTool, Action::ReadResource, Action::CallAgent][dice.below(3)];
        let target = match action {
            Action::InvokeTool => Target::Tool { server: &tools, name: "t" },
            Action::ReadResource => Target::Resource { server: &tools, uri: "u" },
            _ => Target::Agent(&agents),
        };
        let left = left(action, &places);
        if action == Action::InvokeTool {
            let step = step_digest("Tool/a/s/t", None, content);
            let other = steps.insert(step, left.clone());
            assert_eq!(other.as_ref().unwrap_or(&left), &left);
        }
        let digest = digest_of(&caller, Ask { content, ..Ask::about("m", action, target) });
        if let Some(other) = approvals.insert(digest, left.clone()) {
            assert_eq!(other, left);
            met_again += 1;
        }
    }
    // And nothing is digested that may be left out.
    let mut all: Vec<&String> = approvals.values().collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), approvals.len());
    assert!(all.len() > 1_000 && met_again > 1_000, "{} {met_again}", all.len());
}
