//! The file in which the objects of a cluster are kept, so that a start without its API server serves by them.
//!
//! It is sealed with a key of the installation and numbered, as what is refused is ([`crate::Keeping`]): whoever may write it and not read the keys can make none
//! and put back no older one. Unlike that one it permits something, so it also says of which cluster it is, and when it was last known to be all there is. That
//! moves on while nothing changes, and is kept with the number, in a small file. There are no secrets in it: an object names where one is.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use vidimus_core::caller::UnixMillis;
use vidimus_core::resource::{self, Object, Origin, Rejection};
use vidimus_core::snapshot::{Checked, Snapshot, checks};

use crate::kept::{KEY_LENGTH, NoKey, keys, opened, read, replace, replace_sealed, seal, sealed};

/// Maximum bytes of the file.
const MAX: u64 = 512 * 1024 * 1024;
/// What its first line begins with; the seal of the rest follows. Then a line with its number, one that says what it is of, and one for each object.
const HEAD: &str = "vidimus objects ";
/// What the small file begins with; the seal of the rest follows: the number of the last one, when that was last known to be all there is, and when it was
/// last served by.
const COUNT_HEAD: &str = "vidimus objects count ";
/// The form of what is kept; another one is not understood.
const VERSION: u32 = 1;

/// When something was so, by the clock of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When the objects were last known to be all there is.
    pub synced: UnixMillis,
    /// The latest time at which they were served by: no honest clock is before it.
    pub seen: UnixMillis,
}

/// What was kept.
#[derive(Debug)]
pub struct Restored {
    /// Each good when it was kept, and now.
    pub objects: Vec<Object>,
    /// What another version had taken, and this one does not.
    pub rejected: Vec<Rejection>,
    /// The policies that need not be type-checked again.
    pub checked: Vec<Checked>,
    /// Of all of it.
    pub times: Times,
}

/// What is there, for whoever only looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedAt {
    /// Of which cluster.
    pub of: String,
    /// How many objects.
    pub objects: usize,
    pub times: Times,
}

/// Of what the file is.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Of {
    version: u32,
    /// Which cluster.
    of: String,
    /// Whose type checks they are.
    checks: String,
    /// As of [`Times::synced`], when it was written.
    synced: i64,
}

/// One object: its uid, version and generation, what the type check said of it, and its document.
type Line<'l> = (Option<Box<str>>, Option<Box<str>>, Option<i64>, Option<Vec<String>>, &'l RawValue);

/// Keeps the objects of a cluster.
pub struct KeptObjects {
    file: PathBuf,
    count: PathBuf,
    of_file: hmac::Key,
    of_count: hmac::Key,
    /// Whether it was looked at what is there.
    looked: bool,
    /// The number of the last one that is known of.
    last: u64,
    /// Whether there is a file with a number.
    counted: bool,
    /// What the file holds, as far as that is known.
    written: Option<Written>,
}

struct Written {
    /// Not known of what was only read.
    content: Option<hmac::Tag>,
    times: Times,
}

/// What the small file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    number: u64,
    times: Times,
}

impl fmt::Debug for KeptObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptObjects").field("file", &self.file).finish_non_exhaustive()
    }
}

impl KeptObjects {
    /// Objects are kept in `file`, number and times in `count`: best where a copy of the one is not a copy of the other. Both are made on first use. Keys are
    /// derived from `key`, which belongs to the installation.
    ///
    /// # Errors
    /// When the keys cannot be derived, which they always can.
    pub fn new(file: &Path, count: &Path, key: &[u8; KEY_LENGTH]) -> Result<Self, NoKey> {
        let [of_file, of_count] = keys(key, [b"vidimus objects", b"vidimus objects count"])?;
        Ok(Self {
            file: file.to_owned(),
            count: count.to_owned(),
            of_file,
            of_count,
            looked: false,
            last: 0,
            counted: false,
            written: None,
        })
    }

    /// What was kept of the cluster `of`, which objects call `cluster`; `None` where nothing ever was.
    ///
    /// # Errors
    /// Why what is there is not used: damaged, changed, of another installation, of another cluster, or an older copy.
    pub fn read(&mut self, of: &str, cluster: &Arc<str>) -> Result<Option<Restored>, String> {
        let Some(opened) = self.open(Some(of))? else { return Ok(None) };
        let unusable = |reason: String| format!("{} is not used: {reason}", self.file.display());
        let (times, is_own) = (opened.times, opened.is_own);
        let mut restored = Restored { objects: Vec::new(), rejected: Vec::new(), checked: Vec::new(), times };
        let lines: Vec<&str> = opened.lines().lines().collect();
        for read in on_all_cores(&lines, |line| object(line, cluster, is_own)) {
            let (object, checked) = read.map_err(unusable)?;
            match object {
                Ok(object) => {
                    if let (Object::Policy(policy), Some(said), true) = (&object, checked, is_own) {
                        restored.checked.push(Checked { policy: policy.clone(), said });
                    }
                    restored.objects.push(object);
                }
                Err(rejected) => restored.rejected.extend(rejected),
            }
        }
        Ok(Some(restored))
    }

