//! What is in the cluster, each object by its name, as it was checked when it was last heard of.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::mem;
use std::sync::Arc;

use serde_json::Value;
use vidimus_core::resource::{API_VERSION, Kind, Meta, Object, Origin, Rejection, check};

use crate::condition::{Condition, Shared};
use crate::pods::Runs;
use crate::seen::{FieldManager, Seen};

/// Which object: kind, namespace, name.
pub(crate) type Key = (Kind, Arc<str>, Arc<str>);

/// One object.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) uid: Arc<str>,
    /// Which write of it was heard of last.
    pub(crate) version: Arc<str>,
    pub(crate) generation: Option<i64>,
    /// What stands in its status.
    pub(crate) observed: Option<i64>,
    pub(crate) conditions: Arc<[Condition]>,
    pub(crate) runs: Runs,
    /// Who is said to have written it last, while it is told; not known of what was kept on disk.
    pub(crate) manager: Option<Box<FieldManager>>,
    /// Of all that counts of it: its spec and its labels, and neither its status nor which write it was.
    /// `None` of what was kept on disk.
    content: Option<u64>,
    says: Result<Object, Vec<Rejection>>,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Changed {
    /// Nothing that anybody looks at.
    Nothing,
    /// What stands in a status.
    Status,
    /// What is registered.
    Content,
}

/// All objects.
#[derive(Debug)]
pub(crate) struct Index {
    cluster: Arc<str>,
    /// A tree has room for more than it holds.
    entries: BTreeMap<Key, Box<Entry>>,
    /// The uids of what waits for its turn to be compiled.
    waiting: HashSet<Arc<str>>,
    /// With a key of its own, so that nobody can write two objects that look the same.
    hasher: RandomState,
    statuses: Shared,
    /// What changed, where it is to be known.
    seen: Option<Vec<Seen>>,
}

impl Index {
    pub(crate) fn new(cluster: &str) -> Self {
        Self {
            cluster: cluster.into(),
            entries: BTreeMap::new(),
            waiting: HashSet::new(),
            hasher: RandomState::new(),
            statuses: Shared::default(),
            seen: None,
        }
    }

