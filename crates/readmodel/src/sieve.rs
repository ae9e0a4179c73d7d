//! Sieves: which rows of a sealed file can have a text, by the parts of three bytes that their texts have. Rows that lack one of the parts of
//! what is looked for are not read.
//!
//! A sieve is a file of bits beside the rows. It has [`SLOTS`] slots, and in each a bit for every chunk of [`CHUNK`] rows, without padding; the
//! first bit is the lowest of the first byte. It is set where the chunk has a part that falls into the slot. All chunks of a slot are
//! neighbours, so a search reads a few bytes for each part of its text, however many rows there are. The kernel keeps them: there is no cache
//! of our own.

use std::path::Path;

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use parquet::arrow::arrow_reader::RowSelection;

use crate::ModelError;
use crate::file::{self, DamagedFile, Sealed, Written};

/// Rows of a chunk, which is read or passed over as a whole.
pub(crate) const CHUNK: usize = if cfg!(test) { 64 } else { 4096 };

/// What a slot is in bits. With this and what [`slots`] does a sieve is read as it was written: other values are another form of the files.
const SLOT_BITS: u32 = if cfg!(test) { 14 } else { 18 };

const SLOTS: usize = 1 << SLOT_BITS;

/// Slots that are looked at for one text. A longer one is ruled out no better by more.
const MOST_SLOTS: usize = 64;

/// The slots of a text's parts; of one that is shorter than a part there is none.
fn slots(text: &[u8]) -> impl Iterator<Item = usize> {
    text.array_windows().map(|[a, b, c]| {
        let part = u32::from_le_bytes([*a, *b, *c, 0]);
        // The high bits of the product, which depend on all of the part (Fibonacci hashing).
        (part.wrapping_mul(0x9e37_79b1) >> (u32::BITS - SLOT_BITS)) as usize
    })
}

/// Makes the sieve of rows, which it is given in their order.
#[derive(Debug, Default)]
pub(crate) struct SieveWriter {
    /// Of each chunk, which slots it has.
    chunks: Vec<Vec<u64>>,
    /// Rows of the last of them.
    rows: usize,
}

impl SieveWriter {
    pub(crate) fn take(&mut self, batch: &RecordBatch) -> Result<(), ModelError> {
        let column = batch.column_by_name("record").and_then(|column| column.as_string_view_opt());
        let column = column.ok_or_else(|| ModelError::Query("rows without their records".to_owned()))?;
        for text in column {
            self.push(text.unwrap_or_default());
        }
        Ok(())
    }

    fn push(&mut self, text: &str) {
        if self.chunks.is_empty() || self.rows == CHUNK {
            self.chunks.push(vec![0; SLOTS / 64]);
            self.rows = 0;
        }
        self.rows += 1;
        let Some(chunk) = self.chunks.last_mut() else { return };
        for slot in slots(text.as_bytes()) {
            if let Some(word) = chunk.get_mut(slot / 64) {
                *word |= 1 << (slot % 64);
            }
        }
    }

    /// By slots, and not by chunks any more.
    fn bits(&self) -> Vec<u8> {
        let mut bits = vec![0_u8; SLOTS / 8 * self.chunks.len()];
        for (at, chunk) in self.chunks.iter().enumerate() {
            for (word, first) in chunk.iter().zip((0..).step_by(64)) {
                let mut left = *word;
                while left != 0 {
                    let bit = (first + left.trailing_zeros() as usize) * self.chunks.len() + at;
                    if let Some(byte) = bits.get_mut(bit / 8) {
                        *byte |= 1 << (bit % 8);
                    }
                    left &= left - 1;
                }
            }
        }
        bits
    }

    /// It is on disk, under its name.
    pub(crate) fn finish(&self, dir: &Path, name: String) -> Result<Written, ModelError> {
        file::write(dir, name, &self.bits())
    }
}

/// The bits of the sieve of rows that stand one behind the other, by those of their files; `None` where a file has none, or its chunks are no whole
/// bytes.
pub(crate) fn joined<'a>(
    parts: impl Iterator<Item = Option<&'a Sieve>>,
) -> Result<Option<Vec<u8>>, DamagedFile> {
    let (mut all, mut length) = (Vec::new(), 0);
    for part in parts {
        let Some(sieve) = part.filter(|sieve| sieve.rows.is_multiple_of(CHUNK * 8)) else { return Ok(None) };
        let bytes = sieve.file.read(0..sieve.bytes)?;
        length += bytes.len();
        all.push((bytes, sieve.rows / CHUNK / 8));
    }
    let mut bits = Vec::with_capacity(length);
    for slot in 0..SLOTS {
        for (bytes, width) in &all {
            bits.extend_from_slice(bytes.get(slot * width..(slot + 1) * width).unwrap_or_default());
        }
    }
    Ok(Some(bits))
}