    /// What was kept, of whatever cluster; `None` where nothing ever was.
    ///
    /// # Errors
    /// As [`KeptObjects::read`], but for the cluster.
    pub fn look(&mut self) -> Result<Option<LookedAt>, String> {
        let opened = self.open(None)?;
        Ok(opened.map(|opened| {
            let objects = opened.lines().lines().count();
            LookedAt { of: opened.of, objects, times: opened.times }
        }))
    }

    /// The text of the objects, as far as it may be believed; of the cluster `of`, where it has to be of one.
    fn open(&mut self, of: Option<&str>) -> Result<Option<Opened>, String> {
        self.looked = true;
        let unusable = |reason: &str| format!("{} is not used: {reason}", self.file.display());
        let counted = self.read_count();
        let last = counted.as_ref().ok().copied().flatten();
        (self.last, self.counted) = (last.map_or(0, |last| last.number), last.is_some());
        let Some(text) = read(&self.file, MAX).map_err(|reason| unusable(&reason))? else {
            return match counted? {
                // The number is written before the first of them.
                None | Some(Count { number: 0, .. }) => Ok(None),
                Some(_) => Err(unusable("it is gone")),
            };
        };
        let parts = opened(&text, HEAD, &self.of_file).and_then(|rest| {
            let (number, rest) = rest.split_once('\n')?;
            let (head, lines) = rest.split_once('\n')?;
            Some((number.parse::<u64>().ok()?, serde_json::from_str::<Of>(head), lines))
        });
        let (number, head, lines) = parts.ok_or_else(|| {
            unusable("it is damaged, was changed by others, or was sealed with another key than this data directory's")
        })?;
        self.last = self.last.max(number);
        let last = counted?.ok_or_else(|| unusable("the number of the last one that was kept is gone"))?;
        if number < last.number {
            return Err(unusable("it is an older copy: later ones were kept"));
        }
        let head = head.map_err(|error| unusable(&error.to_string()))?;
        if head.version != VERSION {
            return Err(unusable(&format!("it is of version {}, and this is {VERSION}", head.version)));
        }
        if let Some(of) = of.filter(|of| head.of != **of) {
            return Err(unusable(&format!("it is of {}, and this is {of}", head.of)));
        }
        let synced = UnixMillis(head.synced);
        let times = match number == last.number {
            true => last.times,
            // The one that was written last before an end: its number was not written any more.
            false => Times { synced, seen: UnixMillis(last.times.seen.0.max(head.synced)) },
        };
        self.written = Some(Written { content: None, times });
        let (lines, is_own) = (text.len() - lines.len(), head.checks == checks());
        Ok(Some(Opened { text, lines, times, is_own, of: head.of }))
    }

    /// What the file holds. Of one that was only read it is found out here, before the first that is written, and a start does not wait for it: the file is
    /// read again, and believed no more than then.
    fn content_there(&mut self, of: &str) -> Option<hmac::Tag> {
        let known = self.written.as_ref().map(|written| written.content);
        match known {
            Some(Some(content)) => return Some(content),
            // What is there is not used.
            None if self.looked => return None,
            Some(None) | None => self.written = None,
        }
        let opened = self.open(Some(of)).ok()??;
        if !opened.is_own {
            return None;
        }
        let lines = |to: &mut dyn Write| to.write_all(opened.lines().as_bytes());
        let (content, _) = self.content(of, checks(), lines).ok()?;
        self.written = self.written.take().map(|written| Written { content: Some(content), ..written });
        Some(content)
    }

    fn read_count(&self) -> Result<Option<Count>, String> {
        let unusable = |reason: &str| format!("{} cannot be used: {reason}", self.count.display());
        let Some(text) = read(&self.count, 1024).map_err(|reason| unusable(&reason))? else {
            return Ok(None);
        };
        let count = opened(&text, COUNT_HEAD, &self.of_count).and_then(|rest| {
            let mut numbers = rest.trim_end().split(' ');
            let number = numbers.next()?.parse().ok()?;
            let mut time = || Some(UnixMillis(numbers.next()?.parse().ok()?));
            Some(Count { number, times: Times { synced: time()?, seen: time()? } })
        });
        count.map(Some).ok_or_else(|| unusable("it is damaged, or was changed by others"))
    }

    fn write_count(&self, count: Count) -> Result<(), String> {
        let Count { number, times: Times { synced, seen } } = count;
        let text = sealed(COUNT_HEAD, &self.of_count, &format!("{number} {} {}\n", synced.0, seen.0));
        replace(&self.count, &text).map_err(|error| error.to_string())
    }

