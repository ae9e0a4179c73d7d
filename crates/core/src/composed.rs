//! Of which policies requests of one type are decided, for whoever compares two configurations without making a call: as Cedar has them,
//! with what Vidimus makes of them beside.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::pst::{
    self, BinaryOp, Clause, EntityOrSlot, Expr, Literal, PrincipalConstraint, ResourceConstraint, Var,
};
use cedar_policy::{Effect, PolicyId, RequestEnv, Schema};

use crate::call::Action;
use crate::decide::statement::Statement;
use crate::decide::{schema, tree};
use crate::decision::Says;
use crate::person::Operation;
use crate::snapshot::{ACT_WITH_APPROVAL_ID, ADVISE_ID, Snapshot};

/// The id of the permit that stands for the rule of names and of objects: as long as no policy permits, what none forbids is permitted.
pub const FREE_NAMES_ID: &str = "vidimus/free-names";

/// Something that requests of one type have in common: an action, and the types of who does it and of what it is done to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestType {
    /// The Cedar type of the principal: `Agent`.
    pub principal: String,
    /// The id of the Cedar action: `invokeTool`.
    pub action: String,
    /// The Cedar type of the resource: `Tool`.
    pub resource: String,
}

/// Who asks about requests of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedBy {
    /// The gateway, of each call.
    Call(Action),
    /// Operating, of what a person does.
    Person(Operation),
    /// The registry, of a name that an object gives itself (ADR 40).
    Name,
    /// The API server of a cluster, of an object that somebody registers (ADR 60).
    Object,
    /// Nobody in this version: the kernel.
    Nobody,
}

/// A policy by which requests of a type are decided.
#[derive(Clone, Debug)]
pub struct Composed {
    /// Its id, as in records.
    pub id: Arc<str>,
    /// In force: narrowed to its namespace, its window and its plan, with the names of its namespace.
    pub policy: cedar_policy::Policy,
    /// All that a decision can depend on, as text: what it is called and what its author is told or tells are not in it.
    pub text: String,
    /// What it does with a request by which it is satisfied.
    pub does: Does,
    /// Whether it ends the chain of which it refuses a call (`@ends_chain`).
    pub ends_chain: bool,
    /// Whether it is the built-in policy of an authority class, which is also about those who acted before in the chain.
    pub of_class: bool,
    /// Whether it may look at the arguments of a tool call, of which policies do not see all (ADR 25).
    pub on_arguments: bool,
    /// Whether it may look at an attribute of something that need not be registered. In Cedar it fails then.
    pub on_unregistered: bool,
}

/// What a policy does with a request by which it is satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It permits it, as in Cedar.
    Permits,
    /// It refuses it, as in Cedar.
    Refuses,
    /// It holds it for a person instead of refusing it: `@approval`.
    Holds,
    /// It changes it instead of refusing it: `@redact`, `@redact_answer`, `@cap_tokens`.
    Changes,
    /// It counts it instead of refusing it, while there is room: `@limit`.
    Counts,
}

impl RequestType {
    /// All of the schema, sorted.
    ///
    /// # Errors
    /// When this build's schema is broken (a test holds that it is not).
    pub fn all() -> Result<Vec<Self>, &'static str> {
        let of = |env: RequestEnv| Self {
            principal: env.principal().to_string(),
            action: env.action().id().unescaped().to_owned(),
            resource: env.resource().to_string(),
        };
        let all: BTreeSet<Self> = schema::schema()?.request_envs().map(of).collect();
        Ok(all.into_iter().collect())
    }

    /// The same, as Cedar has it; `None` where it is none of the schema.
    pub fn env(&self) -> Option<RequestEnv> {
        let action = format!("Action::{:?}", self.action).parse().ok()?;
        Some(RequestEnv::new(self.principal.parse().ok()?, action, self.resource.parse().ok()?))
    }

    /// Who asks about it.
    pub fn asked_by(&self) -> AskedBy {
        let call = Action::ALL.into_iter().find(|action| action.as_str() == self.action);
        let person = Operation::ALL.into_iter().find(|operation| operation.as_str() == self.action);
        match (call, person) {
            (Some(action), _) => AskedBy::Call(action),
            (None, Some(operation)) => AskedBy::Person(operation),
            (None, None) if self.action == "register" => AskedBy::Name,
            (None, None) if self.action == "registerObject" => AskedBy::Object,
            (None, None) => AskedBy::Nobody,
        }
    }
}

/// The schema of policies, as Cedar has it.
///
/// # Errors
/// When this build's schema is broken (a test holds that it is not).
pub fn schema() -> Result<&'static Schema, &'static str> {
    schema::schema()
}

