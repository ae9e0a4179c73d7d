//! All configuration, compiled into one immutable view. A call is decided by the one of its last byte, and what is still under way when another
//! one comes is decided again by that (ADR 18).
//!
//! Each snapshot is made of all objects, and costs what changed: those that are the same in memory are not looked at, what was made of
//! them is taken over, and each table is that of the snapshot before with what is gone taken out and what is new added ([`tables`]).
//! What is shared never changes, so a snapshot is the same as one built from nothing, which is one made after an empty one; a property
//! test compares the two.

mod absent;
mod audience;
mod before;
pub(crate) mod bindings;
mod borne;
mod bounds;
mod builtin;
mod chains;
mod checked;
mod closings;
mod coming;
pub(crate) mod compile;
mod contest;
mod costly;
mod declared;
mod depth;
pub(crate) mod difference;
pub(crate) mod digest;
mod doubt;
mod guards;
mod memory;
mod named;
mod names;
mod nowhere;
mod people;
mod prepared;
mod preserved;
mod refusing;
pub(crate) mod registered;
mod registrar;
mod registration;
mod reject;
mod resources;
mod rollout;
mod said;
mod standing;
mod surveyed;
mod tables;
mod undecided;
mod withdrawn;
mod world;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::authorize::is_drifted;
use crate::call::Call;
use crate::decide::Policies;
use crate::decide::chain_reads::ChainReads;
use crate::decide::statement::Statement;
use crate::decision::Finding;
use crate::resource::{Identity, Object, ObjectKey, Principal, Rejection};
use crate::shards::Shards;

use self::closings::Closings;
use self::compile::Compiled;
use self::contest::Contest;
use self::costly::Costly;
use self::difference::Difference;
use self::digest::{Digest, Digests};
use self::doubt::Doubts;
use self::named::NamedParts;
use self::refusing::Refusing;
use self::said::Said;
use self::withdrawn::Withdrawn;
use self::world::World;

pub use self::before::Before;
pub use self::bindings::Claim;
pub use self::bounds::{MAX_ON_EDGE, MAX_TEXT, TOO_COSTLY};
pub(crate) use self::builtin::next_of;
pub use self::builtin::{
    ACT_WITH_APPROVAL_ID, ADVISE_ID, CLASS_APPROVERS, CLOSED_ID, FIRST_ADMINISTRATOR_ID, QUARANTINE_ID,
};
pub use self::checked::{Checked, checks};
pub use self::compile::MAX_CEDAR;
pub use self::digest::Parts;
pub use self::doubt::Doubt;
pub use self::memory::{Forgotten, Memory};
pub use self::prepared::Prepared;
pub use self::preserved::{Beside, NotPreserved, Preserved, PreservedObject};
pub use self::refusing::OnlyRefusing;
pub use self::standing::{GRANT_ID, Overlay};
pub use crate::authorize::ENDED_BY;

/// The compiled configuration.
#[derive(Debug, Default)]
pub struct Snapshot {
    objects: Vec<Object>,
    /// What was made of each of `objects`, in the same order.
    made: Vec<Arc<Made>>,
    /// What deserves a look of each of them, in the same order.
    remarks: Vec<Option<Arc<[Rejection]>>>,
    /// Each object by its name.
    places: Places,
    world: Arc<World>,
    policies: Policies,
    /// The same with what is let pass while namespaces observe; `None` where none does.
    rollout: Option<Box<Self>>,
    pub(crate) named: NamedParts,
    /// What its policies come to.
    sums: bounds::Sums,
    /// What is left out because that would be too much.
    costly: Vec<Arc<Costly>>,
    /// What refuses although it is not in force.
    refusing: Vec<Refusing>,
    /// The names that several objects have, with the places of these.
    contested: contest::Names,
    /// What is being written, with what was made of it.
    coming: Vec<(Object, Arc<Made>)>,
    withdrawn: Withdrawn,
    /// The identities that several objects claimed before a start, of a snapshot that remembers what was before it.
    contested_before: Option<Vec<Identity>>,
    /// Which namespaces had which audiences before a start, likewise.
    audiences_before: audience::Holders,
    /// What is not in force because another namespace has its audience.
    audiences_taken: audience::Taken,
    standing: Arc<Overlay>,
    /// What is quarantined by an act, and by its own record too.
    quarantined_twice: HashSet<ObjectKey>,
    closed: bool,
    /// Whether this or one before it had a policy that permits people something.
    administered: bool,
    /// What is in force beside the policies of objects: what is built in, and what stands by acts.
    apart: Vec<Arc<Statement>>,
    /// What is forbidden by what is not in force.
    beside: Vec<Arc<Statement>>,
    /// What the policies say together.
    said: Arc<Said>,
    /// By the names that are looked up for them, where in memory what was made of policies and of records that name others is.
    mentioned: Shards<u64, Vec<usize>>,
    /// What of the state of chains is looked at by anything, and by what is not only tried.
    chain_reads: (ChainReads, ChainReads),
    closings: Closings,
    warnings: Arc<[Rejection]>,
    digests: Digests,
    digest: String,
}

