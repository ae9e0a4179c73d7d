//! docs/ledger-format.md: its example is what this crate writes, and reads.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::checkpoint::Checkpoint;
use crate::note::SigningKey;
use crate::seal::Chain;
use crate::segment::{Version, header};
use crate::times::Span;
use crate::tree::{Hash, Tree, leaf, node};
use crate::{Options, frame, verify};

const PAGE: &str = include_str!("../../../docs/ledger-format.md");
const ORIGIN: &str = "example.com/log";

fn block(kind: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```text {kind}\n")).expect(kind);
    rest.split_once("```").expect(kind).0
}

/// The text of the key whose seed is the bytes 0 to 31.
fn private() -> String {
    let seed: Vec<u8> = (0..32).collect();
    let public =
        STANDARD.decode(block("key").trim_end().splitn(3, '+').nth(2).expect("a key")).expect("base64");
    let id = Sha256::new().chain_update(ORIGIN).chain_update(b"\n").chain_update(public).finalize();
    format!(
        "PRIVATE+KEY+{ORIGIN}+{}+{}",
        data_encoding::HEXLOWER.encode(&id[..4]),
        STANDARD.encode([&[1], &seed[..]].concat())
    )
}

fn hexed(bytes: &[u8]) -> String {
    bytes.chunks(32).flat_map(|line| [data_encoding::HEXLOWER.encode(line), "\n".to_owned()]).collect()
}

#[test]
fn the_example_is_what_is_written() {
    let key = SigningKey::parse(&private()).expect("a key");
    assert_eq!(format!("{}\n", key.verifier()), block("key"));
    let mut chain = Chain::new(key.seal_key().expect("a key").into(), Default::default(), 0);
    let mut segment = header(0, Version::Two);
    chain.seal(&mut segment, 0, 0, Span::default()).expect("sealed");
    let (mut write, mut times, mut tree) = (Vec::new(), Span::default(), Tree::default());
    let mut leaves: Vec<Hash> = Vec::new();
    for (index, record) in (0..).zip(block("records").lines()) {
        let mut bytes = Vec::new();
        frame::begin(&mut bytes);
        bytes.extend_from_slice(record.as_bytes());
        frame::seal(&mut bytes, index, index, crc32c::crc32c(record.as_bytes()));
        write.extend(bytes);
        times.add(Span::of(record.as_bytes()));
        leaves.push(leaf(record.as_bytes()));
        let Ok(()) = tree.append(leaf(record.as_bytes()), |_| Ok::<_, std::convert::Infallible>(()));
    }
    chain.seal(&mut write, 3, 0, times).expect("sealed");
    segment.extend(write);
    assert_eq!(hexed(&segment), block("segment"));
    assert!(PAGE.contains(&format!("{} bytes in hex", segment.len())));
    for hash in leaves.iter().chain([&node(&leaves[0], &leaves[1])]) {
        assert!(
            PAGE.contains(&format!("`{}`", data_encoding::HEXLOWER.encode(hash))),
            "{}",
            data_encoding::HEXLOWER.encode(hash)
        );
    }
    let note = |size, root| Checkpoint { origin: ORIGIN.to_owned(), size, root }.sign(&key).entry();
    let history = [note(0, Tree::default().root()), note(3, tree.root())].concat();
    assert_eq!(String::from_utf8(history).expect("text"), block("checkpoints"));
}

#[test]
fn the_example_is_a_whole_log() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["keys", "segments"] {
        fs::create_dir(dir.path().join(name)).expect("made");
    }
    let digits: Vec<u32> = block("segment").chars().filter_map(|digit| digit.to_digit(16)).collect();
    let segment: Vec<u8> =
        digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("a byte")).collect();
    let history = block("checkpoints");
    let latest = history.trim_end().rsplit_once("\n\nexample").map(|(_, note)| format!("example{note}\n"));
    for (name, bytes) in [
        ("keys/checkpoint.vkey", block("key").as_bytes()),
        ("keys/checkpoint.key", private().as_bytes()),
        ("segments/00000000000000000000.log", &segment),
        ("checkpoints", history.as_bytes()),
        ("checkpoint", latest.expect("a note").as_bytes()),
    ] {
        fs::write(dir.path().join(name), bytes).expect("written");
    }
    let report = verify(dir.path(), &Options::default()).expect("read");
    assert!(report.intact(), "{report:#?}");
    assert_eq!((report.records, report.confirmed, report.checkpoints), (3, 3, 2), "{report:#?}");
}
