//! JWT-SVIDs: bearer tokens of workloads that are registered by their SPIFFE ID.

use std::sync::Arc;

use serde_json::{Value, json};
use vidimus_core::refusal::Code;
use vidimus_identity::{TrustBundle, TrustDomain, TrustStore};
use vidimus_testkit::issuer::{Algorithm, IssuerKey, now_seconds};

use crate::world::{BOT, GATEWAY, HOPS, World, authority_der, code, merged, now, peer};

const SUMMARIZER: &str = "spiffe://corp.example/summarizer";

/// A bundle document of `domain` with these keys for JWT-SVIDs.
fn bundle(domain: &str, keys: &[&IssuerKey]) -> TrustBundle {
    let mut set = json!({ "spiffe_sequence": 1, "keys": [
        // For other things, or for nothing: `use` says it.
        merged(IssuerKey::generate(Algorithm::Es256).jwk(), json!({ "use": "sig" })),
        merged(IssuerKey::generate(Algorithm::Es256).jwk(), json!({ "use": "wit-svid" })),
    ]});
    let all = set.get_mut("keys").and_then(Value::as_array_mut).unwrap();
    if domain == "corp.example" {
        all.push(json!({ "use": "x509-svid", "kty": "EC", "x5c": [authority_der()] }));
    }
    all.extend(keys.iter().map(|key| merged(key.jwk(), json!({ "use": "jwt-svid" }))));
    TrustBundle::parse(Some(&TrustDomain::new(domain).unwrap()), set.to_string().as_bytes()).unwrap()
}

fn svid(key: &IssuerKey, over: Value) -> String {
    let claims = json!({ "sub": BOT, "aud": [GATEWAY], "exp": now_seconds() + 300 });
    let mut claims = merged(claims, over);
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    with_header(key, json!({ "typ": "JWT" }), &claims)
}

/// Signed with the key whatever the header says, with these members in place of the right ones.
fn with_header(key: &IssuerKey, over: Value, claims: &Value) -> String {
    let mut header = merged(json!({ "alg": key.algorithm().as_str(), "kid": key.id() }), over);
    header.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    key.sign(&header.to_string(), &claims.to_string())
}

fn world(store: &TrustStore) -> World {
    World::with(|config| config.trust = store.clone())
}

#[tokio::test]
async fn a_workload_proves_itself_by_a_jwt_svid_of_its_trust_domain() {
    let store = TrustStore::default();
    let world = world(&store);
    let (key, other) = (IssuerKey::generate(Algorithm::Es256), IssuerKey::generate(Algorithm::Rs256));
    let (foreign, edwards) = (IssuerKey::generate(Algorithm::Es256), IssuerKey::generate(Algorithm::EdDsa));
    store.update(vec![
        bundle("corp.example", &[&key, &other, &edwards]),
        bundle("other.example", &[&foreign]),
    ]);
    let bot = || Ok("Agent/finance/invoice-bot".to_owned());
    for (name, token, expected) in [
        ("one without an issuer", svid(&key, json!({})), bot()),
        ("one with RSA", svid(&other, json!({})), bot()),
        ("one whose issuer nobody knows", svid(&key, json!({ "iss": "https://spire.corp.example" })), bot()),
        // It is verified by its trust domain whatever issuer it names.
        ("one that names an allowed issuer", svid(&key, json!({ "iss": world.issuer.issuer() })), bot()),
        (
            "another workload's",
            svid(&key, json!({ "sub": SUMMARIZER })),
            Ok("Agent/finance/summarizer".to_owned()),
        ),
        ("nobody's", svid(&key, json!({ "sub": "spiffe://corp.example/x" })), Err(Code::PrincipalUnknown)),
        ("signed by another trust domain", svid(&foreign, json!({})), Err(Code::TokenKeyUnknown)),
        (
            "of a domain without a bundle",
            svid(&key, json!({ "sub": "spiffe://none.example/x" })),
            Err(Code::SvidInvalid),
        ),
        ("not an ID", svid(&key, json!({ "sub": "spiffe://corp.example/a//b" })), Err(Code::SvidInvalid)),
        (
            "a trust domain alone",
            svid(&key, json!({ "sub": "spiffe://corp.example" })),
            Err(Code::SvidInvalid),
        ),
        ("without an audience", svid(&key, json!({ "aud": null })), Err(Code::TokenAudience)),
        ("for another audience", svid(&key, json!({ "aud": "other" })), Err(Code::TokenAudience)),
        ("without an end", svid(&key, json!({ "exp": null })), Err(Code::TokenMalformed)),
        ("over", svid(&key, json!({ "exp": now_seconds() - 1 })), Err(Code::TokenExpired)),
        ("with an actor", svid(&key, json!({ "act": { "sub": "bot-1" } })), Err(Code::TokenMalformed)),
        ("with an algorithm that SVIDs have not", svid(&edwards, json!({})), Err(Code::TokenAlgorithm)),
        (
            "an allowed issuer's own word",
            with_header(
                &world.issuer.key(),
                json!({ "typ": "JWT" }),
                &world.issuer.completed(json!({ "sub": BOT, "aud": GATEWAY })),
            ),
            Err(Code::TokenKeyUnknown),
        ),
    ] {
        let result = world.bearer(&token).await;
        assert_eq!(code(&result), expected, "{name}");
        if let Ok(proven) = result {
            assert!(
                proven.user.is_none() && proven.delegated.is_none() && proven.expires.is_some(),
                "{name}"
            );
            assert!(proven.identity.starts_with("spiffe://corp.example/"), "{name}");
        }
    }
    // Beside an X.509-SVID it is the same workload, or one too many.
    let token = svid(&key, json!({}));
    assert_eq!(code(&world.both(&token, &peer(BOT)).await), bot());
    assert_eq!(code(&world.both(&token, &peer(SUMMARIZER)).await), Err(Code::CredentialAmbiguous));
}

