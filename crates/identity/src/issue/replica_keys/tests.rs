use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const DAY: i64 = 24 * 3_600_000;
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

fn later(days: i64) -> UnixMillis {
    UnixMillis(NOW.0 + days * DAY)
}

fn made() -> KeyFiles {
    KeyFiles::generate(Path::new("keys"), None, NOW).expect("keys")
}

/// The directory, for its owner alone, and in it keys.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .expect("a directory");
    made().write(directory.path(), &[]).expect("written");
    directory
}

fn states(keys: &SharedKeys, purpose: &str, now: UnixMillis) -> Vec<&'static str> {
    keys.list(now).iter().filter(|key| key.purpose == purpose).map(|key| key.state).collect()
}

fn name_of(directory: &Path, begins: &str) -> PathBuf {
    let mut names = fs::read_dir(directory).expect("listed").map(|entry| entry.expect("an entry").path());
    names
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begins)))
        .expect("one")
}

#[test]
fn a_key_is_accepted_before_it_is_used_and_as_long_as_it_is_there() {
    let mut files = made();
    let first = files.shared().expect("keys");
    assert_eq!(states(&first, "seal", NOW), ["current"]);
    // Also by a clock that is behind who made it.
    assert_eq!(states(&first, "seal", later(-1)), ["current"]);
    let rotated = files.rotate(NOW, later(1), KEEP).expect("rotated");
    assert_eq!((rotated.added.len(), rotated.dropped.len()), (2, 0));
    let keys = files.shared().expect("keys");
    for purpose in ["seal", "mint"] {
        assert_eq!(states(&keys, purpose, NOW), ["current", "next"]);
        assert_eq!(states(&keys, purpose, later(1)), ["former", "current"]);
    }
    let (before, after) = (keys.sealing(NOW).expect("keys"), keys.sealing(later(1)).expect("keys"));
    assert_eq!((before.current, &before.others[..]), (before.oldest, &[after.current][..]));
    assert_eq!((after.oldest, &after.others[..]), (before.current, &[before.current][..]));
    let kid = |now| keys.minting(now).expect("keys").0.public.kid;
    assert_ne!(kid(NOW), kid(later(1)));
    for now in [NOW, later(1)] {
        let (signs, all) = keys.minting(now).expect("keys");
        assert!(all.len() == 2 && all[0].kid == signs.public.kid, "the one that signs is the first");
    }
}

#[test]
fn former_keys_go_when_nothing_that_they_made_is_still_good() {
    let mut files = made();
    files.rotate(NOW, later(1), KEEP).expect("rotated");
    // It minted until a day after `NOW`, and sealed until then.
    let rotated = files.rotate(later(2), later(3), KEEP).expect("rotated");
    assert!(rotated.dropped.len() == 1 && rotated.dropped[0].starts_with("mint."), "{rotated:?}");
    let rotated = files.rotate(later(32), later(33), KEEP).expect("rotated");
    let seals = rotated.dropped.iter().filter(|name| name.starts_with("seal.")).count();
    assert_eq!(seals, 1, "{rotated:?}");
    // However long nobody rotated, what is used stays until the next one is.
    files.rotate(later(4000), later(4001), Duration::ZERO).expect("rotated");
    let keys = files.shared().expect("keys");
    assert_eq!(states(&keys, "seal", later(4000)), ["current", "next"]);
    assert_eq!(states(&keys, "mint", later(4000)), ["current", "next"]);
    for _ in 0..MAX_KEYS - 2 {
        files.rotate(later(4000), later(4001), KEEP).expect("rotated");
    }
    let error = files.rotate(later(4000), later(4001), KEEP).expect_err("too many").to_string();
    assert!(error.contains("at most"), "{error}");
}

#[test]
fn a_directory_has_what_was_written_and_all_that_read_it_have_the_same() {
    let directory = directory();
    let [one, other] = [(); 2].map(|()| SharedKeys::open(directory.path()).expect("keys"));
    assert_eq!(one.list(NOW), other.list(NOW));
    assert_eq!(one.sealing(NOW).expect("keys").current, other.sealing(NOW).expect("keys").current);
    let [ours, theirs] = [&one, &other].map(|keys| keys.identity().expect("an identity").expect("shared"));
    assert_eq!(ours.bundle(), theirs.bundle());
    assert_eq!(ours.trust_domain().as_str(), "vidimus.local");
    assert!(matches!(KeyFiles::none_in(directory.path()), Err(SharedKeysError::There { .. })));
    let empty = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .expect("a directory");
    KeyFiles::none_in(empty.path()).expect("none");
    KeyFiles::none_in(&empty.path().join("missing")).expect("none");

    let mut files = KeyFiles::read(directory.path()).expect("files");
    let rotated = files.rotate(later(90), later(90), KEEP).expect("rotated");
    files.write(directory.path(), &rotated.dropped).expect("written");
    assert_eq!(states(&SharedKeys::open(directory.path()).expect("keys"), "seal", later(90)).len(), 2);
}

