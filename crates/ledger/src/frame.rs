//! One record on disk: 20 bytes of header, then the record.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..4 | length | of the record, 1 to 65,535, little-endian like all that follows |
//! | 4..8 | checksum | CRC32C (RFC 3720 appendix B.4) of record, length, sequence, unsynced, in this order |
//! | 8..16 | sequence | index of the record in the log, from 0 |
//! | 16..20 | unsynced | how many of the records right before it were not yet on disk when it was made (2^32 - 1: so many or more) |
//!
//! What a power loss takes is told from damage by `unsynced`: all before those records was on disk.
//!
//! The checksum takes the record first, so that a caller computes most of it before it has a sequence number.

/// Bytes before the record.
pub(crate) const HEADER: usize = 20;

/// The maximum length of a record, in bytes. An entry bundle gives a record's length in 16 bits (C2SP tlog-tiles, "Log entries").
pub const MAX_RECORD: usize = 65_535;

/// The last byte of every record: it is a JSON object.
pub(crate) const RECORD_END: u8 = b'}';

/// Why bytes are not the frame that should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    #[error("the file ends inside the frame ({have} bytes of {need})")]
    Incomplete { have: usize, need: usize },
    #[error("length {found} is not between 1 and 65535")]
    Length { found: u32 },
    #[error("{found} records before it, more than there are, are said not to be on disk")]
    Unsynced { found: u32 },
    #[error("record {found} stands where {expected} belongs")]
    Sequence { expected: u64, found: u64 },
    #[error("the checksum does not match the bytes")]
    Checksum,
    #[error("{found} records, more than there are, are said to be signed for")]
    Signed { found: u64 },
}

/// A frame in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) record: &'a [u8],
    /// Header and record, in bytes.
    pub(crate) length: usize,
}

/// Makes room for the header; the record is written after it.
pub(crate) fn begin(frame: &mut Vec<u8>) {
    frame.clear();
    frame.extend_from_slice(&[0; HEADER]);
}

/// The record of an unfinished frame.
pub(crate) fn record(frame: &[u8]) -> &[u8] {
    frame.get(HEADER..).unwrap_or_default()
}

/// Completes a frame that [`begin`] began. Of the records before it, the last `unsynced` may not be on disk. `checksum` is CRC32C
/// over its record, whose length the caller has checked.
pub(crate) fn seal(frame: &mut [u8], sequence: u64, unsynced: u64, checksum: u32) {
    let length = u32::try_from(record(frame).len()).unwrap_or(u32::MAX);
    let covered = covered(length, sequence, u32::try_from(unsynced).unwrap_or(u32::MAX));
    let checksum = crc32c::crc32c_append(checksum, &covered).to_le_bytes();
    let (length, rest) = covered.split_at(4);
    let header = length.iter().chain(&checksum).chain(rest);
    frame.iter_mut().zip(header).for_each(|(to, from)| *to = *from);
}

/// The header without its checksum, as the checksum covers it.
fn covered(length: u32, sequence: u64, unsynced: u32) -> [u8; 16] {
    let value = u128::from(length) | (u128::from(sequence) << 32) | (u128::from(unsynced) << 96);
    value.to_le_bytes()
}

/// Reads the frame of record `expected` from the start of `bytes`.
pub(crate) fn parse(bytes: &[u8], expected: u64) -> Result<Found<'_>, Broken> {
    match parse_any(bytes)? {
        found if found.sequence == expected => Ok(found),
        Found { sequence: found, .. } => Err(Broken::Sequence { expected, found }),
    }
}

/// A frame of any record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub(crate) sequence: u64,
    /// Records below this index were on disk when the frame was made. Not more than `sequence`.
    pub(crate) on_disk: u64,
    pub(crate) frame: Frame<'a>,
}

/// Reads a frame of any record from the start of `bytes`.
pub(crate) fn parse_any(bytes: &[u8]) -> Result<Found<'_>, Broken> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(Broken::Incomplete { have: bytes.len(), need: HEADER });
    };
    let header = Header::of(header);
    let Ok(length @ 1..=MAX_RECORD) = usize::try_from(header.length) else {
        return Err(Broken::Length { found: header.length });
    };
    let Some(on_disk) = header.on_disk() else {
        return Err(Broken::Unsynced { found: header.unsynced });
    };
    let Some((record, _)) = rest.split_at_checked(length) else {
        return Err(Broken::Incomplete { have: bytes.len(), need: HEADER + length });
    };
    let found = crc32c::crc32c_append(
        crc32c::crc32c(record),
        &covered(header.length, header.sequence, header.unsynced),
    );
    if found != header.checksum {
        return Err(Broken::Checksum);
    }
    let frame = Frame { record, length: HEADER + length };
    Ok(Found { sequence: header.sequence, on_disk, frame })
}

/// The length with which the frame of record `expected` at the start of `bytes` is whole, where it is not with its own: then the
/// length was altered, and the frame is not one that a crash cut short.
pub(crate) fn whole_but_for_length(bytes: &[u8], expected: u64) -> Option<u32> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let header = Header::of(header);
    let mut checksum = 0;
    rest.iter().take(MAX_RECORD).zip(1..).find_map(|(byte, length)| {
        checksum = crc32c::crc32c_append(checksum, &[*byte]);
        // A record is a JSON object; asking for its end keeps a chance hit among so many lengths out of the question.
        let end = *byte == RECORD_END;
        let covered = covered(length, expected, header.unsynced);
        let whole = end && crc32c::crc32c_append(checksum, &covered) == header.checksum;
        whole.then_some(length)
    })
}

/// Where the frame of record `expected` at the start of `bytes` ends, if its header can be believed: the checksum is not asked.
pub(crate) fn end_by_header(bytes: &[u8], expected: u64) -> Option<usize> {
    let header = Header::of(bytes.first_chunk()?);
    let length = usize::try_from(header.length).ok().filter(|length| (1..=MAX_RECORD).contains(length))?;
    (header.sequence == expected && header.on_disk().is_some()).then_some(HEADER + length)
}

/// Whether the frame at the start of `bytes` is whole again when its last byte is what every record ends with.
pub(crate) fn whole_but_for_last_byte(bytes: &[u8], expected: u64) -> bool {
    let end = end_by_header(bytes, expected);
    let Some(mut frame) = end.and_then(|end| bytes.get(..end)).map(<[u8]>::to_vec) else { return false };
    if let Some(last) = frame.last_mut() {
        *last = RECORD_END;
    }
    parse(&frame, expected).is_ok()
}

/// The fields of a header, unchecked.
struct Header {
    length: u32,
    checksum: u32,
    sequence: u64,
    unsynced: u32,
}

impl Header {
    fn of(bytes: &[u8; HEADER]) -> Self {
        let [l0, l1, l2, l3, c0, c1, c2, c3, s0, s1, s2, s3, s4, s5, s6, s7, u0, u1, u2, u3] = *bytes;
        Self {
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            checksum: u32::from_le_bytes([c0, c1, c2, c3]),
            sequence: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            unsynced: u32::from_le_bytes([u0, u1, u2, u3]),
        }
    }

    /// The number of records that were on disk; `None` where it says that more were not than there are before it.
    fn on_disk(&self) -> Option<u64> {
        if self.unsynced == u32::MAX { Some(0) } else { self.sequence.checked_sub(self.unsynced.into()) }
    }
}

#[cfg(test)]
mod tests;
