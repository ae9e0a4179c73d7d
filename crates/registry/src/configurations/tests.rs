use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use vidimus_core::snapshot::{Configuration, Overlay};
use vidimus_core::standing::{Placed, Standing};

use super::*;
use crate::load;

fn examples(name: &str) -> Arc<Snapshot> {
    let loaded = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name));
    assert!(loaded.rejections.is_empty(), "{:#?}", loaded.rejections);
    loaded.snapshot
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn restored(directory: &Path, digest: &str) -> Result<Restored, Unusable> {
    Archive::at(directory).restore(digest, &Snapshot::default())
}

fn policy(name: &str, cedar: &str) -> String {
    format!(
        "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}, namespace: a}}\nspec: {{description: d, cedar: '{cedar}'}}\n"
    )
}

fn agent(name: &str, more: &str) -> String {
    format!(
        "apiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}, namespace: a, labels: {{tier: gold}}}}\nspec: {{owner: \
         ada.l@example.com, team: t, purpose: p, riskLevel: low{more}, identities: [{{oidc: {{issuer: \"urn:vidimus:local\", subject: \
         {name}}}}}]}}\n"
    )
}

#[test]
fn what_is_kept_decides_as_what_was_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Configurations::open(&directory.path().join("deep/er")).unwrap();
    let at = directory.path().join("deep/er");
    for name in ["demo", "quickstart", "policies"] {
        let snapshot = examples(name);
        assert!(kept.keep(&snapshot).unwrap(), "{name}");
        assert!(!kept.keep(&snapshot).unwrap(), "once");
        let restored = restored(&at, snapshot.digest()).unwrap();
        assert!(restored.verified, "{name}");
        let handed = serde_json::to_string(&Whole::of(&snapshot).unwrap()).unwrap();
        let whole = serde_json::from_str::<Whole>(&handed).unwrap().restored().unwrap();
        assert!(whole.verified && whole.snapshot.digest() == snapshot.digest(), "{name}: handed to others");
        assert_eq!(restored.snapshot.digest(), snapshot.digest());
        assert_texts_make_the_digest(&at, snapshot.digest());
        let policies = |snapshot: &Snapshot| snapshot.policies().cloned().collect::<BTreeSet<_>>();
        assert_eq!(policies(&restored.snapshot), policies(&snapshot), "{name}");
        let names = |objects: &[Object]| {
            objects.iter().map(|one| one.reference().to_string()).collect::<BTreeSet<_>>()
        };
        assert_eq!(
            names(&Archive::at(&at).in_force(snapshot.digest()).unwrap().0),
            names(snapshot.objects())
        );
    }
    for path in files(&at) {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o700);
    let empty = Snapshot::build(Vec::new()).0;
    kept.keep(&empty).unwrap();
    assert_eq!(restored(&at, empty.digest()).unwrap().snapshot.digest(), empty.digest());
}

/// Whatever of the objects stays the same in memory, and wherever: each configuration is whole.
#[test]
fn what_is_the_same_as_in_the_last_one_is_known_and_nothing_else() {
    let resources = tempfile::tempdir().unwrap();
    let text = |more: &str| (0..6).map(|n| agent(&format!("x{n}"), more)).collect::<Vec<_>>().join("---\n");
    let objects = |more: &str| {
        fs::write(resources.path().join("a.yaml"), text(more)).unwrap();
        load(resources.path()).snapshot.objects().to_vec()
    };
    let (all, others) = (objects(""), objects(", version: v2"));
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Configurations::open(directory.path()).unwrap();
    for changed in (0..1_usize << all.len()).step_by(3) {
        let mut some: Vec<Object> = (0..all.len())
            .filter(|place| *place != changed % 7)
            .map(|place| if changed >> place & 1 == 1 { others[place].clone() } else { all[place].clone() })
            .collect();
        if changed % 5 == 4 {
            some.reverse();
        }
        let (snapshot, _) = Snapshot::build(some);
        kept.keep(&snapshot).unwrap();
        let restored = restored(directory.path(), snapshot.digest()).unwrap();
        assert!(restored.verified && restored.snapshot.digest() == snapshot.digest(), "{changed:b}");
        assert_texts_make_the_digest(directory.path(), snapshot.digest());
    }
}

