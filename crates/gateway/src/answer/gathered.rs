//! Chunks that came together leave together.
//!
//! hyper hands on the chunks of an answer one at a time, each only when the one before was taken, even where one read brought all
//! of them; and its server writes whenever there is nothing more at the moment. Passed on as they are handed, 20 chunks would be
//! 20 writes. So a chunk is kept until the other tasks of this thread had their turns, among them the one that hands on the next.
//! There is no timer in it: a chunk that comes alone waits for two turns.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

/// What is gathered before it leaves in any case, in bytes.
const ENOUGH: usize = 16 * 1024;

/// How many turns the others get after a chunk. Taking one wakes the task that hands on the next, which is queued behind this one;
/// two turns later the next chunk is here, if it came together with the last.
const TURNS: u8 = 2;

/// What waits to be passed on.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The only chunk, which is passed on without being copied.
    first: Option<Bytes>,
    /// The chunks, once there are more.
    more: BytesMut,
    /// How many turns the others had since the last chunk.
    turns: u8,
}

impl Gathered {
    pub fn push(&mut self, chunk: Bytes) {
        self.turns = 0;
        match self.first.take() {
            None if self.more.is_empty() => self.first = Some(chunk),
            first => {
                self.more.extend_from_slice(&first.unwrap_or_default());
                self.more.extend_from_slice(&chunk);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }

    /// All of it, if there is anything.
    pub fn take(&mut self) -> Option<Bytes> {
        self.first.take().or_else(|| (!self.more.is_empty()).then(|| self.more.split().freeze()))
    }

    /// All of it, if it is enough to leave at once.
    pub fn take_enough(&mut self) -> Option<Bytes> {
        let length = self.first.as_ref().map_or(self.more.len(), Bytes::len);
        if length >= ENOUGH { self.take() } else { None }
    }

    /// For when nothing more is there at the moment: all of it, or `Pending` for a turn of the others. Ready with nothing where
    /// nothing was gathered.
    pub fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        if self.turns < TURNS {
            self.turns += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.take())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_came_together_leaves_together_and_what_came_alone_after_some_turns() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut gathered = Gathered::default();
        let mut turns = |gathered: &mut Gathered| {
            for _ in 0..TURNS {
                assert_eq!(gathered.poll_take(&mut cx), Poll::Pending);
            }
            gathered.poll_take(&mut cx)
        };
        gathered.push(Bytes::from_static(b"a"));
        assert_eq!(gathered.poll_take(&mut Context::from_waker(Waker::noop())), Poll::Pending);
        gathered.push(Bytes::from_static(b"b"));
        assert_eq!(turns(&mut gathered), Poll::Ready(Some(Bytes::from_static(b"ab"))), "counted anew");
        gathered.push(Bytes::from_static(b"c"));
        assert_eq!(turns(&mut gathered), Poll::Ready(Some(Bytes::from_static(b"c"))));
        assert_eq!(gathered.take(), None);
        assert_eq!(gathered.poll_take(&mut cx), Poll::Ready(None));
    }

    #[test]
    fn enough_leaves_at_once() {
        let mut gathered = Gathered::default();
        gathered.push(Bytes::from(vec![b'x'; ENOUGH - 1]));
        assert_eq!(gathered.take_enough(), None);
        gathered.push(Bytes::from_static(b"y"));
        assert_eq!(gathered.take_enough().map(|all| all.len()), Some(ENOUGH));
    }
}
