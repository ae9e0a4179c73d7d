use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// The leaves and roots of the test vectors that Certificate Transparency's implementations share.
const VECTORS: [(&str, &str); 8] = [
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    ("606162636465666768696a6b6c6d6e6f", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("a byte")).collect()
}

/// The definition of RFC 6962 section 2.1, word for word.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves.len() {
        0 | 1 => complete(leaves),
        count => {
            let (left, right) = leaves.split_at(count.next_power_of_two() / 2);
            node(&mth(left), &mth(right))
        }
    }
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|i| leaf(&i.to_le_bytes())).collect()
}

/// Full tiles, by level and index.
type Tiles = Vec<((u8, u64), Vec<Hash>)>;

/// A tree over `leaves` and all its full tiles.
fn grown(leaves: &[Hash]) -> (Tree, Tiles) {
    let (mut tree, mut tiles) = (Tree::default(), Vec::new());
    for leaf in leaves {
        let Ok(()) = tree.append(*leaf, |full| {
            tiles.push(((full.level, full.index), full.hashes.to_vec()));
            Ok::<_, Infallible>(())
        });
    }
    (tree, tiles)
}

#[test]
fn roots_are_those_of_the_published_vectors() {
    let mut tree = Tree::default();
    // RFC 6962 section 2.1: the hash of an empty list is the hash of an empty string.
    assert_eq!(
        tree.root().to_vec(),
        bytes("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    );
    for (record, root) in VECTORS {
        let Ok(()) = tree.append(leaf(&bytes(record)), |_| Ok::<_, Infallible>(()));
        assert_eq!(tree.root().to_vec(), bytes(root));
    }
}

#[test]
fn tiles_are_where_and_what_the_format_says() {
    // The example of C2SP tlog-tiles, "Partial Tiles": a tree of 70,000.
    assert_eq!([full_tiles(70_000, 0), full_tiles(70_000, 1), full_tiles(70_000, 2)], [273, 1, 0]);
    assert_eq!([width(70_000, 0), width(70_000, 1), width(70_000, 2), width(70_000, 3)], [112, 17, 1, 0]);
    assert_eq!([full_tiles(256, 0), full_tiles(u64::MAX, 7)], [1, 0]);
    let leaves = leaves(70_000);
    let (tree, tiles) = grown(&leaves);
    assert_eq!(tiles.len(), 274);
    for ((level, index), hashes) in &tiles {
        let span = TILE.pow(u32::from(*level));
        let start = usize::try_from(*index).expect("small") * TILE * span;
        let expected: Vec<_> = leaves[start..start + TILE * span].chunks(span).map(mth).collect();
        assert_eq!(*hashes, expected, "tile {level}/{index}");
    }
    assert_eq!([tree.partial(0).len(), tree.partial(1).len(), tree.partial(2).len()], [112, 17, 1]);
    assert_eq!(tree.root(), mth(&leaves));
}

#[test]
fn a_tree_that_was_restored_goes_on_as_if_nothing_had_been() {
    let leaves = leaves(70_000);
    for size in [0, 1, 2, 3, 255, 256, 257, 65_535, 65_536, 65_537, 69_999] {
        let (tree, _) = grown(&leaves[..size]);
        let partial = tree.partial.clone();
        let mut restored = Tree::restore(size as u64, partial).expect("fits");
        assert_eq!((restored.root(), restored.size()), (mth(&leaves[..size]), size as u64));
        for leaf in &leaves[size..(size + 300).min(70_000)] {
            let Ok(()) = restored.append(*leaf, |_| Ok::<_, Infallible>(()));
        }
        assert_eq!(restored.root(), mth(&leaves[..(size + 300).min(70_000)]));
    }
    assert!(Tree::restore(256, vec![vec![]]).is_none(), "a level is missing");
    assert!(Tree::restore(2, vec![vec![[0; 32]]]).is_none(), "a hash is missing");
    assert!(Tree::restore(1, vec![vec![[0; 32], [0; 32]]]).is_none(), "a hash too many");
}

/// The roots over complete parts of `leaves`.
fn of(leaves: &[Hash]) -> impl FnMut(u32, u64) -> Result<Hash, Infallible> {
    move |height, at| {
        let first = usize::try_from(at << height).expect("small");
        Ok(mth(&leaves[first..first + (1 << height)]))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn proofs_hold_for_their_record_and_for_nothing_else(size in 1usize..1200, at: prop::sample::Index, other: prop::sample::Index) {
        let leaves = leaves(size);
        let (tree, _) = grown(&leaves);
        let index = at.index(size) as u64;
        let Ok(proof) = inclusion(index, size as u64, of(&leaves));
        let leaf = leaves[at.index(size)];
        let root = |index, size, leaf, proof: &[Hash]| root_of_proof(index, size, leaf, proof);
        prop_assert_eq!(root(index, size as u64, leaf, &proof), Some(tree.root()));
        let other = other.index(size);
        if other as u64 != index {
            prop_assert_ne!(root(index, size as u64, leaves[other], &proof), Some(tree.root()));
            prop_assert_ne!(root(other as u64, size as u64, leaf, &proof), Some(tree.root()));
        }
        prop_assert_eq!(root(size as u64, size as u64, leaf, &proof), None);
        let longer = [proof.clone(), vec![[0; 32]]].concat();
        prop_assert_ne!(root(index, size as u64, leaf, &longer), Some(tree.root()));
        if let Some((_, shorter)) = proof.split_last() {
            prop_assert_ne!(root(index, size as u64, leaf, shorter), Some(tree.root()));
        }
    }

    #[test]
    fn a_tree_is_shown_to_begin_with_an_older_one_and_with_no_other(size in 0usize..700, at: prop::sample::Index, wrong: prop::sample::Index) {
        let leaves = leaves(size);
        let older = at.index(size + 1);
        let (root, old) = (mth(&leaves), mth(&leaves[..older]));
        let Ok(proof) = consistency(older as u64, size as u64, of(&leaves));
        let holds = |older: usize, old: &Hash, size: usize, root: &Hash, proof: &[Hash]| {
            is_consistent((older as u64, old), (size as u64, root), proof)
        };
        prop_assert!(holds(older, &old, size, &root, &proof));
        prop_assert!(!holds(older, &[7; 32], size, &root, &proof));
        prop_assert!(!holds(size + 1, &old, size, &root, &proof));
        prop_assert!(!holds(older, &old, size, &root, &[proof.clone(), vec![[0; 32]]].concat()));
        if older > 0 {
            prop_assert!(!holds(older, &old, size, &[7; 32], &proof));
        }
        if !proof.is_empty() {
            prop_assert!(!holds(older, &old, size, &root, &proof[1..]));
            let mut bent = proof.clone();
            bent[wrong.index(proof.len())][0] ^= 1;
            prop_assert!(!holds(older, &old, size, &root, &bent));
        }
    }
}
