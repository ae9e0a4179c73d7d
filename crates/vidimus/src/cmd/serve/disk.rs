//! The room that the ledger has left. While there is little, refusals are counted and not recorded one by one: what is left is for
//! the records of what is allowed. When nothing is left, the ledger closes, and nothing passes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vidimus_gateway::Shared;

use super::supervisor::Supervisor;

/// How often it is looked at. A disk that takes 1 GB a second takes half of the default reserve meanwhile.
const LOOK: Duration = Duration::from_millis(500);

/// The reserve where none is given: so much, and of a small file system a tenth.
const RESERVE: u64 = 1 << 30;
const PART: u64 = 10;

/// Looks at the file system of `data` for as long as the process lives.
pub(super) fn watch(supervisor: &mut Supervisor, shared: Arc<Shared>, data: PathBuf, reserve: Option<u64>) {
    let (mut spares, mut blind) = (false, false);
    supervisor.repeated_beside("disk", LOOK, move || {
        let found = match rustix::fs::statvfs(&data) {
            Ok(found) => found,
            Err(error) => {
                if !std::mem::replace(&mut blind, true) {
                    tracing::error!(%error, data = %data.display(), "how much room is left for the ledger is not known");
                }
                return;
            }
        };
        blind = false;
        let size = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        let spare = is_short(size(found.f_bavail), size(found.f_blocks), reserve);
        shared.spare_disk(spare);
        if spare != std::mem::replace(&mut spares, spare) {
            let free = size(found.f_bavail);
            match spare {
                true => tracing::error!(free, data = %data.display(), "little room is left for the ledger: refusals are only counted"),
                false => tracing::info!(free, "there is room for the ledger again"),
            }
        }
    });
}

fn is_short(free: u64, all: u64, reserve: Option<u64>) -> bool {
    free < reserve.unwrap_or_else(|| default(all))
}

/// The reserve of a file system of this size where none is given.
fn default(all: u64) -> u64 {
    (all / PART).min(RESERVE)
}

/// How much is free for this user on the file system of `data`, and how much of it is the reserve, in bytes.
///
/// # Errors
/// Where the file system cannot be asked.
pub(in crate::cmd) fn room(data: &Path, reserve: Option<u64>) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(data)?;
    let size = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok((size(found.f_bavail), reserve.unwrap_or_else(|| default(size(found.f_blocks)))))
}

/// What of the file system of `data` is not for spans: the reserve twice, so that they end long before refusals are only counted. Where no reserve
/// is wanted, that which would be otherwise.
///
/// # Errors
/// Where the file system cannot be asked.
pub(super) fn not_for_spans(data: &Path, reserve: Option<u64>) -> io::Result<u64> {
    let found = rustix::fs::statvfs(data)?;
    let default = default(found.f_blocks.saturating_mul(found.f_frsize));
    Ok(reserve.unwrap_or(default).saturating_mul(2).max(default))
}

#[cfg(test)]
mod tests {
    use super::{RESERVE, is_short, not_for_spans};

    #[test]
    fn the_reserve_is_what_is_given_or_a_part_of_what_there_is() {
        const GIB: u64 = 1 << 30;
        for (free, all, reserve, short) in [
            (GIB, 100 * GIB, None, false),
            (GIB - 1, 100 * GIB, None, true),
            (GIB / 10, GIB, None, false),
            (GIB / 10 - 1, GIB, None, true),
            (GIB, 100 * GIB, Some(2 * GIB), true),
            (0, GIB, Some(0), false),
        ] {
            assert_eq!(is_short(free, all, reserve), short, "{free} of {all}, {reserve:?}");
        }
    }

    #[test]
    fn spans_end_long_before_the_reserve_begins() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(not_for_spans(dir.path(), Some(7 * RESERVE)).expect("a disk"), 14 * RESERVE);
        let none = not_for_spans(dir.path(), Some(0)).expect("a disk");
        assert!(none > 0 && none <= RESERVE, "{none}");
        assert_eq!(not_for_spans(dir.path(), None).expect("a disk"), 2 * none);
    }
}
