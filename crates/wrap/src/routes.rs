//! Who waits for what of a process: requests by their ids, as the process has them, and what it is to be told of their progress by.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;

use crate::channel::Channel;
use crate::fault::{Fault, TRANSPORT};
use crate::message::Message;

/// Requests that one process works on at once.
const MOST_ASKED: usize = 64;

/// The requests of a process that have no answer yet.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    asked: HashMap<String, Asked>,
    /// Tokens of progress, and the ids of their requests.
    tokens: HashMap<String, String>,
    numbers: u64,
    /// Why the process takes nothing any more.
    ended: Option<String>,
}

/// A request without an answer.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) channel: Arc<Channel>,
    /// Its id as the client wrote it.
    pub(crate) id: String,
    /// The client's token of progress: as the process has it, and as the client wrote it.
    token: Option<(String, String)>,
    /// The client's id, and who of those that share a process asked.
    of: (u64, String),
    number: u64,
}

impl Asked {
    /// Whether nothing was asked before it.
    pub(crate) fn is_first(&self) -> bool {
        self.number == 1
    }

    /// The token of progress as the client wrote it.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|(_, written)| written.as_str())
    }
}

impl Routes {
    /// That one more can be asked.
    ///
    /// # Errors
    /// When the process has ended, or does too much already.
    pub(crate) fn has_room(&self) -> Result<(), Fault> {
        if let Some(why) = &self.ended {
            return Err(Fault::server(why));
        }
        if self.asked.len() >= MOST_ASKED {
            let what = format!("the server works on {MOST_ASKED} requests; try again when one is answered");
            return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, TRANSPORT, what));
        }
        Ok(())
    }

    /// Notes a request of `by`, and gives its id and its line for the process. Where several share it, `anew`, ids and tokens of progress
    /// are the process's own: those of two clients are often the same.
    ///
    /// # Errors
    /// When the process has ended, does too much already, or works on a request of this id.
    pub(crate) fn ask(
        &mut self,
        message: &Message<'_>,
        channel: &Arc<Channel>,
        by: u64,
        anew: bool,
    ) -> Result<(String, Vec<u8>), Fault> {
        let id = message.id.as_ref().ok_or_else(|| Fault::bad("a request has an id"))?;
        self.has_room()?;
        self.numbers += 1;
        let own = self.numbers.to_string();
        let token = message.token.as_ref();
        let (key, line) = if anew {
            let parts: Vec<_> =
                [Some(id), token].into_iter().flatten().map(|part| (part, own.as_str())).collect();
            (own.clone(), message.line(&parts))
        } else {
            (id.key.clone(), message.line(&[]))
        };
        if self.asked.contains_key(&key) {
            return Err(Fault::bad("a request of this id has no answer yet; each has an id of its own"));
        }
        let token = token.map(|token| {
            let at_server = if anew { own } else { token.key.clone() };
            (at_server, message.written(token))
        });
        if let Some((at_server, _)) = &token {
            self.tokens.insert(at_server.clone(), key.clone());
        }
        let (channel, of) = (channel.clone(), (by, id.key.clone()));
        let asked = Asked { channel, id: message.written(id), token, of, number: self.numbers };
        self.asked.insert(key.clone(), asked);
        Ok((key, line))
    }

    /// The request of this id, which has its answer now.
    pub(crate) fn answered(&mut self, key: &str) -> Option<Asked> {
        let asked = self.asked.remove(key)?;
        if let Some((token, _)) = &asked.token {
            self.tokens.remove(token);
        }
        Some(asked)
    }

    pub(crate) fn by_id(&self, key: &str) -> Option<&Asked> {
        self.asked.get(key)
    }

    pub(crate) fn by_token(&self, token: &str) -> Option<&Asked> {
        self.by_id(self.tokens.get(token)?)
    }

    /// Gives up what `by` asked by an id of its own: its stream ends without an answer. Gives the id that the process has for it.
    pub(crate) fn cancel(&mut self, by: u64, id: &str) -> Option<String> {
        let found = self.asked.iter().find(|(_, asked)| asked.of.0 == by && asked.of.1 == id);
        let key = found.map(|(key, _)| key.clone())?;
        self.answered(&key)?.channel.end();
        Some(key)
    }

    /// The streams of requests that somebody reads, the newest first.
    pub(crate) fn read(&self) -> Vec<Arc<Channel>> {
        let mut read: Vec<_> = self.asked.values().filter(|asked| asked.channel.is_read()).collect();
        read.sort_by_key(|asked| std::cmp::Reverse(asked.number));
        read.into_iter().map(|asked| asked.channel.clone()).collect()
    }

    /// The stream of the one request there is, where there is one alone.
    pub(crate) fn only(&self) -> Option<Arc<Channel>> {
        let mut all = self.asked.values();
        all.next().filter(|_| all.next().is_none()).map(|asked| asked.channel.clone())
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.asked.is_empty()
    }

    pub(crate) fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Nothing is asked any more; gives what has no answer.
    pub(crate) fn end(&mut self, why: &str) -> Vec<Asked> {
        self.ended.get_or_insert_with(|| why.to_owned());
        self.tokens.clear();
        self.asked.drain().map(|(_, asked)| asked).collect()
    }
}
