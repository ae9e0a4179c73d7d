//! What became of each object, in the words of its status.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use vidimus_core::caller::UnixMillis;
use vidimus_core::resource::{Object, Origin, Rejection};
use vidimus_core::snapshot::TOO_COSTLY;
use vidimus_registry::Loaded;

use crate::condition::{Condition, stand};
use crate::index::{Entry, Index, Key};
use crate::pods::{Joined, Runs};
use crate::quarantined;
use crate::rollouts::{Rollouts, observes};
use crate::routes::Routes;
use crate::runs_jobs::{Known as Jobs, RunsJobs, is_job};
use crate::secrets::{self, Known, Secrets};
use crate::status::Write;

/// The most characters of a message: it is shown in a line.
const MAX_MESSAGE: usize = 2048;
/// Of an object that is malformed, and was good.
const STILL_REFUSES: &str = "as it is written it is not in force, since it is not accepted; what it refused while it was good it still refuses, as Accepted says";
/// Of a policy whose window does not open again, in one word.
const OVER: &str = "WindowOver";

/// Of a policy that is not compiled yet.
const WAITS: &str = "many policies were written at once, and this one waits for its turn; what it said before is in force until then";

/// What is known of objects beside them.
pub(crate) struct Reported<'a> {
    pub(crate) secrets: &'a Secrets,
    pub(crate) jobs: &'a RunsJobs,
    pub(crate) rollouts: &'a Rollouts,
    pub(crate) routes: &'a Routes,
    /// Whether it is known who is quarantined by acts.
    pub(crate) knows_acts: bool,
}

/// What is to be written, where that is not what stands there: `loaded` is what was made of `index`, `joined` what runs as it where pods are watched.
/// First what has become of objects, then what only runs or has called. Of an object whose Secret has not been read yet, or of a job before it is known whether
/// they can be run, nothing is known.
pub(crate) fn wanted(
    index: &Index,
    loaded: &Loaded,
    reported: &Reported<'_>,
    joined: Option<&Joined>,
    now: Timestamp,
) -> Vec<Write> {
    let in_force = InForce::of(loaded, now);
    let over = &in_force.over;
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let rejected = by_uid(&loaded.rejections);
    let warned = by_uid(loaded.snapshot.warnings());
    let refusing: HashSet<&str> = loaded.snapshot.only_refusing().filter_map(|one| uid(one.origin)).collect();
    let jobs = reported.jobs.known();
    let plainly = Verdict::default().conditions(None);
    let is_plain = |key: &Key, entry: &Entry| {
        let uid: &str = &entry.uid;
        let has_more = rejected.contains_key(uid)
            || warned.contains_key(uid)
            || quarantined::concerns(&entry.conditions)
            || reported.routes.concerns(key, &entry.conditions)
            || index.waits(uid)
            || joined.is_some_and(|joined| joined.concerns(key));
        !has_more && loaded.not_ready.is_none() && in_force.is_plain(uid)
    };
    let (mut wanted, mut runs_otherwise) = (Vec::new(), Vec::new());
    for (key, entry) in index.entries() {
        // Nearly all are in force, nothing else is to be said of them, and that stands there: nothing is made of these.
        if says(entry, &plainly) && is_plain(key, entry) {
            continue;
        }
        let object = in_force.get(&entry.uid);
        let is_job = object.is_some_and(is_job);
        if is_job && jobs == Jobs::Unread {
            continue;
        }
        let unusable =
            match object.and_then(secrets::named_by).map(|named| (named, reported.secrets.known(named))) {
                Some((_, Known::Unread)) => continue,
                Some((named, Known::Not(why))) => Some((why.reason(), why.message(named))),
                None if is_job => jobs.why_not(),
                None => over.get(&*entry.uid).map(|why| (OVER, why.clone())),
                Some((_, Known::There)) => None,
            };
        let (rejected, mut warned) = (about(&rejected, &entry.uid), about(&warned, &entry.uid));
        // What it would do is not done any more.
        warned.retain(|_| !over.contains_key(&*entry.uid));
        let verdict = Verdict {
            rejected: &rejected,
            warned: &warned,
            in_force: object.is_some(),
            refuses: refusing.contains(&*entry.uid),
            audience_taken: loaded.snapshot.audience_holder(key.0, &key.1, &key.2).is_some(),
            waits: index.waits(&entry.uid),
            closed: loaded.not_ready.as_deref(),
            unusable,
        };
        let mut conditions = verdict.conditions(entry.generation);
        conditions.extend(in_force.more(key, entry, reported));
        let runs = |joined: &Joined| joined.runs(key, &entry.runs, &entry.conditions, entry.generation);
        let (running, runs) = joined.map(runs).unwrap_or_default();
        let is_told = entry.observed == entry.generation && stand(&entry.conditions, &conditions);
        conditions.extend(running);
        if is_told && entry.runs == runs && stand(&entry.conditions, &conditions) {
            continue;
        }
        let since = |one: Condition| one.since(&entry.conditions, &now);
        let last = if is_told { &mut runs_otherwise } else { &mut wanted };
        last.push(Write {
            key: key.clone(),
            uid: entry.uid.clone(),
            version: entry.version.clone(),
            generation: entry.generation,
            conditions: conditions.into_iter().map(since).collect(),
            runs,
        });
    }
    wanted.append(&mut runs_otherwise);
    wanted
}

