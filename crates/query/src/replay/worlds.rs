//! The configurations that recorded calls are decided by, each made once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use vidimus_core::resource::Object;
use vidimus_core::snapshot::{Configuration, Snapshot};
use vidimus_registry::configurations::Archive;

use super::{By, Objects};

/// What a recorded call is decided by.
pub(super) type World = Result<Arc<Snapshot>, Arc<str>>;

/// The configurations.
#[derive(Debug)]
pub(super) struct Worlds<'a> {
    archive: &'a Archive,
    by: &'a By,
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    of: HashMap<Arc<str>, World>,
    /// The last one: the next shares with it what both have.
    last: Arc<Snapshot>,
    unverified: Vec<String>,
}

impl<'a> Worlds<'a> {
    pub(super) fn new(archive: &'a Archive, by: &'a By) -> Self {
        Self { archive, by, made: Mutex::default() }
    }

    /// By what a call is decided again that was decided by `snapshot`.
    pub(super) fn of(&self, snapshot: &str) -> World {
        if let By::Proposed(proposed, Objects::Proposed) = self.by {
            return Ok(proposed.clone());
        }
        // Whoever comes first makes it; others wait for it instead of making it too.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(world) = made.of.get(snapshot) {
            return world.clone();
        }
        let world = self.make(snapshot, &mut made).map_err(Arc::from);
        if let Ok(world) = &world {
            made.last = world.clone();
        }
        made.of.insert(snapshot.into(), world.clone());
        world
    }

    fn make(&self, snapshot: &str, made: &mut Made) -> Result<Arc<Snapshot>, String> {
        let unusable = |error: vidimus_registry::configurations::Unusable| error.to_string();
        match self.by {
            By::Itself => {
                let restored = self.archive.restore(snapshot, &made.last).map_err(unusable)?;
                if !restored.verified {
                    made.unverified.push(snapshot.to_owned());
                }
                Ok(restored.snapshot)
            }
            By::Proposed(proposed, _) => {
                let (in_force, standing) = self.archive.in_force(snapshot).map_err(unusable)?;
                let is_policy = |object: &&Object| matches!(object, Object::Policy(_));
                let others = in_force.into_iter().filter(|object| !is_policy(&object));
                let policies = proposed.objects().iter().filter(is_policy).cloned();
                let objects: Vec<Object> = others.chain(policies).collect();
                // Objects that are the same ones in memory are not compiled again.
                let base = if made.of.is_empty() { proposed } else { &made.last };
                // Who was quarantined then is so whatever the policies say.
                let standing = Arc::new(standing);
                let (world, rejected) =
                    base.next(Configuration { objects, standing, ..Configuration::default() });
                match rejected.into_iter().next() {
                    None => Ok(Arc::new(world)),
                    Some(one) => Err(format!("{} is not in force there: {}", one.object, one.reason)),
                }
            }
        }
    }

    /// The configurations that cannot be used, with why, and those whose digest could not be compared.
    pub(super) fn told(self) -> (BTreeMap<String, String>, Vec<String>) {
        let Made { of, mut unverified, .. } = self.made.into_inner().unwrap_or_else(PoisonError::into_inner);
        let unusable =
            of.into_iter().filter_map(|(name, world)| Some((name.to_string(), world.err()?.to_string())));
        unverified.sort();
        (unusable.collect(), unverified)
    }
}
