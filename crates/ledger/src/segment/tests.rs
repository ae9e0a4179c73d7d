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
    // What follows record 5, and whether it is torn.
    let cases: Vec<(Vec<u8>, bool, &str)> = (1..six.len())
        .map(|cut| (six[..cut].to_vec(), true, "cut anywhere"))
        .chain([
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

/// How the file ends after record 5, of which `rest` follows byte `offset`.
fn ends(offset: usize, rest: &[u8]) -> Ending {
    let dir = tempfile::tempdir().expect("a directory");
    let five = frame(5, object(offset - START - HEADER).as_bytes());
    let segment = segment(dir.path(), &[&five, rest].concat());
    let mut reader = Reader::open(&segment).expect("opened");
    assert!(reader.next().expect("read").is_some());
    assert_eq!(reader.offset(), offset as u64);
    ending(&segment, offset as u64, 6).expect("read")
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
            let torn = Ending::Torn { bytes: rest.len() as u64 };
            let altered = cut == six.len() - 1;
            let expected = if altered { Ending::Damaged } else { torn };
            assert_eq!(ends(512 - cut, &rest), expected, "{cut} bytes, {zeros} zeros from a sector on");
            assert_eq!(ends(1024 - cut, &rest), expected, "{cut} bytes, {zeros} zeros from a sector on");
            if cut > HEADER {
                assert_eq!(ends(300, &rest), Ending::Damaged, "{cut} bytes, {zeros} zeros from anywhere");
            }
        }
    }
    let later = [&six[..30], &[0; 70], &frame(7, b"{}")].concat();
    assert_eq!(ends(512 - 30, &later), Ending::Damaged, "a hole before a whole record");
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
        let mut bytes = [records, tail].concat();
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
        prop_assert_eq!(ending(&segment, offset, index).expect("read"), Ending::Damaged);
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
