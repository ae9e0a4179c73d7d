//! All spans of one trace.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::files;
use crate::kept::KeptSpan;

/// The spans of a trace that are there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spans {
    /// Each once: of a principal the first that came by its ids.
    pub spans: Vec<KeptSpan>,
    /// How many came later by the ids of one of them, and said something else. They are not the span.
    pub altered: u64,
    /// What could not be read.
    pub damage: Vec<String>,
}

/// The spans of a trace in the store at `dir`, of whoever sent some; none where there is no store. It needs nobody who writes, and waits for
/// nobody.
///
/// # Errors
/// Where the store cannot be listed. What of it cannot be read is told with the rest.
pub fn read(dir: &Path, trace: u128) -> io::Result<Spans> {
    let mut found = Spans::default();
    let principals = match fs::read_dir(dir) {
        Ok(principals) => principals,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for principal in principals {
        let path = principal?.path();
        if path.is_dir() {
            of_principal(&path, trace, &mut found);
        }
    }
    Ok(found)
}

fn of_principal(dir: &Path, trace: u128, found: &mut Spans) {
    let numbers = match files::numbers(dir) {
        Ok(numbers) => numbers,
        // It went meanwhile, for its time was over.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return found.damage.push(format!("{}: {error}", dir.display())),
    };
    let mut said: HashMap<u64, u64> = HashMap::new();
    for number in numbers {
        let taken = of_file(dir, number, trace, &mut |kept: KeptSpan| {
            let Some(ids) = kept.ids().filter(|ids| ids.trace == trace) else { return };
            match said.get(&ids.span) {
                None => {
                    said.insert(ids.span, kept.says());
                    found.spans.push(kept);
                }
                Some(first) => found.altered += u64::from(*first != kept.says()),
            }
        });
        match taken {
            Ok(None) => {}
            Ok(Some(damage)) => found.damage.push(damage),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                found.damage.push(format!("{}: {error}", files::paths(dir, number).0.display()));
            }
        }
    }
}

/// The spans of one file by its index, and what stands behind the last one that is in it; what is damaged of it.
fn of_file(
    dir: &Path,
    number: u64,
    trace: u128,
    take: &mut impl FnMut(KeptSpan),
) -> io::Result<Option<String>> {
    let (data, index) = files::paths(dir, number);
    // First: what is written meanwhile is behind it, and found there.
    let index = match fs::read(&index) {
        Ok(index) => index,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let file = File::open(&data)?;
    let mut unread = 0_u64;
    for (_, from) in files::entries(&index).filter(|(of, _)| *of == trace) {
        match files::at(&file, from)? {
            Some((kept, _)) => take(kept),
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
        take(kept);
        from = end;
    }
    Ok((unread > 0).then(|| format!("{}: {unread} spans of the trace cannot be read", data.display())))
}
