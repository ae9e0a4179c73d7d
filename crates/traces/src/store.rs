//! Who writes spans, and how long they stay.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::files::{self, ENTRY};
use crate::kept::{Ids, Unfit};
use crate::recent::Recent;
use crate::sent::Sent;

/// What the spans of one request may come to, each with what is beside it ([`crate::Weight::total`]), in bytes.
const MOST_REQUEST: usize = 16 * 1024 * 1024;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A file goes when nothing was written to it for so long.
    pub age: Duration,
    /// All files together. When there are more, the oldest of the principal that has most goes.
    pub bytes: u64,
    /// A file that has so many bytes is followed by the next one.
    pub file: u64,
    /// So much of the disk stays free of spans, in bytes: while less is, those are kept of who has less than an equal share, in the place of the
    /// oldest of who has most, and no others.
    pub spare: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { age: Duration::from_secs(7 * 24 * 3600), bytes: 1 << 30, file: 8 << 20, spare: 0 }
    }
}

/// Whose spans these are, as it was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// `Kind/namespace/name`.
    pub principal: String,
    /// Which of the principal's identities was used.
    pub identity: String,
    /// `issuer#subject` of the person on whose behalf.
    pub user: Option<String>,
}

/// What became of the spans of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// They are kept.
    pub stored: u64,
    /// They are there already, and say the same.
    pub repeated: u64,
    /// By their ids the principal has said something else before, and that stands.
    pub altered: u64,
    /// See [`Unfit::Malformed`].
    pub malformed: u64,
    /// Of those that are kept, so many were more than is kept of one: values are without their ends, or some of what they say is not there.
    pub cut: u64,
    /// See [`Unfit::TooLarge`]; or with those before them in the request they would be too much.
    pub too_large: u64,
}

impl Taken {
    /// How many the sender is not to send again, and are not kept.
    pub fn rejected(&self) -> u64 {
        self.altered + self.malformed + self.too_large
    }
}

/// Spans that went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Their time was over.
    pub expired: u64,
    /// There was no room for more.
    pub evicted: u64,
}

/// A file of spans.
#[derive(Clone, Copy, Debug)]
struct Segment {
    number: u64,
    /// Of both files.
    bytes: u64,
    spans: u64,
    /// When it was last written to.
    newest: SystemTime,
}

/// The files of one principal.
#[derive(Debug)]
struct Lane {
    /// By which its spans are known among the recent ones.
    id: u32,
    dir: PathBuf,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The last of them is this process's own, and has so many bytes of spans; when it was begun.
    open: Option<(u64, SystemTime)>,
    /// What this process found of it is among the recent ones.
    is_known: bool,
}

/// The spans of all principals. One process writes them.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    limits: Limits,
    lanes: BTreeMap<String, Lane>,
    recent: Recent,
    next_id: u32,
    /// Spans that went for others' since this was told last.
    evicted: u64,
    /// How much of the disk of a directory is free.
    free: fn(&Path) -> io::Result<u64>,
}

