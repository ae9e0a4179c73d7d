use proptest::prelude::*;

use super::*;

fn frame(sequence: u64, record: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::begin(&mut frame);
    frame.extend_from_slice(record);
    frame::seal(&mut frame, sequence, crc32c::crc32c(record));
    frame
}

/// A segment that begins with record 5 and has these bytes after its header.
fn segment(dir: &Path, bytes: &[u8]) -> Segment {
    file::make_dir(&super::dir(dir)).expect("a directory");
    let segment = Segment::new(dir, 5);
    drop(segment.create().expect("created"));
    let mut file = segment.append().expect("opened");
    std::io::Write::write_all(&mut file, bytes).expect("written");
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
fn a_reader_at_the_end_sees_what_is_appended_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let segment = segment(dir.path(), &[]);
    let mut reader = Reader::open(&segment).expect("opened");
    let mut file = segment.append().expect("opened");
    for index in 5..9 {
        assert_eq!(reader.next().expect("read"), None);
        std::io::Write::write_all(&mut file, &frame(index, b"{}")).expect("written");
        assert_eq!(reader.next().expect("read"), Some((index, b"{}".as_slice())));
    }
}

#[test]
fn a_header_of_another_segment_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let five = segment(dir.path(), &[]);
    let six = Segment::new(dir.path(), 6);
    std::fs::rename(&five.path, &six.path).expect("renamed");
    assert!(matches!(Reader::open(&six), Err(SegmentError::Header { .. })));
    std::fs::write(&six.path, b"VIDIMUS").expect("written");
    assert!(matches!(Reader::open(&six), Err(SegmentError::Header { .. })));
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
    let zeros = [six[..9].to_vec(), vec![0; 100]].concat();
    // What follows record 5, and whether it is torn.
    let cases: Vec<(Vec<u8>, bool, &str)> = (1..six.len())
        .map(|cut| (six[..cut].to_vec(), true, "cut anywhere"))
        .chain([
            (zeros, true, "zeros of a power loss"),
            (vec![0; 4096], true, "nothing but zeros"),
            (with(25, b'X'), false, "an altered record"),
            (with(0, 8), false, "a length that now reaches past the end"),
            (with(0, 0), false, "a length of zero"),
            (with(2, 1), false, "a length too large"),
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
        assert_eq!(ending(&segment, offset, index).expect("read"), expected, "{what} {rest:?}");
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
        let _ = ending(&segment, reader.offset(), 5);
        std::fs::write(&segment.path, &bytes).expect("written");
        let _ = Reader::open(&segment);
    }
}
