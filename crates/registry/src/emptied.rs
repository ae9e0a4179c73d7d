//! Files that say nothing, and what of others may be left in them: an emptied file deletes nothing, also under another name, or when
//! the copy that was made of it before is removed.
//!
//! A file that is gone was deleted, unless a file that says nothing, and came or fell silent since, may be what is left of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vidimus_core::resource::{Object, ObjectRef};

use crate::contents::Contents;
use crate::load::Read;

/// What is known of them.
#[derive(Debug, Default)]
pub(crate) struct Emptied {
    /// Files that say nothing and once did, with the names of what they, or those that they are left of, said.
    names: HashMap<Arc<Path>, HashSet<ObjectRef>>,
    /// Files that are gone, each with the silent file that may be what is left of it.
    remains: BTreeMap<Arc<Path>, Arc<Path>>,
    /// Files that are gone, and that came or fell silent, since nothing was malformed: until then a file may have moved while its
    /// text was malformed, and be emptied later.
    gone: BTreeSet<Arc<Path>>,
    came: BTreeSet<Arc<Path>>,
}

impl Emptied {
    /// Notes what there is at a start, and the `places` where something is missing of what was refused before. `harmless` are the files
    /// that said nothing then, and were left of nothing; `None` where that is not known.
    pub(crate) fn begin(
        &mut self,
        read: &Read,
        places: &BTreeSet<Arc<Path>>,
        harmless: Option<&BTreeSet<PathBuf>>,
    ) {
        let is_new = |path: &&Arc<Path>| !harmless.is_some_and(|known| known.contains(&***path));
        self.came = read.silent().filter(is_new).cloned().collect();
        // What has become of a file while nobody looked, its inode does not tell: another one may be in its place.
        if let Some(left) = self.came.first().filter(|_| !places.is_empty()) {
            self.names.entry(left.clone()).or_default();
            let others = places.iter().filter(|place| !read.is_silent(place));
            self.remains = others.map(|place| (place.clone(), left.clone())).collect();
        }
        self.resolve(None, &BTreeSet::new(), read);
    }

    /// Notes what is otherwise in the whole state `next` than in the `last` one.
    pub(crate) fn note(&mut self, last: &Read, next: &Read) {
        let differences = last.listing.differences(&next.listing);
        if differences.is_empty() && last.listing.faults == next.listing.faults {
            return;
        }
        // Another file is in its place.
        let mut replaced = BTreeSet::new();
        for (path, seen) in differences {
            let was = last.listing.seen(&path);
            let is_same = was.zip(seen).is_some_and(|(was, is)| was.is_same_file(&is));
            let before = last.contents(&path);
            if seen.is_none() {
                self.gone.insert(path);
            } else if next.is_silent(&path) {
                if is_same && before.is_some_and(Contents::is_silent) {
                    continue;
                }
                // A new one may be a copy of one that was emptied before.
                let copied = self.names.values().filter(|_| was.is_none()).flatten().cloned();
                let said = before.into_iter().flat_map(Contents::objects).map(Object::reference);
                let said: HashSet<ObjectRef> = copied.chain(said).collect();
                self.names.entry(path.clone()).or_default().extend(said);
                self.came.insert(path);
            } else if was.is_some() && !is_same {
                replaced.insert(path);
            }
        }
        self.resolve(Some(last), &replaced, next);
    }

    /// Finds what is left of what is gone, or `replaced`.
    fn resolve(&mut self, last: Option<&Read>, replaced: &BTreeSet<Arc<Path>>, next: &Read) {
        let is_clean = !next.has_rejections();
        self.came.retain(|path| next.is_silent(path));
        let gone = self.gone.iter().filter(|gone| !next.listing.holds(gone));
        let gone: Vec<Arc<Path>> = gone.chain(replaced).cloned().collect();
        for gone in gone {
            let mut said = self.names.get(&gone).cloned().unwrap_or_default();
            let before = last.and_then(|last| last.contents(&gone));
            said.extend(before.into_iter().flat_map(Contents::objects).map(Object::reference));
            let same = self.same_file(&gone, last, next);
            let left = match replaced.contains(&gone) {
                true => same,
                false => same.or_else(|| self.left_of(&said, next)),
            };
            let Some(left) = left else { continue };
            self.names.entry(left.clone()).or_default().extend(said);
            for remains in self.remains.values_mut().filter(|remains| **remains == gone) {
                *remains = left.clone();
            }
            self.remains.insert(gone, left);
        }
        // What says something again says what is there now; what is deleted is deleted, unless it may be hidden.
        let stays = |path: &Arc<Path>| next.is_silent(path) || (!is_clean && !next.listing.holds(path));
        self.remains.retain(|_, left| stays(left));
        self.names.retain(|path, _| stays(path));
        if is_clean {
            // One that said nothing from the beginning, and is left of nothing, is a file like another.
            let left: HashSet<&Arc<Path>> = self.remains.values().collect();
            self.names.retain(|path, names| !names.is_empty() || left.contains(path));
            (self.gone, self.came) = (BTreeSet::new(), BTreeSet::new());
        }
    }

    /// The file that was at this place, where it came to another and says nothing.
    fn same_file(&self, gone: &Path, last: Option<&Read>, next: &Read) -> Option<Arc<Path>> {
        let was = last?.listing.seen(gone)?;
        let is_it = |path: &&Arc<Path>| next.listing.seen(path).is_some_and(|is| was.is_same_file(&is));
        self.came.iter().find(is_it).cloned()
    }

    /// The silent file that may be what is left of one that is gone: one that came or fell silent since, or that once said what it
    /// `said`.
    fn left_of(&self, said: &HashSet<ObjectRef>, next: &Read) -> Option<Arc<Path>> {
        let said_it = |(path, names): &(&Arc<Path>, &HashSet<ObjectRef>)| {
            next.is_silent(path) && !names.is_disjoint(said)
        };
        let known = self.names.iter().filter(said_it).map(|(path, _)| path);
        self.came.first().or_else(|| known.min()).cloned()
    }

    /// The files that are gone, and may not be deleted.
    pub(crate) fn remains(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.remains.keys()
    }

    /// Where what was refused at a place is to be looked for at the next start.
    pub(crate) fn place<'p>(&'p self, path: &'p Path) -> &'p Path {
        self.remains.get(path).map_or(path, |left| left)
    }

    /// Whether a file that says nothing is left of nothing.
    pub(crate) fn is_harmless(&self, path: &Path) -> bool {
        !self.names.contains_key(path)
    }
}
