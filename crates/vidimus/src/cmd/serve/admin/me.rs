//! What the person who asks may do.

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;
use vidimus_core::act::Subject;
use vidimus_core::person::{About, Operation, VIEWS};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_query::acts::{May, Me};

use super::people::{Asks, Refused};

/// What is asked about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Something that could be quarantined.
    #[serde(default)]
    about: Option<Subject>,
}

/// Whoever is proven is told who it is and what it may do: nothing else is shown.
pub(super) async fn me(
    asks: Asks,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Me>, Refused> {
    let about = match wanted {
        Ok(Query(wanted)) => wanted.about,
        Err(fault) => {
            return Err(asks.refuse(Refusal::new(Code::MessageInvalid, fault.body_text())).await);
        }
    };
    let views = VIEWS.map(|view| (Operation::Read, About::View(view)));
    let acts = about.iter().flat_map(|subject| {
        [Operation::Quarantine, Operation::Lift].map(|operation| (operation, About::Subject(subject)))
    });
    let export = (Operation::Export, About::View("records"));
    let may = views.into_iter().chain([export]).chain(acts).map(|(operation, about)| {
        let (allowed, code, policies) = match asks.decided(operation, about) {
            Ok(permits) => (true, None, permits),
            Err(refusal) => (false, Some(refusal.code.as_str().to_owned()), refusal.policies.into_vec()),
        };
        May {
            about: about.to_string(),
            action: operation.as_str().to_owned(),
            allowed,
            code,
            policies: policies.iter().map(ToString::to_string).collect(),
        }
    });
    let person = asks.person.actor();
    let groups = asks.person.groups.iter().map(ToString::to_string).collect();
    let email = asks.person.user.email.as_deref().map(str::to_owned);
    Ok(Json(Me { email, groups, may: may.collect(), person }))
}
