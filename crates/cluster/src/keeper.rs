//! Watches the Secrets that objects in force name: each by itself and by its name, for as long as one names it. No list of Secrets is ever asked for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use kube_client::Client;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use vidimus_core::resource::llm_provider::SecretKey;
use vidimus_core::snapshot::Snapshot;
use vidimus_registry::Loaded;

use crate::follow::Follow;
use crate::live::Heard;
use crate::secrets::{Secrets, named_by};

/// Keys that are watched: each is a connection of its own, and a watch begun every 15 s.
const MAX: usize = 256;
/// The same of one namespace, so that nobody who writes in one takes those of all others.
const MAX_OF_NAMESPACE: usize = 32;
/// Before a watch that found a fault of ours is begun again.
const AGAIN: Duration = Duration::from_secs(1);

/// The task that watches.
pub(crate) struct Keeper {
    client: Client,
    loaded: watch::Receiver<Arc<Loaded>>,
    secrets: Secrets,
    tell: Sender<Heard>,
}

impl Keeper {
    pub(crate) fn new(
        client: Client,
        loaded: watch::Receiver<Arc<Loaded>>,
        secrets: Secrets,
        tell: Sender<Heard>,
    ) -> Self {
        Self { client, loaded, secrets, tell }
    }

    /// Goes on for as long as configurations come.
    pub(crate) async fn run(mut self) {
        let mut watches: HashMap<SecretKey, AbortHandle> = HashMap::new();
        let mut running = JoinSet::new();
        loop {
            let named = named(&self.loaded.borrow_and_update().snapshot);
            let (followed, left) = divided(named, |one| watches.contains_key(one));
            watches.retain(|one, watch| {
                let stays = followed.contains(one) && !watch.is_finished();
                if !stays {
                    watch.abort();
                }
                stays
            });
            self.secrets.named(followed.iter(), left.iter());
            for one in followed {
                watches.entry(one).or_insert_with_key(|one| running.spawn(self.follow(one).run()));
            }
            // Nobody hears it once the source has ended.
            if !left.is_empty() && self.tell.send(Heard::Secrets).is_err() {
                return;
            }
            tokio::select! {
                changed = self.loaded.changed() => if changed.is_err() { return },
                Some(ended) = running.join_next() => {
                    if ended.is_err_and(|error| error.is_panic()) {
                        tracing::error!("the watch of a Secret panicked; it is begun again");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
    }

    /// The watch of one Secret.
    fn follow(&self, of: &SecretKey) -> Follow {
        let (secrets, tell, of) = (self.secrets.clone(), self.tell.clone(), of.clone());
        let name = format!("watch Secret {}/{}", of.namespace, of.name);
        let collection = format!("/api/v1/namespaces/{}/secrets", of.namespace);
        let only = of.name.clone();
        let hear = move |told| match secrets.told(&of, told, Instant::now()) {
            None => false,
            Some(false) => true,
            Some(true) => tell.send(Heard::Secrets).is_ok(),
        };
        Follow::new(self.client.clone(), name, collection, hear).only(&only)
    }
}

/// What objects in force name.
pub(crate) fn named(snapshot: &Snapshot) -> BTreeSet<SecretKey> {
    snapshot.objects().iter().filter_map(named_by).cloned().collect()
}

/// What is watched, and what is too many. Whoever is watched stays so: who comes later takes no place of others.
pub(crate) fn divided(
    named: BTreeSet<SecretKey>,
    is_watched: impl Fn(&SecretKey) -> bool,
) -> (BTreeSet<SecretKey>, BTreeSet<SecretKey>) {
    let mut of_namespaces: HashMap<Arc<str>, usize> = HashMap::new();
    let (there, new): (Vec<_>, Vec<_>) = named.into_iter().partition(is_watched);
    // The first of each namespace before the second of any: at a start, when none is watched, who has many takes no place of others either.
    let mut turns: HashMap<Arc<str>, usize> = HashMap::new();
    let mut by_turns: Vec<(usize, SecretKey)> = Vec::with_capacity(new.len());
    for one in new {
        let turn = turns.entry(one.namespace.clone()).or_default();
        *turn += 1;
        by_turns.push((*turn, one));
    }
    by_turns.sort();
    let new = by_turns.into_iter().map(|(_, one)| one);
    let (mut followed, mut left) = (BTreeSet::new(), BTreeSet::new());
    for one in there.into_iter().chain(new) {
        let of_namespace = of_namespaces.entry(one.namespace.clone()).or_default();
        if *of_namespace < MAX_OF_NAMESPACE && followed.len() < MAX {
            *of_namespace += 1;
            followed.insert(one);
        } else {
            left.insert(one);
        }
    }
    (followed, left)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vidimus_core::resource::{Origin, check};

    use super::*;

    fn key(namespace: &str, name: usize) -> SecretKey {
        SecretKey { namespace: namespace.into(), name: format!("s-{name:04}").into(), key: "k".into() }
    }

    #[test]
    fn only_secrets_that_objects_in_force_name_are_named() {
        let provider = |name: &str, credential: serde_json::Value| {
            let origin =
                Origin::Cluster { cluster: "c".into(), uid: Some(name.into()), resource_version: None };
            let document = json!({
                "apiVersion": "vidimus.dev/v1alpha1", "kind": "LLMProvider", "metadata": {"name": name, "namespace": "platform"},
                "spec": {"owner": "ada.l@example.com", "type": "openAI", "credential": credential, "models": [{"name": "m"}]},
            });
            check(&origin, &document).unwrap()
        };
        let secret = json!({"secretRef": {"name": "openai", "key": "apiKey"}});
        let objects = vec![
            provider("one", secret.clone()),
            provider("two", secret),
            provider("three", json!({"none": {}})),
        ];
        let (snapshot, rejections) = Snapshot::build(objects);
        assert!(rejections.is_empty(), "{rejections:#?}");
        let all: Vec<String> = named(&snapshot).iter().map(ToString::to_string).collect();
        assert_eq!(all, ["Secret platform/openai, key apiKey"]);
    }

    #[test]
    fn whoever_writes_many_takes_no_place_of_others() {
        let of = |namespace: &str, count: usize| {
            (0..count).map(|name| key(namespace, name)).collect::<BTreeSet<_>>()
        };
        let (followed, left) = divided(of("a", 100), |_| false);
        assert_eq!((followed.len(), left.len()), (MAX_OF_NAMESPACE, 100 - MAX_OF_NAMESPACE));
        // One that comes before them in the order displaces none that is watched.
        let mut more = of("a", 100);
        more.extend(of("A", 40));
        more.insert(SecretKey { name: "a".into(), ..key("a", 0) });
        let (then, _) = divided(more, |one| followed.contains(one));
        assert!(followed.is_subset(&then));
        assert_eq!(then.len(), 2 * MAX_OF_NAMESPACE);
        let many: BTreeSet<_> = (0..20).flat_map(|n| of(&format!("n-{n}"), 20)).collect();
        let (followed, left) = divided(many, |_| false);
        assert_eq!((followed.len(), left.len()), (MAX, 400 - MAX));
        // Attack: as many namespaces as take all places, with names that come first, before a start.
        let mut first: BTreeSet<_> = (0..9).flat_map(|n| of(&format!("a-{n}"), 32)).collect();
        first.insert(key("z", 0));
        let (followed, _) = divided(first, |_| false);
        assert!(followed.contains(&key("z", 0)));
    }
}
