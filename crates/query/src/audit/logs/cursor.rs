//! Where reading several logs goes on: after which record of each.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{Log, Logs};
use crate::Misasked;

/// After which record of each log reading goes on; a log that is not in it from its beginning. In text `log:index,log:index`.
///
/// Logs are named by the first 16 digits of a digest of their names, so that it holds wherever they lie, and when another is read with
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<String, u64>);

/// It is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no cursor of several logs, which is log:index,log:index, as each page ends with")]
pub struct BadCursor;

impl Cursor {
    pub(super) fn after(&self, log: &Log) -> Option<u64> {
        self.0.get(&log.short).copied()
    }

    pub(super) fn pass(&mut self, log: &Log, index: u64) {
        self.0.insert(log.short.clone(), index);
    }

    /// That each log it names is there: where one is not, the page would not be that which follows.
    pub(super) fn fits(&self, logs: &Logs) -> Result<(), Misasked> {
        let is_there = |short: &&String| logs.all().iter().any(|log| log.short == **short);
        match self.0.keys().find(|short| !is_there(short)) {
            None => Ok(()),
            Some(short) => {
                let reason =
                    format!("the log {short} is not among those that are read; give all of the page before");
                Err(Misasked::new("after", self, reason))
            }
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(log, index)| format!("{log}:{index}")).collect();
        f.write_str(&all.join(","))
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let mut all = BTreeMap::new();
        for one in text.split(',') {
            let (log, index) = one.split_once(':').ok_or(BadCursor)?;
            let is_name = log.len() == 16 && log.bytes().all(|byte| byte.is_ascii_hexdigit());
            let index = index.parse().map_err(|_| BadCursor)?;
            if !is_name || all.insert(log.to_owned(), index).is_some() {
                return Err(BadCursor);
            }
        }
        Ok(Self(all))
    }
}
