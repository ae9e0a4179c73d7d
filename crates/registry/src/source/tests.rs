//! What was refusing stays refusing: any sequence of file operations, at any moment that the directory may be looked at, allows no
//! call that both the state before and the state after refuse. And a permit that is taken out of a file that is whole by itself
//! permits nothing any more, although another file is written all the time.
//!
//! `VIDIMUS_PROPERTY_SEQUENCES` sets how many sequences there are, `VIDIMUS_PROPERTY_SEED` where to begin.

mod cases;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;

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
    /// Files that were emptied, with what they held.
    emptied: BTreeMap<&'static str, Vec<State>>,
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
            emptied: BTreeMap::new(),
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
        self.window.push(state::allowed(parts, self.emptied.values().flatten()));
    }

    fn operate(&mut self) {
        let file = *self.dice.one(&FILES);
        let operation = self.dice.below(14);
        self.log.push(format!("{operation} {file}"));
        match operation {
            0 | 1 => self.write_in_pieces(file),
            2 | 3 => self.replace(file),
            4 => self.rename(file),
            5 => self.remove(file),
            6 => self.dangle(file),
            7 | 8 => self.change_beside_a_busy_file(file),
            9 | 10 => self.empty_and_rename(file),
            11 | 12 => self.copy_and_empty(file),
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
        self.holds(file, next);
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
        self.holds(file, next.clone());
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
        self.holds(file, next);
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
            self.rename_to(file, to, state);
        } else {
            let next = state.changed(&mut self.dice);
            fs::write(self.path(to), next.text()).unwrap();
            fs::remove_file(self.path(file)).unwrap();
            self.emptied.remove(file);
            self.holds(to, next);
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
        self.emptied.remove(file);
        self.enter();
        self.note(file, Change::Done);
        self.look_during(0);
    }

    /// What a file holds now.
    fn holds(&mut self, file: &'static str, state: State) {
        self.files.insert(file, state);
        self.emptied.remove(file);
    }

    /// An emptied file takes what it held along, and empties what it is put over.
    fn rename_to(&mut self, file: &'static str, to: &'static str, state: State) {
        fs::rename(self.path(file), self.path(to)).unwrap();
        match self.emptied.remove(file) {
            None => self.holds(to, state),
            Some(held) => {
                let over = self.files.remove(to);
                self.emptied.entry(to).or_default().extend(held.into_iter().chain(over));
            }
        }
        self.enter();
    }

    /// Nobody means it: what the file refused goes on.
    fn empty(&mut self, file: &'static str) {
        let state = self.files.remove(file).unwrap_or_default();
        self.emptied.entry(file).or_default().push(state);
        self.enter();
        drop(File::create(self.path(file)).unwrap());
        self.note(file, Change::Writing);
        self.note(file, Change::Closed);
        self.look_during(0);
    }

    fn sometimes_settle(&mut self) {
        if self.dice.chance(50) {
            self.settle();
        }
    }

    /// An emptied file gets another name: that of none, or of one that is there.
    fn empty_and_rename(&mut self, file: &'static str) {
        let to = *self.dice.one(&FILES);
        if to == file || !self.hidden.is_empty() || !self.path(file).exists() {
            return;
        }
        self.empty(file);
        self.sometimes_settle();
        self.rename_to(file, to, State::default());
        self.note(file, Change::Done);
        self.note(to, Change::Done);
        self.look_during(0);
    }

    /// A copy is made of a file, the file is emptied, and the copy removed.
    fn copy_and_empty(&mut self, file: &'static str) {
        let to = *self.dice.one(&FILES);
        if !self.hidden.is_empty() || !self.path(file).exists() || self.path(to).exists() {
            return;
        }
        fs::copy(self.path(file), self.path(to)).unwrap();
        let state = self.files.get(file).cloned().unwrap_or_default();
        self.holds(to, state);
        self.enter();
        self.note(to, Change::Writing);
        self.note(to, Change::Closed);
        self.look_during(0);
        self.sometimes_settle();
        self.empty(file);
        self.sometimes_settle();
        self.remove(to);
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
