use proptest::prelude::*;

use std::sync::Arc;

use super::*;
use crate::frame::{self, HEADER};
use crate::seal::SealKey;
use crate::storage::Disk;

/// A chain of seals of one key.
fn chain() -> Chain {
    Chain::new(Arc::new(SealKey::derive(b"secret").expect("a key")), [0; 16], 0)
}

fn frame(sequence: u64, record: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::begin(&mut frame);
    frame.extend_from_slice(record);
    frame::seal(&mut frame, sequence, 0, crc32c::crc32c(record));
    frame
}

/// A segment that begins with record 5 and has these bytes after its header.
fn segment(dir: &Path, bytes: &[u8]) -> Segment {
    file::make_dir(&Disk, &super::dir(dir)).expect("a directory");
    let segment = Segment::new(dir, 5);
    drop(segment.create(&Disk, &mut chain(), 0).expect("created"));
    segment
        .append(&Disk)
        .and_then(|file| file.write(bytes).map_err(FileError::on("write", dir)))
        .expect("written");
    segment
}

#[test]
fn records_larger_than_what_is_read_at_once_come_out_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let records: Vec<_> = (0..40usize).map(|i| vec![b'a' + i as u8 % 26; 1 + i * 1640]).collect();
    let bytes: Vec<_> = records.iter().zip(5..).flat_map(|(record, i)| frame(i, record)).collect();
    let mut reader = Reader::open(&segment(dir.path(), &bytes)).expect("opened");
    for (record, index) in records.iter().zip(5..) {
        assert_eq!(reader.next().expect("read"), Some((index, record.as_slice())));
    }
    assert_eq!(reader.next().expect("read"), None);
    assert_eq!(reader.offset(), (START + bytes.len()) as u64);
}

#[test]
fn one_read_serves_all_the_records_that_it_brought() {
    let dir = tempfile::tempdir().expect("a directory");
    let frames: Vec<_> = (5..10).map(|index| frame(index, &[b' '; 2000])).collect();
    let mut reader = Reader::open(&segment(dir.path(), &frames.concat())).expect("opened");
    for read in 1..=5 {
        assert!(reader.next().expect("read").is_some());
        assert_eq!(
            reader.at,
            SEAL + read * frames[0].len(),
            "bytes of the buffer that are behind the reader"
        );
    }
}

#[test]
fn a_reader_at_the_end_sees_what_is_appended_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let segment = segment(dir.path(), &[]);
    let mut reader = Reader::open(&segment).expect("opened");
    let file = segment.append(&Disk).expect("opened");
    for index in 5..9 {
        assert_eq!(reader.next().expect("read"), None);
        file.write(&frame(index, b"{}")).expect("written");
        assert_eq!(reader.next().expect("read"), Some((index, b"{}".as_slice())));
    }
}

/// What is looked at again after it was read may be more than what was read.
#[test]
fn a_write_that_is_finished_while_it_is_read_is_no_damage() {
    let (five, six) = (frame(5, b"{\"a\":5}"), frame(6, b"{\"a\":6}"));
    for cut in 1..six.len() {
        let dir = tempfile::tempdir().expect("a directory");
        let segment = segment(dir.path(), &[&five[..], &six[..cut]].concat());
        let mut reader = Reader::open(&segment).expect("opened");
        assert!(reader.next().expect("read").is_some());
        let Err(error) = reader.next() else { panic!("cut to {cut}: no error") };
        assert!(!reader.has_gone_on(&error).expect("read"), "cut to {cut}");
        segment.append(&Disk).expect("opened").write(&six[cut..]).expect("written");
        assert!(reader.has_gone_on(&error).expect("read"), "cut to {cut}");
        assert_eq!(reader.next().expect("read"), Some((6, b"{\"a\":6}".as_slice())));
    }
}

