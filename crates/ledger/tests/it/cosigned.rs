//! What witnesses say of a log, and what clients of tiled logs read of it.

use std::fs;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vidimus_ledger::{
    Checkpoint, Finding, KeepError, Ledger, Note, OpenError, Options, ProveError, Prover, Report, Source,
    WitnessKey, Witnesses, cosigned, search, verify,
};

use crate::support::{config, copy, grow, refusal, segments};

struct Witness(Ed25519KeyPair, &'static str);

impl Witness {
    fn new(name: &'static str) -> Self {
        Self(Ed25519KeyPair::generate().expect("a key"), name)
    }

    fn id(&self) -> Vec<u8> {
        let bytes = [self.1.as_bytes(), b"\n\x04", self.0.public_key().as_ref()].concat();
        digest(&SHA256, &bytes).as_ref()[..4].to_vec()
    }

    fn key(&self) -> WitnessKey {
        let id: String = self.id().iter().map(|byte| format!("{byte:02x}")).collect();
        let key = STANDARD.encode([&[4], self.0.public_key().as_ref()].concat());
        format!("{}+{id}+{key}", self.1).parse().expect("a key")
    }

    /// The note with this witness's line behind it.
    fn cosign(&self, note: &str) -> String {
        let text = format!("{}\n", note.split("\n\n").next().expect("a note"));
        let signature = self.0.sign(format!("cosignature/v1\ntime 1700000000\n{text}").as_bytes());
        let bytes = [&self.id(), &1_700_000_000_u64.to_be_bytes()[..], signature.as_ref()].concat();
        format!("{note}— {} {}\n", self.1, STANDARD.encode(bytes))
    }
}

fn checked(dir: &Path, witnesses: &[&Witness], quorum: usize) -> Report {
    let witnesses = Witnesses::new(witnesses.iter().map(|witness| witness.key()), Some(quorum));
    verify(dir, &Options { witnesses, ..Options::default() }).expect("verified")
}

#[tokio::test]
async fn what_witnesses_cosigned_is_kept_and_believed_by_who_asks_for_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, two, none) = (Witness::new("w/1"), Witness::new("w/2"), Witness::new("w/3"));
    grow(config(dir.path()), 5).await;
    assert!(cosigned(dir.path()).is_none());
    assert!(matches!(Prover::cosigned(dir.path()), Err(ProveError::Uncosigned)));
    let first = Ledger::open(config(dir.path())).expect("opened");
    let note = first.tiles().checkpoint().to_owned();
    first.keep_cosigned(&two.cosign(&one.cosign(&note))).expect("kept");
    assert_eq!(first.cosigned().map(|cosigned| cosigned.checkpoint.size), Some(5));
    first.close().await;
    assert!(matches!(first.keep_cosigned(&note), Err(KeepError::Closed)));
    // The very checkpoint that is the newest: its proofs have the lines.
    let prover = Prover::latest(dir.path()).expect("a prover");
    assert_eq!(prover.signed().others(prover.key()), ["w/1", "w/2"]);

    for (witnesses, quorum, by) in
        [(&[&one, &two, &none][..], 2, 2), (&[&one][..], 1, 1), (&[&one, &two][..], 1, 2), (&[][..], 0, 0)]
    {
        let report = checked(dir.path(), witnesses, quorum);
        assert!(report.intact(), "{report:?}");
        let cosigned = report.cosigned.expect("cosigned");
        assert_eq!((cosigned.size, cosigned.by.len()), (5, by));
        assert!(cosigned.by.iter().all(|by| by.time == 1_700_000_000));
        assert_eq!(witnesses.is_empty(), report.notes.contains(&Note::WitnessesNotAsked { size: 5 }));
    }
    for (witnesses, quorum, found) in
        [(&[&one, &none][..], 2, 1), (&[&none][..], 1, 0), (&[&one, &one][..], 2, 1)]
    {
        let report = checked(dir.path(), witnesses, quorum);
        assert_eq!(report.findings, [Finding::Uncosigned { cosigned: found, quorum }]);
    }
    let second = grow(config(dir.path()), 3).await;
    let report = checked(dir.path(), &[&one, &two], 2);
    assert!(report.intact() && report.notes.contains(&Note::Unwitnessed { from: 5, to: 8 }), "{report:?}");
    // Proofs against the older one, and that the newer continues it.
    let mut prover = Prover::cosigned(dir.path()).expect("a prover");
    assert_eq!(prover.signed().checkpoint.size, 5);
    for hit in search(dir.path(), &Default::default()).expect("searched") {
        let hit = hit.expect("read");
        assert_eq!(prover.inclusion(hit.index, &hit.record).is_ok(), hit.index < 5);
    }
    let hashes = second.prover().consistency_from(5).expect("a proof");
    assert!(second.prover().signed().checkpoint.continues(&prover.signed().checkpoint, &hashes));

    fs::remove_file(dir.path().join("cosigned")).expect("removed");
    assert_eq!(checked(dir.path(), &[&one], 1).findings, [Finding::Uncosigned { cosigned: 0, quorum: 1 }]);
    assert!(checked(dir.path(), &[], 0).intact());
}