impl Snapshot {
    /// The policies in force by which requests of a type are decided, sorted by id. Those that are only tried (`mode: observe`) decide
    /// nothing and are not among them.
    ///
    /// # Errors
    /// The policy that Cedar does not write as it read it, and why. It is a fault of this crate.
    pub fn composed(&self, of: &RequestType) -> Result<Vec<Composed>, String> {
        let asked_by = of.asked_by();
        let is_about = |statement: &Statement| match asked_by {
            AskedBy::Call(action) => statement.actions.contain(action),
            AskedBy::Person(operation) => statement.actions.of_people(Some(operation)),
            AskedBy::Name => statement.actions.register,
            AskedBy::Object => statement.actions.register_object,
            AskedBy::Nobody => statement.actions.kernel,
        };
        let mut all = Vec::new();
        // Where a policy permits one name, none is free, of whatever type it is.
        let mut permits = false;
        for statement in self.statements_in_force().filter(|one| !one.observes && is_about(one)) {
            permits |= statement.effect == Effect::Permit;
            let (one, fits) = Composed::of(statement, of)?;
            // What a built-in policy of a class says of those who acted before is not in its scope.
            if fits || one.of_class {
                all.push(one);
            }
        }
        match asked_by {
            AskedBy::Person(_) if self.has_first_administrator() => {
                all.push(Composed::of(&*self.first_administrator()?, of)?.0);
            }
            AskedBy::Name | AskedBy::Object if !permits => all.push(Composed::free(&of.action)?),
            _ => {}
        }
        all.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(all)
    }

    /// Whether the policies of both name the same tools, resources, prompts and skills one by one: what implies the use of a whole is
    /// looked for among these.
    pub fn names_the_same_parts(&self, other: &Self) -> bool {
        self.named == other.named
    }
}

impl Composed {
    /// What of it Cedar does not know, for people.
    pub const fn beyond_cedar(&self) -> Option<&'static str> {
        match self.does {
            Does::Holds => Some("holds calls for a person (@approval)"),
            Does::Changes => Some("changes calls (@redact, @redact_answer, @cap_tokens)"),
            Does::Counts => Some("counts calls (@limit)"),
            Does::Permits | Does::Refuses if self.of_class => {
                Some("is about those too who acted before in a chain")
            }
            Does::Permits | Does::Refuses if self.ends_chain => Some("ends chains (@ends_chain)"),
            Does::Permits | Does::Refuses => None,
        }
    }

    /// With whether its scope can fit a request of the type.
    fn of(statement: &Statement, request: &RequestType) -> Result<(Self, bool), String> {
        let fault = |error: &dyn ToString| format!("{}: {}", statement.id, error.to_string());
        let policy = statement.policy.evaluated().map_err(|error| fault(&error))?;
        let mut json = policy.to_json().map_err(|error| fault(&error))?;
        json.as_object_mut().map(|members| members.remove("annotations"));
        let does = match statement.says() {
            Says::Permitted => Does::Permits,
            Says::Refused => Does::Refuses,
            Says::Held => Does::Holds,
            Says::Changed => Does::Changes,
            Says::Limited => Does::Counts,
        };
        let of_class = [ADVISE_ID, ACT_WITH_APPROVAL_ID].contains(&&*statement.id);
        let asked = statement.asks.as_ref().map(|asks| asks.digest);
        let changes = statement.changes.iter().flat_map(|all| all.iter().map(|one| one.change.to_string()));
        let changes: Vec<String> = changes.collect();
        let limits = statement.limits.iter().flat_map(|all| all.iter());
        let limits: Vec<String> = limits.map(|one| format!("{one} {:?}", one.when_lost)).collect();
        let text = format!("{json} {asked:?} {changes:?} {limits:?} {} {of_class}", statement.ends_chain);
        let pst = statement.policy.pst();
        let of_person = matches!(request.asked_by(), AskedBy::Person(_));
        let composed = Self {
            id: statement.id.clone(),
            policy: policy.clone(),
            text,
            does,
            ends_chain: statement.ends_chain,
            of_class,
            on_arguments: conditions(pst.body()).any(tree::follows_arguments),
            on_unregistered: conditions(pst.body()).any(|one| on_unregistered(one, of_person)),
        };
        Ok((composed, fits(pst.body(), request)))
    }

    /// What is so where no policy permits a name, or an object.
    fn free(action: &str) -> Result<Self, String> {
        let text = format!("permit (principal, action == Action::{action:?}, resource);");
        let policy = cedar_policy::Policy::parse(Some(PolicyId::new(FREE_NAMES_ID)), &text);
        Ok(Self {
            id: FREE_NAMES_ID.into(),
            policy: policy.map_err(|error| error.to_string())?,
            text,
            does: Does::Permits,
            ends_chain: false,
            of_class: false,
            on_arguments: false,
            on_unregistered: false,
        })
    }

    /// The same as a permit: it allows what it is satisfied by.
    ///
    /// # Errors
    /// Where Cedar does not take it. It is a fault of this crate.
    pub fn as_permit(&self) -> Result<cedar_policy::Policy, String> {
        let fault = |error: &dyn ToString| format!("{}: {}", self.id, error.to_string());
        let mut json = self.policy.to_json().map_err(|error| fault(&error))?;
        if let Some(members) = json.as_object_mut() {
            members.insert("effect".to_owned(), "permit".into());
        }
        let policy = cedar_policy::Policy::from_json(Some(PolicyId::new(&*self.id)), json);
        policy.map_err(|error| fault(&error))
    }

    /// What it looks at of a request, each as a Cedar expression: `context.delegation_depth`, `principal in Group::"a/g"`.
    pub fn looks_at(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let Ok(pst) = self.policy.to_pst() else { return found };
        let body = pst.body();
        let mut scope = |side: &str, entity: &EntityOrSlot| {
            if let EntityOrSlot::Entity(uid) = entity {
                found.insert(format!("{side} in {}", written(uid)));
            }
        };
        match &body.principal {
            PrincipalConstraint::In(one) | PrincipalConstraint::IsIn(_, one) => scope("principal", one),
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) | PrincipalConstraint::Eq(_) => {}
        }
        match &body.resource {
            ResourceConstraint::In(one) | ResourceConstraint::IsIn(_, one) => scope("resource", one),
            ResourceConstraint::Any | ResourceConstraint::Is(_) | ResourceConstraint::Eq(_) => {}
        }
        for condition in conditions(body) {
            tree::walk(condition, &mut |part| found.extend(looked_at(part)));
        }
        // Entities that nobody names; what is in them is looked at by itself.
        found.retain(|name| name != "context.args" && name != "context.numbers");
        found
    }
}

