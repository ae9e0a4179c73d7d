//! All configuration, compiled into one immutable view. A call takes one `Arc<Snapshot>` and keeps it to its end.

pub(crate) mod bindings;
pub(crate) mod compile;
mod depth;
mod digest;
mod held;
pub(crate) mod references;
pub(crate) mod registered;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::EntityUid;

use crate::authorize::{self, Named};
use crate::call::Call;
use crate::decide::Policies;
use crate::decide::reference::Reference;
use crate::decide::statement::Statement;
use crate::decision::Decision;
use crate::resource::{
    Agent, Identity, LlmProvider, McpServer, Meta, Object, Policy, Principal, Rejection, Service,
    policy::Scope,
};

use self::bindings::{Bindings, Taken};
use self::compile::{Compiled, Problem};
use self::held::Held;
use self::references::Used;
use self::registered::Registered;

pub use self::compile::{MAX_CEDAR, QUARANTINE_ID};

/// The compiled configuration.
#[derive(Debug, Default)]
pub struct Snapshot {
    objects: Vec<Object>,
    registered: Registered,
    bindings: Bindings,
    policies: Policies,
    pub(crate) named: Named,
    /// By the object's key; what did not change is taken over by the next snapshot.
    compiled: HashMap<String, Arc<Compiled>>,
    /// By the object's key; policies that are malformed now, for what they forbid.
    held: HashMap<String, Held>,
    warnings: Vec<Rejection>,
    digest: String,
}

impl Snapshot {
    /// Compiles checked objects. What does not fit is left out and reported; everything else is live.
    ///
    /// Left out are: the later of two objects of one kind and name, the later of two principals with one identity, and policies
    /// that do not parse, type-check strictly, or can never apply.
    pub fn build(objects: Vec<Object>) -> (Self, Vec<Rejection>) {
        Self::default().rebuilt(objects, Vec::new())
    }

    /// As [`Snapshot::build`], taking over the policies that `self` has compiled already, and what those of them forbade that
    /// are malformed now. `rejected` is what was left out before, while the objects were read; it is returned with the rest.
    pub fn rebuilt(&self, objects: Vec<Object>, mut rejected: Vec<Rejection>) -> (Self, Vec<Rejection>) {
        let mut next = Self::default();
        let mut seen = HashSet::new();
        let mut statements: Vec<Arc<Statement>> = Vec::new();
        match compile::quarantine() {
            Ok(statement) => statements.push(Arc::new(statement)),
            Err(problem) => rejected.push(fault(&problem.to_string())),
        }
        let mut compiled = self.compile(&objects).into_iter();
        for object in objects {
            // Taken from the iterator in any case: it goes along with the policies.
            let of_policy = matches!(object, Object::Policy(_)).then(|| compiled.next()).flatten();
            let accepted = unique(&mut seen, &object).and_then(|()| match &object {
                Object::Agent(agent) => next.bind(&object, &Principal::Agent(agent.clone())),
                Object::Service(service) => next.bind(&object, &Principal::Service(service.clone())),
                Object::Policy(policy) => of_policy.transpose().map(|compiled| {
                    let Some(compiled) = compiled else { return };
                    statements.extend(compiled.statements.iter().cloned());
                    next.compiled.insert(policy.meta.key(), compiled);
                }),
                Object::McpServer(_) | Object::LlmProvider(_) => Ok(()),
            });
            match accepted {
                Ok(()) => {
                    next.registered.insert(&object);
                    next.objects.push(object);
                }
                Err(rejection) => rejected.push(*rejection),
            }
        }
        next.held = held::held(self, &next, &mut rejected);
        statements.extend(next.held.values().flat_map(Held::forbids).cloned());
        next.named = authorize::named(statements.iter());
        next.policies = Policies::new(statements);
        next.warnings = next.remarks();
        next.digest = digest::digest(&next.objects, next.held.values().map(|held| &held.compiled.policy));
        (next, rejected)
    }

    fn bind(&mut self, object: &Object, principal: &Principal) -> Result<(), Box<Rejection>> {
        self.bindings.bind(principal).map_err(|taken| Box::new(identity_taken(object, &taken)))
    }

