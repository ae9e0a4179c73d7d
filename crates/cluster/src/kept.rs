//! What was in force, kept on disk: a start that does not hear all of the cluster in time serves by it, as old as it is.
//!
//! It is written beside what goes live and never waited for, at most every few seconds; only a whole view of the cluster is, and nothing while what was kept is
//! in force itself. Its age is told from when it was last known to be all there is, also over several starts.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, iter, mem};

use jiff::Timestamp;
use vidimus_core::caller::UnixMillis;
use vidimus_core::resource::{Object, Origin, Rejection, Subject};
use vidimus_core::snapshot::Snapshot;
use vidimus_registry::{KeptObjects, KeptUpTo, Restored, Times, at_low_priority};

use crate::SOURCE;

/// How long a start waits for the cluster before what was kept is in force.
const WAIT: Duration = Duration::from_secs(2);
/// Between two writes.
const EVERY: Duration = Duration::from_secs(10);
/// How long it is waited for what is refused before what was told meanwhile is taken.
const REFUSED: Duration = Duration::from_secs(1);
/// Between two words on the times.
const TELL: Duration = Duration::from_secs(2);
/// How far a clock may be behind the time at which what was kept was served by: one that is set right does not jump by more.
const BEHIND: i64 = 2_000;
/// As old as what is of an unknown age is taken for: no record allows for so much.
const AGES: i64 = 100 * 365 * 24 * 3_600_000;

/// What is to be kept.
enum Told {
    /// All objects, and what was made of them.
    All(Box<All>),
    /// The same as before were all there is at this time.
    Whole(Times),
    /// It is not known whether they still are; they were served by until then.
    Seen(UnixMillis),
}

struct All {
    objects: Vec<Object>,
    snapshot: Arc<Snapshot>,
    /// It is written when that is kept which they refuse.
    refused: KeptUpTo,
    times: Times,
}

/// Reads what was kept once, and has the rest written.
pub(crate) struct Kept {
    disk: Arc<Mutex<KeptObjects>>,
    /// Which cluster.
    of: Arc<str>,
    tell: Sender<Told>,
    /// When what was kept is to be in force, where it is not known by then what there is.
    due: Option<Instant>,
    clock: Seen,
    told: Instant,
    /// What is there now could not be brought into force, and so is not what was kept.
    behind: bool,
    /// Why it is not in force, where it was looked for.
    pub(crate) unused: Option<String>,
}

/// The latest time that there can be: a clock that goes back does not take it along, while the cluster is not heard.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    wall: i64,
}

impl Seen {
    fn next(&mut self, at: Instant, wall: i64, is_heard: bool) -> UnixMillis {
        let passed = i64::try_from(at.saturating_duration_since(self.at).as_millis()).unwrap_or(i64::MAX);
        let least = if is_heard { wall } else { self.wall.saturating_add(passed) };
        *self = Self { at, wall: wall.max(least) };
        UnixMillis(self.wall)
    }
}

/// What was kept, and since when it is not known to be all there is.
pub(crate) struct Found {
    pub(crate) restored: Restored,
    pub(crate) since: Timestamp,
}

impl Kept {
    /// Begins a thread that writes.
    pub(crate) fn begin(disk: KeptObjects, of: &str) -> io::Result<Self> {
        let (tell, told) = mpsc::channel();
        let (disk, of): (_, Arc<str>) = (Arc::new(Mutex::new(disk)), of.into());
        let writer = (disk.clone(), of.clone());
        thread::Builder::new().name("vidimus-kept".to_owned()).spawn(move || write(&writer, &told))?;
        let now = Instant::now();
        Ok(Self {
            disk,
            of,
            tell,
            due: Some(now + WAIT),
            clock: Seen { at: now, wall: Timestamp::now().as_millisecond() },
            told: now,
            behind: false,
            unused: None,
        })
    }

    /// When it is to be looked what was kept.
    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What was kept. To be asked once; from then on it is said why not.
    pub(crate) fn read(&mut self, now: Timestamp) -> Option<Found> {
        self.due = None;
        let read = self.disk.lock().unwrap_or_else(PoisonError::into_inner).read(&self.of, &SOURCE.into());
        match read {
            Ok(Some(restored)) => {
                let since = since(restored.times, now.as_millisecond());
                let seen = restored.times.seen.0;
                self.clock = Seen { at: Instant::now(), wall: seen.max(now.as_millisecond()) };
                Some(Found { restored, since })
            }
            Ok(None) => {
                self.unused = Some("nothing was kept of it yet".to_owned());
                None
            }
            Err(reason) => {
                tracing::error!(
                    reason,
                    "what was kept of the cluster is not used: nothing passes until that answers"
                );
                self.unused = Some(reason);
                None
            }
        }
    }

    /// All of it is known, and goes live: these, as of `synced`. They are kept when what they refuse is (`refused`).
    pub(crate) fn all(
        &mut self,
        (objects, snapshot): (Vec<Object>, Arc<Snapshot>),
        refused: KeptUpTo,
        synced: Timestamp,
        is_heard: bool,
    ) {
        // Whoever is whole needs what was kept no more.
        (self.due, self.behind) = (None, false);
        let times = self.times(Instant::now(), synced, is_heard);
        self.send(Told::All(Box::new(All { objects, snapshot, refused, times })));
    }

