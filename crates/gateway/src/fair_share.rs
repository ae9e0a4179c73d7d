//! How something that all share is divided: nobody holds more than is left for everybody else.
//!
//! That is the dynamic threshold of shared-memory switches (A. K. Choudhury and E. L. Hahne, "Dynamic queue length thresholds for
//! shared-memory packet switches", IEEE/ACM Transactions on Networking 6 (1998), with α = 1). Alone, a holder has a half. When `n`
//! take all they can, each has 1/(n+1) of the whole, and as much is free for the next. It needs no list of holders, no
//! configuration, and two counters.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What is left of the whole.
#[derive(Debug)]
pub struct Pool {
    all: usize,
    left: AtomicUsize,
}

/// What one holder has of a pool.
#[derive(Debug, Default)]
pub struct Share(AtomicUsize);

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// There is not so much left.
    Empty,
    /// There is, and this holder would have more than is left for the others.
    Share,
}

/// That one more fits into something of which so many of `all` are `taken`, for who has `held` of these. Who has none may have the last.
///
/// # Errors
/// See [`Denied`].
pub fn one_more(all: usize, taken: usize, held: usize) -> Result<(), Denied> {
    let left = all.saturating_sub(taken).checked_sub(1).ok_or(Denied::Empty)?;
    if held < left.max(1) { Ok(()) } else { Err(Denied::Share) }
}

impl Pool {
    pub fn new(all: usize) -> Self {
        Self { all, left: AtomicUsize::new(all) }
    }

    /// Takes `amount` for the holder of `share`. The bound of the whole is exact; that of the share may be passed by what is taken at
    /// the same moment.
    ///
    /// # Errors
    /// See [`Denied`]; nothing is taken then.
    pub fn take(&self, share: &Share, amount: usize) -> Result<(), Denied> {
        let before = self
            .left
            .try_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(amount))
            .map_err(|_| Denied::Empty)?;
        let held = share.0.fetch_add(amount, Ordering::Relaxed).saturating_add(amount);
        if held > before - amount {
            self.give_back(share, amount);
            return Err(Denied::Share);
        }
        Ok(())
    }

    /// Gives back what was taken for this holder.
    pub fn give_back(&self, share: &Share, amount: usize) {
        share.0.fetch_sub(amount, Ordering::Relaxed);
        self.left.fetch_add(amount, Ordering::AcqRel);
    }

    /// Whether less than a quarter is left: a single holder never makes it so, nor do two.
    pub fn is_short(&self) -> bool {
        self.left.load(Ordering::Relaxed) < self.all / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_one_has_a_half_and_whoever_comes_later_has_its_part() {
        let pool = Pool::new(1000);
        let takes_all = |share: &Share, by: usize| {
            while pool.take(share, by).is_ok() {}
            share.0.load(Ordering::SeqCst)
        };
        let shares: [Share; 5] = Default::default();
        assert_eq!(takes_all(&shares[0], 10), 500);
        assert!(!pool.is_short());
        assert_eq!(pool.take(&shares[0], 1), Err(Denied::Share));
        assert_eq!(takes_all(&shares[1], 10), 250);
        assert!(pool.take(&shares[2], 1000).is_err_and(|denied| denied == Denied::Empty));
        assert_eq!(takes_all(&shares[2], 5), 125);
        assert!(pool.is_short());
        // What the greedy give back is there for all, and they get no more than a fair part of it again.
        pool.give_back(&shares[0], 500);
        assert!(!pool.is_short());
        assert_eq!(takes_all(&shares[0], 1), 312);
        assert!(pool.take(&shares[3], 100).is_ok(), "there is always room for who comes new");
    }

    #[test]
    fn threads_never_take_more_than_there_is_and_all_is_given_back() {
        let (pool, held) = (Pool::new(100), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for amount in [3, 7, 13, 29] {
                let (pool, held) = (&pool, &held);
                scope.spawn(move || {
                    let share = Share::default();
                    for _ in 0..10_000 {
                        if pool.take(&share, amount).is_err() {
                            continue;
                        }
                        assert!(held.fetch_add(amount, Ordering::SeqCst) + amount <= 100);
                        held.fetch_sub(amount, Ordering::SeqCst);
                        pool.give_back(&share, amount);
                    }
                    assert_eq!(share.0.load(Ordering::SeqCst), 0);
                });
            }
        });
        assert_eq!(pool.left.load(Ordering::SeqCst), 100);
    }
}
