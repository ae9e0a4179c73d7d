//! What was refusing stays refusing: any sequence of file operations, at any moment that the directory may be looked at, allows no
//! call that both the state before and the state after refuse.
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
        let operation = self.dice.below(8);
        self.log.push(format!("{operation} {file}"));
        match operation {
            0 | 1 => self.write_in_pieces(file),
            2 | 3 => self.replace(file),
            4 => self.rename(file),
            5 => self.remove(file),
            6 => self.dangle(file),
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
        let text = next.text();
        self.files.insert(file, next);
        self.enter();
        let keeps_open = self.heard && self.dice.chance(50);
        let mut open = Some(File::create(self.path(file)).unwrap());
        let mut rest = text.as_bytes();
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
        self.count.moving += usize::from(due.is_some());
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
        if due.is_none() {
            self.source.keep(&loaded).unwrap();
        }
        due.is_none()
    }
}

fn source(root: &tempfile::TempDir) -> Source {
    Source::new(&root.path().join("resources"), Some(&root.path().join("kept")))
}

/// The state of a snapshot, shortly.
fn ids(snapshot: &Snapshot) -> Vec<String> {
    snapshot.policies().map(ToString::to_string).collect()
}

#[test]
fn a_start_with_faults_holds_what_was_forbidden_or_refuses_everything() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("resources");
    fs::create_dir(&at).unwrap();
    let policy = |cedar: &str| {
        format!(
            "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: freeze, namespace: ns}}\n\
             spec: {{description: d, cedar: \"{cedar}\"}}\n"
        )
    };
    let begin = || {
        let mut source = source(&root);
        let none = BTreeSet::new();
        let heard = Heard { changed: None, placed: &none, heard: true };
        let wall = SystemTime::now() + Duration::from_secs(60);
        let (loaded, due) = source.look(heard, Instant::now(), wall);
        assert!(due.is_none());
        source.keep(&loaded).unwrap();
        loaded
    };
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

    write(&policy("forbid (principal, action, resource);"));
    let loaded = begin();
    assert_eq!((loaded.rejections, loaded.not_ready), (vec![], None));
    for malformed in ["kind: [", "", "kind: Policy\n", &policy("forbid (principal, action")] {
        write(malformed);
        let loaded = begin();
        let is_held = ids(&loaded.snapshot).iter().any(|id| id == "ns/freeze");
        assert_eq!(is_held, !malformed.is_empty(), "{malformed}: an empty file is a deletion");
        assert_eq!((loaded.snapshot.is_closed(), loaded.not_ready), (false, None), "{malformed}");
        write(&policy("forbid (principal, action, resource);"));
        assert_eq!(begin().rejections, []);
    }
    // What was kept is damaged: it does not matter while everything can be read.
    for clean in [true, false] {
        fs::write(root.path().join("kept"), "damaged").unwrap();
        if clean {
            assert_eq!(begin().rejections, []);
            continue;
        }
        write("kind: [");
        let loaded = begin();
        assert!(loaded.snapshot.is_closed());
        assert!(loaded.rejections.iter().any(|one| one.reason.contains("not what Vidimus writes")));
        assert!(loaded.not_ready.unwrap().contains("not what Vidimus writes"));
    }
    write(&policy("permit (principal, action, resource);"));
    let loaded = begin();
    assert_eq!((loaded.rejections, loaded.not_ready), (vec![], None));
}
