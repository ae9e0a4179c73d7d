//! A file of spans, and the index beside it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use prost::Message as _;

use crate::kept::{Ids, KeptSpan, MOST_BYTES};

/// Of a frame: the length of what follows, and its CRC-32C, each four bytes, the lowest first.
const HEADER: usize = 8;
/// What is beside the span in one frame: principal, identity, person, scope, and the attributes of its resource.
const MOST_BESIDE: usize = 64 * 1024;
/// The longest frame.
const MOST: usize = MOST_BYTES + MOST_BESIDE + 1024;
/// Of an index: a trace id, the first byte first, and where the frame of the span begins, likewise.
pub(crate) const ENTRY: usize = 24;

/// The file of this number, and its index.
pub(crate) fn paths(dir: &Path, number: u64) -> (PathBuf, PathBuf) {
    (dir.join(format!("{number:010}.spans")), dir.join(format!("{number:010}.index")))
}

/// The numbers of the files of a principal, sorted.
pub(crate) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number: Option<u64> = name.to_str().and_then(|name| name.strip_suffix(".spans")?.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Puts a span, encoded, behind those in `data` and `index`, which begin at `from` of the file.
pub(crate) fn put(payload: &[u8], ids: Ids, from: u64, data: &mut Vec<u8>, index: &mut Vec<u8>) {
    index.extend_from_slice(&ids.trace.to_be_bytes());
    index.extend_from_slice(&(from + data.len() as u64).to_be_bytes());
    // What is put here was looked at: it is far shorter.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    data.extend_from_slice(&length.to_le_bytes());
    data.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    data.extend_from_slice(payload);
}

/// The span whose frame begins there, and where that ends; `None` where there is no whole one.
pub(crate) fn at(file: &File, from: u64) -> io::Result<Option<(KeptSpan, u64)>> {
    let mut header = [0; HEADER];
    if !filled(file, &mut header, from)? {
        return Ok(None);
    }
    let [a, b, c, d, e, f, g, h] = header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > MOST {
        return Ok(None);
    }
    let mut payload = vec![0; length];
    if !filled(file, &mut payload, from + HEADER as u64)?
        || crc32c::crc32c(&payload) != u32::from_le_bytes([e, f, g, h])
    {
        return Ok(None);
    }
    let end = from + (HEADER + length) as u64;
    Ok(KeptSpan::decode(payload.as_slice()).ok().map(|kept| (kept, end)))
}

fn filled(file: &File, bytes: &mut [u8], from: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, from) {
        Ok(()) => Ok(true),
        // Behind the end, or at a place that no file has: so says an index that is damaged.
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Where the spans of an index begin, each with its trace. What is left of an entry that was not written whole is none.
pub(crate) fn entries(index: &[u8]) -> impl DoubleEndedIterator<Item = (u128, u64)> {
    index.chunks_exact(ENTRY).filter_map(|entry| {
        let (trace, from) = entry.split_at_checked(16)?;
        Some((u128::from_be_bytes(trace.try_into().ok()?), u64::from_be_bytes(from.try_into().ok()?)))
    })
}

/// All spans of a file, in their order, and where the last whole one ends.
pub(crate) fn all(file: &File, mut each: impl FnMut(KeptSpan)) -> io::Result<u64> {
    let mut from = 0;
    while let Some((kept, end)) = at(file, from)? {
        each(kept);
        from = end;
    }
    Ok(from)
}
