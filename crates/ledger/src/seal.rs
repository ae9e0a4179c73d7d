//! What vouches for the end of a log, which nothing is signed for yet: behind the frames of every write stands a seal of 48 bytes.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..4 | marker | `SEAL`; as a length it is more than a record has |
//! | 4..8 | checksum | CRC32C of all that follows, little-endian like the numbers there |
//! | 8..16 | sequence | how many records there are before it |
//! | 16..24 | signed | a checkpoint of so many records had been issued, in both files |
//! | 24..28 | first | the segment's records are not older, in Unix seconds; 2^32 - 1 where it has none |
//! | 28..32 | last | they are not younger than this second; 0 where it has none |
//! | 32..48 | tag | by who has the log's key |
//!
//! The tag is that of AES-256-GCM-SIV (RFC 8452) over an empty text. Its nonce is the sequence; its associated data are all bytes
//! since the seal before, or those of the segment's header, and then the seal itself, with a checksum of zero and the tag of the
//! seal before in the place of its own. So no record can be added, altered, moved or taken from between others without the key. A
//! nonce may come again, where a power loss took what followed: that is what this mode is for. Its key is derived from the key that
//! signs checkpoints (HKDF-SHA256, RFC 5869).

use std::io;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

use crate::frame::Broken;
use crate::note::KeyError;
use crate::times::Span;

/// The length of a seal, in bytes.
pub(crate) const SEAL: usize = 48;

/// The first bytes of a seal.
pub(crate) const MARKER: [u8; 4] = *b"SEAL";

/// The most that one seal is for, in bytes: what a reader may have to keep until it can tell.
pub(crate) const MAX_SEALED: usize = 256 << 20;

const TAG: usize = 16;

/// The tag of a seal: by who has the log's key.
pub(crate) type Tag = [u8; TAG];

/// The key of the seals of one log.
pub(crate) struct SealKey(LessSafeKey);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealKey").finish_non_exhaustive()
    }
}

impl SealKey {
    /// Derived from the secret of the log's key.
    pub(crate) fn derive(secret: &[u8]) -> Result<Self, KeyError> {
        let secret = Salt::new(HKDF_SHA256, &[]).extract(secret);
        let key = secret.expand(&[b"vidimus ledger seal v1"], &AES_256_GCM_SIV);
        Ok(Self(LessSafeKey::new(UnboundKey::from(key.map_err(|_| KeyError::Rejected)?))))
    }

    /// The tag of `bytes`, which end with an unfinished seal.
    fn tag(&self, bytes: &[u8], sequence: u64) -> io::Result<Tag> {
        let mut nonce = [0; 12];
        nonce.iter_mut().zip(sequence.to_le_bytes()).for_each(|(to, from)| *to = from);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(bytes), &mut []);
        let tag = tag.map_err(|_| io::Error::other("the records could not be sealed"))?;
        tag.as_ref().try_into().map_err(io::Error::other)
    }
}

/// A seal as it stands in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) sequence: u64,
    pub(crate) signed: u64,
    pub(crate) times: Span,
    pub(crate) tag: Tag,
}

impl Seal {
    /// Its bytes, with this checksum.
    fn with(&self, checksum: u32) -> [u8; SEAL] {
        let marker = u128::from(u32::from_le_bytes(MARKER));
        let begin = marker | (u128::from(checksum) << 32) | (u128::from(self.sequence) << 64);
        let (first, last) = (u128::from(self.times.first), u128::from(self.times.last));
        let middle = u128::from(self.signed) | (first << 64) | (last << 96);
        let parts = [begin.to_le_bytes(), middle.to_le_bytes(), self.tag];
        parts.as_flattened().first_chunk().copied().unwrap_or([0; SEAL])
    }

    /// Its bytes, with a checksum of zero.
    fn unchecked(&self) -> [u8; SEAL] {
        self.with(0)
    }

    fn bytes(&self) -> [u8; SEAL] {
        self.with(crc32c::crc32c(self.with(0).get(8..).unwrap_or_default()))
    }

    /// Reads the seal at the start of `bytes`, whatever it is for.
    pub(crate) fn parse_any(bytes: &[u8]) -> Result<Self, Broken> {
        let Some((found, _)) = bytes.split_first_chunk::<SEAL>() else {
            return Err(Broken::Incomplete { have: bytes.len(), need: SEAL });
        };
        let number = |at| u64::from_le_bytes(chunk(found, at));
        let half = |at| u32::from_le_bytes(chunk(found, at));
        let times = Span { first: half(24), last: half(28) };
        let seal = Self { sequence: number(8), signed: number(16), times, tag: chunk(found, 32) };
        if half(4) != crc32c::crc32c(found.get(8..).unwrap_or_default()) || !begins(found) {
            return Err(Broken::Checksum);
        }
        if seal.signed > seal.sequence {
            return Err(Broken::Signed { found: seal.signed });
        }
        Ok(seal)
    }

