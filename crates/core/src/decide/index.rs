//! Which policies can matter on an edge: found from the edge's own attributes and ancestors, not by looking at each policy.
//!
//! Each policy is filed under the rarest constant that it insists on: an entity of its scope, or a condition such as
//! `principal.team == "finance"` that is evaluated before anything that could fail. A policy left out this way is false on
//! the edge, and cannot have failed; so leaving it out changes nothing.

mod narrow;
mod sides;

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::sync::{Arc, LazyLock, OnceLock};

use cedar_policy::pst::{BinaryOp, Expr, Literal, Var};
use cedar_policy::{Effect, Entities, EntityUid, EvalResult};
use foldhash::fast::RandomState;

use super::statement::Statement;
use super::tree;
use crate::call::Action;
use crate::entity::EntityKind;
use crate::interned::Interned;
use crate::resource::AuthorityClass;
use crate::shards::Shards;
use crate::snapshot::{ACT_WITH_APPROVAL_ID, ADVISE_ID};

/// Maximum number of permits that are looked at for an explanation; the closest of these are named.
const MAX_LOOKED_AT: usize = 1_024;
/// Maximum number of permits that are named although they are about another resource.
const MAX_ELSEWHERE: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Side {
    Principal,
    Resource,
}

impl Side {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Resource => "resource",
        }
    }

    pub(crate) const fn of(var: &Var) -> Option<Self> {
        match var {
            Var::Principal => Some(Self::Principal),
            Var::Resource => Some(Self::Resource),
            Var::Action | Var::Context => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Test {
    /// `principal == Type::"value"`; `name` is the type.
    Itself,
    /// `principal in Type::"value"`; `name` is the type.
    Member,
    /// `principal.name == "value"`.
    Equals,
    /// `principal.name.contains("value")`.
    Contains,
}

/// A constant that a policy insists on. It is hashed once: an index of all policies is made with each change of one.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    hash: u64,
    side: Side,
    constant: Arc<Constant>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    test: Test,
    name: Box<str>,
    value: Box<str>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.side == other.side
            && (Arc::ptr_eq(&self.constant, &other.constant) || self.constant == other.constant)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Key {
    fn new(side: Side, test: Test, name: &str, value: &str) -> Self {
        // The seed differs from process to process, so that nobody can write policies whose keys collide.
        static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);
        let constant = Constant { test, name: name.into(), value: value.into() };
        Self { hash: SEED.hash_one((side, &constant)), side, constant: Arc::new(constant) }
    }

    /// The same, with its constant as other policies have it. That of one thing alone few have.
    pub(crate) fn shared(self) -> Self {
        static CONSTANTS: LazyLock<Interned<Constant>> = LazyLock::new(Interned::default);
        if self.constant.test == Test::Itself {
            return self;
        }
        let length = self.constant.name.len() + self.constant.value.len();
        Self { constant: CONSTANTS.share(self.constant, length), ..self }
    }

    pub(crate) fn itself(side: Side, type_name: &str, id: &str) -> Self {
        Self::new(side, Test::Itself, type_name, id)
    }

    pub(crate) fn member(side: Side, type_name: &str, id: &str) -> Self {
        Self::new(side, Test::Member, type_name, id)
    }

    /// Whether it keeps a policy to the resources of one namespace.
    pub(crate) fn is_of_a_namespace(&self) -> bool {
        self.side == Side::Resource
            && self.constant.test == Test::Member
            && &*self.constant.name == "Namespace"
    }

    /// The constant that a condition insists on, if it is of a form that the index knows.
    pub(crate) fn from_condition(condition: &Expr) -> Option<Self> {
        let Expr::BinaryOp { op, left, right } = condition else { return None };
        match op {
            BinaryOp::Eq => Self::equality(left, right).or_else(|| Self::equality(right, left)),
            BinaryOp::In => {
                let (var, names) = tree::path(left)?;
                let Expr::Literal(Literal::EntityUID(uid)) = &**right else { return None };
                names.is_empty().then_some(())?;
                Some(Self::member(Side::of(var)?, &uid.ty.to_string(), &uid.eid))
            }
            BinaryOp::Contains => {
                let (side, name) = attribute(left)?;
                Some(Self::new(side, Test::Contains, name, tree::string(right)?))
            }
            _ => None,
        }
    }

    fn equality(left: &Expr, right: &Expr) -> Option<Self> {
        match right {
            Expr::Literal(Literal::String(text)) => {
                let (side, name) = attribute(left)?;
                Some(Self::new(side, Test::Equals, name, text))
            }
            Expr::Literal(Literal::EntityUID(uid)) => {
                let (var, names) = tree::path(left)?;
                names.is_empty().then_some(())?;
                Some(Self::itself(Side::of(var)?, &uid.ty.to_string(), &uid.eid))
            }
            _ => None,
        }
    }

    /// Every constant that holds of `entity` on `side`.
    fn holding(side: Side, uid: &EntityUid, entities: &Entities) -> Vec<Self> {
        let (type_name, id) = (uid.type_name().to_string(), uid.id().unescaped().to_owned());
        let mut keys = vec![Self::itself(side, &type_name, &id), Self::member(side, &type_name, &id)];
        for ancestor in entities.ancestors(uid).into_iter().flatten() {
            keys.push(Self::member(side, &ancestor.type_name().to_string(), ancestor.id().unescaped()));
        }
        let Some(entity) = entities.get(uid) else { return keys };
        for (name, value) in entity.attrs() {
            match value {
                Ok(EvalResult::String(text)) => keys.push(Self::new(side, Test::Equals, name, &text)),
                Ok(EvalResult::Set(set)) => keys.extend(set.iter().filter_map(|element| match element {
                    EvalResult::String(text) => Some(Self::new(side, Test::Contains, name, text)),
                    _ => None,
                })),
                _ => {}
            }
        }
        keys
    }
}

/// `principal.name` or `resource.name`.
fn attribute(expr: &Expr) -> Option<(Side, &str)> {
    let (var, names) = tree::path(expr)?;
    match names.as_slice() {
        [name] => Some((Side::of(var)?, name)),
        _ => None,
    }
}

pub(crate) type KeyId = u32;
type Place = u32;
/// Statements that are filed under one constant, in the order of their places.
type List = Vec<(Place, Arc<Filed>)>;
type ByKey = Shards<KeyId, List>;

/// The statements of one action.
#[derive(Clone, Debug, Default)]
struct Shelf {
    by_key: ByKey,
    /// No constant: candidates for every edge of the action.
    open: Arc<List>,
    /// Permits by a constant of their scope, for explanations.
    permits_by_scope: ByKey,
    open_permits: Arc<List>,
    /// Permits by a constant of their scope that is about the principal, for explanations where no scope fits.
    permits_by_principal: ByKey,
}

/// A constant of some statement.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    id: KeyId,
    /// By how many statements it is used.
    uses: u32,
}

