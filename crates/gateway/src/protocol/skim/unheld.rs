//! What is too long to be held, as far as it may ask something.

use super::Skimmer;
use crate::protocol::sse::{Piece, Reader};

/// An event that is too long to be held, looked at as it passes.
#[derive(Debug, Default)]
pub struct Unheld {
    reader: Reader,
    skimmer: Skimmer,
    /// The last two bytes.
    last: [u8; 2],
}

impl Unheld {
    /// Whether what has come of it with this piece may ask something ([`Skimmer::asks`]): also in what is no JSON, and behind what ends a line for
    /// some readers alone.
    pub fn asks(&mut self, piece: &[u8]) -> bool {
        if piece.iter().any(|byte| self.ends_line(*byte)) {
            return true;
        }
        let Self { reader, skimmer, .. } = self;
        reader.push(piece, &mut |piece| match piece {
            Piece::Line => skimmer.push(b"\n"),
            Piece::Text(text) => skimmer.push(text),
            Piece::End => {}
        });
        skimmer.asks() || skimmer.is_broken()
    }

    /// Whether a line ends with this byte for readers that split lines as Python's `str.splitlines` does, and not in HTML.
    fn ends_line(&mut self, byte: u8) -> bool {
        let [before, last] = self.last;
        self.last = [last, byte];
        let of_ascii = matches!(byte, 0x0b | 0x0c | 0x1c..=0x1e);
        of_ascii || matches!((before, last, byte), (_, 0xc2, 0x85) | (0xe2, 0x80, 0xa8 | 0xa9))
    }
}