#[tokio::test]
async fn its_authorities_are_those_of_the_bundle_in_force() {
    let store = TrustStore::default();
    let world = world(&store);
    let (old, new) = (IssuerKey::generate(Algorithm::Es256), IssuerKey::generate(Algorithm::Es256));
    let (by_old, by_new) = (svid(&old, json!({})), svid(&new, json!({})));
    let of = |result: &Result<Arc<vidimus_core::caller::Proven>, vidimus_core::refusal::Refusal>| {
        code(result).is_ok()
    };
    for (keys, expected) in [
        (vec![&old], (true, false)),
        (vec![&old, &new], (true, true)),
        (vec![&new], (false, true)),
        (vec![], (false, false)),
    ] {
        store.update(match keys.is_empty() {
            true => Vec::new(),
            false => vec![bundle("corp.example", &keys)],
        });
        // Twice: the second time it is known already.
        for _ in 0..2 {
            let found = (of(&world.bearer(&by_old).await), of(&world.bearer(&by_new).await));
            assert_eq!(found, expected, "{keys:?}");
        }
    }
}

#[tokio::test]
async fn a_subject_that_is_registered_with_its_issuer_stays_that_issuers() {
    let store = TrustStore::default();
    let mut world = world(&store);
    let key = IssuerKey::generate(Algorithm::Es256);
    store.update(vec![bundle("corp.example", &[&key])]);
    let mut objects = crate::world::objects(&world.issuer.issuer(), &world.foreign.issuer());
    objects.push(crate::world::agent(
        "discovered",
        json!([{ "oidc": { "issuer": world.issuer.issuer(), "subject": "spiffe://corp.example/discovered" } }]),
        json!([]),
    ));
    world.snapshot = crate::world::snapshot(&objects);
    let claims = json!({ "sub": "spiffe://corp.example/discovered", "aud": GATEWAY });
    let token = world.issuer.token(claims);
    assert_eq!(code(&world.bearer(&token).await), Ok("Agent/finance/discovered".to_owned()));
    let _ = now();
}

/// Nor is what says that it is ours.
#[tokio::test]
async fn a_token_of_our_own_is_no_svid_whatever_its_subject() {
    let store = TrustStore::default();
    let world = world(&store);
    store.update(vec![bundle("corp.example", &[&IssuerKey::generate(Algorithm::Es256)])]);
    let subject = "spiffe://corp.example/x";
    let own = world.local_token(subject, None);
    assert_eq!(code(&world.bearer(&own).await), Err(Code::PrincipalUnknown));
    let hop = world.issuer.token(json!({ "iss": HOPS, "sub": subject, "aud": GATEWAY }));
    assert_eq!(code(&world.bearer(&hop).await), Err(Code::TokenKeyUnknown));
}