#[derive(Debug)]
struct Filed {
    statement: Arc<Statement>,
    scope: Box<[KeyId]>,
    conditions: Box<[KeyId]>,
    /// What it is filed under: the rarest of all its constants, of those of its scope, and of those that are about the principal.
    under: Option<KeyId>,
    under_scope: Option<KeyId>,
    under_principal: Option<KeyId>,
}

impl Filed {
    fn scope_of_principal(&self) -> impl Iterator<Item = &KeyId> {
        let about = self.statement.scope.iter().zip(&self.scope);
        about.filter(|(key, _)| key.side == Side::Principal).map(|(_, id)| id)
    }
}

/// All statements, filed. Of one index another is made that has others: what is filed the same is shared by both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    keys: Shards<Key, Numbered>,
    next_key: KeyId,
    /// Each statement, by where it is in memory.
    filed: Shards<usize, (Place, Arc<Filed>)>,
    next_place: Place,
    shelves: [Shelf; Action::ALL.len()],
    /// The built-in policies of authority classes, as far as no policy takes their place.
    of_classes: Vec<(AuthorityClass, Arc<Statement>)>,
    /// The statements that have something of answers redacted, or looked at.
    of_answers: Vec<Arc<Statement>>,
    /// All of them, in the order in which they were filed; made when somebody asks.
    in_order: OnceLock<Box<[Arc<Statement>]>>,
}

/// The constants that hold on an edge.
#[derive(Debug)]
pub(crate) struct Holding(HashSet<KeyId, RandomState>);

impl Holding {
    /// What is filed under these constants. The rarest first: what is filed under them has most to do with the edge.
    fn filed_in<'a>(&self, by_key: &'a ByKey) -> impl Iterator<Item = &'a Arc<Filed>> {
        let mut lists: Vec<&List> = self.0.iter().filter_map(|key| by_key.get(key)).collect();
        lists.sort_unstable_by_key(|list| list.len());
        lists.into_iter().flatten().map(|(_, filed)| filed)
    }
}

impl Index {
    pub(crate) fn new(statements: &[Arc<Statement>]) -> Self {
        let mut index = Self::default();
        index.file(statements);
        index
    }