    /// What changed since it was asked before, where that was to be known; and whether it is to be from now on.
    pub(crate) fn gather(&mut self, is_wanted: bool) -> Vec<Seen> {
        mem::replace(&mut self.seen, is_wanted.then(Vec::new)).unwrap_or_default()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key, &**entry))
    }

    /// What was heard of these is not in force yet: they wait for their turn to be compiled.
    pub(crate) fn note_waiting(&mut self, waiting: &HashSet<Arc<str>>) {
        self.waiting.clone_from(waiting);
    }

    /// Whether what was heard of an object waits for its turn to be compiled.
    pub(crate) fn waits(&self, uid: &str) -> bool {
        self.waiting.contains(uid)
    }

    /// What is good, and what is malformed.
    pub(crate) fn says(&self) -> (Vec<Object>, Vec<Rejection>) {
        let (mut objects, mut rejected) = (Vec::with_capacity(self.entries.len()), Vec::new());
        for entry in self.entries.values() {
            match &entry.says {
                Ok(object) => objects.push(object.clone()),
                Err(rejections) => rejected.extend(rejections.iter().cloned()),
            }
        }
        (objects, rejected)
    }

    /// An object is there, so.
    pub(crate) fn there(&mut self, kind: Kind, document: Value) -> Changed {
        if is_going(&document) {
            return self.gone(kind, &document);
        }
        let Some(key) = key(kind, &document) else { return Changed::Nothing };
        let last = self.entries.get(&key).map(|last| &**last);
        let next = Entry::of(&self.cluster, (&self.hasher, &mut self.statuses), kind, document, last);
        let changed = last.map_or(Changed::Content, |last| next.since(last));
        if changed == Changed::Content {
            note(&mut self.seen, &key, last, Some(&next));
        }
        match self.entries.get_mut(&key) {
            Some(taken) => *taken = next.kept(),
            None => drop(self.entries.insert(next.named(key), next.kept())),
        }
        changed
    }

    /// An object was kept on disk as it was there, and good. How its status stood is not known.
    pub(crate) fn kept(&mut self, object: Object) {
        let meta = object.meta();
        let Origin::Cluster { uid: Some(uid), resource_version, .. } = &meta.origin else { return };
        let key = (object.kind(), meta.namespace.clone(), meta.name.clone());
        // Whatever is heard of it is checked anew: of the document only what counts was kept.
        let entry = Entry {
            uid: uid.clone(),
            version: resource_version.clone().unwrap_or_default(),
            generation: meta.generation,
            observed: None,
            conditions: Arc::default(),
            runs: Runs::default(),
            manager: None,
            content: None,
            says: Ok(object),
        };
        self.entries.insert(key, entry.kept());
    }

    /// An object was deleted.
    pub(crate) fn gone(&mut self, kind: Kind, document: &Value) -> Changed {
        let removed = key(kind, document).and_then(|key| self.entries.remove_entry(&key));
        let Some((key, was)) = removed else { return Changed::Nothing };
        note(&mut self.seen, &key, Some(&*was), None);
        Changed::Content
    }

    /// These are all of a kind, in one namespace or all: what is not among them was deleted.
    pub(crate) fn listed(&mut self, kind: Kind, namespace: Option<&str>, documents: Vec<Value>) -> Changed {
        let concerned = |(of, within, _): &Key| *of == kind && namespace.is_none_or(|one| **within == *one);
        let (mut last, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            mem::take(&mut self.entries).into_iter().partition(|(key, _)| concerned(key));
        self.entries = others;
        let mut changed = Changed::Nothing;
        for document in documents.into_iter().filter(|document| !is_going(document)) {
            let Some(key) = key(kind, &document) else { continue };
            let was = last.remove(&key);
            let known = (&self.hasher, &mut self.statuses);
            let next = Entry::of(&self.cluster, known, kind, document, was.as_deref());
            let how = was.as_deref().map_or(Changed::Content, |was| next.since(was));
            if how == Changed::Content {
                note(&mut self.seen, &key, was.as_deref(), Some(&next));
            }
            changed = changed.max(how);
            self.entries.insert(next.named(key), next.kept());
        }
        last.iter().for_each(|(key, was)| note(&mut self.seen, key, Some(&**was), None));
        if last.is_empty() { changed } else { Changed::Content }
    }
}

/// Whether somebody has deleted it, and only a finalizer still keeps it in the store. A deletion is meant, and cannot be taken back: whoever may
/// write an object must not keep by a finalizer what others took away.
fn is_going(document: &Value) -> bool {
    document.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

fn note(seen: &mut Option<Vec<Seen>>, key: &Key, was: Option<&Entry>, is: Option<&Entry>) {
    if let Some(seen) = seen {
        seen.extend(Seen::of(key, was, is));
    }
}

fn key(kind: Kind, document: &Value) -> Option<Key> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    // An API server gives both; what has neither is no object.
    Some((kind, text("/metadata/namespace")?.into(), text("/metadata/name")?.into()))
}

/// Checks an object as the API server gives it, in a list or a watch; `cluster` is what its origin is called.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(cluster: &Arc<str>, kind: Kind, mut document: Value) -> Result<Object, Vec<Rejection>> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(Arc::<str>::from);
    let uid = Some(text("/metadata/uid").unwrap_or_default());
    let resource_version = Some(text("/metadata/resourceVersion").unwrap_or_default());
    if let Some(members) = document.as_object_mut() {
        // The items of a list need not say what they are.
        members.entry("apiVersion").or_insert_with(|| API_VERSION.into());
        members.entry("kind").or_insert_with(|| kind.as_str().into());
        members.remove("status");
    }
    check(&Origin::Cluster { cluster: cluster.clone(), uid, resource_version }, &document)
}

