//! What the upstream saw: how many requests came, and the credentials of the last ones.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How many credentials are remembered.
const REMEMBERED: usize = 4;

/// What arrived, served at `/control/seen`.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Seen {
    /// Requests other than those to `/control/…`.
    pub(crate) requests: u64,
    /// `Authorization` of the last requests, oldest first; empty where there was none.
    pub(crate) authorizations: VecDeque<Vec<u8>>,
}

impl Seen {
    /// Costs one copy into memory that is there already.
    pub(crate) fn request(&mut self, authorization: Option<&[u8]>) {
        self.requests += 1;
        let mut text = match self.authorizations.len() {
            REMEMBERED.. => self.authorizations.pop_front().unwrap_or_default(),
            _ => Vec::new(),
        };
        text.clear();
        text.extend_from_slice(authorization.unwrap_or_default());
        self.authorizations.push_back(text);
    }
}
