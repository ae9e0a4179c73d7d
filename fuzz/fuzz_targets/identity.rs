//! Tokens: as they come, and with claims that an issuer signed but nobody checked.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use vidimus_core::caller::UnixMillis;
use vidimus_core::snapshot::Snapshot;
use vidimus_identity::{Authenticator, Config, Evidence, Limits, LocalIdentity, Mint};
use vidimus_testkit::issuer::{Algorithm, FakeIssuer, now_seconds};

struct Gate {
    issuer: FakeIssuer,
    world: Arc<Snapshot>,
    authenticator: Authenticator,
    runtime: Runtime,
    now: UnixMillis,
}

static GATE: LazyLock<Gate> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let now = UnixMillis(now_seconds() * 1000);
    let issuer = FakeIssuer::with_key(Algorithm::EdDsa);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config = Config {
        audiences: vec!["vidimus".into()],
        mint: Arc::new(Mint::open(dir.path(), "https://gateway.example").expect("keys")),
        local: Some(Arc::new(LocalIdentity::open(dir.path(), None, now).expect("keys"))),
        service_account_issuer: None,
        allow_insecure_issuers: false,
        issuer_roots: None,
        roots_of_issuers: Vec::new(),
        trust: vidimus_identity::TrustStore::default(),
        limits: Limits { stale_after: std::time::Duration::from_secs(1 << 30), ..Limits::default() },
    };
    let authenticator = Authenticator::new(config).expect("a configuration");
    let gate = Gate { world: vidimus_fuzz::world(&issuer.issuer()), issuer, authenticator, runtime, now };
    let good = gate.issuer.token(serde_json::json!({"sub": "bot", "aud": "vidimus"}));
    assert!(gate.ask(&good), "a good token is good");
    gate
});

impl Gate {
    fn ask(&self, bearer: &str) -> bool {
        let evidence =
            Evidence { bearer: Some(bearer), peer: None, route: "/mcp/finance/ledger", now: self.now };
        self.runtime.block_on(self.authenticator.authenticate(&self.world, evidence)).is_ok()
    }
}

fuzz_target!(|input: &[u8]| {
    let gate = &*GATE;
    if let Ok(bearer) = std::str::from_utf8(input) {
        assert!(!gate.ask(bearer), "nobody signed this");
    }
    let Ok(claims @ Value::Object(_)) = serde_json::from_slice::<Value>(input) else { return };
    let proven = gate.ask(&gate.issuer.token(claims.clone()));
    assert!(!proven || claims["aud"].to_string().contains("vidimus"), "meant for somebody else: {claims}");
});
