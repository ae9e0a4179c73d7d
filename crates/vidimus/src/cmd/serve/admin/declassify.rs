//! A label that is taken away from what an agent, or a chain, has read.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use serde::Deserialize;
use vidimus_core::act::{Act, Declassified, Subject};
use vidimus_core::person::{About, Operation};
use vidimus_query::acts::ActDone;

use super::people::{Asks, Refused};

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
    let act = Act::Declassify(Declassified { label, person, subject: subject.clone() });
    let done = asks.act((Operation::Declassify, About::Subject(&subject)), act, &why).await?;
    Ok(Json(ActDone { act: done.id, record: done.record, subject: subject.to_string() }))
}
