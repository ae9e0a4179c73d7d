use proptest::prelude::*;

use super::*;

#[test]
fn parts_end_at_sectors() {
    // Where each part ends.
    for (offset, length, expected) in [
        (0, 0, vec![]),
        (0, 1, vec![1]),
        (0, 512, vec![512]),
        (0, 513, vec![512, 513]),
        (1, 511, vec![511]),
        (511, 1, vec![1]),
        (511, 2, vec![1, 2]),
        (511, 514, vec![1, 513, 514]),
        (1024, 600, vec![512, 600]),
    ] {
        let ends: Vec<_> = parts(offset, length).map(|part| part.end).collect();
        assert_eq!(ends, expected, "{length} at {offset}");
    }
}

#[test]
fn a_border_is_where_a_sector_ends() {
    for (offset, border) in [(0, true), (1, false), (511, false), (512, true), (513, false), (1024, true)] {
        assert_eq!(is_border(offset), border, "{offset}");
    }
}

#[test]
fn what_is_left_is_told_from_what_was_altered() {
    let written = [b'x'; 1000];
    let with = |zeros: Range<usize>, length: usize| {
        let mut bytes = written.to_vec();
        bytes.resize(length.max(1000), 0);
        bytes[zeros].fill(0);
        bytes.truncate(length);
        bytes
    };
    // The first sector ends after 12 bytes, the second after 524.
    for (found, left) in [
        (with(0..0, 1000), true),
        (with(0..0, 0), true),
        (with(0..0, 1), true),
        (with(0..0, 1100), true),
        (with(0..12, 1000), true),
        (with(12..524, 1000), true),
        (with(524..1000, 1000), true),
        (with(0..1000, 4096), true),
        (with(0..11, 1000), false),
        (with(0..13, 1000), false),
        (with(1..12, 1000), false),
        (with(13..524, 1000), false),
        (with(12..523, 1000), false),
        (with(524..999, 1000), false),
        ([with(0..0, 1000), b"y".to_vec()].concat(), false),
        ([b"y".to_vec(), with(0..0, 999)].concat(), false),
    ] {
        assert_eq!(left_of(&written, &found, 500), left, "{}", String::from_utf8_lossy(&found));
    }
}

proptest! {
    #[test]
    fn parts_are_all_of_it(offset in 0..5000u64, length in 0..5000usize) {
        let mut at = 0;
        for part in parts(offset, length) {
            prop_assert!(part.start == at && part.end > at);
            prop_assert!(part.end == length || (offset + part.end as u64).is_multiple_of(SECTOR));
            at = part.end;
        }
        prop_assert_eq!(at, length);
    }
}