    /// This index without those that are `gone`, and with those that are `new`: together they are `all`.
    pub(crate) fn with(
        &self,
        gone: &[Arc<Statement>],
        new: &[Arc<Statement>],
        all: impl FnOnce() -> Vec<Arc<Statement>>,
    ) -> Self {
        // Statements are filed under what is rarest when they come. Where many are others, all are filed anew.
        let few = gone.len() + new.len() <= self.filed.len() / 4;
        let numbered = self.next_key.max(self.next_place) < u32::MAX / 2;
        if !(few && numbered) {
            return Self::new(&all());
        }
        let mut index = Self { in_order: OnceLock::new(), ..self.clone() };
        gone.iter().for_each(|statement| index.take_out(statement));
        index.file(new);
        index
    }

    /// The built-in policies of authority classes that are in force.
    pub(crate) fn of_classes(&self) -> &[(AuthorityClass, Arc<Statement>)] {
        &self.of_classes
    }

    /// The statements that have something of answers redacted, or looked at, and decide.
    pub(crate) fn of_answers(&self) -> impl Iterator<Item = &Arc<Statement>> {
        self.of_answers.iter()
    }

    /// Files statements that are not here. First all of their constants are counted, so that the rarest of each is known.
    fn file(&mut self, statements: &[Arc<Statement>]) {
        for key in statements.iter().flat_map(|one| one.scope.iter().chain(&one.conditions)) {
            match self.keys.get_mut(key) {
                Some(known) => known.uses += 1,
                None => {
                    self.keys.insert(key.clone(), Numbered { id: self.next_key, uses: 1 });
                    self.next_key += 1;
                }
            }
        }
        for statement in statements {
            let known = |key: &Key| self.keys.get(key).copied().unwrap_or(Numbered { id: 0, uses: u32::MAX });
            let rarest = |keys: &mut dyn Iterator<Item = &Key>| {
                keys.map(known).min_by_key(|known| known.uses).map(|known| known.id)
            };
            let (scope, conditions) = (&statement.scope, &statement.conditions);
            let filed = Filed {
                statement: statement.clone(),
                scope: scope.iter().map(|key| known(key).id).collect(),
                conditions: conditions.iter().map(|key| known(key).id).collect(),
                under: rarest(&mut scope.iter().chain(conditions)),
                under_scope: rarest(&mut scope.iter()),
                under_principal: rarest(&mut scope.iter().filter(|key| key.side == Side::Principal)),
            };
            let place = self.next_place;
            self.next_place += 1;
            let filed = Arc::new(filed);
            self.shelve(&filed, |list| list.push((place, filed.clone())));
            self.filed.insert(Arc::as_ptr(statement).addr(), (place, filed));
            self.of_classes.extend(class_of(statement).map(|class| (class, statement.clone())));
            self.of_classes.sort_by_key(|(class, _)| *class);
            if statement.of_answers().next().is_some() {
                self.of_answers.push(statement.clone());
            }
        }
    }

    fn take_out(&mut self, statement: &Arc<Statement>) {
        let Some((place, filed)) = self.filed.remove(&Arc::as_ptr(statement).addr()) else { return };
        self.shelve(&filed, |list| {
            if let Ok(at) = list.binary_search_by_key(&place, |(place, _)| *place) {
                list.remove(at);
            }
        });
        for key in statement.scope.iter().chain(&statement.conditions) {
            let Some(known) = self.keys.get_mut(key) else { continue };
            known.uses -= 1;
            if known.uses == 0 {
                self.keys.remove(key);
            }
        }
        self.of_classes.retain(|(_, other)| !Arc::ptr_eq(other, statement));
        self.of_answers.retain(|other| !Arc::ptr_eq(other, statement));
    }

    /// Changes each list in which a statement is.
    fn shelve(&mut self, filed: &Filed, change: impl Fn(&mut List)) {
        let under = |by_key: &mut ByKey, key: KeyId| {
            if !by_key.contains_key(&key) {
                by_key.insert(key, Vec::new());
            }
            let Some(list) = by_key.get_mut(&key) else { return };
            change(list);
            if list.is_empty() {
                by_key.remove(&key);
            }
        };
        let permit = filed.statement.effect == Effect::Permit;
        for action in Action::ALL.into_iter().filter(|action| filed.statement.actions.contain(*action)) {
            let Some(shelf) = self.shelves.get_mut(action as usize) else { continue };
            match filed.under {
                Some(key) => under(&mut shelf.by_key, key),
                None => change(Arc::make_mut(&mut shelf.open)),
            }
            match filed.under_scope {
                Some(key) if permit => under(&mut shelf.permits_by_scope, key),
                None if permit => change(Arc::make_mut(&mut shelf.open_permits)),
                _ => {}
            }
            if let Some(key) = filed.under_principal.filter(|_| permit) {
                under(&mut shelf.permits_by_principal, key);
            }
        }
    }

