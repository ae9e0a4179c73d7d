//! What exists: from a directory of YAML to a [`Snapshot`](vidimus_core::snapshot::Snapshot), again at every change.
//!
//! - Startup is a reload from empty: `vidimus check`, start and reload are the one function [`load()`].
//! - A malformed object drops itself and is reported; everything else stays live. Its previous version does not linger:
//!   what is live is what the directory says, and nothing that nobody can read there.
//! - A directory that cannot be read at all changes nothing: the last good configuration stays live, and says so.

mod contents;
mod debounce;
mod document;
mod files;
mod load;
mod watch;

pub use load::{Loaded, load};
pub use watch::{Watching, watch};
