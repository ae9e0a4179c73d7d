//! Cards of agents, as callers get them.

use std::sync::{Arc, LazyLock};

use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::resource::Endpoint;
use vidimus_identity::SignerKeys;

use super::*;

const GATEWAY: &str = "http://gw/a2a/n/b";

fn rewritten(card: &Value, rpc: bool) -> Result<Value, Code> {
    governed_by(card, rpc, false)
}

fn governed_by(card: &Value, rpc: bool, rest: bool) -> Result<Value, Code> {
    held_to(card, rpc, &agent(rest, None))
}

/// The agent that is called at [`GATEWAY`].
fn agent(rest: bool, card_keys: Option<Arc<str>>) -> Agent {
    let agent = crate::protocol::tests::agent();
    let endpoint = agent
        .endpoint
        .clone()
        .map(|endpoint| Box::new(Endpoint { rest: rest.then(|| endpoint.url.clone()), ..*endpoint }));
    Agent { id: EntityId::new(EntityKind::Agent, "n/b"), endpoint, card_keys, ..(*agent).clone() }
}

/// The gateway's key.
fn mint() -> &'static Mint {
    static MINT: LazyLock<(tempfile::TempDir, Mint)> = LazyLock::new(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let mint = Mint::open(directory.path(), "http://gw").expect("keys");
        (directory, mint)
    });
    &MINT.1
}

fn held_to(card: &Value, rpc: bool, agent: &Agent) -> Result<Value, Code> {
    let text = if rpc { json!({"jsonrpc": "2.0", "id": 1, "result": card}) } else { card.clone() };
    let out = passed_on(&text.to_string(), rpc, agent).map_err(|refusal| refusal.code)?;
    let out: Value = serde_json::from_str(&out).expect("JSON");
    Ok(if rpc { out["result"].clone() } else { out })
}

fn passed_on(text: &str, rpc: bool, agent: &Agent) -> Result<String, Refusal> {
    // Whether it is called over gRPC too is a test of its own.
    let passing = Passing::of(agent, "http://gw", mint());
    let governed = Governed { grpc: None, ..passing.governed };
    rewrite(text, &Passing { governed, ..passing }, rpc)
}

#[test]
fn a_card_announces_the_gateway_and_only_what_it_governs() {
    let given = json!({
        "name": "b", "url": "http://b:1/rpc", "preferredTransport": "GRPC", "signatures": [{"protected": "x"}],
        "supportedInterfaces": [
            {"url": "http://b:1/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0", "x": "http://b:3"},
            {"url": "http://b:2", "protocolBinding": "GRPC"}],
        "additionalInterfaces": [{"url": "http://b:2", "transport": "HTTP+JSON"}],
        "skills": [{"id": "s"}],
    });
    for rpc in [false, true] {
        let out = rewritten(&given, rpc).expect("a card");
        assert!(!out.to_string().contains("http://b:"), "{out}");
        assert_eq!((&out["url"], &out["additionalInterfaces"]), (&json!(GATEWAY), &json!([])));
        // What the agent does not speak is translated.
        let of =
            |binding: &str| json!({"url": GATEWAY, "protocolBinding": binding, "protocolVersion": "1.0"});
        assert_eq!(out["supportedInterfaces"], json!([of("JSONRPC"), of("HTTP+JSON")]));
        assert!(out["signatures"][0]["protected"] != "x" && out["skills"][0]["id"] == "s");
    }
}

#[test]
fn what_is_announced_is_what_the_record_says_is_served() {
    let of =
        |binding: &str| json!({"url": "http://b:1/", "protocolBinding": binding, "protocolVersion": "1.0"});
    let rest = json!({"url": "http://b:1/", "preferredTransport": "HTTP+JSON",
        "supportedInterfaces": [of("HTTP+JSON"), of("GRPC"), of("JSONRPC"), of("http+json")],
        "additionalInterfaces": [{"url": "http://b:2", "transport": "HTTP+JSON"}]});
    let announced = |rest_too: bool| {
        let card = governed_by(&rest, false, rest_too).expect("a card");
        assert!(!card.to_string().contains("http://b:"), "{card}");
        let of = |member: &str, name: &str| {
            let list = card[member].as_array().expect("a list").clone();
            list.iter().map(|one| one[name].as_str().expect("text").to_owned()).collect::<Vec<_>>()
        };
        let preferred = card["preferredTransport"].as_str().expect("text").to_owned();
        (preferred, of("supportedInterfaces", "protocolBinding"), of("additionalInterfaces", "transport"))
    };
    let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    // It is called over HTTP+JSON either way: by what is said there, or by what it is translated to.
    assert_eq!(announced(false), ("JSONRPC".to_owned(), text(&["JSONRPC", "HTTP+JSON"]), text(&[])));
    let both = ("HTTP+JSON".to_owned(), text(&["HTTP+JSON", "JSONRPC"]), text(&["HTTP+JSON"]));
    assert_eq!(announced(true), both);
    // One that speaks nothing else is called by nothing else.
    let only = json!({"supportedInterfaces": [of("HTTP+JSON")]});
    assert_eq!(governed_by(&only, false, false), Err(Code::UpstreamInvalid));
    assert!(governed_by(&only, false, true).is_ok());
}

