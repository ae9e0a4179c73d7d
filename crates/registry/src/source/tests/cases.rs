//! Sequences of file operations, one by one.

use std::fs::{self, File};

use super::*;

/// A gateway on a directory whose files are old, with its time.
struct Gateway {
    source: Source,
    begun: Instant,
}

impl Gateway {
    fn begin(root: &tempfile::TempDir) -> (Self, Loaded) {
        let mut gateway = Self { source: source(root), begun: Instant::now() };
        let loaded = gateway.look(0);
        (gateway, loaded)
    }

    /// Looks so many milliseconds after the start, and keeps what is refused.
    fn look(&mut self, ms: u64) -> Loaded {
        let none = BTreeSet::new();
        let heard = Heard { changed: None, placed: &none, heard: true };
        let wall = SystemTime::now() + Duration::from_secs(60);
        let (loaded, _) = self.source.look(heard, self.at(ms), wall);
        self.source.keep(&loaded).unwrap();
        loaded
    }

    fn at(&self, ms: u64) -> Instant {
        self.begun + Duration::from_millis(ms)
    }
}

/// A policy `ns/NAME` as a document.
fn policy(name: &str, cedar: &str) -> String {
    format!(
        "---\napiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}, namespace: ns}}\n\
         spec: {{description: d, cedar: \"{cedar}\"}}\n"
    )
}

const FORBID: &str = "forbid (principal, action, resource);";
const PERMIT: &str = "permit (principal, action, resource);";

/// The state of a snapshot, shortly.
fn ids(snapshot: &Snapshot) -> Vec<String> {
    snapshot.policies().map(ToString::to_string).collect()
}

fn has(loaded: &Loaded, id: &str) -> bool {
    ids(&loaded.snapshot).iter().any(|one| one == id)
}

#[test]
fn a_start_with_faults_holds_what_was_forbidden_or_refuses_everything() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("resources");
    fs::create_dir(&at).unwrap();
    let policy = |cedar: &str| policy("freeze", cedar);
    let begin = || Gateway::begin(&root).1;
    let write = |text: &str| fs::write(at.join("p.yaml"), text).unwrap();
    // Never served before: what the malformed policy is to forbid is not known.
    write(&policy("forbid (principal, action"));
    let loaded = begin();
    assert!(
        loaded.snapshot.is_closed() && loaded.not_ready.unwrap().contains("has not been served from before")
    );
    // An agent that is malformed forbids nothing.
    write("apiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {name: a, namespace: ns}\n");
    let loaded = begin();
    assert!(!loaded.snapshot.is_closed() && loaded.not_ready.is_none() && !loaded.rejections.is_empty());

    write(&policy(FORBID));
    let loaded = begin();
    assert_eq!((loaded.rejections, loaded.not_ready), (vec![], None));
    for malformed in ["kind: [", "kind: Policy\n", &policy("forbid (principal, action")] {
        write(malformed);
        let loaded = begin();
        assert!(has(&loaded, "ns/freeze"), "{malformed}");
        assert_eq!((loaded.snapshot.is_closed(), loaded.not_ready), (false, None), "{malformed}");
        write(&policy(FORBID));
        assert_eq!(begin().rejections, []);
    }
    // Moved, malformed, and of another kind by its own account.
    fs::rename(at.join("p.yaml"), at.join("q.yaml")).unwrap();
    fs::write(at.join("q.yaml"), policy(FORBID).replace("kind: Policy", "kind: Agent")).unwrap();
    assert!(has(&begin(), "ns/freeze"), "a malformed object was believed about its kind");
    fs::remove_file(at.join("q.yaml")).unwrap();
    assert!(!has(&begin(), "ns/freeze"), "a file that is gone, and nothing malformed, is a deletion");
}

