use super::*;
use crate::storage::Disk;

#[test]
fn paths_are_those_of_the_format() {
    for (level, index, expected) in [
        (0, 0, "tile/0/000"),
        (0, 1_234_067, "tile/0/x001/x234/067"),
        (1, 999, "tile/1/999"),
        (2, 1000, "tile/2/x001/000"),
        (63, u64::MAX, "tile/63/x018/x446/x744/x073/x709/x551/615"),
    ] {
        assert_eq!(path(Path::new(""), level, index), Path::new(expected));
    }
}

#[test]
fn only_a_whole_tile_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(read(dir.path(), 0, 1234).expect("read"), None);
    let hashes = vec![[9; 32]; TILE];
    write(&Disk, dir.path(), FullTile { level: 0, index: 1234, hashes: &hashes }).expect("written");
    assert_eq!(read(dir.path(), 0, 1234).expect("read"), Some(hashes));
    std::fs::write(path(dir.path(), 0, 1234), vec![9; BYTES - 1]).expect("written");
    assert_eq!(read(dir.path(), 0, 1234).expect("read"), None);
}
