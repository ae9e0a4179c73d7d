//! The token of a hop: what it says, whom it proves, and whom not.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use vidimus_core::caller::{Chain, UnixMillis, User};
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::Code;
use vidimus_identity::{Hop, KeyFileError, MAX_ACTORS, Mint, MintError};
use vidimus_testkit::issuer::compact;

use crate::world::{BOT, HOPS, World, code, merged, now, peer};

fn entity(text: &str) -> EntityId {
    text.parse().unwrap()
}

fn chain(actors: &[&str]) -> Chain {
    Chain {
        transaction: "txn-1".into(),
        started: UnixMillis(1_700_000_000_123),
        actors: actors.iter().copied().map(entity).collect(),
    }
}

fn anna() -> User {
    User {
        issuer: "https://login.example".into(),
        subject: "anna".into(),
        email: Some("anna@example.com".into()),
    }
}

/// A hop from invoice-bot, for Anna, to `destination`.
fn minted(mint: &Mint, destination: &str, chain: &Chain) -> String {
    let (destination, caller, user) = (entity(destination), entity("Agent/finance/invoice-bot"), anna());
    let hop = Hop {
        audience: "http://summarizer.finance:8080/",
        destination: &destination,
        caller: &caller,
        user: Some(&user),
        chain,
        now: now(),
        ttl: Duration::from_secs(120),
    };
    token(&mint.mint(&hop).unwrap())
}

