//! The token of a hop: what it says, whom it proves, and whom not.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use vidimus_core::call::Destination;
use vidimus_core::caller::{Caller, Chain, MAX_DEPTH, Proven, UnixMillis, User};
use vidimus_core::entity::EntityId;
use vidimus_core::permit::Permit;
use vidimus_core::refusal::Code;
use vidimus_core::resource::{Origin, Principal, check};
use vidimus_core::snapshot::Snapshot;
use vidimus_identity::{KEY_LEAD, KEY_LIFE, KEY_LOOK, KeyFileError, Mint, MintError};
use vidimus_testkit::issuer::compact;
use vidimus_testkit::permit::permit;

use crate::world::{BOT, HOPS, World, code, merged, now, peer};

fn entity(text: &str) -> EntityId {
    text.parse().unwrap()
}

pub(crate) fn chain(actors: &[&str]) -> Chain {
    Chain {
        transaction: "txn-1".into(),
        started: UnixMillis(1_700_000_000_123),
        actors: actors.iter().copied().map(entity).collect(),
    }
}

/// Of an issuer that invoice-bot and summarizer act for.
fn anna() -> User {
    User {
        issuer: "urn:vidimus:local".into(),
        subject: "anna".into(),
        email: Some("anna@example.com".into()),
        groups: ["approvers".into(), "staff".into()].into(),
    }
}

/// Invoice-bot, for `user`, at the end of `chain`.
fn invoice_bot(world: &World, user: Option<User>, chain: &Chain) -> Caller {
    let principal = Principal::Agent(world.snapshot.agent("finance/invoice-bot").unwrap().clone());
    let proven =
        Proven { principal, identity: BOT.into(), user, delegated: None, instance: None, expires: None };
    Caller { proven: Arc::new(proven), chain: Arc::new(chain.clone()) }
}

fn agent(world: &World, name: &str) -> Destination {
    Destination::Agent(world.snapshot.agent(&format!("finance/{name}")).unwrap().clone())
}

/// The token of a call to summarizer by invoice-bot, for Anna.
pub(crate) fn minted(world: &World, mint: &Mint, chain: &Chain) -> String {
    let caller = invoice_bot(world, Some(anna()), chain);
    mint_for(mint, &permit(&caller, &agent(world, "summarizer"), "call-1"), 120)
}

fn mint_for(mint: &Mint, permit: &Permit, seconds: u64) -> String {
    token(&mint.mint(permit, now(), Duration::from_secs(seconds)).unwrap())
}

/// A token of a hop from invoice-bot for Anna, signed with the mint's own key, with these claims in place of the right ones. So
/// it can say what no permit gives.
fn signed(world: &World, over: Value) -> String {
    let mut claims = merged(good(), over);
    // An absent user is not one that is null.
    claims.as_object_mut().unwrap().retain(|name, value| name != "sub_id" || !value.is_null());
    jsonwebtoken::encode(&header(world), &claims, &own_key(world)).unwrap()
}

/// The same with the right claims, and exactly these members besides `alg` and `kid`.
pub(crate) fn with_header(world: &World, over: &Value) -> String {
    let own = json!({ "alg": "ES256", "kid": header(world).kid });
    let mut header = merged(own, over.clone());
    header.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&header), encode(&good()));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &own_key(world), Algorithm::ES256).unwrap();
    format!("{message}.{signature}")
}

fn good() -> Value {
    json!({
        "iss": HOPS, "sub": "anna", "aud": "x", "dst": "Agent/finance/summarizer", "email": "anna@example.com",
        "groups": ["staff", "approvers"],
        "sub_id": { "format": "iss_sub", "iss": "urn:vidimus:local", "sub": "anna" },
        "act": { "sub": "Agent/finance/invoice-bot" }, "depth": 1, "txn": "t", "txn_iat": 1, "jti": "j",
        "iat": now().0 / 1000, "exp": now().0 / 1000 + 60,
    })
}

fn header(world: &World) -> Header {
    let kid = published(&world.mint).first().cloned();
    Header { typ: Some("at+jwt".to_owned()), kid, ..Header::new(Algorithm::ES256) }
}

fn own_key(world: &World) -> EncodingKey {
    EncodingKey::from_ec_pem(&std::fs::read(world.directory.path().join("hop-key.pem")).unwrap()).unwrap()
}