    /// The policies among `objects` compiled, in their order; what `self` has compiled already is taken over.
    fn compile(&self, objects: &[Object]) -> Vec<Result<Arc<Compiled>, Box<Rejection>>> {
        let policies = || {
            objects.iter().filter_map(|object| match object {
                Object::Policy(policy) => Some(policy),
                _ => None,
            })
        };
        let new: Vec<&Arc<Policy>> = policies().filter(|policy| self.had(policy).is_none()).collect();
        let mut compiled = compile::compile_all(&new).into_iter();
        let outcome = |policy: &Arc<Policy>| match self.had(policy) {
            Some(had) => Ok(had.clone()),
            None => match compiled.next() {
                Some(Ok(new)) => Ok(Arc::new(new)),
                Some(Err(problem)) => Err(Box::new(not_compiled(policy, &problem))),
                None => Err(Box::new(fault("a policy was not compiled"))),
            },
        };
        policies().map(outcome).collect()
    }

    fn had(&self, policy: &Policy) -> Option<&Arc<Compiled>> {
        let had = self.compiled.get(&policy.meta.key())?;
        (had.policy.cedar == policy.cedar && had.policy.scope == policy.scope).then_some(had)
    }

    /// What is accepted and still deserves a look, sorted by policy: names that nothing bears, text that may confuse.
    fn remarks(&self) -> Vec<Rejection> {
        let used = Used::of(&self.registered);
        let mut remarks = Vec::new();
        for object in &self.objects {
            let Object::Policy(policy) = object else { continue };
            let Some(compiled) = self.compiled.get(&policy.meta.key()) else { continue };
            for remark in &compiled.remarks {
                let mut warning = rejection("Policy", &policy.meta, "spec.cedar");
                warning.reason.clone_from(remark);
                "check that the text is what it looks like".clone_into(&mut warning.fix);
                remarks.push(warning);
            }
            let literals = compiled.statements.iter().flat_map(|statement| &statement.literals);
            let unknown: std::collections::BTreeSet<_> =
                literals.filter(|literal| !used.knows(literal)).collect();
            for literal in unknown {
                let mut warning = rejection("Policy", &policy.meta, "spec.cedar");
                warning.value = shortened(&literal.to_string());
                (warning.reason, warning.fix) = unborne(policy, literal);
                remarks.push(warning);
            }
        }
        remarks
    }

    /// Digest of the configuration: `sha256:` and hex, the same for the same objects in any order.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What was accepted and deserves a look, such as a policy on an agent that does not exist. Same form as a rejection;
    /// nothing was left out.
    pub fn warnings(&self) -> &[Rejection] {
        &self.warnings
    }

    /// `key` is `namespace/name`, here and below.
    pub fn agent(&self, key: &str) -> Option<&Arc<Agent>> {
        self.registered.agents.get(key)
    }

    pub fn mcp_server(&self, key: &str) -> Option<&Arc<McpServer>> {
        self.registered.mcp_servers.get(key)
    }

    pub fn llm_provider(&self, key: &str) -> Option<&Arc<LlmProvider>> {
        self.registered.llm_providers.get(key)
    }

    pub fn service(&self, key: &str) -> Option<&Arc<Service>> {
        self.registered.services.get(key)
    }

    /// All objects, for status pages and `check`, in the order in which they were given.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The ids of all policies in force, the built-in ones included.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<str>> {
        self.policies.statements().map(|statement| &statement.id)
    }

    /// How many edges are compiled and kept now, at most [`crate::decide::edges::MAX_EDGES`].
    pub fn edges(&self) -> usize {
        self.policies.edges()
    }

    /// The principal a SPIFFE ID is bound to.
    pub fn principal_by_spiffe(&self, id: &str) -> Option<&Principal> {
        self.bindings.by_spiffe(id)
    }

    /// The principal an issuer and subject are bound to (claims are the caller's to check).
    pub fn principal_by_oidc(&self, issuer: &str, subject: &str) -> Option<&Principal> {
        self.bindings.by_oidc(issuer, subject)
    }

    /// The principal a Kubernetes ServiceAccount is bound to.
    pub fn principal_by_service_account(&self, namespace: &str, name: &str) -> Option<&Principal> {
        self.bindings.by_service_account(namespace, name)
    }

    /// Every issuer that some principal's identity or `actsFor` names: the allow-list.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.bindings.issuers()
    }

    /// The decision. Principal and target must be of this snapshot. Unknown arguments count as absent.
    pub fn decide(&self, call: &Call<'_>) -> Decision {
        self.policies.decide(&self.registered, call)
    }

    /// All policies under Cedar's own authorizer, to compare with.
    ///
    /// # Errors
    /// Cedar does not take the policies together, which would be a fault of this crate.
    pub fn reference(&self) -> Result<Reference<'_>, String> {
        Reference::new(&self.registered, &self.policies)
    }

    /// Whether some call with these facts (arguments unknown) could be allowed: what a filtered listing shows.
    ///
    /// It may say yes to what every argument is refused for, and never no to what some argument is allowed for.
    pub fn could_allow(&self, call: &Call<'_>) -> bool {
        self.policies.could_allow(&self.registered, call)
    }
}

