//! The issuer elsewhere: keys come and go, and so does the issuer.

use std::time::Duration;

use serde_json::json;
use vidimus_core::caller::UnixMillis;
use vidimus_core::refusal::Code;
use vidimus_testkit::issuer::{Algorithm, Behaviour, FakeIssuer, IssuerKey};

use crate::world::{World, code, now};

const BOT: &str = "Agent/finance/invoice-bot";
/// The default limits, in seconds.
const REFRESH: i64 = 300;
const STALE: i64 = 3600;
const REFETCH: i64 = 10;
const RETRY: i64 = 5;

fn bot() -> Result<String, Code> {
    Ok(BOT.to_owned())
}

#[tokio::test]
async fn keys_are_fetched_once_and_shared() {
    let world = World::new();
    let tokens: Vec<_> = (0..20).map(|n| world.token(json!({ "n": n }))).collect();
    let mut results = Vec::new();
    // All at once: one fetch serves them all.
    let calls: Vec<_> = tokens.iter().map(|token| world.bearer(token)).collect();
    for call in futures_join(calls).await {
        results.push(code(&call));
    }
    assert_eq!(results, vec![bot(); 20]);
    assert_eq!((world.issuer.discovery_requests(), world.issuer.jwks_requests()), (1, 1));
}

/// Polls all to the end, in turn.
async fn futures_join<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut pinned: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in &mut pinned {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        let done = pinned.iter().all(|(_, output)| output.is_some());
        if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    pinned.into_iter().map(|(_, output)| output.unwrap()).collect()
}

#[tokio::test]
async fn a_new_key_is_found_and_a_removed_one_ends() {
    let world = World::new();
    let old = world.token(json!({}));
    assert_eq!(code(&world.bearer(&old).await), bot());
    world.issuer.rotate();
    let new = world.token(json!({}));
    // An unknown key causes a fetch, once the pause since the last one is over.
    assert_eq!(code(&world.at(Some(&new), None, 1).await), Err(Code::TokenKeyUnknown));
    assert_eq!(world.issuer.jwks_requests(), 1);
    assert_eq!(code(&world.at(Some(&new), None, REFETCH).await), bot());
    assert_eq!(world.issuer.jwks_requests(), 2);
    // The removed key is gone with it, although its token was known.
    assert_eq!(code(&world.at(Some(&old), None, REFETCH).await), Err(Code::TokenKeyUnknown));
    assert_eq!(world.issuer.jwks_requests(), 2);
}

#[tokio::test]
async fn a_removed_key_ends_without_a_new_one_being_used() {
    let world = World::new();
    let old = world.token(json!({ "exp": vidimus_testkit::issuer::now_seconds() + 10_000 }));
    assert_eq!(code(&world.bearer(&old).await), bot());
    world.issuer.rotate();
    // Ageing: still served, and renewed beside the call.
    assert_eq!(code(&world.at(Some(&old), None, REFRESH).await), bot());
    world.issuer.until_jwks_requests(2).await;
    until(async || code(&world.at(Some(&old), None, REFRESH).await) == Err(Code::TokenKeyUnknown)).await;
    assert_eq!(world.issuer.jwks_requests(), 2);
}

/// The body runs until it holds; the end of a background task has no other sign than its effect.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("in ten seconds");
}

/// After a long silence the keys are renewed before they are used.
#[tokio::test]
async fn old_keys_are_renewed_before_use() {
    let world = World::new();
    let old = world.token(json!({ "exp": vidimus_testkit::issuer::now_seconds() + 10_000 }));
    assert_eq!(code(&world.bearer(&old).await), bot());
    world.issuer.rotate();
    assert_eq!(code(&world.at(Some(&old), None, 2 * REFRESH).await), Err(Code::TokenKeyUnknown));
}

