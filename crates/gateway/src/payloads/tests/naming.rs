//! What a lost, replaced or damaged key of names does not hide.

use super::*;

/// Attack: the key of names is deleted, replaced or damaged, so that a shred finds nothing and is told as done.
#[test]
fn keys_are_found_where_the_key_of_names_is_not_what_it_was() {
    for naming in [None, Some(&[7_u8; 32][..]), Some(&b"bad"[..])] {
        let ground = Ground::new();
        let (kept, of_bob) = (ground.seal(ADA, "call", b"{}"), ground.seal(BOB, "call", b"{}"));
        let path = ground.root().join(NAMING);
        match naming {
            None => fs::remove_file(&path).expect("removed"),
            Some(bytes) => fs::write(&path, bytes).expect("written"),
        }
        let keys = ground.again();
        assert!(opened(&keys, ADA, "call", &kept).is_ok(), "{naming:?}");
        assert!(matches!(opened(&keys, BOB, "call", &kept), Err(Unread::NoKey)), "{naming:?}");
        // A key that was made since, beside the one of before.
        let mut ids = vec![kept.key.clone().expect("a key")];
        if let Ok(lease) = keys.fetch(ADA, now()) {
            ids.extend(lease.seal(place("call-2", PayloadOf::Arguments), b"{}").key);
            assert_eq!(ids.len(), 2, "{naming:?}");
        }
        ids.sort_unstable();
        let aside = keys.set_aside(ADA).expect("aside").expect("keys");
        assert_eq!(aside.keys, ids, "{naming:?}");
        // After a stop, too.
        let keys = ground.again();
        assert_eq!(keys.left_aside().expect("looked").len(), 1);
        let aside = keys.aside(ADA, Which::Already).expect("aside").expect("keys");
        keys.destroy(&aside).expect("destroyed");
        assert!(matches!(opened(&keys, ADA, "call", &kept), Err(Unread::NoKey)), "{naming:?}");
        assert!(opened(&keys, BOB, "call", &of_bob).is_ok(), "{naming:?}");
    }
    // Without names, one that does not say whose it is may be anybody's.
    let ground = Ground::new();
    ground.seal(BOB, "call", b"{}");
    let [path] = &ground.files()[..] else { panic!("one key") };
    fs::write(path, "vidimus payload key 1\n?").expect("written");
    assert!(ground.again().set_aside(ADA).expect("looked").is_none());
    fs::remove_file(ground.root().join(NAMING)).expect("removed");
    assert!(ground.again().set_aside(ADA).is_err());
}

/// Attack: the key of names is replaced and a key is damaged, so that a shred says that all is destroyed while one is left that can be mended.
#[test]
fn where_another_key_of_names_named_what_cannot_be_read_no_shred_says_that_it_is_done() {
    let ground = Ground::new();
    let kept = ground.seal(ADA, "call", b"{}");
    ground.seal(BOB, "call", b"{}");
    let id = kept.key.clone().expect("a key");
    let of_ada = ground.files().into_iter().find(|path| path.ends_with(&id)).expect("a file");
    let good = fs::read_to_string(&of_ada).expect("read");
    fs::write(&of_ada, good.replace("made", "mad")).expect("damaged");
    // As long as the key of names is that which named it, it is known to be somebody else's.
    let bob = ground.again().set_aside(BOB).expect("aside").expect("keys");
    assert_eq!(bob.keys.len(), 1);
    ground.keys.destroy(&bob).expect("destroyed");
    // Another one is there since: whoever is asked for, that may be his.
    std::thread::sleep(Duration::from_millis(20));
    fs::remove_file(ground.root().join(NAMING)).expect("removed");
    ground.again().fetch(BOB, now()).expect("a key");
    for whose in [ADA, BOB] {
        let told = ground.again().set_aside(whose).map(|aside| aside.is_some());
        assert!(told.is_err(), "{whose}: {told:?}");
    }
    fs::write(&of_ada, good).expect("mended");
    let aside = ground.again().set_aside(ADA).expect("aside").expect("keys");
    ground.keys.destroy(&aside).expect("destroyed");
    assert!(matches!(opened(&ground.again(), ADA, "call", &kept), Err(Unread::NoKey)));
}
