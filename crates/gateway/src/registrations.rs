//! Who registered what, on record. It changes nothing of what stands by acts, and so waits for none of them.

use uuid::Uuid;
use vidimus_core::act::{Act, Registration};
use vidimus_core::record::{ActKind, ActRecord, Record, VERSION};
use vidimus_core::refusal::Refusal;

use crate::gate::{Shared, rfc3339};
use crate::unrecorded::closed;

impl Shared {
    /// Puts on record that `actor` (`User/issuer#subject`; `vidimus` of what was only seen) registers, changes or deletes an object; gives the index of
    /// the record.
    ///
    /// # Errors
    /// Those of the ledger: what is not on record is not to be let in.
    pub async fn record_registration(
        &self,
        actor: String,
        registration: Registration,
        why: String,
    ) -> Result<u64, Refusal> {
        let record = Record::Act(ActRecord {
            act: Act::Register(registration),
            actor: actor.into(),
            id: Uuid::now_v7().to_string().into(),
            kind: ActKind,
            note: true,
            shared: None,
            time: rfc3339(self.clock.now().wall).into(),
            version: VERSION,
            why: why.into(),
        });
        self.ledger.record(&record).await.map_err(closed)
    }
}
