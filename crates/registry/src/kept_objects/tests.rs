use std::fs;

use serde_json::json;
use vidimus_core::snapshot::{Configuration, Snapshot};

use super::*;

const KEY: [u8; KEY_LENGTH] = [7; KEY_LENGTH];
const HERE: &str = "https://10.0.0.1/ ca 00";

fn times(synced: i64, seen: i64) -> Times {
    Times { synced: UnixMillis(synced), seen: UnixMillis(seen) }
}

fn cluster() -> Arc<str> {
    "kubernetes".into()
}

fn objects(texts: &[&str]) -> Vec<Object> {
    let object = |(number, cedar): (usize, &&str)| {
        let document = json!({
            "apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy",
            "metadata": {"namespace": "a", "name": format!("p{number}"), "generation": 3, "labels": {"x": "y"}},
            "spec": {"description": "a\ntest", "cedar": cedar},
        });
        let origin = Origin::Cluster {
            cluster: cluster(),
            uid: Some(format!("u{number}").into()),
            resource_version: Some("9".into()),
        };
        resource::check(&origin, &document).unwrap()
    };
    texts.iter().enumerate().map(object).collect()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("registry/cluster")
    }

    fn count(&self) -> PathBuf {
        self.0.path().join("identity/cluster.count")
    }

    /// As a start has it.
    fn kept(&self, key: &[u8; KEY_LENGTH]) -> KeptObjects {
        KeptObjects::new(&self.file(), &self.count(), key).unwrap()
    }

    fn write(&self, texts: &[&str], at: Times) {
        let objects = objects(texts);
        let (snapshot, _) = Snapshot::build(objects.clone());
        self.kept(&KEY).write(HERE, (&objects, &snapshot), at).unwrap();
    }

    fn read(&self) -> Result<Option<Restored>, String> {
        self.kept(&KEY).read(HERE, &cluster())
    }

    fn refused(&self) -> String {
        self.read().map(|read| read.is_some()).unwrap_err()
    }
}

const GOOD: &str = "permit (principal, action, resource);";
const MISTYPED: &str =
    "permit (principal, action == Action::\"invokeTool\", resource) when { principal.risk_level == 1 };";

#[test]
fn objects_come_back_as_they_were_with_their_versions_and_checks() {
    let place = Place::new();
    assert!(place.read().unwrap().is_none(), "nothing was kept");
    place.write(&[GOOD, MISTYPED], times(5, 6));
    let restored = place.read().unwrap().unwrap();
    assert_eq!(restored.times, times(5, 6));
    for (was, is) in objects(&[GOOD, MISTYPED]).iter().zip(&restored.objects) {
        assert_eq!((was.meta(), was.reference()), (is.meta(), is.reference()));
        assert_eq!(was.meta().origin, is.meta().origin);
    }
    let checked: Vec<String> = restored.checked.iter().map(|one| one.policy.meta.key()).collect();
    assert_eq!(checked, ["a/p0"], "what did not pass the check is checked again");
    let (was, _) = Snapshot::build(objects(&[GOOD, MISTYPED]));
    let Restored { objects, checked, .. } = restored;
    let (is, _) = Snapshot::default().next(Configuration { objects, checked, ..Configuration::default() });
    assert_eq!(was.digest(), is.digest());
}

