//! The spans that came last, so that one that is sent again is known.

use std::collections::HashMap;

use crate::kept::Ids;

/// So many are known at least, over all principals, and twice as many at most. An SDK gives up on a batch after minutes.
const KNOWN: usize = 131_072;

/// What was said by each id, by the number of its principal's files.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    newer: HashMap<(u32, Ids), u64>,
    older: HashMap<(u32, Ids), u64>,
}

impl Recent {
    /// What was said by these ids first, where that is known.
    pub(crate) fn get(&self, principal: u32, ids: Ids) -> Option<u64> {
        let key = (principal, ids);
        self.newer.get(&key).or_else(|| self.older.get(&key)).copied()
    }

    pub(crate) fn add(&mut self, principal: u32, ids: Ids, says: u64) {
        if self.newer.len() >= KNOWN {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.entry((principal, ids)).or_insert(says);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_last_is_known_and_there_is_an_end_to_it() {
        let mut recent = Recent::default();
        let ids = |number: usize| Ids { trace: 1, span: number as u64 };
        for number in 0..3 * KNOWN {
            recent.add(1, ids(number), 7);
        }
        assert!(recent.newer.len() + recent.older.len() <= 2 * KNOWN);
        assert_eq!(recent.get(1, ids(3 * KNOWN - 1)), Some(7));
        assert_eq!(recent.get(1, ids(2 * KNOWN)), Some(7));
        assert_eq!(recent.get(1, ids(0)), None);
        assert_eq!(recent.get(2, ids(3 * KNOWN - 1)), None, "another principal's");
    }
}
