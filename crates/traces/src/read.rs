//! All spans of one trace.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::files;
use crate::kept::KeptSpan;

/// The most spans of a trace that are read.
const MOST_SPANS: usize = 5_000;
/// And what they may be in memory, about, in bytes.
const MOST_WEIGHT: usize = 32 * 1024 * 1024;

/// The spans of a trace that are there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spans {
    /// Each once: of a principal the first that came by its ids.
    pub spans: Vec<KeptSpan>,
    /// How many came later by the ids of one of them, and said something else. They are not the span.
    pub altered: u64,
    /// How many there are beside these, which are too many to be read. They are the last of who has most: what others sent is here.
    pub left_out: u64,
    /// What could not be read.
    pub damage: Vec<String>,
}

/// The spans of a trace in the store at `dir`, of whoever sent some; none where there is no store. It needs nobody who writes, and waits for
/// nobody.
///
/// # Errors
/// Where the store cannot be listed. What of it cannot be read is told with the rest.
pub fn read(dir: &Path, trace: u128) -> io::Result<Spans> {
    read_part(dir, trace, 1)
}

/// As [`read`], where `of` traces are read: each may have such a part of what is read at most.
///
/// # Errors
/// As [`read`].
pub fn read_part(dir: &Path, trace: u128, of: usize) -> io::Result<Spans> {
    let (mut found, mut shares) = (Spans::default(), Vec::new());
    let most = Most { spans: MOST_SPANS / of.max(1), weight: MOST_WEIGHT / of.max(1) };
    let principals = match fs::read_dir(dir) {
        Ok(principals) => principals,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for principal in principals {
        let path = principal?.path();
        if path.is_dir() {
            let mut share = Share { trace, most, ..Share::default() };
            of_principal(&path, &mut share, &mut found.damage);
            found.altered += share.altered;
            found.left_out += share.left_out;
            shares.push(share);
            found.left_out += fit(&mut shares, most);
        }
    }
    found.spans = shares.into_iter().flat_map(|share| share.spans).map(|(kept, _)| kept).collect();
    Ok(found)
}

/// How much is read.
#[derive(Clone, Copy, Debug, Default)]
struct Most {
    spans: usize,
    weight: usize,
}

/// What is read of one principal.
#[derive(Debug, Default)]
struct Share {
    trace: u128,
    most: Most,
    /// Each with what it weighs.
    spans: Vec<(KeptSpan, usize)>,
    weight: usize,
    /// What was said first by each id.
    said: HashMap<u64, u64>,
    altered: u64,
    left_out: u64,
}

impl Share {
    /// There is no more for it, also where nobody else has anything.
    fn is_full(&self) -> bool {
        let altered = usize::try_from(self.altered).unwrap_or(usize::MAX);
        self.spans.len().saturating_add(altered) >= self.most.spans || self.weight >= self.most.weight
    }

    fn take(&mut self, kept: KeptSpan) {
        let Some(ids) = kept.ids().filter(|ids| ids.trace == self.trace) else { return };
        if self.is_full() {
            self.left_out += 1;
            return;
        }
        match self.said.get(&ids.span) {
            None => {
                self.said.insert(ids.span, kept.says());
                let weight = kept.weight();
                self.weight = self.weight.saturating_add(weight);
                self.spans.push((kept, weight));
            }
            Some(first) => self.altered += u64::from(*first != kept.says()),
        }
    }
}

/// Has all of them be no more than is read, by the last of who has most; how many went.
fn fit(shares: &mut [Share], most: Most) -> u64 {
    let mut spans: usize = shares.iter().map(|share| share.spans.len()).sum();
    let mut weight: usize = shares.iter().map(|share| share.weight).sum();
    let mut went = 0;
    while spans > most.spans || weight > most.weight {
        let largest = if spans > most.spans {
            shares.iter_mut().max_by_key(|share| share.spans.len())
        } else {
            shares.iter_mut().max_by_key(|share| share.weight)
        };
        let Some((share, (_, last))) = largest.and_then(|share| share.spans.pop().map(|last| (share, last)))
        else {
            break;
        };
        share.weight = share.weight.saturating_sub(last);
        weight = weight.saturating_sub(last);
        spans -= 1;
        went += 1;
    }
    went
}

fn of_principal(dir: &Path, share: &mut Share, damage: &mut Vec<String>) {
    let numbers = match files::numbers(dir) {
        Ok(numbers) => numbers,
        // It went meanwhile, for its time was over.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return damage.push(format!("{}: {error}", dir.display())),
    };
    for number in numbers {
        match of_file(dir, number, share) {
            Ok(None) => {}
            Ok(Some(unread)) => damage.push(unread),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => damage.push(format!("{}: {error}", files::paths(dir, number).0.display())),
        }
    }
}

/// The spans of one file by its index, and what stands behind the last one that is in it; what is damaged of it.
fn of_file(dir: &Path, number: u64, share: &mut Share) -> io::Result<Option<String>> {
    let (data, index) = files::paths(dir, number);
    // First: what is written meanwhile is behind it, and found there.
    let index = match fs::read(&index) {
        Ok(index) => index,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let file = File::open(&data)?;
    let (trace, mut unread) = (share.trace, 0_u64);
    for (_, from) in files::entries(&index).filter(|(of, _)| *of == trace) {
        if share.is_full() {
            // Counted, and not read.
            share.left_out += 1;
            continue;
        }
        match files::at(&file, from)? {
            Some((kept, _)) => share.take(kept),
            None => unread += 1,
        }
    }
    let mut from = match files::entries(&index).next_back() {
        None => 0,
        // Where the last one cannot be read, nobody knows where the next begins.
        Some((_, from)) => files::at(&file, from)?.map_or(u64::MAX, |(_, end)| end),
    };
    while from != u64::MAX
        && let Some((kept, end)) = files::at(&file, from)?
    {
        share.take(kept);
        from = end;
    }
    Ok((unread > 0).then(|| format!("{}: {unread} spans of the trace cannot be read", data.display())))
}
