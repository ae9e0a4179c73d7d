//! What changed of the objects of a directory from one configuration to the next, for a record of each change (ADR 94).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use vidimus_core::resource::{Kind, Object, ObjectRef, Rejection};

use crate::configurations::{Archive, Unusable, same_around};
use crate::files::holds_resources;
use crate::load::Loaded;
use crate::standing::digest_of;

/// A change of an object of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `Kind/namespace/name`.
    pub object: String,
    /// `create`, `update` or `delete`.
    pub operation: &'static str,
    /// Digest of what it was, `sha256:` and hex; `None` where it was not in force.
    pub before: Option<String>,
    /// The same of what it is.
    pub after: Option<String>,
    /// The file that it stands in, or stood in; `None` of what was deleted while nothing ran.
    pub path: Option<PathBuf>,
    /// Why it is left out, where it is.
    pub rejected: Option<String>,
}

/// The configuration up to which changes are on record.
#[derive(Debug)]
pub struct Recorded {
    objects: Objects,
    /// What was left out, and where it stands; `None` where that is not known, as of a configuration that was kept.
    rejected: Option<BTreeMap<ObjectRef, Option<PathBuf>>>,
    /// All that something was said of, left out or not.
    named: BTreeSet<ObjectRef>,
}

#[derive(Debug)]
enum Objects {
    /// Those of a snapshot: most of the next one are the same in memory.
    Live(Vec<Object>),
    /// Those of before a start, by their documents.
    Kept(BTreeMap<ObjectRef, String>),
}

/// What of an object counts here.
#[derive(Clone, Copy)]
struct Said<'a> {
    document: &'a str,
    path: Option<&'a Path>,
}

/// Whose document it is.
#[derive(Deserialize)]
struct Named {
    kind: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    namespace: Arc<str>,
    name: Arc<str>,
}

impl Recorded {
    /// What is in force now is where records of changes begin.
    pub fn of(loaded: &Loaded) -> Self {
        Self {
            objects: Objects::Live(loaded.snapshot.objects().to_vec()),
            rejected: Some(left_out(loaded)),
            named: named(loaded),
        }
    }

    /// The configuration of this digest, which was in force before a start.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn kept(archive: &Archive, digest: &str) -> Result<Self, Unusable> {
        let mut documents = BTreeMap::new();
        for text in archive.documents(digest)? {
            let object = of_document(&text).ok_or_else(|| Unusable::Damaged {
                path: digest.to_owned(),
                reason: "a text of it is no object".to_owned(),
            })?;
            documents.insert(object, text);
        }
        Ok(Self { objects: Objects::Kept(documents), rejected: None, named: BTreeSet::new() })
    }

    /// What changed from it to `loaded`, which takes its place, by the names of the objects.
    pub fn changes(&mut self, loaded: &Loaded) -> Vec<Change> {
        let now = loaded.snapshot.objects();
        let named = named(loaded);
        let (was, is) = match &self.objects {
            Objects::Live(last) => {
                let (was, is) = different(last, now);
                // Such as an act: all is the same in memory.
                if was.is_empty() && is.is_empty() && named == self.named {
                    return Vec::new();
                }
                (said(was), said(is))
            }
            Objects::Kept(kept) => {
                let was = kept.iter();
                let was = was.map(|(object, document)| (object.clone(), Said { document, path: None }));
                (was.collect(), said(now))
            }
        };
        let (mut rejected, mut named) = (left_out(loaded), named);
        let before = self.rejected.take();
        let changes = between((&was, before.as_ref()), (&is, &rejected), &loaded.rejections);
        // What only a file says that cannot be read is remembered by where it was: it may be mended there, or deleted.
        let was_out = before.iter().flatten().map(|(object, path)| (object, path.as_deref()));
        for (object, path) in was.iter().map(|(object, said)| (object, said.path)).chain(was_out) {
            let is_told = is.contains_key(object) || rejected.contains_key(object);
            if !is_told && why_left_out(object, path, &loaded.rejections).is_some() {
                rejected.insert(object.clone(), path.map(Path::to_owned));
                named.insert(object.clone());
            }
        }
        *self = Self { objects: Objects::Live(now.to_vec()), rejected: Some(rejected), named };
        changes
    }
}

/// A snapshot's objects by their names, and what was left out beside them.
type Seen<'a, T> = (&'a BTreeMap<ObjectRef, Said<'a>>, T);
type LeftOut = BTreeMap<ObjectRef, Option<PathBuf>>;

