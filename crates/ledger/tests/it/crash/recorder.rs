//! A disk that writes down every operation. Nothing is synced for real: a sync is an entry like any other.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use vidimus_ledger::storage::{Disk, Open, Storage, Stored};

/// A file, whatever its name is.
pub(crate) type Inode = usize;

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    MakeDir(PathBuf),
    /// The name is given to a new, empty file.
    Create(PathBuf, Inode),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Write {
        file: Inode,
        offset: u64,
        bytes: Vec<u8>,
    },
    Cut {
        file: Inode,
        length: u64,
    },
    /// A sync that has returned makes durable what was done before it began, which was when there were so many entries.
    Sync {
        file: Inode,
        begun: usize,
    },
    SyncDir {
        dir: PathBuf,
        begun: usize,
    },
    SyncEverything {
        begun: usize,
    },
}

/// What was done, in order, to a directory that had these files at the beginning, all of them durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) names: BTreeMap<PathBuf, Inode>,
    pub(crate) contents: Vec<Vec<u8>>,
    pub(crate) operations: Vec<Operation>,
    /// As they are now.
    present: BTreeMap<PathBuf, Inode>,
    lengths: Vec<u64>,
}

/// The file system below one directory, and what was done to it.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    root: PathBuf,
    log: Arc<Mutex<Log>>,
}

impl Recorder {
    /// Records from here on.
    pub(crate) fn new(root: &Path) -> Self {
        let mut log = Log::default();
        log.read(root, root);
        Self { root: root.to_owned(), log: Arc::new(Mutex::new(log)) }
    }

    /// What was done so far.
    pub(crate) fn log(&self) -> Log {
        self.log.lock().expect("not poisoned").clone()
    }

    /// How many operations were done so far.
    pub(crate) fn done(&self) -> usize {
        self.log.lock().expect("not poisoned").operations.len()
    }

    fn with<T>(&self, path: &Path, then: impl FnOnce(&mut Log, PathBuf) -> T) -> T {
        let path = path.strip_prefix(&self.root).expect("a path of the log").to_owned();
        then(&mut self.log.lock().expect("not poisoned"), path)
    }
}

impl Log {
    fn read(&mut self, root: &Path, dir: &Path) {
        for entry in std::fs::read_dir(dir).expect("listed") {
            let path = entry.expect("entry").path();
            let name = path.strip_prefix(root).expect("below").to_owned();
            if path.is_dir() {
                self.dirs.push(name);
                self.read(root, &path);
            } else {
                let content = std::fs::read(&path).expect("read");
                self.lengths.push(content.len() as u64);
                self.names.insert(name.clone(), self.contents.len());
                self.present.insert(name, self.contents.len());
                self.contents.push(content);
            }
        }
    }

    fn create(&mut self, path: PathBuf) -> Inode {
        let file = self.lengths.len();
        self.lengths.push(0);
        self.present.insert(path.clone(), file);
        self.operations.push(Operation::Create(path, file));
        file
    }
}

impl Storage for Recorder {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        Disk.make_dir(path)?;
        self.with(path, |log, path| log.operations.push(Operation::MakeDir(path)));
        Ok(())
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Stored>> {
        let file = Disk.open(path, how)?;
        let inode = self.with(path, |log, path| match (log.present.get(&path).copied(), how) {
            (Some(known), Open::Replace { .. }) => {
                log.lengths[known] = 0;
                log.operations.push(Operation::Cut { file: known, length: 0 });
                known
            }
            (Some(known), _) => known,
            (None, _) => log.create(path),
        });
        Ok(Box::new(RecordedFile { recorder: self.clone(), file, inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)?;
        let from = self.with(from, |_, from| from);
        self.with(to, |log, to| {
            let file = log.present.remove(&from).expect("a name");
            log.present.insert(to.clone(), file);
            log.operations.push(Operation::Rename(from, to));
        });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)?;
        self.with(path, |log, path| {
            log.present.remove(&path);
            log.operations.push(Operation::Remove(path));
        });
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if path.starts_with(&self.root) {
            self.with(path, |log, dir| {
                log.operations.push(Operation::SyncDir { dir, begun: log.operations.len() });
            });
        }
        Ok(())
    }

    fn sync_everything(&self, path: &Path) -> io::Result<()> {
        self.with(path, |log, _| {
            log.operations.push(Operation::SyncEverything { begun: log.operations.len() });
        });
        Ok(())
    }
}

#[derive(Debug)]
struct RecordedFile {
    recorder: Recorder,
    file: Box<dyn Stored>,
    inode: Inode,
}

impl RecordedFile {
    fn with<T>(&self, then: impl FnOnce(&mut Log) -> T) -> T {
        then(&mut self.recorder.log.lock().expect("not poisoned"))
    }
}

impl Stored for RecordedFile {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.write(bytes)?;
        self.with(|log| {
            let offset = log.lengths[self.inode];
            log.lengths[self.inode] += bytes.len() as u64;
            log.operations.push(Operation::Write { file: self.inode, offset, bytes: bytes.to_vec() });
        });
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)?;
        self.with(|log| {
            log.operations.push(Operation::Write { file: self.inode, offset, bytes: bytes.to_vec() });
        });
        Ok(())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.file.cut(length)?;
        self.with(|log| {
            log.lengths[self.inode] = length;
            log.operations.push(Operation::Cut { file: self.inode, length });
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let begun = self.with(|log| log.operations.len());
        // Others write meanwhile, as they do during an fsync: what they write is not promised.
        std::thread::yield_now();
        self.with(|log| log.operations.push(Operation::Sync { file: self.inode, begun }));
        Ok(())
    }
}