impl Entry {
    /// Checks an object; what was made of the `last` version of it is taken over where nothing that counts is otherwise.
    fn of(
        cluster: &Arc<str>,
        (hasher, statuses): (&RandomState, &mut Shared),
        kind: Kind,
        document: Value,
        last: Option<&Self>,
    ) -> Self {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(Arc::<str>::from);
        let uid = text("/metadata/uid").unwrap_or_default();
        let version = text("/metadata/resourceVersion").unwrap_or_default();
        let generation = document.pointer("/metadata/generation").and_then(Value::as_i64);
        let observed = document.pointer("/status/observedGeneration").and_then(Value::as_i64);
        let conditions = document.pointer("/status/conditions").and_then(Value::as_array);
        let conditions = conditions.into_iter().flatten().filter_map(Condition::read).collect();
        let conditions = statuses.share(conditions);
        let runs = Runs::read(&document);
        let manager = FieldManager::read(&document).map(Box::new);
        let content = Some(content(hasher, &document, generation));
        let known = last.filter(|last| last.uid == uid && last.content == content);
        let says = match known {
            Some(last) => last.says.clone(),
            None => read(cluster, kind, document),
        };
        // What the object has of it is not kept twice.
        let (has_uid, has_version) = match says.as_ref().map(|object| &object.meta().origin) {
            Ok(Origin::Cluster { uid, resource_version, .. }) => (uid.as_ref(), resource_version.as_ref()),
            _ => (None, None),
        };
        let (uid, version) = (shared(uid, has_uid), shared(version, has_version));
        Self { uid, version, generation, observed, conditions, runs, manager, content, says }
    }

    /// Its key, in the words of the object.
    fn named(&self, (kind, namespace, name): Key) -> Key {
        let meta = self.object().map(Object::meta);
        let of = |text, has: fn(&Meta) -> &Arc<str>| shared(text, meta.map(has));
        (kind, of(namespace, |meta| &meta.namespace), of(name, |meta| &meta.name))
    }

    /// As it is kept when a change of it was told: who made that is known then.
    fn kept(self) -> Box<Self> {
        Box::new(Self { manager: None, ..self })
    }

    /// As it was read, where it is good.
    pub(crate) fn object(&self) -> Option<&Object> {
        self.says.as_ref().ok()
    }

    /// What is otherwise than it was.
    fn since(&self, last: &Self) -> Changed {
        if self.uid != last.uid || self.content != last.content {
            Changed::Content
        } else if self.conditions != last.conditions
            || self.observed != last.observed
            || self.runs != last.runs
        {
            Changed::Status
        } else {
            Changed::Nothing
        }
    }
}

/// A text, as somebody else has it where that is the same.
fn shared(text: Arc<str>, has: Option<&Arc<str>>) -> Arc<str> {
    has.filter(|has| **has == text).cloned().unwrap_or(text)
}