/// What a bundle says is the truth, also that nothing is trusted: a domain revokes its authorities by leaving them out.
#[test]
fn a_bundle_may_revoke_all_authorities() {
    let domain = TrustDomain::new("corp.example").unwrap();
    let key = IssuerKey::generate(Algorithm::Es256).jwk();
    let parse =
        |keys: Value| TrustBundle::parse(Some(&domain), json!({ "keys": keys }).to_string().as_bytes());
    assert!(!parse(json!([merged(key.clone(), json!({ "use": "jwt-svid" }))])).unwrap().is_none());
    let mut without_id = merged(key.clone(), json!({ "use": "jwt-svid" }));
    without_id.as_object_mut().unwrap().remove("kid");
    for nothing in [json!([]), json!([key]), json!([without_id])] {
        assert!(parse(nothing.clone()).unwrap().is_none(), "{nothing}");
    }
    assert!(TrustBundle::parse(None, br#"{"keys": []}"#).is_err(), "whose?");
}

/// Every member of a header that decides how a token is read, on each of the three kinds of tokens. Each token is signed with the
/// right key, so that only its header can be at fault; no key in or behind a header is ever used.
#[tokio::test]
async fn each_kind_of_token_has_its_own_header() {
    let store = TrustStore::default();
    let world = world(&store);
    let key = IssuerKey::generate(Algorithm::Es256);
    store.update(vec![bundle("corp.example", &[&key])]);
    let of_issuer = world.issuer.key();
    let issued = world.issuer.completed(json!({ "sub": "bot-1", "aud": GATEWAY }));
    let of_workload = json!({ "sub": BOT, "aud": [GATEWAY], "exp": now_seconds() + 300 });
    let foreign = IssuerKey::generate(Algorithm::Es256).jwk();
    let (malformed, good) = (Some(Code::TokenMalformed), None);
    let (unknown, algorithm) = (Some(Code::TokenKeyUnknown), Some(Code::TokenAlgorithm));
    // What is in place of the right header, and what is said of: an issuer's token, a hop's, a JWT-SVID.
    for (over, expected) in [
        (json!({}), [good, malformed, good]),
        (json!({ "typ": "JWT" }), [good, malformed, good]),
        (json!({ "typ": "JOSE" }), [good, malformed, good]),
        (json!({ "typ": "at+jwt" }), [good, good, malformed]),
        (json!({ "typ": "jwt" }), [good, malformed, malformed]),
        (json!({ "typ": "AT+JWT" }), [good, malformed, malformed]),
        (json!({ "typ": "application/jwt" }), [good, malformed, malformed]),
        (json!({ "typ": "application/at+jwt" }), [good, malformed, malformed]),
        (json!({ "typ": "wit+jwt" }), [malformed; 3]),
        (json!({ "typ": "dpop+jwt" }), [malformed; 3]),
        (json!({ "typ": "" }), [malformed; 3]),
        (json!({ "typ": 1 }), [malformed; 3]),
        (json!({ "typ": ["JWT"] }), [malformed; 3]),
        (json!({ "alg": null }), [malformed; 3]),
        (json!({ "alg": "none" }), [algorithm; 3]),
        (json!({ "alg": "HS256" }), [algorithm; 3]),
        (json!({ "alg": "es256" }), [algorithm; 3]),
        (json!({ "alg": "ES512" }), [algorithm; 3]),
        (json!({ "alg": "ES384" }), [unknown, malformed, unknown]),
        (json!({ "alg": "EdDSA" }), [unknown, malformed, algorithm]),
        (json!({ "crit": ["exp"] }), [malformed; 3]),
        (json!({ "crit": [] }), [malformed; 3]),
        (json!({ "b64": false, "crit": ["b64"] }), [malformed; 3]),
        (json!({ "b64": false }), [malformed; 3]),
        (json!({ "b64": true }), [malformed; 3]),
        (json!({ "kid": "other", "typ": "JWT" }), [unknown, malformed, unknown]),
        (json!({ "kid": "other", "typ": "at+jwt" }), [unknown, unknown, malformed]),
        (json!({ "kid": 1 }), [malformed; 3]),
        (json!({ "kid": "k".repeat(300) }), [malformed; 3]),
        (json!({ "jku": "https://evil.example/keys" }), [good, malformed, malformed]),
        (json!({ "jwk": foreign, "typ": "at+jwt" }), [good, good, malformed]),
        (json!({ "x5u": "https://evil.example/chain" }), [good, malformed, malformed]),
        (json!({ "x5c": ["MIIB"], "x5t": "x", "typ": "at+jwt" }), [good, good, malformed]),
        (json!({ "cty": "JWT" }), [good, malformed, malformed]),
        (json!({ "private": 1 }), [good, malformed, malformed]),
    ] {
        let tokens = [
            with_header(&of_issuer, over.clone(), &issued),
            crate::hop::with_header(&world, &over),
            with_header(&key, over.clone(), &of_workload),
        ];
        let mut found = Vec::new();
        for token in &tokens {
            found.push(code(&world.bearer(token).await).err());
        }
        assert_eq!(found, expected, "{over}");
    }
}