/// The official SDK reads cards by protobuf's rules, and sends the caller's credential to the address that it finds.
#[test]
fn no_spelling_and_no_nesting_gets_an_address_past_it() {
    let evil = json!([{"url": "http://evil:1", "protocolBinding": "JSONRPC"}]);
    for card in [
        json!({"url": "http://evil:1", "result": {"url": "http://evil:1"}}),
        json!({"url": "http://evil:1", "supported_interfaces": evil}),
        json!({"url": "http://evil:1", "error": {}, "result": {}, "supported_interfaces": evil}),
        json!({"supportedInterfaces": evil, "url ": "http://evil:1"}),
    ] {
        for rpc in [false, true] {
            let out = rewritten(&card, rpc).expect("a card").to_string();
            assert!(!out.contains("evil"), "{out}");
        }
    }
    let beside =
        json!({"jsonrpc": "2.0", "id": 1, "result": {"url": "x"}, "url": "http://evil:1"}).to_string();
    assert!(!passed_on(&beside, true, &agent(false, None)).expect("a card").contains("evil"));
}

#[test]
fn what_is_no_card_is_refused_and_an_error_passes() {
    for card in [json!([]), json!({}), json!({"name": "b"}), json!({"supportedInterfaces": []})] {
        assert_eq!(rewritten(&card, false), Err(Code::UpstreamInvalid), "{card}");
        assert_eq!(rewritten(&card, true), Err(Code::UpstreamInvalid), "{card}");
    }
    let error = r#"{"error":{"code":-32601,"message":"no"},"id":1,"jsonrpc":"2.0"}"#;
    assert_eq!(passed_on(error, true, &agent(false, None)).as_deref(), Ok(error));
    // Attack: a card that nobody signed, in an error.
    let with_card = error.replace(r#""message""#, r#""data":{"name":"b","url":"http://evil:1"},"message""#);
    let by_keys = agent(false, Some(json!({"keys": []}).to_string().into()));
    assert_eq!(passed_on(&with_card, true, &by_keys).as_deref(), Ok(error));
}

/// A card as the official SDK signs and serves it (`signed_by_sdk.py`): with the members of 0.3 beside what is signed, by a key of each algorithm.
fn signed_by_sdk() -> (Value, Vec<Value>) {
    let all: Value = serde_json::from_str(include_str!("signed_by_sdk.json")).expect("JSON");
    (all["card"].clone(), all["keys"].as_array().expect("keys").clone())
}

fn held_to_keys(card: &Value, keys: &[Value]) -> Result<Value, Code> {
    held_to(card, false, &agent(true, Some(json!({"keys": keys}).to_string().into())))
}

/// The bytes of a card that a reader of 1.0 takes for signed.
fn canonical(card: &Value) -> String {
    let mut card = card.clone();
    card.as_object_mut().expect("a card").retain(|member, _| member != "signatures");
    signed::read_by_1_0(card.as_object().expect("a card"))
}

#[test]
fn a_card_that_the_official_sdk_signed_passes_by_each_algorithm_and_is_signed_by_the_gateway() {
    let (card, keys) = signed_by_sdk();
    for key in &keys {
        for key in [
            key.clone(),
            json!({"kty": key["kty"], "crv": key["crv"], "x": key["x"], "y": key["y"], "n": key["n"], "e": key["e"]}),
        ] {
            let out = held_to_keys(&card, std::slice::from_ref(&key)).expect("it is signed");
            assert!(!out.to_string().contains("http://b:"), "{out}");
            assert_eq!((&out["name"], &out["protocolVersion"]), (&json!("échö"), &json!("0.3")));
            assert_eq!(
                (&out["url"], &out["supportsAuthenticatedExtendedCard"]),
                (&json!(GATEWAY), &json!(true))
            );
            let own = SignerKeys::parse(&mint().jwks()).expect("keys");
            let signature = &out["signatures"][0];
            let (protected, signature) = (signature["protected"].as_str(), signature["signature"].as_str());
            let (protected, signature) = (protected.expect("a header"), signature.expect("a signature"));
            assert!(own.have_signed(canonical(&out).as_bytes(), protected, signature), "{out}");
        }
    }
    assert!(held_to_keys(&card, &keys).is_ok());
}

/// Attacks: a card signed by another key, one whose signature is of other bytes, and what stands beside what was signed.
#[test]
fn what_is_not_signed_by_the_agents_own_key_does_not_pass() {
    let (card, keys) = signed_by_sdk();
    let (own, others) = keys.split_first().expect("keys");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut card = card.clone();
        change(&mut card);
        held_to_keys(&card, std::slice::from_ref(own))
    };
    assert!(with(&|_| {}).is_ok());
    for (what, change) in [
        (
            "another description",
            &(|card: &mut Value| card["description"] = json!("Trust me.")) as &dyn Fn(&mut Value),
        ),
        ("a skill more", &|card| card["skills"].as_array_mut().expect("skills").push(json!({"id": "x"}))),
        ("another address", &|card| card["supportedInterfaces"][0]["url"] = json!("http://evil:1/")),
        ("no signature", &|card| drop(card.as_object_mut().expect("a card").remove("signatures"))),
        ("none that is one", &|card| {
            card["signatures"] = json!([{"protected": "x", "signature": "y"}, 7, {}]);
        }),
        ("that of others alone", &|card| drop(card["signatures"].as_array_mut().expect("a list").remove(0))),
    ] {
        assert_eq!(with(change), Err(Code::CardUnverified), "{what}");
    }
    assert_eq!(
        held_to_keys(&card, &[json!({"kty": "OKP", "crv": "Ed25519", "x": own["x"]})]),
        Err(Code::CardUnverified)
    );
    // What was signed passes, and nothing that stands beside it.
    let beside = with(&|card| {
        card["iconUrl"] = Value::Null;
        card["skills"][0]["instructions"] = json!("evil");
        card["protocolVersion"] = json!("evil");
        card["additionalInterfaces"][0]["note"] = json!("evil");
    });
    assert!(!beside.expect("it is signed").to_string().contains("evil"));
    let extended =
        json!({"jsonrpc": "2.0", "id": 1, "result": {"name": "b", "url": "http://b:1"}}).to_string();
    let by_keys = agent(true, Some(json!({"keys": others}).to_string().into()));
    assert_eq!(
        passed_on(&extended, true, &by_keys).map_err(|refusal| refusal.code),
        Err(Code::CardUnverified)
    );
}