    /// What there is could not be brought into force: what was kept before is not all there is any more.
    pub(crate) const fn falls_behind(&mut self) {
        self.behind = true;
    }

    /// Nothing is to be brought into force: all that there is was kept, as of `synced`; `None` where what was kept before the start is what is in force.
    pub(crate) fn still(&mut self, now: Instant, synced: Option<Timestamp>, is_heard: bool) {
        if self.behind || now.saturating_duration_since(self.told) < TELL {
            return;
        }
        self.told = now;
        let told = match synced {
            Some(synced) => Told::Whole(self.times(now, synced, is_heard)),
            None => Told::Seen(self.clock.next(now, Timestamp::now().as_millisecond(), false)),
        };
        self.send(told);
    }

    fn times(&mut self, now: Instant, synced: Timestamp, is_heard: bool) -> Times {
        let seen = self.clock.next(now, Timestamp::now().as_millisecond(), is_heard);
        Times { synced: UnixMillis(synced.as_millisecond()), seen }
    }

    fn send(&self, told: Told) {
        if self.tell.send(told).is_err() {
            tracing::error!("what is in force is not kept any more: the thread that does so has ended");
        }
    }
}

/// Since when what was kept is not known to be all there is. By a clock that is before a time at which it was served by, nobody knows: it is as old as can be.
fn since(times: Times, now: i64) -> Timestamp {
    let behind = times.seen.0.saturating_sub(now).max(0);
    if behind > BEHIND {
        tracing::error!(
            seconds = behind / 1_000,
            "the clock of this machine is behind the time at which what was kept of the cluster was served by last: it is not known how old that is, and it is taken for very old"
        );
    }
    let since =
        if behind > BEHIND { now.saturating_sub(AGES) } else { times.synced.0.saturating_sub(behind) };
    Timestamp::from_millisecond(since).unwrap_or(Timestamp::MIN)
}

