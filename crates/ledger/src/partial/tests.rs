use super::*;
use crate::storage::Disk;

/// Trees of many sizes, of each of which a checkpoint might be signed; all their full tiles are in `log`.
fn grown(log: &Path, size: u64, also: &[u64]) -> Vec<Tree> {
    let (mut tree, mut all) = (Tree::default(), Vec::new());
    for index in 0..size {
        tree.append(tree::leaf(&index.to_le_bytes()), |full| tile::write(&Disk, log, full)).expect("written");
        if also.contains(&tree.size()) {
            all.push(tree.clone());
        }
    }
    all
}

fn signed(tree: &Tree) -> Checkpoint {
    Checkpoint { origin: "test.example/log".to_owned(), size: tree.size(), root: tree.root() }
}

fn has(log: &Path, of: &Tree) -> bool {
    tree(log, &signed(of)).is_some_and(|found| found.size() == of.size() && found.root() == of.root())
}

#[test]
fn it_has_the_tree_of_its_checkpoint_and_of_each_before_it() {
    let log = tempfile::tempdir().expect("a directory");
    let log = log.path();
    let sizes = [1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 65_800, 66_000];
    let all = grown(log, 66_000, &sizes);
    assert_eq!(all.len(), sizes.len());
    let mut partial = Partial::default();
    for (at, newest) in all.iter().enumerate() {
        partial.write(&Disk, log, newest);
        for older in &all[..=at] {
            assert!(has(log, older), "{} by that of {}", older.size(), newest.size());
        }
        assert!(
            all[at + 1..].iter().all(|younger| tree(log, &signed(younger)).is_none()),
            "{}",
            newest.size()
        );
    }
    partial.write(&Disk, log, &Tree::default());
    assert!(has(log, &Tree::default()), "of no records");
}

#[test]
fn what_does_not_lead_to_the_signed_root_is_nothing() {
    let log = tempfile::tempdir().expect("a directory");
    let log = log.path();
    let all = grown(log, 700, &[600, 700]);
    let [older, newest] = &all[..] else { panic!("two trees") };
    assert!(!has(log, newest), "absent");
    Partial::default().write(&Disk, log, older);
    assert!(!has(log, newest), "stale");
    Partial::default().write(&Disk, log, newest);
    assert!(has(log, newest));
    let whole = std::fs::read(path(log)).expect("read");
    assert_eq!(whole.len(), 8 + 32 * (700 % 256 + 2), "the number, and two levels");
    for length in 0..whole.len() {
        std::fs::write(path(log), &whole[..length]).expect("written");
        assert!(!has(log, newest), "torn at {length}");
    }
    for at in 0..whole.len() {
        let mut forged = whole.clone();
        forged[at] ^= 1;
        std::fs::write(path(log), forged).expect("written");
        assert!(!has(log, newest), "byte {at}");
    }
    std::fs::write(path(log), [&whole[..], b"what was left of a longer one"].concat()).expect("written");
    assert!(has(log, newest));
    // An older checkpoint needs full tiles, which may be wrong too.
    let grown = grown(log, 800, &[800]);
    Partial::default().write(&Disk, log, &grown[0]);
    assert!(has(log, older) && has(log, newest));
    std::fs::write(tile::path(log, 0, 2), [7; 8192]).expect("written");
    assert!(!has(log, older) && !has(log, newest));
}
