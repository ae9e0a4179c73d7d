//! Who may do what to an installation: how the policies stand to what people do, whatever is not known of them and of the moment. What
//! [`Snapshot::authorize_person`] decides of one request is said here of all requests of somebody; a property test holds the two together.
//!
//! Nobody registers people: a token says who somebody is, and in which groups. So they are asked about one by one, or as those are whom
//! policies tell apart: everybody whom a policy names, one of each group that a policy names, and all others.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use cedar_policy::EntityUid;

use super::{NotSurveyed, Pairs};
use crate::act::Subject;
use crate::call::Target;
use crate::caller::User;
use crate::decide::entities::EntityFault;
use crate::decide::plain::{self, fault};
use crate::decide::schema::{Type, schema, uid};
use crate::entity::{EntityId, EntityKind};
use crate::person::{Operation, Person, VIEWS};
use crate::resource::Object;
use crate::snapshot::Snapshot;

/// A person, or one of those who are alike to the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Somebody {
    /// This one, in the groups of its token and in no others. Where no e-mail address is given, it may have any or none.
    One(Person),
    /// Whom no policy names, in this group (`name`, or `issuer#name`) and in no other that a policy names.
    InGroup(Arc<str>),
    /// Whom no policy names, in no group that a policy names.
    AnyOther,
}

/// `User/issuer#subject`, `UserGroup/group`, or `User/*`.
impl fmt::Display for Somebody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(person) => f.write_str(&person.actor()),
            Self::InGroup(group) => write!(f, "UserGroup/{group}"),
            Self::AnyOther => f.write_str("User/*"),
        }
    }
}

/// What people do something to, or look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thing {
    text: Arc<str>,
    pub(crate) uid: EntityUid,
    /// It stands for all that nothing names, so what it is called is not known.
    pub(crate) any_other: bool,
}

/// `Kind/id`; what stands for all others ends with `*`.
impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Thing {
    fn new(uid: EntityUid) -> Self {
        let text = format!("{}/{}", kind(&uid), uid.id().unescaped());
        Self { text: text.into(), uid, any_other: false }
    }

    /// Something that is shown, by its name.
    ///
    /// # Errors
    /// [`NotSurveyed`]: a fault of this crate.
    pub fn view(name: &str) -> Result<Self, NotSurveyed> {
        named(Type::View, name).map(Self::new).map_err(|fault| NotSurveyed::new(&fault))
    }

    /// What may be quarantined; it need not be registered.
    ///
    /// # Errors
    /// [`NotSurveyed`]: a fault of this crate.
    pub fn subject(subject: &Subject) -> Result<Self, NotSurveyed> {
        let uid = match subject {
            Subject::Object(entity) => plain::entity_uid(entity),
            Subject::Identity(id) => named(Type::Identity, id),
            Subject::Instance(id) => named(Type::Instance, id),
            Subject::User(id) => named(Type::User, id),
            Subject::Chain(id) => named(Type::Transaction, id),
        };
        uid.map(Self::new).map_err(|fault| NotSurveyed::new(&fault))
    }

    /// All of a kind that nothing names: parts of `of`, or where that is empty, what nobody registers.
    fn any_other(of_kind: Type, of: &str, taken: &BTreeSet<EntityUid>) -> Result<Self, EntityFault> {
        // Not the one that stands for who acts.
        let uid = stand_in(of_kind, if of.is_empty() { "other/" } else { of }, taken)?;
        Ok(Self { text: format!("{}/{of}*", kind(&uid)).into(), uid, any_other: true })
    }

    /// Whether the schema says that this may be done to it.
    pub fn takes(&self, operation: Operation) -> bool {
        let action = uid(Type::Action, operation.as_str());
        let kinds = schema().ok().zip(action.as_ref());
        let kinds = kinds.and_then(|(schema, action)| schema.resources_for_action(action));
        kinds.into_iter().flatten().any(|kind| kind == self.uid.type_name())
    }
}

/// The kind of something, as people write it who act on it.
fn kind(uid: &EntityUid) -> &str {
    match uid.type_name().basename() {
        "Transaction" => "Chain",
        kind => kind,
    }
}

/// Something that people do, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// What is done.
    pub operation: Operation,
    /// To what: something that [`Thing::takes`] it.
    pub thing: Thing,
}

/// Something of this kind that is none of `taken`, so that no policy can mean it.
pub(crate) fn stand_in(kind: Type, of: &str, taken: &BTreeSet<EntityUid>) -> Result<EntityUid, EntityFault> {
    let mut id = format!("{of}*");
    loop {
        let uid = named(kind, &id)?;
        if !taken.contains(&uid) {
            return Ok(uid);
        }
        id.push('*');
    }
}

fn named(kind: Type, id: &str) -> Result<EntityUid, EntityFault> {
    uid(kind, id).ok_or_else(|| fault("a name", &kind.as_str()))
}

impl Snapshot {
    /// Those people whom the policies tell apart by name, sorted, and last all others.
    ///
    /// # Errors
    /// [`NotSurveyed`]: a fault of this crate.
    pub fn people(&self) -> Result<Vec<Somebody>, NotSurveyed> {
        let named = self.named_by_people().map_err(|fault| NotSurveyed::new(&fault))?;
        let somebody = |uid: &EntityUid| match (uid.type_name().basename(), uid.id().unescaped()) {
            ("User", id) => User::of_id(id)
                .map(|user| Somebody::One(Person { user, groups: Box::default(), unverified_email: None })),
            ("UserGroup", id) => Some(Somebody::InGroup(id.into())),
            _ => None,
        };
        Ok(named.iter().filter_map(somebody).chain([Somebody::AnyOther]).collect())
    }

