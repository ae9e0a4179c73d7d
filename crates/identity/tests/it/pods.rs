//! Which copy of an agent calls: the pod of a ServiceAccount token, the certificate of an SVID. And pods that are gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use vidimus_core::caller::{Instance, InstanceKind, UnixMillis};
use vidimus_core::refusal::Code;
use vidimus_identity::{PeerSvid, PodScope};

use crate::world::{BOT, GATEWAY, World, code, merged, now, objects, peer};

const AGENT: &str = "Agent/finance/invoice-bot";
const SUBJECT: &str = "system:serviceaccount:finance:invoice-bot";
const UID: &str = "778a530c-b3f4-47c0-9cd5-ab018fb64f33";
const OTHER: &str = "0b1fd29a-6e52-4d0c-8a3a-5d7b6c1c9f10";

/// A world in which the foreign issuer is the cluster's, and nothing else claims the ServiceAccount.
fn cluster() -> World {
    let mut world = World::new();
    let all = objects(&world.issuer.issuer(), &world.foreign.issuer());
    let all: Vec<Value> =
        all.into_iter().filter(|object| object.pointer("/metadata/name") != Some(&json!("twice"))).collect();
    world.snapshot = crate::world::snapshot(&all);
    world
}

/// The claims of a projected token, as kube-apiserver 1.35 writes them.
fn claims(uid: &str) -> Value {
    json!({
        "aud": [GATEWAY], "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a", "sub": SUBJECT,
        "kubernetes.io": {
            "namespace": "finance",
            "node": { "name": "worker-1", "uid": "58456cb0-dd00-45ed-b797-5578fdceaced" },
            "pod": { "name": "invoice-bot-69cbdb9798-jv9gn", "uid": uid },
            "serviceaccount": { "name": "invoice-bot", "uid": "a087d5a0-e1dd-43ec-93ac-f13d89cd13af" },
            "warnafter": 1_700_081_803,
        },
    })
}

fn kubernetes(claims: &mut Value) -> &mut serde_json::Map<String, Value> {
    claims.get_mut("kubernetes.io").and_then(Value::as_object_mut).unwrap()
}

fn without(mut claims: Value, member: &str) -> Value {
    kubernetes(&mut claims).remove(member);
    claims
}

fn with(mut claims: Value, member: &str, value: Value) -> Value {
    kubernetes(&mut claims).insert(member.to_owned(), value);
    claims
}

#[tokio::test]
async fn a_service_account_token_names_its_pod() {
    let world = cluster();
    let proven = world.bearer(&world.foreign.token(claims(UID))).await.unwrap();
    assert_eq!(proven.principal.entity().to_string(), AGENT);
    let copy = proven.instance.as_deref().unwrap();
    assert_eq!((&*copy.id, copy.kind), (UID, InstanceKind::Pod));
    assert_eq!(copy.name.as_deref(), Some("finance/invoice-bot-69cbdb9798-jv9gn"));
    assert_eq!(copy.node.as_deref(), Some("worker-1"));
    // Before 1.32 no token named its node; one that is bound to no pod names no copy; nor does one of an agent elsewhere.
    let no_node = world.bearer(&world.foreign.token(without(claims(UID), "node"))).await.unwrap();
    assert_eq!(no_node.instance.as_ref().map(|copy| (&*copy.id, copy.node.clone())), Some((UID, None)));
    for unbound in [without(without(claims(UID), "pod"), "node"), json!({ "sub": SUBJECT, "aud": GATEWAY })] {
        assert_eq!(world.bearer(&world.foreign.token(unbound)).await.unwrap().instance, None);
    }
    assert_eq!(world.bearer(&world.token(json!({}))).await.unwrap().instance, None);
}

/// Attack: an agent has its own issuer write the claims of a pod, so that another copy is taken for it, or it for another.
#[tokio::test]
async fn only_the_clusters_issuer_is_believed_about_pods() {
    let world = cluster();
    let forged = claims(OTHER)["kubernetes.io"].clone();
    let proven = world.bearer(&world.token(json!({ "kubernetes.io": forged }))).await.unwrap();
    assert_eq!((proven.principal.entity().to_string(), proven.instance.clone()), (AGENT.to_owned(), None));
    // Nor is a person's token beside an SVID: the certificate says which copy it is.
    let token = world.token(json!({ "sub": "anna", "kubernetes.io": forged }));
    let proven = world.both(&token, &peer(BOT)).await.unwrap();
    assert_eq!(proven.instance.as_ref().map(|copy| copy.kind), Some(InstanceKind::Certificate));
    // A token that says two things about whose it is.
    for odd in [
        with(claims(UID), "namespace", json!("other")),
        with(claims(UID), "serviceaccount", json!({ "name": "other" })),
        without(claims(UID), "namespace"),
        with(claims(UID), "pod", json!({ "name": "x" })),
        with(claims(UID), "pod", json!({ "name": "x/y", "uid": UID })),
        with(claims(UID), "pod", json!({ "name": "x", "uid": "" })),
        with(claims(UID), "pod", json!("x")),
        merged(claims(UID), json!({ "kubernetes.io": "x" })),
    ] {
        let refused = code(&world.bearer(&world.foreign.token(odd.clone())).await);
        assert_eq!(refused, Err(Code::TokenMalformed), "{odd}");
    }
}

