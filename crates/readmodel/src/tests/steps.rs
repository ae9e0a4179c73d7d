//! A model that is made step by step, as beside the calls of a gateway.

use super::*;

#[test]
fn steps_come_to_the_same_and_say_when_there_is_none() {
    let mut place = Place::new();
    place.append(SMALLEST - 1);
    place.close();
    assert!(!is_due(&place.dir(), &place.log()).expect("told"), "there is no file of so few");
    assert!(!place.dir().exists(), "asking makes nothing");
    place.open();
    place.append(20 * SMALLEST);
    place.close();
    let records = 20 * SMALLEST;
    assert_eq!(to_seal(&place.dir(), &place.log()).expect("told"), 21 * SMALLEST - 1);
    let mut sealed = 0;
    while is_due(&place.dir(), &place.log()).expect("told") {
        let step = extend_by(&place.dir(), &place.log(), 3 * SMALLEST, &mut |_, _| {}).expect("extended");
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
