//! The cluster's issuer, whose keys are read at the API server by who has a credential there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use vidimus_core::refusal::Code;
use vidimus_identity::{ApiServer, Reading};

use crate::world::{GATEWAY, World, code, now};

const AGENT: &str = "Agent/finance/invoice-bot";
/// Nobody listens there.
const ISSUER: &str = "https://127.0.0.1:1";

/// What an API server has, or why it says nothing.
#[derive(Debug)]
struct Server {
    documents: Result<(String, String), &'static str>,
    asked: AtomicUsize,
}

impl Server {
    fn new(documents: Result<(String, String), &'static str>) -> Arc<Self> {
        Arc::new(Self { documents, asked: AtomicUsize::new(0) })
    }

    /// Of this issuer, with the keys of `world.foreign`. Its keys are by another name of the server, as an API server says it.
    fn of(issuer: &str, world: &World) -> Arc<Self> {
        let metadata = json!({"issuer": issuer, "jwks_uri": "https://10.0.0.2:6443/openid/v1/jwks"});
        let keys = json!({"keys": [world.foreign.key().jwk()]});
        Self::new(Ok((metadata.to_string(), keys.to_string())))
    }
}

impl ApiServer for Server {
    fn read(&self, path: &'static str, _max: usize) -> Reading<'_> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let read = match (&self.documents, path) {
            (Err(why), _) => Err((*why).to_owned()),
            (Ok((metadata, _)), "/.well-known/openid-configuration") => Ok(metadata.clone().into()),
            (Ok((_, keys)), "/openid/v1/jwks") => Ok(keys.clone().into()),
            (Ok(_), other) => Err(format!("{other}: not found")),
        };
        Box::pin(std::future::ready(read))
    }
}

/// A world whose cluster's issuer is this one, with an API server that has what `made` says. The keys are those of `foreign` of the world before it.
fn world(issuer: &str, made: impl FnOnce(&World) -> Arc<Server>) -> (World, World, Arc<Server>) {
    let keys = World::new();
    let server = made(&keys);
    let world = World::with(|config| {
        config.service_account_issuer = Some(issuer.into());
        config.api_server = Some(server.clone());
    });
    (world, keys, server)
}

fn token(keys: &World, issuer: &str) -> String {
    let subject = "system:serviceaccount:finance:invoice-bot";
    keys.foreign.token(json!({ "iss": issuer, "sub": subject, "aud": [GATEWAY] }))
}

#[tokio::test]
async fn its_keys_are_those_that_the_api_server_has() {
    let (world, keys, server) = world(ISSUER, |keys| Server::of(ISSUER, keys));
    let proven = world.bearer(&token(&keys, ISSUER)).await.unwrap();
    assert_eq!(proven.principal.entity().to_string(), AGENT);
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
    assert_eq!(keys.foreign.discovery_requests() + keys.foreign.jwks_requests(), 0);
    assert_eq!(world.gate.unfetched(), []);
}

/// Attack: a record with an issuer of its own, so that the gateway asks for it with its credential.
#[tokio::test]
async fn no_other_issuer_is_asked_for_there() {
    let (world, _, server) = world(ISSUER, |keys| Server::of(ISSUER, keys));
    drop(world.bearer(&world.token(json!({ "sub": "anna" }))).await);
    assert_eq!(world.issuer.jwks_requests(), 1);
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_it_does_not_have_is_fetched_where_it_is_published() {
    let published = World::new();
    let issuer = published.foreign.issuer();
    for documents in [
        Err("/.well-known/openid-configuration: forbidden (403)"),
        Ok((json!({"issuer": ISSUER, "jwks_uri": ISSUER}).to_string(), "{}".to_owned())),
    ] {
        let (world, _, server) = world(&issuer, |_| Server::new(documents));
        let proven = world.bearer(&token(&published, &issuer)).await.unwrap();
        assert_eq!(proven.principal.entity().to_string(), AGENT);
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn keys_that_are_nowhere_are_told_before_a_token_comes() {
    let (world, keys, _) = world(ISSUER, |_| Server::new(Err("forbidden (403)")));
    assert_eq!(world.gate.unfetched(), []);
    world.gate.prepare(&world.snapshot, now());
    let refused = world.bearer(&token(&keys, ISSUER)).await;
    assert_eq!(code(&refused), Err(Code::IssuerUnreachable));
    let said = format!("{:?}", refused.unwrap_err());
    assert!(said.contains("forbidden (403)") && said.contains("127.0.0.1:1"), "{said}");
    assert_eq!(world.gate.unfetched(), [Arc::from(ISSUER)]);
}