/// Attack: who may write the file, and not read the keys, makes one, changes one, or takes that of another installation or cluster.
#[test]
fn what_is_torn_forged_or_foreign_is_not_used_and_says_why() {
    let place = Place::new();
    place.write(&[GOOD], times(5, 6));
    let good = fs::read_to_string(place.file()).unwrap();
    for bad in [
        String::new(),
        good.trim_end().to_owned(),
        good.chars().take(good.len() / 2).collect(),
        good.replace("permit", "forbid"),
        good.replace("\n1\n", "\n2\n"),
        good.replace("\"synced\":5", "\"synced\":6"),
        good.replace(HERE, "https://10.0.0.2/ ca 00"),
        good.replacen("objects ", "objects 0", 1),
        format!("{good}{}\n", good.lines().last().unwrap()),
        sealed(HEAD, &place.kept(&[8; KEY_LENGTH]).of_file, good.split_once('\n').unwrap().1),
        // Sealed with the right keys, for something else.
        fs::read_to_string(place.count()).unwrap(),
        sealed(HEAD, &place.kept(&KEY).of_count, good.split_once('\n').unwrap().1),
    ] {
        fs::write(place.file(), &bad).unwrap();
        let said = place.refused();
        assert!(said.contains("changed by others") && said.contains("registry/cluster"), "{bad}: {said}");
    }
    // Who only looks is told the same, and of which cluster it is.
    assert!(place.kept(&KEY).look().unwrap_err().contains("changed by others"));
    fs::write(place.file(), b"\xff").unwrap();
    assert!(place.refused().contains("UTF-8"));
    fs::remove_file(place.file()).unwrap();
    assert!(place.refused().contains("it is gone"));
    fs::write(place.file(), &good).unwrap();
    let other = place.kept(&KEY).read("https://10.0.0.2/ ca 00", &cluster()).unwrap_err();
    assert!(other.contains("it is of https://10.0.0.1/ ca 00, and this is https://10.0.0.2/"), "{other}");
    assert!(place.kept(&[8; KEY_LENGTH]).read(HERE, &cluster()).is_err(), "another key");
    assert!(place.read().unwrap().is_some());
    let looked = LookedAt { of: HERE.to_owned(), objects: 1, times: times(5, 6) };
    assert_eq!(place.kept(&KEY).look(), Ok(Some(looked)));
    // Of a version that is not known.
    let rest = good.split_once('\n').unwrap().1.replace("\"version\":1", "\"version\":2");
    fs::write(place.file(), sealed(HEAD, &place.kept(&KEY).of_file, &rest)).unwrap();
    assert!(place.refused().contains("it is of version 2"));
}

/// Attack: an older one is put back, in which what was taken back since is still permitted.
#[test]
fn an_older_copy_is_noticed_and_both_files_put_back_are_as_old_as_they_say() {
    let place = Place::new();
    place.write(&[GOOD], times(5, 6));
    let (file, count) = (fs::read(place.file()).unwrap(), fs::read(place.count()).unwrap());
    place.write(&["forbid (principal, action, resource);"], times(50, 60));
    let newer = fs::read(place.count()).unwrap();
    fs::write(place.file(), &file).unwrap();
    assert!(place.refused().contains("older copy"));
    fs::remove_file(place.count()).unwrap();
    assert!(place.refused().contains("the number of the last one"));
    fs::write(place.count(), "vidimus objects count 00\n1 5 6\n").unwrap();
    assert!(place.refused().contains("changed by others"));
    fs::write(place.count(), &count).unwrap();
    assert_eq!(place.read().unwrap().unwrap().times, times(5, 6));
    // What is written after a file that is not used has a higher number than any.
    fs::write(place.count(), &newer).unwrap();
    place.write(&[GOOD, GOOD], times(70, 80));
    assert_eq!(place.read().unwrap().unwrap().objects.len(), 2);
    fs::write(place.file(), &file).unwrap();
    assert!(place.refused().contains("older copy"));
}

/// Killed between the two files: the newer one is good, and as old as it says itself.
#[test]
fn a_file_that_is_newer_than_its_number_is_good() {
    let place = Place::new();
    place.write(&[GOOD], times(5, 600));
    let count = fs::read(place.count()).unwrap();
    place.write(&[GOOD, GOOD], times(50, 60));
    fs::write(place.count(), &count).unwrap();
    let mut kept = place.kept(&KEY);
    let restored = kept.read(HERE, &cluster()).unwrap().unwrap();
    assert_eq!((restored.objects.len(), restored.times), (2, times(50, 600)));
    kept.note_seen(UnixMillis(700)).unwrap();
    assert_eq!(place.read().unwrap().unwrap().times, times(50, 700));
}

