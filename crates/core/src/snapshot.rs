//! All configuration, compiled into one immutable view. A call takes one `Arc<Snapshot>` and keeps it to its end.
//!
//! Each snapshot is built from all objects, and shares with the one before it what was made of those that did not change: the
//! compiled text and the digest of each object, and whole tables where no part of them changed. What is shared never changes, so a
//! snapshot is the same as one built from nothing; a property test compares the two.

pub(crate) mod bindings;
mod borne;
pub(crate) mod compile;
mod depth;
mod digest;
pub(crate) mod registered;
mod reject;
mod retained;
mod world;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::EntityUid;
use foldhash::fast::RandomState;

use crate::authorize::{self, Named};
use crate::call::Call;
use crate::decide::Policies;
use crate::decide::statement::Statement;
use crate::decision::Finding;
use crate::resource::{
    Agent, LlmProvider, McpServer, Object, ObjectKey, Policy, Principal, Rejection, Service,
};

use self::compile::Compiled;
use self::digest::Digest;
use self::retained::{Retained, RetainedForbids};
use self::world::World;

pub use self::compile::{MAX_CEDAR, QUARANTINE_ID};

/// The compiled configuration.
#[derive(Debug, Default)]
pub struct Snapshot {
    objects: Vec<Object>,
    /// What was made of each of `objects`, in the same order.
    made: Vec<Made>,
    /// Where each object is in `objects`.
    places: HashMap<ObjectKey, usize, RandomState>,
    world: Arc<World>,
    policies: Policies,
    pub(crate) named: Named,
    retained: RetainedForbids,
    warnings: Vec<Rejection>,
    digest: String,
}

/// What is made of one object, once for all snapshots that have it.
#[derive(Clone, Debug)]
struct Made {
    digest: Digest,
    /// Of a policy.
    compiled: Option<Arc<Compiled>>,
    /// The names in a policy that nothing bears; `None` until they are looked for in the world of this snapshot.
    unborne: Option<Vec<EntityUid>>,
}

