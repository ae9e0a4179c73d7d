//! How the policies stand to many edges at once, whatever the context. The same index and the same partial evaluation as for one edge
//! ([`super::edge`]); of edges that no policy can tell apart, one is evaluated for all.

mod left;

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{Entities, EntityUid, PartialEntities, PartialEntityUid, PartialRequest, PolicySet};

use super::entities::{EntityFault, EntitySlice};
use super::index::{Holding, Index, Key, Side};
use super::plain;
use super::reads::{self, Looked, Read};
use super::schema::schema;
use super::statement::Statement;
use crate::call::Action;
use crate::decision::Says;
use crate::entity::EntityKind;
use crate::reach::{Access, Condition, Outlook};
use crate::resource::Principal;
use crate::snapshot::registered::Registered;

/// What stands on one side of edges.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) uid: EntityUid,
    pub(super) kind: EntityKind,
    /// With what it is in; shared with others.
    pub(super) entities: Arc<Entities>,
    pub(super) holding: Holding,
}

/// Principals and what they may call, ready to be compared.
pub(crate) struct Survey<'a> {
    index: &'a Index,
    registered: &'a Registered,
    principals: &'a [Principal],
    accesses: &'a [Access<'a>],
    callers: Vec<Known>,
    called: Vec<Known>,
}

/// How the policies stand to each pair.
#[derive(Debug, Default)]
pub(crate) struct Table {
    outlooks: Vec<Outlook>,
    places: HashMap<Outlook, usize>,
    /// By access, then by principal: a place in `outlooks`.
    of: Vec<Vec<usize>>,
}

impl Table {
    /// The place among [`Table::outlooks`] of one pair.
    pub(crate) fn place(&self, access: usize, principal: usize) -> usize {
        self.of.get(access).and_then(|row| row.get(principal)).copied().unwrap_or_default()
    }

    pub(crate) fn outlook(&self, place: usize) -> Option<&Outlook> {
        self.outlooks.get(place)
    }

    fn keep(&mut self, outlook: Outlook) -> usize {
        let next = self.outlooks.len();
        let place = *self.places.entry(outlook.clone()).or_insert(next);
        if place == next {
            self.outlooks.push(outlook);
        }
        place
    }
}

/// Edges that no policy can tell apart, by the place of what is not the same on them.
type Alike = Vec<Vec<usize>>;

