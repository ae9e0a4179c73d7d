//! One bearer token: what is accepted, and every attack that has a name (RFC 8725).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use vidimus_core::caller::UnixMillis;
use vidimus_core::refusal::Code;
use vidimus_testkit::issuer::{Algorithm, FakeIssuer, IssuerKey, compact, now_seconds};

use crate::world::{GATEWAY, HOPS, ROUTE, World, agent, code, snapshot};

const BOT: &str = "Agent/finance/invoice-bot";

#[tokio::test]
async fn every_allowed_algorithm_proves_the_principal() {
    for algorithm in Algorithm::ALL {
        let mut world = World::new();
        world.issuer = FakeIssuer::with_key(algorithm);
        let identities = json!([{ "oidc": { "issuer": world.issuer.issuer(), "subject": "bot-1" } }]);
        world.snapshot = snapshot(&[agent("invoice-bot", identities, json!([]))]);
        let proven = world.bearer(&world.token(json!({}))).await.unwrap();
        assert_eq!(proven.principal.entity().to_string(), BOT, "{algorithm:?}");
        assert_eq!(*proven.identity, format!("oidc:{}#bot-1", world.issuer.issuer()));
        assert_eq!((&proven.user, &proven.delegated), (&None, &None));
    }
}

#[tokio::test]
async fn claims_are_checked_one_by_one() {
    let world = World::new();
    let now = now_seconds();
    let many: Vec<_> =
        (0..200).map(|n| format!("https://other{n}.example")).chain([GATEWAY.to_owned()]).collect();
    let cases: Vec<(&str, Value, Result<&str, Code>)> = vec![
        ("as it should be", json!({}), Ok(BOT)),
        ("the other audience", json!({ "aud": "https://gateway.other" }), Ok(BOT)),
        ("ours among many audiences", json!({ "aud": many }), Ok(BOT)),
        ("no audience", json!({ "aud": null }), Err(Code::TokenMalformed)),
        ("another audience", json!({ "aud": "https://elsewhere.example" }), Err(Code::TokenAudience)),
        ("a longer audience", json!({ "aud": "https://gateway.example.evil" }), Err(Code::TokenAudience)),
        ("another spelling", json!({ "aud": "https://gateway.example/" }), Err(Code::TokenAudience)),
        ("an empty list of audiences", json!({ "aud": [] }), Err(Code::TokenAudience)),
        ("audiences in an audience", json!({ "aud": [[GATEWAY]] }), Err(Code::TokenMalformed)),
        ("a number among audiences", json!({ "aud": [GATEWAY, 1] }), Err(Code::TokenMalformed)),
        ("an audience that is an object", json!({ "aud": { "is": GATEWAY } }), Err(Code::TokenMalformed)),
        ("expired", json!({ "exp": now - 1 }), Err(Code::TokenExpired)),
        ("expiring now", json!({ "exp": now }), Err(Code::TokenExpired)),
        ("a fraction of a second", json!({ "exp": now as f64 + 100.5 }), Ok(BOT)),
        ("an end that is text", json!({ "exp": (now + 100).to_string() }), Err(Code::TokenMalformed)),
        ("no end", json!({ "exp": null }), Err(Code::TokenMalformed)),
        ("an end before the epoch", json!({ "exp": -1 }), Err(Code::TokenMalformed)),
        ("an end at the epoch", json!({ "exp": 0 }), Err(Code::TokenExpired)),
        ("the last end of the calendar", json!({ "exp": 253_402_300_799_i64 }), Ok(BOT)),
        ("an end one second later", json!({ "exp": 253_402_300_800_i64 }), Err(Code::TokenMalformed)),
        ("an end beyond the calendar", json!({ "exp": 1e300 }), Err(Code::TokenMalformed)),
        ("an end beyond i64", json!({ "exp": u64::MAX }), Err(Code::TokenMalformed)),
        ("begins within the leeway", json!({ "nbf": now + 50 }), Ok(BOT)),
        ("begins later", json!({ "nbf": now + 90 }), Err(Code::TokenNotYetValid)),
        ("issued in the future", json!({ "iat": now + 90 }), Err(Code::TokenNotYetValid)),
        ("begins whenever", json!({ "nbf": true }), Err(Code::TokenMalformed)),
        ("nobody registered", json!({ "sub": "bot-9" }), Err(Code::PrincipalUnknown)),
        ("another case", json!({ "sub": "BOT-1" }), Err(Code::PrincipalUnknown)),
        ("no subject", json!({ "sub": null }), Err(Code::TokenMalformed)),
        ("an empty subject", json!({ "sub": "" }), Err(Code::TokenMalformed)),
        ("a subject with a line break", json!({ "sub": "bot-1\n" }), Err(Code::TokenMalformed)),
        ("a subject that is a list", json!({ "sub": ["bot-1"] }), Err(Code::TokenMalformed)),
        ("another issuer", json!({ "iss": "https://evil.example" }), Err(Code::TokenIssuer)),
        (
            "an issuer nearly ours",
            json!({ "iss": format!("{}/", world.issuer.issuer()) }),
            Err(Code::TokenIssuer),
        ),
        ("no issuer", json!({ "iss": null }), Err(Code::TokenMalformed)),
        ("the wrong issuer's name", json!({ "iss": world.foreign.issuer() }), Err(Code::TokenKeyUnknown)),
        ("our own issuer's name", json!({ "iss": HOPS }), Err(Code::TokenKeyUnknown)),
        ("the built-in issuer's name", json!({ "iss": "urn:vidimus:local" }), Err(Code::TokenKeyUnknown)),
    ];
    for (name, claims, expected) in cases {
        let result = world.bearer(&world.token(claims)).await;
        assert_eq!(code(&result), expected.map(str::to_owned), "{name}");
        if let Err(refusal) = result {
            assert!(!refusal.message.is_empty(), "{name}");
        }
    }
}

