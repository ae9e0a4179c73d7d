//! Logs that lack some of what they signed for.

use super::*;

/// The segments of a log, oldest first.
fn segments(log: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> =
        fs::read_dir(log.join("segments")).expect("read").flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

/// What went from the log is told, and never left out silently.
#[test]
fn a_log_that_lacks_what_it_signed_for_gives_no_answer() {
    let mut place = whole();
    place.close();
    let whole = place.directory.path().join("whole");
    copy(&place.log(), &whole);
    type Cut = (&'static str, fn(&Path));
    let cuts: [Cut; 4] = [
        ("half of the last segment", |log| truncate(segments(log).last().expect("some"))),
        ("the last segment", |log| fs::remove_file(segments(log).last().expect("some")).expect("removed")),
        ("the checkpoint", |log| fs::remove_file(log.join("checkpoint")).expect("removed")),
        ("a sealed segment", |log| fs::remove_file(&segments(log)[2]).expect("removed")),
    ];
    assert!(segments(&whole).len() > 5);
    for (what, cut) in cuts {
        fs::remove_dir_all(place.log()).expect("removed");
        copy(&whole, &place.log());
        assert_eq!(find(&place.model(), Query::default()).len(), 4964, "{what}");
        cut(&place.log());
        let read = |model: Result<Option<Model>, ModelError>| model?.expect("there").refresh();
        let error = read(Model::open(&place.dir(), &place.log())).expect_err(what);
        assert!(matches!(error, ModelError::Log(_)), "{what}: {error}");
        let error = read(Model::in_memory(&place.log(), 0).map(Some)).expect_err(what);
        assert!(matches!(error, ModelError::Log(_)), "{what}: {error}");
    }
}

#[test]
fn a_log_that_is_brand_new_lacks_nothing() {
    let place = Place::new();
    let read = |log: &Path| Model::in_memory(log, 0).expect("read").refresh().expect("read");
    assert_eq!(read(&place.log()), 0);
    // Before it has a key.
    let early = place.directory.path().join("early");
    fs::create_dir_all(early.join("segments")).expect("made");
    assert_eq!(read(&early), 0);
}