/// Whether the status of an object says this of it as it is, and nothing of what runs as it.
fn says(entry: &Entry, conditions: &[Condition]) -> bool {
    let stands =
        |wanted: &Condition| entry.conditions.iter().any(|there| there.is_same_of(wanted, entry.generation));
    entry.observed == entry.generation && entry.runs == Runs::default() && conditions.iter().all(stands)
}

/// The objects in force, each by its uid.
#[derive(Default)]
struct InForce<'l> {
    all: HashMap<&'l str, &'l Object>,
    /// Of those that permit nothing any more, that they do not.
    over: HashMap<&'l str, String>,
}

impl<'l> InForce<'l> {
    fn of(loaded: &'l Loaded, now: Timestamp) -> Self {
        let objects = loaded.snapshot.objects();
        let mut found = Self { all: HashMap::with_capacity(objects.len()), ..Self::default() };
        for object in objects {
            let Some(uid) = uid(&object.meta().origin) else { continue };
            found.all.insert(uid, object);
            found.over.extend(over(object, now).map(|why| (uid, why)));
        }
        found
    }

    fn get(&self, uid: &str) -> Option<&'l Object> {
        self.all.get(uid).copied()
    }

    /// Whether an object is in force, and nothing of what is known here is to be said of it. What observes deserves a look anyway.
    fn is_plain(&self, uid: &str) -> bool {
        self.get(uid).is_some_and(|object| {
            let has_more = self.over.contains_key(uid)
                || secrets::named_by(object).is_some()
                || is_job(object)
                || object.is_quarantined();
            !has_more
        })
    }

    /// What is said of an object beside the three conditions that each has.
    fn more(&self, key: &Key, entry: &Entry, reported: &Reported<'_>) -> impl Iterator<Item = Condition> {
        let uid: &str = &entry.uid;
        let object = self.get(uid);
        // One that is over is not programmed, and lets nothing pass.
        let observes = object.is_some_and(observes) && !self.over.contains_key(uid);
        let observing = observes.then(|| reported.rollouts.condition(key, entry.generation)).flatten();
        // Of what is malformed it is not known: its quarantine is held, and stays told.
        let is_known = reported.knows_acts && object.is_some();
        let is_quarantined = object.is_some_and(Object::is_quarantined);
        let quarantined =
            quarantined::condition(is_quarantined, is_known, &entry.conditions, entry.generation);
        // What is not in force has no route to be refused.
        let routed = object.and_then(|_| reported.routes.condition(key, &entry.conditions, entry.generation));
        observing
            .into_iter()
            .chain(quarantined)
            .chain(routed.map(|one| Condition { message: shortened(&one.message), ..one }))
    }
}

/// That a policy permits nothing any more, since its window does not open again; a rollout then lets nothing pass.
fn over(object: &Object, now: Timestamp) -> Option<String> {
    let Object::Policy(policy) = object else { return None };
    let window =
        policy.window.as_ref().filter(|window| window.opens(UnixMillis(now.as_millisecond())).is_none())?;
    Some(format!(
        "spec.window ({}): this window does not open again, so the policy permits nothing any more; give it another time, or delete the policy",
        window.spec()
    ))
}