/// Good from `nbf` and `iat`, less a minute, up to and without `exp`: to the millisecond, when it is new and when it is known.
#[tokio::test]
async fn a_token_has_a_first_and_a_last_moment() {
    let world = World::new();
    let start = now_seconds();
    let (hour, minute) = (3_600_000, 60_000);
    // Claims relative to the start in seconds; the first good moment and the first that is over, in milliseconds.
    let cases = [
        (json!({ "iat": start, "exp": start + 3600 }), -minute, hour),
        (json!({ "iat": start, "nbf": start + 600, "exp": start + 3600 }), 600_000 - minute, hour),
        (json!({ "iat": start + 600, "nbf": start, "exp": start + 3600 }), 600_000 - minute, hour),
        // A fraction of a second is less than the next one.
        (json!({ "iat": start, "exp": start as f64 + 3600.75 }), -minute, hour),
        (json!({ "iat": start as f64 + 0.75, "exp": start + 3600 }), -minute, hour),
    ];
    for (claims, first, over) in cases {
        let token = world.token(claims.clone());
        let (good, early, late) = (Ok(BOT.to_owned()), Err(Code::TokenNotYetValid), Err(Code::TokenExpired));
        // First when the token is new, then when it is known.
        for (millis, expected) in [
            (first - 1, &early),
            (over, &late),
            (first, &good),
            (first - 1, &early),
            (first, &good),
            (over - 1, &good),
            (over, &late),
        ] {
            let moment = UnixMillis(start * 1000 + millis);
            let result = world.at_moment(Some(&token), None, moment).await;
            assert_eq!(code(&result), *expected, "{claims} at {millis}");
        }
    }
}

#[tokio::test]
async fn a_token_may_be_as_long_as_the_limit_and_no_longer() {
    const MAX: usize = 16 * 1024;
    let world = World::new();
    for (length, expected) in [(MAX, Ok(BOT.to_owned())), (MAX + 1, Err(Code::TokenMalformed))] {
        let result = world.bearer(&of_length(&world, length)).await;
        assert_eq!(code(&result), expected, "{length}");
        if let Err(refusal) = result {
            assert!(refusal.message.contains("16385 bytes"), "{refusal}");
        }
    }
}

/// A good token of exactly this many bytes. Base64 has no texts of some lengths, so that the header has to help.
fn of_length(world: &World, length: usize) -> String {
    let key = world.issuer.key();
    let claims = world.issuer.completed(json!({ "sub": "bot-1", "aud": GATEWAY }));
    for more in 0..4 {
        let header = json!({ "alg": "ES256", "kid": key.id(), "x": "x".repeat(more) }).to_string();
        let short = key.sign(&header, &claims.to_string()).len();
        for padding in (length - short) * 3 / 4 - 20..(length - short) * 3 / 4 {
            let claims = crate::world::merged(claims.clone(), json!({ "x": "y".repeat(padding) }));
            let token = key.sign(&header, &claims.to_string());
            if token.len() == length {
                return token;
            }
        }
    }
    panic!("no token of {length} bytes")
}

