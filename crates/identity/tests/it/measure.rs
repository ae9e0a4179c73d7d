//! What it costs. `cargo test -p vidimus-identity --release --test it -- --ignored --nocapture measure`

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use serde_json::json;
use vidimus_core::caller::{Chain, UnixMillis};
use vidimus_identity::Hop;
use vidimus_testkit::issuer::{Algorithm, FakeIssuer};

use crate::world::{World, agent, now, snapshot};

/// The fastest and the median of 20 batches, in ns per call. On a busy machine only the fastest says what the code costs.
fn measure(name: &str, calls: u32, mut call: impl FnMut()) {
    let mut batches: Vec<u128> = (0..20)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..calls {
                call();
            }
            started.elapsed().as_nanos() / u128::from(calls)
        })
        .collect();
    batches.sort_unstable();
    eprintln!("{name}: {} ns (median {})", batches[0], batches[10]);
}

#[test]
#[ignore = "a measurement, in release"]
fn measure_identity() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let mut world = World::new();
        world.issuer = FakeIssuer::with_key(algorithm);
        let identities = json!([{ "oidc": { "issuer": world.issuer.issuer(), "subject": "bot-1" } }]);
        world.snapshot = snapshot(&[agent("invoice-bot", identities, json!([]))]);
        let token = world.token(json!({}));
        runtime.block_on(async {
            world.bearer(&token).await.unwrap();
        });
        let tokens: Vec<_> = (0..20 * 100).map(|n| world.token(json!({ "n": n }))).collect();
        let mut next = tokens.iter();
        runtime.block_on(async {
            let evidence = |bearer| vidimus_identity::Evidence {
                bearer: Some(bearer),
                peer: None,
                route: "/mcp/a/b",
                now: now(),
            };
            let evidence_now = evidence(token.as_str());
            measure(&format!("authenticate, warm, {algorithm:?}, {} bytes", token.len()), 10_000, || {
                let call = world.gate.authenticate(&world.snapshot, black_box(evidence_now));
                black_box(ready(call).unwrap());
            });
            measure(&format!("authenticate, cold, {algorithm:?}"), 100, || {
                let call = world.gate.authenticate(&world.snapshot, evidence(next.next().unwrap()));
                black_box(ready(call).unwrap());
            });
        });
    }
    let world = World::new();
    let (destination, caller) =
        ("Agent/finance/summarizer".parse().unwrap(), "Agent/finance/invoice-bot".parse().unwrap());
    let chain = Chain {
        transaction: "0190163d-8694-739b-aea5-966c26f8ad90".into(),
        started: UnixMillis(1),
        actors: vec![],
    };
    let hop = Hop {
        audience: "http://summarizer.finance:8080/",
        destination: &destination,
        caller: &caller,
        user: None,
        chain: &chain,
        now: now(),
        ttl: Duration::from_secs(120),
    };
    measure("mint", 500, || {
        black_box(world.mint.mint(black_box(&hop)).unwrap());
    });
    let message = vec![7; 700];
    let es256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    measure("sign ES256, 700 bytes", 500, || {
        black_box(es256.sign(&SystemRandom::new(), black_box(&message)).unwrap());
    });
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    measure("sign Ed25519, 700 bytes", 500, || {
        black_box(ed25519.sign(black_box(&message)));
    });
}

/// The output of a future that does not wait.
fn ready<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it waits"),
    }
}