/// What is free of a file system, for who is not root.
fn free(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

impl Store {
    /// Opens the store at `dir`, which is made where there is none. It reads names and sizes, and no span.
    ///
    /// # Errors
    /// Where the directory cannot be made or listed.
    pub fn open(dir: &Path, limits: Limits) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut store = Self {
            dir: dir.to_owned(),
            limits,
            lanes: BTreeMap::new(),
            recent: Recent::default(),
            next_id: 0,
            evicted: 0,
            free,
        };
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            let Some(name) = name.to_str().filter(|_| path.is_dir()) else { continue };
            let segments = files::numbers(&path)?.into_iter().map(|number| Segment::of(&path, number));
            let segments = segments.collect::<io::Result<VecDeque<_>>>()?;
            let lane = Lane { id: store.next_id, dir: path, segments, open: None, is_known: false };
            store.next_id += 1;
            store.lanes.insert(name.to_owned(), lane);
        }
        Ok(store)
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.lanes.values().map(Lane::bytes).sum()
    }

    /// Keeps what of these spans is new. They have come at `now`. Each is copied alone, and only if it is kept: what is said once for
    /// many is not there many times.
    ///
    /// What is new is with the kernel when this returns: a killed process loses none of it, a power loss may.
    ///
    /// # Errors
    /// Where it could not be written: then none of them is kept, and all may be sent again. [`io::ErrorKind::StorageFull`] where less than
    /// [`Limits::spare`] would be free, and nobody has more than an equal share, or who sends has it.
    pub fn append<'s>(
        &mut self,
        whose: &Whose,
        spans: impl IntoIterator<Item = Sent<'s>>,
        now: SystemTime,
    ) -> io::Result<(Taken, Dropped)> {
        let name = lane_name(&whose.principal);
        self.make_room(&name, MOST_REQUEST as u64)?;
        self.know(&name)?;
        let Some(lane) = self.lanes.get_mut(&name) else { return Err(io::Error::other("no such principal")) };
        let mut taken = Taken::default();
        let mut new: Vec<(Vec<u8>, Ids)> = Vec::new();
        let mut said: HashMap<Ids, u64> = HashMap::new();
        let mut room = MOST_REQUEST;
        for sent in spans {
            let mut fits = sent.fits();
            let cut = if fits == Err(Unfit::TooLarge) { sent.cut() } else { None };
            let sent = Sent { beside: sent.beside, span: cut.as_ref().unwrap_or(sent.span) };
            if cut.is_some() {
                fits = sent.fits();
            }
            let found = match fits {
                Ok(found) => found,
                Err(Unfit::Malformed) => {
                    taken.malformed += 1;
                    continue;
                }
                Err(Unfit::TooLarge) => {
                    taken.too_large += 1;
                    continue;
                }
            };
            let Some(left) = room.checked_sub(sent.weight().total()) else {
                taken.too_large += 1;
                continue;
            };
            room = left;
            let mut kept = sent.copied();
            let says = kept.says();
            match self.recent.get(lane.id, found).or_else(|| said.get(&found).copied()) {
                Some(first) if first == says => taken.repeated += 1,
                Some(_) => taken.altered += 1,
                None => {
                    taken.cut += u64::from(cut.is_some() || sent.beside.is_cut);
                    said.insert(found, says);
                    kept.principal.clone_from(&whose.principal);
                    kept.identity.clone_from(&whose.identity);
                    kept.user.clone_from(&whose.user);
                    kept.received_ms = millis(now);
                    new.push((kept.encode_to_vec(), found));
                }
            }
        }
        lane.write(&new, self.limits, now)?;
        taken.stored = new.len() as u64;
        for (ids, says) in said {
            self.recent.add(lane.id, ids, says);
        }
        Ok((taken, self.prune(now)))
    }

    /// Makes room for so much of who has less than an equal share, where the disk has none, by dropping the oldest of who has most and more than
    /// that: nobody's flood keeps others' spans out. Where it is not spans that fill the disk, nobody loses all of its own at once.
    fn make_room(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        let others = self.lanes.keys().filter(|other| *other != name).count() as u64;
        let share = self.bytes() / (others + 1);
        loop {
            let full = match self.has_room(bytes) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => error,
                other => return other,
            };
            let own = self.lanes.get(name).map_or(0, Lane::bytes);
            let largest = self.lanes.values_mut().max_by_key(|lane| lane.bytes());
            let largest = largest.filter(|lane| own < share && lane.bytes() > share);
            let Some(spans) = largest.and_then(Lane::drop_first) else { return Err(full) };
            self.evicted += spans;
        }
    }

    /// Whether so much may be written, and the rest of the disk is others'.
    fn has_room(&self, bytes: u64) -> io::Result<()> {
        if self.limits.spare == 0 {
            return Ok(());
        }
        let free = (self.free)(&self.dir)?;
        if free < self.limits.spare.saturating_add(bytes) {
            let message = format!("{free} bytes are free, and {} are not for spans", self.limits.spare);
            return Err(io::Error::new(io::ErrorKind::StorageFull, message));
        }
        Ok(())
    }

    /// Drops what is too old, and the oldest of who has most while there is too much.
    pub fn prune(&mut self, now: SystemTime) -> Dropped {
        let mut dropped = Dropped { evicted: std::mem::take(&mut self.evicted), ..Dropped::default() };
        for lane in self.lanes.values_mut() {
            while let Some(first) = lane.segments.front()
                && now.duration_since(first.newest).is_ok_and(|since| since > self.limits.age)
                && let Some(spans) = lane.drop_first()
            {
                dropped.expired += spans;
            }
        }
        while self.bytes() > self.limits.bytes
            && let Some(lane) = self.lanes.values_mut().max_by_key(|lane| lane.bytes())
            && let Some(spans) = lane.drop_first()
        {
            dropped.evicted += spans;
        }
        self.lanes.retain(|_, lane| {
            let has = !lane.segments.is_empty();
            if !has {
                // Of somebody who sends again it is made again.
                let _ = fs::remove_dir(&lane.dir);
            }
            has
        });
        dropped
    }

    /// Has the principal's files, with what came last in them among the recent ones.
    fn know(&mut self, name: &str) -> io::Result<()> {
        let (dir, id) = (self.dir.join(name), self.next_id);
        let lane = self.lanes.entry(name.to_owned()).or_insert_with(|| Lane {
            id,
            dir,
            segments: VecDeque::new(),
            open: None,
            is_known: false,
        });
        if lane.id == id {
            self.next_id += 1;
        }
        if lane.is_known {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&lane.dir)?;
        if let Some(last) = lane.segments.back() {
            let (path, _) = files::paths(&lane.dir, last.number);
            let file = File::open(&path)?;
            let end = files::all(&file, |kept| {
                if let Some(ids) = kept.ids() {
                    self.recent.add(lane.id, ids, kept.says());
                }
            })?;
            let there = file.metadata()?.len();
            if there > end {
                // Nothing is written behind it any more, and whole spans may be: those are found by the index.
                tracing::warn!(bytes = there - end, "{}: torn or damaged at byte {end}", path.display());
            }
        }
        lane.is_known = true;
        Ok(())
    }
}

