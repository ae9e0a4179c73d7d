//! Who may do what people do: approve, quarantine, grant, look at something.

use std::collections::BTreeMap;

use vidimus_core::act::Subject;
use vidimus_core::person::{Operation, Person, VIEWS};
use vidimus_core::reach::Answered;
use vidimus_core::reach::people::{Deed, Somebody, Thing};
use vidimus_core::snapshot::Snapshot;

use super::{NotReached, ReachAnswer, ReachCounts, ReachQuestion, Reached, What, Who, row};
use crate::Misasked;
use crate::state::State;

/// A question about people.
pub(super) struct Asked {
    operation: Option<Operation>,
}

/// What is asked about people; `None` of a question about calls.
pub(super) fn asked(question: &ReachQuestion) -> Result<Option<Asked>, Misasked> {
    let operation = Operation::ALL.into_iter().find(|one| question.action.as_deref() == Some(one.as_str()));
    let is_of_people = operation.is_some()
        || matches!(question.principal, Some(Who::User(_) | Who::UserGroup(_)))
        || matches!(question.resource, Some(What::Subject(_) | What::View(_)));
    if !matches!(question.principal, Some(Who::User(_))) {
        let reason = "it is of one person: name it, User/issuer#subject, as the principal";
        if let Some(email) = &question.email {
            return Err(Misasked::new("email", email, reason));
        }
        if !question.groups.is_empty() {
            return Err(Misasked::new("groups", &question.groups.join(", "), reason));
        }
    }
    match (&question.principal, &question.action) {
        _ if !is_of_people => Ok(None),
        (Some(Who::Workload(id)), _) => {
            let reason = "people do this, and no workload: write User/issuer#subject or UserGroup/group";
            Err(Misasked::new("principal", id, reason))
        }
        (_, Some(action)) if operation.is_none() => {
            super::named_action(action)?;
            Err(Misasked::new("action", action, "no person does this: agents and services call"))
        }
        _ => Ok(Some(Asked { operation })),
    }
}

impl Asked {
    pub(super) fn answer(&self, state: &State, question: &ReachQuestion) -> Result<ReachAnswer, NotReached> {
        let world = &*state.loaded.snapshot;
        let who = who(world, question)?;
        let deeds = self.deeds(state, question)?;
        let mut answer = ReachAnswer {
            reached: Vec::new(),
            counts: ReachCounts::default(),
            without_endpoint: 0,
            in_several_groups: in_several_groups(world, question)?,
            state: state.described(),
        };
        for pairs in world.reach_people(&who, &deeds)? {
            let outcome = answer.counts.count(&pairs);
            if outcome == Answered::Never && !question.never {
                continue;
            }
            let who = pairs.principals.iter().filter_map(|place| who.get(*place));
            let of_all =
                Reached { principals: who.map(ToString::to_string).collect(), ..row(&pairs.outlook) };
            let mut by_operation: BTreeMap<Operation, Reached> = BTreeMap::new();
            for deed in pairs.accesses.iter().filter_map(|place| deeds.get(*place)) {
                let action = deed.operation.as_str().to_owned();
                let row = by_operation.entry(deed.operation);
                let row = row.or_insert_with(|| Reached { action, ..of_all.clone() });
                row.resources.push(deed.thing.to_string());
            }
            answer.reached.extend(by_operation.into_values());
        }
        Ok(answer)
    }

    /// What is done, and to what.
    fn deeds(&self, state: &State, question: &ReachQuestion) -> Result<Vec<Deed>, NotReached> {
        let things = things(state, question)?;
        let operations =
            || Operation::ALL.into_iter().filter(|one| self.operation.is_none_or(|only| only == *one));
        let of = |operation: Operation| {
            let taking = things.iter().filter(move |thing| thing.takes(operation)).cloned();
            taking.map(move |thing| Deed { operation, thing })
        };
        let deeds: Vec<Deed> = operations().flat_map(of).collect();
        if let (true, Some(resource)) = (deeds.is_empty(), &question.resource) {
            let done = self.operation.map_or("this", Operation::as_str);
            let reason = format!("nothing that people do ({done}) is done to it");
            return Err(Misasked::new("resource", resource, reason).into());
        }
        Ok(deeds)
    }
}

/// Whether there may be people beside those who are asked about, as [`ReachAnswer::in_several_groups`] has it.
fn in_several_groups(world: &Snapshot, question: &ReachQuestion) -> Result<bool, NotReached> {
    let asked = match &question.principal {
        Some(Who::User(_) | Who::Workload(_)) => return Ok(false),
        Some(Who::UserGroup(group)) => Some(group),
        None => None,
    };
    let named = world.people()?;
    let groups = named.iter().filter(|one| matches!(one, Somebody::InGroup(group) if Some(group) != asked));
    let users = named.iter().filter(|one| matches!(one, Somebody::One(_)));
    Ok(match (asked, groups.count()) {
        // Whom no policy names, in this group.
        (Some(_), others) => others > 0,
        (None, groups) => groups > 1 || groups == 1 && users.count() > 0,
    })
}

fn who(world: &Snapshot, question: &ReachQuestion) -> Result<Vec<Somebody>, NotReached> {
    Ok(match &question.principal {
        Some(Who::User(user)) => {
            let mut user = user.clone();
            user.email = question.email.as_deref().map(Into::into);
            let groups = question.groups.iter().map(|group| group.as_str().into()).collect();
            vec![Somebody::One(Person { user, groups, unverified_email: None })]
        }
        Some(Who::UserGroup(group)) => vec![Somebody::InGroup(group.clone())],
        Some(Who::Workload(_)) | None => world.people()?,
    })
}

/// To what. Where everything is asked of one person, that person too, for what it may do to itself.
fn things(state: &State, question: &ReachQuestion) -> Result<Vec<Thing>, NotReached> {
    let world = &*state.loaded.snapshot;
    match &question.resource {
        None => {
            let mut things = world.things()?;
            if let Some(Who::User(user)) = &question.principal {
                let own = Thing::subject(&Subject::User(user.id().into()))?;
                if let Err(place) = things.binary_search(&own) {
                    things.insert(place, own);
                }
            }
            Ok(things)
        }
        Some(What::View(name)) if VIEWS.contains(&&**name) => Ok(vec![Thing::view(name)?]),
        Some(what @ What::View(_)) => {
            let reason =
                format!("nothing is shown by that name; write View/ and one of {}", VIEWS.join(", "));
            Err(Misasked::new("resource", what, reason).into())
        }
        Some(What::Subject(subject)) => Ok(vec![Thing::subject(subject)?]),
        Some(What::Called(id)) => {
            let things = world.things_of(id)?;
            Ok(things.ok_or_else(|| {
                Misasked::new("resource", id, "it is not registered, nor a part of what is")
            })?)
        }
    }
}
