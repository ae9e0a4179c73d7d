//! Keys, checkpoints and proofs as text: nothing verifies but what the log itself signed.
#![no_main]

use std::str::FromStr as _;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vidimus_ledger::{Config, Ledger, Proof, SignedCheckpoint, VerifierKey};

/// The key of a log that has signed a checkpoint.
static KEY: LazyLock<VerifierKey> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config {
        dir: dir.path().to_owned(),
        origin: Some("fuzz.example/log".to_owned()),
        ..Config::default()
    };
    let ledger = Ledger::open(config).expect("a new log");
    ledger.public_key().parse().expect("its own key")
});

fuzz_target!(|input: &[u8]| {
    assert!(SignedCheckpoint::open(input, &KEY).is_err(), "nobody else can sign");
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(key) = VerifierKey::from_str(text) {
        assert_eq!(key.to_string().parse().as_ref(), Ok(&key));
        let _ = SignedCheckpoint::open(input, &key);
    }
    if let Ok(proof) = Proof::from_str(text) {
        assert_eq!(proof.to_string().parse().as_ref(), Ok(&proof), "{text}");
        assert!(proof.verify(b"{}", &KEY).is_err());
    }
});
