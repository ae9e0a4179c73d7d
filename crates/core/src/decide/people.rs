//! How the policies stand to what people do, with the context unknown, and of people and things what nobody knows of them beforehand. The
//! same partial evaluation as for calls ([`super::survey`]); of things that no policy can tell apart, one is evaluated for all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::pst::{Clause, Expr};
use cedar_policy::{Entities, EntityUid, PartialEntities, PartialEntityUid, PartialRequest};
use serde_json::{Map, Value, json};

use super::entities::{EntityFault, EntitySlice};
use super::index::Side;
use super::plain::fault;
use super::schema::{Type, schema, uid};
use super::statement::Statement;
use super::survey::{answered, looked_at};
use super::tree;
use crate::person::Operation;
use crate::reach::people::{Deed, Somebody, Thing, stand_in};
use crate::reach::{Condition, Outlook};
use crate::snapshot::registered::Registered;

/// What is answered of one person, and of which deeds by their places, ascending.
pub(crate) type Answers = Vec<(Outlook, Vec<usize>)>;

/// The policies of what people do.
pub(crate) struct Survey<'a> {
    registered: &'a Registered,
    statements: &'a [Arc<Statement>],
}

/// One side of a request: what is known of it.
struct Known {
    uid: EntityUid,
    /// Those that are known; of an entity all are, or none.
    attributes: BTreeMap<&'static str, String>,
    /// Those that are not.
    unknown: Vec<&'static str>,
    groups: Vec<EntityUid>,
    /// What stands for it in a policy, where something is not known of it.
    variable: Option<&'static str>,
}

/// A policy, with the attributes that it looks at, of whatever.
type Looking<'a> = (&'a Arc<Statement>, BTreeSet<Box<str>>);

impl<'a> Survey<'a> {
    pub(crate) fn new(registered: &'a Registered, statements: &'a [Arc<Statement>]) -> Self {
        Self { registered, statements }
    }

    pub(crate) fn of(&self, who: &[Somebody], deeds: &[Deed]) -> Result<Vec<Answers>, EntityFault> {
        let literals = || self.statements.iter().flat_map(|statement| statement.literals()).cloned();
        let taken: BTreeSet<EntityUid> =
            literals().chain(deeds.iter().map(|deed| deed.thing.uid.clone())).collect();
        let who = who.iter().map(|one| Known::person(one, &taken)).collect::<Result<Vec<_>, _>>()?;
        let mut answers: Vec<Answers> = who.iter().map(|_| Vec::new()).collect();
        for operation in Operation::ALL {
            let about = |statement: &&Arc<Statement>| statement.actions.of_people(Some(operation));
            let statements: Vec<&Arc<Statement>> = self.statements.iter().filter(about).collect();
            let alike = self.alike(operation, deeds, &statements)?;
            let looking = statements.into_iter().map(looking).collect::<Result<Vec<_>, _>>()?;
            for (person, answers) in who.iter().zip(&mut answers) {
                let mut groups: HashMap<Outlook, usize> = HashMap::new();
                let first = answers.len();
                for places in &alike {
                    let Some(deed) = places.first().and_then(|place| deeds.get(*place)) else { continue };
                    let outlook = self.outlook(person, deed, &looking)?;
                    let next = answers.len() - first;
                    let group = *groups.entry(outlook.clone()).or_insert(next);
                    match answers.get_mut(first + group) {
                        Some((_, known)) => known.extend(places),
                        None => answers.push((outlook, places.clone())),
                    }
                }
                answers.iter_mut().skip(first).for_each(|(_, places)| places.sort_unstable());
            }
        }
        Ok(answers)
    }

    /// The places of what is done by one operation, those together that no policy can tell apart.
    fn alike(
        &self,
        operation: Operation,
        deeds: &[Deed],
        statements: &[&Arc<Statement>],
    ) -> Result<Vec<Vec<usize>>, EntityFault> {
        let (looked, _) = looked_at(statements, Side::Resource, None)?;
        let of_operation = || deeds.iter().enumerate().filter(|(_, deed)| deed.operation == operation);
        let mut slice = EntitySlice::default();
        for (_, deed) in of_operation() {
            slice.literal(self.registered, &deed.thing.uid)?;
        }
        let entities = slice.entities()?;
        let mut groups: HashMap<(bool, String), usize> = HashMap::new();
        let mut alike: Vec<Vec<usize>> = Vec::new();
        for (place, Deed { thing, .. }) in of_operation() {
            let mut seen = looked.seen(&thing.uid, &entities);
            // What nobody registers is only what it is called.
            if entities.get(&thing.uid).is_none() {
                seen.push_str(thing.uid.id().unescaped());
            }
            let next = alike.len();
            match alike.get_mut(*groups.entry((thing.any_other, seen)).or_insert(next)) {
                Some(places) => places.push(place),
                None => alike.push(vec![place]),
            }
        }
        Ok(alike)
    }