impl<'a> Survey<'a> {
    pub(crate) fn new(
        index: &'a Index,
        registered: &'a Registered,
        principals: &'a [Principal],
        accesses: &'a [Access<'a>],
    ) -> Result<Self, EntityFault> {
        let callers = known(principals, |some| {
            let mut slice = EntitySlice::default();
            some.iter().try_for_each(|one| slice.principal(one))?;
            let entities = Arc::new(slice.entities()?);
            let each = some.iter().map(|one| {
                let uid = plain::entity_uid(one.entity())?;
                let holding = index.holding_of(Side::Principal, &uid, &entities);
                Ok(Known { uid, kind: one.kind(), entities: entities.clone(), holding })
            });
            each.collect()
        })?;
        let called = known(accesses, |some| {
            let mut slice = EntitySlice::default();
            some.iter().try_for_each(|one| slice.target(&one.target))?;
            let entities = Arc::new(slice.entities()?);
            let each = some.iter().map(|one| {
                let id = one.target.entity();
                let uid = plain::entity_uid(&id)?;
                let holding = index.holding_of(Side::Resource, &uid, &entities);
                Ok(Known { uid, kind: id.kind, entities: entities.clone(), holding })
            });
            each.collect()
        })?;
        Ok(Self { index, registered, principals, accesses, callers, called })
    }

    /// How the policies stand to each pair of a principal and an access.
    pub(crate) fn table(&self) -> Result<Table, EntityFault> {
        let mut table =
            Table { of: vec![vec![0; self.callers.len()]; self.called.len()], ..Table::default() };
        // The side with less on it is gone through one by one, the other in groups.
        if self.callers.len() <= self.called.len() {
            for (caller, _) in self.callers.iter().enumerate() {
                for action in Action::ALL {
                    let on =
                        |place: &usize| self.accesses.get(*place).is_some_and(|one| one.action == action);
                    let places: Vec<usize> = (0..self.called.len()).filter(on).collect();
                    if !places.is_empty() {
                        self.of_caller(&mut table, caller, action, &places)?;
                    }
                }
            }
        } else {
            for (called, _) in self.called.iter().enumerate() {
                self.of_called(&mut table, called)?;
            }
        }
        Ok(table)
    }

    pub(super) fn callers(&self) -> &[Known] {
        &self.callers
    }

    pub(super) fn called(&self) -> &[Known] {
        &self.called
    }

    pub(super) fn access(&self, place: usize) -> Option<&Access<'a>> {
        self.accesses.get(place)
    }

    /// How all policies stand to each of `edges`.
    pub(super) fn together(&self, edges: &[(usize, usize)]) -> Result<Vec<Outlook>, EntityFault> {
        let candidates = edges.iter().filter_map(|(caller, called)| {
            let (principal, resource) = self.callers.get(*caller).zip(self.called.get(*called))?;
            let holding = principal.holding.and(&resource.holding);
            let kinds = (principal.kind, resource.kind);
            Some(
                self.index
                    .candidates(self.accesses.get(*called)?.action, kinds, &holding)
                    .collect::<Vec<_>>(),
            )
        });
        let mut candidates: Vec<&Arc<Statement>> = candidates.flatten().collect();
        // Each once: Cedar takes no policy twice.
        candidates.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        candidates.dedup_by(|one, other| one.id == other.id);
        // What others are called is not known.
        let is_any_other = |called: usize| self.accesses.get(called).is_some_and(|access| access.any_other);
        let by_name = match edges.iter().any(|(_, called)| is_any_other(*called)) {
            true => looked_at(&candidates, Side::Resource, None)?.1,
            false => Vec::new(),
        };
        self.outlooks(edges, &candidates, &by_name)
    }

    /// How one policy stands to each of `edges`.
    pub(super) fn alone(
        &self,
        edges: &[(usize, usize)],
        statement: &Arc<Statement>,
    ) -> Result<Vec<Outlook>, EntityFault> {
        let entities = self.entities(edges, &[statement])?;
        let outlook = |(caller, called): &(usize, usize)| {
            let mut outlook = Outlook::default();
            let sides =
                self.callers.get(*caller).zip(self.called.get(*called)).zip(self.accesses.get(*called));
            let Some(((principal, resource), access)) = sides else { return Ok(outlook) };
            if statement.applies_to(principal.kind, resource.kind) {
                let edge = (&principal.uid, access.action, &resource.uid);
                partially(edge, true, &[statement], &entities, &mut outlook)?;
            }
            Ok(outlook)
        };
        edges.iter().map(outlook).collect()
    }

    fn of_caller(
        &self,
        table: &mut Table,
        caller: usize,
        action: Action,
        places: &[usize],
    ) -> Result<(), EntityFault> {
        let Some(known) = self.callers.get(caller) else { return Ok(()) };
        let of_caller = |key: &Key| key.side() == Side::Principal;
        let fitting = self.index.on(action).filter(|one| self.index.fits(one, &known.holding, of_caller));
        let fitting: Vec<&Arc<Statement>> = fitting.collect();
        let (looked, by_name) = looked_at(&fitting, Side::Resource, Some(&known.uid))?;
        let is_any_other = |place: usize| self.accesses.get(place).is_some_and(|access| access.any_other);
        let alike = Self::alike(&self.called, places, &looked, is_any_other);
        let edges: Vec<(usize, usize)> =
            alike.iter().filter_map(|some| Some((caller, *some.first()?))).collect();
        for (some, outlook) in alike.iter().zip(self.outlooks(&edges, &fitting, &by_name)?) {
            let place = table.keep(outlook);
            for called in some {
                if let Some(cell) = table.of.get_mut(*called).and_then(|row| row.get_mut(caller)) {
                    *cell = place;
                }
            }
        }
        Ok(())
    }

    fn of_called(&self, table: &mut Table, called: usize) -> Result<(), EntityFault> {
        let (Some(known), Some(access)) = (self.called.get(called), self.accesses.get(called)) else {
            return Ok(());
        };
        let of_called = |key: &Key| key.side() == Side::Resource && !(access.any_other && key.is_of_name());
        let fitting =
            self.index.on(access.action).filter(|one| self.index.fits(one, &known.holding, of_called));
        let fitting: Vec<&Arc<Statement>> = fitting.collect();
        let (looked, _) = looked_at(&fitting, Side::Principal, Some(&known.uid))?;
        let by_name =
            if access.any_other { looked_at(&fitting, Side::Resource, None)?.1 } else { Vec::new() };
        let everybody: Vec<usize> = (0..self.callers.len()).collect();
        let alike = Self::alike(&self.callers, &everybody, &looked, |_| false);
        let edges: Vec<(usize, usize)> =
            alike.iter().filter_map(|some| Some((*some.first()?, called))).collect();
        for (some, outlook) in alike.iter().zip(self.outlooks(&edges, &fitting, &by_name)?) {
            let place = table.keep(outlook);
            let Some(row) = table.of.get_mut(called) else { return Ok(()) };
            for caller in some {
                if let Some(cell) = row.get_mut(*caller) {
                    *cell = place;
                }
            }
        }
        Ok(())
    }

    /// Those of `places` that are equal in what is looked at, together; in the order of their first ones. Those that are `apart` are
    /// equal to each other alone.
    fn alike(known: &[Known], places: &[usize], looked: &Looked, apart: impl Fn(usize) -> bool) -> Alike {
        let seen = in_parallel(places, |place| {
            known.get(*place).map(|one| looked.seen(&one.uid, &one.entities)).unwrap_or_default()
        });
        let mut groups: HashMap<(bool, String), usize> = HashMap::new();
        let mut alike: Alike = Vec::new();
        for (place, seen) in places.iter().zip(seen) {
            let next = alike.len();
            match alike.get_mut(*groups.entry((apart(*place), seen)).or_insert(next)) {
                Some(some) => some.push(*place),
                None => alike.push(vec![*place]),
            }
        }
        alike
    }

    /// How the policies stand to each of `edges`.
    fn outlooks(
        &self,
        edges: &[(usize, usize)],
        fitting: &[&Arc<Statement>],
        by_name: &[&Arc<Statement>],
    ) -> Result<Vec<Outlook>, EntityFault> {
        let entities = self.entities(edges, fitting)?;
        Ok(in_parallel(edges, |(caller, called)| {
            self.outlook(*caller, *called, by_name, &entities).unwrap_or_else(|_| Outlook::fault())
        }))
    }

    /// What is on these edges, and what the policies name.
    fn entities(
        &self,
        edges: &[(usize, usize)],
        statements: &[&Arc<Statement>],
    ) -> Result<PartialEntities, EntityFault> {
        let mut slice = EntitySlice::default();
        for (caller, called) in edges {
            self.principals.get(*caller).map_or(Ok(()), |one| slice.principal(one))?;
            self.accesses.get(*called).map_or(Ok(()), |one| slice.target(&one.target))?;
        }
        for literal in statements.iter().flat_map(|statement| statement.literals()) {
            slice.literal(self.registered, literal)?;
        }
        let schema = schema().map_err(|error| fault(&error))?;
        PartialEntities::from_concrete(slice.entities()?, schema).map_err(|error| fault(&error))
    }

    fn outlook(
        &self,
        caller: usize,
        called: usize,
        by_name: &[&Arc<Statement>],
        entities: &PartialEntities,
    ) -> Result<Outlook, EntityFault> {
        let missing = || fault(&"an edge that is not asked about");
        let (principal, resource) =
            self.callers.get(caller).zip(self.called.get(called)).ok_or_else(missing)?;
        let access = self.accesses.get(called).ok_or_else(missing)?;
        let holding = principal.holding.and(&resource.holding);
        let kinds = (principal.kind, resource.kind);
        let is_by_name = |statement: &Arc<Statement>| by_name.iter().any(|one| one.id == statement.id);
        let candidates = self.index.candidates(access.action, kinds, &holding);
        let candidates: Vec<_> =
            candidates.filter(|statement| !access.any_other || !is_by_name(statement)).collect();
        let mut outlook = Outlook::default();
        let edge = (&principal.uid, access.action, &resource.uid);
        partially(edge, true, &candidates, entities, &mut outlook)?;
        if access.any_other {
            let but_its_name = |key: &Key| !key.is_of_name();
            let by_name = by_name.iter().copied().filter(|statement| {
                statement.applies_to(kinds.0, kinds.1) && self.index.fits(statement, &holding, but_its_name)
            });
            partially(edge, false, &by_name.collect::<Vec<_>>(), entities, &mut outlook)?;
        }
        outlook.sort();
        Ok(outlook)
    }
}

