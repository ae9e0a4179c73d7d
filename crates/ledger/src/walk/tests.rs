use std::path::Path;

use super::*;

#[test]
fn a_walk_begins_with_the_segment_that_has_the_record() {
    let segments = [0, 256, 300].map(|first| Segment::new(Path::new(""), first));
    for (from, begins) in [(0, 0), (255, 0), (256, 256), (299, 256), (300, 300), (9999, 300)] {
        assert_eq!(Walk::new(&segments, from).index(), begins, "record {from}");
    }
    assert_eq!(Walk::new(&segments[1..], 256).index(), 0, "a log begins with record 0");
    assert_eq!(Walk::new(&[], 256).index(), 0);
}