#[test]
fn a_header_of_another_segment_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let five = segment(dir.path(), &[]);
    let six = Segment::new(dir.path(), 6);
    std::fs::rename(&five.path, &six.path).expect("renamed");
    assert!(matches!(Reader::open(&six), Err(SegmentError::Header { .. })));
    let reason = |bytes: &[u8]| {
        std::fs::write(&six.path, bytes).expect("written");
        match Reader::open(&six) {
            Err(SegmentError::Header { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    };
    let mut damaged = header(6, Version::Two);
    damaged[23] ^= 1;
    assert!(reason(&damaged).contains("damaged"));
    assert!(reason(&header(5, Version::One)).contains("does not fit its name"));
    for other in
        [b"VIDIMUS".as_slice(), b"VIDIMUS\x03, of a later version", b"somebody else's text, and long enough"]
    {
        assert!(reason(other).contains("not a segment of a ledger"));
    }
    for name in
        ["5.log", "000000000000000000005.log", "0000000000000000000x.log", "00000000000000000005.tmp", "x"]
    {
        assert_eq!(first_of(Path::new(name)), None, "{name}");
    }
}

#[test]
fn only_an_unfinished_write_is_taken_for_one() {
    let (five, six, seven) = (frame(5, b"{\"a\":5}"), frame(6, b"{\"a\":6}"), frame(7, b"{\"a\":7}"));
    let with = |at: usize, byte: u8| {
        let mut bytes = six.clone();
        bytes[at] = byte;
        bytes
    };
    // What follows record 5, and whether it is torn.
    let cases: Vec<(Vec<u8>, bool, &str)> = (1..six.len())
        .map(|cut| (six[..cut].to_vec(), true, "cut anywhere"))
        .chain([
            (vec![0; 4096], true, "nothing but zeros"),
            (with(25, b'X'), false, "an altered record"),
            (with(0, 8), false, "a length that now reaches past the end"),
            (with(0, 0), false, "a length of zero"),
            (with(2, 1), false, "a length too large"),
            (with(2, 1)[..20].to_vec(), false, "a header alone, with a length too large"),
            (with(16, 1), false, "flags"),
            (with(8, 9), false, "another sequence number"),
            ([with(0, 200), seven.clone()].concat(), false, "a length that swallows the next record"),
            ([six[..15].to_vec(), seven.clone()].concat(), false, "a hole before a whole record"),
            (seven.clone(), false, "a record is missing"),
            (seven[..20].to_vec(), false, "the beginning of a wrong record"),
            (b"garbage, longer than a header".to_vec(), false, "garbage"),
        ])
        .collect();
    for (rest, torn, what) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        let segment = segment(dir.path(), &[five.clone(), rest.clone()].concat());
        let mut reader = Reader::open(&segment).expect("opened");
        assert!(reader.next().expect("read").is_some());
        let Err(SegmentError::Frame { offset, index, .. }) = reader.next() else {
            panic!("{what}: no error")
        };
        let expected = if torn { Ending::Torn { bytes: rest.len() as u64 } } else { Ending::Damaged };
        assert_eq!(ending(&segment, offset, index, index).expect("read"), expected, "{what} {rest:?}");
    }
}

/// How the file ends after record 5, of which `rest` follows byte `offset`.
fn ends(offset: usize, rest: &[u8]) -> Ending {
    let dir = tempfile::tempdir().expect("a directory");
    let five = frame(5, object(offset - START - HEADER).as_bytes());
    let segment = segment(dir.path(), &[&five, rest].concat());
    let mut reader = Reader::open(&segment).expect("opened");
    assert!(reader.next().expect("read").is_some());
    assert_eq!(reader.offset(), offset as u64);
    ending(&segment, offset as u64, 6, 6).expect("read")
}

/// A JSON object of so many bytes.
fn object(length: usize) -> String {
    format!("{{{}}}", "x".repeat(length - 2))
}

#[test]
fn zeros_are_those_of_a_power_loss_only_from_a_sector_on() {
    let six = frame(6, object(60).as_bytes());
    for cut in 1..six.len() {
        for zeros in [six.len() - cut, 600] {
            let rest = [&six[..cut], &vec![0; zeros]].concat();
            for border in [512, 1024] {
                let expected = if cut == six.len() - 1 {
                    Ending::Lacks { at: border as u64, bytes: vec![b'}'] }
                } else {
                    Ending::Torn { bytes: rest.len() as u64 }
                };
                assert_eq!(
                    ends(border - cut, &rest),
                    expected,
                    "{cut} bytes, {zeros} zeros from a sector on"
                );
            }
            if cut > HEADER {
                assert_eq!(ends(300, &rest), Ending::Damaged, "{cut} bytes, {zeros} zeros from anywhere");
            }
        }
    }
    let later = [&six[..30], &[0; 70], &frame(7, b"{}")].concat();
    assert_eq!(ends(512 - 30, &later), Ending::Damaged, "a hole before a whole record");
}

/// A frame that says that the last `unsynced` before it were not on disk.
fn later(sequence: u64, unsynced: u64) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::begin(&mut frame);
    frame.extend_from_slice(b"{}");
    frame::seal(&mut frame, sequence, unsynced, crc32c::crc32c(b"{}"));
    frame
}