/// What a cluster had in force is read again as of a cluster.
#[test]
fn whatever_has_its_key_in_a_secret_is_restored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.yaml");
    let text = "apiVersion: vidimus.dev/v1alpha1\nkind: LLMProvider\nmetadata: {name: models, namespace: a}\nspec: {owner: ada.l@example.com, \
                type: openAI, credential: {secretRef: {name: s, key: k}}, models: [{name: m}]}\n";
    let server = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: vidimus.dev/v1alpha1\nkind: MCPServer\nmetadata: {{name: {name}, namespace: a}}\nspec: {{owner: ada.l@example.com, \
             team: t, riskLevel: low, {spec}}}\n"
        )
    };
    let hosted =
        "endpoint: {url: \"https://hosted.example/mcp\", credential: {secretRef: {name: s, key: k}}}";
    let api = "openapi: {url: \"https://api.example\", credential: {secretRef: {name: s, key: k}}, document: {openapi: 3.1.0, info: {title: t, \
               version: \"1\"}, paths: {/a: {get: {operationId: a, responses: {\"200\": {description: d}}}}}}}";
    fs::write(&path, format!("{text}{}{}", server("hosted", hosted), server("api", api))).unwrap();
    let read = crate::manifests(&[path], "default");
    assert_eq!((read.rejections.len(), read.snapshot.objects().len()), (0, 3), "{:#?}", read.rejections);
    let at = directory.path().join("kept");
    let mut kept = Configurations::open(&at).unwrap();
    kept.keep(&read.snapshot).unwrap();
    assert!(restored(&at, read.snapshot.digest()).unwrap().verified);
}

#[test]
fn what_did_not_change_is_written_once() {
    let resources = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(resources.path().join(name), text).unwrap();
    write(
        "a.yaml",
        &(0..300).map(|number| agent(&format!("x{number}"), "")).collect::<Vec<_>>().join("---\n"),
    );
    write("b.yaml", &policy("one", "permit (principal, action, resource);"));
    let mut kept = Configurations::open(directory.path()).unwrap();
    kept.keep(&load(resources.path()).snapshot).unwrap();
    let before = files(directory.path());
    assert!(before.len() > 300, "{}", before.len());
    write("b.yaml", &policy("one", "forbid (principal, action, resource);"));
    kept.keep(&load(resources.path()).snapshot).unwrap();
    let new = files(directory.path()).len() - before.len();
    assert!(
        (3..=4).contains(&new),
        "the policy, its list, perhaps that without it, and the configuration: {new}"
    );
    // The layout of a file, its comments and what a cluster adds make no other object.
    write(
        "b.yaml",
        &format!(
            "# said\n{}",
            policy("one", "forbid (principal, action, resource);").replace("name: one", "uid: x, name: one")
        ),
    );
    assert!(!kept.keep(&load(resources.path()).snapshot).unwrap());
    // Who opens it again knows what is there.
    let mut again = Configurations::open(directory.path()).unwrap();
    assert_eq!(again.kept().count(), 2);
    assert!(!again.keep(&load(resources.path()).snapshot).unwrap());
}

