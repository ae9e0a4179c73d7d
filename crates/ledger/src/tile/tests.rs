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

#[test]
fn a_tree_is_restored_from_the_tiles_that_no_other_stands_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let leaves: Vec<_> = (0..70_000u64).map(|index| tree::leaf(&index.to_le_bytes())).collect();
    let mut grown = Tree::default();
    for (size, leaf) in (1..).zip(&leaves) {
        grown.append(*leaf, |full| write(&Disk, dir.path(), full)).expect("written");
        if [300, 65_535, 65_536, 65_792, 70_000].contains(&size) {
            let last = leaves[size - size % TILE..size].to_vec();
            let restored =
                restore(dir.path(), size as u64, last, &[]).expect("read").expect("all tiles are there");
            assert_eq!(restored.root(), grown.root(), "{size}");
        }
    }
    // Those below a full tile of level 1 are not asked for, the others are.
    let without = |index: u64| {
        std::fs::remove_file(path(dir.path(), 0, index)).expect("removed");
        restore(dir.path(), 70_000, leaves[69_888..].to_vec(), &[]).expect("read").map(|tree| tree.root())
    };
    assert_eq!(without(255), Some(grown.root()));
    assert_eq!(without(256), None);
}

#[test]
fn of_a_higher_level_the_last_tile_alone_is_read_where_a_hint_says_what_the_others_come_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let size = 3 * 65_536 + 300_u64;
    let mut grown = Tree::default();
    let mut last = Vec::new();
    for index in 0..size {
        let leaf = tree::leaf(&index.to_le_bytes());
        grown.append(leaf, |full| write(&Disk, dir.path(), full)).expect("written");
        if index >= size - size % TILE as u64 {
            last.push(leaf);
        }
    }
    let hint: Vec<_> = (0..3).map(|level| grown.partial(level).to_vec()).collect();
    let root = |hint: &[Vec<Hash>]| {
        restore(dir.path(), size, last.clone(), hint).expect("read").map(|tree| tree.root())
    };
    assert_eq!((root(&[]), root(&hint)), (Some(grown.root()), Some(grown.root())));
    // A hint that lies leads to another root.
    let mut lies = hint.clone();
    lies[2][0] = [7; 32];
    assert!(root(&lies).is_some_and(|root| root != grown.root()));
    // All but the last of level 1 were durable when that one was written. Those of level 0 that it does not stand for were not.
    for (level, index, with) in [(1, 0, Some(grown.root())), (1, 2, None), (0, 768, None)] {
        let (from, aside) = (path(dir.path(), level, index), dir.path().join("aside"));
        std::fs::rename(&from, &aside).expect("moved");
        assert_eq!((root(&[]), root(&hint)), (None, with), "{level}/{index}");
        std::fs::rename(&aside, &from).expect("moved back");
    }
}