fn token(hop: &vidimus_identity::HopToken) -> String {
    hop.header_value.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

/// The claims of a token, whoever signed it.
fn payload(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// As a resource server elsewhere reads it: another library, the published keys, the destination's own audience.
fn read_elsewhere(mint: &Mint, token: &str) -> (Header, Value) {
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&mint.jwks()).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = set.find(header.kid.as_deref().unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["http://summarizer.finance:8080/"]);
    validation.set_issuer(&[HOPS]);
    let key = DecodingKey::from_jwk(key).unwrap();
    let data = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap();
    (data.header, data.claims)
}

#[test]
fn it_is_an_access_token_that_others_can_read() {
    let world = World::new();
    let chain = chain(&["Service/finance/reporting", "Agent/finance/tenant"]);
    let token = minted(&world, &world.mint, &chain);
    let (header, claims) = read_elsewhere(&world.mint, &token);
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    let issued = claims["iat"].as_i64().unwrap();
    let jti = claims["jti"].as_str().unwrap();
    assert_eq!(jti.len(), 16);
    let expected = json!({
        "iss": HOPS,
        "sub": "urn:vidimus:local#anna",
        "sub_id": { "format": "iss_sub", "iss": "urn:vidimus:local", "sub": "anna" },
        "email": "anna@example.com",
        "groups": ["approvers", "staff"],
        "client_id": "Agent/finance/invoice-bot",
        "aud": "http://summarizer.finance:8080/",
        "dst": "Agent/finance/summarizer",
        "dst_ids": claims["dst_ids"],
        "act": {
            "sub": "Agent/finance/invoice-bot",
            "act": { "sub": "Agent/finance/tenant", "act": { "sub": "Service/finance/reporting" } },
        },
        "depth": 3,
        "txn": "txn-1",
        "txn_iat": 1_700_000_000_123_i64,
        "jti": jti,
        "iat": issued,
        "exp": issued + 120,
    });
    assert_eq!(claims, expected);
}

#[test]
fn without_a_user_the_first_actor_is_the_subject() {
    let world = World::new();
    for (prior, subject) in [
        (chain(&[]), "Agent/finance/invoice-bot"),
        (chain(&["Service/finance/reporting"]), "Service/finance/reporting"),
    ] {
        let permit = permit(&invoice_bot(&world, None, &prior), &agent(&world, "summarizer"), "call-1");
        let (_, claims) = read_elsewhere(&world.mint, &mint_for(&world.mint, &permit, 1));
        assert_eq!((claims["sub"].as_str(), claims.get("sub_id")), (Some(subject), None));
    }
}

/// A tool and a model learn who the user is, and not the address.
#[test]
fn the_email_goes_only_to_those_who_may_call_on() {
    let world = World::new();
    let server = world.snapshot.mcp_server("finance/ledger").unwrap().clone();
    let provider = world.snapshot.llm_provider("platform/openai").unwrap().clone();
    for (destination, given) in [
        (agent(&world, "summarizer"), true),
        (Destination::Server(server), false),
        (Destination::Provider(provider), false),
    ] {
        let permit = permit(&invoice_bot(&world, Some(anna()), &chain(&[])), &destination, "call-1");
        let claims = payload(&mint_for(&world.mint, &permit, 60));
        assert_eq!(claims["dst"], destination.id().to_string());
        let identities = match &destination {
            Destination::Agent(agent) => Some(agent.identities.len()),
            _ => None,
        };
        let marks = claims.get("dst_ids").map(|marks| marks.as_array().unwrap().len());
        assert_eq!(marks, identities, "{destination:?}");
        assert_eq!(claims["aud"], &*destination.endpoint().unwrap().audience);
        assert_eq!(claims.get("email").is_some(), given, "{destination:?}");
    }
}

#[tokio::test]
async fn the_agent_it_was_minted_for_continues_the_chain() {
    let world = World::new();
    let token = minted(&world, &world.mint, &chain(&["Service/finance/reporting"]));
    let proven = world.bearer(&token).await.unwrap();
    assert_eq!(proven.principal.entity().to_string(), "Agent/finance/summarizer");
    assert_eq!(&*proven.identity, "hop:Agent/finance/summarizer");
    assert_eq!(proven.user, Some(anna()));
    let expected = chain(&["Service/finance/reporting", "Agent/finance/invoice-bot"]);
    assert_eq!(proven.delegated, Some(expected.clone()));
    assert_eq!(expected.depth(), 3);
    let claims = payload(&token);
    assert_eq!(proven.expires, Some(UnixMillis(claims["exp"].as_i64().unwrap() * 1000)));

    // And on: the next hop keeps the transaction, its beginning and the user.
    let caller = Caller { proven: proven.clone(), chain: Arc::new(expected.clone()) };
    let permit_of = |name: &str| permit(&caller, &agent(&world, name), "call-2");
    let next = world.bearer(&mint_for(&world.mint, &permit_of("invoice-bot"), 60)).await.unwrap();
    let delegated = next.delegated.as_ref().unwrap();
    assert_eq!(delegated.depth(), 4);
    assert_eq!((&*delegated.transaction, delegated.started), ("txn-1", UnixMillis(1_700_000_000_123)));
    assert_eq!(next.user, Some(anna()));

    // Nobody acts for people of issuers that its record does not list, also where a chain brings them (ADR 6).
    let of_tenant = mint_for(&world.mint, &permit_of("tenant"), 60);
    assert_eq!(code(&world.bearer(&of_tenant).await), Err(Code::UserNotAllowed));
}

/// Two people of one name, and one who is named like an agent, are three to an upstream, and none of them is the agent.
#[test]
fn the_subject_is_qualified_by_its_issuer() {
    let world = World::new();
    let user = |issuer: &str, subject: &str| {
        Some(User { issuer: issuer.into(), subject: subject.into(), email: None, groups: Arc::default() })
    };
    let mut subjects = std::collections::BTreeSet::new();
    let people = [
        user("https://a.example", "alice"),
        user("https://b.example", "alice"),
        user("https://a.example", "Agent/finance/invoice-bot"),
        user("https://a.example", "https://b.example#alice"),
        user("urn:vidimus:local", "Agent/finance/invoice-bot"),
        None,
    ];
    for person in people.clone() {
        let permit =
            permit(&invoice_bot(&world, person, &chain(&[])), &agent(&world, "summarizer"), "call-1");
        let claims = payload(&mint_for(&world.mint, &permit, 60));
        subjects.insert(claims["sub"].as_str().unwrap().to_owned());
    }
    assert_eq!(subjects.len(), people.len(), "{subjects:?}");
}

#[tokio::test]
async fn a_chain_that_is_too_deep_is_refused_as_that() {
    let world = World::new();
    let nested = |actors: usize| {
        (0..actors).fold(Value::Null, |act, _| match act {
            Value::Null => json!({ "sub": "Agent/finance/invoice-bot" }),
            act => json!({ "sub": "Agent/finance/invoice-bot", "act": act }),
        })
    };
    let token = |actors: usize| signed(&world, json!({ "act": nested(actors), "depth": actors }));
    assert_eq!(code(&world.bearer(&token(MAX_DEPTH)).await), Ok("Agent/finance/summarizer".to_owned()));
    assert_eq!(code(&world.bearer(&token(MAX_DEPTH + 1)).await), Err(Code::DelegationTooDeep));
}

/// An agent out of use is out of use at once, also as one that acted before: whoever it called goes no further for it.
#[tokio::test]
async fn a_chain_goes_on_only_through_those_who_may_still_act() {
    let mut world = World::new();
    let objects = crate::world::objects(&world.issuer.issuer(), &world.foreign.issuer());
    let snapshot = |objects: &[Value]| {
        let objects = objects.iter().map(|object| check(&Origin::default(), object).unwrap()).collect();
        Snapshot::build(objects).0
    };
    type Change = fn(&mut Vec<Value>, &str);
    fn named<'a>(objects: &'a mut [Value], name: &str) -> &'a mut Value {
        objects.iter_mut().find(|object| object["metadata"]["name"] == name).unwrap()
    }
    let changes: [(&str, Change, &str); 5] = [
        ("quarantined", |all, name| named(all, name)["spec"]["quarantined"] = json!(true), "is quarantined"),
        (
            "removed",
            |all, name| all.retain(|one| one["metadata"]["name"] != name),
            "is not registered any more",
        ),
        (
            "of a contested name",
            |all, name| {
                let twice = named(all, name).clone();
                all.push(twice);
            },
            "has a name that several records have",
        ),
        (
            "of a contested identity",
            |all, name| {
                let mut thief = named(all, name).clone();
                thief["metadata"]["name"] = json!("thief");
                all.push(thief);
            },
            "has an identity that several records claim",
        ),
        (
            "of another kind now",
            |all, name| {
                let mut other = json!({
                    "apiVersion": "vidimus.dev/v1alpha1", "kind": "ServiceIdentity",
                    "metadata": { "name": name, "namespace": "finance" },
                    "spec": { "owner": "first.last@example.com", "team": "finance", "riskLevel": "low",
                          "identities": [{ "spiffe": "spiffe://corp.example/other" }] },
                });
                if named(all, name)["kind"] == "ServiceIdentity" {
                    other["kind"] = json!("Agent");
                    other["spec"]["purpose"] = json!("a test");
                }
                *named(all, name) = other;
            },
            "is not registered any more",
        ),
    ];
    // At the beginning, in the middle and at the end of the chain; the caller, summarizer, is none of them.
    let chain = chain(&["Service/finance/reporting", "Agent/finance/tenant"]);
    let token = minted(&world, &world.mint, &chain);
    for actor in ["Service/finance/reporting", "Agent/finance/tenant", "Agent/finance/invoice-bot"] {
        let name = actor.rsplit('/').next().unwrap();
        for (what, change, why) in changes {
            // It is known, so what is kept of it is not believed either.
            world.snapshot = snapshot(&objects);
            assert_eq!(code(&world.bearer(&token).await), Ok("Agent/finance/summarizer".to_owned()));
            let mut changed = objects.clone();
            change(&mut changed, name);
            world.snapshot = snapshot(&changed);
            let refusal = world.bearer(&token).await.expect_err(what);
            assert_eq!(refusal.code, Code::ActorRevoked, "{actor} {what}");
            assert!(refusal.message.contains(actor) && refusal.message.contains(why), "{what}: {refusal}");
            assert_eq!(&*refusal.proven.unwrap().identity, "hop:Agent/finance/summarizer");
        }
    }
    // Nothing of that is said of those who are not in the chain.
    let mut changed = objects.clone();
    named(&mut changed, "twice")["spec"]["quarantined"] = json!(true);
    world.snapshot = snapshot(&changed);
    assert_eq!(code(&world.bearer(&token).await), Ok("Agent/finance/summarizer".to_owned()));
    // A chain that an issuer names is one too (RFC 8693): here its first actor is quarantined.
    let foreign = world.token(json!({ "sub": "anna", "act": { "sub": "bot-1", "act": { "sub": "bot-2" } } }));
    assert_eq!(code(&world.bearer(&foreign).await), Ok("Agent/finance/invoice-bot".to_owned()));
    let mut changed = objects.clone();
    named(&mut changed, "summarizer")["spec"]["quarantined"] = json!(true);
    world.snapshot = snapshot(&changed);
    assert_eq!(code(&world.bearer(&foreign).await), Err(Code::ActorRevoked));
}

