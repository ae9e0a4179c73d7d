//! A label that is taken away from what an agent, or a chain, has read.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use serde::Deserialize;
use vidimus_core::act::{Act, Declassified, Subject};
use vidimus_core::person::{About, Operation};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_query::acts::ActDone;

use super::people::{Asks, Refused};
use super::registered::is_known;

/// What is to be taken away.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declassify {
    /// An agent or a chain.
    subject: Subject,
    label: Box<str>,
    /// Of this person alone.
    #[serde(default)]
    person: Option<Box<str>>,
    why: String,
}

pub(super) async fn declassify(
    asks: Asks,
    body: Result<Json<Declassify>, JsonRejection>,
) -> Result<Json<ActDone>, Refused> {
    let Declassify { subject, label, person, why } = asks.body(body).await?;
    // Before the policies are asked, which know of no other kinds.
    if let Err(why) = subject.check_collects() {
        return Err(asks.refuse(Refusal::new(Code::MessageInvalid, why.to_string())).await);
    }
    asks.may(Operation::Declassify, About::Subject(&subject)).await?;
    // After the policies were asked: who may not declassify it is not told whether it exists.
    if !is_known(&asks.admin.shared().snapshot(), &subject) {
        let message = format!("nothing is registered as {subject}");
        return Err(asks.refuse(Refusal::new(Code::ResourceUnknown, message)).await);
    }
    let act = Act::Declassify(Declassified { label, person, subject: subject.clone() });
    let done = asks.done(act, &why).await?;
    Ok(Json(ActDone {
        act: done.id,
        record: done.record,
        subject: subject.to_string(),
        warnings: Vec::new(),
    }))
}