#[test]
fn what_stands_in_no_object_is_kept_too() {
    let resources = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Configurations::open(directory.path()).unwrap();
    let write = |name: &str, text: &str| fs::write(resources.path().join(name), text).unwrap();
    write("a.yaml", &agent("bot", ""));
    write("b.yaml", &policy("closed", "forbid (principal, action, resource);"));
    write("c.yaml", &policy("open", "permit (principal, action, resource);"));
    let first = load(resources.path());
    // What was forbidden is held while it is malformed.
    write("b.yaml", &policy("closed", "forbd (principal, action, resource);"));
    let second = load(resources.path());
    let (held, _) = first.snapshot.rebuilt(second.snapshot.objects().to_vec(), second.rejections);
    assert_eq!(held.only_refusing().count(), 1);
    // Two of one name: only what they forbid is in force.
    write("b.yaml", &policy("open", "forbid (principal, action, resource);"));
    let contested = load(resources.path()).snapshot;
    assert!(contested.only_refusing().count() > 0);
    // Somebody is quarantined by what is being written, and a permit is withdrawn.
    fs::remove_file(resources.path().join("b.yaml")).unwrap();
    let good = load(resources.path()).snapshot;
    write("a.yaml", &agent("bot", ", quarantined: true"));
    write("b.yaml", &policy("stop", "forbid (principal, action, resource) when { context.chain.cycle };"));
    let coming = load(resources.path()).snapshot;
    let withdrawn = good.objects().iter().filter(|object| matches!(object, Object::Policy(_)));
    let (writing, _) = good.next(Configuration {
        objects: good.objects().to_vec(),
        coming: coming.objects().to_vec(),
        withdrawn: withdrawn.cloned().collect(),
        ..Configuration::default()
    });
    let (closed, _) = Snapshot::default().next(Configuration {
        rejected: load(&resources.path().join("none")).rejections,
        before: vidimus_core::snapshot::Before::Lost,
        ..Configuration::default()
    });
    assert!(closed.is_closed());
    let mut acts = Standing::default();
    for subject in ["Agent/a/bot", "User/urn:x#\"ada\"", "Chain/t", "Identity/oidc:x#y", "MCPServer/a/none"] {
        let placed =
            Placed { id: String::new(), actor: "User/x#y".into(), time: String::new(), why: "to see".into() };
        acts.quarantined.insert(subject.parse().unwrap(), Arc::new(placed));
    }
    let (acted, _) = good.next(Configuration {
        objects: good.objects().to_vec(),
        standing: Arc::new(Overlay::of(&acts).unwrap()),
        ..Configuration::default()
    });
    for (what, snapshot) in [
        ("held", &held),
        ("contested", &contested),
        ("being written", &writing),
        ("closed", &closed),
        ("by acts", &acted),
    ] {
        kept.keep(snapshot).unwrap();
        let restored = restored(directory.path(), snapshot.digest()).unwrap().snapshot;
        assert_eq!(restored.digest(), snapshot.digest(), "{what}");
        assert_texts_make_the_digest(directory.path(), snapshot.digest());
        let policies = |snapshot: &Snapshot| snapshot.policies().cloned().collect::<BTreeSet<_>>();
        assert_eq!(policies(&restored), policies(snapshot), "{what}");
        assert_eq!(restored.is_closed(), snapshot.is_closed(), "{what}");
        let quarantined =
            |snapshot: &Snapshot| snapshot.agent("a/bot").is_some_and(|agent| agent.quarantined);
        assert_eq!(quarantined(&restored), quarantined(snapshot), "{what}");
    }
    assert!(writing.agent("a/bot").is_some_and(|agent| agent.quarantined));
}

/// Whoever has the texts can compute the digest that stands in the records, by docs/ledger-format.md.
#[track_caller]
fn assert_texts_make_the_digest(directory: &Path, digest: &str) {
    let archive = Archive::at(directory);
    let texts = archive.texts(digest).unwrap();
    let mut parts = texts.beside.parts().unwrap();
    for list in &texts.lists {
        for line in String::from_utf8(archive.text(list).unwrap()).unwrap().lines() {
            let (text, quarantined) =
                line.strip_suffix(" quarantined").map_or((line, false), |text| (text, true));
            let bytes = archive.text(text).unwrap();
            parts.objects.push((
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes).as_ref().try_into().unwrap(),
                quarantined,
            ));
        }
    }
    assert_eq!(parts.digest(), digest);
    if parts.objects.pop().is_some() {
        assert_ne!(parts.digest(), digest);
    }
}

#[test]
fn what_is_not_as_it_was_kept_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Configurations::open(directory.path()).unwrap();
    let snapshot = examples("quickstart");
    kept.keep(&snapshot).unwrap();
    let said = |digest: &str| restored(directory.path(), digest).unwrap_err();
    for none in ["", "sha256:", "sha256:../../../etc/passwd", "x", &format!("sha256:{}", "0".repeat(64))] {
        assert_eq!(said(none), Unusable::Missing, "{none}");
    }
    for path in files(directory.path()) {
        let good = fs::read(&path).unwrap();
        for bad in [&b""[..], b"{}", &good[..good.len() - 1], &[&good[..], b" "].concat()] {
            fs::write(&path, bad).unwrap();
            let is_manifest = path.parent() == Some(directory.path());
            // White space behind JSON says nothing else.
            if !(is_manifest && bad.starts_with(&good)) {
                let error = said(snapshot.digest()).to_string();
                assert!(error.contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
            }
            // Nor is it taken for what is there, and the next time it is written again.
            let mut again = Configurations::open(directory.path()).unwrap();
            again.keep(&snapshot).unwrap();
            assert!(
                restored(directory.path(), snapshot.digest()).is_ok() || !is_manifest,
                "{}",
                path.display()
            );
            fs::write(&path, &good).unwrap();
        }
        fs::remove_file(&path).unwrap();
        let error = said(snapshot.digest());
        assert!(error == Unusable::Missing || error.to_string().contains("is gone"), "{error}");
        fs::write(&path, good).unwrap();
    }
    // Another object under the name of one that was in force.
    let path =
        files(directory.path()).into_iter().find(|path| path.parent() == Some(directory.path())).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    kept.keep(&examples("demo")).unwrap();
    let other =
        fs::read_to_string(directory.path().join(examples("demo").digest().trim_start_matches("sha256:")))
            .unwrap();
    fs::write(&path, other.replace(examples("demo").digest(), snapshot.digest())).unwrap();
    assert!(said(snapshot.digest()).to_string().contains("another one"));
    // The same, as another version of Vidimus would have kept it: it is used, and it is said that nothing vouches for it.
    let version = format!("\"madeBy\":\"{}\"", env!("CARGO_PKG_VERSION"));
    let older = fs::read_to_string(&path).unwrap().replace(&version, "\"madeBy\":\"0.0.1\"");
    fs::write(&path, older).unwrap();
    assert!(!restored(directory.path(), snapshot.digest()).unwrap().verified);
    // Nor does anything vouch for one whose digest was made otherwise.
    let form = |text: &str, other: u32| {
        text.replace("\"version\":2,\"snapshot\"", &format!("\"version\":{other},\"snapshot\""))
    };
    let older = form(&other.replace(examples("demo").digest(), snapshot.digest()), 1);
    fs::write(&path, older).unwrap();
    assert!(!restored(directory.path(), snapshot.digest()).unwrap().verified);
    fs::write(&path, form(&text, 3)).unwrap();
    assert!(said(snapshot.digest()).to_string().contains("version 3"));
}