    /// The constants of the index that hold on an edge.
    pub(crate) fn holding(
        &self,
        principal: &EntityUid,
        resource: &EntityUid,
        entities: &Entities,
    ) -> Holding {
        let of_principal = Key::holding(Side::Principal, principal, entities);
        let of_resource = Key::holding(Side::Resource, resource, entities);
        Holding(of_principal.iter().chain(&of_resource).filter_map(|key| self.number(key)).collect())
    }

    /// The statements that can be other than false on an edge.
    pub(crate) fn candidates<'a, 'h>(
        &'a self,
        action: Action,
        kinds: (EntityKind, EntityKind),
        holding: &'h Holding,
    ) -> impl Iterator<Item = &'a Arc<Statement>> + use<'a, 'h> {
        let shelf = self.shelves.get(action as usize);
        let by_key =
            shelf.into_iter().flat_map(|s| holding.0.iter().filter_map(|key| s.by_key.get(key))).flatten();
        let open = shelf.into_iter().flat_map(|s| &*s.open);
        by_key.chain(open).filter_map(move |(_, filed)| {
            let holds = |key: &KeyId| holding.0.contains(key);
            let possible = filed.scope.iter().all(holds) && filed.conditions.iter().all(holds);
            (possible && filed.statement.applies_to(kinds.0, kinds.1)).then_some(&filed.statement)
        })
    }

    /// The permits that come closest to an edge, closest first: those whose scope fits it, by the number of constants in their
    /// conditions that do not hold. Where there is none, those that are about the principal and another resource; never those
    /// about other principals, since the caller reads the answer.
    pub(crate) fn closest_permits(
        &self,
        action: Action,
        kinds: (EntityKind, EntityKind),
        holding: &Holding,
        maximum: usize,
    ) -> Vec<&Arc<Statement>> {
        let Some(shelf) = self.shelves.get(action as usize) else { return Vec::new() };
        let holds = |key: &KeyId| holding.0.contains(key);
        let open = shelf.open_permits.iter().map(|(_, filed)| filed);
        let fitting = holding.filed_in(&shelf.permits_by_scope).chain(open);
        let fitting = Self::closest(fitting, kinds, holding, maximum, |filed| filed.scope.iter().all(holds));
        if !fitting.is_empty() {
            return fitting;
        }
        let own = holding.filed_in(&shelf.permits_by_principal);
        Self::closest(own, kinds, holding, maximum.min(MAX_ELSEWHERE), |filed| {
            filed.scope_of_principal().all(holds)
        })
    }

    fn closest<'a>(
        filed: impl Iterator<Item = &'a Arc<Filed>>,
        kinds: (EntityKind, EntityKind),
        holding: &Holding,
        maximum: usize,
        fits: impl Fn(&Filed) -> bool,
    ) -> Vec<&'a Arc<Statement>> {
        let mut found: Vec<(usize, usize, &Arc<Statement>)> = filed
            .take(MAX_LOOKED_AT)
            .filter_map(|filed| {
                let constants = filed.scope.iter().chain(&filed.conditions);
                let missing = constants.filter(|key| !holding.0.contains(*key)).count();
                (fits(filed) && filed.statement.applies_to(kinds.0, kinds.1)).then_some((
                    missing,
                    usize::MAX - filed.scope.len(),
                    &filed.statement,
                ))
            })
            .collect();
        let closest = |a: &(usize, usize, &Arc<Statement>), b: &(usize, usize, &Arc<Statement>)| {
            (a.0, a.1, &a.2.id).cmp(&(b.0, b.1, &b.2.id))
        };
        if found.len() > maximum {
            found.select_nth_unstable_by(maximum, closest);
            found.truncate(maximum);
        }
        found.sort_unstable_by(closest);
        found.into_iter().map(|(_, _, statement)| statement).collect()
    }

    pub(crate) fn statements(&self) -> impl Iterator<Item = &Arc<Statement>> {
        let in_order = self.in_order.get_or_init(|| {
            let mut all: Vec<(Place, &Arc<Filed>)> =
                self.filed.iter().map(|(_, (place, filed))| (*place, filed)).collect();
            all.sort_unstable_by_key(|(place, _)| *place);
            all.into_iter().map(|(_, filed)| filed.statement.clone()).collect()
        });
        in_order.iter()
    }
}

/// The authority class that a statement is the built-in policy of.
fn class_of(statement: &Statement) -> Option<AuthorityClass> {
    match &*statement.id {
        ADVISE_ID => Some(AuthorityClass::Advise),
        ACT_WITH_APPROVAL_ID => Some(AuthorityClass::ActWithApproval),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