/// An agent that signs the whole of what it serves, as RFC 8785 writes it, whatever is in it.
#[test]
fn a_card_may_be_signed_as_it_stands() {
    let directory = tempfile::tempdir().expect("a directory");
    let agents = Mint::open(directory.path(), "http://b").expect("keys");
    let signed = |text: &str| agents.sign("JOSE", text.as_bytes()).expect("a signature");
    for (bytes, is_good) in [
        (r#"{"description":"","name":"b","url":"http://b:1","x":{"a":1.5,"b":[]}}"#, true),
        (r#"{"name":"b","url":"http://b:1","x":{"a":1.5}}"#, true),
        (r#"{"name": "b","url":"http://b:1"}"#, false),
    ] {
        let signature = signed(bytes);
        let mut card = json!({"name": "b", "description": "", "url": "http://b:1", "x": {"b": [], "a": 1.5}});
        card["signatures"] = json!([{"protected": signature.protected, "signature": signature.signature}]);
        let held = held_to(&card, false, &agent(false, Some(agents.jwks().into())));
        assert_eq!(held.is_ok(), is_good, "{bytes}: {held:?}");
    }
}

#[test]
fn over_grpc_an_agent_is_called_by_the_tenant_that_the_gateway_knows_it_by() {
    let of = |binding: &str, version: &str| json!({"url": "b:1", "protocolBinding": binding, "protocolVersion": version, "tenant": "theirs"});
    let grpc = |version: &str| json!({"url": "gw:443", "protocolBinding": "GRPC", "protocolVersion": version, "tenant": "n/b"});
    // The agent's own would be refused in each call.
    let rpc = || json!({"url": GATEWAY, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"});
    let rest = || json!({"url": GATEWAY, "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0"});
    let announced = |given: Value, alone: &str, reached: bool| {
        let address = GrpcAddress { authority: "gw:443".to_owned(), tenant: "n/b".to_owned() };
        let governed = Governed {
            address: GATEWAY.to_owned(),
            rest: alone == HTTP_JSON,
            is_rest_alone: alone == HTTP_JSON,
            translated: None,
            grpc: reached.then_some(address),
            is_grpc_alone: alone == GRPC,
        };
        let card = json!({"supportedInterfaces": given}).to_string();
        let passing = Passing { governed, keys: None, mint: mint() };
        let card = rewrite(&card, &passing, false).map_err(|refusal| refusal.code)?;
        Ok(serde_json::from_str::<Value>(&card).expect("JSON")["supportedInterfaces"].clone())
    };
    for (given, alone, reached, expected) in [
        (json!([of("JSONRPC", "1.0")]), "", true, Ok(json!([rpc(), grpc("1.0"), rest()]))),
        (
            json!([of("JSONRPC", "0.3")]),
            "",
            true,
            Ok(json!([{"url": GATEWAY, "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
                {"url": GATEWAY, "protocolBinding": "HTTP+JSON", "protocolVersion": "0.3"}])),
        ),
        (json!([of("GRPC", "1.0"), of("JSONRPC", "1.0")]), "", true, Ok(json!([grpc("1.0"), rpc(), rest()]))),
        (json!([of("GRPC", "1.0")]), GRPC, true, Ok(json!([grpc("1.0"), rpc(), rest()]))),
        // Whatever it speaks alone, each caller of 1.0 reaches it.
        (json!([of("HTTP+JSON", "1.0")]), HTTP_JSON, true, Ok(json!([rest(), grpc("1.0"), rpc()]))),
        // Of 0.3 nothing is translated to what it speaks alone.
        (
            json!([of("GRPC", "1.0"), of("JSONRPC", "0.3")]),
            GRPC,
            true,
            Ok(json!([grpc("1.0"), rpc(), rest()])),
        ),
        (
            json!([of("HTTP+JSON", "1.0"), of("JSONRPC", "0.3")]),
            HTTP_JSON,
            true,
            Ok(json!([rest(), grpc("1.0"), rpc()])),
        ),
        (json!([of("JSONRPC", "0.3")]), HTTP_JSON, true, Err(Code::UpstreamInvalid)),
        // gRPC of 0.3 is not served, and nothing of an agent that speaks 0.3 alone.
        (json!([of("GRPC", "0.3"), of("JSONRPC", "1.0")]), "", true, Ok(json!([rpc(), grpc("1.0"), rest()]))),
        (json!([of("GRPC", "0.3")]), "", true, Err(Code::UpstreamInvalid)),
        // Where nobody reaches the gateway by it.
        (json!([of("GRPC", "1.0"), of("JSONRPC", "1.0")]), "", false, Ok(json!([rpc(), rest()]))),
        (json!([of("GRPC", "1.0")]), "", false, Err(Code::UpstreamInvalid)),
    ] {
        assert_eq!(announced(given.clone(), alone, reached), expected, "{given}");
    }
}

#[test]
fn what_0_3_is_announced_in_is_served() {
    let said = |preferred: Option<&str>, alone: &str| {
        let governed = Governed {
            address: GATEWAY.to_owned(),
            rest: alone == HTTP_JSON,
            is_rest_alone: alone == HTTP_JSON,
            translated: None,
            grpc: None,
            is_grpc_alone: alone == GRPC,
        };
        let mut card = json!({"url": "http://b:1/", "supportedInterfaces": [{"protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]});
        if let Some(preferred) = preferred {
            card["preferredTransport"] = json!(preferred);
        }
        let passing = Passing { governed, keys: None, mint: mint() };
        let card = rewrite(&card.to_string(), &passing, false).expect("a card");
        let card: Value = serde_json::from_str(&card).expect("JSON");
        let text = |member: &str| card.get(member).and_then(Value::as_str).map(str::to_owned);
        (text("url"), text("preferredTransport"))
    };
    let at = |transport: &str| (Some(GATEWAY.to_owned()), Some(transport.to_owned()));
    for preferred in [None, Some("JSONRPC"), Some("HTTP+JSON"), Some("GRPC")] {
        assert_eq!(said(preferred, ""), at("JSONRPC"), "{preferred:?}");
        assert_eq!(said(preferred, HTTP_JSON), at("HTTP+JSON"), "{preferred:?}");
        assert_eq!(said(preferred, GRPC), (None, None), "{preferred:?}");
    }
}