/// A start does not ask what the file holds; whoever writes first does, and believes no file that was changed since.
#[test]
fn what_was_only_read_is_not_written_again_unless_it_was_changed_since() {
    let place = Place::new();
    place.write(&[GOOD], times(5, 6));
    let file = fs::read(place.file()).unwrap();
    let (objects, mut kept) = (objects(&[GOOD]), place.kept(&KEY));
    let (snapshot, _) = Snapshot::build(objects.clone());
    kept.read(HERE, &cluster()).unwrap().unwrap();
    for at in [times(7, 8), times(9, 10)] {
        kept.write(HERE, (&objects, &snapshot), at).unwrap();
        assert_eq!(fs::read(place.file()).unwrap(), file);
        assert_eq!(place.read().unwrap().unwrap().times, at);
    }
    for changed in
        [None, Some(String::new()), Some(String::from_utf8(file).unwrap().replace("permit", "forbid"))]
    {
        let mut kept = place.kept(&KEY);
        kept.read(HERE, &cluster()).unwrap().unwrap();
        match &changed {
            Some(text) => fs::write(place.file(), text).unwrap(),
            None => fs::remove_file(place.file()).unwrap(),
        }
        kept.write(HERE, (&objects, &snapshot), times(11, 12)).unwrap();
        assert_eq!(place.read().unwrap().unwrap().times, times(11, 12), "{changed:?}");
    }
}

#[test]
fn what_did_not_change_is_not_written_again_but_its_times() {
    let place = Place::new();
    place.write(&[GOOD], times(5, 6));
    let file = fs::read(place.file()).unwrap();
    place.write(&[GOOD], times(7, 8));
    assert_eq!(fs::read(place.file()).unwrap(), file);
    assert_eq!(place.read().unwrap().unwrap().times, times(7, 8));
    let mut kept = place.kept(&KEY);
    kept.note(times(9, 10)).unwrap();
    assert_eq!(place.read().unwrap().unwrap().times, times(7, 8), "it has not looked what is there");
    kept.read(HERE, &cluster()).unwrap();
    kept.note_seen(UnixMillis(10)).unwrap();
    assert_eq!(place.read().unwrap().unwrap().times, times(7, 10));
    kept.note_seen(UnixMillis(3)).unwrap();
    assert_eq!(place.read().unwrap().unwrap().times, times(7, 10), "it never goes back by itself");
    place.write(&[GOOD, GOOD], times(9, 11));
    assert_ne!(fs::read(place.file()).unwrap(), file);
}

/// A secret of a provider is named, and what is malformed, with whatever somebody wrote into it, is not kept at all.
#[test]
fn no_secret_is_kept() {
    let place = Place::new();
    let document = json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "LLMProvider", "metadata": {"namespace": "a", "name": "m", "annotations": {"note": "sk-annotated"}},
        "spec": {"owner": "ada@example.com", "type": "openAI", "credential": {"secretRef": {"name": "openai", "key": "apiKey"}}, "models": [{"name": "m"}]},
    });
    let origin = Origin::Cluster { cluster: cluster(), uid: Some("u".into()), resource_version: None };
    let provider = resource::check(&origin, &document).unwrap();
    let objects = [provider];
    let (snapshot, _) = Snapshot::build(objects.to_vec());
    place.kept(&KEY).write(HERE, (&objects, &snapshot), times(5, 6)).unwrap();
    let text = fs::read_to_string(place.file()).unwrap();
    assert!(text.contains("apiKey") && !text.contains("sk-annotated"), "{text}");
}

/// What a newer version of Vidimus does not take any more is told apart; the rest is there.
#[test]
fn what_is_not_good_any_more_is_left_out() {
    let place = Place::new();
    place.write(&[GOOD, GOOD], times(5, 6));
    let text = fs::read_to_string(place.file()).unwrap();
    let rest = text.split_once('\n').unwrap().1.replacen("\"description\":\"a\\ntest\"", "\"descr\":7", 1);
    fs::write(place.file(), sealed(HEAD, &place.kept(&KEY).of_file, &rest)).unwrap();
    let restored = place.read().unwrap().unwrap();
    assert_eq!(restored.objects.len(), 1);
    assert!(restored.rejected.iter().all(|one| one.object.to_string() == "Policy a/p0"));
    // What another program has checked is checked again.
    let rest = rest.replace(checks(), "another");
    fs::write(place.file(), sealed(HEAD, &place.kept(&KEY).of_file, &rest)).unwrap();
    assert!(place.read().unwrap().unwrap().checked.is_empty());
}