fn unique(seen: &mut HashSet<(&'static str, String)>, object: &Object) -> Result<(), Box<Rejection>> {
    let (kind, meta) = kind_and_meta(object);
    if seen.insert((kind, meta.key())) {
        return Ok(());
    }
    let mut rejection = rejection(kind, meta, "metadata.name");
    rejection.value = meta.key();
    rejection.reason = format!("another {kind} of this namespace has this name");
    "rename one of them, or delete it".clone_into(&mut rejection.fix);
    Err(Box::new(rejection))
}

fn identity_taken(object: &Object, taken: &Taken) -> Rejection {
    let (kind, meta) = kind_and_meta(object);
    let (field, value) = match &taken.identity {
        Identity::Spiffe(id) => ("spiffe", id.to_string()),
        Identity::Oidc { issuer, subject, .. } => ("oidc", format!("{issuer}#{subject}")),
        Identity::ServiceAccount { namespace, name } => ("serviceAccount", format!("{namespace}/{name}")),
    };
    let mut rejection = rejection(kind, meta, &format!("spec.identities[{}].{field}", taken.place));
    rejection.value = shortened(&value);
    rejection.reason =
        format!("this identity is bound to {} already; one identity proves one principal", taken.by.entity());
    "give each principal its own identity".clone_into(&mut rejection.fix);
    rejection
}

fn not_compiled(policy: &Policy, problem: &Problem) -> Rejection {
    let mut rejection = rejection("Policy", &policy.meta, "spec.cedar");
    rejection.value = shortened(&problem.value(&policy.cedar));
    rejection.reason = problem.to_string();
    rejection.fix = problem.fix();
    rejection
}

/// Why a name that nothing bears deserves a look, and what to do. The namespace of a policy's own scope stands nowhere in its text.
fn unborne(policy: &Policy, literal: &EntityUid) -> (String, String) {
    let namespace = &*policy.meta.namespace;
    let own = policy.scope == Scope::Namespace
        && literal.type_name().to_string() == "Namespace"
        && literal.id().unescaped() == namespace;
    let (reason, fix) = if own {
        let reason =
            format!("nothing is registered in namespace {namespace}, so this policy reaches nothing");
        (reason, "move it, or use scope: Cluster")
    } else {
        let reason = "nothing registered has this name, so the policy never matches by it";
        (reason.to_owned(), "correct the name, or register the object")
    };
    (reason, fix.to_owned())
}

fn kind_and_meta(object: &Object) -> (&'static str, &Meta) {
    match object {
        Object::Agent(agent) => ("Agent", &agent.meta),
        Object::McpServer(server) => ("MCPServer", &server.meta),
        Object::LlmProvider(provider) => ("LLMProvider", &provider.meta),
        Object::Service(service) => ("ServiceIdentity", &service.meta),
        Object::Policy(policy) => ("Policy", &policy.meta),
    }
}

fn rejection(kind: &str, meta: &Meta, field: &str) -> Rejection {
    Rejection {
        source: meta.origin.source.to_string(),
        line: meta.origin.line,
        object: format!("{kind} {}", meta.key()),
        field: field.to_owned(),
        value: String::new(),
        reason: String::new(),
        fix: String::new(),
    }
}

/// This build is broken; a test holds that it is not.
fn fault(reason: &str) -> Rejection {
    let mut rejection = rejection("Policy", &Meta::default(), "");
    QUARANTINE_ID.clone_into(&mut rejection.object);
    reason.clone_into(&mut rejection.reason);
    rejection
}

/// At most 120 characters.
fn shortened(value: &str) -> String {
    const MOST: usize = 120;
    match value.char_indices().nth(MOST) {
        None => value.to_owned(),
        Some(_) => value.chars().take(MOST - 1).chain(['…']).collect(),
    }
}