/// What a snapshot is made of.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// What is in force.
    pub objects: Vec<Object>,
    /// The policies among `objects` whose type check this very program made before ([`checks`]), on the word of who says it: the first configuration of a
    /// start by what was kept. They are parsed and compiled as the others, and not checked again.
    pub checked: Vec<Checked>,
    /// What is compiled already of the policies here, also of those below: what it has not is compiled while the snapshot is built.
    pub prepared: Prepared,
    /// What is being written beside it: what these policies forbid is forbidden, and whom these objects quarantine is. Nothing
    /// else of them is in force.
    pub coming: Vec<Object>,
    /// What was being written, is not there any more, and was not in force: it refuses as `coming` does, and permits nothing.
    pub came: Vec<Object>,
    /// What was left out while the objects were read, and why.
    pub rejected: Vec<Rejection>,
    /// Of what is in force, what its place says no longer, or otherwise, while other places are being written: it permits nothing
    /// any more, but for what `coming` says too.
    pub withdrawn: Vec<Object>,
    /// The places that may not say all that is meant.
    pub doubted: Vec<Doubt>,
    /// What is known of what was refused before.
    pub before: Before,
    /// What stands by acts.
    pub standing: Arc<Overlay>,
}

/// Objects by their names, each with what was made of it.
type Places = Shards<ObjectKey, (Object, Arc<Made>)>;

/// What is made of one object, once for all snapshots that have it.
#[derive(Clone, Debug)]
struct Made {
    digest: Digest,
    /// Of what its own record says, where an act quarantines it and that does not.
    own: Option<Box<Digest>>,
    /// Of a policy.
    compiled: Option<Arc<Compiled>>,
    /// Of a policy that was too much: it is compiled where there is room for it, and is in no snapshot before.
    costly: Option<Arc<Costly>>,
}

impl Made {
    fn forbids(&self) -> bool {
        match &self.costly {
            Some(costly) => costly.forbids,
            None => self.compiled.as_ref().is_some_and(|compiled| compiled.has_forbids()),
        }
    }

    /// Of a policy.
    fn cost(&self) -> Option<&bounds::Cost> {
        match &self.costly {
            Some(costly) => Some(&*costly.cost),
            None => self.compiled.as_ref().map(|compiled| &*compiled.cost),
        }
    }
}

