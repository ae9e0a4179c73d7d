//! A model that is made step by step, as beside the calls of a gateway.

use super::*;

#[test]
fn steps_come_to_the_same_and_say_when_there_is_none() {
    let mut place = Place::new();
    place.append(SMALLEST - 1);
    place.close();
    assert!(!is_due(&place.dir(), &place.log(), Extent::All).expect("told"), "there is no file of so few");
    assert!(!place.dir().exists(), "asking makes nothing");
    place.open();
    place.append(20 * SMALLEST);
    place.close();
    let records = 20 * SMALLEST;
    assert_eq!(to_seal(&place.dir(), &place.log()).expect("told"), 21 * SMALLEST - 1);
    let mut sealed = 0;
    while is_due(&place.dir(), &place.log(), Extent::All).expect("told") {
        let step = extend_by(&place.dir(), &place.log(), (3 * SMALLEST, Extent::All), &mut |_, _| {})
            .expect("extended");
        assert!(step.added > 0 && step.added <= 3 * SMALLEST, "{step:?}");
        sealed += step.added;
    }
    assert_eq!(sealed, records);
    assert_eq!(to_seal(&place.dir(), &place.log()).expect("told"), SMALLEST - 1);
    let manifest = Manifest::read(&place.dir()).expect("read").expect("there");
    // As of one go: sixteen became one.
    assert_eq!(
        manifest.ranges.iter().map(|range| range.records / SMALLEST).collect::<Vec<_>>(),
        [16, 1, 1, 1, 1]
    );
    let whole = extend(&place.dir(), &place.log(), &mut |_, _| {}).expect("extended");
    assert_eq!((whole.records, whole.added), (records, 0));
    place.open();
    assert_eq!(place.model().extent(), (records, 21 * SMALLEST - 1));
}

/// Beside calls, what does not fill a file of sixteen waits: no row is written twice for it.
#[test]
fn what_may_wait_is_sealed_in_large_files() {
    let mut place = Place::new();
    let seal = |place: &Place| {
        let step = (u64::MAX, Extent::Large);
        let sealed = extend_by(&place.dir(), &place.log(), step, &mut |_, _| {}).expect("extended");
        let manifest = Manifest::read(&place.dir()).expect("read").expect("there");
        (
            sealed.added / SMALLEST,
            manifest.ranges.iter().map(|range| range.records / SMALLEST).collect::<Vec<_>>(),
        )
    };
    let is_due = |place: &Place, extent| is_due(&place.dir(), &place.log(), extent).expect("told");
    place.append(15 * SMALLEST);
    place.close();
    assert!(!is_due(&place, Extent::Large) && is_due(&place, Extent::All));
    place.open();
    place.append(20 * SMALLEST);
    place.close();
    assert!(is_due(&place, Extent::Large));
    assert_eq!(seal(&place), (32, vec![16, 16]));
    assert!(!is_due(&place, Extent::Large) && is_due(&place, Extent::All));
    // Where some is sealed already, what is up to where the next begins.
    extend(&place.dir(), &place.log(), &mut |_, _| {}).expect("extended");
    place.open();
    place.append(15 * SMALLEST);
    place.close();
    assert!(is_due(&place, Extent::Large));
    assert_eq!(seal(&place), (13, vec![16, 16, 16]));
    assert!(!is_due(&place, Extent::Large));
    place.open();
    assert_eq!(place.model().extent(), (48 * SMALLEST, 50 * SMALLEST));
}

/// A step that begins within a large file ends where that does: those behind it are large at once.
#[test]
fn a_step_ends_where_a_large_file_does() {
    let mut place = Place::new();
    place.append(3 * SMALLEST);
    place.extend();
    place.append(40 * SMALLEST);
    place.close();
    let step = (16 * SMALLEST, Extent::Large);
    for (added, ranges) in [(13, vec![16]), (16, vec![16, 16]), (0, vec![16, 16])] {
        let sealed = extend_by(&place.dir(), &place.log(), step, &mut |_, _| {}).expect("extended");
        let manifest = Manifest::read(&place.dir()).expect("read").expect("there");
        let sizes = manifest.ranges.iter().map(|range| range.records / SMALLEST).collect::<Vec<_>>();
        assert_eq!((sealed.added / SMALLEST, sizes), (added, ranges));
    }
}

