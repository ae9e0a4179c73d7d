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

    /// The files that are whole by themselves.
    fn whole(&self, ms: u64) -> Vec<String> {
        let whole = self.settling.whole_files(self.at(ms));
        let names = whole.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The files in doubt.
    fn in_doubt(&self) -> Vec<String> {
        let names =
            self.settling.in_doubt().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        names.collect::<BTreeSet<_>>().into_iter().collect()
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
    assert_eq!(
        seen.see(&[], true, 1_499),
        Some(1_500),
        "it moved again, and one file is whole by itself before"
    );
    assert_eq!(seen.whole(1_499), [""; 0]);
    assert_eq!(seen.see(&[], true, 1_500), Some(1_999));
    assert_eq!(seen.whole(1_500), ["a.yaml"]);
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

#[test]
fn a_file_is_whole_by_itself_while_others_are_written() {
    let mut seen = Folder::new(&["a.yaml", "b.yaml", "c.yaml", "d.yaml"]);
    seen.see(&[], true, 0);
    assert_eq!(seen.see(&[], true, 500), None);
    seen.write("a.yaml", "other");
    seen.write("b.yaml", "other");
    seen.note("b.yaml", Change::Writing, 1_000);
    std::fs::remove_file(seen.path("c.yaml")).unwrap();
    seen.write("d.yaml", "other");
    assert_eq!(seen.see(&["d.yaml"], true, 1_000), Some(1_500));
    assert_eq!(seen.whole(1_000), ["d.yaml"], "what was put there is");
    seen.write("b.yaml", "another");
    assert_eq!(seen.see(&[], true, 1_500), Some(31_000), "nobody knows when the other is closed");
    assert_eq!(seen.whole(1_500), ["a.yaml", "c.yaml", "d.yaml"]);
    // Written again, it is not; nor what was put there and then written.
    seen.write("a.yaml", "once more");
    seen.write("d.yaml", "once more");
    assert_eq!(seen.see(&[], true, 1_600), Some(2_100));
    assert_eq!(seen.whole(1_600), ["c.yaml"]);
    seen.note("b.yaml", Change::Closed, 2_100);
    assert_eq!(seen.see(&[], true, 2_100), None);
    assert_eq!(seen.whole(2_100), [""; 0], "all is");
}

#[test]
fn what_was_written_unheard_is_in_doubt_for_a_time() {
    let mut seen = Folder::new(&["a.yaml", "b.yaml", "c.yaml"]);
    seen.see(&[], false, 0);
    assert_eq!(seen.see(&[], false, 2_000), None);
    assert_eq!(seen.in_doubt(), [""; 0], "nothing was there before");
    seen.write("a.yaml", "other");
    seen.write("new.yaml", "new");
    std::fs::remove_file(seen.path("c.yaml")).unwrap();
    seen.write(".beside", "other");
    std::fs::rename(seen.path(".beside"), seen.path("b.yaml")).unwrap();
    seen.see(&[], false, 3_000);
    assert_eq!(seen.see(&[], false, 5_000), None);
    assert_eq!(seen.in_doubt(), ["a.yaml"], "what was put into its place is whole");
    assert_eq!(seen.settling.next_certain(), Some(seen.at(35_000)));
    // While something moves, what was in doubt stays so.
    seen.write("b.yaml", "more");
    seen.write("a.yaml", "more");
    seen.see(&[], true, 36_000);
    assert_eq!(seen.in_doubt(), ["a.yaml"]);
    assert_eq!(seen.see(&[], true, 36_500), None);
    assert_eq!(seen.in_doubt(), [""; 0], "its writer was heard");
    seen.settling.doubt_all(seen.at(40_000));
    assert_eq!(seen.in_doubt().len(), 3);
    assert_eq!((seen.see(&[], true, 69_999), seen.in_doubt().len()), (None, 3));
    assert_eq!((seen.see(&[], true, 70_000), seen.in_doubt().len()), (None, 0));
}
