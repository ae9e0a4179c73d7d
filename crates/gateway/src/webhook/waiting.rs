//! What is still to be told: bounded, and what failed least often first, so that one that is never taken is in nobody's way.

use bytes::Bytes;
use tokio::time::Instant;

/// Something to tell.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) body: Bytes,
    /// How often it failed.
    pub(super) failures: u32,
    /// Not before.
    pub(super) due: Instant,
    /// When it was to be told first.
    pub(super) since: Instant,
    /// Later ones have a greater one.
    number: u64,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Next {
    /// This is told.
    Now(Item),
    /// Nothing before then.
    At(Instant),
    Nothing,
}

/// All that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    items: Vec<Item>,
    capacity: usize,
    number: u64,
}

impl Waiting {
    pub(super) const fn new(capacity: usize) -> Self {
        Self { items: Vec::new(), capacity, number: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// One more; gives the oldest where there is no room for it.
    pub(super) fn push(&mut self, id: String, body: Bytes, now: Instant) -> Option<Item> {
        self.number += 1;
        let item = Item { id, body, failures: 0, due: now, since: now, number: self.number };
        let oldest = self.make_room();
        self.items.push(item);
        oldest
    }

    /// One that failed; false where others took its place meanwhile.
    pub(super) fn put_back(&mut self, item: Item) -> bool {
        let has_room = self.items.len() < self.capacity;
        if has_room {
            self.items.push(item);
        }
        has_room
    }

    fn make_room(&mut self) -> Option<Item> {
        if self.items.len() < self.capacity {
            return None;
        }
        let (at, _) = self.items.iter().enumerate().min_by_key(|(_, item)| item.number)?;
        Some(self.items.swap_remove(at))
    }

    pub(super) fn next(&mut self, now: Instant) -> Next {
        let is_due = self.items.iter().enumerate().filter(|(_, item)| item.due <= now);
        if let Some((at, _)) = is_due.min_by_key(|(_, item)| (item.failures, item.number)) {
            return Next::Now(self.items.swap_remove(at));
        }
        self.items.iter().map(|item| item.due).min().map_or(Next::Nothing, Next::At)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn take(waiting: &mut Waiting, now: Instant) -> Option<Item> {
        match waiting.next(now) {
            Next::Now(item) => Some(item),
            Next::At(_) | Next::Nothing => None,
        }
    }

    #[test]
    fn what_failed_least_is_next_and_the_oldest_makes_room() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let mut waiting = Waiting::new(3);
        let push = |waiting: &mut Waiting, id: &str, now| {
            waiting.push(id.to_owned(), Bytes::new(), now).map(|item| item.id)
        };
        assert!(matches!(waiting.next(begin), Next::Nothing));
        for id in ["a", "b"] {
            assert_eq!(push(&mut waiting, id, begin), None);
        }
        let mut failed = take(&mut waiting, begin).unwrap();
        assert_eq!(failed.id, "a", "in order");
        (failed.failures, failed.due) = (1, begin + second);
        assert!(waiting.put_back(failed));
        assert_eq!(take(&mut waiting, begin).unwrap().id, "b");
        assert!(matches!(waiting.next(begin), Next::At(due) if due == begin + second));
        // What was never tried is before what failed, and there is room for three.
        for (id, gone) in [("c", None), ("d", None), ("e", Some("a")), ("f", Some("c"))] {
            assert_eq!(push(&mut waiting, id, begin + second).as_deref(), gone, "{id}");
        }
        let rest: Vec<String> =
            std::iter::from_fn(|| take(&mut waiting, begin + second)).map(|item| item.id).collect();
        assert_eq!((rest, waiting.len()), (["d", "e", "f"].map(str::to_owned).to_vec(), 0));
    }
}