impl Segment {
    fn of(dir: &Path, number: u64) -> io::Result<Self> {
        let (data, index) = files::paths(dir, number);
        let data = fs::metadata(data)?;
        // It may never have been made.
        let index = fs::metadata(index).map(|index| index.len()).unwrap_or_default();
        Ok(Self { number, bytes: data.len() + index, spans: index / ENTRY as u64, newest: data.modified()? })
    }
}

impl Lane {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Writes spans behind those that this process wrote, or to a new file: what others left is not written to. First the spans, then where
    /// they are, so that what is in the index is there.
    fn write(&mut self, spans: &[(Vec<u8>, Ids)], limits: Limits, now: SystemTime) -> io::Result<()> {
        if spans.is_empty() {
            return Ok(());
        }
        // A file that is written to for ever never becomes old.
        let is_old = |begun| now.duration_since(begun).is_ok_and(|since| since > limits.age / 8);
        let (from, begun) = match self.open.take() {
            Some((length, begun)) if length < limits.file && !is_old(begun) => (length, begun),
            _ => {
                let number = self.segments.back().map_or(1, |last| last.number + 1);
                self.segments.push_back(Segment { number, bytes: 0, spans: 0, newest: now });
                (0, now)
            }
        };
        let Some(segment) = self.segments.back_mut() else { return Ok(()) };
        let (mut data, mut index) = (Vec::new(), Vec::new());
        for (payload, ids) in spans {
            files::put(payload, *ids, from, &mut data, &mut index);
        }
        let (data_path, index_path) = files::paths(&self.dir, segment.number);
        if let Err(error) = append(&data_path, &data).and_then(|()| append(&index_path, &index)) {
            // None of them is kept, and no file for none. The next are written to a new one.
            if segment.spans > 0 {
                let _ = cut(&index_path, segment.spans * ENTRY as u64);
                let _ = cut(&data_path, from);
            } else if remove([&index_path, &data_path]).is_ok() {
                self.segments.pop_back();
            }
            return Err(error);
        }
        segment.bytes += (data.len() + index.len()) as u64;
        segment.spans += spans.len() as u64;
        segment.newest = now;
        self.open = Some((from + data.len() as u64, begun));
        Ok(())
    }

    /// Removes the oldest file; how many spans went with it. `None` where there is none, or it cannot be removed.
    fn drop_first(&mut self) -> Option<u64> {
        let first = *self.segments.front()?;
        let (data, index) = files::paths(&self.dir, first.number);
        if let Err(error) = remove([&index, &data]) {
            tracing::error!(%error, "{}: spans whose time is over stay", data.display());
            return None;
        }
        self.segments.pop_front();
        if self.segments.is_empty() {
            self.open = None;
        }
        Some(first.spans)
    }
}

/// Writes behind what is there.
fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(bytes)
}

/// Takes back what was written behind `length`.
fn cut(path: &Path, length: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(length)
}

/// Removes those that are there.
fn remove(paths: [&Path; 2]) -> io::Result<()> {
    for path in paths {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The directory of a principal. Its name may be too long for one, and has slashes.
fn lane_name(principal: &str) -> String {
    let mut name = HEXLOWER.encode(&Sha256::digest(principal));
    name.truncate(32);
    name
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