/// Found by an attack: a writer had emptied the file, or written the half of it, when the gateway was started again.
#[test]
fn a_start_does_not_take_half_a_file_for_a_deletion() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("resources");
    fs::create_dir(&at).unwrap();
    let write = |text: &str| fs::write(at.join("p.yaml"), text).unwrap();
    let bot = "---\napiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {name: bot, namespace: ns}\n\
               spec: {owner: a.person@example.com, team: t, purpose: p, riskLevel: low, identities: [{spiffe: \"spiffe://t/bot\"}]}\n";
    fs::write(at.join("z.yaml"), [&policy("all", PERMIT), bot].concat()).unwrap();
    let both = [policy("one", PERMIT), policy("freeze", FORBID)].concat();
    for (half, until) in [
        ("", None),
        (" \n", None),
        ("# What nobody may do\n", None),
        (&*policy("one", PERMIT), Some(30_000)),
        (&policy("freeze", PERMIT), Some(30_000)),
    ] {
        // Beside another version of its object, it has an id of its own.
        let id = if half.contains("freeze") { "ns/freeze~" } else { "ns/freeze" };
        let forbids = |loaded: &Loaded| ids(&loaded.snapshot).iter().any(|one| one.starts_with(id));
        write(&both);
        let (_, loaded) = Gateway::begin(&root);
        assert!(has(&loaded, "ns/freeze") && loaded.not_ready.is_none());
        write(half);
        // Not lost either by a second restart.
        for _ in 0..2 {
            let (mut gateway, loaded) = Gateway::begin(&root);
            assert!(forbids(&loaded), "{half:?}: the forbid is lost");
            assert!(loaded.not_ready.is_none(), "{half:?}");
            let said = loaded.rejections.iter().find(|one| one.reason.contains("stays refused"));
            assert_eq!(said.unwrap().object.to_string(), "Policy ns/freeze", "{half:?}");
            assert!(has(&loaded, "ns/all"), "{half:?}: what permits elsewhere permits");
            assert!(
                loaded.snapshot.principal_by_spiffe("spiffe://t/bot").is_some(),
                "{half:?}: who calls is known"
            );
            assert!(forbids(&gateway.look(29_999)), "{half:?}");
        }
        let (mut gateway, _) = Gateway::begin(&root);
        let loaded = gateway.look(until.unwrap_or(3_600_000));
        assert_eq!(forbids(&loaded), until.is_none(), "{half:?}");
        assert_eq!(loaded.rejections.is_empty(), until.is_some(), "{half:?}: {:#?}", loaded.rejections);
        // Somebody means it.
        fs::remove_file(at.join("p.yaml")).unwrap();
        gateway.look(3_700_000);
        let loaded = gateway.look(3_701_000);
        assert!(!forbids(&loaded) && loaded.rejections.is_empty(), "{half:?}");
    }
}

#[test]
fn an_emptied_file_deletes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("resources/p.yaml");
    fs::create_dir(at.parent().unwrap()).unwrap();
    fs::write(&at, policy("freeze", FORBID)).unwrap();
    let (mut gateway, _) = Gateway::begin(&root);
    fs::write(&at, "").unwrap();
    gateway.source.note(&at, Change::Closed, gateway.at(1_000));
    gateway.look(1_000);
    for ms in [1_600, 60_000, 3_600_000] {
        let loaded = gateway.look(ms);
        assert!(has(&loaded, "ns/freeze"), "{ms}");
        let [said] = &loaded.rejections[..] else { panic!("{:#?}", loaded.rejections) };
        assert!(
            said.reason.contains("an emptied file deletes nothing") && said.fix.contains("delete the file")
        );
    }
    // To say something else is to mean it.
    fs::write(&at, policy("other", PERMIT)).unwrap();
    gateway.look(4_000_000);
    assert!(has(&gateway.look(4_000_499), "ns/freeze"));
    let loaded = gateway.look(4_000_500);
    assert!(!has(&loaded, "ns/freeze") && loaded.rejections.is_empty());
}

#[test]
fn what_was_kept_and_cannot_be_used_refuses_everything_until_all_is_certain() {
    let root = tempfile::tempdir().unwrap();
    let (at, kept) = (root.path().join("resources/p.yaml"), root.path().join("kept"));
    fs::create_dir(at.parent().unwrap()).unwrap();
    let write = |text: &str| fs::write(&at, text).unwrap();
    write(&policy("freeze", FORBID));
    Gateway::begin(&root);
    let older = fs::read(&kept).unwrap();
    write(&policy("freeze", PERMIT));
    Gateway::begin(&root).0.look(30_000);
    let forged = fs::read_to_string(&kept).unwrap().replace("freeze", "frieze");
    for (bad, says) in
        [(older, "older copy"), (forged.into_bytes(), "changed by others"), (b"bad".to_vec(), "damaged")]
    {
        for text in [policy("freeze", PERMIT), "kind: [".to_owned(), String::new()] {
            write(&text);
            fs::write(&kept, &bad).unwrap();
            let (mut gateway, loaded) = Gateway::begin(&root);
            assert!(loaded.snapshot.is_closed(), "{says}");
            assert!(
                loaded.rejections.iter().any(|one| one.reason.contains(says) && one.fix.contains("30 s"))
            );
            assert!(loaded.not_ready.unwrap().contains(says));
            assert!(gateway.look(29_999).snapshot.is_closed());
            let loaded = gateway.look(30_000);
            let is_good = text.contains("Policy");
            assert_eq!(
                (loaded.snapshot.is_closed(), loaded.not_ready.is_some()),
                (!is_good, !is_good),
                "{text}"
            );
            assert_eq!(fs::read(&kept).unwrap() == bad, !is_good, "it is written anew when all is certain");
            write(&policy("freeze", PERMIT));
            gateway.look(30_100);
            let loaded = gateway.look(30_600);
            assert_eq!((loaded.rejections, loaded.not_ready), (vec![], None));
        }
    }
}