    /// Everything that people do something to, sorted: what is registered, with its parts as of calls; what is shown; whom and what policies
    /// name; and what stands for all other people, identities and chains.
    ///
    /// # Errors
    /// [`NotSurveyed`]: a fault of this crate.
    pub fn things(&self) -> Result<Vec<Thing>, NotSurveyed> {
        self.everything().map_err(|fault| NotSurveyed::new(&fault))
    }

    fn everything(&self) -> Result<Vec<Thing>, EntityFault> {
        let by_name = self.named_by_people()?;
        let mut all: BTreeSet<Thing> = BTreeSet::new();
        for whole in self.wholes() {
            all.extend(self.parts(whole, &by_name)?);
        }
        for service in self.objects().iter().filter(|object| matches!(object, Object::Service(_))) {
            let id = EntityId::new(EntityKind::Service, service.meta().key());
            all.insert(Thing::new(plain::entity_uid(&id)?));
        }
        for view in VIEWS {
            all.insert(Thing::new(named(Type::View, view)?));
        }
        let unregistered = [Type::User, Type::Identity, Type::Instance, Type::Transaction];
        let is_named = |uid: &&EntityUid| {
            let mut kinds = unregistered.iter().chain([&Type::View]);
            kinds.any(|kind| kind.as_str() == uid.type_name().basename())
        };
        all.extend(by_name.iter().filter(is_named).cloned().map(Thing::new));
        for kind in unregistered {
            all.insert(Thing::any_other(kind, "", &by_name)?);
        }
        Ok(all.into_iter().collect())
    }

    /// What people may do something to of a registered object, or of a part of one: of an object the whole, its parts that are named, and
    /// what stands for others. `None` where it is not registered.
    ///
    /// # Errors
    /// [`NotSurveyed`]: a fault of this crate.
    pub fn things_of(&self, id: &EntityId) -> Result<Option<Vec<Thing>>, NotSurveyed> {
        let whole = match id.kind {
            EntityKind::Agent => self.agent(&id.id).map(Target::Agent),
            EntityKind::McpServer => self.mcp_server(&id.id).map(Target::Server),
            EntityKind::LlmProvider => self.llm_provider(&id.id).map(Target::Provider),
            _ => None,
        };
        let things = match whole {
            Some(whole) => self.named_by_people().and_then(|by_name| self.parts(whole, &by_name)).map(Some),
            None if self.is_registered(id) => plain::entity_uid(id).map(|uid| Some(vec![Thing::new(uid)])),
            None => Ok(None),
        };
        things.map_err(|fault| NotSurveyed::new(&fault))
    }

    fn is_registered(&self, id: &EntityId) -> bool {
        let of = id.registered();
        match of.as_ref().map(|of| (of.kind, &*of.id)) {
            Some((EntityKind::Agent, of)) => self.agent(of).is_some(),
            Some((EntityKind::Service, of)) => self.service(of).is_some(),
            Some((EntityKind::McpServer, of)) => self.mcp_server(of).is_some(),
            Some((EntityKind::LlmProvider, of)) => self.llm_provider(of).is_some(),
            _ => false,
        }
    }

    fn parts(&self, whole: Target<'_>, by_name: &BTreeSet<EntityUid>) -> Result<Vec<Thing>, EntityFault> {
        let (others, named): (Vec<_>, Vec<_>) =
            self.accesses(whole).into_iter().partition(|access| access.any_other);
        let uids = named.iter().map(|access| plain::entity_uid(&access.target.entity()));
        let mut things = uids.map(|uid| uid.map(Thing::new)).collect::<Result<Vec<_>, _>>()?;
        let taken: BTreeSet<EntityUid> =
            things.iter().map(|thing| &thing.uid).chain(by_name).cloned().collect();
        for access in others {
            let of = format!("{}/", access.target.destination().id().id);
            let kind = match access.target.entity().kind {
                EntityKind::Resource => Type::Resource,
                EntityKind::Prompt => Type::Prompt,
                EntityKind::Skill => Type::Skill,
                _ => Type::Tool,
            };
            things.push(Thing::any_other(kind, &of, &taken)?);
        }
        Ok(things)
    }

    /// How each of `who` stands to each of `deeds`, by the rules of [`Snapshot::authorize_person`]; those with one answer are together, by
    /// what is done. Deterministic, and in the order of what is asked.
    ///
    /// Of those who are not named it is not said what they may do to themselves.
    ///
    /// # Errors
    /// [`NotSurveyed`]: what is registered cannot be expressed for Cedar, which is a fault of this crate.
    pub fn reach_people(&self, who: &[Somebody], deeds: &[Deed]) -> Result<Vec<Pairs>, NotSurveyed> {
        let answers = self.survey_people(who, deeds).map_err(|fault| NotSurveyed::new(&fault))?;
        let mut pairs: Vec<Pairs> = Vec::new();
        let mut places = HashMap::new();
        for (principal, answers) in answers.into_iter().enumerate() {
            for (outlook, accesses) in answers {
                let next = pairs.len();
                let place = *places.entry((accesses.clone(), outlook.clone())).or_insert(next);
                match pairs.get_mut(place) {
                    Some(known) => known.principals.push(principal),
                    None => pairs.push(Pairs { principals: vec![principal], accesses, outlook }),
                }
            }
        }
        Ok(pairs)
    }
}