#[test]
fn what_no_record_refers_to_is_dropped_with_what_only_it_had() {
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Configurations::open(directory.path()).unwrap();
    let (one, other) = (examples("demo"), examples("quickstart"));
    kept.keep(&one).unwrap();
    let before = files(directory.path());
    kept.keep(&other).unwrap();
    assert_eq!(kept.retain(|_| true).unwrap(), 0);
    assert_eq!(kept.retain(|digest| digest == one.digest()).unwrap(), 1);
    assert_eq!(files(directory.path()), before);
    assert!(restored(directory.path(), one.digest()).is_ok());
    assert_eq!(restored(directory.path(), other.digest()).unwrap_err(), Unusable::Missing);
    assert!(kept.keep(&other).unwrap() && restored(directory.path(), other.digest()).is_ok());
}

/// A process that is killed before the sync has kept it; what a power loss left of one is no configuration, and goes with those that decided nothing.
#[test]
fn what_is_written_is_kept_and_what_is_left_in_part_goes() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (one, other) = (examples("quickstart"), examples("demo"));
    let mut kept = Configurations::open(at).unwrap();
    let written = kept.write(&one).unwrap().unwrap();
    assert!(restored(at, one.digest()).unwrap().verified);
    // Written again where the sync fails.
    assert!(kept.write(&one).unwrap().is_some());
    kept.sync(written).unwrap();
    assert!(kept.write(&one).unwrap().is_none());
    kept.keep(&other).unwrap();
    // As of a file whose name is on disk, and nothing else of it.
    fs::write(kept.store.manifest_path(other.digest()), "").unwrap();
    let mut after = Configurations::open(at).unwrap();
    assert_eq!((after.kept().collect::<Vec<_>>(), after.named().count()), (vec![one.digest()], 2));
    assert_eq!(after.retain(|digest| digest == one.digest()).unwrap(), 1);
    assert!(Archive::at(at).look().unwrap().damaged.is_empty());
    assert!(after.keep(&other).unwrap() && restored(at, other.digest()).is_ok());
}

/// A text that is not what its name says is not one that is kept: it is written anew with the next configuration that has it.
#[test]
fn what_was_damaged_is_kept_anew() {
    let directory = tempfile::tempdir().unwrap();
    let snapshot = examples("quickstart");
    Configurations::open(directory.path()).unwrap().keep(&snapshot).unwrap();
    let texts: Vec<PathBuf> = files(directory.path())
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("objects"))
        .collect();
    assert!(texts.len() > 2);
    for text in &texts {
        fs::write(text, "{}").unwrap();
        assert!(restored(directory.path(), snapshot.digest()).is_err(), "{}", text.display());
        let mut kept = Configurations::open(directory.path()).unwrap();
        assert_eq!(kept.kept().next(), None, "{}", text.display());
        assert!(kept.keep(&snapshot).unwrap());
        assert!(restored(directory.path(), snapshot.digest()).unwrap().verified);
    }
}
