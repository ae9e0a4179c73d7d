use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use vidimus_core::keep::{MAX_KEPT, PayloadOf};

use super::*;

mod naming;

const ADA: &str = "User/https://login.example#ada";
const BOB: &str = "User/https://login.example#bob";
const BOT: &str = "Agent/finance/bot";

struct Place3(String, String, PayloadOf);

impl Place3 {
    fn of(&self) -> Place<'_> {
        Place { origin: &self.0, call: &self.1, of: self.2 }
    }
}

fn place<'a>(call: &'a str, of: PayloadOf) -> Place<'a> {
    Place { origin: "log", call, of }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_860_000)
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 3600)
}

struct Ground {
    directory: tempfile::TempDir,
    keys: PayloadKeys,
}

impl Ground {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let keys = PayloadKeys::of_data(directory.path());
        Self { directory, keys }
    }

    /// The same keys, as another process has them.
    fn again(&self) -> PayloadKeys {
        PayloadKeys::of_data(self.directory.path())
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("payload-keys")
    }

    /// Every file of a key.
    fn files(&self) -> Vec<PathBuf> {
        let folders = file::entries(&self.root()).expect("read");
        let below =
            folders.iter().filter(|path| path.is_dir()).flat_map(|path| file::entries(path).expect("read"));
        below
            .flat_map(|path| if path.is_dir() { file::entries(&path).expect("read") } else { vec![path] })
            .collect()
    }

    fn seal(&self, whose: &str, call: &str, text: &[u8]) -> KeptPayload {
        self.keys.fetch(whose, now()).expect("a key").seal(place(call, PayloadOf::Arguments), text)
    }
}

