//! What witnesses say of a log.

use super::report::{Cosigned, CosignedBy};
use super::{Check, Finding, Note, Source};
use crate::checkpoint::SignedCheckpoint;
use crate::cosignature::Witnesses;
use crate::note::VerifierKey;

impl Check<'_> {
    /// The checkpoint that stands in the file `cosigned`, as `found`: a root that the tree must have had, and cosigned by so many of the
    /// witnesses as are asked for.
    pub(super) fn cosigned(&mut self, key: &VerifierKey, found: Option<Vec<u8>>, witnesses: &Witnesses) {
        let mut by = Vec::new();
        if let Some(found) = found {
            let note = String::from_utf8_lossy(&found);
            self.anchor(key, &note, Source::Cosigned);
            // One that is not of this log, or that a witness did not sign, counts for nothing.
            if let Ok(SignedCheckpoint { checkpoint, note }) = SignedCheckpoint::open(&found, key) {
                by = self.by_witnesses(&note, witnesses);
                self.covered(checkpoint.size, !by.is_empty(), witnesses);
                self.report.cosigned = Some(Cosigned { size: checkpoint.size, by: by.clone() });
            }
        }
        if by.len() < witnesses.quorum() {
            self.find(Finding::Uncosigned { cosigned: by.len(), quorum: witnesses.quorum() });
        }
    }

    fn by_witnesses(&mut self, note: &str, witnesses: &Witnesses) -> Vec<CosignedBy> {
        match witnesses.cosigned(note) {
            Ok(all) => {
                all.into_iter().map(|one| CosignedBy { witness: one.witness, time: one.time }).collect()
            }
            Err(error) => {
                self.find(Finding::Trusted { by: Source::Cosigned, reason: error.to_string() });
                Vec::new()
            }
        }
    }

    /// Of how many records witnesses say something.
    fn covered(&mut self, size: u64, believed: bool, witnesses: &Witnesses) {
        if witnesses.keys().is_empty() {
            self.report.notes.push(Note::WitnessesNotAsked { size });
        } else if believed && size < self.signed {
            self.report.notes.push(Note::Unwitnessed { from: size, to: self.signed });
        }
    }
}