    fn content(
        &self,
        of: &str,
        checks: &str,
        lines: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<(hmac::Tag, u64)> {
        seal(&self.of_file, |to| {
            write!(to, "{of}\n{checks}\n")?;
            lines(to)
        })
    }

    /// Writes the objects of the cluster `of`, if they differ from those that are there, and these times; `snapshot` is what was made of them. When this
    /// returns, it is on disk.
    ///
    /// # Errors
    /// Why it could not be written. What was there is there then, and as old as it says.
    pub fn write(
        &mut self,
        of: &str,
        (objects, snapshot): (&[Object], &Snapshot),
        times: Times,
    ) -> Result<(), String> {
        // Each is made as it is written, twice: all of them are many, and together take as much memory as what is in force.
        let lines = |to: &mut dyn Write| {
            let mut lines = objects.iter().filter_map(|object| line(object, snapshot));
            lines.try_for_each(|line| to.write_all(line.as_bytes()))
        };
        let (content, length) = self.content(of, checks(), lines).map_err(|error| error.to_string())?;
        if length > MAX - 4096 {
            return Err(format!("it is larger than {MAX} bytes"));
        }
        // Where it cannot be used only its number counts: it is replaced, whatever it is.
        if self.content_there(of).is_some_and(|there| there.as_ref() == content.as_ref()) {
            return self.note(times);
        }
        if !self.counted {
            // Before the first: a file without a number is then one whose number was taken away.
            self.write_count(Count { number: 0, times })?;
            self.counted = true;
        }
        let number = self.last.saturating_add(1);
        let head =
            Of { version: VERSION, of: of.to_owned(), checks: checks().to_owned(), synced: times.synced.0 };
        let head = serde_json::to_string(&head).map_err(|error| error.to_string())?;
        // From here on it is not known what is there.
        self.written = None;
        let all = |to: &mut dyn Write| {
            writeln!(to, "{number}\n{head}")?;
            lines(to)
        };
        replace_sealed(&self.file, HEAD, &self.of_file, all).map_err(|error| error.to_string())?;
        self.last = number;
        // After it: a file that is newer than its number is good, an older one is not.
        self.write_count(Count { number, times })?;
        self.written = Some(Written { content: Some(content), times });
        Ok(())
    }

    /// Writes when the objects that are there were last known to be all, and served by.
    ///
    /// # Errors
    /// Why it could not be written.
    pub fn note(&mut self, times: Times) -> Result<(), String> {
        let number = self.last;
        let Some(written) = &self.written else { return Ok(()) };
        if written.times == times {
            return Ok(());
        }
        self.write_count(Count { number, times })?;
        self.written = self.written.take().map(|written| Written { times, ..written });
        Ok(())
    }

    /// The same where nothing new is known of them: until then they were served by.
    ///
    /// # Errors
    /// As of [`KeptObjects::note`].
    pub fn note_seen(&mut self, seen: UnixMillis) -> Result<(), String> {
        let times = self.written.as_ref().map(|written| written.times);
        times.map_or(Ok(()), |times| self.note(Times { seen: UnixMillis(seen.0.max(times.seen.0)), ..times }))
    }
}

struct Opened {
    text: String,
    /// Where in `text` those of the objects begin.
    lines: usize,
    times: Times,
    /// Whether the type checks are of this program.
    is_own: bool,
    /// Of which cluster.
    of: String,
}

impl Opened {
    fn lines(&self) -> &str {
        self.text.get(self.lines..).unwrap_or_default()
    }
}

/// An object as a line; nothing of what was not read from a cluster.
fn line(object: &Object, snapshot: &Snapshot) -> Option<String> {
    let meta = object.meta();
    let Origin::Cluster { uid, resource_version, .. } = &meta.origin else { return None };
    let about =
        json!([uid.as_deref(), resource_version.as_deref(), meta.generation, snapshot.type_check(object)]);
    let about = about.to_string();
    // The document is JSON already, of one line.
    Some(format!("{},{}]\n", about.strip_suffix(']')?, meta.document))
}

type Read = (Result<Object, Vec<Rejection>>, Option<Vec<String>>);

/// `is_own` where this very program wrote it: then the document is as it would be written again.
fn object(line: &str, cluster: &Arc<str>, is_own: bool) -> Result<Read, String> {
    let line: Line<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let (uid, resource_version, generation, checked, text) = line;
    let mut document: Value = serde_json::from_str(text.get()).map_err(|error| error.to_string())?;
    if let (Some(generation), Some(metadata)) =
        (generation, document.get_mut("metadata").and_then(Value::as_object_mut))
    {
        metadata.insert("generation".to_owned(), generation.into());
    }
    let origin = Origin::Cluster {
        cluster: cluster.clone(),
        uid: uid.map(Arc::from),
        resource_version: resource_version.map(Arc::from),
    };
    let object = match is_own {
        true => resource::check_again(&origin, document, text.get()),
        false => resource::check(&origin, &document),
    };
    Ok((object, checked))
}

/// In the order in which they are.
fn on_all_cores<T: Send>(
    lines: &[&str],
    read: impl Fn(&str) -> Result<T, String> + Sync,
) -> Vec<Result<T, String>> {
    /// Below this many a thread costs more than it saves.
    const FEW: usize = 128;
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = lines.len().div_ceil(threads).max(FEW);
    let read = &read;
    thread::scope(|scope| {
        let threads: Vec<_> = lines
            .chunks(share)
            .map(|some| scope.spawn(move || some.iter().copied().map(read).collect::<Vec<_>>()))
            .collect();
        let fault = || Err("a line of it could not be read".to_owned());
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|_| vec![fault()])).collect()
    })
}

#[cfg(test)]
mod tests;