#[test]
fn a_hole_is_one_of_a_power_loss_where_nothing_after_it_says_that_it_was_on_disk() {
    let six = frame(6, object(60).as_bytes());
    // Six is lost from a sector on, and so is what stood between it and the next sector.
    let holed = |frames: &[Vec<u8>]| [&six[..30], &[0; 512], &frames.concat()].concat();
    for (frames, torn) in [
        (vec![later(9, 3)], true),
        (vec![later(9, 9)], true),
        (vec![later(9, 3), later(10, 4)], true),
        (vec![later(9, 2)], false),
        (vec![later(9, 0)], false),
        (vec![later(9, 3), later(10, 0)], false),
        (vec![later(9, 3), vec![0; 700], later(20, 13)], false),
        (vec![later(9, 3), vec![0; 700], later(20, 14)], true),
        (vec![later(5, 0)], true),
    ] {
        let rest = holed(&frames);
        let expected = if torn { Ending::Torn { bytes: rest.len() as u64 } } else { Ending::Damaged };
        assert_eq!(ends(512 - 30, &rest), expected, "{frames:?}");
        // The same without a hole that a power loss can make: one byte less or more, or another place.
        for altered in [
            [&six[..31], &[0; 511], &frames.concat()].concat(),
            [&six[..30], &[0; 511], &frames.concat()].concat(),
        ] {
            assert_eq!(ends(512 - 30, &altered), Ending::Damaged, "{frames:?}");
        }
        assert_eq!(ends(300, &rest), Ending::Damaged, "{frames:?}");
    }
    // The hole begins behind the frame: the frame itself was altered.
    let mut altered = [frame(6, object(512 - 20 - 20).as_bytes()), vec![0; 512], later(9, 3)].concat();
    assert!(matches!(ends(1024 - 492, &altered[492..]), Ending::Torn { .. }));
    altered[100] ^= 1;
    assert_eq!(ends(1024 - 492, &altered), Ending::Damaged);
}

