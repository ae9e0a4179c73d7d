//! The pods that there are, and of which namespaces that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::PodsSaid;
use super::read::{Item, Pod};
use crate::live::Told;

/// How old what an API server says may be when it is heard, and how far the clocks that tokens are dated by may be apart, together. A token that is younger than
/// what is known less this may be of a pod that is not known yet.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// What to do where this process may not.
const ROLE: &str = "kubectl apply -f deploy/rbac/pods.yaml, with the gateway's ServiceAccount as its subject (docs/kubernetes.md, Pods)";

/// What one watch is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Pods, of all namespaces or one.
    Pods(Option<Arc<str>>),
    /// Which namespaces are governed.
    Namespaces,
}

#[derive(Debug)]
struct Watch {
    of: Watched,
    listed: bool,
    /// All that there was by then was heard.
    as_of: Timestamp,
    lost: Option<String>,
}

/// What is known.
#[derive(Debug)]
pub(crate) struct Known {
    watches: Vec<Watch>,
    /// By namespace and UID.
    pods: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Pod>>>,
    /// The namespaces that have the label.
    labelled: BTreeSet<Arc<str>>,
}

impl Known {
    /// Of these namespaces; of all, where there are none.
    pub(crate) fn of(namespaces: &[Arc<str>]) -> Self {
        let watch = |of| Watch { of, listed: false, as_of: Timestamp::UNIX_EPOCH, lost: None };
        let watched = match namespaces {
            [] => vec![Watched::Pods(None), Watched::Namespaces],
            some => some.iter().cloned().map(|namespace| Watched::Pods(Some(namespace))).collect(),
        };
        let watches = watched.into_iter().map(watch).collect();
        Self { watches, pods: BTreeMap::new(), labelled: BTreeSet::new() }
    }

