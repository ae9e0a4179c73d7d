//! The keys of somebody's kept payloads, destroyed (ADR 55).

use axum::Json;
use axum::extract::rejection::JsonRejection;
use serde::Deserialize;
use vidimus_core::act::{self, Act, Subject};
use vidimus_core::person::{About, Operation};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_query::acts::ActDone;

use super::people::{Asks, Refused};

/// Whose keys are to be destroyed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shred {
    /// A person, an agent or a service. It need not be registered any more.
    subject: String,
    why: String,
}

pub(super) async fn shred(
    asks: Asks,
    body: Result<Json<Shred>, JsonRejection>,
) -> Result<Json<ActDone>, Refused> {
    let Shred { subject, why } = asks.body(body).await?;
    // Before the policies are asked, which know of no other kinds.
    let subject = match Subject::that_keeps(&subject) {
        Ok(subject) => subject,
        Err(why) => return Err(asks.refuse(Refusal::new(Code::MessageInvalid, why.to_string())).await),
    };
    asks.may(Operation::Shred, About::Subject(&subject)).await?;
    // Which keys there are is found when they are out of use.
    let act = act::Shred { keys: Vec::new(), records: 0, subject: subject.clone() };
    let done = asks.done(Act::Shred(act), &why).await?;
    Ok(Json(ActDone {
        act: done.id,
        record: done.record,
        subject: subject.to_string(),
        warnings: Vec::new(),
    }))
}