#[test]
fn a_permit_that_is_taken_back_counts_although_another_file_is_busy() {
    let root = tempfile::tempdir().unwrap();
    let at = |file: &str| root.path().join("resources").join(file);
    fs::create_dir(at("")).unwrap();
    let agent = |name: &str| {
        format!(
            "---\napiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}, namespace: ns}}\n\
             spec: {{owner: a.person@example.com, team: t, purpose: p, riskLevel: low, identities: [{{spiffe: \"spiffe://t/{name}\"}}]}}\n"
        )
    };
    fs::write(
        at("a.yaml"),
        [policy("one", PERMIT), policy("two", PERMIT), agent("bot"), agent("other")].concat(),
    )
    .unwrap();
    fs::write(at("busy.yaml"), policy("three", PERMIT)).unwrap();
    let (mut gateway, loaded) = Gateway::begin(&root);
    assert!(["ns/one", "ns/two", "ns/three"].iter().all(|id| has(&loaded, id)));
    // One taken away, one narrowed, one agent gone, one changed; and a new permit.
    let narrowed = r#"permit (principal, action == Action::\"getPrompt\", resource);"#;
    let other = agent("other").replace("purpose: p", "purpose: q");
    fs::write(at("a.yaml"), [policy("two", narrowed), other, policy("new", PERMIT)].concat()).unwrap();
    for ms in (1_000..2_000).step_by(100) {
        // What was withdrawn stays so whatever else is done to its file.
        if ms >= 1_700 {
            let more = format!("{}# {ms}\n", fs::read_to_string(at("a.yaml")).unwrap());
            fs::write(at("a.yaml"), more).unwrap();
        }
        fs::write(at("busy.yaml"), format!("{}# {ms}\n", policy("three", PERMIT))).unwrap();
        gateway.source.note(&at("busy.yaml"), Change::Writing, gateway.at(ms));
        let loaded = gateway.look(ms);
        let is_settled = ms >= 1_500;
        for (id, counts) in
            [("ns/one", !is_settled), ("ns/two", !is_settled), ("ns/three", true), ("ns/new", false)]
        {
            assert_eq!(has(&loaded, id), counts, "{ms}: {id}");
        }
        assert_eq!(loaded.snapshot.agent("ns/bot").is_some(), !is_settled, "{ms}");
        assert!(loaded.snapshot.agent("ns/other").is_some(), "{ms}: a change is no deletion");
        assert!(loaded.rejections.is_empty() && !gateway.source.is_whole());
    }
    gateway.source.note(&at("busy.yaml"), Change::Closed, gateway.at(2_000));
    gateway.look(2_000);
    let loaded = gateway.look(2_500);
    assert!(["ns/two", "ns/three", "ns/new"].iter().all(|id| has(&loaded, id)) && !has(&loaded, "ns/one"));
}

/// A forbid that counted while another file was busy is held as one that was whole: running, and over a restart.
#[test]
fn a_forbid_beside_a_busy_file_is_held_when_its_file_says_nothing_any_more() {
    for content in ["", "bad: [", "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\n"] {
        for restarts in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let at = |file: &str| root.path().join("resources").join(file);
            fs::create_dir(at("")).unwrap();
            fs::write(at("a.yaml"), policy("open", PERMIT)).unwrap();
            fs::write(at("busy.yaml"), policy("three", PERMIT)).unwrap();
            let (mut gateway, _) = Gateway::begin(&root);
            let busy = |gateway: &mut Gateway, ms: u64| {
                fs::write(at("busy.yaml"), format!("{}# {ms}\n", policy("three", PERMIT))).unwrap();
                gateway.source.note(&at("busy.yaml"), Change::Writing, gateway.at(ms));
                gateway.look(ms)
            };
            fs::write(at("f.yaml"), policy("stop", FORBID)).unwrap();
            for ms in [1_000, 1_600, 2_200] {
                assert!(has(&busy(&mut gateway, ms), "ns/stop"), "{content:?} {ms}");
            }
            if restarts {
                fs::write(at("f.yaml"), content).unwrap();
                let (_, loaded) = Gateway::begin(&root);
                assert!(ids(&loaded.snapshot).iter().any(|id| id.starts_with("ns/stop")), "{content:?}");
                continue;
            }
            fs::write(at("f.yaml"), content).unwrap();
            for ms in [2_300, 2_900, 3_500] {
                assert!(has(&busy(&mut gateway, ms), "ns/stop"), "{content:?} {ms}");
            }
            gateway.source.note(&at("busy.yaml"), Change::Closed, gateway.at(3_600));
            gateway.look(3_600);
            let loaded = gateway.look(4_200);
            assert!(ids(&loaded.snapshot).iter().any(|id| id.starts_with("ns/stop")), "{content:?} whole");
            // Deleted, it is gone.
            fs::remove_file(at("f.yaml")).unwrap();
            gateway.look(5_000);
            assert!(!ids(&gateway.look(5_600).snapshot).iter().any(|id| id.starts_with("ns/stop")));
        }
    }
}

