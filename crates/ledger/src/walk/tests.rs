use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::file;
use crate::frame;
use crate::seal::{Chain, SealKey};
use crate::segment::START;
use crate::storage::Disk;
use crate::times::Span;

#[test]
fn a_walk_begins_with_the_segment_that_has_the_record() {
    let segments = [0, 256, 300].map(|first| Segment::new(Path::new(""), first));
    for (from, begins) in [(0, 0), (255, 0), (256, 256), (299, 256), (300, 300), (9999, 300)] {
        assert_eq!(Walk::new(&segments, from).index(), begins, "record {from}");
    }
    assert_eq!(Walk::new(&segments[1..], 256).index(), 0, "a log begins with record 0");
    assert_eq!(Walk::new(&[], 256).index(), 0);
}

/// Whoever reads a log while it is written is told what has come since, and where what is certain ends.
#[test]
fn a_walk_at_the_end_is_told_what_has_come_since() {
    let dir = tempfile::tempdir().expect("a directory");
    file::make_dir(&Disk, &segment::dir(dir.path())).expect("a directory");
    let segment = Segment::new(dir.path(), 0);
    let mut chain = Chain::new(Arc::new(SealKey::derive(b"secret").expect("a key")), [0; 16], 0);
    let file = segment.create(&Disk, &mut chain, 0).expect("created");
    let mut walk = Walk::new(std::slice::from_ref(&segment), 0);
    assert!(walk.behind_seal().expect("read").is_none() && walk.unsealed().is_none());
    assert!(walk.next().expect("read").is_none());
    let behind = |offset: usize, bytes: usize| Some((segment.path.clone(), offset as u64, bytes as u64));
    assert_eq!(walk.behind_seal().expect("read"), behind(START, 0));
    // A record, and then its seal.
    let mut written = frame(0);
    file.write(&written).expect("written");
    assert_eq!(walk.next().expect("read"), Some((0, b"{}".as_slice())));
    assert!(walk.next().expect("read").is_none() && walk.unsealed().is_some());
    assert!(!walk.grown());
    assert_eq!((walk.sealed(), walk.behind_seal().expect("read")), (0, behind(START, written.len())));
    let record = written.len();
    chain.seal(&mut written, 1, 0, Span::default()).expect("sealed");
    file.write(&written[record..]).expect("written");
    assert!(walk.grown() && walk.unsealed().is_none());
    assert_eq!((walk.sealed(), walk.behind_seal().expect("read")), (1, behind(START + written.len(), 0)));
    // A record in two pieces.
    let next = frame(1);
    file.write(&next[..10]).expect("written");
    let error = walk.next().expect_err("half a record");
    assert!(!walk.has_gone_on(&error).expect("read"));
    file.write(&next[10..]).expect("written");
    assert!(walk.has_gone_on(&error).expect("read"));
    assert_eq!(walk.next().expect("read"), Some((1, b"{}".as_slice())));
    // Another one behind it, before it is sealed.
    assert!(walk.next().expect("read").is_none() && !walk.grown());
    file.write(&frame(2)).expect("written");
    assert!(walk.grown());
}

fn frame(sequence: u64) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::begin(&mut frame);
    frame.extend_from_slice(b"{}");
    frame::seal(&mut frame, sequence, 0, crc32c::crc32c(b"{}"));
    frame
}
