//! What many have is in memory once: texts of objects (a namespace, a team, an owner), and what policies name.

use std::hash::{BuildHasher as _, Hash};
use std::iter;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use foldhash::fast::RandomState;

/// How many are known at most.
const PLACES: usize = 4_096;
/// Longest that is shared, in bytes: what is known stays although nobody has it any more, so it is bounded.
pub(crate) const LONGEST: usize = 128;

/// What is known: each has one place, by its hash, and takes it from another. What is not known any more is there once more, and that is all.
#[derive(Debug)]
pub(crate) struct Interned<T: ?Sized> {
    /// With a key of its own, so that nobody can choose whose place he takes.
    hasher: RandomState,
    places: Mutex<Box<[Option<Arc<T>>]>>,
}

impl<T: ?Sized> Default for Interned<T> {
    fn default() -> Self {
        let empty = iter::repeat_with(|| None).take(PLACES).collect();
        Self { hasher: RandomState::default(), places: Mutex::new(empty) }
    }
}

impl<T: Hash + Eq + ?Sized> Interned<T> {
    /// The same, as it was given before where that is known; `length` is of what somebody wrote in it, in bytes.
    pub(crate) fn share(&self, one: Arc<T>, length: usize) -> Arc<T> {
        if length > LONGEST {
            return one;
        }
        let place = usize::try_from(self.hasher.hash_one(&*one) >> 32).unwrap_or_default() % PLACES;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = places.get_mut(place) else { return one };
        match place.as_ref() {
            Some(known) if **known == *one => known.clone(),
            _ => place.insert(one).clone(),
        }
    }
}

/// A text that many are likely to have.
pub(crate) fn text(text: &str) -> Arc<str> {
    static TEXTS: LazyLock<Interned<str>> = LazyLock::new(Interned::default);
    TEXTS.share(text.into(), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_before_is_given_again_and_no_more_is_kept_than_there_are_places() {
        let interned = Interned::<str>::default();
        let share = |text: &str| interned.share(text.into(), text.len());
        let first = share("finance");
        assert!(Arc::ptr_eq(&first, &share("finance")));
        for other in 0..3 * PLACES {
            let text = other.to_string();
            assert_eq!(*share(&text), *text);
        }
        let kept = interned.places.lock().unwrap().iter().flatten().count();
        assert!((PLACES / 2..=PLACES).contains(&kept), "{kept}");
        assert_eq!(*share("finance"), *"finance");
    }

    #[test]
    fn a_long_text_is_not_kept() {
        let long = "x".repeat(LONGEST + 1);
        assert_eq!((&*text(&long), Arc::strong_count(&text(&long))), (long.as_str(), 1));
    }
}