async fn copy_of(world: &World, peer: &PeerSvid) -> Arc<Instance> {
    world.at(None, Some(peer), 0).await.unwrap().instance.clone().unwrap()
}

/// Two certificates of one SPIFFE ID are of two copies, also where they end at the same time.
#[tokio::test]
async fn an_svid_names_its_certificate() {
    let world = World::new();
    let (one, other) = (peer(BOT), peer(BOT));
    let (first, second) = (copy_of(&world, &one).await, copy_of(&world, &other).await);
    assert_eq!((first.kind, second.kind), (InstanceKind::Certificate, InstanceKind::Certificate));
    assert_ne!(first.id, second.id);
    assert_eq!(copy_of(&world, &one).await, first);
    assert!(first.id.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()), "{first}");
}

#[tokio::test]
async fn a_token_of_a_pod_that_is_gone_is_refused() {
    let world = cluster();
    let pods = world.gate.pods().clone();
    let token = world.foreign.token(claims(UID));
    let listed = |uids: &[&str]| -> Vec<(Arc<str>, Arc<str>)> {
        uids.iter().map(|uid| ("finance".into(), (*uid).into())).collect()
    };
    let later = UnixMillis(now().0 + 5_000);
    // Nobody watches, so nothing is looked up.
    assert_eq!(code(&world.bearer(&token).await), Ok(AGENT.to_owned()));
    pods.list(PodScope::Cluster, listed(&[UID, OTHER]), later);
    assert_eq!(code(&world.bearer(&token).await), Ok(AGENT.to_owned()));
    // The cached credential is looked at again, and so is a new token of the same pod.
    let generation = world.gate.trust_generation();
    pods.went("finance", UID);
    assert_ne!(world.gate.trust_generation(), generation);
    let renewed = world.foreign.token(merged(claims(UID), json!({ "jti": "another" })));
    for token in [&token, &renewed] {
        let refusal = world.bearer(token).await.unwrap_err();
        assert_eq!(refusal.code, Code::PodGone);
        let proven = refusal.proven.unwrap();
        assert_eq!(proven.instance.as_ref().map(|copy| &*copy.id), Some(UID));
        assert!(proven.identity.ends_with(SUBJECT));
    }
    // Its sibling goes on, and so do those whose tokens name no pod.
    assert_eq!(code(&world.bearer(&world.foreign.token(claims(OTHER))).await), Ok(AGENT.to_owned()));
    assert_eq!(code(&world.bearer(&world.token(json!({}))).await), Ok(AGENT.to_owned()));
    assert_eq!(code(&world.at(None, Some(&peer(BOT)), 0).await), Ok(AGENT.to_owned()));
    // One that began after what is known is not known to be gone, until more is known.
    let young = world.foreign.token(claims("4f0c1e7a-0000-4d0c-8a3a-5d7b6c1c9f10"));
    pods.list(PodScope::Cluster, listed(&[OTHER]), UnixMillis(now().0 - 60_000));
    assert_eq!(code(&world.bearer(&young).await), Ok(AGENT.to_owned()));
    pods.seen(later);
    assert_eq!(code(&world.bearer(&young).await), Err(Code::PodGone));
    // Of a namespace that nobody watches nothing is known; nor is anything once the watch is given up.
    let elsewhere = PodScope::Namespaces(BTreeSet::from([Arc::from("other")]));
    pods.list(elsewhere, listed(&[]), later);
    assert_eq!(code(&world.bearer(&token).await), Ok(AGENT.to_owned()));
    pods.list(PodScope::Cluster, listed(&[]), later);
    assert_eq!(code(&world.bearer(&token).await), Err(Code::PodGone));
    pods.forget();
    assert_eq!(code(&world.bearer(&token).await), Ok(AGENT.to_owned()));
}

/// A token that is bound to a pod ends when it says, whatever is known of the pod: `warnafter` is advice to the cluster.
#[tokio::test]
async fn a_bound_token_ends_at_its_own_time() {
    let world = cluster();
    let token = world.foreign.token(claims(UID));
    let life = Duration::from_secs(3600);
    let at = i64::try_from(life.as_secs()).unwrap() + 1;
    assert_eq!(code(&world.at(Some(&token), None, 10).await), Ok(AGENT.to_owned()));
    assert_eq!(code(&world.at(Some(&token), None, at).await), Err(Code::TokenExpired));
}