/// An emptied file deletes nothing, whatever becomes of its name and of its copies. Each step is whole before the next, or none is; and
/// after it the gateway may start again.
#[test]
fn an_emptied_file_deletes_nothing_under_another_name_either() {
    type Step = fn(&Path);
    fn empty(path: PathBuf) {
        drop(File::create(path).unwrap());
    }
    fn copy(at: &Path, from: &str, to: &str) {
        let _bytes = fs::copy(at.join(from), at.join(to)).unwrap();
    }
    let sequences: [(&str, &[Step], bool); 9] = [
        (
            "renamed",
            &[|at| empty(at.join("f.yaml")), |at| fs::rename(at.join("f.yaml"), at.join("g.yaml")).unwrap()],
            true,
        ),
        (
            "renamed and emptied",
            &[|at| fs::rename(at.join("f.yaml"), at.join("g.yaml")).unwrap(), |at| empty(at.join("g.yaml"))],
            true,
        ),
        (
            "copied when it was empty",
            &[
                |at| empty(at.join("f.yaml")),
                |at| copy(at, "f.yaml", "g.yaml"),
                |at| fs::remove_file(at.join("f.yaml")).unwrap(),
            ],
            true,
        ),
        (
            "the copy removed",
            &[
                |at| copy(at, "f.yaml", "g.yaml"),
                |at| empty(at.join("f.yaml")),
                |at| fs::remove_file(at.join("g.yaml")).unwrap(),
            ],
            true,
        ),
        (
            "renamed, and another file in its place",
            &[
                |at| empty(at.join("f.yaml")),
                |at| fs::rename(at.join("f.yaml"), at.join("g.yaml")).unwrap(),
                |at| fs::write(at.join("f.yaml"), policy("more", PERMIT)).unwrap(),
            ],
            true,
        ),
        (
            "renamed over another",
            &[
                |at| empty(at.join("f.yaml")),
                |at| fs::rename(at.join("f.yaml"), at.join("other.yaml")).unwrap(),
            ],
            true,
        ),
        ("deleted", &[|at| fs::remove_file(at.join("f.yaml")).unwrap()], false),
        (
            "renamed and deleted",
            &[
                |at| empty(at.join("f.yaml")),
                |at| fs::rename(at.join("f.yaml"), at.join("g.yaml")).unwrap(),
                |at| fs::remove_file(at.join("g.yaml")).unwrap(),
            ],
            false,
        ),
        (
            "renamed and written",
            &[
                |at| empty(at.join("f.yaml")),
                |at| fs::rename(at.join("f.yaml"), at.join("g.yaml")).unwrap(),
                |at| fs::write(at.join("g.yaml"), policy("more", PERMIT)).unwrap(),
            ],
            false,
        ),
    ];
    for (name, steps, holds) in sequences {
        for (settles, restarts) in [(true, false), (false, false), (true, true), (false, true)] {
            let root = tempfile::tempdir().unwrap();
            let at = root.path().join("resources");
            fs::create_dir(&at).unwrap();
            fs::write(at.join("f.yaml"), policy("stop", FORBID)).unwrap();
            fs::write(at.join("other.yaml"), policy("go", PERMIT)).unwrap();
            // It was there all the time, and is left of nothing.
            fs::write(at.join("read-me.yaml"), "# How to write policies.\n").unwrap();
            let (mut gateway, loaded) = Gateway::begin(&root);
            assert!(has(&loaded, "ns/stop"));
            let mut ms = 0;
            for step in steps {
                step(&at);
                if settles {
                    gateway.look(ms + 100);
                    gateway.look(ms + 700);
                    ms += 1_000;
                }
            }
            let mut loaded = gateway.look(ms + 100);
            if restarts {
                (gateway, loaded) = Gateway::begin(&root);
                ms = 0;
            }
            // After what a start doubts, and without.
            for later in [ms + 700, ms + 31_000, ms + 32_000] {
                loaded = gateway.look(later);
            }
            let found = ids(&loaded.snapshot).iter().any(|id| id.starts_with("ns/stop"));
            assert_eq!(
                found, holds,
                "{name}, settles {settles}, restarts {restarts}: {:#?}",
                loaded.rejections
            );
        }
    }
}