/// Of every border that can cut a header, with what is lost before it and with what is lost behind it.
#[test]
fn a_length_that_a_border_cuts_off_is_put_back() {
    for length in [60, 256, 300, 512, 700] {
        let six = frame(6, object(length).as_bytes());
        let stored = u32::try_from(length).expect("small").to_le_bytes().to_vec();
        for cut in 1..HEADER {
            let mut lost = six.clone();
            lost[..cut].fill(0);
            let ending = ends(1024 - cut, &[lost.clone(), later(7, 1)].concat());
            // The checksum stands behind the length; with its bytes, nothing says any more what the record was.
            let expected = if cut <= 4 {
                Ending::Lacks { at: 1024 - cut as u64, bytes: stored.clone() }
            } else {
                Ending::Torn { bytes: (six.len() + 22) as u64 }
            };
            // Where the byte before the border is zero, nothing is lost.
            if lost != six {
                assert_eq!(ending, expected, "{length}, {cut} bytes before the border");
            }
            assert_eq!(ends(1024 - cut, &[lost, later(7, 0)].concat()), Ending::Damaged, "it was on disk");
        }
        let mut altered = six.clone();
        altered[0] = altered[0].wrapping_add(1);
        assert_eq!(ends(1023, &altered), Ending::Damaged, "not lost but altered");
    }
    // The first byte of the length is lost, and the end of the record: how long it was cannot be told, but that it goes on can.
    let mut six = frame(6, object(600).as_bytes());
    six[0] = 0;
    assert!(matches!(ends(511, &[&six[..513], &[0; 300]].concat()), Ending::Torn { .. }));
    // A frame of 531 bytes that seems to have 276: what follows there is its text, to the border at 513 or to the end of the file.
    let mut six = frame(6, object(511).as_bytes());
    six[0] = 0;
    for (length, torn) in [(275, true), (276, false), (278, false), (279, true), (513, true), (530, true)] {
        let expected = if torn { Ending::Torn { bytes: length as u64 } } else { Ending::Damaged };
        assert_eq!(ends(511, &six[..length]), expected, "cut to {length}");
    }
    assert!(matches!(ends(511, &[&six[..513], &[0; 300]].concat()), Ending::Torn { .. }));
    assert_eq!(
        ends(511, &[&six[..530], "x".repeat(300).as_bytes()].concat()),
        Ending::Damaged,
        "text without end"
    );
    six[400] = 0;
    assert_eq!(ends(511, &[&six[..513], &[0; 300]].concat()), Ending::Damaged, "no text");
    // As long as it can be, and one byte more than it is: it does not go on.
    let mut six = [frame(6, object(510).as_bytes()), b"x".to_vec()].concat();
    (six[0], six[100]) = (0, b'y');
    assert_eq!(ends(511, &six), Ending::Damaged, "text to its longest end");
    // Where the first byte of the length is zero by right, it says nothing of what was lost.
    let mut six = frame(6, object(256).as_bytes());
    six[100] ^= 1;
    assert_eq!(ends(511, &six), Ending::Damaged);
    // And where it does not stand alone, text behind the frame is nothing of it.
    assert_eq!(ends(600, &[&six, b"text".as_slice()].concat()), Ending::Damaged);
}

