//! A text that comes in pieces, looked at in windows over what has come: a value that is split over pieces is whole in one of them, and the windows are
//! the same whatever the pieces are.

/// So much of a text is held back, in bytes: nothing leaves of a value that is no longer, before it has come whole.
pub const HELD: usize = 512;

/// So much of it is looked at together, with what has left.
pub const SEEN: usize = 4_096;

/// After so much more of it is looked again.
const STEP: usize = 512;

/// A window ends, and begins, behind a word where there is white space so near: a number that is cut in two is another number.
const WORD: usize = 64;

/// What is kept of one text.
#[derive(Debug)]
pub struct Window {
    /// The last that came.
    text: String,
    /// Where in the whole text that begins.
    begins: usize,
    /// How long the text is when it is looked at next.
    next: usize,
    /// So much of it may leave.
    free: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { text: String::new(), begins: 0, next: STEP, free: 0 }
    }
}

impl Window {
    /// How much has come, in bytes.
    pub const fn come(&self) -> usize {
        self.begins + self.text.len()
    }

    /// How much of that may leave, in bytes.
    pub const fn free(&self) -> usize {
        self.free
    }

    /// More of the text has come: `look` is given each window that is whole with it, and where in the text that begins, in bytes.
    ///
    /// # Errors
    /// Those of `look`.
    pub fn push<E>(
        &mut self,
        mut piece: &str,
        look: &mut impl FnMut(usize, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        while !piece.is_empty() {
            let missing = piece.ceil_char_boundary(self.next.saturating_sub(self.come()));
            let (now, rest) = piece.split_at_checked(missing).unwrap_or((piece, ""));
            self.text.push_str(now);
            piece = rest;
            if self.come() >= self.next {
                let end = word_end(&self.text);
                let first = self.first();
                look(self.begins + first, self.text.get(first..end).unwrap_or_default())?;
                self.free = self.free.max((self.begins + end).saturating_sub(HELD));
                self.next += STEP;
                let gone = self.text.ceil_char_boundary(self.text.len().saturating_sub(SEEN - STEP));
                self.text.drain(..gone);
                self.begins += gone;
            }
        }
        Ok(())
    }

    /// All of it may leave once this was looked at: it has ended, or no more is held back.
    ///
    /// # Errors
    /// Those of `look`.
    pub fn end<E>(&mut self, look: &mut impl FnMut(usize, &str) -> Result<(), E>) -> Result<(), E> {
        if self.free < self.come() {
            let first = self.first();
            look(self.begins + first, self.text.get(first..).unwrap_or_default())?;
            self.free = self.come();
        }
        Ok(())
    }

    /// Where what is kept of it may be looked at from.
    fn first(&self) -> usize {
        if self.begins == 0 {
            return 0;
        }
        let near = self.text.bytes().take(WORD);
        near.take_while(|byte| !byte.is_ascii_whitespace()).count() % WORD
    }
}

/// Behind the last word of a text that is not one that may go on.
fn word_end(text: &str) -> usize {
    let near = text.len().saturating_sub(WORD);
    let end = text.bytes().skip(near).rev().position(|byte| byte.is_ascii_whitespace());
    end.map_or(text.len(), |behind| text.len() - 1 - behind)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// The windows of a text that comes in these pieces, and how much may leave after each piece.
    fn windows(pieces: &[&str]) -> (Vec<String>, Vec<usize>) {
        let (mut window, mut seen, mut free) = (Window::default(), Vec::new(), Vec::new());
        let mut look = |_: usize, text: &str| {
            seen.push(text.to_owned());
            Ok::<(), Infallible>(())
        };
        for piece in pieces {
            let Ok(()) = window.push(piece, &mut look);
            free.push(window.free());
        }
        let Ok(()) = window.end(&mut look);
        assert_eq!(window.free(), window.come());
        (seen, free)
    }

    /// A text, and where it is cut.
    fn cut(text: &str, places: &[prop::sample::Index]) -> Vec<String> {
        let mut at: Vec<usize> =
            places.iter().map(|place| text.floor_char_boundary(place.index(text.len() + 1))).collect();
        at.sort_unstable();
        at.insert(0, 0);
        at.push(text.len());
        at.windows(2).map(|ends| text.get(ends[0]..ends[1]).expect("characters").to_owned()).collect()
    }

    proptest! {
        /// However a text is split, the windows are the same; and a value of any place is whole in one of them before anything of it leaves.
        #[test]
        fn windows_are_of_the_text_and_not_of_its_pieces(
            text in "([a-z0-9é]{1,90}[ \\n]?){0,120}",
            places in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
            at in any::<prop::sample::Index>(),
            length in 1_usize..(HELD - WORD),
        ) {
            let pieces = cut(&text, &places);
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (seen, free) = windows(&pieces);
            prop_assert_eq!(&seen, &windows(&[&text]).0);
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary((at + length).min(text.len()));
            let value = text.get(at..end).expect("characters");
            prop_assert!(value.is_empty() || seen.iter().any(|window| window.contains(value)));
            // What may leave had been looked at with all that came up to so much behind it.
            let mut come = 0;
            for (piece, free) in pieces.iter().zip(free) {
                come += piece.len();
                prop_assert!(free <= come.saturating_sub(HELD), "{free} of {come}");
                prop_assert!(come - free <= HELD + STEP + WORD + 4, "{} held", come - free);
            }
        }
    }

    #[test]
    fn a_window_ends_and_begins_with_a_word() {
        let text = format!("{}4111 1111{}", "x ".repeat(251), "9".repeat(20));
        let (seen, _) = windows(&[&text]);
        assert!(seen[0].ends_with("4111"), "{}", seen[0]);
        let (seen, _) = windows(&["0.4111111111111111 ".repeat(600).as_str()]);
        for window in &seen {
            assert!(window.trim_start().starts_with("0.") && window.trim_end().ends_with("1111"), "{window}");
        }
        assert!(seen.iter().all(|window| window.len() <= SEEN));
    }
}