fn conditions(body: &pst::Template) -> impl Iterator<Item = &Expr> {
    body.clauses().iter().map(|clause| match clause {
        Clause::When(condition) | Clause::Unless(condition) => &**condition,
    })
}

/// Whether the types that a scope asks for are those of a request.
fn fits(body: &pst::Template, of: &RequestType) -> bool {
    let is_of = |entity: &EntityOrSlot, kind: &str| match entity {
        EntityOrSlot::Entity(uid) => uid.ty.to_string() == kind,
        EntityOrSlot::Slot(_) => true,
    };
    let principal = match &body.principal {
        PrincipalConstraint::Any | PrincipalConstraint::In(_) => true,
        PrincipalConstraint::Is(ty) | PrincipalConstraint::IsIn(ty, _) => ty.to_string() == of.principal,
        PrincipalConstraint::Eq(entity) => is_of(entity, &of.principal),
    };
    let resource = match &body.resource {
        ResourceConstraint::Any | ResourceConstraint::In(_) => true,
        ResourceConstraint::Is(ty) | ResourceConstraint::IsIn(ty, _) => ty.to_string() == of.resource,
        ResourceConstraint::Eq(entity) => is_of(entity, &of.resource),
    };
    principal && resource
}

/// Whether an attribute or a tag may be looked at of what need not be there. Careful: `true` where in doubt. Of a call, who calls and
/// what is called are there, with what these belong to and the people in the context; what a person does may be about anything.
fn on_unregistered(condition: &Expr, of_person: bool) -> bool {
    let is_there = |base: &Expr| match tree::path(base) {
        None => false,
        Some((Var::Resource, _)) => !of_person,
        Some((Var::Context, names)) => !of_person || names.first() != Some(&"agent"),
        Some(_) => true,
    };
    let mut looks = false;
    tree::walk(condition, &mut |part| {
        looks |= match part {
            Expr::GetAttr { expr, .. } | Expr::HasAttr { expr, .. } => !is_there(expr),
            Expr::BinaryOp { op: BinaryOp::HasTag | BinaryOp::GetTag, left, .. } => !is_there(left),
            _ => false,
        };
    });
    looks
}

fn looked_at(part: &Expr) -> Option<String> {
    let path = |expr: &Expr| {
        let (var, names) = tree::path(expr)?;
        let var = match var {
            Var::Principal => "principal",
            Var::Resource => "resource",
            Var::Context => "context",
            _ => return None,
        };
        Some(names.iter().fold(var.to_owned(), |path, name| format!("{path}.{name}")))
    };
    match part {
        Expr::GetAttr { .. } => path(part),
        Expr::BinaryOp { op: BinaryOp::GetTag, left, right } => {
            Some(format!("{}.getTag(\"{}\")", path(left)?, tree::string(right)?.escape_debug()))
        }
        Expr::BinaryOp { op: BinaryOp::In, left, right } => match &**right {
            Expr::Literal(Literal::EntityUID(uid)) => Some(format!("{} in {}", path(left)?, written(uid))),
            _ => None,
        },
        _ => None,
    }
}

fn written(uid: &pst::EntityUID) -> String {
    format!("{}::\"{}\"", uid.ty, uid.eid.escape_debug())
}
