//! Which pod presents a ServiceAccount token, and whether there is such a pod any more.
//!
//! A token that is bound to a pod names it in the claim `kubernetes.io` (KEP-1205, and KEP-4193 for the node). Only the cluster's own issuer is
//! believed about pods. Its tokens outlive their pods by up to an hour, as the API server that would refuse them is not asked for each call:
//! whoever watches the pods says here which there are.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use vidimus_core::caller::{Instance, InstanceKind, Proven, UnixMillis};
use vidimus_core::json::Json;
use vidimus_core::refusal::{self, Code, Refusal};

use super::token::malformed;

/// Longest name of a pod, a node or a namespace, and longest UID, in bytes: a DNS subdomain has no more.
const LONGEST: usize = 253;
/// For how long, in milliseconds of what is known, it is remembered which pods went: then all of their tokens are older than that.
const REMEMBERED: i64 = 120_000;

/// What a token says of where it runs.
#[derive(Clone, Debug)]
pub(crate) struct Kubernetes {
    namespace: Option<Box<str>>,
    service_account: Option<Box<str>>,
    bound: Bound,
}

/// To which pod a token is bound.
#[derive(Clone, Debug)]
enum Bound {
    To(Arc<Instance>),
    ToNone,
    /// To something that can be no pod.
    Oddly,
}

impl Kubernetes {
    /// The claim `kubernetes.io`, of whatever issuer.
    pub(crate) fn read(payload: &Json<'_>) -> Option<Self> {
        let claim = payload.get("kubernetes.io")?;
        let text = |of: &Json<'_>, name: &str| of.get(name).and_then(Json::as_str).map(Box::<str>::from);
        let namespace = text(claim, "namespace");
        let service_account = claim.get("serviceaccount").and_then(|account| text(account, "name"));
        let node = claim.get("node").and_then(|node| text(node, "name")).filter(|name| is_name(name));
        let pod = |pod: &Json<'_>| {
            let (uid, name) = (text(pod, "uid")?, text(pod, "name")?);
            let namespace = namespace.as_deref()?;
            let is_one = [&*uid, &*name, namespace].into_iter().all(is_name);
            let name = Some(format!("{namespace}/{name}").into());
            let node = node.map(Into::into);
            is_one.then(|| Arc::new(Instance { id: uid.into(), kind: InstanceKind::Pod, name, node }))
        };
        let bound = match claim.get("pod") {
            None => Bound::ToNone,
            Some(said) => pod(said).map_or(Bound::Oddly, Bound::To),
        };
        Some(Self { namespace, service_account, bound })
    }

    /// The pod that the token of this ServiceAccount is bound to, where it is bound to one.
    ///
    /// # Errors
    /// `token_malformed` where it says otherwise than its subject whose it is, or names something that is no pod.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Result<Option<Arc<Instance>>, Refusal> {
        if self.namespace.as_deref() != Some(namespace) || self.service_account.as_deref() != Some(name) {
            return Err(malformed("its claim 'kubernetes.io' is of another ServiceAccount than its subject"));
        }
        match &self.bound {
            Bound::ToNone => Ok(None),
            Bound::To(pod) => Ok(Some(pod.clone())),
            Bound::Oddly => Err(malformed("the pod in its claim 'kubernetes.io' has no name and UID")),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

/// The pods that there are, as far as somebody watches them. Clones share it. While nobody says anything, no pod is known to be gone.
#[derive(Clone, Debug, Default)]
pub struct LivePods(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    known: RwLock<Known>,
    /// How often a pod was found gone.
    generation: AtomicU64,
    /// How long nothing may be heard before a pod that is not known is refused; without it, it never is.
    lost_after: OnceLock<Duration>,
}

/// Of which namespaces all pods are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PodScope {
    /// Of none: whatever pod a token names, it may be there.
    #[default]
    Nothing,
    /// Of these.
    Namespaces(BTreeSet<Arc<str>>),
    /// Of all.
    Cluster,
}

#[derive(Debug, Default)]
struct Known {
    scope: PodScope,
    /// UIDs by namespace.
    pods: HashMap<Arc<str>, HashSet<Arc<str>>>,
    /// A pod that there was by then is among them, or gone.
    as_of: UnixMillis,
    /// When that was heard; `None` before the first list.
    heard: Option<Instant>,
    /// Pods that there were and are not any more, by UID: known to be gone, however young a token is. With as of when that was known first.
    gone: HashMap<Arc<str>, Option<UnixMillis>>,
}

impl LivePods {
    /// A pod that is not known is refused once nothing was heard for so long: it may as well be one that came and went meanwhile. To be said once.
    /// Before the first list none is.
    pub fn refuse_unknown_after(&self, lost: Duration) {
        let _ = self.0.lost_after.set(lost);
    }

    /// For how long nothing was heard, where that is so long that pods that are not known are refused.
    pub fn lost_for(&self) -> Option<Duration> {
        self.lost_at(self.read().heard, Instant::now())
    }

