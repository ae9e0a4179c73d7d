use std::sync::Arc;

use super::*;
use crate::seal::{Chain, SealKey};
use crate::storage::Disk;
use crate::times::Span;

fn frame(sequence: u64) -> Vec<u8> {
    let record = format!("{{\"n\":{sequence}}}");
    let mut frame = Vec::new();
    frame::begin(&mut frame);
    frame.extend_from_slice(record.as_bytes());
    frame::seal(&mut frame, sequence, 0, crc32c::crc32c(record.as_bytes()));
    frame
}

fn seal(sequence: u64) -> Vec<u8> {
    let key = Arc::new(SealKey::derive(b"secret").expect("a key"));
    let mut bytes = Vec::new();
    Chain::new(key, [0; 16], 0).seal(&mut bytes, sequence, 0, Span::default()).expect("sealed");
    bytes
}

#[test]
fn whole_records_are_counted_up_to_what_is_none() {
    let cut = frame(2);
    for (bytes, records) in [
        (vec![], 0),
        (frame(0), 1),
        ([frame(0), frame(1)].concat(), 2),
        ([frame(0), frame(1), seal(2), frame(2)].concat(), 3),
        ([seal(0), frame(0)].concat(), 1),
        ([frame(0), vec![b'x'; 60], frame(1)].concat(), 1),
        ([frame(0), frame(1), cut[..cut.len() - 1].to_vec()].concat(), 2),
    ] {
        assert_eq!(count(&bytes), records);
    }
}

#[test]
fn what_was_set_aside_is_listed_without_residue_and_no_name_is_given_twice() {
    let log = tempfile::tempdir().expect("a directory");
    assert_eq!(list(log.path()).expect("none"), Vec::<PathBuf>::new());
    file::make_dir(&Disk, &dir(log.path())).expect("made");
    let named = |number: u32| log.path().join(format!("aside/00000000000000000007-{number}.log"));
    for number in 0..3 {
        assert_eq!(free(log.path(), 7), named(number));
        std::fs::write(named(number), "x").expect("written");
    }
    std::fs::write(log.path().join("aside/00000000000000000007-3.log.tmp"), "x").expect("written");
    assert_eq!(list(log.path()).expect("listed"), [named(0), named(1), named(2)]);
}

/// All that follows the place leaves the log, and nothing before it.
#[test]
fn what_follows_is_kept_elsewhere_byte_for_byte() {
    for (offset, from, records) in [(HEADER + frame(5).len(), 6, 2), (0, 5, 3)] {
        let log = tempfile::tempdir().expect("a directory");
        file::make_dir(&Disk, &crate::segment::dir(log.path())).expect("made");
        let written = [(0, vec![frame(0)]), (5, vec![frame(5), frame(6)]), (7, vec![frame(7)])];
        let written = written.map(|(first, frames)| {
            let segment = Segment::new(log.path(), first);
            let bytes = [vec![0; HEADER], frames.concat()].concat();
            std::fs::write(&segment.path, &bytes).expect("written");
            (segment, bytes)
        });
        let segments: Vec<_> = written.iter().map(|(segment, _)| segment.clone()).collect();
        let place = (&*segments[1].path, offset as u64, from, Unauthenticated::NoSeal);
        let taken = take(&Disk, log.path(), &segments, place).expect("taken");
        assert_eq!((taken.from, taken.records, taken.why), (from, records, Unauthenticated::NoSeal));
        let names = [from, 7].map(|first| dir(log.path()).join(format!("{first:020}-0.log")));
        assert_eq!(taken.paths, names);
        let read = |path: &Path| std::fs::read(path).expect("read");
        assert_eq!(read(&names[0]), written[1].1[offset..]);
        assert_eq!(read(&names[1]), written[2].1);
        assert_eq!(read(&segments[0].path), written[0].1);
        assert!(!segments[2].path.exists());
        assert_eq!(segments[1].path.exists(), offset > 0);
        if offset > 0 {
            assert_eq!(read(&segments[1].path), written[1].1[..offset]);
        }
    }
}
