//! What a power loss may leave.
//!
//! The model: when a sync returns, what was done before it began is on disk. Of what was done since the last one, of each file each
//! sector is as it was after any of the operations, the length is one that the file had (or a border of sectors on the way to it),
//! and of each directory the names are as they were after any of the operations. Files and directories know nothing of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::random::Random;
use super::recorder::{Inode, Log, Operation};
use crate::support::SEAL;

const SECTOR: usize = 512;

/// Files by their path, and directories.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) dirs: BTreeSet<PathBuf>,
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
}

/// How much of what is not promised is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    /// None.
    Nothing,
    /// All: a process that was killed.
    Everything,
    /// Any of it.
    Any,
    /// Of each file, the beginning.
    Beginning,
}

/// The state after a power loss behind the first `done` operations.
pub(crate) fn after(log: &Log, done: usize, luck: Luck, random: &mut Random) -> State {
    let done = &log.operations[..done];
    let names = names(log, done, luck, random);
    let mut state = State { dirs: names.dirs, files: BTreeMap::new() };
    for (path, file) in names.files {
        state.files.insert(path, content(log, done, file, luck, random));
    }
    state
}

#[derive(Clone, Debug)]
struct Names {
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Inode>,
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// The directory whose names an operation changes.
fn changed(operation: &Operation) -> Option<PathBuf> {
    match operation {
        Operation::MakeDir(path) | Operation::Create(path, _) | Operation::Remove(path) => Some(parent(path)),
        Operation::Rename(from, to) => {
            assert_eq!(parent(from), parent(to), "files are renamed in place");
            Some(parent(to))
        }
        _ => None,
    }
}

fn names(log: &Log, done: &[Operation], luck: Luck, random: &mut Random) -> Names {
    // Of each directory, its operations are durable up to here.
    let mut promised: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut everything = 0;
    for operation in done {
        match operation {
            Operation::SyncDir { dir, begun } => {
                let promised = promised.entry(dir.clone()).or_default();
                *promised = (*promised).max(*begun);
            }
            Operation::SyncEverything { begun } => everything = everything.max(*begun),
            _ => {}
        }
    }
    let mut ends: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for dir in done.iter().filter_map(changed) {
        let least = promised.get(&dir).copied().unwrap_or(0).max(everything);
        ends.entry(dir).or_insert_with(|| match luck {
            Luck::Nothing => least,
            Luck::Everything => done.len(),
            Luck::Any | Luck::Beginning => least + random.below(done.len() - least + 1),
        });
    }
    let mut names = Names { dirs: log.dirs.iter().cloned().collect(), files: log.names.clone() };
    for (at, operation) in done.iter().enumerate() {
        let Some(dir) = changed(operation).filter(|dir| at < ends[dir]) else { continue };
        // What is in a directory that is lost is lost.
        if !dir.as_os_str().is_empty() && !names.dirs.contains(&dir) {
            continue;
        }
        match operation {
            Operation::MakeDir(path) => {
                names.dirs.insert(path.clone());
            }
            Operation::Create(path, file) => {
                names.files.insert(path.clone(), *file);
            }
            Operation::Remove(path) => {
                names.files.remove(path);
            }
            Operation::Rename(from, to) => {
                if let Some(file) = names.files.remove(from) {
                    names.files.insert(to.clone(), file);
                }
            }
            _ => unreachable!("it changes no names"),
        }
    }
    names
}

fn content(log: &Log, done: &[Operation], file: Inode, luck: Luck, random: &mut Random) -> Vec<u8> {
    let promised = done.iter().fold(0, |promised, operation| match operation {
        Operation::Sync { file: synced, begun } if *synced == file => promised.max(*begun),
        Operation::SyncEverything { begun } => promised.max(*begun),
        _ => promised,
    });
    let (before, since) = done.split_at(promised);
    let mut content = log.contents.get(file).cloned().unwrap_or_default();
    for operation in before {
        apply(operation, file, &mut content);
    }
    let mut versions = vec![content.clone()];
    for operation in since {
        if apply(operation, file, &mut content).is_some() {
            versions.push(content.clone());
        }
    }
    match luck {
        Luck::Nothing => versions.swap_remove(0),
        Luck::Everything => versions.pop().expect("one"),
        Luck::Any => mixed(&versions, random),
        Luck::Beginning => {
            let kept = random.below(versions.len());
            let next = versions.get(kept + 1).cloned();
            let last = versions.swap_remove(kept);
            mixed(&[last].into_iter().chain(next).collect::<Vec<_>>(), random)
        }
    }
}

/// Does to the content of a file what an operation did to it; `None` where that is nothing.
fn apply(operation: &Operation, file: Inode, content: &mut Vec<u8>) -> Option<()> {
    match operation {
        Operation::Write { file: written, offset, bytes } if *written == file => {
            let begin = usize::try_from(*offset).expect("small");
            content.resize(content.len().max(begin + bytes.len()), 0);
            content[begin..begin + bytes.len()].copy_from_slice(bytes);
            Some(())
        }
        Operation::Cut { file: cut, length } if *cut == file => {
            content.resize(usize::try_from(*length).expect("small"), 0);
            Some(())
        }
        _ => None,
    }
}

/// Every sector of any version, and a length on the way from the first to the last.
fn mixed(versions: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let longest = versions.iter().map(Vec::len).max().unwrap_or(0);
    let mut bytes = vec![0; longest];
    // Some losses are rare, most are not: whole stretches are lost as well as single sectors.
    let keeps = random.below(4);
    for (number, sector) in bytes.chunks_mut(SECTOR).enumerate() {
        let version = if keeps > 0 && random.below(4) < keeps {
            versions.len() - 1
        } else {
            random.below(versions.len())
        };
        let begin = number * SECTOR;
        let from = versions[version].get(begin..).unwrap_or_default();
        sector.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
    let one = versions[random.below(versions.len())].len();
    let least = versions.iter().map(Vec::len).min().unwrap_or(0);
    let borders: Vec<_> = (least.div_ceil(SECTOR)..=longest / SECTOR).map(|border| border * SECTOR).collect();
    let length =
        if random.below(4) == 0 && !borders.is_empty() { borders[random.below(borders.len())] } else { one };
    bytes.truncate(length.max(least));
    bytes
}

impl State {
    /// Makes the files.
    pub(crate) fn write(&self, root: &Path) {
        for dir in &self.dirs {
            std::fs::create_dir_all(root.join(dir)).expect("made");
        }
        for (path, bytes) in &self.files {
            std::fs::write(root.join(path), bytes).expect("written");
        }
    }

    /// How many records are whole and have a seal behind them, from the first on.
    pub(crate) fn records(&self) -> u64 {
        let (mut sealed, mut count) = (0u64, 0u64);
        let segments = self.files.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "log"));
        for (path, bytes) in segments {
            let name = format!("{count:020}");
            if path.file_stem().is_none_or(|stem| *stem != *name) {
                break;
            }
            let mut rest = bytes.get(24..).unwrap_or_default();
            loop {
                if let Some(next) = whole(rest, count) {
                    (rest, count) = (&rest[next..], count + 1);
                    // The version before this one sealed nothing.
                    sealed = if bytes[7] == 1 { count } else { sealed };
                } else if sealed_at(rest, count) {
                    (rest, sealed) = (&rest[SEAL..], count);
                } else {
                    break;
                }
            }
        }
        sealed
    }
}

/// Whether the seal of all before record `index` is at the beginning of `bytes`, by its form.
fn sealed_at(bytes: &[u8], index: u64) -> bool {
    bytes.get(..SEAL).is_some_and(|seal| {
        let checked = crc32c::crc32c(&seal[8..]).to_le_bytes() == seal[4..8];
        seal.starts_with(b"SEAL") && checked && seal[8..16] == index.to_le_bytes()
    })
}

/// The length of the frame of record `index` at the beginning of `bytes`, if it is whole.
fn whole(bytes: &[u8], index: u64) -> Option<usize> {
    let length = 20 + usize::from(*bytes.first()?) + 256 * usize::from(*bytes.get(1)?);
    let frame = bytes.get(..length).filter(|_| length > 20)?;
    let covered = [&frame[20..], &frame[..4], &frame[8..20]].concat();
    let checked = crc32c::crc32c(&covered).to_le_bytes() == frame[4..8];
    (checked && frame[8..16] == index.to_le_bytes()).then_some(length)
}
