//! A policy that is too much with the others of its namespace: what it was compiled to is let go, and what it costs is kept, so that it is known without
//! compiling it whether there is room for it.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use cedar_policy::{Effect, PolicySet};

use super::bounds::Cost;
use super::compile::{self, Problem};
use super::digest::{self, Digest};
use super::refusing::Refusing;
use super::{Made, reject};
use crate::decide::statement::{NotCompiled, head};
use crate::resource::policy::Mode;
use crate::resource::{Meta, Names, Object, Policy, Rejection};

/// Of a policy with more different heads than these all that it could be about is refused.
const MAX_HEADS: usize = 16;
/// What the reason goes on with where its heads refuse.
const REFUSES: &str = "; what it forbade before the start is not known, so until it fits it refuses all that its forbids name in their heads, whatever their conditions say";

/// A policy of which only this is kept.
#[derive(Debug)]
pub(super) struct Costly {
    pub(super) policy: Arc<Policy>,
    digest: Digest,
    pub(super) cost: Arc<Cost>,
    /// Whether any of it refuses.
    pub(super) forbids: bool,
    /// Made when somebody asks, once for all configurations that have it.
    stand_in: OnceLock<Result<Option<Refusing>, Problem>>,
}

/// One that is left out.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) costly: Arc<Costly>,
    why: String,
}

impl Costly {
    /// `None` of what is not compiled.
    pub(super) fn of(policy: &Arc<Policy>, made: &Made) -> Option<Self> {
        let compiled = made.compiled.as_ref()?;
        Some(Self {
            policy: policy.clone(),
            digest: made.digest,
            cost: compiled.cost.clone(),
            forbids: compiled.has_forbids(),
            stand_in: OnceLock::new(),
        })
    }

    pub(super) fn made(self: &Arc<Self>) -> Made {
        Made { digest: self.digest, own: None, compiled: None, costly: Some(self.clone()) }
    }

    /// What refuses in its place where it is not known what it refused before: all that its forbids name in their heads. That costs next to nothing, and
    /// whoever wrote it may forbid as much. `None` where it forbids nothing.
    pub(super) fn stand_in(&self) -> Result<Option<Refusing>, Problem> {
        self.stand_in.get_or_init(|| stand_in(&self.policy)).clone()
    }
}

impl Over {
    pub(super) const fn new(costly: Arc<Costly>, why: String) -> Self {
        Self { costly, why }
    }

    /// What is said of it; `is_first` where it is not known what was refused before, and its heads refuse.
    pub(super) fn rejection(self, is_first: bool) -> Rejection {
        let stands_in = is_first && matches!(self.costly.stand_in(), Ok(Some(_)));
        let more = if stands_in { REFUSES } else { "" };
        reject::too_costly(&self.costly.policy, format!("{}{more}", self.why))
    }
}

fn stand_in(policy: &Policy) -> Result<Option<Refusing>, Problem> {
    if policy.mode != Mode::Enforce {
        return Ok(None);
    }
    let set = PolicySet::from_str(&policy.cedar);
    let set = set.map_err(|error| Problem::Fault { message: error.to_string() })?;
    let forbids = set.policies().filter(|one| one.effect() == Effect::Forbid);
    let heads = forbids.map(|forbid| Ok(head(forbid)?.to_string()));
    let heads = heads.collect::<Result<BTreeSet<String>, NotCompiled>>()?;
    let cedar = match heads.len() {
        0 => return Ok(None),
        1..=MAX_HEADS => heads.into_iter().collect::<Vec<_>>().join("\n"),
        _ => "forbid (principal, action, resource);".to_owned(),
    };
    let policy = Policy {
        meta: Meta { document: Arc::default(), ..policy.meta.clone() },
        replaces: Names::new(),
        window: None,
        plan: None,
        limits: Arc::default(),
        guards: Arc::default(),
        cedar: cedar.into(),
        ..policy.clone()
    };
    // What it is made of was checked.
    let compiled = Some(Arc::new(compile::compile(&policy, Some(&[]))?));
    let object = Object::Policy(Arc::new(policy));
    let made = Made { digest: digest::of_object(&object), own: None, compiled, costly: None };
    Ok(Some(Refusing::of(&object, &made, false)))
}
