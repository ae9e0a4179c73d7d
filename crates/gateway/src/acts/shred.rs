//! Keys of kept payloads that an act destroys (ADR 55): out of use, then on record, then destroyed.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use vidimus_core::act::{Act, BY_ITSELF, MOST_KEYS, Shred, Subject};
use vidimus_core::approval::pending::Question;
use vidimus_core::record::ActRecord;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::standing;

use super::Intent;
use crate::gate::Shared;
use crate::payloads::{Aside, PayloadKeyError, Which};

/// How far clocks of gateways may be apart, so that a key that was made before an act by one of them is not taken for one made after it.
const CLOCKS: Duration = Duration::from_secs(300);

impl Shared {
    /// Takes the keys out of use that acts are about to destroy, and has these say which they are. Where a gateway ends by itself what a stop left,
    /// these are out of use already, and what was made since stays.
    ///
    /// # Errors
    /// `act_unfit` where there are none: an act of nothing would be on record as if it had destroyed something.
    pub(super) async fn set_aside(&self, intents: &mut [Intent]) -> Result<Vec<Aside>, Refusal> {
        let mut all = Vec::new();
        for intent in intents {
            let Intent { actor, act: Act::Shred(shred), .. } = intent else { continue };
            let which = if *actor == BY_ITSELF { Which::Already } else { Which::All };
            shred.subject.check_keeps().map_err(|why| Refusal::new(Code::MessageInvalid, why.to_string()))?;
            let aside = self.aside(&shred.subject, which).await.map_err(|error| not_shredded(&error))?;
            let Some(aside) = aside else {
                let message = format!(
                    "no key of {} is here: what may have been kept of it is read by nobody here, and nothing was destroyed",
                    shred.subject
                );
                let next = "Look whose payloads are kept (`vidimus audit show CALL`): those of a call are the person's for whom it was made, or where there is none the caller's.";
                return Err(Refusal::new(Code::ActUnfit, message).with_next(next));
            };
            shred.keys = aside.keys.iter().take(MOST_KEYS).cloned().collect();
            shred.records = aside.records;
            all.push(aside);
        }
        Ok(all)
    }

    /// Takes the keys of somebody out of use whose act is in the list of all. What another gateway ended by itself is about its own keys alone, and
    /// what is known to have been done here is done. Of an act that is read late the keys stay that were made after it.
    pub(super) async fn aside_of(&self, record: &ActRecord<'_>) -> Option<Aside> {
        let Act::Shred(Shred { subject, .. }) = &record.act else { return None };
        if *record.actor == *BY_ITSELF || self.acts.standing().has_shredded(&record.id) {
            return None;
        }
        let time = u64::try_from(standing::at(record)).ok();
        let time = time.and_then(|time| UNIX_EPOCH.checked_add(Duration::from_millis(time) + CLOCKS));
        match self.aside(subject, time.map_or(Which::All, Which::MadeUntil)).await {
            Ok(aside) => aside,
            Err(error) => {
                tracing::error!(%subject, %error, "keys of kept payloads that were destroyed at another gateway are still here: destroy them here too (`vidimus audit shred`)");
                None
            }
        }
    }

    async fn aside(&self, subject: &Subject, which: Which) -> Result<Option<Aside>, PayloadKeyError> {
        let (keys, whose) = (self.payload_keys.clone(), subject.to_string());
        let aside = tokio::task::spawn_blocking(move || keys.aside(&whose, which)).await;
        aside.map_err(|_| PayloadKeyError::Interrupted)?
    }

    /// Forgets what people are shown of calls that wait for them, where keys of whose payloads are destroyed.
    pub(super) fn forget_shown(&self, act: &Act) {
        let Act::Shred(Shred { subject, .. }) = act else { return };
        self.questions.forget(&self.acts.standing().approvals, |question| is_of(subject, question));
    }

    /// Destroys keys whose act is on record.
    pub(super) async fn destroy(&self, aside: Vec<Aside>) -> Result<(), Refusal> {
        if aside.is_empty() {
            return Ok(());
        }
        let keys = self.payload_keys.clone();
        let done =
            tokio::task::spawn_blocking(move || aside.iter().try_for_each(|one| keys.destroy(one))).await;
        done.unwrap_or(Err(PayloadKeyError::Interrupted)).map_err(|error| not_shredded(&error))
    }

    /// Ends what a stop left between an act and its end: keys that are out of use are destroyed. To be called once, before any call.
    pub async fn end_shredding(self: &Arc<Self>) {
        let keys = self.payload_keys.clone();
        let left = tokio::task::spawn_blocking(move || keys.left_aside()).await;
        let left = match left.unwrap_or(Err(PayloadKeyError::Interrupted)) {
            Ok(left) => left,
            Err(error) => {
                tracing::error!(%error, "whether keys of kept payloads are still to be destroyed is not known");
                return;
            }
        };
        for subject in left {
            let act = Act::Shred(Shred { keys: Vec::new(), records: 0, subject: subject.clone() });
            let why = "a destruction of keys that had begun is ended".to_owned();
            // It is done whether or not others could be told of it, whom it is not about.
            match self.do_now(vec![Intent { actor: BY_ITSELF.to_owned(), act, why }]).await {
                Ok(_) => tracing::warn!(%subject, "keys of kept payloads that were out of use are destroyed"),
                Err(refusal) => {
                    tracing::error!(%subject, %refusal, "keys of kept payloads that are out of use are still there");
                }
            }
        }
    }
}

/// Whether a payload of the call that is asked about would be kept under a key of this subject: of the person for whom it is made, or where
/// there is none of who calls.
fn is_of(subject: &Subject, question: &Question) -> bool {
    match (subject, &question.user) {
        (Subject::User(person), Some(user)) => **person == **user,
        (Subject::Object(caller), None) => caller.to_string() == question.principal,
        _ => false,
    }
}

fn not_shredded(error: &PayloadKeyError) -> Refusal {
    tracing::error!(%error, "keys of kept payloads are not destroyed");
    let message = format!("the keys are out of use or as they were, and not all are destroyed: {error}");
    let next = "Mend what is said of DATA/payload-keys, and ask again; what is out of use is also destroyed at the next start.";
    Refusal::new(Code::Internal, message).with_next(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(principal: &str, user: Option<&str>) -> Question {
        let question = serde_json::json!({
            "action": "invokeTool", "approval": "a", "asking": [], "call": "c", "chain": [], "digest": "d", "endpoint": "https://a.example",
            "method": "tools/call", "owner": "o", "principal": principal, "resource": "Tool/a/b/c", "until": 1, "user": user,
        });
        serde_json::from_value(question).expect("a question")
    }

    #[test]
    fn what_waits_is_of_the_person_or_where_there_is_none_of_who_calls() {
        let of = |subject: &str, question: &Question| is_of(&subject.parse().expect("a subject"), question);
        let (of_ada, of_nobody) = (question("Agent/a/x", Some("i#ada")), question("Agent/a/x", None));
        assert!(of("User/i#ada", &of_ada) && of("Agent/a/x", &of_nobody));
        assert!(!of("User/i#eve", &of_ada) && !of("Agent/a/x", &of_ada), "it is the person's");
        assert!(!of("User/i#ada", &of_nobody) && !of("Agent/a/y", &of_nobody));
    }
}