/// What may follow the last record that is whole.
fn tail() -> impl Strategy<Value = Vec<u8>> {
    let next = frame(9, object(80).as_bytes());
    prop_oneof![
        Just(Vec::new()),
        (0..next.len()).prop_map(move |cut| next[..cut].to_vec()),
        (0..1500usize).prop_map(|zeros| vec![0; zeros]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn one_overwritten_byte_of_a_whole_record_is_never_an_unfinished_write(
        lengths in prop::array::uniform4(2..700usize),
        tail in tail(),
        last: bool,
        at: prop::sample::Index,
        byte in prop_oneof![Just(0), any::<u8>()],
    ) {
        let frames: Vec<_> = (5..).zip(lengths).map(|(i, length)| frame(i, object(length).as_bytes())).collect();
        let records = frames.concat();
        let begin = if last { records.len() - frames[3].len() } else { 0 };
        // Also the last byte of all more often than it would come up.
        let at = begin + at.index(records.len() - begin + 40).min(records.len() - begin - 1);
        prop_assume!(records[at] != byte);
        let whole = [records, tail].concat();
        let mut bytes = whole.clone();
        bytes[at] = byte;
        let dir = tempfile::tempdir().expect("a directory");
        let segment = segment(dir.path(), &bytes);
        let mut reader = Reader::open(&segment).expect("opened");
        let error = loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the altered record was read"),
                Err(error) => break error,
            }
        };
        let SegmentError::Frame { offset, index, .. } = error else { panic!("{error}") };
        match ending(&segment, offset, index, index).expect("read") {
            Ending::Damaged => {}
            // What may as well be lost as altered is put back as it was.
            Ending::Lacks { at: from, bytes: lacking } => {
                let from = usize::try_from(from).expect("small") - START;
                bytes[from..from + lacking.len()].copy_from_slice(&lacking);
                prop_assert_eq!(bytes, whole);
            }
            torn => prop_assert!(false, "{torn:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_files_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let dir = tempfile::tempdir().expect("a directory");
        let segment = segment(dir.path(), &bytes);
        let mut reader = Reader::open(&segment).expect("opened");
        while let Ok(Some(_)) = reader.next() {}
        let _ = ending(&segment, reader.offset(), 5, 5);
        std::fs::write(&segment.path, &bytes).expect("written");
        let _ = Reader::open(&segment);
    }
}

/// A seal that a border cuts off is one that is missing; one altered byte of it is not.
#[test]
fn a_seal_is_torn_by_a_power_loss_and_by_nothing_else() {
    let mut seal = Vec::new();
    chain().seal(&mut seal, 6, 0, Span::default()).expect("sealed");
    for cut in 1..SEAL {
        assert_eq!(ends(300, &seal[..cut]), Ending::Torn { bytes: cut as u64 }, "cut to {cut}");
        for zeros in [SEAL - cut, 600] {
            let rest = [&seal[..cut], &vec![0; zeros]].concat();
            let alone = cut + 1 == SEAL && seal[cut] != 0;
            let expected = match alone {
                true => Ending::Lacks { at: 1024, bytes: vec![seal[cut]] },
                false => Ending::Torn { bytes: rest.len() as u64 },
            };
            // The last bytes of a tag may be zeros by right: then nothing is lost.
            if seal[cut..].iter().any(|byte| *byte != 0) {
                assert_eq!(ends(1024 - cut, &rest), expected, "{cut} bytes, {zeros} zeros from a sector on");
            }
        }
        // What is before the border is lost, and what is behind it is there.
        let mut lost = seal.clone();
        lost[..cut].fill(0);
        let expected = match cut {
            1 => Ending::Lacks { at: 1023, bytes: vec![b'S'] },
            _ => Ending::Torn { bytes: SEAL as u64 },
        };
        assert_eq!(ends(1024 - cut, &lost), expected, "{cut} bytes before the border");
        assert_eq!(ends(1024 - cut, &[lost, later(7, 0)].concat()), Ending::Damaged, "it was on disk");
    }
    for at in 0..SEAL {
        for byte in [0, seal[at] ^ 1, 0xff] {
            let mut altered = seal.clone();
            altered[at] = byte;
            if byte != seal[at] {
                assert_eq!(ends(300, &altered), Ending::Damaged, "byte {at} is {byte}");
                assert_eq!(ends(300, &[altered, later(7, 1)].concat()), Ending::Damaged);
            }
        }
    }
    // With another marker it is no seal, and with all its bytes it has no end to be missing.
    for at in 0..4 {
        let mut altered = seal[..30].to_vec();
        altered[at] ^= 1;
        assert_eq!(ends(300, &altered), Ending::Damaged, "byte {at}");
    }
    let mut altered = seal.clone();
    altered[40..42].iter_mut().for_each(|byte| *byte ^= 1);
    assert_eq!(ends(300, &altered), Ending::Damaged, "two bytes");
    // A later seal says that the record was signed for.
    let mut later = Vec::new();
    chain().seal(&mut later, 9, 7, Span::default()).expect("sealed");
    assert_eq!(ends(512 - 30, &[&seal[..30], &[0; 512], later.as_slice()].concat()), Ending::Damaged);
    // Not the seal that belongs there.
    assert_eq!(ends(300, &later[..40]), Ending::Damaged);
    assert_eq!(ends(300, &later), Ending::Damaged);
}

/// Records that are on disk were so with their seal: what is missing of it was taken away.
#[test]
fn a_seal_of_records_that_were_on_disk_is_not_torn() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut bytes = frame(5, object(512 - START - HEADER).as_bytes());
    bytes.extend_from_slice(&[0; SEAL]);
    for (sealed, on_disk, torn) in [(5, 5, true), (5, 6, false), (6, 6, true)] {
        let segment = segment(dir.path(), &[&bytes[..], &[0; 464], &later(6, 6 - on_disk)].concat());
        let ending = ending(&segment, 512, 6, sealed).expect("read");
        assert_eq!(
            matches!(ending, Ending::Torn { .. }),
            torn,
            "{sealed} sealed, {on_disk} on disk: {ending:?}"
        );
        std::fs::remove_file(&segment.path).expect("removed");
    }
}