/// A name that was given to somebody else is not proven by a token that the one before got: all that it was registered by must be
/// there still. What is added beside it changes nothing.
#[tokio::test]
async fn it_does_not_outlive_the_identities_that_it_was_minted_for() {
    let mut world = World::new();
    let (issuer, foreign) = (world.issuer.issuer(), world.foreign.issuer());
    let token = minted(&world, &world.mint, &chain(&[]));
    let (good, spiffe) =
        (json!({ "oidc": { "issuer": issuer, "subject": "bot-2" } }), "spiffe://corp.example/summarizer");
    let summarizer = || Ok("Agent/finance/summarizer".to_owned());
    for (name, identities, expected) in [
        ("as it was", json!([good, { "spiffe": spiffe }]), summarizer()),
        ("in another order", json!([{ "spiffe": spiffe }, good]), summarizer()),
        (
            "one more",
            json!([good, { "spiffe": spiffe }, { "serviceAccount": { "name": "summarizer" } }]),
            summarizer(),
        ),
        ("one less", json!([good]), Err(Code::TokenDestination)),
        ("none", json!([]), Err(Code::TokenDestination)),
        (
            "another subject",
            json!([{ "oidc": { "issuer": issuer, "subject": "bot-3" } }, { "spiffe": spiffe }]),
            Err(Code::TokenDestination),
        ),
        (
            "another issuer",
            json!([{ "oidc": { "issuer": foreign, "subject": "bot-2" } }, { "spiffe": spiffe }]),
            Err(Code::TokenDestination),
        ),
        (
            "asking for a claim",
            json!([{ "oidc": { "issuer": issuer, "subject": "bot-2", "claims": { "tier": "1" } } }, { "spiffe": spiffe }]),
            Err(Code::TokenDestination),
        ),
        (
            "another workload",
            json!([good, { "spiffe": "spiffe://corp.example/other" }]),
            Err(Code::TokenDestination),
        ),
        ("as it was again", json!([good, { "spiffe": spiffe }]), summarizer()),
    ] {
        let mut objects = crate::world::objects(&issuer, &foreign);
        let summarizer = objects.iter_mut().find(|object| object["metadata"]["name"] == "summarizer");
        summarizer.unwrap()["spec"]["identities"] = identities;
        world.snapshot = crate::world::snapshot(&objects);
        assert_eq!(code(&world.bearer(&token).await), expected, "{name}");
    }
}