/// As Kubernetes mounts a Secret: links to links, swapped at once, of which what is before the links is not looked at.
#[test]
fn a_mount_is_read_by_where_it_is_now() {
    let mount = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .expect("a directory");
    let at = |name: &str| mount.path().join(name);
    let mut files = made();
    files.write(&at("..2026_1"), &[]).expect("written");
    symlink("..2026_1", at("..data")).expect("linked");
    for (name, _) in files.contents() {
        symlink(format!("..data/{name}"), at(name)).expect("linked");
    }
    assert_eq!(states(&SharedKeys::open(mount.path()).expect("keys"), "seal", NOW), ["current"]);
    files.rotate(NOW, NOW, KEEP).expect("rotated");
    files.write(&at("..2026_2"), &[]).expect("written");
    symlink("..2026_2", at("..next")).expect("linked");
    fs::rename(at("..next"), at("..data")).expect("swapped");
    assert_eq!(states(&SharedKeys::open(mount.path()).expect("keys"), "seal", NOW).len(), 2);
}

/// Attacks and accidents: each is told with the file, and what to do.
#[test]
fn what_is_wrong_with_a_directory_is_told_by_the_file() {
    type Harm = fn(&Path);
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    let cases: [(&str, &str, Harm); 8] = [
        ("a key that others may read", "0600", |at| {
            let path = name_of(at, "seal.");
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("a mode");
        }),
        ("a key that was cut", "was cut, changed or renamed", |at| {
            fs::write(name_of(at, "seal."), [7_u8; 31]).expect("written");
        }),
        ("another key in its place", "was cut, changed or renamed", |at| {
            fs::write(name_of(at, "seal."), [7_u8; 32]).expect("written");
        }),
        ("a key under another time", "no name of a shared key", |at| {
            fs::rename(name_of(at, "mint."), at.join("mint.20261328T130000Z.0123456789abcdef.pem"))
                .expect("renamed");
        }),
        ("no key that seals", "no key that seals", |at| {
            fs::remove_file(name_of(at, "seal.")).expect("removed");
        }),
        ("no key that mints", "no key that mints", |at| {
            fs::remove_file(name_of(at, "mint.")).expect("removed");
        }),
        ("half of the CA", "ca-key.pem", |at| fs::remove_file(at.join("ca-key.pem")).expect("removed")),
        ("something else", "no name of a shared key", |at| {
            fs::write(at.join("README"), "").expect("written");
        }),
    ];
    for (what, says, harm) in cases {
        let directory = directory();
        harm(directory.path());
        let error = SharedKeys::open(directory.path()).expect_err(what).to_string();
        assert!(
            error.contains(says) && error.contains(&directory.path().display().to_string()),
            "{what}: {error}"
        );
    }
    let directory = directory();
    mode(directory.path(), 0o755);
    let error = SharedKeys::open(directory.path()).expect_err("others may list it").to_string();
    assert!(error.contains("0700"), "{error}");
    mode(directory.path(), 0o700);
    SharedKeys::open(directory.path()).expect("keys");
    for name in ["ca.pem", "ca-key.pem", "issuer-key.pem"] {
        fs::remove_file(directory.path().join(name)).expect("removed");
    }
    let keys = SharedKeys::open(directory.path()).expect("each gateway has its own CA");
    assert!(keys.identity().expect("none").is_none());
    // The CA of one set with the key of another.
    let (one, other) = (made(), made());
    let mixed = one.contents().map(|(name, bytes)| {
        let of = if name == "ca-key.pem" { &other } else { &one };
        let found = of.contents().find(|(other, _)| *other == name);
        (name.to_owned(), found.map_or(bytes, |(_, bytes)| bytes).to_vec())
    });
    let mixed = KeyFiles::given(Path::new("secret"), mixed.collect::<Vec<_>>()).expect("names");
    assert!(mixed.shared().expect_err("mixed").to_string().contains("ca.pem"));
}

#[test]
fn names_say_the_time_to_the_second() {
    assert_eq!(name::stamp(UnixMillis(1_795_870_845_999)), "20261128T130045Z");
    for (text, good) in [
        ("20261128T130045Z", Some(1_795_870_845_000)),
        ("20240229T000000Z", Some(1_709_164_800_000)),
        ("20230229T000000Z", None),
        ("20261128T246000Z", None),
        ("20261128T130045", None),
        ("2026-11-28T13:00:45Z", None),
        ("+0261128T130045Z", None),
        ("", None),
    ] {
        assert_eq!(name::instant(text), good.map(UnixMillis), "{text}");
    }
}
