use proptest::prelude::*;

use super::*;

fn frame(sequence: u64, record: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    begin(&mut frame);
    frame.extend_from_slice(record);
    seal(&mut frame, sequence, 0, crc32c::crc32c(record));
    frame
}

#[test]
fn the_layout_on_disk_is_as_documented() {
    // RFC 3720 appendix B.4 gives this checksum for 32 bytes of zeros; it fixes the polynomial and the byte order.
    assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    let bytes = frame(0x0102_0304_0506_0708, b"{}");
    let covered = [b"{}".as_slice(), &[2, 0, 0, 0], &[8, 7, 6, 5, 4, 3, 2, 1], &[0, 0, 0, 0]].concat();
    assert_eq!(bytes[0..4], [2, 0, 0, 0]);
    assert_eq!(bytes[4..8], crc32c::crc32c(&covered).to_le_bytes());
    assert_eq!(bytes[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(bytes[16..], [0, 0, 0, 0, b'{', b'}']);
}

#[test]
fn what_is_not_the_expected_frame_is_named() {
    let good = frame(7, b"{\"a\":1}");
    assert_eq!(parse(&good, 7).map(|found| found.frame), Ok(Frame { record: b"{\"a\":1}", length: 27 }));
    assert_eq!(parse(&good, 8), Err(Broken::Sequence { expected: 8, found: 7 }));
    assert_eq!(parse(&good[..26], 7), Err(Broken::Incomplete { have: 26, need: 27 }));
    assert_eq!(parse(&good[..3], 7), Err(Broken::Incomplete { have: 3, need: 20 }));
    assert_eq!(parse(&[0; 64], 0), Err(Broken::Length { found: 0 }));
    assert_eq!(parse(&[0xff; 64], 0), Err(Broken::Length { found: u32::MAX }));
    for (unsynced, broken) in
        [(6, Broken::Checksum), (7, Broken::Checksum), (8, Broken::Unsynced { found: 8 })]
    {
        let mut altered = good.clone();
        altered[16] = unsynced;
        assert_eq!(parse(&altered, 7), Err(broken));
    }
    assert_eq!(
        parse(&frame(0, &[b' '; MAX_RECORD]), 0).map(|found| found.frame.length),
        Ok(HEADER + MAX_RECORD)
    );
}

#[test]
fn a_frame_says_what_was_on_disk_when_it_was_made() {
    for (sequence, unsynced, on_disk) in [
        (7, 0, 7),
        (7, 2, 5),
        (7, 7, 0),
        (1 << 40, 5, (1 << 40) - 5),
        (1 << 40, 1 << 33, 0),
        (1 << 40, u64::MAX, 0),
    ] {
        let mut frame = Vec::new();
        begin(&mut frame);
        frame.extend_from_slice(b"{}");
        seal(&mut frame, sequence, unsynced, crc32c::crc32c(b"{}"));
        let found = parse_any(&frame).expect("whole");
        assert_eq!((found.sequence, found.on_disk), (sequence, on_disk), "{unsynced}");
        assert_eq!(end_by_header(&frame, sequence), Some(22));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), sequence: u64) {
        let _ = parse(&bytes, sequence);
        let _ = whole_but_for_length(&bytes, sequence);
    }

    #[test]
    fn every_single_byte_change_is_noticed(
        record in prop::collection::vec(any::<u8>(), 1..300),
        sequence: u64,
        at: prop::sample::Index,
        change in 1u8..,
    ) {
        let mut bytes = frame(sequence, &record);
        prop_assert_eq!(parse(&bytes, sequence).map(|found| found.frame.record), Ok(record.as_slice()));
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert!(parse(&bytes, sequence).is_err());
    }

    #[test]
    fn a_whole_frame_with_another_length_is_not_a_torn_one(text in "[ -~]{0,300}", more in "[ -~]{0,60}", length: u32) {
        let mut bytes = frame(3, format!("{{{text}}}").as_bytes());
        let whole = bytes.len();
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        prop_assert_eq!(whole_but_for_length(&bytes, 3), Some((whole - HEADER) as u32));
        bytes.extend_from_slice(more.as_bytes());
        let found = whole_but_for_length(&bytes, 3);
        prop_assert_eq!(found, Some((whole - HEADER) as u32), "also before the beginning of the next");
        prop_assert_eq!(whole_but_for_length(&bytes[..whole - 1], 3), None);
    }
}