#[tokio::test]
async fn it_proves_nothing_of_anybody_else() {
    let world = World::new();
    let to = |destination: &str| signed(&world, json!({ "dst": destination }));
    let summarizer = peer("spiffe://corp.example/summarizer");
    let stranger = peer("spiffe://corp.example/stranger");
    let cases = [
        ("a tool", to("Tool/finance/ledger/get_invoice"), None, Err(Code::TokenDestination)),
        ("a server", to("MCPServer/finance/ledger"), None, Err(Code::TokenDestination)),
        ("a model", to("Model/platform/openai/gpt"), None, Err(Code::TokenDestination)),
        ("an agent's skill", to("Skill/finance/summarizer/sum"), None, Err(Code::TokenDestination)),
        ("an agent that is gone", to("Agent/finance/gone"), None, Err(Code::PrincipalUnknown)),
        ("a service by an agent's name", to("Service/finance/summarizer"), None, Err(Code::PrincipalUnknown)),
        ("a service that acts for nobody", to("Service/finance/reporting"), None, Err(Code::UserNotAllowed)),
        (
            "a service, for nobody",
            signed(&world, json!({ "dst": "Service/finance/reporting", "sub_id": null })),
            None,
            Ok("Service/finance/reporting".to_owned()),
        ),
        (
            "the agent, by its SVID",
            to("Agent/finance/summarizer"),
            Some(&summarizer),
            Ok("Agent/finance/summarizer".to_owned()),
        ),
        ("another's SVID", to("Agent/finance/invoice-bot"), Some(&summarizer), Err(Code::TokenDestination)),
        ("nobody's SVID", to("Agent/finance/summarizer"), Some(&stranger), Err(Code::PrincipalUnknown)),
    ];
    for (name, token, peer, expected) in cases {
        let result = world.at(Some(&token), peer, 0).await;
        assert_eq!(code(&result), expected, "{name}");
        if let (Ok(proven), Some(peer)) = (result, peer) {
            assert_eq!(&*proven.identity, peer.spiffe_id.as_str(), "{name}");
            assert_eq!(proven.user, Some(anna()), "{name}");
        }
    }
    // The caller's own SVID beside the token it was minted from: not the destination.
    let token = to("Agent/finance/summarizer");
    assert_eq!(code(&world.both(&token, &peer(BOT)).await), Err(Code::TokenDestination));
}

