//! What credentials cost: verifying a caller's token the first time and again, and minting the token of a hop with its parts.
//! One JSON object a line.
//!
//! Each figure is that of one call on one core, from batches of calls: the fastest batch, which on a busy machine is what the code
//! itself costs, and the median batch.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot run has nothing to say"
)]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use vidimus_core::call::Destination;
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis};
use vidimus_core::resource::{Origin, Principal, check};
use vidimus_core::snapshot::Snapshot;
use vidimus_identity::{Authenticator, Config, Evidence, Limits, Mint};
use vidimus_testkit::issuer::{Algorithm, FakeIssuer, now_seconds};
use vidimus_testkit::permit::permit;

const GATEWAY: &str = "https://gateway.example";
const BATCHES: usize = 20;
/// Bytes of the header and the payload of a hop's token, in base64url, as `mint` signs them.
const MESSAGE: usize = 700;

fn main() {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mint = Arc::new(Mint::open(directory.path(), GATEWAY).expect("a mint"));
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        authenticate(algorithm, &mint);
    }
    hop(&mint);
    primitives();
}

fn now() -> UnixMillis {
    UnixMillis(now_seconds() * 1000)
}

/// Verifying the token of a caller: new to the authenticator, and cached.
fn authenticate(algorithm: Algorithm, mint: &Arc<Mint>) {
    const NEW: usize = 100;
    let issuer = FakeIssuer::with_key(algorithm);
    let snapshot = snapshot(&issuer.issuer());
    let authenticator = Authenticator::new(Config {
        audiences: vec![GATEWAY.into()],
        mint: mint.clone(),
        local: None,
        service_account_issuer: None,
        api_server: None,
        allow_insecure_issuers: false,
        issuer_roots: None,
        roots_of_issuers: Vec::new(),
        trust: vidimus_identity::TrustStore::default(),
        limits: Limits::default(),
    })
    .expect("an authenticator");
    let token = |number: usize| issuer.token(json!({ "sub": "invoice-bot", "aud": GATEWAY, "n": number }));
    let (cached, new): (String, Vec<String>) = (token(0), (1..=BATCHES * NEW).map(token).collect());
    let evidence = |bearer| Evidence { bearer: Some(bearer), peer: None, route: "/mcp/a/b", now: now() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        // The first call fetches the issuer's keys.
        authenticator.authenticate(&snapshot, evidence(&cached)).await.expect("a principal");
        let of = |credential: &str| json!({ "alg": algorithm.as_str(), "credential": credential, "token_bytes": cached.len() });
        let again = evidence(&cached);
        figure("authenticate", of("cached"), 10_000, || {
            black_box(ready(authenticator.authenticate(&snapshot, black_box(again))).expect("a principal"));
        });
        let mut next = new.iter();
        figure("authenticate", of("new"), NEW, || {
            let evidence = evidence(next.next().expect("a token for each call"));
            black_box(ready(authenticator.authenticate(&snapshot, evidence)).expect("a principal"));
        });
    });
}

fn snapshot(issuer: &str) -> Snapshot {
    let agent = |name: &str| {
        let agent = json!({
            "apiVersion": "vidimus.dev/v1alpha1",
            "kind": "Agent",
            "metadata": { "name": name, "namespace": "finance" },
            "spec": {
                "owner": "first.last@example.com", "team": "finance", "purpose": "a benchmark", "riskLevel": "low",
                "identities": [{ "oidc": { "issuer": issuer, "subject": name } }],
                "endpoint": { "url": format!("http://{name}.finance:8080") },
            },
        });
        check(&Origin::default(), &agent).expect("an agent")
    };
    let (snapshot, rejected) = Snapshot::build(vec![agent("invoice-bot"), agent("summarizer")]);
    assert_eq!(rejected, []);
    snapshot
}

/// Minting.
fn hop(mint: &Mint) {
    let snapshot = snapshot("https://issuer.example");
    let agent = |name: &str| snapshot.agent(&format!("finance/{name}")).expect("an agent").clone();
    let proven = Proven {
        principal: Principal::Agent(agent("invoice-bot")),
        identity: "spiffe://corp.example/ns/finance/sa/invoice-bot".into(),
        user: None,
        delegated: None,
        instance: None,
        expires: None,
    };
    let chain = Chain {
        transaction: "0190163d-8694-739b-aea5-966c26f8ad90".into(),
        started: UnixMillis(1),
        actors: vec![],
    };
    let caller = Caller { proven: Arc::new(proven), chain: Arc::new(chain) };
    let permit = permit(&caller, &Destination::Agent(agent("summarizer")), "call-1");
    let (now, ttl) = (now(), Duration::from_secs(120));
    let bytes = mint.mint(&permit, now, ttl).expect("a token").header_value.len() - "Bearer ".len();
    figure("mint", json!({ "alg": "ES256", "token_bytes": bytes }), 500, || {
        black_box(mint.mint(black_box(&permit), now, ttl).expect("a token"));
    });
}

/// What minting consists of, and what else could sign.
fn primitives() {
    let message = vec![7; MESSAGE];
    let es256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let ed25519 = Ed25519KeyPair::generate().expect("a key");
    let of = |algorithm: &str| json!({ "alg": algorithm, "bytes": MESSAGE });
    let sign = || es256.sign(&SystemRandom::new(), black_box(&message)).expect("a signature");
    figure("sign", of("ES256"), 500, || {
        black_box(sign());
    });
    figure("sign", of("EdDSA"), 500, || {
        black_box(ed25519.sign(black_box(&message)));
    });
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, es256.public_key().as_ref()).expect("a key");
    let signature = sign();
    figure("verify", of("ES256"), 500, || {
        public.verify_sig(black_box(&message), signature.as_ref()).expect("a good signature");
    });
    let public = ParsedPublicKey::new(&ED25519, ed25519.public_key().as_ref()).expect("a key");
    let signature = ed25519.sign(&message);
    figure("verify", of("EdDSA"), 500, || {
        public.verify_sig(black_box(&message), signature.as_ref()).expect("a good signature");
    });
    figure("random", json!({ "bytes": 12 }), 5_000, || {
        let mut bytes = [0; 12];
        aws_lc_rs::rand::fill(&mut bytes).expect("random bytes");
        black_box(bytes);
    });
    figure("base64url", json!({ "bytes": MESSAGE / 4 * 3 }), 5_000, || {
        black_box(URL_SAFE_NO_PAD.encode(black_box(&message[..MESSAGE / 4 * 3])));
    });
}

/// Measures batches of `calls` calls, and prints the fastest and the median.
#[expect(clippy::needless_pass_by_value, reason = "json!(..) at every call")]
fn figure(name: &str, parameters: Value, calls: usize, mut call: impl FnMut()) {
    let mut batches: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let begun = Instant::now();
            (0..calls).for_each(|_| call());
            begun.elapsed().as_secs_f64() * 1e6 / calls as f64
        })
        .collect();
    batches.sort_unstable_by(f64::total_cmp);
    for (statistic, value) in [("fastest batch", batches[0]), ("median batch", batches[BATCHES / 2])] {
        let mut parameters = parameters.clone();
        parameters["statistic"] = statistic.into();
        let value = (value * 1000.0).round() / 1000.0;
        println!("{}", json!({ "name": name, "value": value, "unit": "µs", "parameters": parameters }));
    }
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