    /// What the policies say of what one person does. Each sees what is known of the two sides, unless it looks at something that is not.
    fn outlook(
        &self,
        person: &Known,
        deed: &Deed,
        statements: &[Looking<'_>],
    ) -> Result<Outlook, EntityFault> {
        let thing = Known::thing(&deed.thing);
        let mut by_what_they_see: BTreeMap<(bool, bool), Vec<&Arc<Statement>>> = BTreeMap::new();
        for (statement, looks_at) in statements {
            let sees = |of: &Known| of.unknown.iter().all(|name| !looks_at.contains(*name));
            by_what_they_see.entry((sees(person), sees(&thing))).or_default().push(statement);
        }
        let schema = schema().map_err(|error| fault("the schema", &error))?;
        let action =
            uid(Type::Action, deed.operation.as_str()).ok_or_else(|| fault("the action", &"unknown"))?;
        let side = |of: &Known| PartialEntityUid::from_concrete(of.uid.clone());
        let request = PartialRequest::new(side(person), action, side(&thing), None, schema)
            .map_err(|error| fault("the question", &error))?;
        let mut outlook = Outlook::default();
        for ((sees_person, sees_thing), statements) in by_what_they_see {
            let sides = [(person, sees_person), (&thing, sees_thing)];
            let entities = self.entities(sides, &statements)?;
            answered(&request, &statements, &entities, &mut outlook)?;
        }
        let conditions = outlook.permits_when.iter_mut().chain(&mut outlook.refusals_when);
        conditions.for_each(|condition| said_of([person, &thing], condition));
        outlook.sort();
        Ok(outlook)
    }

    /// Both sides, and what the policies name.
    fn entities(
        &self,
        sides: [(&Known, bool); 2],
        statements: &[&Arc<Statement>],
    ) -> Result<PartialEntities, EntityFault> {
        let mut slice = EntitySlice::default();
        let [(person, sees_person), (thing, sees_thing)] = sides;
        slice.literal(self.registered, &thing.uid)?;
        for literal in statements.iter().flat_map(|statement| statement.literals()) {
            slice.literal(self.registered, literal)?;
        }
        let registered = slice.entities()?;
        let is_registered = registered.get(&thing.uid).is_some();
        let mut all = described(&registered)?;
        let hidden = json_uid(&thing.uid);
        for entity in &mut all {
            if entity.get("uid") == Some(&hidden) && !sees_thing {
                entity.remove("attrs");
            }
        }
        // Whoever does something to himself is one.
        if !is_registered && thing.uid != person.uid {
            all.push(thing.described(sees_thing));
        }
        all.push(person.described(sees_person));
        let schema = schema().map_err(|error| fault("the schema", &error))?;
        let all = Value::Array(all.into_iter().map(Value::Object).collect());
        PartialEntities::from_json_value(all, schema).map_err(|error| fault("the entities", &error))
    }
}

impl Known {
    fn person(who: &Somebody, taken: &BTreeSet<EntityUid>) -> Result<Self, EntityFault> {
        let (issuer, subject, email, groups) = match who {
            Somebody::One(person) => {
                let user = &person.user;
                (Some(&*user.issuer), Some(&*user.subject), user.email.as_deref(), person.group_ids())
            }
            // The group of an issuer is one by its name alone too, as it is of whoever is in it.
            Somebody::InGroup(group) => match group.split_once('#') {
                Some((issuer, name)) if !name.contains('#') => {
                    (Some(issuer), None, None, vec![group.to_string(), name.to_owned()])
                }
                Some((issuer, _)) => (Some(issuer), None, None, vec![group.to_string()]),
                None => (None, None, None, vec![group.to_string()]),
            },
            Somebody::AnyOther => (None, None, None, Vec::new()),
        };
        let known = [("issuer", issuer), ("subject", subject), ("email", email)];
        // What a policy does not look at may be anything.
        let attributes = known.iter().filter(|(name, value)| value.is_some() || *name != "email");
        let groups: Option<Vec<EntityUid>> = groups.iter().map(|group| uid(Type::UserGroup, group)).collect();
        let own = match who {
            Somebody::One(person) => uid(Type::User, person.user.id()),
            Somebody::InGroup(_) | Somebody::AnyOther => Some(stand_in(Type::User, "", taken)?),
        };
        let (own, groups) = own.zip(groups).ok_or_else(|| fault("the person", &"unknown type"))?;
        Ok(Self {
            uid: own,
            attributes: attributes.map(|(name, value)| (*name, value.unwrap_or("*").to_owned())).collect(),
            unknown: known.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect(),
            groups,
            variable: Some("principal"),
        })
    }