    fn lost_at(&self, heard: Option<Instant>, now: Instant) -> Option<Duration> {
        let silent = now.saturating_duration_since(heard?);
        self.0.lost_after.get().is_some_and(|after| silent >= *after).then_some(silent)
    }

    /// All pods of `scope`, each by its namespace and UID, as they were listed at `as_of`.
    pub fn list(
        &self,
        scope: PodScope,
        pods: impl IntoIterator<Item = (Arc<str>, Arc<str>)>,
        as_of: UnixMillis,
    ) {
        let mut listed: HashMap<Arc<str>, HashSet<Arc<str>>> = HashMap::new();
        for (namespace, uid) in pods {
            listed.entry(namespace).or_default().insert(uid);
        }
        let mut known = self.write();
        let Known { pods, mut gone, as_of: before, heard, .. } = std::mem::take(&mut *known);
        let heard = heard.filter(|_| as_of <= before).or_else(|| Some(Instant::now()));
        let missing = pods.iter().flat_map(|(namespace, uids)| {
            let there = listed.get(namespace);
            uids.iter().filter(move |uid| there.is_none_or(|there| !there.contains(*uid)))
        });
        gone.extend(missing.map(|uid| (uid.clone(), None)));
        *known = Known { scope, pods: listed, as_of, heard, gone };
        drop(known);
        self.0.generation.fetch_add(1, Ordering::Release);
    }

    /// There is one more.
    pub fn appeared(&self, namespace: &str, uid: &str) {
        let mut known = self.write();
        known.pods.entry(namespace.into()).or_default().insert(uid.into());
    }

    /// One is gone. A stream that it reads ends with its next event, or at once where whoever says this wakes the streams.
    pub fn went(&self, namespace: &str, uid: &str) {
        let mut known = self.write();
        if let Some(pods) = known.pods.get_mut(namespace) {
            pods.remove(uid);
        }
        known.gone.insert(uid.into(), None);
        drop(known);
        self.0.generation.fetch_add(1, Ordering::Release);
    }

    /// What is known is all that there was at this time: an event or a bookmark came then.
    pub fn seen(&self, as_of: UnixMillis) {
        let mut known = self.write();
        if as_of > known.as_of {
            (known.as_of, known.heard) = (as_of, Some(Instant::now()));
        }
        known.gone.retain(|_, since| as_of.0 < since.get_or_insert(as_of).0.saturating_add(REMEMBERED));
    }

    /// Nothing is known any more, so no pod is known to be gone.
    pub fn forget(&self) {
        *self.write() = Known::default();
    }

    /// Where this is another number, a pod may have been found gone since.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Why a copy that there was at `since` may not call: it is known to be gone (`pod_gone`). A pod that began later than what is known may only
    /// not be known yet, until nothing was heard for too long (`pod_unknown`).
    pub fn why_refused(&self, copy: &Instance, since: UnixMillis) -> Option<Code> {
        if copy.kind != InstanceKind::Pod {
            return None;
        }
        let (namespace, _) = copy.name.as_deref()?.split_once('/')?;
        let known = self.read();
        let is_complete = match &known.scope {
            PodScope::Nothing => false,
            PodScope::Namespaces(namespaces) => namespaces.contains(namespace),
            PodScope::Cluster => true,
        };
        if !is_complete || known.pods.get(namespace).is_some_and(|pods| pods.contains(&copy.id)) {
            return None;
        }
        if since <= known.as_of || known.gone.contains_key(&copy.id) {
            return Some(Code::PodGone);
        }
        self.lost_at(known.heard, Instant::now()).map(|_| Code::PodUnknown)
    }

    /// That whom a credential of this age proves may still be there.
    ///
    /// # Errors
    /// `pod_gone`, `pod_unknown`.
    pub(crate) fn check(&self, proven: &Proven, issued: Option<UnixMillis>) -> Result<(), Refusal> {
        let Some(copy) = &proven.instance else { return Ok(()) };
        self.check_copy(copy, issued).map_err(|refusal| {
            refusal.of(refusal::Verified {
                identity: proven.identity.clone(),
                instance: Some(copy.clone()),
                user: proven.user.as_ref().map(|user| user.id().into()),
            })
        })
    }

    /// The same of one copy, whoever it is.
    ///
    /// # Errors
    /// `pod_gone`, `pod_unknown`.
    pub(crate) fn check_copy(&self, copy: &Instance, issued: Option<UnixMillis>) -> Result<(), Refusal> {
        let Some(code) = self.why_refused(copy, issued.unwrap_or_default()) else { return Ok(()) };
        let name = copy.name.as_deref().unwrap_or(&copy.id);
        let message = match code {
            Code::PodGone => format!("the token is of a pod that is gone: {name}"),
            _ => format!(
                "the token is of a pod that was never seen, and pods are not heard of any more: {name}"
            ),
        };
        Err(Refusal::new(code, message))
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, uid: &str) -> Instance {
        let name = Some(format!("{namespace}/x").into());
        Instance { id: uid.into(), kind: InstanceKind::Pod, name, node: None }
    }