/// Callers and operators are told which value it was, and not more of it than a line.
#[tokio::test]
async fn a_refusal_shows_the_value() {
    let world = World::new();
    let long = format!("https://{}.example", "x".repeat(200));
    for (claims, shown) in [
        (json!({ "iss": "https://evil.example" }), "\"https://evil.example\"".to_owned()),
        (json!({ "iss": long }), format!("\"https://{}\"", "x".repeat(112))),
        (json!({ "sub": "bot \"9\"" }), r#""bot \"9\"""#.to_owned()),
    ] {
        let refusal = world.bearer(&world.token(claims)).await.unwrap_err();
        assert!(refusal.message.contains(&shown), "{refusal}");
    }
}

#[tokio::test]
async fn configured_claims_must_all_match() {
    let world = World::new();
    for (claims, expected) in [
        (json!({ "tenant": "a", "tier": "1" }), Ok("Agent/finance/tenant".to_owned())),
        (json!({ "tenant": "a", "tier": 1 }), Ok("Agent/finance/tenant".to_owned())),
        (json!({ "tenant": "b", "tier": "1" }), Err(Code::PrincipalUnknown)),
        (json!({ "tenant": "a" }), Err(Code::PrincipalUnknown)),
        (json!({ "tenant": ["a"], "tier": "1" }), Err(Code::PrincipalUnknown)),
        (json!({ "tenant": "a", "tier": "10" }), Err(Code::PrincipalUnknown)),
        (json!({ "tenant": "1", "tier": "a" }), Err(Code::PrincipalUnknown)),
        (json!({}), Err(Code::PrincipalUnknown)),
    ] {
        let token = world.token(crate::world::merged(json!({ "sub": "tenant-bot" }), claims.clone()));
        assert_eq!(code(&world.bearer(&token).await), expected, "{claims}");
    }
    // A claim that is null is not there; and what is read by name is not asked for by name.
    for (asked, claims, expected) in [
        (json!({ "tier": "null" }), json!({ "tier": null }), Err(Code::PrincipalUnknown)),
        (json!({ "tier": "null" }), json!({ "tier": "null" }), Ok(BOT.to_owned())),
        (json!({ "jti": "1" }), json!({ "jti": "1" }), Err(Code::PrincipalUnknown)),
    ] {
        let mut world = World::new();
        let oidc = json!({ "issuer": world.issuer.issuer(), "subject": "bot-1", "claims": asked });
        world.snapshot = snapshot(&[agent("invoice-bot", json!([{ "oidc": oidc }]), json!([]))]);
        assert_eq!(code(&world.bearer(&world.token(claims)).await), expected, "{asked}");
    }
}

/// Headers that a forger or a careless client writes, over good claims and a good signature.
#[tokio::test]
async fn headers_cannot_choose_how_a_token_is_verified() {
    let world = World::new();
    let key = world.issuer.key();
    let claims = world.issuer.completed(json!({ "sub": "bot-1", "aud": GATEWAY })).to_string();
    let own_jwk = IssuerKey::generate(Algorithm::Es256).jwk();
    let with = |more: Value| {
        let header = crate::world::merged(json!({ "alg": "ES256", "kid": key.id() }), more);
        key.sign(&header.to_string(), &claims)
    };
    let cases: Vec<(&str, String, Result<&str, Code>)> = vec![
        ("no type", with(json!({})), Ok(BOT)),
        ("a JWT", with(json!({ "typ": "JWT" })), Ok(BOT)),
        ("an access token, spelled out", with(json!({ "typ": "application/AT+jwt" })), Ok(BOT)),
        (
            "keys in the header are not looked at",
            with(json!({ "jwk": own_jwk, "jku": "http://127.0.0.1:1/x" })),
            Ok(BOT),
        ),
        ("a DPoP proof", with(json!({ "typ": "dpop+jwt" })), Err(Code::TokenMalformed)),
        ("a logout token", with(json!({ "typ": "logout+jwt" })), Err(Code::TokenMalformed)),
        ("a type that is no text", with(json!({ "typ": 1 })), Err(Code::TokenMalformed)),
        ("an extension", with(json!({ "crit": ["exp"], "exp": 1 })), Err(Code::TokenMalformed)),
        ("an empty extension", with(json!({ "crit": [] })), Err(Code::TokenMalformed)),
        ("no algorithm", with(json!({ "alg": null })), Err(Code::TokenMalformed)),
        ("none", with(json!({ "alg": "none" })), Err(Code::TokenAlgorithm)),
        ("None", with(json!({ "alg": "None" })), Err(Code::TokenAlgorithm)),
        ("a MAC", with(json!({ "alg": "HS256" })), Err(Code::TokenAlgorithm)),
        ("ES512", with(json!({ "alg": "ES512" })), Err(Code::TokenAlgorithm)),
        ("ES256K", with(json!({ "alg": "ES256K" })), Err(Code::TokenAlgorithm)),
        ("the algorithm of another key", with(json!({ "alg": "RS256" })), Err(Code::TokenKeyUnknown)),
        ("another curve", with(json!({ "alg": "ES384" })), Err(Code::TokenKeyUnknown)),
        ("a path as key id", with(json!({ "kid": "../../../dev/null" })), Err(Code::TokenKeyUnknown)),
        ("a statement as key id", with(json!({ "kid": "x' OR '1'='1" })), Err(Code::TokenKeyUnknown)),
        ("an empty key id", with(json!({ "kid": "" })), Err(Code::TokenKeyUnknown)),
        ("a key id that is a list", with(json!({ "kid": [key.id()] })), Err(Code::TokenMalformed)),
        ("the longest key id", with(json!({ "kid": "k".repeat(256) })), Err(Code::TokenKeyUnknown)),
        ("a key id one longer", with(json!({ "kid": "k".repeat(257) })), Err(Code::TokenMalformed)),
        ("a null key id", with(json!({ "kid": null })), Err(Code::TokenMalformed)),
    ];
    for (name, token, expected) in cases {
        assert_eq!(code(&world.bearer(&token).await), expected.map(str::to_owned), "{name}");
    }
}

#[tokio::test]
async fn forged_and_broken_tokens_are_refused() {
    let world = World::new();
    let key = world.issuer.key();
    let good = world.token(json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let claims = world.issuer.completed(json!({ "sub": "bot-1", "aud": GATEWAY })).to_string();
    let header = json!({ "alg": "ES256", "kid": key.id() }).to_string();
    let other = IssuerKey::generate(Algorithm::Es256).published_as(json!({ "kid": key.id() }));
    let public_key = key.jwk().to_string();
    let mac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, public_key.as_bytes());
    let unsigned = compact(r#"{"alg":"HS256"}"#, &claims, b"");
    let (message, _) = unsigned.rsplit_once('.').unwrap();
    let tag = aws_lc_rs::hmac::sign(&mac, message.as_bytes());
    let der = [&[0x30, 0x44, 0x02, 0x20][..], &[1; 32], &[0x02, 0x20], &[1; 32]].concat();
    let cases: Vec<(&str, String, Code)> = vec![
        ("nothing", String::new(), Code::TokenMalformed),
        ("a word", "token".into(), Code::TokenMalformed),
        ("dots", "..".into(), Code::TokenMalformed),
        ("two parts", format!("{}.{}", parts[0], parts[1]), Code::TokenMalformed),
        ("four parts", format!("{good}.x"), Code::TokenMalformed),
        ("an encrypted token", "a.b.c.d.e".into(), Code::TokenMalformed),
        ("padding", format!("{}=", good), Code::TokenMalformed),
        ("white space", format!(" {good}"), Code::TokenMalformed),
        ("a NUL", format!("{good}\0"), Code::TokenMalformed),
        ("not ASCII", format!("{good}é"), Code::TokenMalformed),
        ("ordinary base64", good.replacen('.', "+.", 1), Code::TokenMalformed),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), Code::TokenSignature),
        ("none, unsigned", compact(r#"{"alg":"none"}"#, &claims, b""), Code::TokenAlgorithm),
        (
            "a MAC with the public key as secret",
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag)),
            Code::TokenAlgorithm,
        ),
        ("another key under the same id", other.sign(&header, &claims), Code::TokenSignature),
        (
            "another token's signature",
            format!("{}.{}.{}", parts[0], parts[1], world.token(json!({"x": 1})).rsplit_once('.').unwrap().1),
            Code::TokenSignature,
        ),
        ("a signature of zeros (CVE-2022-21449)", compact(&header, &claims, &[0; 64]), Code::TokenSignature),
        ("a signature in DER", compact(&header, &claims, &der), Code::TokenSignature),
        ("a short signature", compact(&header, &claims, &[1; 63]), Code::TokenSignature),
        (
            "a duplicate claim",
            key.sign(&header, &claims.replacen('{', r#"{"sub":"bot-2","#, 1)),
            Code::TokenMalformed,
        ),
        (
            "a duplicate claim, escaped",
            key.sign(&header, &claims.replacen('{', r#"{"s\u0075b":"bot-2","#, 1)),
            Code::TokenMalformed,
        ),
        (
            "a duplicate header",
            key.sign(&header.replacen('{', r#"{"alg":"none","#, 1), &claims),
            Code::TokenMalformed,
        ),
        ("a payload that is a list", key.sign(&header, "[]"), Code::TokenMalformed),
        ("a payload that is no JSON", key.sign(&header, "sub=bot-1"), Code::TokenMalformed),
        ("a payload in a payload", key.sign(&header, &json!(good).to_string()), Code::TokenMalformed),
        (
            "a deep payload",
            key.sign(&header, &format!("{}1{}", "[".repeat(5000), "]".repeat(5000))),
            Code::TokenMalformed,
        ),
        ("more after the payload", key.sign(&header, &format!("{claims} {{}}")), Code::TokenMalformed),
        ("a huge token", world.token(json!({ "x": "y".repeat(16 * 1024) })), Code::TokenMalformed),
    ];
    for (name, token, expected) in cases {
        let result = world.bearer(&token).await;
        assert_eq!(code(&result), Err(expected), "{name}");
        // Whoever made the token learns what is there twice.
        let said = result.unwrap_err().message.contains("twice");
        assert_eq!(said, name.starts_with("a duplicate"), "{name}");
    }
    assert_eq!(code(&world.bearer(&good).await), Ok(BOT.to_owned()), "and the good one is still good");
}

#[tokio::test]
async fn nothing_presented_is_its_own_refusal() {
    let world = World::new();
    assert_eq!(code(&world.at(None, None, 0).await), Err(Code::CredentialMissing));
}

#[tokio::test]
async fn an_unregistered_issuer_is_never_asked() {
    let world = World::new();
    let stranger = FakeIssuer::start();
    let token = stranger.token(json!({ "sub": "bot-1", "aud": GATEWAY }));
    assert_eq!(code(&world.bearer(&token).await), Err(Code::TokenIssuer));
    assert_eq!((stranger.discovery_requests(), stranger.jwks_requests()), (0, 0));
}

/// What was verified once is checked again for everything that can change.
#[tokio::test]
async fn a_known_token_is_checked_again_each_time() {
    let mut world = World::new();
    let token = world.token(json!({ "exp": now_seconds() + 100 }));
    let first = world.bearer(&token).await.unwrap();
    let second = world.bearer(&token).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second), "known");
    assert_eq!(world.issuer.jwks_requests(), 1);
    assert_eq!(code(&world.at(Some(&token), None, 100).await), Err(Code::TokenExpired));
    assert_eq!(code(&world.at(Some(&token), None, -3600).await), Err(Code::TokenNotYetValid));

    let identities = json!([{ "oidc": { "issuer": world.issuer.issuer(), "subject": "bot-1" } }]);
    world.snapshot = snapshot(&[agent("renamed", identities, json!([]))]);
    assert_eq!(code(&world.bearer(&token).await), Ok("Agent/finance/renamed".to_owned()));
    let identities = json!([{ "oidc": { "issuer": world.issuer.issuer(), "subject": "somebody" } }]);
    world.snapshot = snapshot(&[agent("renamed", identities, json!([]))]);
    assert_eq!(code(&world.bearer(&token).await), Err(Code::PrincipalUnknown));
    world.snapshot = snapshot(&[]);
    assert_eq!(
        code(&world.bearer(&token).await),
        Err(Code::TokenIssuer),
        "the issuer is not allowed any more"
    );
}

/// The same token beside another peer is other evidence.
#[tokio::test]
async fn a_known_token_does_not_carry_over_to_another_peer() {
    let world = World::new();
    let token = world.token(json!({ "sub": "anna" }));
    let bot = crate::world::peer(crate::world::BOT);
    let summarizer = crate::world::peer("spiffe://corp.example/summarizer");
    assert_eq!(code(&world.both(&token, &bot).await), Ok(BOT.to_owned()));
    assert_eq!(code(&world.both(&token, &summarizer).await), Ok("Agent/finance/summarizer".to_owned()));
    assert_eq!(code(&world.bearer(&token).await), Err(Code::PrincipalUnknown));
}

/// Who has the wrong one of several tokens learns which.
#[tokio::test]
async fn a_token_for_another_route_is_told_from_one_for_somebody_else() {
    let world = World::new();
    for (audience, said) in [
        (json!(format!("{HOPS}/mcp/finance/other")), "another route of this gateway"),
        (json!("https://elsewhere.example"), "meant for somebody else"),
        (json!([]), "its 'aud' is missing"),
    ] {
        let refusal = world.bearer(&world.token(json!({ "aud": audience }))).await.unwrap_err();
        assert!(refusal.message.contains(said), "{audience}: {refusal}");
    }
}

/// RFC 8707: a token for the address of one route is good there and nowhere else, also when it is known already.
#[tokio::test]
async fn a_token_for_one_route_is_good_on_that_route() {
    let world = World::new();
    let (here, elsewhere) = (format!("{HOPS}{ROUTE}"), "https://elsewhere.example/mcp/finance/ledger");
    let refused = || Err(Code::TokenAudience);
    for (audience, on_it, beside_it) in [
        (json!(here), Ok(BOT.to_owned()), refused()),
        (json!(format!("{here}/")), Ok(BOT.to_owned()), refused()),
        (json!([elsewhere, here]), Ok(BOT.to_owned()), refused()),
        (json!([here, GATEWAY]), Ok(BOT.to_owned()), Ok(BOT.to_owned())),
        (json!(format!("{here}-2")), refused(), refused()),
        (json!(elsewhere), refused(), refused()),
        (json!(HOPS), refused(), refused()),
        (json!(format!("{HOPS}/")), refused(), refused()),
    ] {
        let token = world.token(json!({ "aud": audience }));
        for _ in 0..2 {
            assert_eq!(code(&world.on(ROUTE, &token).await), on_it, "{audience}");
            for other in ["/mcp/finance/ledger-3", "/mcp/finance", "/llm/finance/ledger", ""] {
                assert_eq!(code(&world.on(other, &token).await), beside_it, "{audience} on {other}");
            }
        }
    }
}

#[test]
fn no_audience_is_no_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let mint = std::sync::Arc::new(vidimus_identity::Mint::open(directory.path(), "https://g").unwrap());
    let config = vidimus_identity::Config {
        audiences: vec![],
        mint,
        local: None,
        service_account_issuer: None,
        api_server: None,
        allow_insecure_issuers: false,
        issuer_roots: None,
        roots_of_issuers: Vec::new(),
        trust: vidimus_identity::TrustStore::default(),
        limits: vidimus_identity::Limits::default(),
    };
    let result = vidimus_identity::Authenticator::new(config.clone());
    assert_eq!(result.err(), Some(vidimus_identity::ConfigError::NoAudience));
    let no_roots = vidimus_identity::Config {
        audiences: vec![GATEWAY.into()],
        issuer_roots: Some(b"none".to_vec()),
        roots_of_issuers: Vec::new(),
        trust: vidimus_identity::TrustStore::default(),
        ..config
    };
    let result = vidimus_identity::Authenticator::new(no_roots);
    assert!(matches!(result, Err(vidimus_identity::ConfigError::IssuerRoots { .. })));
}

#[test]
fn evidence_does_not_print_the_token() {
    let evidence = vidimus_identity::Evidence {
        bearer: Some("geheim"),
        peer: None,
        route: "",
        now: crate::world::now(),
    };
    let shown = format!("{evidence:?}");
    assert!(!shown.contains("geheim") && shown.contains("[redacted]"), "{shown}");
}
