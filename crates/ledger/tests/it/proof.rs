use std::path::Path;
use std::time::Duration;

use vidimus_ledger::{
    Checkpoint, Config, Ledger, Proof, ProofError, ProveError, Prover, VerifierKey, read_from, show,
};

use crate::support::{config, grow, refusal, segments};

fn key(ledger: &Ledger) -> VerifierKey {
    ledger.public_key().parse().expect("a key")
}

#[tokio::test]
async fn every_record_of_a_log_is_proved_by_a_file_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = grow(Config { segment_bytes: 30_000, ..config(dir.path()) }, 700).await;
    let other = grow(config(tempfile::tempdir().expect("a directory").path()), 1).await;
    for index in [0, 1, 254, 255, 256, 511, 512, 513, 698, 699] {
        let shown = show(dir.path(), &format!("n-{index}")).expect("shown");
        let [shown] = &shown[..] else { panic!("{shown:?}") };
        assert_eq!(shown.index, index);
        let text = shown.proof.as_ref().expect("a proof").to_string();
        assert!(text.starts_with(&format!("c2sp.org/tlog-proof@v1\nindex {index}\n")), "{text}");
        let proof: Proof = text.parse().expect("a proof");
        assert_eq!(proof.to_string(), text);
        let checkpoint = proof.verify(&shown.record, &key(&ledger)).expect("proved");
        assert_eq!((checkpoint.size, checkpoint.origin.as_str()), (700, "test.example/log"));

        let mut altered = shown.record.clone();
        altered[0] ^= 1;
        let no = Err(ProofError::NotIncluded { index, size: 700 });
        assert_eq!(proof.verify(&altered, &key(&ledger)), no);
        assert!(matches!(proof.verify(&shown.record, &key(&other)), Err(ProofError::Checkpoint(_))));
        let moved: Proof =
            text.replacen(&format!("index {index}\n"), "index 77\n", 1).parse().expect("a proof");
        assert!(moved.verify(&shown.record, &key(&ledger)).is_err());
    }
    assert!(show(dir.path(), "nobody").expect("shown").is_empty());
}

#[tokio::test]
async fn no_byte_of_a_proof_can_be_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = grow(config(dir.path()), 5).await;
    let shown = show(dir.path(), "n-3").expect("shown").remove(0);
    let text = shown.proof.expect("a proof").to_string();
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let Ok(altered) = String::from_utf8(bytes) else { continue };
        let proved =
            altered.parse::<Proof>().ok().and_then(|proof| proof.verify(&shown.record, &key(&ledger)).ok());
        assert_eq!(proved, None, "byte {at}: {altered}");
    }
    // Opaque extra data is allowed and proves nothing (C2SP tlog-proof, "Format").
    let extra = text.replacen('\n', "\nextra AAAA\n", 1);
    assert!(extra.parse::<Proof>().expect("a proof").verify(&shown.record, &key(&ledger)).is_ok());
    for bad in [
        "",
        "c2sp.org/tlog-proof@v1",
        "c2sp.org/tlog-proof@v2\nindex 0\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 00\n\nx",
    ] {
        assert!(matches!(bad.parse::<Proof>(), Err(ProofError::Form { .. })), "{bad}");
    }
    let long = format!(
        "c2sp.org/tlog-proof@v1\nindex 0\n{}\n",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".repeat(65)
    );
    assert!(matches!(long.parse::<Proof>(), Err(ProofError::Form { line: 67, .. })));
}

#[tokio::test]
async fn a_record_that_is_not_yet_covered_says_so_and_soon_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::open(config(dir.path())).expect("opened");
    ledger.record(&refusal("x")).await.expect("recorded");
    let shown = show(dir.path(), "x").expect("shown").remove(0);
    assert!(matches!(shown.proof, Err(ProveError::NotCovered { index: 0, size: 0 })), "{shown:?}");
    ledger.close().await;

    let soon = Config { checkpoint_interval: Duration::from_millis(1), ..config(dir.path()) };
    let ledger = Ledger::open(soon).expect("opened");
    ledger.record(&refusal("y")).await.expect("recorded");
    while show(dir.path(), "y").expect("shown").remove(0).proof.is_err() {
        tokio::task::yield_now().await;
    }
    drop(ledger);
}