#[tokio::test]
async fn no_byte_of_what_witnesses_cosigned_can_be_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let witness = Witness::new("w/1");
    grow(config(dir.path()), 5).await;
    let path = dir.path().join("cosigned");
    let good = witness.cosign(&fs::read_to_string(dir.path().join("checkpoint")).expect("read"));
    fs::write(&path, &good).expect("written");
    assert!(checked(dir.path(), &[&witness], 1).intact());
    for at in 0..good.len() {
        for change in [1, 0x20, 0x80] {
            let mut bent = good.clone().into_bytes();
            bent[at] ^= change;
            fs::write(&path, bent).expect("written");
            assert!(!checked(dir.path(), &[&witness], 1).intact(), "byte {at} ^ {change:#x}");
        }
    }
    for length in 0..good.len() {
        fs::write(&path, &good.as_bytes()[..length]).expect("written");
        assert!(!checked(dir.path(), &[&witness], 1).intact(), "{length} bytes");
        // It vouches and is nothing that the log is made of.
        if length % 50 == 0 {
            Ledger::open(config(dir.path())).expect("opened").close().await;
        }
    }
    fs::write(&path, &good).expect("written");
    assert!(checked(dir.path(), &[&witness], 1).intact());
}

#[tokio::test]
async fn nothing_is_kept_that_the_log_did_not_sign_and_a_log_that_was_put_back_is_noticed() {
    let (dir, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let old = tempfile::tempdir().expect("a directory");
    grow(config(dir.path()), 5).await;
    copy(dir.path(), old.path());
    grow(config(other.path()), 5).await;
    let foreign = fs::read_to_string(other.path().join("checkpoint")).expect("read");
    let longer = grow(config(dir.path()), 5).await.tiles().checkpoint().to_owned();
    let ledger = Ledger::open(config(old.path())).expect("opened");
    assert!(matches!(ledger.keep_cosigned(&foreign), Err(KeepError::Checkpoint(_))));
    assert!(matches!(ledger.keep_cosigned("hello"), Err(KeepError::Checkpoint(_))));
    assert!(matches!(ledger.keep_cosigned(&longer), Err(KeepError::Newer { size: 10, signed: 5 })));
    assert!(!old.path().join("cosigned").exists() && ledger.cosigned().is_none());
    ledger.close().await;
    drop(ledger);

    fs::write(old.path().join("cosigned"), &longer).expect("written");
    let refused = Ledger::open(config(old.path())).expect_err("refused");
    assert!(matches!(refused, OpenError::RolledBack { size: 5, issued: 10 }), "{refused}");
    assert!(checked(old.path(), &[], 0).findings.contains(&Finding::RolledBack { size: 5, issued: 10 }));
    // As long, by the same key, and of other records.
    fs::remove_file(old.path().join("cosigned")).expect("removed");
    let ledger = Ledger::open(config(old.path())).expect("opened");
    for number in 0..5 {
        ledger.record(&refusal(&format!("other-{number}"))).await.expect("recorded");
    }
    ledger.close().await;
    drop(ledger);
    fs::write(old.path().join("cosigned"), &longer).expect("written");
    let refused = Ledger::open(config(old.path())).expect_err("refused");
    assert!(matches!(refused, OpenError::Altered { size: 10 }), "{refused}");
    let findings = checked(old.path(), &[], 0).findings;
    assert!(
        matches!(findings[..], [Finding::Altered { size: 10, by: Source::Cosigned, .. }]),
        "{findings:?}"
    );
}

/// By the definitions of C2SP tlog-tiles, computed here from the records alone.
#[tokio::test]
async fn tiles_and_bundles_are_what_the_definition_says_and_older_ones_stay() {
    let leaf = |record: &[u8]| digest(&SHA256, &[&[0], record].concat()).as_ref().to_vec();
    fn root(hashes: &[Vec<u8>]) -> Vec<u8> {
        match hashes {
            [one] => one.clone(),
            more => {
                let (left, right) = more.split_at(more.len() / 2);
                digest(&SHA256, &[&[1][..], &root(left), &root(right)].concat()).as_ref().to_vec()
            }
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut reading = None;
    for size in [1_u64, 255, 256, 257, 600, 1024] {
        let before = search(dir.path(), &Default::default()).map_or(0, Iterator::count) as u64;
        let tiles = grow(config(dir.path()), size - before).await.tiles();
        assert_eq!(Checkpoint::unverified(tiles.checkpoint()).expect("a checkpoint").size, size);
        let records: Vec<Vec<u8>> = search(dir.path(), &Default::default())
            .expect("searched")
            .map(|hit| hit.expect("read").record)
            .collect();
        let leaves: Vec<Vec<u8>> = records.iter().map(|record| leaf(record)).collect();
        let above: Vec<Vec<u8>> = leaves.chunks_exact(256).map(root).collect();
        for (level, hashes) in [(0, &leaves), (1, &above)] {
            for (index, tile) in (0..).zip(hashes.chunks(256)) {
                for width in [1, tile.len() / 2, tile.len()] {
                    let got = tiles.hashes(level, index, width).expect("read");
                    let expected = (width > 0).then(|| tile[..width].concat());
                    assert_eq!(got, expected, "{size}: {level}/{index}.p/{width}");
                }
                assert_eq!(tiles.hashes(level, index, tile.len() + 1).expect("read"), None);
            }
        }
        for (index, bundle) in (0..).zip(records.chunks(256)) {
            let expected: Vec<u8> = bundle
                .iter()
                .flat_map(|record| {
                    [&u16::try_from(record.len()).expect("short").to_be_bytes()[..], record].concat()
                })
                .collect();
            assert_eq!(tiles.entries(index, bundle.len(), &mut reading).expect("read"), Some(expected));
            assert_eq!(tiles.entries(index, bundle.len() + 1, &mut reading).expect("read"), None);
        }
        for (level, index) in [(0, 5), (1, 1), (2, 0), (8, 0), (63, 0), (0, u64::MAX)] {
            assert_eq!(tiles.hashes(level, index, 1).expect("read"), None, "{size}: {level}/{index}");
        }
    }
    // Bytes that are not what was signed are given to nobody.
    let ledger = Ledger::open(config(dir.path())).expect("opened");
    let segment = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&segment).expect("read");
    let at = bytes.windows(5).position(|window| window == b"n-300").expect("a record");
    bytes[at] ^= 1;
    fs::write(&segment, bytes).expect("written");
    assert!(ledger.tiles().entries(1, 256, &mut None).is_err());
    assert!(ledger.tiles().entries(0, 256, &mut None).expect("read").is_some());
}