/// The sieve of a sealed file, open.
#[derive(Debug)]
pub(crate) struct Sieve {
    file: Sealed,
    bytes: u64,
    /// Of the file that it is of.
    rows: usize,
}

impl Sieve {
    pub(crate) fn open(dir: &Path, written: &Written, records: u64) -> Result<Self, ModelError> {
        let file = Sealed::open(dir, written)?;
        let length = records.div_ceil(CHUNK as u64).checked_mul(SLOTS as u64 / 8);
        match usize::try_from(records) {
            Ok(rows) if length == Some(written.bytes) => Ok(Self { file, bytes: written.bytes, rows }),
            _ => Err(DamagedFile { path: file.path, why: "it is of other rows".to_owned() }.into()),
        }
    }

    /// The rows that can have a text: all that have it are among them. `None` where all can.
    pub(crate) fn select(&self, text: &str) -> Result<Option<RowSelection>, DamagedFile> {
        let mut slots: Vec<usize> = slots(text.as_bytes()).collect();
        slots.sort_unstable();
        slots.dedup();
        let mut can = vec![true; self.rows.div_ceil(CHUNK)];
        for slot in slots.into_iter().take(MOST_SLOTS) {
            let (first, end) = (slot * can.len(), (slot + 1) * can.len());
            let bytes = self.file.read(first as u64 / 8..(end as u64).div_ceil(8))?;
            for (can, bit) in can.iter_mut().zip(first % 8..) {
                *can &= bytes.get(bit / 8).is_none_or(|byte| byte >> (bit % 8) & 1 == 1);
            }
            if !can.contains(&true) {
                break;
            }
        }
        if !can.contains(&false) {
            return Ok(None);
        }
        let chunks = can.iter().zip((0..).step_by(CHUNK)).filter(|(can, _)| **can);
        let rows = chunks.map(|(_, first)| first..(first + CHUNK).min(self.rows));
        Ok(Some(RowSelection::from_consecutive_ranges(rows, self.rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look like none (splitmix64).
    fn mixed(number: u64) -> usize {
        let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from(z >> 33).expect("small")
    }

    /// Some characters of a few, of one to four bytes each.
    fn text(seed: u64, length: usize) -> String {
        let all = ['a', 'b', '"', '\u{0}', 'é', 'ß', '→', '語', '🐎', '\u{10ffff}'];
        (0..length as u64).map(|at| all[mixed(seed * 1000 + at) % all.len()]).collect()
    }

    /// Whatever rows have, and however many they are: none that has a text is left out.
    #[test]
    fn a_row_that_has_a_text_is_never_left_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut left_out = 0;
        for (round, rows) in
            [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7, 9 * CHUNK].into_iter().enumerate()
        {
            let of = |row: usize| text((round * 10_000 + row) as u64, mixed(row as u64) % 4);
            let texts: Vec<String> = (0..rows).map(of).collect();
            let mut writer = SieveWriter::default();
            texts.iter().for_each(|text| writer.push(text));
            let written = writer.finish(dir.path(), format!("{round}.records.sieve")).expect("written");
            let sieve = Sieve::open(dir.path(), &written, rows as u64).expect("open");
            for seed in 0..300 {
                let wanted = text(1_000_000 + seed, mixed(seed) % 5);
                let Some(selection) = sieve.select(&wanted).expect("whole") else { continue };
                let mut is_read = Vec::with_capacity(rows);
                let runs = selection.iter();
                runs.for_each(|run| is_read.extend(std::iter::repeat_n(!run.skip, run.row_count)));
                assert_eq!(is_read.len(), rows);
                let lost =
                    texts.iter().zip(&is_read).find(|(text, is_read)| text.contains(&wanted) && !**is_read);
                assert_eq!(lost, None, "{wanted:?}");
                left_out += is_read.iter().filter(|is_read| !**is_read).count();
            }
            // That of fewer or more chunks is none of these rows.
            assert!(Sieve::open(dir.path(), &written, (rows + CHUNK) as u64).is_err());
        }
        assert!(left_out > 1000, "{left_out}");
    }

    #[test]
    fn what_is_shorter_than_a_part_rules_nothing_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut writer = SieveWriter::default();
        (0..2 * CHUNK).for_each(|_| writer.push("x"));
        let written = writer.finish(dir.path(), "x.records.sieve".to_owned()).expect("written");
        let sieve = Sieve::open(dir.path(), &written, 2 * CHUNK as u64).expect("open");
        for text in ["", "a", "ab", "é"] {
            assert_eq!(sieve.select(text).expect("whole"), None, "{text}");
        }
        let nothing = sieve.select("abc").expect("whole").expect("some are ruled out");
        assert!(!nothing.selects_any());
    }
}
