use std::os::unix::fs::symlink;
use std::path::Path;

use vidimus_registry::load;

use super::{agent, live, write};

#[test]
fn files_are_found_where_people_put_them() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "a.yaml", agent("yaml"));
    write(at, "b.yml", agent("yml"));
    write(at, "deep/er/c.YAML", agent("deep"));
    write(
        at,
        "d.json",
        r#"{"apiVersion": "vidimus.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "json"},
        "spec": {"owner": "a@example.com", "team": "t", "purpose": "p", "riskLevel": "low", "endpoint": {"url": "http://a"}}}"#,
    );
    write(at, "several.yaml", format!("# head\n---\n{}---\n{}...\n", agent("one"), agent("two")));
    write(at, "README.md", "not: [ours");
    write(at, ".hidden.yaml", "not: [ours");
    write(at, ".git/x.yaml", "not: [ours");
    write(at, "empty.yaml", "");
    symlink(at.join("a.yaml"), at.join("broken-elsewhere")).unwrap();
    symlink(at, at.join("deep/loop")).unwrap();
    let loaded = load(at);
    assert_eq!(loaded.rejections, []);
    assert_eq!(live(&loaded), ["deep", "json", "one", "two", "yaml", "yml"]);
}

#[test]
fn a_malformed_object_drops_itself_and_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let team_alias = agent("alias").replace("a.person@example.com", "test-team");
    write(
        at,
        "mixed.yaml",
        format!("{}---\n{team_alias}---\nbroken: [\n---\n{}", agent("first"), agent("last")),
    );
    write(at, "other.yaml", agent("other"));
    let loaded = load(at);
    assert_eq!(live(&loaded), ["first", "last", "other"]);
    let [alias, broken] = &loaded.rejections[..] else { panic!("{:#?}", loaded.rejections) };
    assert!(alias.origin.source().ends_with("/mixed.yaml"));
    assert_eq!(
        (alias.origin.line(), &*alias.object.to_string(), &*alias.field, &*alias.value),
        (6, "Agent test/alias", "spec.owner", "test-team")
    );
    assert!((11..=12).contains(&broken.origin.line()), "{broken:?}");
}

#[test]
fn an_object_that_is_there_twice_is_not_used_and_both_places_are_named() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.yaml", agent("bot"));
    write(directory.path(), "b.yaml", agent("bot"));
    let loaded = load(directory.path());
    assert_eq!(live(&loaded), [""; 0]);
    let [a, b] = &loaded.rejections[..] else { panic!("{:#?}", loaded.rejections) };
    assert!(a.origin.source().ends_with("/a.yaml") && a.reason.contains("/b.yaml:1"), "{a:#?}");
    assert!(b.origin.source().ends_with("/b.yaml") && b.reason.contains("/a.yaml:1"), "{b:#?}");
}

#[test]
fn a_built_in_name_is_refused_and_the_rest_is_decided() {
    let directory = tempfile::tempdir().unwrap();
    let policy = "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: quarantine, namespace: vidimus}\n\
                  spec: {description: d, scope: Cluster, cedar: \"permit (principal, action, resource);\"}\n";
    write(directory.path(), "p.yaml", policy);
    let loaded = load(directory.path());
    assert_eq!(loaded.rejections.len(), 1);
    assert_eq!(&*loaded.rejections[0].field, "metadata.namespace");
    assert!(loaded.rejections[0].reason.contains("built in"), "{:#?}", loaded.rejections);
    // Those that are built in.
    assert_eq!(loaded.snapshot.policies().count(), 3);
}

#[test]
fn a_key_that_is_written_twice_is_named_in_plain_words() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.yaml", format!("{}kind: Policy\n", agent("a")));
    let loaded = load(directory.path());
    let [rejection] = &loaded.rejections[..] else { panic!("{:#?}", loaded.rejections) };
    assert_eq!(&*rejection.reason, "the key kind is written twice in one mapping");
    assert!(rejection.fix.contains("keep one"), "{rejection:#?}");
}

#[test]
fn what_cannot_be_read_is_reported_and_the_rest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "good.yaml", agent("good"));
    write(at, "1-large.yaml", "# \n".repeat(2 * 1024 * 1024));
    write(at, "2-latin1.yaml", b"owner: J\xfcrgen\n");
    symlink("nowhere", at.join("3-dangling.yaml")).unwrap();
    symlink("nowhere", at.join("3-directory")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(at.join("4-pipe.yaml")).status().unwrap();
    assert!(made.success());
    write(at, &format!("{}/deep.yaml", ["5"; 18].join("/")), agent("deep"));
    let loaded = load(at);
    assert_eq!(live(&loaded), ["good"]);
    let reasons: Vec<_> = loaded.rejections.iter().map(|rejection| &*rejection.reason).collect();
    assert_eq!(reasons.len(), 6, "{reasons:#?}");
    for (reason, says) in reasons.iter().zip([
        "larger than",
        "not UTF-8 at byte 8",
        "No such file",
        "No such file",
        "not a regular file",
        "deep",
    ]) {
        assert!(reason.contains(says), "{reasons:#?}");
    }
    assert!(loaded.rejections.iter().all(|rejection| !rejection.fix.is_empty()));
}