fn opened(keys: &PayloadKeys, whose: &str, call: &str, kept: &KeptPayload) -> Result<Plain, Unread> {
    keys.open(whose, place(call, PayloadOf::Arguments), kept)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

/// Attack: what was kept of one call put into the record of another, or altered, or read by the key of another person.
#[test]
fn what_is_sealed_opens_in_its_own_record_alone() {
    let ground = Ground::new();
    let kept = ground.seal(ADA, "call-1", br#"{"iban":"DE1"}"#);
    let text = Plain::Whole(br#"{"iban":"DE1"}"#.to_vec());
    assert_eq!(opened(&ground.keys, ADA, "call-1", &kept).expect("open"), text);
    assert_eq!(opened(&ground.again(), ADA, "call-1", &kept).expect("open"), text, "in another process");
    let other = ground.seal(ADA, "call-2", br#"{"iban":"DE2"}"#);
    assert_eq!(other.key, kept.key, "one key for one person");
    for (call, of, kept) in [
        ("call-2", PayloadOf::Arguments, kept.clone()),
        ("call-1", PayloadOf::Arguments, other.clone()),
        ("call-1", PayloadOf::Answer, kept.clone()),
        ("call-1", PayloadOf::Arguments, KeptPayload { bytes: kept.bytes + 1, ..kept.clone() }),
        ("call-1", PayloadOf::Arguments, KeptPayload { too_long: true, ..kept.clone() }),
        ("call-1", PayloadOf::Arguments, KeptPayload { sealed: None, ..kept.clone() }),
        ("call-1", PayloadOf::Arguments, KeptPayload { sealed: Some("!".to_owned()), ..kept.clone() }),
    ] {
        let read = ground.keys.open(ADA, place(call, of), &kept);
        assert!(matches!(read, Err(Unread::Forged)), "{call} {of} {kept:?}: {read:?}");
    }
    let elsewhere = Place { origin: "another-log", call: "call-1", of: PayloadOf::Arguments };
    assert!(matches!(ground.keys.open(ADA, elsewhere, &kept), Err(Unread::Forged)));
    // Of another person, with that person's key, and with the name of ada's.
    let of_bob = ground.seal(BOB, "call-1", b"{}");
    assert!(matches!(opened(&ground.keys, BOB, "call-1", &kept), Err(Unread::NoKey)));
    let named = KeptPayload { key: of_bob.key.clone(), ..kept.clone() };
    assert!(matches!(opened(&ground.keys, BOB, "call-1", &named), Err(Unread::Forged)));
    assert!(matches!(opened(&ground.keys, ADA, "call-1", &of_bob), Err(Unread::NoKey)));
    // Each byte altered, and each end cut off.
    let bytes = STANDARD.decode(kept.sealed.as_ref().expect("sealed")).expect("base64");
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        for wrong in [&altered[..], &bytes[..at]] {
            let wrong = KeptPayload { sealed: Some(STANDARD.encode(wrong)), ..kept.clone() };
            assert!(matches!(opened(&ground.keys, ADA, "call-1", &wrong), Err(Unread::Forged)), "{at}");
        }
    }
}

/// Attack: a record that names a path in the place of a key.
#[test]
fn a_key_in_a_record_is_no_path() {
    let ground = Ground::new();
    let kept = ground.seal(ADA, "call", b"{}");
    let long = "0".repeat(33);
    for key in ["../naming", "/etc/passwd", "", ".", "..", "ABCDEF0123456789ABCDEF0123456789", long.as_str()]
    {
        let wrong = KeptPayload { key: Some(key.to_owned()), ..kept.clone() };
        assert!(matches!(opened(&ground.keys, ADA, "call", &wrong), Err(Unread::Forged)), "{key}");
    }
    let absent = KeptPayload { key: Some("0".repeat(32)), ..kept };
    assert!(matches!(opened(&ground.keys, ADA, "call", &absent), Err(Unread::NoKey)));
}

#[test]
fn an_answer_is_kept_up_to_its_bound_and_then_its_digest() {
    let ground = Ground::new();
    let sealed = |pieces: &[&[u8]], back: usize| {
        let mut keeping = Keeping::new(ground.keys.fetch(ADA, now()).expect("a key"));
        pieces.iter().for_each(|piece| keeping.push(piece));
        keeping.take_back(back);
        keeping.sealed("log", "call")
    };
    let read =
        |kept: &KeptPayload| ground.keys.open(ADA, place("call", PayloadOf::Answer), kept).expect("open");
    assert_eq!(sealed(&[], 0), None);
    assert_eq!(sealed(&[b"abc"], 3), None, "nothing of it passed");
    let cut = sealed(&[b"abc", b"def"], 3).expect("kept");
    assert_eq!((read(&cut), cut.bytes), (Plain::Whole(b"abc".to_vec()), 3));
    let most = vec![b'x'; MAX_KEPT];
    let whole = sealed(&[&most[..MAX_KEPT - 1], b"x"], 0).expect("kept");
    assert_eq!((read(&whole), whole.too_long), (Plain::Whole(most.clone()), false));
    for pieces in [&[&most[..], b"y"][..], &[b"", &[&most[..], b"y"].concat()[..]]] {
        let long = sealed(pieces, 0).expect("kept");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &pieces.concat());
        assert_eq!(read(&long), Plain::Digest(digest.as_ref().try_into().expect("32 bytes")));
        assert_eq!((long.too_long, long.bytes), (true, MAX_KEPT as u64 + 1));
        // A digest in the clear would say of a short text which it was.
        assert!(!format!("{long:?}").contains(&HEXLOWER.encode(digest.as_ref())));
    }
    let lease = ground.keys.fetch(ADA, now()).expect("a key");
    let long = [&most[..], b"y"].concat();
    assert_eq!(lease.seal(place("call", PayloadOf::Arguments), &long), KeptPayload::unkept("failed"));
}

/// Attack: keys that others may read, or that somebody put there.
#[test]
fn a_key_that_is_not_its_owners_alone_is_refused() {
    let ground = Ground::new();
    let kept = ground.seal(ADA, "call", b"{}");
    let [path] = &ground.files()[..] else { panic!("one key") };
    let metadata = fs::metadata(path).expect("there");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let folder = path.parent().expect("a folder");
    assert_eq!(fs::metadata(folder).expect("there").permissions().mode() & 0o777, 0o700);
    for wide in [0o644, 0o640, 0o604, 0o602] {
        mode(path, wide);
        assert!(ground.again().fetch(ADA, now()).is_err(), "{wide:o}");
        assert!(matches!(opened(&ground.again(), ADA, "call", &kept), Err(Unread::Failed(_))), "{wide:o}");
    }
    mode(path, 0o600);
    let root = ground.root();
    for directory in [folder, root.as_path()] {
        mode(directory, 0o755);
        assert!(ground.again().fetch(ADA, now()).is_err(), "{}", directory.display());
        mode(directory, 0o700);
    }
    let good = fs::read(path).expect("read");
    let text = String::from_utf8(good.clone()).expect("text");
    for bad in [
        String::new(),
        text.replace("key 1", "key 2"),
        text.replace("made", "mad"),
        text.replace(ADA, BOB),
        format!("{text}-"),
        text.trim_end_matches('+').to_owned(),
        text.lines().take(2).collect::<Vec<_>>().join("\n"),
        format!("{text}{}", "+".repeat(64 * 1024)),
    ] {
        fs::write(path, &bad).expect("written");
        let is_kept_empty = bad.ends_with('\n');
        assert_eq!(ground.again().fetch(ADA, now()).is_ok(), is_kept_empty, "{bad}");
    }
    fs::write(path, &good).expect("written");
    let moved = ground.directory.path().join("moved");
    fs::rename(path, &moved).expect("renamed");
    symlink(&moved, path).expect("linked");
    assert!(ground.again().fetch(ADA, now()).is_err(), "a link");
    fs::remove_file(path).expect("removed");
    fs::rename(&moved, path).expect("renamed");
    assert!(ground.again().fetch(ADA, now()).is_ok());
}

#[test]
fn a_key_seals_for_a_time_and_so_often_and_no_more() {
    let ground = Ground::new();
    let key = |keys: &PayloadKeys, at: SystemTime| {
        let sealed = keys.fetch(ADA, at).expect("a key").seal(place("call", PayloadOf::Arguments), b"{}");
        sealed.key.expect("a key")
    };
    let first = key(&ground.keys, now());
    assert_eq!(key(&ground.keys, now() + days(29)), first);
    let next = key(&ground.keys, now() + days(31));
    assert_ne!(next, first);
    // A clock that goes back does not bring the former one back.
    assert_eq!(key(&ground.again(), now()), next);
    let path = ground.files().into_iter().find(|path| path.ends_with(&next)).expect("a file");
    let marks = || fs::read_to_string(&path).expect("read").matches('+').count();
    let begun = marks();
    // Each start marks as many as it may seal, before the first: what is counted is never too low.
    key(&ground.again(), now());
    assert_eq!(marks(), begun + 1);
    let keys = ground.again();
    for _ in 0..file::BLOCK {
        key(&keys, now());
    }
    assert_eq!(marks(), begun + 3, "a call has two payloads");
    let full = fs::read_to_string(&path).expect("read") + &"+".repeat(4096);
    fs::write(&path, full).expect("written");
    assert_eq!(key(&ground.again(), now()), first, "it has sealed enough");
    let aside = ground.again().set_aside(ADA).expect("aside").expect("keys");
    assert_eq!(aside.keys.len(), 2);
    assert!(aside.records > 4096 * 256, "{}", aside.records);
}

/// What was sealed for somebody is read by nobody once the keys are destroyed, whoever has one in memory; what others have is as it was.
#[test]
fn what_is_destroyed_is_gone_from_disk_and_memory() {
    let ground = Ground::new();
    let (kept, of_bob) = (ground.seal(ADA, "call", b"{}"), ground.seal(BOB, "call", b"{}"));
    let old = ground.keys.fetch(ADA, now()).expect("a key");
    let under_way = ground.keys.fetch(ADA, now() + days(31)).expect("the next key");
    let secrets: Vec<(PathBuf, String)> = ground
        .files()
        .into_iter()
        .enumerate()
        .map(|(number, path)| {
            let text = fs::read_to_string(&path).expect("read");
            let secret = text.lines().nth(2).expect("a key").to_owned();
            let link = ground.directory.path().join(format!("link-{number}"));
            fs::hard_link(&path, &link).expect("linked");
            (link, secret)
        })
        .collect();
    assert_eq!(secrets.len(), 3);
    let aside = ground.keys.set_aside(ADA).expect("aside").expect("keys");
    assert_eq!(aside.keys.len(), 2);
    assert!(old.is_void() && under_way.is_void(), "also the former one, which a call under way has");
    let unkept = under_way.seal(place("call", PayloadOf::Answer), b"{}");
    assert_eq!(unkept, KeptPayload::unkept("shredded"));
    assert!(matches!(opened(&ground.keys, ADA, "call", &kept), Err(Unread::NoKey)), "out of use");
    ground.keys.destroy(&aside).expect("destroyed");
    assert!(matches!(opened(&ground.again(), ADA, "call", &kept), Err(Unread::NoKey)));
    assert!(opened(&ground.again(), BOB, "call", &of_bob).is_ok());
    assert_eq!(ground.files().len(), 1);
    // The bytes on the disk are other ones, not only without a name.
    let left: Vec<bool> = secrets
        .iter()
        .map(|(link, secret)| String::from_utf8_lossy(&fs::read(link).expect("read")).contains(secret))
        .collect();
    assert_eq!(left.iter().filter(|left| **left).count(), 1, "bob's");
    assert!(ground.keys.set_aside(ADA).expect("looked").is_none(), "nothing is left to destroy");
    // Who calls after it has another key.
    let later = ground.seal(ADA, "call-2", b"{}");
    assert_ne!(later.key, kept.key);
    assert!(opened(&ground.keys, ADA, "call-2", &later).is_ok());
    assert!(ground.keys.set_aside(BOT).expect("looked").is_none());
    assert!(Ground::new().keys.set_aside(ADA).expect("looked").is_none(), "nothing was ever kept");
}

/// A stop between the act and its end, and calls meanwhile.
#[test]
fn what_a_stop_left_is_found_and_destroyed_with_what_came_since() {
    let ground = Ground::new();
    ground.seal(ADA, "call", b"{}");
    assert_eq!(ground.keys.left_aside().expect("looked"), []);
    drop(ground.keys.set_aside(ADA).expect("aside").expect("keys"));
    let keys = ground.again();
    assert_eq!(keys.left_aside().expect("looked"), [ADA.parse::<Subject>().expect("a subject")]);
    let since = keys.fetch(ADA, now()).expect("a key");
    let aside = keys.set_aside(ADA).expect("aside").expect("keys");
    assert_eq!(aside.keys.len(), 2);
    assert!(since.is_void());
    keys.destroy(&aside).expect("destroyed");
    assert_eq!((keys.left_aside().expect("looked"), ground.files()), (Vec::new(), Vec::new()));
    // One of which nothing whole was written is nobody's, and goes.
    let torn = ground.root().join(SHREDDING).join("0123.4567");
    fs::create_dir(&torn).expect("made");
    fs::write(torn.join("0.new"), "vidimus pay").expect("written");
    assert_eq!(keys.left_aside().expect("looked"), []);
    assert!(!torn.exists());
}

/// Attack: keys that are out of use are made such that they cannot be read, so that they are destroyed without an act, or never.
#[test]
fn what_is_out_of_use_and_cannot_be_read_is_not_destroyed_without_an_act() {
    let ground = Ground::new();
    let ada = [ADA.parse::<Subject>().expect("a subject")];
    ground.seal(ADA, "call", b"{}");
    drop(ground.keys.set_aside(ADA).expect("aside").expect("keys"));
    let [path] = &ground.files()[..] else { panic!("one key") };
    // Others may read it: it says whose it is all the same.
    mode(path, 0o644);
    assert_eq!(ground.again().left_aside().expect("looked"), ada);
    mode(path, 0o600);
    // What it says cannot be read, or not be understood.
    let good = fs::read(path).expect("read");
    let moved = ground.directory.path().join("moved");
    fs::rename(path, &moved).expect("renamed");
    symlink(&moved, path).expect("linked");
    assert_eq!(ground.again().left_aside().expect("looked"), []);
    assert!(fs::symlink_metadata(path).is_ok() && moved.exists(), "it stays");
    fs::remove_file(path).expect("removed");
    fs::write(path, String::from_utf8(good.clone()).expect("text").replace("made", "mad")).expect("written");
    assert_eq!(ground.again().left_aside().expect("looked"), []);
    assert!(path.exists(), "it stays");
    fs::write(path, &good).expect("written");
    assert_eq!(ground.again().left_aside().expect("looked"), ada);
    // An act that was stopped after it had overwritten it.
    fs::write(path, vec![0x9b_u8; good.len()]).expect("written");
    assert_eq!(ground.again().left_aside().expect("looked"), []);
    assert!(!path.exists());
}

/// Attack: an act is read again, or ended at a start, and destroys what was kept since.
#[test]
fn keys_made_since_stay_in_use() {
    let ground = Ground::new();
    let first = ground.seal(ADA, "call", b"{}");
    let old = ground.keys.fetch(ADA, now()).expect("a key");
    let lease = ground.keys.fetch(ADA, now() + days(31)).expect("the next key");
    let next = lease.seal(place("call-2", PayloadOf::Arguments), b"{}");
    // As of a time between the two.
    let which = Which::MadeUntil(now() + days(1));
    let aside = ground.keys.aside(ADA, which).expect("aside").expect("keys");
    assert_eq!(aside.keys, [first.key.clone().expect("a key")]);
    assert!(old.is_void() && !lease.is_void());
    ground.keys.destroy(&aside).expect("destroyed");
    assert!(ground.keys.aside(ADA, which).expect("looked").is_none(), "nothing of that time is left");
    assert!(matches!(opened(&ground.again(), ADA, "call", &first), Err(Unread::NoKey)));
    assert!(opened(&ground.again(), ADA, "call-2", &next).is_ok());
    // As of a time after both, after a stop, and with a key made since.
    drop(ground.keys.aside(ADA, Which::MadeUntil(now() + days(40))).expect("aside").expect("keys"));
    assert!(lease.is_void());
    let keys = ground.again();
    assert_eq!(keys.left_aside().expect("looked").len(), 1);
    let since = keys.fetch(ADA, now() + days(41)).expect("a key");
    let kept = since.seal(place("call-3", PayloadOf::Arguments), b"{}");
    let aside = keys.aside(ADA, Which::Already).expect("aside").expect("keys");
    assert_eq!(aside.keys, [next.key.expect("a key")]);
    keys.destroy(&aside).expect("destroyed");
    assert!(!since.is_void() && opened(&ground.again(), ADA, "call-3", &kept).is_ok());
    assert!(keys.aside(ADA, Which::Already).expect("looked").is_none());
}

#[test]
fn nobody_learns_from_names_for_whom_there_are_keys() {
    let (one, other) = (Ground::new(), Ground::new());
    let folder = |ground: &Ground| {
        ground.seal(ADA, "call", b"{}");
        let path = ground.files().into_iter().next().expect("a key");
        let folder = path.parent().and_then(Path::file_name).expect("a folder");
        folder.to_str().expect("text").to_owned()
    };
    let (one, other) = (folder(&one), folder(&other));
    assert_ne!(one, other, "each installation has names of its own");
    let hashed = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, ADA.as_bytes());
    assert!(!HEXLOWER.encode(hashed.as_ref()).contains(&one));
}

#[test]
fn what_no_act_could_name_has_no_key() {
    let ground = Ground::new();
    let long = format!("User/https://login.example#{}", "x".repeat(4096));
    for whose in ["User/no-issuer", "MCPServer/a/b", "Chain/ext-1", "", "User/i#a\nb", long.as_str()] {
        let refused = ground.keys.fetch(whose, now());
        assert!(matches!(refused, Err(PayloadKeyError::Unnameable)), "{whose}");
    }
    for whose in [ADA, BOT, "Service/finance/nightly"] {
        assert!(ground.keys.fetch(whose, now()).is_ok(), "{whose}");
    }
}

/// More people than are held: those whose key a call has stay, so that an act reaches it.
#[test]
fn people_beyond_those_that_are_held_are_let_go_but_for_those_who_call() {
    let ground = Ground::new();
    let lease = ground.keys.fetch(ADA, now()).expect("a key");
    let key = ground.keys.fetch(BOB, now()).expect("a key");
    drop(key);
    let secret = |number: usize| {
        let path = ground.files().into_iter().next().expect("a file");
        let mut found = file::read(&path).expect("read").expect("there");
        found.id = format!("{number:032x}");
        Arc::new(PersonKey::of(found).expect("a key"))
    };
    for number in 0..MOST_HELD {
        ground.keys.hold(&format!("User/i#{number}"), secret(number));
    }
    assert!(lock(&ground.keys.held).len() <= MOST_HELD);
    assert!(lock(&ground.keys.held).contains_key(ADA) && !lock(&ground.keys.held).contains_key(BOB));
    ground.keys.set_aside(ADA).expect("aside").expect("keys");
    assert!(lease.is_void());
}

#[test]
fn no_secret_is_shown() {
    let ground = Ground::new();
    let lease = ground.keys.fetch(ADA, now()).expect("a key");
    let mut keeping = Keeping::new(ground.keys.fetch(ADA, now()).expect("a key"));
    keeping.push(b"4111111111111111");
    let text = fs::read_to_string(&ground.files()[0]).expect("read");
    let secret = text.lines().nth(2).expect("a key");
    let shown = format!("{:?} {lease:?} {keeping:?}", ground.keys);
    assert!(
        !shown.contains(secret) && !shown.contains("4111") && !shown.contains("52, 49, 49, 49"),
        "{shown}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_sealed_is_read_as_it_was_and_in_no_other_place(
        text in proptest::collection::vec(any::<u8>(), 0..600),
        (origin, call) in ("[a-z.]{0,12}", "[a-z0-9-]{0,12}"),
        (other_origin, other_call) in ("[a-z.]{0,12}", "[a-z0-9-]{0,12}"),
        (is_answer, is_other_answer) in any::<(bool, bool)>(),
    ) {
        thread_local!(static GROUND: Ground = Ground::new());
        let of = |answer| if answer { PayloadOf::Answer } else { PayloadOf::Arguments };
        let at = Place3(origin, call, of(is_answer));
        let other = Place3(other_origin, other_call, of(is_other_answer));
        GROUND.with(|ground| {
            let kept = ground.keys.fetch(ADA, now()).expect("a key").seal(at.of(), &text);
            prop_assert_eq!(ground.keys.open(ADA, at.of(), &kept).expect("open"), Plain::Whole(text.clone()));
            let is_same = (&at.0, &at.1, at.2) == (&other.0, &other.1, other.2);
            prop_assert_eq!(ground.keys.open(ADA, other.of(), &kept).is_ok(), is_same);
            Ok(())
        })?;
    }
}
