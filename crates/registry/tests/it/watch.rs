use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch::Receiver;
use vidimus_registry::{KEY_LENGTH, Keeping, Loaded, watch};

use super::{agent, live, write};

/// Waits until what is live fits; the deadline only ends a test that has failed.
async fn until(
    current: &mut Receiver<Arc<Loaded>>,
    what: &str,
    fits: impl FnMut(&Arc<Loaded>) -> bool,
) -> Arc<Loaded> {
    let waited = tokio::time::timeout(Duration::from_secs(30), current.wait_for(fits)).await;
    waited.unwrap_or_else(|_| panic!("not seen: {what}")).unwrap().clone()
}

/// Writes as careful programs do: beside, then renamed over.
fn replace(directory: &Path, file: &str, text: &str) {
    let beside = directory.join(".new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, directory.join(file)).unwrap();
}

#[tokio::test]
async fn every_kind_of_change_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "a.yaml", agent("a"));
    let (mut current, _watching) = watch(at, None, Arc::default()).unwrap();
    assert_eq!(live(&current.borrow()), ["a"], "the first configuration is there at once");
    let snapshot = current.borrow().snapshot.clone();

    write(at, "b.yaml", agent("b"));
    until(&mut current, "a new file", |loaded| live(loaded) == ["a", "b"]).await;
    write(at, "b.yaml", agent("b2"));
    until(&mut current, "a file written over", |loaded| live(loaded) == ["a", "b2"]).await;
    replace(at, "b.yaml", &agent("b3"));
    until(&mut current, "a file replaced", |loaded| live(loaded) == ["a", "b3"]).await;
    write(at, "sub/sub/c.yaml", agent("c"));
    until(&mut current, "a file in a new directory", |loaded| live(loaded) == ["a", "b3", "c"]).await;
    write(at, "sub/sub/d.yaml", agent("d"));
    until(&mut current, "another one there", |loaded| live(loaded) == ["a", "b3", "c", "d"]).await;
    fs::rename(at.join("b.yaml"), at.join("b.txt")).unwrap();
    until(&mut current, "a file renamed", |loaded| live(loaded) == ["a", "c", "d"]).await;
    fs::remove_dir_all(at.join("sub")).unwrap();
    until(&mut current, "a directory removed", |loaded| live(loaded) == ["a"]).await;
    assert_eq!(current.borrow().snapshot.digest(), snapshot.digest(), "the same objects, the same digest");
}

#[tokio::test]
async fn a_malformed_object_does_not_linger_and_the_others_stay() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "a.yaml", agent("a"));
    write(at, "b.yaml", agent("b"));
    let (mut current, _watching) = watch(at, None, Arc::default()).unwrap();
    write(at, "b.yaml", agent("b").replace("owner", "ownr"));
    let loaded = until(&mut current, "the rejection", |loaded| !loaded.rejections.is_empty()).await;
    assert_eq!(live(&loaded), ["a"]);
    assert_eq!(
        (&*loaded.rejections[0].field, &*loaded.rejections[0].fix),
        ("spec.ownr", "did you mean owner?")
    );
    write(at, "b.yaml", agent("b"));
    until(&mut current, "the repair", |loaded| loaded.rejections.is_empty() && live(loaded) == ["a", "b"])
        .await;
}

/// Kubernetes writes a mounted ConfigMap into a new directory and swaps the link `..data` over to it.
#[tokio::test]
async fn a_config_map_is_swapped_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "..2026_01/a.yaml", agent("a1"));
    write(at, "..2026_01/b.yaml", agent("b1"));
    symlink("..2026_01", at.join("..data")).unwrap();
    symlink("..data/a.yaml", at.join("a.yaml")).unwrap();
    symlink("..data/b.yaml", at.join("b.yaml")).unwrap();
    let (mut current, _watching) = watch(at, None, Arc::default()).unwrap();
    assert_eq!(live(&current.borrow()), ["a1", "b1"]);

    for round in 2..5 {
        let new = format!("..2026_{round:02}");
        let before = format!("..2026_{:02}", round - 1);
        write(at, &format!("{new}/a.yaml"), agent(&format!("a{round}")));
        write(at, &format!("{new}/b.yaml"), agent(&format!("b{round}")));
        symlink(&new, at.join("..data_tmp")).unwrap();
        fs::rename(at.join("..data_tmp"), at.join("..data")).unwrap();
        fs::remove_dir_all(at.join(before)).unwrap();
        let expected = [format!("a{round}"), format!("b{round}")];
        until(&mut current, &format!("round {round}"), |loaded| {
            let names = live(loaded);
            let rounds: Vec<_> = names.iter().map(|name| &name[1..]).collect();
            assert!(rounds.len() == 2 && rounds[0] == rounds[1], "half of a ConfigMap was live: {names:?}");
            names == expected
        })
        .await;
    }
}

