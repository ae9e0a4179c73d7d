//! Keys, checkpoints, cosignatures, proofs and the paths of tiles as text: nothing verifies but what the log itself signed.
#![no_main]

use std::str::FromStr as _;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vidimus_ledger::{Config, Ledger, Proof, SignedCheckpoint, TilePath, VerifierKey, WitnessKey};

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

/// The key of a witness that has signed nothing.
static WITNESS: LazyLock<WitnessKey> = LazyLock::new(|| {
    include_str!("../../crates/ledger/src/cosignature/tests/ml-dsa-44.vkey").trim_end().parse().expect("a key")
});

fuzz_target!(|input: &[u8]| {
    assert!(SignedCheckpoint::open(input, &KEY).is_err(), "nobody else can sign");
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(key) = VerifierKey::from_str(text) {
        assert_eq!(key.to_string().parse().as_ref(), Ok(&key));
        let _ = SignedCheckpoint::open(input, &key);
    }
    assert!(!matches!(WITNESS.cosigned(text), Ok(Some(_))), "nobody else can cosign");
    if let Ok(key) = WitnessKey::from_str(text) {
        assert_eq!(key.to_string().parse().as_ref(), Ok(&key));
    }
    if let Some(tile) = TilePath::parse(text) {
        assert!(tile.width > 0 && tile.width <= 256 && tile.level.is_none_or(|level| level < 64), "{tile:?}");
    }
    if let Ok(proof) = Proof::from_str(text) {
        assert_eq!(proof.to_string().parse().as_ref(), Ok(&proof), "{text}");
        assert!(proof.verify(b"{}", &KEY).is_err());
    }
});