fn by_uid(all: &[Rejection]) -> HashMap<&str, Vec<&Rejection>> {
    let mut by_uid: HashMap<&str, Vec<&Rejection>> = HashMap::new();
    for one in all {
        if let Some(uid) = uid(&one.origin) {
            by_uid.entry(uid).or_default().push(one);
        }
    }
    by_uid
}

fn about<'r>(all: &HashMap<&str, Vec<&'r Rejection>>, uid: &str) -> Vec<&'r Rejection> {
    all.get(uid).cloned().unwrap_or_default()
}

fn uid(origin: &Origin) -> Option<&str> {
    match origin {
        Origin::Cluster { uid, .. } => uid.as_deref(),
        Origin::File { .. } => None,
    }
}

/// What is known of one object.
struct Verdict<'a> {
    rejected: &'a [&'a Rejection],
    warned: &'a [&'a Rejection],
    in_force: bool,
    /// Whether it refuses although it is not.
    refuses: bool,
    /// Whether it is not, because another namespace has its audience.
    audience_taken: bool,
    /// It is not compiled yet; what its object was before is in force, if anything.
    waits: bool,
    /// Why everything is refused.
    closed: Option<&'a str>,
    /// Why the key that it names in a Secret cannot be used, its jobs cannot be run, or it permits nothing any more: in one word, and with what
    /// to do. No call passes by it.
    unusable: Option<(&'static str, String)>,
}

/// It is in force, and nothing else is to be said of it.
impl Default for Verdict<'_> {
    fn default() -> Self {
        Self {
            rejected: &[],
            warned: &[],
            in_force: true,
            refuses: false,
            audience_taken: false,
            waits: false,
            closed: None,
            unusable: None,
        }
    }
}

impl Verdict<'_> {
    fn conditions(&self, generation: Option<i64>) -> Vec<Condition> {
        let one = |of: &str, status: &str, reason: &str, message: String| Condition {
            of: of.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: String::new(),
        };
        if self.waits {
            let waits = |of: &str| one(of, "Unknown", "Pending", WAITS.to_owned());
            return ["Accepted", "Programmed", "Ready"].map(waits).into();
        }
        let condition = |of: &str, status: bool, reason: &str, message: String| {
            one(of, if status { "True" } else { "False" }, reason, message)
        };
        let is_too_costly = self.rejected.iter().any(|one| one.reason.starts_with(TOO_COSTLY));
        let why = match (self.audience_taken, is_too_costly) {
            (true, _) => "AudienceTaken",
            (false, true) => "TooCostly",
            (false, false) => "Invalid",
        };
        let accepted = match self.in_force {
            true => condition("Accepted", true, "Accepted", said(self.warned)),
            false => condition("Accepted", false, why, said(self.rejected)),
        };
        let programmed = match (self.in_force, self.closed) {
            (false, _) => {
                let message =
                    if self.refuses { STILL_REFUSES } else { "it is not in force, since it is not accepted" };
                condition("Programmed", false, why, message.to_owned())
            }
            (true, Some(why)) => condition("Programmed", false, "Closed", shortened(why)),
            (true, None) if self.rejected.is_empty() => match &self.unusable {
                None => condition("Programmed", true, "Programmed", String::new()),
                Some((reason, message)) => condition("Programmed", false, reason, shortened(message)),
            },
            // It is in force without what is wrong of it, such as an identity that another object claims too.
            (true, None) => condition("Programmed", false, "PartlyRefused", said(self.rejected)),
        };
        let ready = match [&accepted, &programmed].into_iter().find(|one| one.status != "True") {
            None => condition("Ready", true, "Ready", String::new()),
            Some(first) => condition("Ready", false, &first.reason, first.message.clone()),
        };
        vec![accepted, programmed, ready]
    }
}