    fn thing(thing: &Thing) -> Self {
        let kind = thing.uid.type_name().basename();
        let unknown: &[&str] = match (thing.any_other, kind) {
            (true, "User") => &["issuer", "subject"],
            (true, "Tool" | "Resource" | "Prompt" | "Skill") => &["name", "uri"],
            _ => &[],
        };
        let (issuer, subject) = thing.uid.id().unescaped().split_once('#').unwrap_or(("*", "*"));
        let attributes = [("issuer", issuer), ("subject", subject)];
        let attributes = attributes.into_iter().filter(|_| kind == Type::User.as_str());
        Self {
            uid: thing.uid.clone(),
            attributes: attributes.map(|(name, value)| (name, value.to_owned())).collect(),
            unknown: unknown.to_vec(),
            groups: Vec::new(),
            variable: thing.any_other.then_some("resource"),
        }
    }

    /// As Cedar's JSON, in which what is left out is unknown.
    fn described(&self, seen: bool) -> Map<String, Value> {
        let groups: Vec<Value> = self.groups.iter().map(json_uid).collect();
        let mut described = Map::new();
        described.insert("uid".to_owned(), json_uid(&self.uid));
        described.insert("parents".to_owned(), Value::Array(groups));
        described.insert("tags".to_owned(), json!({}));
        if seen {
            described.insert("attrs".to_owned(), json!(self.attributes));
        }
        described
    }
}

/// Puts what is left of a policy in the words of policies: what was evaluated with a name for principal or resource has that name in it.
fn said_of(sides: [&Known; 2], condition: &mut Condition) {
    let mut when = condition.when.to_string();
    for side in sides {
        // In a text within a policy it cannot stand, for the quotes are escaped there.
        when = side.variable.map_or(when.clone(), |name| when.replace(&side.uid.to_string(), name));
    }
    if *when == *condition.when {
        return;
    }
    let policy = format!("permit (principal, action, resource) when {{ {when} }};");
    let read = cedar_policy::Policy::parse(None, policy).ok().and_then(|policy| policy.to_pst().ok());
    condition.certain = read.is_some_and(|policy| {
        policy.body().clauses().iter().all(|clause| match clause {
            Clause::When(expr) | Clause::Unless(expr) => !tree::may_fail(expr),
        })
    });
    condition.when = when.into();
}

/// What is registered, as Cedar's JSON of entities of which everything is known.
fn described(entities: &Entities) -> Result<Vec<Map<String, Value>>, EntityFault> {
    let mut all = Vec::new();
    for entity in entities.iter() {
        let Value::Object(mut described) =
            entity.to_json_value().map_err(|error| fault("what is registered", &error))?
        else {
            return Err(fault("what is registered", &"it is no object"));
        };
        for (member, none) in [("attrs", json!({})), ("parents", json!([])), ("tags", json!({}))] {
            described.entry(member).or_insert(none);
        }
        all.push(described);
    }
    Ok(all)
}

fn json_uid(uid: &EntityUid) -> Value {
    json!({"type": uid.type_name().to_string(), "id": uid.id().unescaped()})
}

fn looking(statement: &Arc<Statement>) -> Result<Looking<'_>, EntityFault> {
    let mut names = BTreeSet::new();
    for clause in statement.at_all_times().pst().body().clauses() {
        let (Clause::When(condition) | Clause::Unless(condition)) = clause;
        tree::walk(condition, &mut |part| match part {
            Expr::GetAttr { attr, .. } => drop(names.insert((&**attr).into())),
            Expr::HasAttr { attrs, .. } => names.extend(attrs.iter().map(|attr| (&**attr).into())),
            _ => {}
        });
    }
    Ok((statement, names))
}
