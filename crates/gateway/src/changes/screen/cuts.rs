//! What is taken out of a text that comes in pieces, by where it stands in the whole of it: each piece leaves without it, wherever the pieces are.

use std::ops::Range;

use vidimus_guard::{Place, label};

/// The most that is taken out of one text by its places.
const MOST: usize = 256;

/// In order, and apart from each other.
#[derive(Debug, Default)]
pub struct Cuts(Vec<Cut>);

#[derive(Debug)]
struct Cut {
    /// In bytes of the whole text.
    at: Range<usize>,
    /// What stands for it, until it stands in some piece.
    label: Option<String>,
}

/// What is left of a piece.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    pub said: String,
    /// How many characters of it are the text's own.
    pub characters: usize,
}

impl Cuts {
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Has more taken out: what stands in these places of a window that begins there. False where there are none, or too many.
    pub fn add(&mut self, from: usize, places: Vec<Place>) -> bool {
        if places.is_empty() {
            return false;
        }
        for Place { at, kind } in places {
            let mut cut = Cut { at: from + at.start..from + at.end, label: Some(label(&kind)) };
            // Windows overlap, so most is found more than once, and of what is found later more may be there.
            let overlaps = |other: &Cut| other.at.start < cut.at.end && cut.at.start < other.at.end;
            for known in self.0.extract_if(.., |other| overlaps(other)).collect::<Vec<_>>() {
                cut.at = cut.at.start.min(known.at.start)..cut.at.end.max(known.at.end);
                cut.label = cut.label.filter(|_| known.label.is_some()).and(known.label);
            }
            let place = self.0.partition_point(|other| other.at.start < cut.at.start);
            self.0.insert(place, cut);
        }
        self.0.len() <= MOST
    }

    /// What is left of a piece that begins there in the text; `None` where all of it is.
    pub fn kept(&mut self, piece: &str, begins: usize) -> Option<Kept> {
        let within = |at: usize| at.saturating_sub(begins).min(piece.len());
        let mut kept: Option<Kept> = None;
        let mut from = 0;
        for Cut { at, label } in &mut self.0 {
            let (start, end) = (within(at.start), within(at.end));
            if start >= end {
                continue;
            }
            let kept = kept.get_or_insert_with(|| Kept { said: String::new(), characters: 0 });
            kept.own(piece.get(from..start));
            kept.said.extend(label.take());
            from = end;
        }
        if let Some(kept) = &mut kept {
            kept.own(piece.get(from..));
        }
        kept
    }
}

impl Kept {
    fn own(&mut self, words: Option<&str>) {
        let words = words.unwrap_or_default();
        self.said.push_str(words);
        self.characters += words.chars().count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(at: Range<usize>) -> Place {
        Place { at, kind: "card".into() }
    }

    #[test]
    fn each_piece_leaves_without_what_stands_in_it() {
        let text = "pay 4111 now";
        for split in 0..=text.len() {
            let mut cuts = Cuts::default();
            assert!(cuts.add(0, vec![place(4..8)]) && cuts.add(2, vec![place(2..6)]));
            let (first, second) = text.split_at(split);
            let mut left = |piece: &str, begins| {
                cuts.kept(piece, begins).map_or_else(|| piece.to_owned(), |kept| kept.said)
            };
            assert_eq!(left(first, 0) + &left(second, split), "pay [redacted:card] now", "{split}");
        }
    }

    #[test]
    fn what_is_found_once_more_stands_once() {
        let mut cuts = Cuts::default();
        assert!(!cuts.add(0, Vec::new()));
        assert!(cuts.add(0, vec![place(4..8), place(10..12)]));
        let kept = cuts.kept("pay 4111", 0).expect("something is taken out");
        assert_eq!(kept, Kept { said: "pay [redacted:card]".to_owned(), characters: 4 });
        // More of it than was known, once its label has left.
        assert!(cuts.add(0, vec![place(4..11)]));
        assert_eq!(cuts.kept(" 222 ", 8).expect("something is").said, " ".to_owned());
        assert_eq!(cuts.kept("more", 13), None);
        assert!(!cuts.add(0, (0..MOST).map(|at| place(100 + at * 2..101 + at * 2)).collect()));
    }
}