#[tokio::test]
async fn a_file_is_not_read_in_the_middle_of_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "a.yaml", format!("{}---\n{}", agent("a"), agent("b")));
    let (mut current, _watching) = watch(at, None, Arc::default()).unwrap();
    let mut file = fs::File::create(at.join("a.yaml")).unwrap();
    file.write_all(agent("a").as_bytes()).unwrap();
    // Longer than a directory has to be still: its writer has not closed it.
    let early = tokio::time::timeout(Duration::from_millis(1_500), current.changed()).await;
    assert!(early.is_err(), "half of a file was live: {:?}", live(&current.borrow()));
    file.write_all(format!("---\n{}", agent("c")).as_bytes()).unwrap();
    drop(file);
    tokio::time::timeout(Duration::from_secs(30), current.changed()).await.unwrap().unwrap();
    assert_eq!(live(&current.borrow()), ["a", "c"], "the next that is live is the whole file");
}

/// The look that is due for one file must not take a new one, which is still being written, for whole.
#[tokio::test]
async fn a_file_that_is_begun_while_another_settles_is_not_read_in_the_middle_either() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "a.yaml", agent("a"));
    let (mut current, _watching) = watch(at, None, Arc::default()).unwrap();
    write(at, "a.yaml", agent("a2"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut file = fs::File::create(at.join("b.yaml")).unwrap();
    file.write_all(agent("b").as_bytes()).unwrap();
    // Longer than all that a half-written file was held back for: 1 s for its writer, and 500 ms for the directory.
    let early =
        tokio::time::timeout(Duration::from_secs(4), current.wait_for(|now| live(now).contains(&"b".into())));
    assert!(early.await.is_err(), "half of a file was live");
    file.write_all(format!("---\n{}", agent("c")).as_bytes()).unwrap();
    drop(file);
    until(&mut current, "both", |loaded| live(loaded) == ["a2", "b", "c"]).await;
}

#[tokio::test]
async fn a_directory_that_vanishes_keeps_the_last_configuration_and_says_so() {
    let parent = tempfile::tempdir().unwrap();
    let at = parent.path().join("resources");
    write(&at, "a.yaml", agent("a"));
    let (mut current, _watching) = watch(&at, None, Arc::default()).unwrap();
    fs::rename(&at, parent.path().join("gone")).unwrap();
    let loaded = until(&mut current, "the rejection", |loaded| !loaded.rejections.is_empty()).await;
    assert_eq!(live(&loaded), ["a"]);
    assert!(loaded.rejections[0].reason.contains("the last good configuration stays live"));
    write(&at, "b.yaml", agent("b"));
    until(&mut current, "the directory came back", |loaded| {
        loaded.rejections.is_empty() && live(loaded) == ["b"]
    })
    .await;
    write(&at, "c.yaml", agent("c"));
    until(&mut current, "a change in the new one", |loaded| live(loaded) == ["b", "c"]).await;
}

#[tokio::test]
async fn what_forbids_is_in_force_at_once_and_goes_when_the_directory_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let freeze = |namespace: &str| {
        format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: freeze, namespace: {namespace}}}\n\
             spec: {{description: Frozen, cedar: \"forbid (principal, action, resource);\"}}\n"
        )
    };
    let forbids = |loaded: &Arc<Loaded>| loaded.snapshot.policies().any(|id| id.contains("/freeze"));
    write(at, "a.yaml", agent("a"));
    let kept = tempfile::tempdir().unwrap();
    let keeping = || {
        let (file, count) = (kept.path().join("refused"), kept.path().join("count"));
        Some(Keeping::new(&file, &count, &[7; KEY_LENGTH]).unwrap())
    };
    let (mut current, watching) = watch(at, keeping(), Arc::default()).unwrap();
    // A writer that has not finished: what it has forbidden so far is forbidden, and what it has registered is not.
    let mut file = fs::File::create(at.join("p.yaml")).unwrap();
    file.write_all(format!("{}---\n{}", freeze("ns"), agent("b")).as_bytes()).unwrap();
    let loaded = until(&mut current, "the forbid", forbids).await;
    assert_eq!(live(&loaded), ["a"]);
    drop(file);
    until(&mut current, "the rest", |loaded| forbids(loaded) && live(loaded) == ["a", "b"]).await;
    // Emptied: nobody knows yet whether that is all.
    let file = fs::File::create(at.join("p.yaml")).unwrap();
    let early = tokio::time::timeout(Duration::from_millis(1_500), current.changed()).await;
    assert!(early.is_err() || forbids(&current.borrow()), "an open file has lost its forbid");
    drop(file);
    // An emptied file deletes nothing.
    let says = |loaded: &Arc<Loaded>| loaded.rejections.iter().any(|one| one.reason.contains("emptied"));
    until(&mut current, "the emptied file", |loaded| forbids(loaded) && says(loaded)).await;
    fs::remove_file(at.join("p.yaml")).unwrap();
    until(&mut current, "deleted", |loaded| !forbids(loaded)).await;
    // Over a restart at which it cannot be read.
    replace(at, "p.yaml", &freeze("ns"));
    until(&mut current, "forbidden again", forbids).await;
    until_kept(&kept.path().join("refused"), "freeze").await;
    drop(watching);
    fs::remove_file(at.join("p.yaml")).unwrap();
    symlink("nowhere", at.join("policies")).unwrap();
    let (current, _watching) = watch(at, keeping(), Arc::default()).unwrap();
    assert!(forbids(&current.borrow()), "{:#?}", current.borrow().rejections);
    assert!(current.borrow().not_ready.is_none());
}

