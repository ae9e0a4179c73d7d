//! Whose ServiceAccount token it is, whoever is registered: for parts of an installation, such as a data plane.

use std::sync::Arc;

use serde_json::{Value, json};
use vidimus_core::refusal::Code;
use vidimus_identity::{LivePods, PodScope};

use crate::world::{GATEWAY, World, merged, now};

const SUBJECT: &str = "system:serviceaccount:edge:agents";

fn audience() -> Arc<str> {
    "agentgateway".into()
}

async fn of(world: &World, token: &str) -> Result<(String, String), Code> {
    let account = world.gate.service_account(&world.snapshot, token, &audience(), now()).await;
    account.map(|it| (it.namespace.to_string(), it.name.to_string())).map_err(|refusal| refusal.code)
}

fn claims(over: Value) -> Value {
    merged(json!({ "sub": SUBJECT, "aud": ["agentgateway"] }), over)
}

#[tokio::test]
async fn a_service_account_is_known_by_its_token_though_nothing_is_registered_with_it() {
    let world = World::new();
    let token = world.foreign.token(claims(json!({})));
    assert_eq!(of(&world, &token).await, Ok(("edge".to_owned(), "agents".to_owned())));
    assert!(world.bearer(&token).await.is_err(), "for calls it is nobody's");
}

/// Attack: a token that was given out for something else is presented where configuration is given out.
#[tokio::test]
async fn no_token_but_the_clusters_for_this_very_audience_is_taken() {
    let world = World::new();
    let pod = |namespace: &str| {
        json!({ "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": "agents" },
            "pod": { "name": "agents-1", "uid": "gone" } } })
    };
    for (token, code) in [
        (world.foreign.token(claims(json!({ "aud": GATEWAY }))), Code::TokenAudience),
        (world.foreign.token(claims(json!({ "aud": "agentgateway/mcp/a/b" }))), Code::TokenAudience),
        (world.foreign.token(claims(json!({ "aud": [] }))), Code::TokenAudience),
        (world.foreign.token(claims(json!({ "aud": ["agentgateway", GATEWAY] }))), Code::TokenAudience),
        (world.foreign.token(claims(json!({ "exp": 1 }))), Code::TokenExpired),
        (world.foreign.token(claims(json!({ "sub": "edge:agents" }))), Code::PrincipalUnknown),
        (world.foreign.token(claims(json!({ "sub": "spiffe://corp.example/a" }))), Code::PrincipalUnknown),
        (world.foreign.token(claims(json!({ "act": { "sub": "x" } }))), Code::PrincipalUnknown),
        (world.foreign.token(claims(pod("other"))), Code::TokenMalformed),
        (world.issuer.token(claims(json!({}))), Code::TokenIssuer),
        (world.local_token("invoice-bot", None), Code::TokenIssuer),
        ("a.b".to_owned(), Code::TokenMalformed),
    ] {
        assert_eq!(of(&world, &token).await, Err(code), "{token}");
    }
    let token = world.foreign.token(claims(pod("edge")));
    assert!(of(&world, &token).await.is_ok());
    let pods: &LivePods = world.gate.pods();
    pods.list(PodScope::Cluster, [], vidimus_core::caller::UnixMillis(now().0 + 1_000));
    assert_eq!(of(&world, &token).await, Err(Code::PodGone));
}
