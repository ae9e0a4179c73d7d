//! Where the records of a log are looked up: in the log itself, or by what was made of it and is quicker. Who asks gets the same, and says the rest alike.

use std::fmt;
use std::path::{Path, PathBuf};

use vidimus_ledger::{Hit, Query, SearchError};

use super::search::search_part;
use super::{Damage, Found, SearchQuestion, Unsearched};

/// Records as they stand in the log.
pub type Hits = Box<dyn Iterator<Item = Result<Hit, SearchError>>>;

/// Records that fit a question, each effect with its decision.
pub type Fitting = Box<dyn Iterator<Item = Result<Found, Damage>>>;

/// Looks records of one log up.
pub trait Lookup: fmt::Debug {
    /// Those that fit, in the order asked for, as of [`vidimus_ledger::search()`].
    ///
    /// # Errors
    /// See [`SearchError`].
    fn hits(&self, query: &Query) -> Result<Hits, SearchError>;

    /// Those that fit a question, as of [`super::search()`]. `others` have the log too, or parts of it.
    ///
    /// # Errors
    /// See [`Unsearched`].
    fn fitting(&self, others: &[PathBuf], question: &SearchQuestion) -> Result<Fitting, Unsearched>;

    /// Whether it is the log itself, which has the last word: what is not there is not looked for again.
    fn is_log(&self) -> bool {
        false
    }
}

/// In the log itself, in this directory.
#[derive(Clone, Debug)]
pub struct InLog(pub PathBuf);

impl InLog {
    /// One that can stand for any other.
    pub fn of(dir: &Path) -> Box<dyn Lookup> {
        Box::new(Self(dir.to_owned()))
    }
}

impl Lookup for InLog {
    fn hits(&self, query: &Query) -> Result<Hits, SearchError> {
        Ok(Box::new(vidimus_ledger::search(&self.0, query)?))
    }

    fn fitting(&self, others: &[PathBuf], question: &SearchQuestion) -> Result<Fitting, Unsearched> {
        Ok(Box::new(search_part(&self.0, others, question)?))
    }

    fn is_log(&self) -> bool {
        true
    }
}