/// The largest files are put together of others as they are. They have the rows, the sums and all that rows are found by that they would have if they were
/// written at once.
#[test]
fn what_is_put_together_is_as_if_it_was_written_at_once() {
    let mut place = Place::new();
    place.append(256 * SMALLEST);
    place.close();
    let (mut steps, step) = (0, (16 * SMALLEST, Extent::Large));
    while extend_by(&place.dir(), &place.log(), step, &mut |_, _| {}).expect("extended").added > 0 {
        steps += 1;
    }
    assert_eq!(steps, 16);
    let together = found(&place);
    rebuild(&place.dir(), &place.log(), &mut |_, _| {}).expect("rebuilt");
    let at_once = found(&place);
    assert_eq!(together.len(), 4);
    for (part, (together, at_once)) in together.iter().zip(&at_once).enumerate() {
        assert!(together == at_once, "part {part}");
    }
    assert!(check(&place.dir(), &place.log()).expect("checked").repaired == 0);
}

/// A file that was found to be damaged when it was to become one with others is made again, and they become one all the same.
#[test]
fn what_an_error_kept_apart_is_put_together() {
    let mut place = Place::new();
    place.append(15 * SMALLEST);
    place.extend();
    let hours = place.dir().join(format!("{:020}-{SMALLEST:020}.hours.parquet", 0));
    let mut bytes = fs::read(&hours).expect("read");
    bytes[0] ^= 1;
    fs::write(&hours, bytes).expect("written");
    place.append(SMALLEST);
    let extended = place.extend();
    assert_eq!((extended.added, extended.repaired), (SMALLEST, 1));
    let manifest = Manifest::read(&place.dir()).expect("read").expect("there");
    assert_eq!(manifest.ranges.iter().map(|range| range.records / SMALLEST).collect::<Vec<_>>(), [16]);
    assert_eq!(indices(&find(&place.model(), Query::default())), (0..16 * SMALLEST).collect::<Vec<_>>());
}

/// Who opens the model while files become one finds that those are gone, and opens it once more: nothing is damaged, and nobody is waited for.
#[test]
fn a_file_that_became_part_of_another_is_not_to_be_made_again() {
    let mut place = Place::new();
    place.append(SMALLEST);
    place.extend();
    let manifest = Manifest::read(&place.dir()).expect("read").expect("there");
    place.append(15 * SMALLEST);
    place.extend();
    let gone = OpenRange::open(&place.dir(), &manifest.ranges[0]).expect_err("gone");
    assert!(gone.damaged().is_some(), "{gone}");
    let _writes = manifest::lock(&place.dir()).expect("locked").expect("free");
    repair(&place.dir(), &place.log(), &gone).expect("nothing to do");
    assert_eq!(place.model().builder.ranges.len(), 1);
}

/// Of the one file: its rows, its sums, its sieve, and of each column chunk by what rows are found in it.
fn found(place: &Place) -> [String; 4] {
    let manifest = Manifest::read(&place.dir()).expect("read").expect("there");
    let [range] = &*manifest.ranges else { panic!("{:?}", manifest.ranges.len()) };
    let open = OpenRange::open(&place.dir(), range).expect("open");
    let rows = |file: &std::sync::Arc<file::Sealed>| {
        let batches =
            file.reader().expect("a reader").build().expect("built").map(|batch| batch.expect("rows"));
        let all: Vec<_> = batches.collect();
        format!("{:?}", datafusion::arrow::compute::concat_batches(&all[0].schema(), &all).expect("one"))
    };
    let sieve = fs::read(place.dir().join(&range.sieve.as_ref().expect("a sieve").name)).expect("read");
    let metadata = open.rows.metadata().expect("metadata");
    let chunks =
        metadata.row_groups().iter().zip(metadata.column_index().expect("there")).map(|(group, pages)| {
            let columns = group.columns().iter().zip(pages);
            let columns =
                columns.map(|(column, pages)| (column.statistics(), column.bloom_filter_length(), pages));
            format!("{} {:?}", group.num_rows(), columns.collect::<Vec<_>>())
        });
    let chunks = chunks.collect::<Vec<_>>().join("\n");
    [rows(&open.rows), rows(&open.hours), data_encoding::HEXLOWER.encode(&sieve), chunks]
}