    /// Reads the seal behind record `expected - 1` from the start of `bytes`.
    pub(crate) fn parse(bytes: &[u8], expected: u64) -> Result<Self, Broken> {
        match Self::parse_any(bytes)? {
            seal if seal.sequence == expected => Ok(seal),
            seal => Err(Broken::Sequence { expected, found: seal.sequence }),
        }
    }

    /// Whether it was made with `key`: behind `previous`, and for `sealed`, which this uses as a place to compute in.
    pub(crate) fn made_with(&self, key: &SealKey, previous: Tag, sealed: &mut Vec<u8>) -> bool {
        let unfinished = Self { tag: previous, ..*self };
        sealed.extend_from_slice(&unfinished.unchecked());
        key.tag(sealed, self.sequence)
            .is_ok_and(|tag| aws_lc_rs::constant_time::verify_slices_are_equal(&tag, &self.tag).is_ok())
    }
}

fn chunk<const N: usize>(bytes: &[u8; SEAL], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk().copied()).unwrap_or([0; N])
}

/// Whether a seal, and no frame, begins here.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(&MARKER)
}

/// The byte of the seal at the start of `bytes` that is not what it was, and what it was, where that is one: then the seal was
/// altered, or a sector's border cuts off that byte.
pub(crate) fn whole_but_for_one_byte(bytes: &[u8], expected: u64) -> Option<(usize, u8)> {
    let bytes = bytes.first_chunk::<SEAL>()?;
    let (marker, stored, covered) = (bytes.get(..4)?, chunk::<4>(bytes, 4), bytes.get(8..)?);
    let wrong = u32::from_le_bytes(stored) ^ crc32c::crc32c(covered);
    let (at, change) = if wrong == 0 {
        let mut changes = marker.iter().zip(MARKER).map(|(is, was)| is ^ was).enumerate();
        changes.find(|(_, change)| *change != 0)?
    } else if let Some(at) = (0..4).find(|at| wrong & !(0xff << (8 * at)) == 0) {
        (4 + at, wrong.to_le_bytes().get(at).copied()?)
    } else {
        changed(wrong)?
    };
    let mut whole = *bytes;
    let byte = whole.get_mut(at)?;
    *byte ^= change;
    let was = *byte;
    Seal::parse(&whole, expected).is_ok().then_some((at, was))
}

/// The one byte that a checksum differs by `wrong` for, and how.
fn changed(wrong: u32) -> Option<(usize, u8)> {
    const COVERED: usize = SEAL - 8;
    /// What each change of each byte does to the checksum: it is linear.
    static CHANGES: LazyLock<Vec<[u32; 256]>> = LazyLock::new(|| {
        let none = crc32c::crc32c(&[0; COVERED]);
        let of = |at: usize, change: usize| {
            let mut bytes = [0; COVERED];
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = u8::try_from(change).unwrap_or(0));
            crc32c::crc32c(&bytes) ^ none
        };
        (0..COVERED).map(|at| std::array::from_fn(|change| of(at, change))).collect()
    });
    CHANGES.iter().zip(8..).find_map(|(changes, at)| {
        let change = changes.iter().position(|change| *change == wrong)?;
        Some((at, u8::try_from(change).ok()?))
    })
}

/// The seals of a log, at its end, where they are made.
#[derive(Debug)]
pub(crate) struct Chain {
    key: Arc<SealKey>,
    last: Tag,
    said: u64,
}

impl Chain {
    /// Behind the seal with tag `last`, which said that `said` records were signed for.
    pub(crate) fn new(key: Arc<SealKey>, last: Tag, said: u64) -> Self {
        Self { key, last, said }
    }

    /// How many records the last seal said were signed for.
    pub(crate) fn said(&self) -> u64 {
        self.said
    }

    /// Puts the seal of `bytes` behind them: they are all since the last one.
    pub(crate) fn seal(
        &mut self,
        bytes: &mut Vec<u8>,
        sequence: u64,
        signed: u64,
        times: Span,
    ) -> io::Result<()> {
        let mut seal = Seal { sequence, signed, times, tag: self.last };
        let end = bytes.len();
        bytes.extend_from_slice(&seal.unchecked());
        seal.tag = self.key.tag(bytes, sequence)?;
        bytes.truncate(end);
        bytes.extend_from_slice(&seal.bytes());
        (self.last, self.said) = (seal.tag, signed);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
