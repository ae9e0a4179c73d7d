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
