//! A record that was not kept, in the words of a refusal. Nothing passes either way; what differs is whose turn it is.

use vidimus_core::refusal::{Code, Refusal};
use vidimus_ledger::Closed;

/// Only a ledger that failed or was closed closes the gate; the other faults are of one record or one moment.
pub fn closed(closed: Closed) -> Refusal {
    let (code, message) = match closed {
        Closed::Failed { .. } | Closed::Finished => {
            (Code::LedgerClosed, "the record of this call could not be written, so nothing passes")
        }
        Closed::Behind { .. } => {
            (Code::Overloaded, "the record of this call would wait too long for the disk")
        }
        Closed::TooLarge { .. } => {
            (Code::RecordTooLarge, "what is to be recorded of this call does not fit a record")
        }
        Closed::Unserializable { .. } => (Code::Internal, "the record of this call could not be serialized"),
    };
    Refusal::new(code, message).with_detail(closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ledger_that_ended_closes_the_gate() {
        for (fault, code) in [
            (Closed::Failed { reason: "no space left on device".into() }, Code::LedgerClosed),
            (Closed::Finished, Code::LedgerClosed),
            (Closed::Behind { bytes: 80 }, Code::Overloaded),
            (Closed::TooLarge { bytes: 70_000 }, Code::RecordTooLarge),
            (Closed::Unserializable { reason: "a map with a key that is no text".into() }, Code::Internal),
        ] {
            let refusal = closed(fault.clone());
            assert_eq!(refusal.code, code, "{fault}");
            assert_eq!(refusal.detail, Some(fault.to_string().into()));
        }
    }
}
