use proptest::prelude::*;

use super::*;

/// The example of C2SP signed-note, "Verifier keys".
const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

#[test]
fn the_published_example_verifies() {
    let key: VerifierKey = KEY.parse().expect("a key");
    assert_eq!(key.to_string(), KEY);
    assert_eq!(key.open(NOTE), Ok("This is an example message.\n"));
}

#[test]
fn no_byte_of_a_note_can_be_changed() {
    let key: VerifierKey = KEY.parse().expect("a key");
    for at in 0..NOTE.len() {
        for change in [1, 0x20, 0x80, 0xff] {
            let mut bytes = NOTE.as_bytes().to_vec();
            bytes[at] ^= change;
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(key.open(&text).is_err(), "byte {at} ^ {change:#x}");
            }
        }
    }
    for cut in 0..NOTE.len() {
        if let Some(text) = NOTE.get(..cut) {
            assert!(key.open(text).is_err(), "cut at {cut}");
        }
    }
    assert!(key.open(&format!("{NOTE}\n")).is_err());
}

#[test]
fn signatures_of_others_are_ignored_and_never_enough() {
    let own = SigningKey::generate("log.example/a").expect("a key");
    let other = SigningKey::generate("log.example/a").expect("a key");
    let note = own.sign("text\n");
    let (_, foreign) =
        other.sign("text\n").split_once("\n\n").map(|(a, b)| (a.to_owned(), b.to_owned())).expect("note");
    assert_eq!(own.verifier().open(&format!("{note}{foreign}")), Ok("text\n"));
    assert_eq!(other.verifier().open(&note), Err(NoteError::Unsigned(other.verifier().to_string())));
    // The last blank line is the one before the signatures.
    let odd = own.sign("text\n\nmore\n");
    assert_eq!(own.verifier().open(&odd), Ok("text\n\nmore\n"));
}

#[test]
fn keys_go_through_their_text_and_wrong_ones_are_named() {
    let key = SigningKey::generate("log.example/a").expect("a key");
    let text = key.secret_text().expect("text");
    let again = SigningKey::parse(&text).expect("the same key");
    assert_eq!(again.verifier(), key.verifier());
    // After `PRIVATE+KEY+name+id+`; in base64, the rest may have a '+' as well.
    assert!(!format!("{key:?}").contains(text.splitn(5, '+').last().expect("seed")), "a secret in Debug");

    for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b"] {
        assert_eq!(SigningKey::generate(name).err(), Some(KeyError::Name(name.to_owned())), "{name:?}");
    }
    let cases = [
        ("", KeyError::Form),
        ("a+530d903a", KeyError::Form),
        ("a+530d903a+!", KeyError::Form),
        ("a+530d903a+AQ==", KeyError::Form),
        ("a+530d903a+BukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Type),
        (
            "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            KeyError::Id { found: "530d903b".to_owned(), expected: "530d903a".to_owned() },
        ),
    ];
    for (text, error) in cases {
        assert_eq!(text.parse::<VerifierKey>(), Err(error), "{text}");
    }
    assert_eq!(SigningKey::parse(KEY).err(), Some(KeyError::Form), "a public key is no private key");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "(\\PC|\n){0,200}") {
        let key: VerifierKey = KEY.parse().expect("a key");
        prop_assert!(key.open(&text).is_err());
        let _ = text.parse::<VerifierKey>();
        let _ = SigningKey::parse(&text);
    }
}