#[tokio::test]
async fn an_altered_log_proves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 300).await;
    let tile = dir.path().join("tile/0/000");
    let mut bytes = std::fs::read(&tile).expect("read");
    bytes[5000] ^= 1;
    std::fs::write(&tile, bytes).expect("written");
    let shown = show(dir.path(), "n-3").expect("shown").remove(0);
    assert!(matches!(shown.proof, Err(ProveError::Inconsistent)), "{shown:?}");
}

/// A proof of record `index` of the log in `dir`, by a process that knows nothing of it.
fn proven(dir: &Path, index: u64, record: &[u8]) -> Result<Checkpoint, ProveError> {
    let mut prover = Prover::latest(dir)?;
    let (proof, key) = (prover.prove(index, record)?, prover.key().clone());
    Ok(proof.verify(record, &key).expect("it is checked"))
}

fn record(dir: &Path, index: u64) -> Vec<u8> {
    read_from(dir, index).expect("read").next().expect("a record").expect("whole").record
}

/// As little is read of a log of any size: the newest segment need not be there.
#[tokio::test]
async fn a_proof_reads_no_segment() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    for (count, size) in [(5, 5), (251, 256), (344, 600)] {
        grow(config(dir), count).await;
        let record = record(dir, 3);
        let [path] = &segments(dir)[..] else { panic!("one segment") };
        let aside = dir.join("away");
        std::fs::rename(path, &aside).expect("moved");
        assert_eq!(proven(dir, 3, &record).expect("a proof").size, size);
        std::fs::rename(&aside, path).expect("put back");
    }
}

/// The hint is none where it is not there, or torn, or of another moment, or made up: then the records are read. Nothing is proven by it
/// that is not so.
#[tokio::test]
async fn whatever_the_hint_is_the_proof_is_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let hint = dir.join("partial");
    grow(config(dir), 500).await;
    let older = std::fs::read(&hint).expect("written with each checkpoint");
    grow(config(dir), 100).await;
    let whole = std::fs::read(&hint).expect("read");
    let mut forged = whole.clone();
    forged[8 + 32 * 87 + 5] ^= 1;
    let mut larger = whole.clone();
    larger[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let record = record(dir, 599);
    let expected = proven(dir, 599, &record).expect("a proof");
    for (what, bytes) in [
        ("stale", &older[..]),
        ("torn", &whole[..2000]),
        ("empty", &whole[..0]),
        ("forged", &forged[..]),
        ("of more records than there can be", &larger[..]),
    ] {
        std::fs::write(&hint, bytes).expect("written");
        assert_eq!(proven(dir, 599, &record).expect(what), expected, "{what}");
        let mut altered = record.clone();
        altered[9] ^= 1;
        assert!(matches!(proven(dir, 599, &altered), Err(ProveError::Inconsistent)), "{what}");
    }
    std::fs::remove_file(&hint).expect("removed");
    assert_eq!(proven(dir, 599, &record).expect("absent"), expected);
    // A start puts it back, also where nothing is recorded after it.
    grow(config(dir), 0).await;
    let again = std::fs::read(&hint).expect("written again");
    assert!(whole.starts_with(&again), "what was behind it was left of an older one");
    assert_eq!(again.len(), 8 + 32 * (600 % 256 + 2));
}

/// It is written before the checkpoint is issued: one that is read in between has its tree in it too, or in full tiles.
#[tokio::test]
async fn the_hint_of_a_later_checkpoint_serves_an_earlier_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    for (first, more) in [(100, 50), (100, 200), (300, 400)] {
        let log = dir.join(format!("{first}-{more}"));
        grow(config(&log), first).await;
        let checkpoint = std::fs::read(log.join("checkpoint")).expect("read");
        grow(config(&log), more).await;
        std::fs::write(log.join("checkpoint"), checkpoint).expect("written");
        let record = record(&log, 42);
        std::fs::remove_file(&segments(&log)[0]).expect("removed");
        assert_eq!(proven(&log, 42, &record).expect("a proof").size, first);
    }
}