#[tokio::test]
async fn it_ends_after_two_minutes() {
    let world = World::new();
    let token = minted(&world, &world.mint, &chain(&[]));
    assert!(world.at(Some(&token), None, 118).await.is_ok());
    assert_eq!(code(&world.at(Some(&token), None, 120).await), Err(Code::TokenExpired));
}

#[test]
fn what_must_not_be_minted_is_not() {
    let world = World::new();
    let mint = |chain: &Chain, destination: &Destination, ttl: u64| {
        let permit = permit(&invoice_bot(&world, None, chain), destination, "call-1");
        world.mint.mint(&permit, now(), Duration::from_millis(ttl)).map(|_| ())
    };
    let summarizer = agent(&world, "summarizer");
    let maximal = chain(&["Agent/a/b"; MAX_DEPTH - 1]);
    let laundered = chain(&["Tool/finance/ledger/x"]);
    assert_eq!(mint(&maximal, &summarizer, 120_000), Ok(()));
    // A longer one has no permit: it is refused as too deep before.
    for ttl in [0, 999, 120_001] {
        let expected = MintError::Ttl { ttl: Duration::from_millis(ttl) };
        assert_eq!(mint(&chain(&[]), &summarizer, ttl), Err(expected));
    }
    let entity = entity("Tool/finance/ledger/x");
    assert_eq!(mint(&laundered, &summarizer, 1000), Err(MintError::NotAnActor { entity }));

    let mut nowhere = (**world.snapshot.agent("finance/summarizer").unwrap()).clone();
    nowhere.endpoint = None;
    let destination = nowhere.id.clone();
    let nowhere = Destination::Agent(Arc::new(nowhere));
    assert_eq!(mint(&chain(&[]), &nowhere, 1000), Err(MintError::NoEndpoint { destination }));
}

