//! What was refusing stays refusing: any sequence of file operations, at any moment that the directory may be looked at, allows no
//! call that both the state before and the state after refuse. And a permit that is taken out of a file that is whole by itself
//! permits nothing any more, although another file is written all the time.
//!
//! `VIDIMUS_PROPERTY_SEQUENCES` sets how many sequences there are, `VIDIMUS_PROPERTY_SEED` where to begin.

mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;

use vidimus_core::snapshot::Snapshot;

use super::*;
use state::{Call, Dice, State};

const SEQUENCES: u64 = 100;
const OPERATIONS: usize = 6;
const FILES: [&str; 4] = ["a.yaml", "b.yaml", "sub/c.yaml", "sub/d.yaml"];

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    looks: usize,
    allowed: usize,
    /// Calls that a state of the time would have allowed, and that were not.
    refused: usize,
    moving: usize,
    not_ready: usize,
    /// Permits that were taken back while another file was busy.
    taken_back: usize,
}

#[test]
fn nothing_is_allowed_that_both_the_state_before_and_the_state_after_refuse() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (sequences, first) =
        (number("VIDIMUS_PROPERTY_SEQUENCES", SEQUENCES), number("VIDIMUS_PROPERTY_SEED", 1));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let some = |thread: u64| {
        let mut count = Count::default();
        for seed in (first + thread..first + sequences).step_by(threads as usize) {
            let mut sequence = Sequence::new(seed);
            sequence.run();
            count.add(sequence.count);
        }
        count
    };
    let count = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || some(thread))).collect();
        running.into_iter().fold(Count::default(), |mut all, one| {
            all.add(one.join().unwrap());
            all
        })
    });
    assert!(count.taken_back > 0, "no permit was taken back: {count:?}");
    let looks = count.looks;
    for (what, count) in [
        ("allowed", count.allowed),
        ("refused", count.refused),
        ("moving", count.moving),
        ("not ready", count.not_ready * 20),
    ] {
        assert!(
            count > looks / 20,
            "{what}, {count} of {looks}: the sequences do not reach what they are there for"
        );
    }
}

impl Count {
    fn add(&mut self, other: Self) {
        self.looks += other.looks;
        self.allowed += other.allowed;
        self.refused += other.refused;
        self.moving += other.moving;
        self.not_ready += other.not_ready;
        self.taken_back += other.taken_back;
    }
}

/// One sequence: a directory, what it is to hold, and the gateway's view of it.
struct Sequence {
    seed: u64,
    dice: Dice,
    root: tempfile::TempDir,
    source: Source,
    /// Whether file events are heard.
    heard: bool,
    now: Instant,
    files: BTreeMap<&'static str, State>,
    /// Where a link leads nowhere.
    hidden: BTreeSet<&'static str>,
    /// What was allowed by the states since the directory was last whole, the present one being the last.
    window: Vec<BTreeSet<Call>>,
    /// What the last snapshot allows, and its digest.
    allowed: (String, BTreeSet<Call>),
    count: Count,
    log: Vec<String>,
}