fn between(
    (was, was_out): Seen<'_, Option<&LeftOut>>,
    (is, is_out): Seen<'_, &LeftOut>,
    rejections: &[Rejection],
) -> Vec<Change> {
    let mut objects: BTreeSet<&ObjectRef> = was.keys().chain(is.keys()).collect();
    // What was left out before a start is not known: it is told when it is mended.
    if let Some(was_out) = was_out {
        objects.extend(was_out.keys().chain(is_out.keys()));
    }
    let was_left_out = |object: &ObjectRef| was_out.and_then(|was_out| was_out.get(object));
    let digest = |said: &Said<'_>| format!("sha256:{}", digest_of(said.document.as_bytes()));
    let change = |object: &ObjectRef| {
        let (before, after) = (was.get(object), is.get(object));
        let path = after.or(before).and_then(|said| said.path).map(Path::to_owned);
        let path = path.or_else(|| was_left_out(object)?.clone());
        let (operation, rejected) = match (before, after) {
            (Some(before), Some(after)) if before.document == after.document => return None,
            (Some(_), Some(_)) => ("update", None),
            (None, Some(_)) if was_left_out(object).is_some() => ("update", None),
            (None, Some(_)) => ("create", None),
            (_, None) => match why_left_out(object, path.as_deref(), rejections) {
                // It is left out as it was.
                Some(_) if before.is_none() && was_left_out(object).is_some() => return None,
                Some(why) if before.is_none() => ("create", Some(why)),
                Some(why) => ("update", Some(why)),
                None => ("delete", None),
            },
        };
        let (rejected, came) = rejected.unzip();
        let path = came.flatten().map(Path::to_owned).or(path);
        Some(Change {
            object: format!("{}/{}/{}", object.kind, object.namespace, object.name),
            operation,
            before: before.map(digest),
            after: after.map(digest),
            path: path.or_else(|| is_out.get(object)?.clone()),
            rejected,
        })
    };
    objects.into_iter().filter_map(change).collect()
}

/// Why an object is not in force, and the file of which that is said: what is said of it, or of all its file, or of a directory that has that. Of one
/// that is in several files it is what is said of another than `path`, where it stood: that one came. Where its file is not known, as of what was kept,
/// any that cannot be read may have it.
fn why_left_out<'r>(
    object: &ObjectRef,
    path: Option<&Path>,
    rejections: &'r [Rejection],
) -> Option<(String, Option<&'r Path>)> {
    let of_it = || rejections.iter().filter(|rejection| rejection.object.is(object));
    let came = of_it().find(|rejection| rejection.origin.path().is_some_and(|at| Some(at) != path));
    let came = came.or_else(|| of_it().next()).map(|it| (it.reason.clone(), it.origin.path()));
    let of_file = || {
        let may_have_it = |of: &Path| path.map_or_else(|| holds_resources(of), |path| path.starts_with(of));
        let is_of_file = |rejection: &&Rejection| {
            rejection.object.reference().is_none() && rejection.origin.path().is_some_and(may_have_it)
        };
        rejections.iter().find(is_of_file)
    };
    let said = |rejection: &Rejection| match (path, rejection.origin.path()) {
        (None, Some(of)) if rejection.object.reference().is_none() => {
            format!("it may be in {}: {}", of.display(), rejection.reason)
        }
        _ => rejection.reason.clone(),
    };
    came.or_else(|| of_file().map(|rejection| (said(rejection), None)))
}

/// What of both is not the same in memory, but for what is between.
fn different<'a>(last: &'a [Object], now: &'a [Object]) -> (&'a [Object], &'a [Object]) {
    let (first, at_end) = same_around(last, now);
    let but = |all: &'a [Object]| all.get(first..all.len() - at_end).unwrap_or_default();
    (but(last), but(now))
}

fn said(objects: &[Object]) -> BTreeMap<ObjectRef, Said<'_>> {
    let said = objects.iter().map(|object| {
        let meta = object.meta();
        (key(object.reference()), Said { document: &meta.document, path: meta.origin.path() })
    });
    said.collect()
}

fn named(loaded: &Loaded) -> BTreeSet<ObjectRef> {
    loaded.rejections.iter().filter_map(|said| said.object.reference().cloned()).map(key).collect()
}

/// What something is said of, and nothing of is in force.
fn left_out(loaded: &Loaded) -> LeftOut {
    let said = loaded.rejections.iter();
    let mut out: LeftOut = said
        .filter_map(|said| {
            Some((key(said.object.reference()?.clone()), said.origin.path().map(Path::to_owned)))
        })
        .collect();
    if !out.is_empty() {
        let live: HashSet<ObjectRef> =
            loaded.snapshot.objects().iter().map(|object| key(object.reference())).collect();
        out.retain(|object, _| !live.contains(object));
    }
    out
}