/// Text in names cannot become structure in the token.
#[test]
fn names_are_escaped() {
    let world = World::new();
    let user = User {
        issuer: "https://x\"".into(),
        subject: "a\",\"sub\":\"admin".into(),
        email: None,
        groups: Arc::default(),
    };
    let mut other = (**world.snapshot.agent("finance/summarizer").unwrap()).clone();
    other.id = entity("Agent/a/b\",\"dst\":\"Agent/x/y");
    let caller = invoice_bot(&world, Some(user), &chain(&[]));
    let permit = permit(&caller, &Destination::Agent(Arc::new(other)), "call-1");
    let (_, claims) = read_elsewhere(&world.mint, &mint_for(&world.mint, &permit, 60));
    assert_eq!(claims["sub"], "https://x\"#a\",\"sub\":\"admin");
    assert_eq!(claims["dst"], "Agent/a/b\",\"dst\":\"Agent/x/y");
}

#[test]
fn debug_does_not_print_it() {
    let world = World::new();
    let permit = permit(&invoice_bot(&world, None, &chain(&[])), &agent(&world, "summarizer"), "call-1");
    let minted = world.mint.mint(&permit, now(), Duration::from_secs(60)).unwrap();
    assert!(minted.header_value.is_sensitive());
    assert!(!format!("{minted:?}").contains("eyJ"), "{minted:?}");
    let key = std::fs::read_to_string(world.directory.path().join("hop-key.pem")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    for printed in [format!("{:?}", world.mint), format!("{:?}", world.gate), world.mint.jwks()] {
        assert!(!printed.contains(secret) && !printed.contains("\"d\""), "{printed}");
    }
}

/// Signed with our own key, so that only the claims can be at fault.
#[tokio::test]
async fn claims_of_our_own_are_not_believed_blindly() {
    let world = World::new();
    let cases = [
        (json!({}), Ok("Agent/finance/summarizer".to_owned())),
        (json!({ "depth": 2 }), Err(Code::TokenMalformed)),
        (json!({ "depth": 0, "act": null }), Err(Code::TokenMalformed)),
        (json!({ "act": { "sub": "Tool/a/b/c" } }), Err(Code::TokenMalformed)),
        (json!({ "act": { "sub": "somebody" } }), Err(Code::TokenMalformed)),
        (json!({ "dst": "summarizer" }), Err(Code::TokenMalformed)),
        (json!({ "dst_ids": [] }), Ok("Agent/finance/summarizer".to_owned())),
        (json!({ "dst_ids": ["x"] }), Err(Code::TokenDestination)),
        (json!({ "dst_ids": "x" }), Err(Code::TokenMalformed)),
        (json!({ "dst_ids": [1] }), Err(Code::TokenMalformed)),
        (json!({ "dst": null }), Err(Code::TokenMalformed)),
        (json!({ "txn": "" }), Err(Code::TokenMalformed)),
        (json!({ "txn_iat": "1" }), Err(Code::TokenMalformed)),
        (json!({ "sub_id": { "format": "email", "email": "x@y" } }), Err(Code::TokenMalformed)),
        (json!({ "sub_id": { "format": "iss_sub", "iss": "x" } }), Err(Code::TokenMalformed)),
    ];
    for (over, expected) in cases {
        let token = signed(&world, over.clone());
        assert_eq!(code(&world.bearer(&token).await), expected, "{over}");
    }
}

#[tokio::test]
async fn a_forged_one_is_refused() {
    let world = World::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let impostor = Mint::open(elsewhere.path(), HOPS).unwrap();
    let forged = minted(&world, &impostor, &chain(&[]));
    assert_eq!(code(&world.bearer(&forged).await), Err(Code::TokenKeyUnknown));

    let good = minted(&world, &world.mint, &chain(&[]));
    let parts: Vec<&str> = good.split('.').collect();
    let spliced = format!("{}.{}.{}", parts[0], forged.split('.').nth(1).unwrap(), parts[2]);
    assert_eq!(code(&world.bearer(&spliced).await), Err(Code::TokenSignature));
    let unsigned = compact(r#"{"alg":"none","typ":"at+jwt"}"#, &json!({ "iss": HOPS }).to_string(), b"");
    assert_eq!(code(&world.bearer(&unsigned).await), Err(Code::TokenAlgorithm));
}

/// The key ids that others are told.
pub(crate) fn published(mint: &Mint) -> Vec<String> {
    let set: Value = serde_json::from_str(&mint.jwks()).unwrap();
    let keys = set.get("keys").and_then(Value::as_array).unwrap();
    keys.iter().map(|key| key.get("kid").and_then(Value::as_str).unwrap().to_owned()).collect()
}

/// The key id that a token is signed with.
pub(crate) fn signer(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

#[tokio::test]
async fn one_key_follows_another_by_itself() {
    let world = World::new();
    let mint = &world.mint;
    // One base for all: a busy machine lets more than a second pass between two turns.
    let base = now().0;
    let at = |after: Duration| UnixMillis(base + i64::try_from(after.as_millis()).unwrap());
    let second = Duration::from_secs(1);
    let turn = |after: Duration| mint.turn_keys(at(after)).unwrap();
    turn(Duration::ZERO);
    let first = published(mint);
    assert_eq!(first.len(), 1);
    turn(KEY_LIFE - KEY_LEAD - second);
    assert_eq!(published(mint), first);
    turn(KEY_LIFE - KEY_LEAD);
    let both = published(mint);
    assert!(
        both.len() == 2 && both[0] == first[0],
        "the next one is published, the first one signs: {both:?}"
    );
    let early = minted(&world, mint, &chain(&[]));
    assert_eq!(signer(&early), first[0]);
    turn(KEY_LIFE - second);
    assert_eq!(published(mint), both);
    let old = minted(&world, mint, &chain(&[]));
    assert!(world.bearer(&old).await.is_ok());

    // Another process of the same directory, and one that is started now, have the same keys.
    let other = Mint::open(world.directory.path(), HOPS).unwrap();
    turn(KEY_LIFE);
    let turned = published(mint);
    assert_eq!(turned, [both[1].clone(), both[0].clone()], "the old one stays published");
    let newer = minted(&world, mint, &chain(&[]));
    assert_eq!(signer(&newer), both[1]);
    for token in [&old, &newer] {
        assert!(world.bearer(token).await.is_ok());
        read_elsewhere(mint, token);
    }
    read_elsewhere(&other, &newer);
    other.turn_keys(at(KEY_LIFE + second)).unwrap();
    assert_eq!(signer(&minted(&world, &other, &chain(&[]))), both[1]);
    assert_eq!(published(&Mint::open(world.directory.path(), HOPS).unwrap()), turned);

    let last_token = Duration::from_secs(120 + 60);
    turn(KEY_LIFE + last_token);
    assert_eq!(published(mint), turned, "a token of 120 s may be presented under a clock that differs");
    turn(KEY_LIFE + last_token + KEY_LOOK);
    assert_eq!(published(mint), [both[1].clone()]);
    assert_eq!(code(&world.bearer(&old).await), Err(Code::TokenKeyUnknown));
    assert!(world.bearer(&newer).await.is_ok());
}

#[test]
fn keys_are_few_whenever_they_are_looked_at_and_none_signs_before_it_was_known() {
    let world = World::new();
    let mint = &world.mint;
    let hour = 3_600_000;
    let mut time = now().0;
    let mut known = std::collections::HashMap::new();
    // Looked at every hour, every ten days, once in a year, and by a clock that was set back.
    let steps = std::iter::repeat_n(hour, 24 * 40)
        .chain(std::iter::repeat_n(240 * hour, 12))
        .chain(std::iter::repeat_n(24 * 366 * hour, 4))
        .chain([-24 * 400 * hour])
        .chain(std::iter::repeat_n(hour, 24 * 3));
    let mut signed = std::collections::BTreeSet::new();
    for step in steps {
        time += step;
        mint.turn_keys(UnixMillis(time)).unwrap();
        let keys = published(mint);
        assert!((1..=3).contains(&keys.len()), "{keys:?}");
        for key in &keys {
            known.entry(key.clone()).or_insert(time);
        }
        let signer = keys[0].clone();
        if signed.insert(signer.clone()) && signed.len() > 1 {
            let lead = i64::try_from(KEY_LEAD.as_millis()).unwrap();
            assert!(
                time - known[&signer] >= lead,
                "it signs {} ms after it was known",
                time - known[&signer]
            );
        }
    }
    assert!(signed.len() >= 5, "{}", signed.len());
}

/// Four that share a directory, as processes do, turn its keys at the same moments. Whatever one of them signed with is published
/// by all, until its last token has ended.
#[test]
fn keys_that_several_turn_at_once_stay_published_until_their_last_token_ends() {
    const PROCESSES: usize = 4;
    const SUCCESSIONS: usize = 25;
    let directory = tempfile::tempdir().unwrap();
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap();
    let last_token = millis(Duration::from_secs(120 + 60));
    // One that makes the next key, one that lets it follow, some while the old one's tokens run.
    let steps = [millis(KEY_LIFE - KEY_LEAD), millis(KEY_LEAD), 60_000, 60_000, 60_000, 60_001];
    let together = std::sync::Barrier::new(PROCESSES);
    // When each key signed last.
    let signed = std::sync::Mutex::new(std::collections::BTreeMap::new());
    let process = || {
        let mint = Mint::open(directory.path(), HOPS).unwrap();
        let mut time = now().0 / 3_600_000 * 3_600_000;
        let mut faults = Vec::new();
        for step in std::iter::once(0).chain(steps.iter().copied().cycle().take(steps.len() * SUCCESSIONS)) {
            time += step;
            together.wait();
            let turned = mint.turn_keys(UnixMillis(time)).map_err(|error| error.to_string());
            let keys = published(&mint);
            signed.lock().unwrap().insert(keys.first().cloned().unwrap(), time);
            // All have turned, and signed, before any looks.
            together.wait();
            let signed = signed.lock().unwrap();
            let running = signed.iter().filter(|(_, last)| time <= **last + last_token);
            let hidden: Vec<_> = running.filter(|(key, _)| !keys.contains(key)).collect();
            if turned.is_err() || !hidden.is_empty() {
                faults.push(format!("{turned:?}, of {keys:?} not published {hidden:?}"));
            }
        }
        faults
    };
    let faults: Vec<Vec<String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(process)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(faults.iter().all(Vec::is_empty), "{faults:#?}");
    assert_eq!(signed.into_inner().unwrap().len(), SUCCESSIONS + 1);
}

#[test]
fn a_turn_that_was_interrupted_is_taken_up() {
    let world = World::new();
    let (mint, path) = (&world.mint, world.directory.path());
    let at = |after: Duration| UnixMillis(now().0 + i64::try_from(after.as_millis()).unwrap());
    mint.turn_keys(at(Duration::ZERO)).unwrap();
    mint.turn_keys(at(KEY_LIFE)).unwrap();
    let both = published(mint);
    // The next key is in its place, and the schedule is still about the one before.
    let before = std::fs::read(path.join("hop-keys.json")).unwrap();
    mint.turn_keys(at(KEY_LIFE + KEY_LEAD)).unwrap();
    assert_eq!(published(mint)[0], both[1]);
    let mut half: Value =
        serde_json::from_slice(&std::fs::read(path.join("hop-keys.json")).unwrap()).unwrap();
    let before: Value = serde_json::from_slice(&before).unwrap();
    for member in ["current", "since", "next_since"] {
        half[member] = before[member].clone();
    }
    std::fs::write(path.join("hop-keys.json"), half.to_string()).unwrap();
    let reopened = Mint::open(path, HOPS).unwrap();
    assert_eq!(published(&reopened), [both[1].clone(), both[0].clone()]);
    reopened.turn_keys(at(KEY_LIFE + KEY_LEAD + Duration::from_secs(1))).unwrap();
    assert_eq!(published(&reopened), [both[1].clone(), both[0].clone()]);
    reopened.turn_keys(at(KEY_LIFE + KEY_LEAD + Duration::from_secs(600))).unwrap();
    assert_eq!(published(&reopened), [both[1].clone()], "it signs on, as one that has just begun");
    std::fs::write(path.join("hop-keys.json"), "{").unwrap();
    assert!(matches!(Mint::open(path, HOPS), Err(KeyFileError::Content { .. })));
}

#[test]
fn its_key_is_made_once_and_kept_private() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("data/identity");
    let opened: Vec<_> = std::thread::scope(|scope| {
        let open = || scope.spawn(|| Mint::open(&inner, HOPS).unwrap().jwks());
        let threads: Vec<_> = (0..8).map(|_| open()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(opened.iter().all(|jwks| *jwks == opened[0]), "one winner");
    let mut files: Vec<_> =
        std::fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["hop-key.pem", "hop-keys.lock"], "nothing is left over");
    let path = inner.join("hop-key.pem");
    let mode = |mode: u32| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    mode(0o644);
    assert!(matches!(Mint::open(&inner, HOPS), Err(KeyFileError::Exposed { mode: 0o644, .. })));
    mode(0o660);
    assert!(matches!(Mint::open(&inner, HOPS), Err(KeyFileError::Exposed { mode: 0o660, .. })));
    mode(0o600);
    for broken in ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        std::fs::write(&path, broken).unwrap();
        assert!(matches!(Mint::open(&inner, HOPS), Err(KeyFileError::Content { .. })), "{broken}");
    }
    std::fs::write(&path, vec![b'x'; 100_000]).unwrap();
    assert!(matches!(Mint::open(&inner, HOPS), Err(KeyFileError::Io { .. })));
}