fn content(hasher: &RandomState, document: &Value, generation: Option<i64>) -> u64 {
    let text = |pointer: &str| document.pointer(pointer).map(Value::to_string);
    // The API server writes members in an order of its own, the same each time.
    hasher.hash_one((generation, text("/spec"), text("/metadata/labels"), text("/apiVersion"), text("/kind")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agent(name: &str, uid: &str, generation: i64, team: &str) -> Value {
        json!({
            "metadata": {
                "namespace": "a", "name": name, "uid": uid, "generation": generation, "resourceVersion": "9",
                "managedFields": [{"manager": "kubectl"}], "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"owner": "ada@example.com", "team": team, "purpose": "a test", "riskLevel": "low", "identities": [{"spiffe": format!("spiffe://example.com/{name}")}]},
        })
    }

    fn with(mut object: Value, pointer: &str, value: Value) -> Value {
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(member.to_owned(), value);
        object
    }

    /// Names of the good objects, and what the rejections are about.
    fn says(index: &Index) -> (Vec<String>, Vec<String>) {
        let (objects, rejected) = index.says();
        let names = objects.iter().map(|object| object.reference().to_string()).collect();
        (names, rejected.iter().map(|one| format!("{} {} {}", one.object, one.field, one.value)).collect())
    }

    #[test]
    fn a_malformed_object_drops_itself_and_names_field_version_and_uid() {
        let mut index = Index::new("c");
        let bad = with(agent("b", "2", 3, "t"), "/spec/owner", json!(7));
        assert_eq!(index.listed(Kind::Agent, None, vec![agent("a", "1", 1, "t"), bad]), Changed::Content);
        let (good, wrong) = says(&index);
        assert_eq!(good, ["Agent a/a"]);
        assert!(wrong.iter().any(|one| one == "Agent a/b spec.owner 7"), "{wrong:?}");
        let (_, rejected) = index.says();
        let Origin::Cluster { cluster, uid, resource_version } = &rejected[0].origin else {
            panic!("of a file")
        };
        assert_eq!((&**cluster, uid.as_deref(), resource_version.as_deref()), ("c", Some("2"), Some("9")));
        assert_eq!(rejected[0].object.reference().unwrap().generation, Some(3));
    }

    /// There is one of each object, and what few have would be in each.
    #[test]
    fn an_entry_is_no_larger_than_what_all_of_them_have() {
        assert!(size_of::<Entry>() <= 144, "{}", size_of::<Entry>());
    }

    /// What was written of an object itself is no change of it: nobody follows his own trail.
    #[test]
    fn only_what_counts_is_a_change() {
        let conditions = json!([{"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let first = agent("a", "1", 1, "t");
        for (next, changed) in [
            (first.clone(), Changed::Nothing),
            (with(first.clone(), "/metadata/resourceVersion", json!("10")), Changed::Nothing),
            (with(first.clone(), "/metadata/managedFields", json!([])), Changed::Nothing),
            (with(first.clone(), "/metadata/annotations", json!({"a": "b"})), Changed::Nothing),
            (with(first.clone(), "/status", json!({"conditions": conditions})), Changed::Status),
            (with(first.clone(), "/status", json!({"observedGeneration": 1})), Changed::Status),
            (with(first.clone(), "/status", json!({"instances": {"count": 1}})), Changed::Status),
            (with(first.clone(), "/status", json!({"instances": "odd"})), Changed::Nothing),
            (with(first.clone(), "/metadata/labels", json!({"a": "b"})), Changed::Content),
            (agent("a", "1", 2, "u"), Changed::Content),
            (agent("a", "2", 1, "t"), Changed::Content),
            // A default of the CRD is another one now.
            (with(first.clone(), "/spec/environment", json!("test")), Changed::Content),
        ] {
            let mut index = Index::new("c");
            assert_eq!(index.there(Kind::Agent, first.clone()), Changed::Content);
            let was = index.says().0;
            assert_eq!(index.there(Kind::Agent, next.clone()), changed, "{next}");
            let is = index.says().0;
            assert_eq!(was[0].is_identical(&is[0]), changed != Changed::Content, "{next}");
            // The same by a list.
            let mut index = Index::new("c");
            index.there(Kind::Agent, first.clone());
            assert_eq!(index.listed(Kind::Agent, None, vec![next.clone()]), changed, "{next}");
        }
    }

    /// There are as many as somebody writes: what an entry says of its object is the object's own text.
    #[test]
    fn an_entry_keeps_no_text_of_its_object_twice() {
        let (mut told, mut listed) = (Index::new("c"), Index::new("c"));
        told.there(Kind::Agent, agent("a", "1", 1, "t"));
        listed.listed(Kind::Agent, None, vec![agent("a", "1", 1, "t")]);
        for index in [told, listed] {
            let ((_, namespace, name), entry) = index.entries().next().unwrap();
            let meta = entry.object().unwrap().meta();
            let Origin::Cluster { uid: Some(uid), resource_version: Some(version), .. } = &meta.origin else {
                panic!("of a file")
            };
            assert!(Arc::ptr_eq(namespace, &meta.namespace) && Arc::ptr_eq(name, &meta.name));
            assert!(Arc::ptr_eq(&entry.uid, uid) && Arc::ptr_eq(&entry.version, version));
        }
    }

    #[test]
    fn what_a_list_does_not_have_is_gone_and_what_it_is_not_about_stays() {
        let mut index = Index::new("c");
        for name in ["a", "b", "c"] {
            index.there(Kind::Agent, agent(name, name, 1, "t"));
        }
        index.there(Kind::Agent, with(agent("d", "d", 1, "t"), "/metadata/namespace", json!("other")));
        assert_eq!(index.listed(Kind::Policy, None, vec![]), Changed::Nothing);
        assert_eq!(index.listed(Kind::Agent, Some("a"), vec![agent("b", "b", 1, "t")]), Changed::Content);
        assert_eq!(says(&index).0, ["Agent a/b", "Agent other/d"]);
        assert_eq!(index.listed(Kind::Agent, Some("a"), vec![agent("b", "b", 1, "t")]), Changed::Nothing);
        assert_eq!(index.gone(Kind::Agent, &agent("b", "b", 1, "t")), Changed::Content);
        assert_eq!(index.gone(Kind::Agent, &agent("b", "b", 1, "t")), Changed::Nothing);
        assert_eq!(index.listed(Kind::Agent, None, vec![]), Changed::Content);
        assert_eq!(says(&index).0, [""; 0]);
    }

    /// Attack: a finalizer of one's own, so that what an operator deletes stays in the store, and in force.
    #[test]
    fn what_is_deleted_is_gone_whatever_keeps_it_in_the_store() {
        let deleted = with(agent("a", "1", 2, "t"), "/metadata/finalizers", json!(["evil.example/keep"]));
        let deleted = with(deleted, "/metadata/deletionTimestamp", json!("2026-01-02T00:00:00Z"));
        let mut index = Index::new("c");
        index.there(Kind::Agent, agent("a", "1", 1, "t"));
        assert_eq!(index.there(Kind::Agent, deleted.clone()), Changed::Content);
        assert_eq!(says(&index).0, [""; 0]);
        // It is still written, and ends at last.
        assert_eq!(index.there(Kind::Agent, deleted.clone()), Changed::Nothing);
        assert_eq!(index.gone(Kind::Agent, &deleted), Changed::Nothing);
        // The same of a list, and of what was never seen otherwise.
        index.there(Kind::Agent, agent("a", "1", 1, "t"));
        assert_eq!(index.listed(Kind::Agent, None, vec![deleted.clone()]), Changed::Content);
        assert_eq!(index.listed(Kind::Agent, None, vec![deleted]), Changed::Nothing);
        assert_eq!(says(&index).0, [""; 0]);
        // Whatever of its name comes after it is another one.
        assert_eq!(index.there(Kind::Agent, agent("a", "2", 1, "t")), Changed::Content);
        assert_eq!(says(&index).0, ["Agent a/a"]);
    }

    #[test]
    fn what_is_no_object_stops_nothing() {
        let mut index = Index::new("c");
        for odd in [json!(null), json!([]), json!({"metadata": 7}), json!({"metadata": {"name": "a"}})] {
            assert_eq!(index.there(Kind::Agent, odd.clone()), Changed::Nothing);
            assert_eq!(index.gone(Kind::Agent, &odd), Changed::Nothing);
        }
        let odd = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": [], "status": 7});
        assert_eq!(index.there(Kind::Agent, odd), Changed::Content);
        assert_eq!(index.says().0.len(), 0);
    }
}