/// In whatever version.
fn key(object: ObjectRef) -> ObjectRef {
    ObjectRef { generation: None, ..object }
}

fn of_document(text: &str) -> Option<ObjectRef> {
    let Named { kind, metadata } = serde_json::from_str(text).ok()?;
    let Metadata { namespace, name } = metadata;
    Some(ObjectRef { kind: Kind::of(&kind)?, namespace, name, generation: None })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::configurations::Configurations;
    use crate::load;

    fn policy(name: &str, cedar: &str) -> String {
        format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}, namespace: a}}\nspec: {{description: d, cedar: '{cedar}'}}\n"
        )
    }

    const PERMIT: &str = "permit (principal, action, resource);";
    const FORBID: &str = "forbid (principal, action, resource);";

    /// Each as `operation object`, with what of it was and is there.
    fn told(changes: &[Change]) -> Vec<String> {
        let told = |change: &Change| {
            let there = |digest: &Option<String>| if digest.is_some() { "some" } else { "none" };
            let verdict = if change.rejected.is_some() { " rejected" } else { "" };
            let (before, after) = (there(&change.before), there(&change.after));
            format!("{} {} {before} {after}{verdict}", change.operation, change.object)
        };
        changes.iter().map(told).collect()
    }

    /// Attack: a permit that is added to a served directory, used or not, and taken away again.
    #[test]
    fn what_comes_and_goes_is_told_each_time() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        write("a.yaml", &policy("a", FORBID));
        let mut recorded = Recorded::of(&load(root.path()));
        let mut now = || recorded.changes(&load(root.path()));
        assert_eq!(now(), []);
        write("b.yaml", &policy("b", PERMIT));
        let created = now();
        assert_eq!(told(&created), ["create Policy/a/b none some"]);
        assert!(created.iter().all(|change| change.path.as_deref() == Some(&*root.path().join("b.yaml"))));
        write("b.yaml", &policy("b", FORBID));
        assert_eq!(told(&now()), ["update Policy/a/b some some"]);
        // As another document, in another file, and the same.
        fs::rename(root.path().join("b.yaml"), root.path().join("c.yaml")).unwrap();
        assert_eq!(now(), []);
        fs::remove_file(root.path().join("c.yaml")).unwrap();
        let deleted = now();
        assert_eq!(told(&deleted), ["delete Policy/a/b some none"]);
        assert_eq!(deleted.iter().map(|change| &change.before).next(), Some(&digest_of_policy("b", FORBID)));
    }

    fn digest_of_policy(name: &str, cedar: &str) -> Option<String> {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("p.yaml"), policy(name, cedar)).unwrap();
        let loaded = load(root.path());
        let object = loaded.snapshot.objects().first()?;
        Some(format!("sha256:{}", digest_of(object.meta().document.as_bytes())))
    }

    /// What is malformed is not deleted, and is told once.
    #[test]
    fn what_is_left_out_is_told_as_that() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        write("a.yaml", &policy("a", PERMIT));
        let mut recorded = Recorded::of(&load(root.path()));
        let mut now = || recorded.changes(&load(root.path()));
        write("a.yaml", &policy("a", "permit (principal"));
        let changed = now();
        assert_eq!(told(&changed), ["update Policy/a/a some none rejected"]);
        assert!(changed.iter().all(|change| change.path.is_some()));
        assert_eq!(now(), []);
        write("b.yaml", &policy("b", "permit (principal"));
        assert_eq!(told(&now()), ["create Policy/a/b none none rejected"]);
        write("a.yaml", &policy("a", PERMIT));
        assert_eq!(told(&now()), ["update Policy/a/a none some"]);
        // All of a file.
        write("a.yaml", "kind: [");
        assert_eq!(told(&now()), ["update Policy/a/a some none rejected"]);
        fs::remove_file(root.path().join("b.yaml")).unwrap();
        assert_eq!(told(&now()), ["delete Policy/a/b none none"]);
        // It is mended there, or deleted with it.
        write("a.yaml", &policy("a", PERMIT));
        assert_eq!(told(&now()), ["update Policy/a/a none some"]);
        write("a.yaml", "kind: [");
        assert_eq!(told(&now()), ["update Policy/a/a some none rejected"]);
        assert_eq!(now(), []);
        fs::remove_file(root.path().join("a.yaml")).unwrap();
        assert_eq!(told(&now()), ["delete Policy/a/a none none"]);
        assert_eq!(now(), []);
    }

    /// A directory that is away for a moment deletes nothing, and what was left out of it is as it was.
    #[test]
    fn what_cannot_be_read_for_a_moment_is_not_deleted() {
        let root = tempfile::tempdir().unwrap();
        let (directory, away) = (root.path().join("resources"), root.path().join("away"));
        fs::create_dir(&directory).unwrap();
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        write("a.yaml", &policy("a", PERMIT));
        write("b.yaml", &policy("b", "permit (principal"));
        let mut recorded = Recorded::of(&load(&directory));
        // What was live stays so while the directory cannot be read.
        let live = load(&directory).snapshot;
        fs::rename(&directory, &away).unwrap();
        let unread = Loaded { snapshot: live, ..load(&directory) };
        assert_eq!(unread.rejections.len(), 1);
        assert_eq!(recorded.changes(&unread), []);
        fs::rename(&away, &directory).unwrap();
        assert_eq!(recorded.changes(&load(&directory)), []);
        fs::rename(&directory, &away).unwrap();
        assert_eq!(recorded.changes(&unread), []);
        fs::remove_file(away.join("b.yaml")).unwrap();
        fs::rename(&away, &directory).unwrap();
        assert_eq!(told(&recorded.changes(&load(&directory))), ["delete Policy/a/b none none"]);
    }

    /// Attack: a file with the name of somebody else's object takes it out of use. The record names that file, good or malformed, and not the one that
    /// stood there before.
    #[test]
    fn what_contests_an_object_is_named_and_not_what_stood_there() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("m.yaml"), policy("a", PERMIT)).unwrap();
        for name in ["a.yaml", "z.yaml"] {
            for cedar in [FORBID, "permit (principal"] {
                let mut recorded = Recorded::of(&load(root.path()));
                fs::write(at(name), policy("a", cedar)).unwrap();
                let changes = recorded.changes(&load(root.path()));
                assert_eq!(told(&changes), ["update Policy/a/a some none rejected"], "{name} {cedar}");
                let [change] = changes.as_slice() else { panic!("one") };
                assert_eq!(change.path.as_deref(), Some(&*at(name)), "{cedar}");
                let why = change.rejected.as_deref().unwrap_or_default();
                assert!(!why.contains(name), "it names itself: {why}");
                fs::remove_file(at(name)).unwrap();
                let mended = recorded.changes(&load(root.path()));
                assert_eq!(told(&mended), ["update Policy/a/a none some"], "{name} {cedar}");
            }
        }
    }

    /// What changed while nothing ran is told by what was kept of the configuration before.
    #[test]
    fn what_changed_over_a_start_is_told_by_what_was_kept() {
        let root = tempfile::tempdir().unwrap();
        let (directory, kept_in) = (root.path().join("resources"), root.path().join("configurations"));
        fs::create_dir(&directory).unwrap();
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        for name in ["a", "b", "c"] {
            write(&format!("{name}.yaml"), &policy(name, PERMIT));
        }
        let before = load(&directory).snapshot;
        Configurations::open(&kept_in).unwrap().keep(&before).unwrap();
        let archive = Archive::at(&kept_in);
        let mut same = Recorded::kept(&archive, before.digest()).unwrap();
        assert_eq!(same.changes(&load(&directory)), []);
        fs::remove_file(directory.join("a.yaml")).unwrap();
        write("b.yaml", &policy("b", FORBID));
        write("d.yaml", &policy("d", FORBID));
        write("e.yaml", &policy("e", "forbid (principal"));
        let mut recorded = Recorded::kept(&archive, before.digest()).unwrap();
        let changes = recorded.changes(&load(&directory));
        let all =
            ["delete Policy/a/a some none", "update Policy/a/b some some", "create Policy/a/d none some"];
        assert_eq!(told(&changes), all);
        write("e.yaml", &policy("e", FORBID));
        assert_eq!(told(&recorded.changes(&load(&directory))), ["update Policy/a/e none some"]);
        // Which file had it is not known: what cannot be read may have it.
        write("c.yaml", "kind: [");
        fs::remove_file(directory.join("d.yaml")).unwrap();
        let mut recorded = Recorded::kept(&archive, before.digest()).unwrap();
        let changes = recorded.changes(&load(&directory));
        assert!(told(&changes).contains(&"update Policy/a/c some none rejected".to_owned()), "{changes:?}");
        write("c.yaml", &policy("c", PERMIT));
        let changes = told(&recorded.changes(&load(&directory)));
        assert!(changes.contains(&"update Policy/a/c none some".to_owned()), "{changes:?}");
        // It was not there.
        assert!(changes.contains(&"delete Policy/a/a none none".to_owned()), "{changes:?}");
        assert!(Recorded::kept(&archive, "sha256:00").is_err());
    }
}
