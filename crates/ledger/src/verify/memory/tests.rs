use super::*;
use crate::checkpoint::Checkpoint;
use crate::note::SigningKey;

fn note(key: &SigningKey, size: u64) -> String {
    let origin = key.verifier().name().to_owned();
    Checkpoint { origin, size, root: [7; 32] }.sign(key).note
}

fn known(memory: &Path, name: &str) -> Option<(VerifierKey, String)> {
    recall(memory, name).expect("read")
}

/// Every order in which two processes can recall and update.
#[test]
fn what_another_process_remembered_meanwhile_is_not_lost() {
    let (key, other) = ["log.example"; 2].map(|name| SigningKey::generate(name).expect("a key")).into();
    let (key, other): (SigningKey, SigningKey) = (key, other);
    let (dir, memory) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let (dir, memory) = (dir.path(), memory.path());
    let recalled = || Recalled::of(memory, dir, "log.example").expect("read");

    let none = recalled();
    assert_eq!((none.places.len(), &none.places[0].1, &none.last), (1, &None, &None));
    none.update(memory, key.verifier(), &note(&key, 5)).expect("written");
    assert_eq!(known(memory, "log.example"), Some((key.verifier().clone(), note(&key, 5))));
    assert_eq!(recall_at(memory, &none.places[0].0).expect("read").as_ref(), Some(key.verifier()));

    // One that began when nothing was remembered, and ends later with an older, a same and a newer checkpoint.
    for (size, remembered) in [(3, 5), (5, 5), (9, 9), (8, 9)] {
        none.update(memory, key.verifier(), &note(&key, size)).expect("written");
        assert_eq!(known(memory, "log.example"), Some((key.verifier().clone(), note(&key, remembered))));
    }
    // It may not put another log in the place of what was remembered since; one that saw it may.
    none.update(memory, other.verifier(), &note(&other, 20)).expect("written");
    assert_eq!(known(memory, "log.example"), Some((key.verifier().clone(), note(&key, 9))));
    assert_eq!(recalled().places[0].1.as_ref(), Some(key.verifier()));
    let seen = recalled();
    seen.update(memory, other.verifier(), &note(&other, 2)).expect("written");
    assert_eq!(known(memory, "log.example"), Some((other.verifier().clone(), note(&other, 2))));
    assert_eq!(recalled().places[0].1.as_ref(), Some(other.verifier()));
    // And who saw the log before does not put it back.
    seen.update(memory, key.verifier(), &note(&key, 30)).expect("written");
    assert_eq!(known(memory, "log.example"), Some((other.verifier().clone(), note(&other, 2))));
    assert_eq!(recalled().places[0].1.as_ref(), Some(other.verifier()));
}
