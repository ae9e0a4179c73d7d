//! What one connection has told: counted, so that nothing of it is held without a bound, and read, so that it is of what was asked for.

use std::collections::HashMap;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::pods::{Item, Watched};

/// Objects and pods of all watches together that a registry may tell of.
pub(super) const MAX_OBJECTS: usize = 250_000;
/// The same in bytes of JSON.
const MAX_BYTES: usize = 512 << 20;

/// What a registry has said on one connection.
pub(super) struct Said {
    pub(super) begun: bool,
    /// What it lists, until that is whole.
    pub(super) listing: Option<Listing>,
    /// The objects of each watch, and how large each is.
    known: Vec<HashMap<String, usize>>,
    bytes: usize,
}

/// All objects of a watch, on their way.
pub(super) struct Listing {
    pub(super) watch: usize,
    pub(super) left: usize,
    pub(super) items: Vec<(Box<RawValue>, usize)>,
    pub(super) at: (Instant, Timestamp),
    pub(super) up_to: Option<Timestamp>,
}

impl Said {
    /// Nothing yet, of so many watches.
    pub(super) fn new(watches: usize) -> Self {
        let known = (0..watches).map(|_| HashMap::new()).collect();
        Self { begun: false, listing: None, known, bytes: 0 }
    }

    /// A watch was listed whole: these, which were counted as `counted` bytes while they came. One that was named twice was counted twice.
    pub(super) fn listed(&mut self, watch: usize, known: HashMap<String, usize>, counted: usize) {
        self.bytes = self.bytes.saturating_sub(counted).saturating_add(known.values().sum());
        if let Some(place) = self.known.get_mut(watch) {
            *place = known;
        }
    }

    /// So many bytes more are known.
    pub(super) fn count(&mut self, length: usize) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(length);
        let listed = self.listing.as_ref().map_or(0, |listing| listing.items.len());
        let objects = self.known.iter().map(HashMap::len).fold(listed, usize::saturating_add);
        if objects > MAX_OBJECTS || self.bytes > MAX_BYTES {
            return Err(format!(
                "it tells of more than {MAX_OBJECTS} objects, or more than {} MiB of them",
                MAX_BYTES >> 20
            ));
        }
        Ok(())
    }

    pub(super) fn there(&mut self, watch: usize, name: String, length: usize) -> Result<(), String> {
        let last = self.known.get_mut(watch).and_then(|known| known.insert(name, length));
        self.bytes = self.bytes.saturating_sub(last.unwrap_or_default());
        self.count(length)
    }

    pub(super) fn gone(&mut self, watch: usize, name: &str) {
        let last = self.known.get_mut(watch).and_then(|known| known.remove(name));
        self.bytes = self.bytes.saturating_sub(last.unwrap_or_default());
    }

    /// All of a watch is told anew.
    pub(super) fn forget(&mut self, watch: usize) {
        let last = self.known.get_mut(watch).map(std::mem::take).unwrap_or_default();
        self.bytes = self.bytes.saturating_sub(last.values().sum());
    }
}

/// An object, and its name among those of its watch. What is in it is checked where it is compiled.
pub(super) fn object_of(object: &RawValue, scope: Option<&str>) -> Result<(String, Value), String> {
    let object: Value =
        serde_json::from_str(object.get()).map_err(|_| "an object that is not understood".to_owned())?;
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (Some(namespace), Some(name)) = (text("/metadata/namespace"), text("/metadata/name")) else {
        return Err("an object without a name".to_owned());
    };
    if scope.is_some_and(|scope| scope != namespace) {
        return Err("an object of a namespace that is not followed".to_owned());
    }
    Ok((format!("{namespace}/{name}"), object))
}

pub(super) fn pod_of(pod: &RawValue, watched: &Watched) -> Result<Item, String> {
    let item: Item =
        serde_json::from_str(pod.get()).map_err(|_| "a pod that is not understood".to_owned())?;
    let is_of = match (&item, watched) {
        (Item::Pod(pod), Watched::Pods(scope)) => scope.as_ref().is_none_or(|scope| *scope == pod.namespace),
        (Item::Namespace { .. }, Watched::Namespaces) => true,
        (Item::Pod(_), Watched::Namespaces) | (Item::Namespace { .. }, Watched::Pods(_)) => false,
    };
    if is_of { Ok(item) } else { Err("a pod of a namespace that is not followed".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack: a registry that tells of more and more.
    #[test]
    fn what_is_told_is_counted_by_its_names_and_its_bytes() {
        let mut said = Said::new(2);
        for number in 0..MAX_OBJECTS {
            said.there(0, number.to_string(), 1).unwrap();
        }
        said.there(0, "0".to_owned(), 1).expect("it is there already");
        said.there(1, "one more".to_owned(), 1).unwrap_err();
        let mut said = Said::new(2);
        said.there(0, "a".to_owned(), MAX_BYTES).unwrap();
        said.there(1, "b".to_owned(), 1).unwrap_err();
        said.gone(1, "b");
        said.there(0, "a".to_owned(), 7).expect("it is smaller now");
        said.there(1, "b".to_owned(), MAX_BYTES - 7).unwrap();
        said.forget(1);
        said.there(0, "c".to_owned(), MAX_BYTES - 7).unwrap();
        // A list counts while it comes, and by its names when it has.
        let mut said = Said::new(1);
        said.count(100).unwrap();
        said.count(100).unwrap();
        said.listed(0, HashMap::from([("a".to_owned(), 100)]), 200);
        assert_eq!(said.bytes, 100);
    }
}
