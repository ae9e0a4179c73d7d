use super::*;

#[test]
fn a_tile_has_one_path() {
    for (path, level, index, width) in [
        ("0/000", Some(0), 0, 256),
        ("63/001", Some(63), 1, 256),
        ("1/x001/x234/067", Some(1), 1_234_067, 256),
        ("0/x001/000.p/255", Some(0), 1000, 255),
        ("entries/999", None, 999, 256),
        ("entries/x010/000.p/1", None, 10_000, 1),
    ] {
        assert_eq!(TilePath::parse(path), Some(TilePath { level, index, width }), "{path}");
    }
    for path in [
        "",
        "0",
        "0/",
        "0/0",
        "0/00",
        "0/0000",
        "00/000",
        "64/000",
        "-1/000",
        "+1/000",
        "0/x000/001",
        "0/001/001",
        "0/x001/x001",
        "0/x01/001",
        "0/X001/001",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/000.p/+1",
        "0/000.p/",
        "0/000.p/1/",
        "0/000/",
        "0//000",
        "0/../000",
        "data/000",
        "entries/",
        "entries/abc",
        "0/x018/x446/x744/x073/x709/x551/616",
        "0/\u{661}00",
    ] {
        assert_eq!(TilePath::parse(path), None, "{path}");
    }
}