impl Sequence {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("resources/sub")).unwrap();
        let source = source(&root);
        let heard = dice.chance(60);
        let mut sequence = Self {
            seed,
            dice,
            root,
            source,
            heard,
            now: Instant::now(),
            files: BTreeMap::new(),
            hidden: BTreeSet::new(),
            window: vec![BTreeSet::new()],
            allowed: Default::default(),
            count: Count::default(),
            log: Vec::new(),
        };
        for file in FILES {
            let mut state = State::of(&mut sequence.dice);
            if file == FILES[0] {
                state = state.with_server(&mut sequence.dice);
            }
            fs::write(sequence.path(file), state.text()).unwrap();
            sequence.files.insert(file, state);
        }
        sequence.enter();
        sequence
    }

    fn run(&mut self) {
        self.settle();
        for _ in 0..OPERATIONS {
            self.operate();
            if self.dice.chance(75) {
                self.settle();
            }
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join("resources").join(file)
    }

    /// A new state is the one that somebody means from now on.
    fn enter(&mut self) {
        let parts = self.files.iter().map(|(file, state)| (state, self.hidden.contains(file)));
        self.window.push(state::allowed(parts));
    }

    fn operate(&mut self) {
        let file = *self.dice.one(&FILES);
        let operation = self.dice.below(10);
        self.log.push(format!("{operation} {file}"));
        match operation {
            0 | 1 => self.write_in_pieces(file),
            2 | 3 => self.replace(file),
            4 => self.rename(file),
            5 => self.remove(file),
            6 => self.dangle(file),
            7 | 8 => self.change_beside_a_busy_file(file),
            _ => self.restart(),
        }
    }

    fn changed(&mut self, file: &'static str) -> State {
        let last = self.files.get(file).cloned().unwrap_or_default();
        last.changed(&mut self.dice)
    }

    fn write_in_pieces(&mut self, file: &'static str) {
        self.repair(file);
        let next = self.changed(file);
        let (text, is_good) = (next.text(), next.is_good());
        self.files.insert(file, next);
        self.enter();
        let keeps_open = self.heard && self.dice.chance(50);
        let mut open = Some(File::create(self.path(file)).unwrap());
        let mut rest = text.as_bytes();
        // An emptied file keeps what it refused, and not a name or an identity that was nobody else's: what comes after as malformed
        // claims none that is not known from its text (ADR 16).
        if is_good && !rest.is_empty() && self.dice.chance(50) {
            // It is empty, and nothing more comes for a long time.
            self.note(file, if keeps_open { Change::Writing } else { Change::Closed });
            if self.dice.chance(50) {
                self.source = source(&self.root);
            }
            let pause = self.dice.below(20_000) as u64;
            self.look_during(pause);
            self.look_during(600);
        }
        while !rest.is_empty() {
            self.note(file, if keeps_open { Change::Writing } else { Change::Closed });
            // A writer that is heard, and keeps the file open, may take its time.
            let pause = if keeps_open { self.dice.below(20_000) } else { self.dice.below(400) };
            self.look_during(pause as u64);
            let (piece, after) = rest.split_at(self.dice.below(rest.len()) + 1);
            let mut writer =
                open.take().unwrap_or_else(|| OpenOptions::new().append(true).open(self.path(file)).unwrap());
            writer.write_all(piece).unwrap();
            open = keeps_open.then_some(writer);
            rest = after;
        }
        drop(open);
        self.note(file, Change::Closed);
        self.look_during(0);
    }

    /// In place, and whole; while another file never comes to rest.
    fn change_beside_a_busy_file(&mut self, file: &'static str) {
        let busy = *self.dice.one(&FILES);
        if busy == file
            || !self.hidden.is_empty()
            || ![busy, file].iter().all(|file| self.path(file).exists())
        {
            return;
        }
        self.settle();
        let last = self.files.get(file).cloned().unwrap_or_default();
        let next = match self.dice.chance(70) {
            true => last.clone().without_permits(),
            false => self.changed(file),
        };
        fs::write(self.path(file), next.text()).unwrap();
        self.files.insert(file, next.clone());
        self.enter();
        self.note(file, Change::Writing);
        self.note(file, Change::Closed);
        self.look_during(0);
        let still = if self.heard { crate::settle::STILL } else { crate::settle::STILL_UNHEARD };
        let whole_by_itself = self.now + still;
        let others =
            self.files.iter().filter(|(other, _)| **other != file).flat_map(|(_, state)| state.permits());
        let permitted: BTreeSet<usize> = others.chain(next.permits()).collect();
        self.count.taken_back += last.permits().iter().filter(|tool| !permitted.contains(tool)).count();
        while self.now <= whole_by_itself + still {
            let mut writer = OpenOptions::new().append(true).open(self.path(busy)).unwrap();
            writeln!(writer, "# busy").unwrap();
            self.note(busy, Change::Writing);
            assert!(!self.look(&BTreeSet::new()), "it is whole although somebody writes");
            if let Some(call) = self.allowed.1.iter().find(|call| !permitted.contains(&call.1))
                && self.now >= whole_by_itself
            {
                panic!(
                    "seed {}: {call:?} is allowed, and the permit was taken back\n{:#?}",
                    self.seed, self.log
                );
            }
            self.now += Duration::from_millis(1 + self.dice.below(400) as u64);
        }
        self.note(busy, Change::Closed);
    }

    /// As careful programs do.
    fn replace(&mut self, file: &'static str) {
        self.repair(file);
        let next = self.changed(file);
        let beside = self.path(".new");
        fs::write(&beside, next.text()).unwrap();
        fs::rename(beside, self.path(file)).unwrap();
        self.files.insert(file, next);
        self.enter();
        self.note(file, Change::Placed);
        let placed = if self.heard { [self.path(file)].into() } else { BTreeSet::new() };
        self.look(&placed);
    }

    /// To another name, with or without a change on the way.
    fn rename(&mut self, file: &'static str) {
        let to = *self.dice.one(&FILES);
        if to == file || self.hidden.contains(file) || self.hidden.contains(to) || !self.path(file).exists() {
            return;
        }
        let state = self.files.remove(file).unwrap_or_default();
        if self.dice.chance(60) {
            fs::rename(self.path(file), self.path(to)).unwrap();
            self.files.insert(to, state);
            self.enter();
        } else {
            let next = state.changed(&mut self.dice);
            fs::write(self.path(to), next.text()).unwrap();
            fs::remove_file(self.path(file)).unwrap();
            self.files.insert(to, next);
            self.enter();
        }
        self.note(file, Change::Done);
        self.note(to, Change::Done);
        self.look_during(0);
    }

    fn remove(&mut self, file: &'static str) {
        if self.hidden.contains(file) || !self.path(file).exists() {
            return;
        }
        fs::remove_file(self.path(file)).unwrap();
        self.files.remove(file);
        self.enter();
        self.note(file, Change::Done);
        self.look_during(0);
    }

    /// A link that leads nowhere, in the place of a file or of the directory that it is in.
    fn dangle(&mut self, file: &'static str) {
        if !self.hidden.is_empty() {
            return self.repair(file);
        }
        let directory = file.starts_with("sub/") && self.dice.chance(50);
        let (at, aside) = match directory {
            true => (self.path("sub"), self.root.path().join("sub")),
            false => (self.path(file), self.root.path().join("file")),
        };
        if !at.exists() {
            return;
        }
        self.hidden = match directory {
            true => FILES.into_iter().filter(|file| file.starts_with("sub/")).collect(),
            false => [file].into(),
        };
        fs::rename(&at, aside).unwrap();
        self.look_during(100);
        symlink("nowhere", at).unwrap();
        self.enter();
        self.look_during(0);
    }

    /// Puts back what a link hides.
    fn repair(&mut self, _: &'static str) {
        let sub = self.root.path().join("sub");
        if self.hidden.is_empty() {
            return;
        }
        let (at, aside) = match sub.exists() {
            true => (self.path("sub"), sub),
            false => (self.path(self.hidden.first().copied().unwrap()), self.root.path().join("file")),
        };
        fs::remove_file(&at).unwrap();
        fs::rename(aside, &at).unwrap();
        self.hidden.clear();
        self.enter();
        self.look_during(0);
    }

    fn restart(&mut self) {
        self.source = source(&self.root);
        self.look_during(0);
    }

    fn note(&mut self, file: &str, change: Change) {
        let path = self.path(file);
        if self.heard {
            self.source.note(&path, change, self.now);
        }
    }

    /// Looks at some moments of so many milliseconds.
    fn look_during(&mut self, ms: u64) {
        for _ in 0..=self.dice.below(2) {
            self.look(&BTreeSet::new());
        }
        self.now += Duration::from_millis(ms);
        if self.dice.chance(50) {
            self.look(&BTreeSet::new());
        }
    }

    /// Looks until the directory is whole.
    fn settle(&mut self) {
        for _ in 0..10 {
            if self.look(&BTreeSet::new()) {
                let last = self.window.len() - 1;
                self.window.drain(..last);
                let hidden = &self.hidden;
                let seen = self.files.iter_mut().filter(|(file, _)| !hidden.contains(*file));
                seen.for_each(|(_, state)| state.are_known());
                return;
            }
            self.now += Duration::from_millis(1_000);
        }
        panic!("seed {}: it is never whole: {:#?}", self.seed, self.log);
    }

    /// Looks, and holds what is allowed against the states. Whether the directory is whole.
    fn look(&mut self, placed: &BTreeSet<PathBuf>) -> bool {
        let heard = Heard { changed: None, placed, heard: self.heard };
        let (loaded, due) = self.source.look(heard, self.now, SystemTime::UNIX_EPOCH);
        self.count.looks += 1;
        let is_whole = self.source.is_whole();
        assert!(is_whole || due.is_some());
        self.count.moving += usize::from(!is_whole);
        self.count.not_ready += usize::from(loaded.not_ready.is_some());
        let by_states: BTreeSet<Call> = self.window.iter().flatten().copied().collect();
        if self.allowed.0 != loaded.snapshot.digest() {
            self.allowed = (loaded.snapshot.digest().to_owned(), state::allowed_by(&loaded.snapshot));
        }
        let allowed = &self.allowed.1;
        if let Some(call) = allowed.difference(&by_states).next() {
            panic!(
                "seed {}: {call:?} is allowed, which no state allows.\n{:#?}\nfiles {:#?}, hidden {:?}\nrejections {:#?}\npolicies {:?}",
                self.seed,
                self.log,
                self.files,
                self.hidden,
                loaded.rejections,
                loaded.snapshot.policies().collect::<Vec<_>>()
            );
        }
        self.count.allowed += usize::from(!allowed.is_empty());
        self.count.refused += usize::from(by_states.len() > self.allowed.1.len());
        self.source.keep(&loaded).unwrap();
        is_whole
    }
}

fn source(root: &tempfile::TempDir) -> Source {
    let (kept, count) = (root.path().join("kept"), root.path().join("count"));
    let keeping = Keeping::new(&kept, &count, &[7; crate::kept::KEY_LENGTH]).unwrap();
    Source::new(&root.path().join("resources"), Some(keeping))
}

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