/// What these policies look at on one side, and those that look at what their callers call a resource.
pub(super) fn looked_at<'s>(
    statements: &[&'s Arc<Statement>],
    side: Side,
    other: Option<&EntityUid>,
) -> Result<(Looked, Vec<&'s Arc<Statement>>), EntityFault> {
    let (mut looked, mut by_name) = (Looked::default(), Vec::new());
    for statement in statements {
        let reads = reads::all(statement.at_all_times().pst().body(), side, other);
        if side == Side::Resource && reads.iter().any(Read::is_of_name) {
            by_name.push(*statement);
        }
        looked.extend(reads);
    }
    Ok((looked, by_name))
}

/// Evaluates policies on an edge with the context unknown, and where `by_its_id` is false which resource it is too.
pub(super) fn partially(
    (principal, action, resource): (&EntityUid, Action, &EntityUid),
    by_its_id: bool,
    statements: &[&Arc<Statement>],
    entities: &PartialEntities,
    outlook: &mut Outlook,
) -> Result<(), EntityFault> {
    let schema = schema().map_err(|error| fault(&error))?;
    let resource = match by_its_id {
        true => PartialEntityUid::from_concrete(resource.clone()),
        false => PartialEntityUid::new(resource.type_name().clone(), None),
    };
    let principal = PartialEntityUid::from_concrete(principal.clone());
    let request = PartialRequest::new(principal, plain::action_uid(action)?, resource, None, schema)
        .map_err(|error| fault(&error))?;
    answered(&request, statements, entities, outlook)
}

