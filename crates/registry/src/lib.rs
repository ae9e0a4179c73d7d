//! What exists: from a directory of YAML to a [`Snapshot`](vidimus_core::snapshot::Snapshot), again at every change.
//!
//! - `vidimus check`, start and reload read and check in the one way. A malformed object drops itself and is reported; everything
//!   else stays live. Its previous version does not linger, but for what it refused: see [`vidimus_core::snapshot`].
//! - What is being written is not in force until it is whole (`settle`); until then it may only refuse.
//! - A directory that cannot be read at all changes nothing: the last good configuration stays live, and says so.
//! - What a file that is whole by itself permits no longer is not permitted, whatever happens to others meanwhile.
//! - The objects of a cluster are kept on disk (`kept_objects`), so that a start without its API server serves by them.
//! - What is refused is kept over restarts (`kept`, `refusals`), so that a start in which something is malformed, or may be half-written, holds it.

mod changes;
pub mod configurations;
mod contents;
mod debounce;
mod document;
mod emptied;
mod feed;
mod field_line;
mod files;
mod in_force;
mod kept;
mod kept_objects;
mod list;
mod load;
mod manifests;
mod refusals;
mod settle;
mod source;
mod standing;
mod turns;
mod watch;

pub use changes::{Change, Recorded};
pub use feed::{Acts, Feed, Says, feed};
pub use field_line::field_line;
pub use files::{Unlisted, files_below, holds_cases, holds_resources};
pub use kept::{KEY_LENGTH, Keeping, NoKey, replace, rewrite};
pub use kept_objects::{KeptObjects, LookedAt, Restored, Times};
pub use load::{Loaded, load, load_of_cluster};
pub use manifests::{Manifest, Manifests, manifests, warnings_beside};
pub use refusals::{KeptUpTo, at_low_priority};
pub use source::{as_running, as_started};
pub use standing::{StandingFile, Stood, digest_of};
pub use watch::{Watching, watch};
