//! The objects of a configuration, as lists that stay the same where the objects do: each list has those of some first digits, so that
//! one object that changes is another list, and not all of them.

use std::fmt::Write as _;

use super::store::Digest;

/// As many objects as a list has at most on average: few enough to be written again with each change of one.
const OF_A_LIST: usize = 128;
/// How many lists there are at most.
const MAX_LISTS: usize = 4_096;

/// What stands behind the digest of an object in quarantine, where its text does not have to say so.
const QUARANTINED: &str = " quarantined";

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) text: Digest,
    pub(super) quarantined: bool,
}

/// The lists of these objects, in the order of their digests.
pub(super) fn of(mut entries: Vec<Entry>) -> Vec<String> {
    entries.sort_unstable();
    let lists = entries.len().div_ceil(OF_A_LIST).next_power_of_two().min(MAX_LISTS);
    let shift = 16 - lists.trailing_zeros().min(16);
    let mut all: Vec<(u32, String)> = Vec::new();
    for entry in &entries {
        let number = u32::from(entry.text.first_bits()) >> shift;
        if all.last().is_none_or(|(last, _)| *last != number) {
            all.push((number, String::new()));
        }
        let Some((_, list)) = all.last_mut() else { continue };
        // Writing to a string does not fail.
        let _ = writeln!(list, "{}{}", entry.text, if entry.quarantined { QUARANTINED } else { "" });
    }
    all.into_iter().map(|(_, list)| list).collect()
}

/// `None` of what is no list.
pub(super) fn read(list: &[u8]) -> Option<Vec<Entry>> {
    let entry = |line: &str| match line.strip_suffix(QUARANTINED) {
        Some(text) => Some(Entry { text: text.parse().ok()?, quarantined: true }),
        None => Some(Entry { text: line.parse().ok()?, quarantined: false }),
    };
    str::from_utf8(list).ok()?.lines().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: usize) -> Entry {
        Entry { text: Digest::of(&number.to_le_bytes()), quarantined: number.is_multiple_of(7) }
    }

    #[test]
    fn lists_say_what_was_listed_and_one_change_is_one_list() {
        for count in [0, 1, 2, OF_A_LIST, OF_A_LIST + 1, 20_000] {
            let mut entries: Vec<Entry> = (0..count).map(entry).collect();
            let lists = of(entries.clone());
            let mut read: Vec<Entry> =
                lists.iter().flat_map(|list| read(list.as_bytes()).expect("a list")).collect();
            entries.sort_unstable();
            read.sort_unstable();
            assert_eq!(read, entries, "{count}");
            assert!(lists.iter().all(|list| list.lines().count() <= 3 * OF_A_LIST), "{count}");
            if count > 0 {
                let mut changed: Vec<Entry> = (1..count).map(entry).collect();
                changed.push(entry(count));
                let new = of(changed).into_iter().filter(|list| !lists.contains(list)).count();
                assert!(new <= 2, "{count}: {new}");
            }
        }
    }

    #[test]
    fn what_is_no_list_is_not_read() {
        for bad in ["x\n", "00\n", &format!("{} quarantine\n", Digest::of(b"")), "\u{ff}"] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(read(b"\xff\n"), None);
        assert_eq!(read(b""), Some(Vec::new()));
    }
}