/// What is said for as long as what was kept is in force: of whatever was refused before the start and is not there, it is not known whether it was deleted.
pub(crate) fn in_force(since: Option<Timestamp>, reason: &str) -> Rejection {
    let since = since.map(|since| since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default();
    Rejection {
        origin: Origin::Cluster { cluster: SOURCE.into(), uid: None, resource_version: None },
        object: Subject::Source,
        field: String::new(),
        value: String::new(),
        reason: format!(
            "what was kept on disk is in force: the cluster has not been heard whole since {since} ({reason}); routes close at the age that their records say"
        ),
        fix:
            "see that the API server answers (or the registry), and that this process may list and watch it (docs/kubernetes.md)"
                .to_owned(),
    }
}

/// What is to be written next.
#[derive(Default)]
struct Pending {
    all: Option<Box<All>>,
    times: Option<Times>,
    seen: Option<UnixMillis>,
}

impl Pending {
    fn take(&mut self, told: Told) {
        match told {
            Told::All(all) => *self = Self { all: Some(all), ..Self::default() },
            Told::Whole(times) => {
                self.seen = None;
                match &mut self.all {
                    Some(all) => all.times = times,
                    None => self.times = Some(times),
                }
            }
            Told::Seen(seen) => self.seen = Some(seen),
        }
    }

    /// Takes what was told since.
    fn follow(&mut self, Self { all, times, seen }: Self) {
        let told = all.map(Told::All).into_iter().chain(times.map(Told::Whole)).chain(seen.map(Told::Seen));
        told.for_each(|told| self.take(told));
    }

    const fn is_none(&self) -> bool {
        self.all.is_none() && self.times.is_none() && self.seen.is_none()
    }

    /// Writes it; what could not be written is tried again.
    fn write(&mut self, disk: &mut KeptObjects, of: &str) -> Result<(), String> {
        if let Some(All { objects, snapshot, times, .. }) = self.all.as_deref() {
            disk.write(of, (objects, snapshot), *times)?;
        }
        if let Some(times) = self.times {
            disk.note(times)?;
        }
        if let Some(seen) = self.seen {
            disk.note_seen(seen)?;
        }
        *self = Self::default();
        Ok(())
    }
}

/// Goes on until nobody can tell anything any more, and leaves the cores to others.
fn write((disk, of): &(Arc<Mutex<KeptObjects>>, Arc<str>), told: &Receiver<Told>) {
    at_low_priority();
    // What is written next, and what was told since that began to wait for what it refuses.
    let (mut pending, mut newer, mut waits) = (Pending::default(), Pending::default(), false);
    let mut not_before = Instant::now();
    let mut failed = None;
    loop {
        let wait = match pending.is_none() {
            true => EVERY,
            false => not_before.saturating_duration_since(Instant::now()),
        };
        match told.recv_timeout(wait) {
            // All of it: where it is not written for long, nothing but the newest stays in memory.
            Ok(first) => iter::once(first).chain(told.try_iter()).for_each(|told| newer.take(told)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // What waits stays what it is: something newer would have to wait anew.
        if !waits {
            pending.follow(mem::take(&mut newer));
        }
        if pending.is_none() || Instant::now() < not_before {
            continue;
        }
        // Objects that are newer than what is known to be refused would be taken for deleted.
        waits = pending.all.as_ref().is_some_and(|all| !all.refused.wait(REFUSED));
        if waits {
            continue;
        }
        let begun = Instant::now();
        let written = pending.write(&mut disk.lock().unwrap_or_else(PoisonError::into_inner), of);
        tracing::debug!(ms = begun.elapsed().as_millis(), "what is in force is kept");
        let now = written.err();
        if let Some(reason) = now.as_ref().filter(|reason| failed.as_ref() != Some(*reason)) {
            tracing::error!(
                reason,
                "what is in force cannot be kept: a start without the API server would serve by what was kept before"
            );
        }
        failed = now;
        not_before = Instant::now() + EVERY;
    }
}

#[cfg(test)]
mod tests {
    use vidimus_registry::{KEY_LENGTH, Keeping, Says, feed};

    use super::*;

    fn times(synced: i64, seen: i64) -> Times {
        Times { synced: UnixMillis(synced), seen: UnixMillis(seen) }
    }

    /// Attack: the clock is set back, so that an old configuration is a young one.
    #[test]
    fn a_clock_that_went_back_makes_nothing_younger() {
        for (now, since_is) in [
            (20_000, 5_000),
            (10_000, 5_000),
            // Set right by a little: no younger than it was.
            (9_000, 4_000),
            (8_000, 3_000),
            // It is not known how long it has been.
            (7_999, 7_999 - AGES),
            (0, -AGES),
            (-5, -5 - AGES),
        ] {
            let since = since(times(5_000, 10_000), now);
            assert_eq!(since.as_millisecond(), since_is, "{now}");
            assert!(now - since.as_millisecond() >= 5_000, "{now}");
        }
        let begun = Instant::now();
        let mut seen = Seen { at: begun, wall: 10_000 };
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(seen.next(after(1), 11_500, false).0, 11_500);
        assert_eq!(seen.next(after(2), 3_000, false).0, 12_500, "it goes on by itself");
        assert_eq!(
            seen.next(after(3), 4_000, true).0,
            4_000,
            "it was wrong before, and what is there is known"
        );
    }

    /// Attack: objects are written over and over while the disk takes nothing of what is refused.
    #[test]
    fn what_waits_for_what_is_refused_is_the_newest_alone() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        // In the place of what is written first.
        std::fs::create_dir_all(at("refused.new/full")).unwrap();
        let keeping = Keeping::new(&at("refused"), &at("count"), &[7; KEY_LENGTH]).unwrap();
        let (_loaded, mut feed, _acts) = feed("the cluster", Some(keeping), Arc::default()).unwrap();
        assert!(feed.says(Says::default()));
        let refused = feed.refusals_kept();
        assert!(!refused.wait(Duration::from_millis(100)), "it cannot be kept");

        let disk = KeptObjects::new(&at("objects"), &at("objects.count"), &[7; KEY_LENGTH]).unwrap();
        let (tell, told) = mpsc::channel();
        let writer = (Arc::new(Mutex::new(disk)), Arc::<str>::from("c"));
        let thread = thread::spawn(move || write(&writer, &told));
        let snapshot: Arc<Snapshot> = Arc::default();
        for time in 0..50 {
            let (snapshot, refused) = (snapshot.clone(), refused.clone());
            let all = All { objects: vec![], snapshot, refused, times: times(time, time) };
            tell.send(Told::All(Box::new(all))).unwrap();
        }
        let begun = Instant::now();
        // What waits, the newest, and this one.
        while Arc::strong_count(&snapshot) > 3 {
            assert!(begun.elapsed() < 2 * EVERY, "{} are in memory", Arc::strong_count(&snapshot));
            thread::sleep(Duration::from_millis(10));
        }
        assert!(!at("objects").exists(), "it is newer than what is known to be refused");
        std::fs::remove_dir_all(at("refused.new")).unwrap();
        while !at("objects").exists() {
            assert!(begun.elapsed() < 4 * EVERY, "it is not written");
            thread::sleep(Duration::from_millis(10));
        }
        drop(tell);
        thread.join().unwrap();
    }

    #[test]
    fn what_is_written_next_is_the_newest_and_as_old_as_it_is() {
        let all = |at| {
            Told::All(Box::new(All {
                objects: vec![],
                snapshot: Arc::default(),
                refused: KeptUpTo::default(),
                times: times(at, at),
            }))
        };
        let mut pending = Pending::default();
        assert!(pending.is_none());
        pending.take(Told::Whole(times(1, 1)));
        pending.take(all(2));
        assert!(pending.times.is_none(), "those are of what was there before");
        pending.take(Told::Whole(times(3, 3)));
        assert_eq!((pending.all.as_ref().unwrap().times, pending.times), (times(3, 3), None));
        pending.take(all(4));
        assert_eq!(pending.all.as_ref().unwrap().times, times(4, 4));
    }
}
