use super::*;

/// A directory with one file `a.yaml` for each text, seen at its own time.
struct Folder {
    directory: tempfile::TempDir,
    settling: Settling,
    start: Instant,
}

impl Folder {
    fn new(files: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let seen = Self { directory, settling: Settling::default(), start: Instant::now() };
        files.iter().for_each(|file| seen.write(file, "a"));
        seen
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn note(&mut self, file: &str, change: Change, ms: u64) {
        self.settling.note(&self.path(file), change, self.at(ms));
    }

    /// `None` when it is whole, else when it is to be looked at again.
    fn see(&mut self, placed: &[&str], heard: bool, ms: u64) -> Option<u64> {
        let listing = Arc::new(Listing::of(self.directory.path()).unwrap());
        let placed = placed.iter().map(|file| self.path(file)).collect();
        match self.settling.see(&listing, &placed, heard, self.at(ms)) {
            Seen::Whole => None,
            Seen::Moving(due) => Some(due.duration_since(self.start).as_millis().try_into().unwrap()),
        }
    }
}

#[test]
fn a_directory_is_whole_when_it_has_been_still() {
    let mut seen = Folder::new(&["a.yaml"]);
    assert_eq!(seen.see(&[], true, 0), Some(500), "nothing was seen before");
    assert_eq!(seen.see(&[], true, 499), Some(500));
    assert_eq!(seen.see(&[], true, 500), None);
    assert_eq!(seen.see(&[], true, 600), None, "nothing changed");
    seen.write("a.yaml", "other");
    assert_eq!(seen.see(&[], true, 1_000), Some(1_500));
    seen.write("b.yaml", "more");
    assert_eq!(seen.see(&[], true, 1_499), Some(1_999), "it moved again");
    assert_eq!(seen.settling.restless_for(seen.at(1_500)), Duration::from_millis(500));
    assert_eq!(seen.see(&[], true, 1_999), None);
    assert_eq!(seen.settling.restless_for(seen.at(3_000)), Duration::ZERO);
    std::fs::remove_file(seen.path("a.yaml")).unwrap();
    assert_eq!(seen.see(&[], true, 3_000), Some(3_500), "what is gone may be on its way to another name");
    seen.write("a.yaml", "back");
    assert_eq!(seen.see(&[], true, 3_100), Some(3_600));
    // Where writers are not heard, they may pause for longer.
    assert_eq!(seen.see(&[], false, 3_700), Some(5_100));
    assert_eq!(seen.see(&[], false, 5_100), None);
}

#[test]
fn a_file_that_is_open_is_waited_for_within_a_bound() {
    let mut seen = Folder::new(&["a.yaml"]);
    seen.see(&[], true, 0);
    assert_eq!(seen.see(&[], true, 500), None);
    seen.write("a.yaml", "other");
    seen.note("a.yaml", Change::Writing, 1_000);
    assert_eq!(seen.see(&[], true, 1_000), Some(31_000));
    assert_eq!(seen.see(&[], true, 20_000), Some(31_000));
    seen.note("a.yaml", Change::Closed, 20_001);
    assert_eq!(seen.see(&[], true, 20_001), None, "it has been still for long");
    // A writer that is never heard to close it.
    seen.write("a.yaml", "another");
    seen.note("a.yaml", Change::Writing, 30_000);
    assert_eq!(seen.see(&[], true, 59_999), Some(60_499));
    assert_eq!(seen.see(&[], true, 60_499), None);
    // Nor does it count when events were lost, or when the file is gone.
    for forget in [Settling::forget_open as fn(&mut Settling), |_| {}] {
        seen.write("a.yaml", "one more");
        seen.note("a.yaml", Change::Writing, 70_000);
        std::fs::remove_file(seen.path("a.yaml")).unwrap();
        forget(&mut seen.settling);
        assert_eq!(seen.see(&[], true, 70_000), Some(70_500));
    }
}

#[test]
fn what_is_put_into_its_place_whole_is_not_waited_for() {
    let mut seen = Folder::new(&["a.yaml", "b.yaml"]);
    seen.see(&[], true, 0);
    assert_eq!(seen.see(&[], true, 500), None);
    seen.write("a.yaml", "other");
    seen.write("c.yaml", "new");
    assert_eq!(seen.see(&["a.yaml"], true, 1_000), Some(1_500), "another one was not");
    assert_eq!(seen.see(&["a.yaml", "c.yaml"], true, 1_001), None);
    seen.write("a.yaml", "again");
    seen.note("b.yaml", Change::Writing, 2_000);
    assert!(seen.see(&["a.yaml"], true, 2_000).is_some(), "somebody is writing");
    seen.note("b.yaml", Change::Closed, 2_100);
    std::fs::remove_file(seen.path("b.yaml")).unwrap();
    assert_eq!(seen.see(&["a.yaml"], true, 2_200), Some(2_700), "one is gone");
}

#[test]
fn what_is_old_enough_at_the_start_is_whole() {
    let mut seen = Folder::new(&["a.yaml"]);
    let listing = Arc::new(Listing::of(seen.directory.path()).unwrap());
    let now = SystemTime::now();
    seen.settling.see_first(&listing, now - Duration::from_secs(3_600));
    assert!(seen.settling.whole.is_none(), "written in the future");
    seen.settling.see_first(&listing, now);
    assert!(seen.settling.whole.is_none(), "just written");
    seen.settling.see_first(&listing, now + Duration::from_secs(1));
    assert_eq!(seen.see(&[], true, 0), None);
}