/// Waits until the file with what is refused says this.
async fn until_kept(path: &Path, text: &str) {
    for _ in 0..3_000 {
        if fs::read_to_string(path).is_ok_and(|kept| kept.contains(text)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{text} is not kept");
}

#[tokio::test]
async fn a_link_to_another_directory_is_followed() {
    let parent = tempfile::tempdir().unwrap();
    write(parent.path(), "v1/a.yaml", agent("a"));
    write(parent.path(), "v2/b.yaml", agent("b"));
    let at = parent.path().join("current");
    symlink("v1", &at).unwrap();
    let (mut current, _watching) = watch(&at, None, Arc::default()).unwrap();
    symlink("v2", parent.path().join("next")).unwrap();
    fs::rename(parent.path().join("next"), &at).unwrap();
    until(&mut current, "the other directory", |loaded| live(loaded) == ["b"]).await;
    write(parent.path(), "v2/c.yaml", agent("c"));
    until(&mut current, "a change there", |loaded| live(loaded) == ["b", "c"]).await;
}

#[tokio::test]
async fn what_is_not_a_change_is_not_published() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "a.yaml", agent("a"));
    let (mut current, _watching) = watch(at, None, Arc::default()).unwrap();
    write(at, "a.yaml", format!("# a comment\n{}", agent("a")));
    write(at, ".a.yaml.swp", "x");
    write(at, "notes.txt", "x");
    let published = tokio::time::timeout(Duration::from_millis(200), current.changed()).await;
    // The line of the document moved, which a rejection would show; nothing else did.
    assert!(published.is_err(), "published {:?}", current.borrow());
}

#[tokio::test]
async fn dropping_the_guard_ends_the_watch() {
    let directory = tempfile::tempdir().unwrap();
    let (mut current, watching) = watch(directory.path(), None, Arc::default()).unwrap();
    drop(watching);
    let ended = tokio::time::timeout(Duration::from_secs(30), current.changed()).await.unwrap();
    assert!(ended.is_err());
}

/// Prints how long a change takes to be live; asserts only that it is. `cargo test -p vidimus-registry latency -- --nocapture`
#[tokio::test]
async fn latency_of_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for number in 0..100 {
        write(at, &format!("{number}.yaml"), agent(&format!("bot-{number}")));
    }
    let (mut current, _watching) = watch(at, None, Arc::default()).unwrap();
    let mut took = Vec::new();
    for round in 0..40 {
        let name = format!("round-{round}");
        let begun = Instant::now();
        replace(at, "0.yaml", &agent(&name));
        until(&mut current, &name, |loaded| loaded.snapshot.agent(&format!("test/{name}")).is_some()).await;
        took.push(begun.elapsed());
    }
    took.sort();
    println!(
        "a change is live after {:?} (median of {}), {:?} at most",
        took[took.len() / 2],
        took.len(),
        took[took.len() - 1]
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_read_any_more_still_forbids_what_it_forbade() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let policy = "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: freeze, namespace: test}\n\
                  spec: {description: Frozen, cedar: \"forbid (principal, action, resource);\"}\n";
    let forbids = |loaded: &Arc<Loaded>| loaded.snapshot.policies().any(|id| **id == *"test/freeze");
    write(at, "a.yaml", agent("a"));
    write(at, "p.yaml", policy);
    let (mut current, _watching) = watch(at, None, Arc::default()).unwrap();
    assert!(forbids(&current.borrow()));
    for malformed in ["apiVersion: [", "kind: Polcy", "\u{0}"] {
        replace(at, "p.yaml", malformed);
        let loaded = until(&mut current, malformed, |loaded| !loaded.rejections.is_empty()).await;
        assert!(forbids(&loaded), "{malformed:?}");
        replace(at, "p.yaml", policy);
        until(&mut current, "good again", |loaded| loaded.rejections.is_empty()).await;
    }
    fs::remove_file(at.join("p.yaml")).unwrap();
    until(&mut current, "deleted", |loaded| !forbids(loaded)).await;
}

/// A disk that was full when a forbid was added has room later: it is kept then, though nothing changes any more.
#[tokio::test]
async fn what_could_not_be_kept_is_kept_when_there_is_room() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("resources");
    write(&at, "a.yaml", agent("a"));
    // No file can be written where a directory is.
    let (file, full) = (root.path().join("kept/refused"), root.path().join("kept/refused.new"));
    fs::create_dir_all(&full).unwrap();
    let keeping = Keeping::new(&file, &root.path().join("count"), &[7; KEY_LENGTH]).unwrap();
    let (mut current, _watching) = watch(&at, Some(keeping), Arc::default()).unwrap();
    let unkept =
        |loaded: &Arc<Loaded>| loaded.rejections.iter().any(|one| one.reason.contains("cannot be kept"));
    until(&mut current, "that it cannot be kept", unkept).await;
    fs::remove_dir(&full).unwrap();
    until(&mut current, "that it is kept", |loaded| loaded.rejections.is_empty()).await;
    assert!(file.exists());
}