#[test]
fn a_directory_that_is_not_there_registers_nothing_and_says_so() {
    for path in ["/nowhere/at/all", "/dev/null"] {
        let loaded = load(Path::new(path));
        assert!(loaded.snapshot.objects().is_empty());
        assert_eq!(loaded.rejections.len(), 1);
        assert!(loaded.rejections[0].reason.contains("everything is refused"), "{:?}", loaded.rejections);
    }
}

#[test]
fn a_secret_in_a_wrong_place_is_not_printed() {
    let directory = tempfile::tempdir().unwrap();
    let head = "apiVersion: vidimus.dev/v1alpha1\nkind: LLMProvider\nmetadata: {name: x}\nspec:\n  owner: a@example.com\n  type: openAI\n";
    for (file, credential) in [
        ("a.yaml", "credential: sk-hunter2"),
        ("b.yaml", "credential: {key: sk-hunter2}"),
        ("c.yaml", "credential: [sk-hunter2]"),
        ("d.yaml", "credential: {env: sk-hunter2}"),
        ("e.yaml", "credential: {file: {sk-hunter2: 1}}"),
        ("f.yaml", "credential: {file: sk-hunter2, env: sk-hunter2}"),
        ("g.yaml", "credential: {file: 'sk-hunter2}"),
        ("h.yaml", "credential: {file: sk-hunter2: x}"),
        ("i.yaml", "token: sk-hunter2"),
        ("j.yaml", "credential: \"sk-hunter2\\q\""),
        ("k.yaml", "credential: !secret sk-hunter2"),
    ] {
        write(directory.path(), file, format!("{head}  {credential}\n  models: [{{name: m}}]\n"));
    }
    let loaded = load(directory.path());
    let text = serde_json::to_string(&loaded.rejections).unwrap();
    for file in 'a'..='k' {
        assert!(text.contains(&format!("{file}.yaml")), "{file} was accepted");
    }
    assert!(!text.contains("hunter2"), "{:#?}", loaded.rejections);
}

#[test]
fn every_example_is_clean_alone_and_with_the_others() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut folders: Vec<String> = std::fs::read_dir(&examples)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let expected = [
        ("agent", 4),
        ("demo", 18),
        ("failover", 5),
        ("grpc", 3),
        ("guards", 3),
        ("members", 7),
        ("openapi", 3),
        ("policies", 9),
        ("quickstart", 3),
    ];
    assert_eq!(folders, expected.map(|(folder, _)| folder));
    for (folder, objects) in expected {
        let loaded = load(&examples.join(folder));
        assert_eq!(loaded.rejections, [], "examples/{folder}");
        assert_eq!(loaded.snapshot.objects().len(), objects, "examples/{folder}");
        // What policies alone are about is registered elsewhere.
        if folder != "policies" {
            assert_eq!(loaded.snapshot.warnings(), [], "examples/{folder}");
        }
    }
    let loaded = load(&examples);
    assert_eq!(loaded.rejections, [], "examples");
    assert_eq!(loaded.snapshot.objects().len(), expected.iter().map(|(_, objects)| objects).sum::<usize>());
}

#[test]
fn the_readme_shows_the_quickstart_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let indented: Vec<String> =
        read("examples/quickstart/quickstart.yaml").lines().map(|line| format!("   {line}")).collect();
    assert!(read("README.md").contains(&indented.join("\n")));
}

/// What cannot be looked at is reported with what is the matter and what to do about it.
#[test]
fn what_cannot_be_looked_at_says_why_and_what_to_do() {
    type Makes = fn(&Path);
    let cases: [(&str, Makes, &str, &str); 4] = [
        (
            "a.yaml",
            |at| symlink("nowhere.yaml", at).unwrap(),
            "leads nowhere: nowhere.yaml",
            "let the link lead",
        ),
        (
            "teams",
            |at| symlink("/nowhere/teams", at).unwrap(),
            "leads nowhere: /nowhere/teams",
            "let the link lead",
        ),
        (
            "loop.yaml",
            |at| symlink("loop.yaml", at).unwrap(),
            "leads nowhere: loop.yaml",
            "let the link lead",
        ),
        (
            "b.yaml",
            |at| drop(std::os::unix::net::UnixListener::bind(at).unwrap()),
            "not a regular file",
            "put a file in its place",
        ),
    ];
    for (name, make, reason, fix) in cases {
        let directory = tempfile::tempdir().unwrap();
        make(&directory.path().join(name));
        let loaded = load(directory.path());
        let [rejection] = &loaded.rejections[..] else { panic!("{name}: {:#?}", loaded.rejections) };
        assert!(rejection.origin.source().ends_with(name), "{rejection:?}");
        assert!(rejection.reason.contains(reason) && rejection.fix.contains(fix), "{rejection:?}");
    }
}