/// Evaluates policies on a request of which something is unknown.
pub(super) fn answered(
    request: &PartialRequest,
    statements: &[&Arc<Statement>],
    entities: &PartialEntities,
    outlook: &mut Outlook,
) -> Result<(), EntityFault> {
    // Those that are only tried decide nothing.
    let deciding: Vec<&&Arc<Statement>> = statements.iter().filter(|statement| !statement.observes).collect();
    if deciding.is_empty() {
        return Ok(());
    }
    let known: HashMap<&str, &Arc<Statement>> = deciding.iter().map(|one| (&*one.id, **one)).collect();
    let says = |id: &Arc<str>| known.get(&**id).map_or(Says::Refused, |one| one.says());
    let limits = |id: &Arc<str>| known.get(&**id).and_then(|one| one.limits.clone()).unwrap_or_default();
    let windowed = |id: &Arc<str>| known.get(&**id).and_then(|one| one.windowed.as_deref());
    let mut policies = PolicySet::new();
    for statement in &deciding {
        let policy = statement.at_all_times().evaluated().map_err(|error| fault(&error))?;
        policies.add(policy.clone()).map_err(|error| fault(&error))?;
    }
    let schema = schema().map_err(|error| fault(&error))?;
    let response = policies.tpe(request, entities, schema).map_err(|error| fault(&error))?;
    let name = |id: &cedar_policy::PolicyId| -> Arc<str> { AsRef::<str>::as_ref(id).into() };
    for permit in response.true_permits().map(name) {
        match windowed(&permit) {
            None => outlook.permits.push(permit),
            Some(windowed) => outlook.permits_when.push(Condition::of_window(permit, windowed)),
        }
    }
    let failing = response.error_permits().chain(response.error_forbids());
    outlook.refusals.extend(failing.map(name));
    for forbid in response.true_forbids().map(name) {
        match says(&forbid) {
            Says::Held => outlook.holds.push(forbid),
            Says::Changed => outlook.changes.push(forbid),
            Says::Limited => {
                let limits = limits(&forbid);
                outlook.refusals_when.push(Condition::always(forbid).and_spent(&limits));
            }
            Says::Permitted | Says::Refused => outlook.refusals.push(forbid),
        }
    }
    for left in response.residual_policies() {
        let condition = Condition::left(&left)?;
        let condition = match windowed(&condition.policy) {
            None => condition,
            Some(windowed) => condition.and_window(windowed),
        };
        match says(&condition.policy) {
            Says::Permitted => outlook.permits_when.push(condition),
            Says::Held => outlook.holds_when.push(condition),
            Says::Changed => outlook.changes_when.push(condition),
            Says::Limited => {
                let limits = limits(&condition.policy);
                outlook.refusals_when.push(condition.and_spent(&limits));
            }
            Says::Refused => outlook.refusals_when.push(condition),
        }
    }
    Ok(())
}

pub(super) fn fault(reason: &dyn std::fmt::Display) -> EntityFault {
    EntityFault { what: "edges".to_owned(), reason: reason.to_string() }
}

/// What is known of each thing on a side.
fn known<T: Sync>(
    things: &[T],
    of: impl Fn(&[T]) -> Result<Vec<Known>, EntityFault> + Sync,
) -> Result<Vec<Known>, EntityFault> {
    let known: Result<Vec<Vec<Known>>, EntityFault> = in_shares(things, of).into_iter().collect();
    known.map(|all| all.into_iter().flatten().collect())
}

/// Each of `all`, on all processors where there are many.
pub(super) fn in_parallel<T: Sync, R: Send>(all: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    in_shares(all, |some| some.iter().map(&each).collect::<Vec<R>>()).into_iter().flatten().collect()
}

/// `all` in as many parts as there are processors.
fn in_shares<T: Sync, R: Send>(all: &[T], of: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    /// Below this many a thread costs more than it saves.
    const FEW: usize = 32;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut shares = all.chunks(all.len().div_ceil(threads).max(FEW));
    let of = &of;
    std::thread::scope(|scope| {
        let first = shares.next().unwrap_or_default();
        let others: Vec<_> = shares.map(|some| (some, scope.spawn(|| of(some)))).collect();
        let mut done = vec![of(first)];
        for (some, thread) in others {
            // What a thread that stopped did not do is done here, so that nothing is left out.
            done.push(thread.join().unwrap_or_else(|_| of(some)));
        }
        done
    })
}

#[cfg(test)]
mod tests;
