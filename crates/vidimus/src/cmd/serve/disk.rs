//! The room that the ledger has left. While there is little, refusals are counted and not recorded one by one: what is left is for
//! the records of what is allowed. When nothing is left, the ledger closes, and nothing passes.

use std::path::PathBuf;
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
    free < reserve.unwrap_or((all / PART).min(RESERVE))
}

#[cfg(test)]
mod tests {
    use super::is_short;

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
}