/// What the last snapshot made of an object.
#[derive(Clone, Copy)]
enum Had<'a> {
    /// The object did not change.
    All(&'a Arc<Made>),
    /// Its policy text did not change.
    Compiled(&'a Arc<Compiled>),
    Nothing,
}

impl Snapshot {
    /// Compiles checked objects. What does not fit is left out and reported; everything else is live.
    ///
    /// Left out are policies that do not parse, type-check strictly, or can never apply, or with which those of their namespace cost too much
    /// ([`MAX_TEXT`], [`MAX_ON_EDGE`]), and all objects of a kind and name that
    /// several have: of these policies the forbids are in force, and nothing else. An identity that several principals claim
    /// proves none of them. The order of the objects does not matter.
    pub fn build(objects: Vec<Object>) -> (Self, Vec<Rejection>) {
        Self::default().rebuilt(objects, Vec::new())
    }

    /// As [`Snapshot::next`], where nothing is being written.
    pub fn rebuilt(&self, objects: Vec<Object>, rejected: Vec<Rejection>) -> (Self, Vec<Rejection>) {
        self.next(Configuration { objects, rejected, ..Configuration::default() })
    }

    /// As [`Snapshot::build`], sharing with `self` what did not change, and holding what those objects of it refused that may be
    /// missing only because something is malformed. What was rejected while the objects were read is returned with the rest.
    ///
    /// An object that did not change is recognized at once when it is the same one in memory, so sources keep what they read.
    pub fn next(&self, configuration: Configuration) -> (Self, Vec<Rejection>) {
        let Configuration {
            mut objects,
            checked,
            prepared,
            coming,
            came,
            mut rejected,
            withdrawn,
            doubted,
            before,
            standing,
        } = configuration;
        let doubts = Doubts::of(&doubted, self);
        let quarantined = coming::quarantined(coming.iter().chain(&came));
        let quarantined_twice =
            standing::quarantined_by_records(objects.iter().chain(&coming).chain(&came), &standing);
        let mut quarantined: HashSet<_> = doubts.quarantined().into_iter().chain(quarantined).collect();
        let by_acts = standing.by_acts_alone(&quarantined, &quarantined_twice);
        quarantined.extend(by_acts.iter().cloned());
        coming::quarantine(&mut objects, &quarantined);
        let made =
            standing::with_own(&objects, self.make_prepared(&objects, (&checked, &prepared)), &by_acts);
        let mut good = Vec::with_capacity(objects.len());
        for (object, made) in objects.into_iter().zip(made) {
            match made {
                Ok(made) => good.push((object, made)),
                Err(rejection) => rejected.push(*rejection),
            }
        }
        let (good, over) = bounds::keep(self, good, &mut rejected);
        let stand_ins = before.stand_ins(&over);
        let closed = stand_ins.is_none() || before.closes(&rejected, &doubts);
        let costly = over.iter().map(|one| one.costly.clone()).collect();
        rejected.extend(over.into_iter().map(|one| one.rejection(before == Before::Nothing)));
        let mut coming = coming::compiled((self, &prepared), coming);
        let withdrawn = Withdrawn::of(&withdrawn, &coming);
        coming.extend(coming::compiled((self, &prepared), came));
        // What is not being written any more is what there was before.
        let came = if coming.is_empty() { self.coming.as_slice() } else { &[] };
        let Contest { objects, made, places, mut refusing, contested, taken, difference } =
            Contest::of((self, came), good, &mut rejected, (&doubts, &withdrawn));
        let stand_ins = refusing::not_held(stand_ins.unwrap_or_default(), &refusing);
        refusing.extend(stand_ins);
        let mut next = Self {
            objects,
            made,
            places,
            costly,
            refusing,
            contested,
            audiences_taken: taken,
            withdrawn,
            standing,
            quarantined_twice,
            closed,
            ..Self::default()
        };
        next.coming = coming::beside(coming, &next);
        next.beside = next.forbids_beside();
        let mut unlawful = Vec::new();
        let anew = next.fill(self, difference, &mut rejected, &mut unlawful);
        rejected.append(&mut unlawful);
        contest::report_identities(&next.objects, &next.world, &mut rejected);
        contest::report_people(&next.said, &next.world, &mut rejected);
        next.administered = self.administered || next.permits_people();
        next.remark(self, &anew);
        (next, rejected)
    }

    /// The forbids of what is not in force.
    fn forbids_beside(&self) -> Vec<Arc<Statement>> {
        let coming = self.coming.iter().map(|(object, made)| Refusing::of(object, made, false));
        let all: Vec<Refusing> = self.refusing.iter().cloned().chain(coming).collect();
        refusing::forbids(&all, &self.places)
    }

    /// What is made of each of `objects`; what `self` has made of one already is taken over.
    fn make(&self, objects: &[Object]) -> Vec<Result<Arc<Made>, Box<Rejection>>> {
        self.make_prepared(objects, (&[], &Prepared::default()))
    }

    /// The same, where some of them were type-checked before, and some are compiled already.
    fn make_prepared(
        &self,
        objects: &[Object],
        (checked, prepared): (&[Checked], &Prepared),
    ) -> Vec<Result<Arc<Made>, Box<Rejection>>> {
        if objects.is_empty() {
            return Vec::new();
        }
        let coming: HashMap<ObjectKey, &(Object, Arc<Made>)> =
            self.coming.iter().map(|coming| (ObjectKey::of(&coming.0), coming)).collect();
        let difference = Difference::of_objects(&self.objects, objects);
        let had = |(place, object): (usize, &Object)| {
            if let Some(made) = difference.from(place).and_then(|from| self.made.get(from)) {
                return Had::All(made);
            }
            match (self.had(object), coming.is_empty()) {
                (Had::Nothing, false) => match coming.get(&ObjectKey::of(object)) {
                    Some((coming, made)) if coming.is_identical(object) => Had::All(made),
                    _ => Had::Nothing,
                },
                (had, _) => had,
            }
        };
        let had: Vec<Had<'_>> = objects.iter().enumerate().map(had).collect();
        let new = objects.iter().zip(&had).filter_map(|(object, had)| match (object, had) {
            (Object::Policy(policy), Had::Nothing) if !prepared.has(policy) => Some(policy),
            _ => None,
        });
        let checked = checked::by_policy(checked);
        let new: Vec<_> = new.map(|policy| (policy, checked.get(&Arc::as_ptr(policy)).copied())).collect();
        let mut outcomes = prepared::made_of_all(&new).into_iter();
        let make = |(object, had): (&Object, Had<'_>)| -> Result<Arc<Made>, Box<Rejection>> {
            let compiled = match (object, had) {
                (_, Had::All(made)) => return Ok(made.clone()),
                (_, Had::Compiled(compiled)) => Some(compiled.clone()),
                (Object::Policy(policy), Had::Nothing) => {
                    let refused =
                        |problem: Box<compile::Problem>| Box::new(reject::not_compiled(policy, &problem));
                    return match prepared.outcome(policy).cloned().or_else(|| outcomes.next()) {
                        Some(outcome) => outcome.map_err(refused),
                        None => Err(Box::new(reject::fault("a policy was not compiled"))),
                    };
                }
                _ => None,
            };
            Ok(Arc::new(Made { digest: digest::of_object(object), own: None, compiled, costly: None }))
        };
        objects.iter().zip(had).map(make).collect()
    }

    fn had(&self, object: &Object) -> Had<'_> {
        let Some((last, made)) = self.places.get(&ObjectKey::of(object)) else { return Had::Nothing };
        if last.is_identical(object) {
            return Had::All(made);
        }
        match (last, &made.compiled, object) {
            (Object::Policy(last), Some(compiled), Object::Policy(policy))
                if compile::is_alike(last, policy) =>
            {
                Had::Compiled(compiled)
            }
            _ => Had::Nothing,
        }
    }

    /// Digest of the configuration: `sha256:` and hex, the same for the same objects in any order; [`Parts`] says of what it is.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What was accepted and deserves a look, such as a policy on an agent that does not exist, or a member that no server is. Same form as a
    /// rejection; nothing was left out.
    pub fn warnings(&self) -> &[Rejection] {
        &self.warnings
    }

    /// Whether everything is refused, because what a malformed policy forbade before is not known.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// All objects, for status pages and `check`, in the order in which they were given.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The ids of all policies in force, the built-in ones included.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<str>> {
        self.statements_in_force().map(|statement| &statement.id)
    }

    /// How many edges are compiled and kept now; the maximum is [`crate::decide::edges::MAX_EDGES`].
    pub fn edges(&self) -> usize {
        self.policies.edges()
    }

    /// It is in force no longer, and whoever keeps it decides little by it, if anything: the edges that were compiled take no memory any more.
    pub fn retire(&self) {
        self.policies.forget_edges();
        if let Some(rollout) = &self.rollout {
            rollout.policies.forget_edges();
        }
    }

    /// The principal a SPIFFE ID is bound to.
    pub fn principal_by_spiffe(&self, id: &str) -> Option<&Principal> {
        self.world.bindings.by_spiffe(id)
    }

    /// The principal an issuer and subject are bound to (claims are the caller's to check). Whom a policy in force names that says in more than
    /// one namespace what people may is a person, and no record makes a principal of it: else whoever may register something could
    /// take those out of use who operate the whole.
    pub fn principal_by_oidc(&self, issuer: &str, subject: &str) -> Option<&Principal> {
        let bound = self.world.bindings.by_oidc(issuer, subject)?;
        (!self.said.names_person(issuer, subject)).then_some(bound)
    }

    /// The principal a Kubernetes ServiceAccount is bound to.
    pub fn principal_by_service_account(&self, namespace: &str, name: &str) -> Option<&Principal> {
        self.world.bindings.by_service_account(namespace, name)
    }

    /// Who claims a SPIFFE ID that more than one object claims, or one that is not in force, so that it proves nobody. Empty where
    /// it is not contested.
    pub fn claims_on_spiffe(&self, id: &str) -> &[Claim] {
        self.world.bindings.claims_on_spiffe(id)
    }

    /// The same of an issuer and subject; nobody's of a person as of [`Snapshot::principal_by_oidc`].
    pub fn claims_on_oidc(&self, issuer: &str, subject: &str) -> &[Claim] {
        match self.world.bindings.claims_on_oidc(issuer, subject) {
            claims if claims.is_empty() || self.said.names_person(issuer, subject) => &[],
            claims => claims,
        }
    }

    /// The same of a Kubernetes ServiceAccount.
    pub fn claims_on_service_account(&self, namespace: &str, name: &str) -> &[Claim] {
        self.world.bindings.claims_on_service_account(namespace, name)
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
        let could = || {
            self.policies.could_allow(&self.world.registered, call)
                || self.would_pass(|it| it.could_allow(call))
        };
        !is_drifted(call) && could()
    }

    /// Whether a call under way may go on, of which the arguments are not known any more: as [`Snapshot::could_allow`], but what may wait for
    /// the approval of a person is no reason, unless the call was made with that approval.
    pub fn could_go_on(&self, call: &Call<'_>) -> bool {
        self.policies.could_go_on(&self.world.registered, call) || self.would_pass(|it| it.could_go_on(call))
    }

    /// As [`Snapshot::could_allow`], with the permits by which.
    pub(crate) fn possible_allowance(&self, call: &Call<'_>) -> Option<Finding> {
        self.policies.possible_allowance(&self.world.registered, call)
    }
}