/// Each with its field, the value found, and what to write.
fn said(rejections: &[&Rejection]) -> String {
    let mut all: Vec<String> = Vec::with_capacity(rejections.len());
    for one in rejections {
        let at = match (&*one.field, &*one.value) {
            ("", _) => String::new(),
            (field, "") => format!("{field}: "),
            (field, value) => format!("{field} ({value}): "),
        };
        let fix = if one.fix.is_empty() { String::new() } else { format!("; {}", one.fix) };
        all.push(format!("{at}{}{fix}", one.reason));
    }
    // In whatever order they were found: what says the same is written once.
    all.sort();
    shortened(&all.join(" | "))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        None => text.to_owned(),
        Some(_) => text.chars().take(MAX_MESSAGE - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use serde_json::{Value, json};
    use vidimus_core::resource::Kind;
    use vidimus_core::resource::llm_provider::SecretKey;
    use vidimus_registry::{Says, feed};

    use super::*;
    use crate::live::Told;
    use crate::rollouts::{LetPass, RolloutsReport};
    use crate::routes::{RouteFault, RoutesReport, RoutesSaid};

    fn object(kind: Kind, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "vidimus.dev/v1alpha1", "kind": kind.as_str(),
            "metadata": {"namespace": "a", "name": name, "uid": name, "generation": 4, "resourceVersion": "9"},
            "spec": spec,
        })
    }

    fn agent(name: &str, identity: &str) -> Value {
        let spec = json!({"owner": "ada@example.com", "team": "t", "purpose": "a test", "riskLevel": "low", "identities": [{"spiffe": identity}]});
        object(Kind::Agent, name, &spec)
    }

    fn policy(name: &str, cedar: &str) -> Value {
        object(Kind::Policy, name, &json!({"description": "a test", "cedar": cedar}))
    }

    /// What is known beside the objects.
    #[derive(Default)]
    struct Beside {
        secrets: Secrets,
        jobs: RunsJobs,
        rollouts: Rollouts,
        routes: Routes,
    }

    impl Beside {
        fn reported(&self) -> Reported<'_> {
            let Self { secrets, jobs, rollouts, routes } = self;
            Reported { secrets, jobs, rollouts, routes, knows_acts: true }
        }
    }

    fn kind(document: &Value) -> Kind {
        document["kind"].as_str().and_then(Kind::of).unwrap()
    }

    fn loaded(index: &Index) -> Arc<Loaded> {
        let (_, mut source, _) = feed("the cluster", None, Arc::default()).unwrap();
        let (objects, rejected) = index.says();
        assert!(source.says(Says { objects, rejected, about: Vec::new() }));
        source.current()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// As the object comes back when what was wanted has been written.
    fn written(document: &Value, write: &Write) -> Value {
        let mut document = document.clone();
        document["status"] = json!({"observedGeneration": write.generation, "conditions": write.conditions});
        document
    }

    fn is_ready(conditions: &[Condition]) -> bool {
        conditions.iter().any(|one| one.of == "Ready" && one.status == "True")
    }

    #[test]
    fn each_object_is_told_what_became_of_it_and_how_to_mend_it() {
        let same = "spiffe://example.com/same";
        let objects = [
            agent("good", "spiffe://example.com/good"),
            agent("one", same),
            agent("two", same),
            object(
                Kind::Agent,
                "bad",
                &json!({"owner": 7, "team": "t", "purpose": "p", "riskLevel": "low", "identities": [{"spiffe": "spiffe://example.com/bad"}]}),
            ),
            policy("allows", "permit (principal, action, resource);"),
            policy("broken", "permit (principal, action"),
        ];
        let mut index = Index::new("c");
        for object in &objects {
            index.there(kind(object), object.clone());
        }
        let wanted = wanted(&index, &loaded(&index), &Beside::default().reported(), None, at(0));
        let row = |name: &str| {
            let write = wanted.iter().find(|write| &*write.uid == name).unwrap();
            assert_eq!(write.generation, Some(4));
            let each = |one: &Condition| {
                assert_eq!(
                    (one.observed_generation, &*one.last_transition_time),
                    (Some(4), "1970-01-01T00:00:00Z")
                );
                (one.status == "True", one.reason.clone(), one.message.clone())
            };
            write.conditions.iter().map(each).collect::<Vec<_>>()
        };
        for (name, reasons, message) in [
            ("good", [(true, "Accepted"), (true, "Programmed"), (true, "Ready")], ""),
            ("allows", [(true, "Accepted"), (true, "Programmed"), (true, "Ready")], ""),
            (
                "one",
                [(true, "Accepted"), (false, "PartlyRefused"), (false, "PartlyRefused")],
                "spec.identities[0].spiffe (spiffe://example.com/same): ",
            ),
            ("bad", [(false, "Invalid"), (false, "Invalid"), (false, "Invalid")], "spec.owner (7): "),
            ("broken", [(false, "Invalid"), (false, "Invalid"), (false, "Invalid")], "spec.cedar"),
        ] {
            let row = row(name);
            let found: Vec<(bool, &str)> =
                row.iter().map(|(status, reason, _)| (*status, &**reason)).collect();
            assert_eq!(found, reasons, "{name}: {row:?}");
            assert!(
                row[2].2.contains(message) && (message.is_empty() || row[2].2.contains("; ")),
                "{name}: {row:?}"
            );
        }
    }

    /// A policy that waits for its turn is neither good nor wrong, and one that costs too much says so.
    #[test]
    fn what_waits_and_what_is_too_costly_is_told_so() {
        let all = (0..90)
            .map(|n| format!("principal.hasTag(\"t{n}\") && principal.getTag(\"t{n}\") like \"*a*b*\""));
        let condition = all.collect::<Vec<_>>().join(" || ");
        let costly = format!("forbid (principal, action, resource) when {{ {condition} }};\n").repeat(8);
        let mut index = Index::new("c");
        let documents = (0..4).map(|n| policy(&format!("p{n}"), &costly));
        for document in documents.chain([policy("waits", "permit (principal, action, resource);")]) {
            index.there(Kind::Policy, document);
        }
        let loaded = loaded(&index);
        index.note_waiting(&HashSet::from(["waits".into()]));
        let wanted = wanted(&index, &loaded, &Beside::default().reported(), None, at(0));
        let first = |name: &str| {
            let write = wanted.iter().find(|write| &*write.uid == name).unwrap();
            let one = &write.conditions[0];
            (one.status.clone(), one.reason.clone(), one.message.clone())
        };
        let (status, reason, _) = first("waits");
        assert_eq!((&*status, &*reason), ("Unknown", "Pending"));
        let (status, reason, _) = first("p0");
        assert_eq!((&*status, &*reason), ("True", "Accepted"));
        let (status, reason, message) = first("p3");
        assert_eq!((&*status, &*reason), ("False", "TooCostly"));
        assert!(message.contains("20000"), "{message}");
    }

    /// What was written comes back as an event, and nothing more is wanted then: not in a thousand rounds.
    #[test]
    fn what_was_written_is_not_wanted_again_and_what_others_wrote_is_left() {
        let documents = [agent("good", "spiffe://example.com/good"), policy("broken", "permit (")];
        let mut index = Index::new("c");
        for document in &documents {
            index.there(kind(document), document.clone());
        }
        let first = wanted(&index, &loaded(&index), &Beside::default().reported(), None, at(0));
        assert_eq!(first.len(), 2);
        for (document, write) in documents.iter().zip([&first[0], &first[1]]) {
            let mut written = written(document, write);
            let foreign = json!({"type": "Other", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "x"});
            written["status"]["conditions"].as_array_mut().unwrap().push(foreign);
            index.there(kind(document), written);
        }
        let ready: Vec<bool> = index.entries().map(|(_, entry)| is_ready(&entry.conditions)).collect();
        assert_eq!(ready, [true, false]);
        assert!(wanted(&index, &loaded(&index), &Beside::default().reported(), None, at(60)).is_empty());
        // Mended, it says so, and since when: another generation of what was good has the time that it had.
        let mut mended = written(&policy("broken", "permit (principal, action, resource);"), &first[1]);
        mended["metadata"]["generation"] = json!(5);
        index.there(Kind::Policy, mended);
        let mut later = written(&agent("good", "spiffe://example.com/other"), &first[0]);
        later["metadata"]["generation"] = json!(5);
        index.there(Kind::Agent, later);
        let next = wanted(&index, &loaded(&index), &Beside::default().reported(), None, at(60));
        let times: Vec<&str> = next.iter().map(|write| &*write.conditions[0].last_transition_time).collect();
        assert_eq!(times, ["1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z"]);
        assert!(next.iter().all(|write| write.generation == Some(5)));
    }

    /// Attack: the address of a server of another namespace, registered again.
    #[test]
    fn who_registers_what_another_namespace_has_is_told_so() {
        let mut index = Index::new("c");
        for (namespace, second) in [("finance", 1), ("evil", 2)] {
            let spec = json!({"owner": "ada@example.com", "team": "t", "riskLevel": "low", "endpoint": {"url": "http://ledger.finance/mcp"}});
            let mut server = object(Kind::McpServer, namespace, &spec);
            server["metadata"]["namespace"] = json!(namespace);
            server["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:00:0{second}Z"));
            index.there(Kind::McpServer, server);
        }
        let wanted = wanted(&index, &loaded(&index), &Beside::default().reported(), None, at(0));
        let told = |name: &str| {
            let write = wanted.iter().find(|write| &*write.uid == name).unwrap();
            write.conditions.iter().map(|one| format!("{}/{}", one.status, one.reason)).collect::<Vec<_>>()
        };
        assert_eq!(told("finance"), ["True/Accepted", "True/Programmed", "True/Ready"]);
        assert_eq!(told("evil"), ["False/AudienceTaken"; 3]);
    }

    /// A provider without its key is good, and no call to it passes.
    #[test]
    fn a_provider_is_told_of_its_key_once_that_is_known() {
        let spec = json!({
            "owner": "ada@example.com", "type": "openAI", "models": [{"name": "m"}],
            "credential": {"secretRef": {"name": "openai", "key": "apiKey"}},
        });
        let mut index = Index::new("c");
        index.there(Kind::LlmProvider, object(Kind::LlmProvider, "models", &spec));
        let secrets = Secrets::default();
        let named = SecretKey { namespace: "a".into(), name: "openai".into(), key: "apiKey".into() };
        secrets.named([&named].into_iter(), std::iter::empty());
        let reasons = || {
            let all = wanted(
                &index,
                &loaded(&index),
                &Beside { secrets: secrets.clone(), ..Beside::default() }.reported(),
                None,
                at(0),
            );
            let reasons = |write: &Write| {
                write.conditions.iter().map(|one| one.reason.clone()).collect::<Vec<String>>()
            };
            all.first().map(reasons).unwrap_or_default()
        };
        assert_eq!(reasons(), [""; 0], "nothing is known yet");
        secrets.told(&named, Told::Listed(Vec::new()), Instant::now());
        assert_eq!(reasons(), ["Accepted", "SecretNotFound", "SecretNotFound"]);
        let secret =
            json!({"metadata": {"namespace": "a", "name": "openai"}, "data": {"apiKey": "c2stMQ=="}});
        secrets.told(&named, Told::There(secret), Instant::now());
        assert_eq!(reasons(), ["Accepted", "Programmed", "Ready"]);
    }

    /// A server that is a job is good, and no call to it passes where nothing runs jobs.
    #[test]
    fn a_job_that_nothing_runs_is_not_programmed() {
        let spec = json!({
            "owner": "ada@example.com", "team": "t", "riskLevel": "low",
            "job": {
                "template": {"spec": {"containers": [{"name": "tool", "image": format!("registry.example/x@sha256:{}", "0".repeat(64))}]}},
                "tools": {"echo": {"description": "Says it.", "inputSchema": {"type": "object"}}},
            },
        });
        let mut index = Index::new("c");
        index.there(Kind::McpServer, object(Kind::McpServer, "shell", &spec));
        let loaded = loaded(&index);
        let reasons = |known: Jobs| {
            let all = wanted(
                &index,
                &loaded,
                &Beside { jobs: RunsJobs::new(known), ..Beside::default() }.reported(),
                None,
                at(0),
            );
            let reasons = |write: &Write| {
                write.conditions.iter().map(|one| one.reason.clone()).collect::<Vec<String>>()
            };
            all.first().map(reasons).unwrap_or_default()
        };
        for (known, is) in [
            (Jobs::Unread, &[][..]),
            (Jobs::Can, &["Accepted", "Programmed", "Ready"]),
            (Jobs::Off, &["Accepted", "JobsOff", "JobsOff"]),
            (Jobs::Forbidden("no (403)".to_owned()), &["Accepted", "JobsForbidden", "JobsForbidden"]),
        ] {
            assert_eq!(reasons(known.clone()), is, "{known:?}");
        }
    }

    /// A forbid that is malformed goes on forbidding, and says so.
    #[test]
    fn what_still_refuses_says_so() {
        let (_, mut source, _) = feed("the cluster", None, Arc::default()).unwrap();
        let mut index = Index::new("c");
        let mut messages = |cedar: &str, name: &str| {
            index.there(Kind::Policy, policy(name, cedar));
            let (objects, rejected) = index.says();
            assert!(source.says(Says { objects, rejected, about: Vec::new() }));
            let all = wanted(&index, &source.current(), &Beside::default().reported(), None, at(0));
            let write = all.iter().find(|write| &*write.uid == name).unwrap();
            [0, 1].map(|place| write.conditions[place].message.clone())
        };
        let [_, programmed] = messages("permit (principal", "never");
        assert!(programmed.starts_with("it is not in force"), "{programmed}");
        assert_eq!(messages("forbid (principal, action, resource);", "stop")[1], "");
        let [accepted, programmed] = messages("forbid (principal", "stop");
        assert!(accepted.contains("stays forbidden"), "{accepted}");
        assert_eq!(programmed, STILL_REFUSES);
    }

    /// A rollout that is over lets nothing pass, and its status no longer says that it does.
    #[test]
    fn a_policy_whose_window_is_over_is_not_programmed() {
        let spec = |mode: Option<&str>| {
            let cedar = "permit (principal, action, resource);";
            let mut spec =
                json!({"description": "a test", "cedar": cedar, "window": {"until": "2026-01-01T00:00:00Z"}});
            if let Some(mode) = mode {
                spec["mode"] = json!(mode);
            }
            spec
        };
        let mut index = Index::new("c");
        for (name, mode) in [("observes", Some("rollout")), ("migration", None)] {
            index.there(Kind::Policy, object(Kind::Policy, name, &spec(mode)));
        }
        let loaded = loaded(&index);
        // A second before the end, and at it.
        for (second, reason) in [(1_767_225_599, "Programmed"), (1_767_225_600, OVER)] {
            let all = wanted(&index, &loaded, &Beside::default().reported(), None, at(second));
            assert_eq!(all.len(), 2);
            for write in &all {
                assert_eq!(
                    (&*write.conditions[0].reason, &*write.conditions[1].reason),
                    ("Accepted", reason),
                    "{write:?}"
                );
                let ready = is_ready(&write.conditions);
                assert_eq!(ready, reason == "Programmed", "{write:?}");
                let is_said = write.conditions[0].message.contains("that no policy permits pass");
                assert_eq!(is_said, ready && &*write.uid == "observes", "{write:?}");
            }
        }
    }

    /// What a rollout lets pass is in its status, and in no other.
    #[test]
    fn what_a_rollout_lets_pass_is_in_its_status() {
        let mut index = Index::new("c");
        let window = json!({"until": "2026-01-01T00:00:00Z"});
        for (name, mode) in [("observes", "rollout"), ("decides", "enforce")] {
            let cedar = "permit (principal, action, resource);";
            let spec = json!({"description": "a test", "cedar": cedar, "window": window, "mode": mode});
            index.there(Kind::Policy, object(Kind::Policy, name, &spec));
        }
        let loaded = loaded(&index);
        let (tell, _heard) = std::sync::mpsc::channel();
        let rollouts = Rollouts::default();
        let report = RolloutsReport::new(rollouts.clone(), tell);
        let reason = |name: &str, second: i64| {
            let all = wanted(
                &index,
                &loaded,
                &Beside { rollouts: rollouts.clone(), ..Beside::default() }.reported(),
                None,
                at(second),
            );
            let write = all.iter().find(|write| &*write.uid == name).unwrap();
            write.conditions.iter().find(|one| one.of == "Observing").map(|one| one.reason.clone())
        };
        let (before, end) = (1_767_225_599, 1_767_225_600);
        assert_eq!(reason("observes", before), None, "nobody has told yet");
        let mut counted = LetPass { gateway: "g".to_owned(), ..LetPass::default() };
        report.note(counted.clone());
        assert_eq!(reason("observes", before).as_deref(), Some("NothingPassed"));
        counted.calls.insert("a/observes".into(), (2, "2025-12-31T00:00:00Z".to_owned()));
        report.note(counted);
        assert_eq!(reason("observes", before).as_deref(), Some("WouldRefuse"));
        assert_eq!((reason("observes", end), reason("decides", before)), (None, None));
    }

    /// It is in force, and one of the ways to it is not.
    #[test]
    fn what_a_data_plane_refuses_is_in_the_status_of_its_object() {
        let mut index = Index::new("c");
        for name in ["one", "two"] {
            index.there(Kind::Agent, agent(name, &format!("spiffe://corp.example/{name}")));
        }
        let loaded = loaded(&index);
        let (tell, _heard) = std::sync::mpsc::channel();
        let routes = Routes::default();
        let report = RoutesReport::new(routes.clone(), tell);
        let fault = RouteFault { is_refused: true, message: "x".repeat(5_000) };
        report.note(RoutesSaid { heard: true, faults: [("Agent a/one".to_owned(), fault)].into() });
        let beside = Beside { routes, ..Beside::default() };
        let all = wanted(&index, &loaded, &beside.reported(), None, at(0));
        let said = |name: &str| {
            let write = all.iter().find(|write| &*write.uid == name).unwrap();
            assert!(is_ready(&write.conditions));
            write.conditions.iter().find(|one| one.of == "Routed").cloned()
        };
        let one = said("one").unwrap();
        assert_eq!((&*one.status, &*one.reason), ("False", "RouteRefused"));
        assert!(one.message.chars().count() <= MAX_MESSAGE);
        assert_eq!(said("two"), None);
    }

    /// Whoever quarantined it: what an act says of an object is in what is in force.
    #[test]
    fn who_is_quarantined_is_told_until_it_is_not() {
        let mut index = Index::new("c");
        let mut stopped = agent("stopped", "spiffe://corp.example/stopped");
        stopped["spec"]["quarantined"] = json!(true);
        for one in [stopped, agent("bot", "spiffe://corp.example/bot")] {
            index.there(Kind::Agent, one);
        }
        let all = wanted(&index, &loaded(&index), &Beside::default().reported(), None, at(0));
        let said = |name: &str| {
            let write = all.iter().find(|write| &*write.uid == name).unwrap();
            write.conditions.iter().find(|one| one.of == "Quarantined").map(|one| one.status.clone())
        };
        assert_eq!((said("stopped").as_deref(), said("bot")), (Some("True"), None));
        // It is lifted, and says so.
        let write = all.iter().find(|write| &*write.uid == "stopped").unwrap();
        index.there(Kind::Agent, written(&agent("stopped", "spiffe://corp.example/stopped"), write));
        let next = wanted(&index, &loaded(&index), &Beside::default().reported(), None, at(60));
        let lifted = next.iter().find(|write| &*write.uid == "stopped").unwrap();
        let told = lifted.conditions.iter().find(|one| one.of == "Quarantined").unwrap();
        assert_eq!((&*told.status, &*told.reason), ("False", "NotQuarantined"));
        // Attack: it is made malformed, and so not quarantined any more.
        let mut malformed = agent("stopped", "spiffe://corp.example/stopped");
        malformed["spec"]["owner"] = json!(7);
        index.there(Kind::Agent, written(&malformed, write));
        let last = wanted(&index, &loaded(&index), &Beside::default().reported(), None, at(90));
        let held = last.iter().find(|write| &*write.uid == "stopped").unwrap();
        assert!(held.conditions.iter().any(|one| one.of == "Quarantined" && one.status == "True"));
    }

    #[test]
    fn a_message_is_not_longer_than_a_status_may_be() {
        let long = "x".repeat(10_000);
        assert_eq!(shortened(&long).chars().count(), MAX_MESSAGE);
        assert_eq!(shortened("x"), "x");
    }
}