    /// What is watched, each at its place.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        self.watches.iter().map(|watch| watch.of.clone()).collect()
    }

    /// Whether all of them were listed once.
    pub(crate) fn is_whole(&self) -> bool {
        self.watches.iter().all(|watch| watch.listed)
    }

    /// Why what happens is not heard now.
    pub(crate) fn lost(&self) -> Option<&str> {
        self.watches.iter().find_map(|watch| watch.lost.as_deref())
    }

    /// Whether the pods of a namespace are among those that are followed.
    pub(crate) fn follows(&self, namespace: &str) -> bool {
        self.watches.iter().any(|watch| match &watch.of {
            Watched::Pods(scope) => scope.as_deref().is_none_or(|one| one == namespace),
            Watched::Namespaces => false,
        })
    }

    /// Whether its pods are looked at whatever is registered in it: by its label, or because it was named.
    pub(crate) fn is_governed(&self, namespace: &str) -> bool {
        let named = Watched::Pods(Some(namespace.into()));
        self.labelled.contains(namespace) || self.watches.iter().any(|watch| watch.of == named)
    }

    /// All pods.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values().flat_map(BTreeMap::values)
    }

    /// Takes what a watch tells: what is to be said of it, and whether what runs is otherwise.
    pub(crate) fn take(&mut self, place: usize, told: Told<Item>) -> (Vec<PodsSaid>, bool) {
        let Some(watch) = self.watches.get_mut(place) else { return (Vec::new(), false) };
        let of = watch.of.clone();
        let lost = match &told {
            Told::Lost(reason) => Some(reason.clone()),
            Told::Forbidden(reason) => Some(format!("{reason}; {ROLE}")),
            _ => None,
        };
        if let Some(reason) = lost {
            let is_new = watch.lost.as_ref() != Some(&reason);
            if is_new {
                let what = if watch.listed { "are not heard any more" } else { "cannot be heard" };
                tracing::warn!(reason, "{of} {what}; what is known of them stays so");
            }
            watch.lost = Some(reason);
            // That nothing can be known of what runs is said in statuses, too.
            return (Vec::new(), is_new && matches!(told, Told::Forbidden(_)));
        }
        if watch.lost.take().is_some() {
            tracing::info!("{of} are heard again");
        }
        match told {
            Told::Listed(items) => {
                let first = !mem::replace(&mut watch.listed, true);
                let (said, changed) = self.listed(&of, items);
                (said, changed || first)
            }
            Told::There(Item::Pod(pod)) => self.there(pod),
            Told::Gone(Item::Pod(pod)) => self.gone(&pod),
            Told::There(Item::Namespace { name, governed }) => (Vec::new(), self.label(name, governed)),
            Told::Gone(Item::Namespace { name, .. }) => (Vec::new(), self.label(name, false)),
            Told::UpTo(time) => {
                watch.as_of = watch.as_of.max(time.saturating_sub(MARGIN).unwrap_or(Timestamp::UNIX_EPOCH));
                (self.as_of().map(PodsSaid::AsOf).into_iter().collect(), false)
            }
            Told::Alive | Told::Lost(_) | Told::Forbidden(_) => (Vec::new(), false),
        }
    }

    fn listed(&mut self, of: &Watched, items: Vec<Item>) -> (Vec<PodsSaid>, bool) {
        let scope = match of {
            Watched::Namespaces => {
                let governed = |item: Item| match item {
                    Item::Namespace { name, governed: true } => Some(name),
                    Item::Namespace { .. } | Item::Pod(_) => None,
                };
                let labelled: BTreeSet<Arc<str>> = items.into_iter().filter_map(governed).collect();
                let changed = self.labelled != labelled;
                self.labelled = labelled;
                return (Vec::new(), changed);
            }
            Watched::Pods(scope) => scope,
        };
        let mut listed: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Pod>>> = BTreeMap::new();
        for item in items {
            let Item::Pod(pod) = item else { continue };
            listed.entry(pod.namespace.clone()).or_default().insert(pod.uid.clone(), pod);
        }
        let concerned = |namespace: &str| scope.as_deref().is_none_or(|one| one == namespace);
        listed.retain(|namespace, _| concerned(namespace));
        let others = self.pods.iter().filter(|(namespace, _)| !concerned(namespace));
        listed.extend(others.map(|(namespace, pods)| (namespace.clone(), pods.clone())));
        let changed = self.pods != listed;
        self.pods = listed;
        (self.all().into_iter().collect(), changed)
    }

    fn there(&mut self, pod: Arc<Pod>) -> (Vec<PodsSaid>, bool) {
        let (namespace, uid) = (pod.namespace.clone(), pod.uid.clone());
        let pods = self.pods.entry(namespace.clone()).or_default();
        let changed = pods.get(&uid).is_none_or(|last| *last != pod);
        match pods.insert(uid.clone(), pod) {
            Some(_) => (Vec::new(), changed),
            None => (vec![PodsSaid::There(namespace, uid)], changed),
        }
    }

    fn gone(&mut self, pod: &Pod) -> (Vec<PodsSaid>, bool) {
        let Some(pods) = self.pods.get_mut(&pod.namespace) else { return (Vec::new(), false) };
        match pods.remove(&pod.uid) {
            Some(gone) => (vec![PodsSaid::Gone(gone.namespace.clone(), gone.uid.clone())], true),
            None => (Vec::new(), false),
        }
    }

    fn label(&mut self, namespace: Arc<str>, governed: bool) -> bool {
        match governed {
            true => self.labelled.insert(namespace),
            false => self.labelled.remove(&namespace),
        }
    }

    /// All pods, of the namespaces that were listed.
    fn all(&self) -> Option<PodsSaid> {
        let listed = self.watches.iter().filter(|watch| watch.listed);
        let scopes = listed.filter_map(|watch| match &watch.of {
            Watched::Pods(scope) => Some(scope.clone()),
            Watched::Namespaces => None,
        });
        // One that is of all namespaces makes it all.
        let namespaces = scopes.collect();
        let pods = self.pods().map(|pod| (pod.namespace.clone(), pod.uid.clone())).collect();
        Some(PodsSaid::All { namespaces, pods, as_of: self.as_of()? })
    }

    /// As of when the pods are known that were listed.
    fn as_of(&self) -> Option<Timestamp> {
        let listed = self.watches.iter().filter(|watch| watch.listed && matches!(watch.of, Watched::Pods(_)));
        listed.map(|watch| watch.as_of).min()
    }
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pods(None) => f.write_str("pods"),
            Self::Pods(Some(namespace)) => write!(f, "pods of namespace {namespace}"),
            Self::Namespaces => f.write_str("namespaces"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A pod that runs, of this ServiceAccount.
    pub(in crate::pods) fn pod(namespace: &str, uid: &str, account: &str, phase: &str) -> Item {
        Item::Pod(Arc::new(Pod {
            namespace: namespace.into(),
            name: format!("pod-{uid}").into(),
            uid: uid.into(),
            account: account.into(),
            phase: phase.into(),
            node: None,
            images: vec![],
            version: None,
            since: None,
        }))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn running(uid: &str) -> Item {
        pod("a", uid, "bot", "Running")
    }

    fn all(namespaces: Option<&[&str]>, pods: &[&str], as_of: i64) -> PodsSaid {
        let namespaces = namespaces.map(|all| all.iter().map(|one| Arc::from(*one)).collect());
        let pods = pods.iter().map(|uid| ("a".into(), Arc::from(*uid))).collect();
        PodsSaid::All { namespaces, pods, as_of: at(as_of) }
    }

    #[test]
    fn what_is_told_is_said_on_and_a_loss_says_nothing() {
        let mut known = Known::of(&[]);
        let there = |uid: &str| PodsSaid::There("a".into(), uid.into());
        let gone = |uid: &str| PodsSaid::Gone("a".into(), uid.into());
        for (told, said, changed) in [
            (Told::Alive, vec![], false),
            (Told::Listed(vec![running("1"), running("2")]), vec![all(None, &["1", "2"], 0)], true),
            (Told::UpTo(at(100)), vec![PodsSaid::AsOf(at(70))], false),
            (Told::There(running("1")), vec![], false),
            (Told::There(pod("a", "1", "bot", "Failed")), vec![], true),
            (Told::There(running("3")), vec![there("3")], true),
            (Told::Gone(running("2")), vec![gone("2")], true),
            (Told::Gone(running("2")), vec![], false),
            (Told::Lost("503".to_owned()), vec![], false),
            // Nothing is known of what happens meanwhile.
            (Told::Alive, vec![], false),
            (Told::UpTo(at(90)), vec![PodsSaid::AsOf(at(70))], false),
            // Listed anew after a gap: as of what was known before, until more is told.
            (Told::Listed(vec![running("3")]), vec![all(None, &["3"], 70)], true),
            (Told::UpTo(at(300)), vec![PodsSaid::AsOf(at(270))], false),
        ] {
            let case = format!("{told:?}");
            assert_eq!(known.take(0, told), (said, changed), "{case}");
            assert_eq!(known.lost().is_some(), case.starts_with("Lost"), "{case}");
        }
        assert!(!known.is_whole(), "namespaces were not listed");
        // Without the role it is said what to do, once.
        for changed in [true, false] {
            assert_eq!(known.take(1, Told::Forbidden("no (403)".to_owned())), (vec![], changed));
            assert!(known.lost().is_some_and(|why| why.starts_with("no (403); ") && why.contains("deploy/rbac/pods.yaml")));
        }
        let label = |name: &str, governed| Item::Namespace { name: name.into(), governed };
        assert_eq!(known.take(1, Told::Listed(vec![label("a", true), label("b", false)])), (vec![], true));
        assert!(known.is_whole() && known.is_governed("a") && !known.is_governed("b"));
        assert_eq!(known.take(1, Told::There(label("b", true))), (vec![], true));
        assert_eq!(known.take(1, Told::There(label("b", true))), (vec![], false));
        assert_eq!(known.take(1, Told::Gone(label("a", true))), (vec![], true));
        assert!(known.is_governed("b") && !known.is_governed("a"));
    }

    #[test]
    fn of_several_namespaces_what_was_listed_is_known_as_of_the_one_that_was_heard_least() {
        let mut known = Known::of(&["a".into(), "b".into()]);
        assert!(known.follows("a") && !known.follows("c") && known.is_governed("b"));
        known.take(0, Told::UpTo(at(100)));
        let (said, _) = known.take(0, Told::Listed(vec![running("1"), pod("c", "9", "x", "Running")]));
        assert_eq!(said, [all(Some(&["a"]), &["1"], 70)]);
        let (said, _) = known.take(1, Told::Listed(vec![]));
        assert_eq!(said, [all(Some(&["a", "b"]), &["1"], 0)]);
        assert_eq!(known.take(1, Told::UpTo(at(60))).0, [PodsSaid::AsOf(at(30))]);
        assert_eq!(known.take(1, Told::UpTo(at(200))).0, [PodsSaid::AsOf(at(70))]);
        assert!(known.is_whole());
        assert_eq!(known.take(7, Told::Listed(vec![])), (vec![], false));
    }
}
