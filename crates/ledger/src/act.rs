//! What is done to a log itself: an act that is on record in it, with a proof of that.

use std::time::Duration;

use futures_executor::block_on;
use vidimus_core::act::Act;
use vidimus_core::record::{ActKind, ActRecord, Record, VERSION};

use crate::proof::{Proof, ProveError};
use crate::{Closed, Ledger};

/// How often it is looked whether a checkpoint covers the record.
const LOOK: Duration = Duration::from_millis(20);

/// Who does it, for the record.
#[derive(Clone, Copy, Debug)]
pub struct ActBy<'a> {
    /// `User/issuer#subject`, or `vidimus` for what the gateway does by itself.
    pub actor: &'a str,
    /// The id of the act (UUIDv7).
    pub id: &'a str,
    /// RFC 3339 UTC with microseconds.
    pub time: &'a str,
    /// In the words of who does it.
    pub why: &'a str,
}

impl Ledger {
    /// Records an act, waits on this thread for a checkpoint that covers it, and gives the record, word for word, with its proof.
    pub(crate) fn prove_act<E>(&self, act: Act, by: &ActBy<'_>) -> Result<(String, Proof), E>
    where
        E: From<Closed> + From<ProveError> + From<serde_json::Error>,
    {
        let record = Record::Act(ActRecord {
            act,
            actor: by.actor.into(),
            id: by.id.into(),
            kind: ActKind,
            note: false,
            shared: None,
            time: by.time.into(),
            version: VERSION,
            why: by.why.into(),
        });
        let index = block_on(self.record(&record))?;
        self.wait_until_signed(index)?;
        let bytes = serde_json::to_string(&record)?;
        let proof = self.prover().prove(index, bytes.as_bytes())?;
        Ok((bytes, proof))
    }

    /// Waits until a checkpoint covers record `index`.
    fn wait_until_signed(&self, index: u64) -> Result<(), Closed> {
        while self.handle.newest.get().signed.checkpoint.size <= index {
            if !self.is_open() {
                return Err(self.handle.shared.closed());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}