    impl LivePods {
        fn is_gone(&self, copy: &Instance, since: UnixMillis) -> bool {
            self.why_refused(copy, since) == Some(Code::PodGone)
        }
    }

    /// Attack: the watch of pods is cut, a pod is made for its token and deleted, and the token is good for an hour.
    #[test]
    fn a_pod_that_was_never_seen_is_not_believed_for_ever_while_nothing_is_heard() {
        let (at, later) = (UnixMillis(1_000), UnixMillis(1_100));
        let with = |lost_after| {
            let pods = LivePods::default();
            if let Some(after) = lost_after {
                pods.refuse_unknown_after(after);
            }
            assert_eq!(pods.why_refused(&pod("a", "2"), later), None, "before the first list none is");
            pods.list(PodScope::Namespaces([Arc::from("a")].into()), [("a".into(), "1".into())], at);
            pods
        };
        for (lost_after, code) in
            [(None, None), (Some(Duration::MAX), None), (Some(Duration::ZERO), Some(Code::PodUnknown))]
        {
            let pods = with(lost_after);
            assert_eq!(pods.why_refused(&pod("a", "2"), later), code, "{lost_after:?}");
            assert_eq!(pods.lost_for().is_some(), code.is_some());
            // What is known stays known, and of other namespaces nothing is.
            assert_eq!(pods.why_refused(&pod("a", "1"), later), None);
            assert_eq!(pods.why_refused(&pod("a", "2"), at), Some(Code::PodGone));
            assert_eq!(pods.why_refused(&pod("b", "2"), later), None);
        }
        let pods = with(Some(Duration::from_secs(60)));
        let first = pods.read().heard.unwrap();
        let lost = |seconds| pods.lost_at(pods.read().heard, first + Duration::from_secs(seconds)).is_some();
        assert!(!lost(59) && lost(60));
        // That something is told again of what was known says nothing new; what is as of later does.
        pods.list(PodScope::Cluster, [("a".into(), "1".into())], at);
        pods.seen(at);
        pods.appeared("a", "3");
        assert_eq!(pods.read().heard, Some(first));
        pods.seen(later);
        assert!(pods.read().heard.unwrap() > first);
    }

    #[test]
    fn only_what_is_known_to_be_gone_is_gone() {
        let pods = LivePods::default();
        let (at, before, later) = (UnixMillis(1_000), UnixMillis(900), UnixMillis(1_100));
        // Nobody says anything.
        assert!(!pods.is_gone(&pod("a", "1"), before));
        let only = PodScope::Namespaces([Arc::from("a")].into());
        pods.list(only, [("a".into(), "1".into())], at);
        for (copy, since, gone) in [
            (pod("a", "1"), before, false),
            (pod("a", "2"), before, true),
            (pod("a", "2"), at, true),
            // It may have begun since.
            (pod("a", "2"), later, false),
            // Of other namespaces nothing is known, whatever UIDs there are.
            (pod("b", "1"), before, false),
            (pod("b", "2"), before, false),
            (Instance { kind: InstanceKind::Certificate, ..pod("a", "2") }, before, false),
        ] {
            assert_eq!(pods.is_gone(&copy, since), gone, "{copy} {since:?}");
        }
        // The UID of another namespace's pod is none of this one's.
        pods.list(PodScope::Cluster, [("a".into(), "1".into()), ("b".into(), "2".into())], at);
        assert!(pods.is_gone(&pod("a", "2"), before));
        let generation = pods.generation();
        pods.seen(later);
        pods.appeared("a", "2");
        assert!(!pods.is_gone(&pod("a", "2"), later));
        assert_eq!(pods.generation(), generation);
        pods.went("a", "2");
        assert!(pods.is_gone(&pod("a", "2"), later));
        assert_ne!(pods.generation(), generation);
        // Of one that was there it is known however young the token is; in time it is older than what is known.
        assert!(pods.is_gone(&pod("a", "2"), UnixMillis(1_200)));
        pods.seen(later);
        pods.list(PodScope::Cluster, [("b".into(), "2".into())], later);
        assert!(pods.is_gone(&pod("a", "1"), UnixMillis(1_200)), "one that a list has not any more");
        assert!(pods.is_gone(&pod("a", "2"), UnixMillis(1_200)), "a list forgets nothing");
        pods.seen(UnixMillis(1_100 + REMEMBERED));
        assert!(!pods.is_gone(&pod("a", "2"), UnixMillis(300_000)));
        assert!(pods.is_gone(&pod("a", "2"), later));
        // Time does not go back.
        pods.seen(before);
        assert!(pods.is_gone(&pod("a", "2"), later));
        pods.forget();
        assert!(!pods.is_gone(&pod("a", "2"), before));
    }
}
