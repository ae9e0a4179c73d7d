//! Gateways that share keys: what one minted, another takes, over a rotation, and not beyond it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vidimus_core::caller::UnixMillis;
use vidimus_core::refusal::Code;
use vidimus_identity::{KeyFiles, Mint};

use crate::hop::{chain, minted, published, signer};
use crate::world::{HOPS, World, code, now};

const KEEP: Duration = Duration::from_secs(3600);

fn files() -> KeyFiles {
    KeyFiles::generate(Path::new("keys"), None, now()).unwrap()
}

fn mint(files: &KeyFiles) -> Arc<Mint> {
    Arc::new(Mint::shared(&files.shared().unwrap(), HOPS, now()).unwrap())
}

#[tokio::test]
async fn what_one_minted_another_takes_for_as_long_as_its_key_is_there() {
    let mut keys = files();
    let (one, other) = (mint(&keys), mint(&keys));
    let world = World::with(|config| config.mint = other.clone());
    assert_eq!(published(&one), published(&other));
    let old = minted(&world, &one, &chain(&[]));
    assert!(world.bearer(&old).await.is_ok());

    // One has read the next key, and the other uses it already: as the clocks of two machines differ.
    let later = UnixMillis(now().0 + 60_000);
    keys.rotate(now(), later, KEEP).unwrap();
    let shared = keys.shared().unwrap();
    one.take(&shared, later).unwrap();
    other.take(&shared, now()).unwrap();
    let new = minted(&world, &one, &chain(&[]));
    assert_ne!(signer(&new), signer(&old));
    for token in [&old, &new, &minted(&world, &other, &chain(&[]))] {
        assert!(world.bearer(token).await.is_ok());
    }
    // The keys do not turn by themselves.
    one.turn_keys(UnixMillis(later.0 + 400 * 24 * 3_600_000)).unwrap();
    assert_eq!((published(&one).len(), published(&other).len()), (2, 2));

    // Attack: an old key is used after it was dropped. That the token was proven before changes nothing.
    let left = keys.contents().filter(|(name, _)| {
        !name.starts_with("mint.")
            || shared.list(later).iter().any(|key| key.file == *name && key.state == "current")
    });
    let left: Vec<_> = left.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
    other.take(&KeyFiles::given(Path::new("keys"), left).unwrap().shared().unwrap(), later).unwrap();
    assert_eq!(code(&world.bearer(&old).await), Err(Code::TokenKeyUnknown));
    assert!(world.bearer(&new).await.is_ok());
}

#[tokio::test]
async fn a_gateway_with_other_keys_is_nobody() {
    let (ours, theirs) = (mint(&files()), mint(&files()));
    let world = World::with(|config| config.mint = ours.clone());
    assert!(world.bearer(&minted(&world, &ours, &chain(&[]))).await.is_ok());
    assert_eq!(code(&world.bearer(&minted(&world, &theirs, &chain(&[]))).await), Err(Code::TokenKeyUnknown));
}