/// What the last snapshot made of an object.
#[derive(Clone, Copy)]
enum Had<'a> {
    /// The object did not change.
    All(&'a Made),
    /// Its policy text did not change.
    Compiled(&'a Arc<Compiled>),
    Nothing,
}

impl Snapshot {
    /// Compiles checked objects. What does not fit is left out and reported; everything else is live.
    ///
    /// Left out are: the later of two objects of one kind and name, the later of two principals with one identity, and policies
    /// that do not parse, type-check strictly, or can never apply.
    pub fn build(objects: Vec<Object>) -> (Self, Vec<Rejection>) {
        Self::default().rebuilt(objects, Vec::new())
    }

    /// As [`Snapshot::build`], sharing with `self` what did not change, and retaining what those policies of it forbade that are
    /// malformed now. `rejected` is what was left out before, while the objects were read; it is returned with the rest.
    ///
    /// An object that did not change is recognized at once when it is the same one in memory, so sources keep what they read.
    pub fn rebuilt(&self, objects: Vec<Object>, mut rejected: Vec<Rejection>) -> (Self, Vec<Rejection>) {
        let same_world = world::is_same(&self.objects, &objects);
        let (mut world, mut left_out) = (World::default(), HashSet::new());
        let mut next = Self {
            objects: Vec::with_capacity(objects.len()),
            made: Vec::with_capacity(objects.len()),
            places: HashMap::with_capacity_and_hasher(objects.len(), RandomState::default()),
            ..Self::default()
        };
        let made = self.make(&objects, same_world);
        for (object, made) in objects.into_iter().zip(made) {
            let key = ObjectKey::of(&object);
            // Of two objects of one name the later one is left out, also where the first is malformed.
            let accepted = if next.places.contains_key(&key) || left_out.contains(&key) {
                Err(Box::new(reject::name_taken(&object)))
            } else if same_world {
                made
            } else {
                let added = world.add(&object);
                added.map_err(|taken| Box::new(reject::identity_taken(&object, &taken))).and(made)
            };
            match accepted {
                Ok(made) => {
                    next.places.insert(key, next.objects.len());
                    next.objects.push(object);
                    next.made.push(made);
                }
                Err(rejection) => {
                    left_out.insert(key);
                    rejected.push(*rejection);
                }
            }
        }
        next.world = if same_world { self.world.clone() } else { Arc::new(world) };
        next.retained = retained::retained(self, &next, &mut rejected);
        next.named = next.named();
        let statements = next.statements(&mut rejected);
        next.policies = self.policies.with(statements);
        next.find_unborne();
        next.warnings = next.remarks();
        next.digest = next.digest_of_all();
        (next, rejected)
    }

    /// What is made of each of `objects`; what `self` has made of one already is taken over.
    fn make(&self, objects: &[Object], same_world: bool) -> Vec<Result<Made, Box<Rejection>>> {
        let had: Vec<Had<'_>> = objects.iter().map(|object| self.had(object)).collect();
        let new = objects.iter().zip(&had).filter_map(|(object, had)| match (object, had) {
            (Object::Policy(policy), Had::Nothing) => Some(policy),
            _ => None,
        });
        let new: Vec<&Arc<Policy>> = new.collect();
        let mut compiled = compile::compile_all(&new).into_iter();
        let make = |(object, had): (&Object, Had<'_>)| {
            let compiled = match (object, had) {
                (_, Had::All(made)) if same_world => return Ok(made.clone()),
                (_, Had::All(made)) => return Ok(Made { unborne: None, ..made.clone() }),
                (_, Had::Compiled(compiled)) => Some(compiled.clone()),
                (Object::Policy(policy), Had::Nothing) => match compiled.next() {
                    Some(Ok(compiled)) => Some(Arc::new(compiled)),
                    Some(Err(problem)) => return Err(Box::new(reject::not_compiled(policy, &problem))),
                    None => return Err(Box::new(reject::fault("a policy was not compiled"))),
                },
                _ => None,
            };
            Ok(Made { digest: digest::of_object(object), compiled, unborne: None })
        };
        objects.iter().zip(had).map(make).collect()
    }

    fn had(&self, object: &Object) -> Had<'_> {
        let place = self.places.get(&ObjectKey::of(object));
        let had = place.and_then(|place| Some((self.objects.get(*place)?, self.made.get(*place)?)));
        match (had, object) {
            (Some((last, made)), _) if last.is_identical(object) => Had::All(made),
            (Some((Object::Policy(last), Made { compiled: Some(compiled), .. })), Object::Policy(policy))
                if last.cedar == policy.cedar && last.scope == policy.scope =>
            {
                Had::Compiled(compiled)
            }
            _ => Had::Nothing,
        }
    }

    /// All that is in force.
    fn statements(&self, rejected: &mut Vec<Rejection>) -> Vec<Arc<Statement>> {
        let mut statements = Vec::with_capacity(self.made.len() + 1);
        match compile::quarantine() {
            Ok(statement) => statements.push(statement),
            Err(problem) => rejected.push(reject::fault(&problem)),
        }
        let good = self.made.iter().filter_map(|made| made.compiled.as_ref());
        statements.extend(good.flat_map(|compiled| compiled.statements.iter().cloned()));
        statements.extend(self.retained.values().flat_map(Retained::forbids).cloned());
        statements
    }

    /// The parts of servers and agents that policies name one by one.
    fn named(&self) -> Named {
        let mut all = authorize::named(self.retained.values().flat_map(Retained::forbids));
        let good = self.made.iter().filter_map(|made| made.compiled.as_ref());
        for (whole, parts) in good.flat_map(|compiled| &compiled.named) {
            all.entry(whole.clone()).or_default().extend(parts.iter().cloned());
        }
        all
    }

    /// Looks for the names that nothing bears, in the policies in which they are not known.
    fn find_unborne(&mut self) {
        let World { registered, borne, .. } = &*self.world;
        for made in self.made.iter_mut().filter(|made| made.unborne.is_none()) {
            let Some(compiled) = &made.compiled else { continue };
            let literals = compiled.statements.iter().flat_map(|statement| &statement.literals);
            let unborne: BTreeSet<_> = literals.filter(|literal| !borne.knows(registered, literal)).collect();
            made.unborne = Some(unborne.into_iter().cloned().collect());
        }
    }

    /// What is accepted and still deserves a look, in the order of the policies: names that nothing bears, text that may confuse.
    fn remarks(&self) -> Vec<Rejection> {
        let mut remarks = Vec::new();
        for (object, made) in self.objects.iter().zip(&self.made) {
            let (Object::Policy(policy), Some(compiled)) = (object, &made.compiled) else { continue };
            remarks.extend(compiled.remarks.iter().map(|remark| reject::confusing(policy, remark)));
            remarks.extend(made.unborne.iter().flatten().map(|literal| reject::unborne(policy, literal)));
        }
        remarks
    }

    fn digest_of_all(&self) -> String {
        let good = self.made.iter().map(|made| made.digest);
        let retained = self.retained.values().map(|retained| digest::of_retained(retained.digest));
        digest::of_all(good.chain(retained).collect())
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

    /// The agent of this key: `namespace/name`, here and below.
    pub fn agent(&self, key: &str) -> Option<&Arc<Agent>> {
        self.world.registered.agents.get(key)
    }

    /// The MCP server of this key.
    pub fn mcp_server(&self, key: &str) -> Option<&Arc<McpServer>> {
        self.world.registered.mcp_servers.get(key)
    }

    /// The model provider of this key.
    pub fn llm_provider(&self, key: &str) -> Option<&Arc<LlmProvider>> {
        self.world.registered.llm_providers.get(key)
    }

    /// The service of this key.
    pub fn service(&self, key: &str) -> Option<&Arc<Service>> {
        self.world.registered.services.get(key)
    }

    /// All objects, for status pages and `check`, in the order in which they were given.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The ids of all policies in force, the built-in ones included.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<str>> {
        self.policies.statements().map(|statement| &statement.id)
    }

    /// How many edges are compiled and kept now; the maximum is [`crate::decide::edges::MAX_EDGES`].
    pub fn edges(&self) -> usize {
        self.policies.edges()
    }

    /// The principal a SPIFFE ID is bound to.
    pub fn principal_by_spiffe(&self, id: &str) -> Option<&Principal> {
        self.world.bindings.by_spiffe(id)
    }

    /// The principal an issuer and subject are bound to (claims are the caller's to check).
    pub fn principal_by_oidc(&self, issuer: &str, subject: &str) -> Option<&Principal> {
        self.world.bindings.by_oidc(issuer, subject)
    }

    /// The principal a Kubernetes ServiceAccount is bound to.
    pub fn principal_by_service_account(&self, namespace: &str, name: &str) -> Option<&Principal> {
        self.world.bindings.by_service_account(namespace, name)
    }

    /// Every issuer that some principal's identity or `actsFor` names: the allow-list.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.world.bindings.issuers()
    }

    /// What the policies say of a call, and nothing else. Unknown arguments count as absent.
    pub(crate) fn decide(&self, call: &Call<'_>) -> Finding {
        self.policies.decide(&self.world.registered, call)
    }

    /// Whether some call with these facts (arguments unknown) could be allowed: what a filtered listing shows.
    ///
    /// It may say yes to what every argument is refused for, and never no to what some argument is allowed for.
    pub fn could_allow(&self, call: &Call<'_>) -> bool {
        self.policies.could_allow(&self.world.registered, call)
    }

    /// As [`Snapshot::could_allow`], with the permits by which.
    pub(crate) fn possible_allowance(&self, call: &Call<'_>) -> Option<Finding> {
        self.policies.possible_allowance(&self.world.registered, call)
    }
}