fn token(hop: &vidimus_identity::HopToken) -> String {
    hop.header_value.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned()
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
    let token = minted(&world.mint, "Agent/finance/summarizer", &chain);
    let (header, claims) = read_elsewhere(&world.mint, &token);
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    let issued = claims["iat"].as_i64().unwrap();
    let jti = claims["jti"].as_str().unwrap();
    assert_eq!(jti.len(), 16);
    let expected = json!({
        "iss": HOPS,
        "sub": "anna",
        "sub_id": { "format": "iss_sub", "iss": "https://login.example", "sub": "anna" },
        "email": "anna@example.com",
        "client_id": "Agent/finance/invoice-bot",
        "aud": "http://summarizer.finance:8080/",
        "dst": "Agent/finance/summarizer",
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
    let (destination, caller) = (entity("Agent/finance/summarizer"), entity("Agent/finance/invoice-bot"));
    for (prior, subject) in [
        (chain(&[]), "Agent/finance/invoice-bot"),
        (chain(&["Service/finance/reporting"]), "Service/finance/reporting"),
    ] {
        let hop = Hop {
            audience: "http://summarizer.finance:8080/",
            destination: &destination,
            caller: &caller,
            user: None,
            chain: &prior,
            now: now(),
            ttl: Duration::from_secs(1),
        };
        let (_, claims) = read_elsewhere(&world.mint, &token(&world.mint.mint(&hop).unwrap()));
        assert_eq!((claims["sub"].as_str(), claims.get("sub_id")), (Some(subject), None));
    }
}

/// A tool learns who the user is, and not the address.
#[test]
fn the_email_goes_only_to_those_who_may_call_on() {
    let world = World::new();
    for (destination, given) in [
        ("Agent/finance/summarizer", true),
        ("Service/finance/reporting", true),
        ("Tool/finance/ledger/get_invoice", false),
        ("MCPServer/finance/ledger", false),
        ("Model/platform/openai/gpt", false),
    ] {
        let (_, claims) = read_elsewhere(&world.mint, &minted(&world.mint, destination, &chain(&[])));
        assert_eq!(claims.get("email").is_some(), given, "{destination}");
    }
}

#[tokio::test]
async fn the_agent_it_was_minted_for_continues_the_chain() {
    let world = World::new();
    let token = minted(&world.mint, "Agent/finance/summarizer", &chain(&["Service/finance/reporting"]));
    let proven = world.bearer(&token).await.unwrap();
    assert_eq!(proven.principal.entity().to_string(), "Agent/finance/summarizer");
    assert_eq!(&*proven.identity, "hop:Agent/finance/summarizer");
    assert_eq!(proven.user, Some(anna()));
    let expected = chain(&["Service/finance/reporting", "Agent/finance/invoice-bot"]);
    assert_eq!(proven.delegated, Some(expected.clone()));
    assert_eq!(expected.depth(), 3);

    // And on: the next hop keeps the transaction, its beginning and the user.
    let hop = Hop {
        audience: "x",
        destination: &entity("Service/finance/reporting"),
        caller: proven.principal.entity(),
        user: proven.user.as_ref(),
        chain: &expected,
        now: now(),
        ttl: Duration::from_secs(60),
    };
    let next = world.bearer(&self::token(&world.mint.mint(&hop).unwrap())).await.unwrap();
    let delegated = next.delegated.as_ref().unwrap();
    assert_eq!(delegated.depth(), 4);
    assert_eq!((&*delegated.transaction, delegated.started), ("txn-1", UnixMillis(1_700_000_000_123)));
    assert_eq!(next.user, Some(anna()));
}

#[tokio::test]
async fn it_proves_nothing_of_anybody_else() {
    let world = World::new();
    let to = |destination: &str| minted(&world.mint, destination, &chain(&[]));
    let summarizer = peer("spiffe://corp.example/summarizer");
    let stranger = peer("spiffe://corp.example/stranger");
    let cases = [
        ("a tool", to("Tool/finance/ledger/get_invoice"), None, Err(Code::TokenDestination)),
        ("a server", to("MCPServer/finance/ledger"), None, Err(Code::TokenDestination)),
        ("a model", to("Model/platform/openai/gpt"), None, Err(Code::TokenDestination)),
        ("an agent's skill", to("Skill/finance/summarizer/sum"), None, Err(Code::TokenDestination)),
        ("an agent that is gone", to("Agent/finance/gone"), None, Err(Code::PrincipalUnknown)),
        ("a service by an agent's name", to("Service/finance/summarizer"), None, Err(Code::PrincipalUnknown)),
        ("a service", to("Service/finance/reporting"), None, Ok("Service/finance/reporting".to_owned())),
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
    let token = minted(&world.mint, "Agent/finance/summarizer", &chain(&[]));
    assert!(world.at(Some(&token), None, 118).await.is_ok());
    assert_eq!(code(&world.at(Some(&token), None, 120).await), Err(Code::TokenExpired));
}

#[test]
fn what_must_not_be_minted_is_not() {
    let world = World::new();
    let (agent, tool) = (entity("Agent/finance/invoice-bot"), entity("Tool/finance/ledger/x"));
    let short = chain(&[]);
    let longest = chain(&["Agent/a/b"; MAX_ACTORS - 1]);
    let too_long = chain(&["Agent/a/b"; MAX_ACTORS]);
    let laundered = chain(&["Tool/finance/ledger/x"]);
    let mint = |caller: &EntityId, chain: &Chain, ttl: u64| {
        let ttl = Duration::from_millis(ttl);
        let hop = Hop { audience: "x", destination: &tool, caller, user: None, chain, now: now(), ttl };
        world.mint.mint(&hop).map(|_| ())
    };
    assert_eq!(mint(&agent, &longest, 120_000), Ok(()));
    assert_eq!(mint(&agent, &too_long, 1000), Err(MintError::ChainTooLong { actors: MAX_ACTORS + 1 }));
    for ttl in [0, 999, 120_001] {
        assert_eq!(mint(&agent, &short, ttl), Err(MintError::Ttl { ttl: Duration::from_millis(ttl) }));
    }
    assert_eq!(mint(&tool, &short, 1000), Err(MintError::NotAnActor { caller: tool.clone() }));
    assert_eq!(mint(&agent, &laundered, 1000), Err(MintError::NotAnActor { caller: tool.clone() }));
}

/// Text in names cannot become structure in the token.
#[test]
fn names_are_escaped() {
    let world = World::new();
    let user = User { issuer: "https://x\"".into(), subject: "a\",\"sub\":\"admin".into(), email: None };
    let (destination, caller) =
        (entity("Tool/a/b/\",\"dst\":\"Agent/x/y"), entity("Agent/finance/invoice-bot"));
    let hop = Hop {
        audience: "http://summarizer.finance:8080/",
        destination: &destination,
        caller: &caller,
        user: Some(&user),
        chain: &chain(&[]),
        now: now(),
        ttl: Duration::from_secs(60),
    };
    let (_, claims) = read_elsewhere(&world.mint, &token(&world.mint.mint(&hop).unwrap()));
    assert_eq!(claims["sub"], "a\",\"sub\":\"admin");
    assert_eq!(claims["dst"], "Tool/a/b/\",\"dst\":\"Agent/x/y");
}

#[test]
fn debug_does_not_print_it() {
    let world = World::new();
    let (destination, caller) = (entity("Tool/a/b/c"), entity("Agent/a/b"));
    let hop = Hop {
        audience: "x",
        destination: &destination,
        caller: &caller,
        user: None,
        chain: &chain(&[]),
        now: now(),
        ttl: Duration::from_secs(60),
    };
    let minted = world.mint.mint(&hop).unwrap();
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
    let pem = std::fs::read(world.directory.path().join("hop-key.pem")).unwrap();
    let key = EncodingKey::from_ec_pem(&pem).unwrap();
    let good = json!({
        "iss": HOPS, "sub": "Agent/finance/invoice-bot", "aud": "x", "dst": "Agent/finance/summarizer",
        "act": { "sub": "Agent/finance/invoice-bot" }, "depth": 1, "txn": "t", "txn_iat": 1, "jti": "j",
        "iat": now().0 / 1000, "exp": now().0 / 1000 + 60,
    });
    let cases = [
        (json!({}), Ok("Agent/finance/summarizer".to_owned())),
        (json!({ "depth": 2 }), Err(Code::TokenMalformed)),
        (json!({ "depth": 0, "act": null }), Err(Code::TokenMalformed)),
        (json!({ "act": { "sub": "Tool/a/b/c" } }), Err(Code::TokenMalformed)),
        (json!({ "act": { "sub": "somebody" } }), Err(Code::TokenMalformed)),
        (json!({ "dst": "summarizer" }), Err(Code::TokenMalformed)),
        (json!({ "dst": null }), Err(Code::TokenMalformed)),
        (json!({ "txn": "" }), Err(Code::TokenMalformed)),
        (json!({ "txn_iat": "1" }), Err(Code::TokenMalformed)),
        (json!({ "sub_id": { "format": "email", "email": "x@y" } }), Err(Code::TokenMalformed)),
        (json!({ "sub_id": { "format": "iss_sub", "iss": "x" } }), Err(Code::TokenMalformed)),
    ];
    for (over, expected) in cases {
        let claims = merged(good.clone(), over.clone());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap();
        assert_eq!(code(&world.bearer(&token).await), expected, "{over}");
    }
}

#[tokio::test]
async fn a_forged_one_is_refused() {
    let world = World::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let impostor = Mint::open(elsewhere.path(), HOPS).unwrap();
    let forged = minted(&impostor, "Agent/finance/summarizer", &chain(&[]));
    assert_eq!(code(&world.bearer(&forged).await), Err(Code::TokenKeyUnknown));

    let good = minted(&world.mint, "Agent/finance/summarizer", &chain(&[]));
    let parts: Vec<&str> = good.split('.').collect();
    let spliced = format!("{}.{}.{}", parts[0], forged.split('.').nth(1).unwrap(), parts[2]);
    assert_eq!(code(&world.bearer(&spliced).await), Err(Code::TokenSignature));
    let unsigned = compact(r#"{"alg":"none","typ":"at+jwt"}"#, &json!({ "iss": HOPS }).to_string(), b"");
    assert_eq!(code(&world.bearer(&unsigned).await), Err(Code::TokenAlgorithm));
}

#[tokio::test]
async fn a_rotated_key_is_good_once_more() {
    let world = World::new();
    let token = minted(&world.mint, "Agent/finance/summarizer", &chain(&[]));
    assert!(world.bearer(&token).await.is_ok());
    world.mint.rotate().unwrap();
    assert!(world.bearer(&token).await.is_ok(), "the previous key");
    read_elsewhere(&world.mint, &token);
    let newer = minted(&world.mint, "Agent/finance/summarizer", &chain(&[]));
    assert!(world.bearer(&newer).await.is_ok());
    world.mint.rotate().unwrap();
    assert_eq!(code(&world.bearer(&token).await), Err(Code::TokenKeyUnknown), "the one before");
    assert!(world.bearer(&newer).await.is_ok());
    let reopened = Mint::open(world.directory.path(), HOPS).unwrap();
    assert_eq!(reopened.jwks(), world.mint.jwks());
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
    let files: Vec<_> = std::fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["hop-key.pem"], "nothing is left over");
    let path = inner.join("hop-key.pem");
    let mode = |mode: u32| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    mode(0o644);
    assert!(matches!(Mint::open(&inner, HOPS), Err(KeyFileError::Exposed { mode: 0o644, .. })));
    mode(0o660);
    assert!(Mint::open(&inner, HOPS).is_ok(), "a volume with fsGroup");
    mode(0o600);
    for broken in ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        std::fs::write(&path, broken).unwrap();
        assert!(matches!(Mint::open(&inner, HOPS), Err(KeyFileError::Content { .. })), "{broken}");
    }
    std::fs::write(&path, vec![b'x'; 100_000]).unwrap();
    assert!(matches!(Mint::open(&inner, HOPS), Err(KeyFileError::Io { .. })));
}