/// The ages of keys, to the millisecond: how many requests were made when a token that is known is presented at this age.
#[tokio::test]
async fn keys_age_in_steps() {
    let (refresh, stale) = (REFRESH * 1000, STALE * 1000);
    for (age, down, expected, requests) in [
        // Fresh.
        (refresh - 1, false, bot(), 1),
        (refresh - 1, true, bot(), 1),
        // Ageing: renewed beside the call.
        (refresh, false, bot(), 2),
        (2 * refresh - 1, false, bot(), 2),
        // Old: renewed before the call.
        (2 * refresh, true, bot(), 2),
        (stale - 1, true, bot(), 2),
        // Not used.
        (stale, true, Err(Code::IssuerUnreachable), 2),
        (stale, false, bot(), 2),
        // A clock that was set back makes nothing younger.
        (-refresh + 1, false, bot(), 1),
        (-refresh, false, bot(), 2),
        (-stale, true, Err(Code::IssuerUnreachable), 2),
    ] {
        let world = World::new();
        let start = now().0;
        let long = json!({ "iat": 0, "exp": start / 1000 + 10_000 });
        let token = world.token(long.clone());
        let at =
            async |token: &str, age| code(&world.at_moment(Some(token), None, UnixMillis(start + age)).await);
        assert_eq!(at(&token, 0).await, bot());
        if down {
            world.issuer.behave(Behaviour::Down);
        }
        let asked = || if down { world.issuer.discovery_requests() } else { world.issuer.jwks_requests() };
        assert_eq!(at(&token, age).await, expected, "at {age}");
        until(async || asked() >= requests).await;
        // The same again, as the renewal was just made or tried.
        assert_eq!(at(&token, age).await, expected, "at {age}, again");
        assert_eq!(at(&world.token(long), age).await, expected, "another token at {age}");
        if requests == 1 {
            // A request that must not be made has no sign of its own; one that is made takes a few milliseconds.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(asked(), requests, "at {age}");
    }
}

/// Two callers who find no keys, of whom the second waits for the first: it takes what there is then, also where its own time would
/// allow another request.
#[tokio::test]
async fn who_waited_for_a_fetch_does_not_repeat_it() {
    let world = World::new();
    let tokens = [world.token(json!({ "n": 1 })), world.token(json!({ "n": 2 }))];
    let start = now().0;
    let calls = [(&tokens[0], 0), (&tokens[1], 2 * REFETCH * 1000)];
    let calls = calls.map(|(token, later)| world.at_moment(Some(token), None, UnixMillis(start + later)));
    for result in futures_join(calls.into_iter().collect()).await {
        assert_eq!(code(&result), bot());
    }
    assert_eq!(world.issuer.jwks_requests(), 1);
}

/// The pauses between requests, to the millisecond: after one that succeeded, and after one that failed.
#[tokio::test]
async fn an_issuer_is_not_asked_again_before_its_pause_is_over() {
    let world = World::new();
    let start = now().0;
    let at = async |token: &str, millis| {
        code(&world.at_moment(Some(token), None, UnixMillis(start + millis)).await)
    };
    assert_eq!(at(&world.token(json!({})), 0).await, bot());
    world.issuer.rotate();
    let new = world.token(json!({}));
    let refetch = REFETCH * 1000;
    assert_eq!(at(&new, refetch - 1).await, Err(Code::TokenKeyUnknown));
    assert_eq!(world.issuer.jwks_requests(), 1);
    assert_eq!(at(&new, refetch).await, bot());
    assert_eq!(world.issuer.jwks_requests(), 2);

    let world = World::new();
    world.issuer.behave(Behaviour::Down);
    let token = world.token(json!({}));
    let at = async |millis| code(&world.at_moment(Some(&token), None, UnixMillis(start + millis)).await);
    for (millis, asked) in [(0, 1), (RETRY * 1000 - 1, 1), (RETRY * 1000, 2), (2 * RETRY * 1000 - 1, 2)] {
        assert_eq!(at(millis).await, Err(Code::IssuerUnreachable), "{millis}");
        assert_eq!(world.issuer.discovery_requests(), asked, "{millis}");
    }
}

/// An issuer that was never asked is asked, whatever the clock says.
#[tokio::test]
async fn there_is_no_pause_before_the_first_request() {
    let world = World::new();
    let token = world.token(json!({ "iat": 0, "exp": 100 }));
    for millis in [0, 1000] {
        assert_eq!(code(&world.at_moment(Some(&token), None, UnixMillis(millis)).await), bot(), "{millis}");
    }
}

#[tokio::test]
async fn invented_key_ids_do_not_multiply_requests() {
    let world = World::new();
    assert_eq!(code(&world.bearer(&world.token(json!({}))).await), bot());
    let claims = world.issuer.completed(json!({ "sub": "bot-1", "aud": crate::world::GATEWAY })).to_string();
    for n in 0..100 {
        let forged = world.issuer.key().sign(&format!(r#"{{"alg":"ES256","kid":"k{n}"}}"#), &claims);
        assert_eq!(code(&world.at(Some(&forged), None, REFETCH + 1).await), Err(Code::TokenKeyUnknown));
    }
    assert_eq!(world.issuer.jwks_requests(), 2, "one for the keys, one for a hundred inventions");
}

/// A signature that does not hold under a key that is there says nothing of new keys.
#[tokio::test]
async fn wrong_signatures_cause_no_requests() {
    let world = World::new();
    assert_eq!(code(&world.bearer(&world.token(json!({}))).await), bot());
    let token = world.token(json!({ "sub": "bot-2" }));
    let (signed, _) = token.rsplit_once('.').unwrap();
    let other = world.token(json!({ "sub": "svc-reporting" }));
    let forged = format!("{signed}.{}", other.rsplit_once('.').unwrap().1);
    for minutes in 1..4 {
        let result = world.at(Some(&forged), None, minutes * 60).await;
        assert_eq!(code(&result), Err(Code::TokenSignature));
    }
    assert_eq!(world.issuer.jwks_requests(), 1);
}

#[tokio::test]
async fn an_issuer_that_is_down_is_bridged_for_a_while() {
    let world = World::new();
    let token = world.token(json!({ "exp": vidimus_testkit::issuer::now_seconds() + 10_000 }));
    assert_eq!(code(&world.bearer(&token).await), bot());
    world.issuer.behave(Behaviour::Down);
    for after in [REFRESH, 2 * REFRESH, 3 * REFRESH, STALE - 1] {
        assert_eq!(code(&world.at(Some(&token), None, after).await), bot(), "after {after} s");
    }
    let fresh = world.token(json!({ "n": 1 }));
    assert_eq!(code(&world.at(Some(&fresh), None, STALE - 1).await), bot(), "a token not seen before, too");
    assert_eq!(code(&world.at(Some(&token), None, STALE).await), Err(Code::IssuerUnreachable));
    world.issuer.behave(Behaviour::Healthy);
    assert_eq!(code(&world.at(Some(&token), None, STALE + 60).await), bot(), "and back");
}

/// While an issuer does not answer, calls that have keys do not wait for it.
#[tokio::test]
async fn an_issuer_that_hangs_does_not_hang_us() {
    let world = World::with(|config| config.limits.timeout = Duration::from_secs(1));
    let token = world.token(json!({ "exp": vidimus_testkit::issuer::now_seconds() + 10_000 }));
    assert_eq!(code(&world.bearer(&token).await), bot());
    world.issuer.behave(Behaviour::Hanging);
    assert_eq!(code(&world.at(Some(&token), None, 2 * REFRESH).await), bot(), "one call waits");
    let started = std::time::Instant::now();
    for n in 0..50 {
        assert_eq!(code(&world.at(Some(&token), None, 2 * REFRESH + n).await), bot());
    }
    // Each attempt at the issuer takes a second, and these calls span ten times the pause between attempts.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// A caller that goes away neither stops the fetch for the others nor causes another one.
#[tokio::test]
async fn a_caller_that_leaves_does_not_stop_the_fetch() {
    let world = World::new();
    world.issuer.behave(Behaviour::Hanging);
    let token = world.token(json!({}));
    for _ in 0..5 {
        let left = tokio::time::timeout(Duration::from_millis(20), world.bearer(&token)).await;
        assert!(left.is_err(), "still waiting");
    }
    world.issuer.behave(Behaviour::Healthy);
    assert_eq!(code(&world.bearer(&token).await), bot());
    assert_eq!(world.issuer.discovery_requests(), 1);
}

#[tokio::test]
async fn misbehaving_issuers_are_unreachable_ones() {
    let elsewhere = FakeIssuer::start();
    let cases = [
        (Behaviour::Down, "503"),
        (Behaviour::Hanging, "no answer within"),
        (Behaviour::OtherIssuer("https://login.example.com".into()), "names the issuer"),
        (Behaviour::OtherIssuer(String::new()), "names the issuer"),
        (Behaviour::JwksUri("http://10.0.0.1/jwks".into()), "not an https URL"),
        (Behaviour::JwksUri("file:///etc/passwd".into()), "not an https URL"),
        (Behaviour::JwksUri("http://user:pass@127.0.0.1/jwks".into()), "not an https URL"),
        (Behaviour::JwksUri("http://user@127.0.0.1/jwks".into()), "not an https URL"),
        (Behaviour::JwksUri("/jwks".into()), "not an https URL"),
        // Nobody listens there; what the connection failed of is in the causes.
        (Behaviour::JwksUri("http://127.0.0.1:1/jwks".into()), "Connection refused"),
        // Reserved, so no name of anybody's (RFC 2606): that it is asked for at all is what differs.
        (
            Behaviour::JwksUri("https://issuer.invalid/jwks".into()),
            "https://issuer.invalid/jwks: client error (Connect): ",
        ),
        (
            Behaviour::Redirect(format!("{}/.well-known/openid-configuration", elsewhere.issuer())),
            "answered 3",
        ),
        (Behaviour::Oversized(300 * 1024), "more than 262144 bytes"),
        (Behaviour::Garbage("<html>".into()), "not a JSON object"),
        (Behaviour::Garbage("[]".into()), "not a JSON object"),
        (Behaviour::Garbage(r#"{"keys": {}}"#.into()), "not a JSON object"),
    ];
    for (behaviour, why) in cases {
        let world = World::with(|config| {
            if behaviour == Behaviour::Hanging {
                config.limits.timeout = Duration::from_secs(1);
            }
        });
        world.issuer.behave(behaviour.clone());
        let refusal = world.bearer(&world.token(json!({}))).await.unwrap_err();
        assert_eq!(refusal.code, Code::IssuerUnreachable, "{behaviour:?}");
        let detail = refusal.detail.unwrap_or_default();
        assert!(detail.contains(why), "the operator learns why: {behaviour:?} {detail}");
        // The failure is remembered for a moment, then tried again.
        let asked = world.issuer.discovery_requests();
        assert_eq!(code(&world.bearer(&world.token(json!({}))).await), Err(Code::IssuerUnreachable));
        assert_eq!(world.issuer.discovery_requests(), asked, "{behaviour:?}");
        world.issuer.behave(Behaviour::Healthy);
        let token = world.token(json!({ "exp": vidimus_testkit::issuer::now_seconds() + 100 }));
        assert_eq!(code(&world.at(Some(&token), None, 6).await), bot(), "{behaviour:?}");
    }
    assert_eq!(elsewhere.discovery_requests(), 0, "redirects are not followed");
}

#[tokio::test]
async fn plain_http_beyond_loopback_must_be_allowed_explicitly() {
    for allowed in [false, true] {
        let mut world = World::with(|config| {
            config.allow_insecure_issuers = allowed;
            config.limits.timeout = Duration::from_millis(300);
        });
        // Reserved, never answers (RFC 2606): what differs is whether we would have asked.
        let issuer = "http://issuer.invalid";
        world.snapshot = with_issuer(issuer);
        let token = world.token(json!({ "iss": issuer }));
        let refusal = world.bearer(&token).await.unwrap_err();
        assert_eq!(refusal.code, Code::IssuerUnreachable);
        let refused_address = refusal.detail.unwrap().contains("not an https URL");
        assert_eq!(refused_address, !allowed);
    }
}

/// A registry that took an issuer which the check of resources would refuse: identity does not rely on it.
fn with_issuer(issuer: &str) -> vidimus_core::snapshot::Snapshot {
    use vidimus_core::resource::{Identity, Object, Origin, check};
    let identities = json!([{ "oidc": { "issuer": "https://x.example", "subject": "bot-1" } }]);
    let object =
        check(&Origin::default(), &crate::world::agent("invoice-bot", identities, json!([]))).unwrap();
    let Object::Agent(agent) = object else { panic!("an agent") };
    let mut agent = (*agent).clone();
    agent.identities =
        vec![Identity::Oidc { issuer: issuer.into(), subject: "bot-1".into(), claims: Default::default() }];
    vidimus_core::snapshot::Snapshot::build(vec![Object::Agent(agent.into())]).0
}

/// What a JWK Set may hold besides usable keys.
#[tokio::test]
async fn keys_that_are_not_for_us_are_left_out() {
    let unusable = [
        json!({ "use": "enc" }),
        json!({ "key_ops": ["sign"] }),
        json!({ "key_ops": "verify" }),
        json!({ "alg": "ES384" }),
        json!({ "alg": "HS256" }),
        json!({ "crv": "P-384" }),
        json!({ "crv": "secp256k1" }),
        json!({ "kty": "RSA" }),
        json!({ "kty": "oct", "k": "c2VjcmV0" }),
        json!({ "x": "AAAA" }),
        json!({ "y": null }),
    ];
    for overrides in unusable {
        let world = World::new();
        world.issuer.publish(IssuerKey::generate(Algorithm::Es256).published_as(overrides.clone()));
        let result = world.bearer(&world.token(json!({}))).await;
        assert_eq!(code(&result), Err(Code::TokenKeyUnknown), "{overrides}");
        // The keys beside it serve.
        world.issuer.add_key(Algorithm::Es256);
        let token = world.token(json!({}));
        assert_eq!(code(&world.at(Some(&token), None, REFETCH).await), bot(), "{overrides}");
    }
    // X25519 has keys as long as those of Ed25519, and signs nothing; a shorter one is none.
    for overrides in [json!({ "crv": "X25519" }), json!({ "x": "AAAA" })] {
        let world = World::new();
        world.issuer.publish(IssuerKey::generate(Algorithm::EdDsa).published_as(overrides.clone()));
        assert_eq!(
            code(&world.bearer(&world.token(json!({}))).await),
            Err(Code::TokenKeyUnknown),
            "{overrides}"
        );
    }
    for usable in [json!({ "use": null }), json!({ "alg": null }), json!({ "key_ops": ["verify"] })] {
        let world = World::new();
        world.issuer.publish(IssuerKey::generate(Algorithm::Es256).published_as(usable.clone()));
        assert_eq!(code(&world.bearer(&world.token(json!({}))).await), bot(), "{usable}");
    }
}

#[tokio::test]
async fn a_token_without_a_key_id_needs_a_single_key() {
    let world = World::new();
    let nameless = |world: &World| {
        let claims =
            world.issuer.completed(json!({ "sub": "bot-1", "aud": crate::world::GATEWAY })).to_string();
        world.issuer.key().sign(r#"{"alg":"ES256"}"#, &claims)
    };
    assert_eq!(code(&world.bearer(&nameless(&world)).await), bot());
    // A rotated key looks like a wrong signature, and is found all the same.
    world.issuer.rotate();
    assert_eq!(code(&world.at(Some(&nameless(&world)), None, REFETCH).await), bot());
    world.issuer.add_key(Algorithm::Es256);
    let later = 2 * REFETCH;
    assert_eq!(code(&world.at(Some(&nameless(&world)), None, later).await), Err(Code::TokenKeyUnknown));
}

#[tokio::test]
async fn waiting_for_an_issuer_is_bounded_in_time_and_number() {
    let world = World::with(|config| {
        config.limits.wait = Duration::from_millis(300);
        config.limits.waiting = 3;
        // The fetch itself lasts longer than anybody waits for it.
        config.limits.timeout = Duration::from_secs(600);
    });
    world.issuer.behave(Behaviour::Hanging);
    let tokens: Vec<_> = (0..5).map(|n| world.token(json!({ "n": n }))).collect();
    let mut codes = Vec::new();
    for result in futures_join(tokens.iter().map(|token| world.bearer(token)).collect()).await {
        codes.push(code(&result).expect_err("nobody is proven"));
    }
    let unreachable = codes.iter().filter(|code| **code == Code::IssuerUnreachable).count();
    assert_eq!((unreachable, codes.len()), (3, 5), "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Code::Overloaded).count(), 2, "{codes:?}");
    // Who comes much later joins the same fetch, and has the keys with its end.
    let late = world.at(Some(&tokens[0]), None, 60);
    assert_eq!(code(&late.await), Err(Code::IssuerUnreachable));
    assert_eq!(world.issuer.discovery_requests(), 1, "one fetch is under way");
    world.issuer.behave(Behaviour::Healthy);
    until(async || code(&world.at(Some(&tokens[0]), None, 60).await) == bot()).await;
}
