use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, ML_DSA_44_SIGNING, PqdsaKeyPair};

use super::*;
use crate::note::SigningKey;

/// The example of C2SP tlog-cosignature, whose lines' keys are not published, and of tlog-checkpoint.
const TEXT: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

/// Made by Python's `cryptography`, with a seed of 32 bytes of 7.
const SEVEN: &str = "witness.example/w1+aa4a09d1+BOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
const COSIGNED_BY_PYTHON: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— witness.example/w1 qkoJ0QAAAABkGFDLWr4Jea05CAgwNVtwky0Jgz6WfX0QJgM//FkB/W9BoT9TX0DkTxG+2cT4p/ViKNhUM/SnUwFcYQzugGFQ15LwDw==\n";

/// A witness that signs what it is told to.
enum Signer {
    Ed25519(Ed25519KeyPair),
    MlDsa44(PqdsaKeyPair),
}

impl Signer {
    fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().expect("a key"))
    }

    fn ml_dsa_44() -> Self {
        Self::MlDsa44(PqdsaKeyPair::generate(&ML_DSA_44_SIGNING).expect("a key"))
    }

    fn key(&self, name: &str) -> WitnessKey {
        let public = match self {
            Self::Ed25519(pair) => Public::Ed25519(pair.public_key().as_ref().try_into().expect("32 bytes")),
            Self::MlDsa44(pair) => Public::MlDsa44(pair.public_key().as_ref().into()),
        };
        WitnessKey { name: name.to_owned(), public }
    }

    /// A line over `message`, said to be of `time`.
    fn line(&self, name: &str, time: u64, message: &[u8]) -> String {
        let signature = match self {
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::MlDsa44(pair) => {
                let mut signature = vec![0; ML_DSA_44_SIGNING.signature_len()];
                pair.sign(message, &mut signature).expect("signed");
                signature
            }
        };
        let id = self.key(name).id();
        format!("— {name} {}\n", STANDARD.encode([&id[..], &time.to_be_bytes(), &signature].concat()))
    }

    fn cosign(&self, name: &str, time: u64, text: &str) -> String {
        let key = self.key(name);
        let message = match self {
            Self::Ed25519(_) => format!("cosignature/v1\ntime {time}\n{text}").into_bytes(),
            Self::MlDsa44(_) => key.subtree(text, time).expect("a checkpoint"),
        };
        self.line(name, time, &message)
    }
}

fn note(lines: &[&str]) -> String {
    let log = SigningKey::generate("example.com/behind-the-sofa").expect("a key");
    log.sign(TEXT) + &lines.concat()
}

#[test]
fn what_a_witness_signed_is_its_own_and_of_its_time() {
    for (signer, kind) in [(Signer::ed25519(), 4), (Signer::ml_dsa_44(), 6)] {
        let key = signer.key("witness.example/w1");
        assert_eq!(key.bytes().0, kind);
        assert_eq!(key.to_string().parse::<WitnessKey>(), Ok(key.clone()));
        let line = signer.cosign("witness.example/w1", 1_679_315_147, TEXT);
        let cosigned = key.cosigned(&note(&[&line])).expect("right").expect("there");
        assert_eq!((cosigned.witness.as_str(), cosigned.time), ("witness.example/w1", 1_679_315_147));
        assert_eq!(format!("{}\n", cosigned.line), line);
        assert_eq!(key.cosigned(&note(&[])), Ok(None));
        // Of another name, or another key of this name: nobody who was asked for.
        assert_eq!(signer.key("witness.example/w2").cosigned(&note(&[&line])), Ok(None));
        assert_eq!(Signer::ed25519().key("witness.example/w1").cosigned(&note(&[&line])), Ok(None));
        for (time, text) in [
            (0, TEXT),
            (1 << 63, TEXT),
            (7, "example.com/behind-the-sofa\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"),
        ] {
            let wrong = signer.cosign("witness.example/w1", time, text);
            assert!(key.cosigned(&note(&[&wrong])).is_err(), "{time} {text}");
        }
    }
}

#[test]
fn no_byte_of_a_cosignature_can_be_changed() {
    for signer in [Signer::ed25519(), Signer::ml_dsa_44()] {
        let key = signer.key("w");
        let line = signer.cosign("w", 1_679_315_147, TEXT);
        let bytes = STANDARD.decode(line.trim_end().rsplit_once(' ').expect("a line").1).expect("base64");
        let step = if bytes.len() > 100 { 37 } else { 1 };
        for at in (0..bytes.len()).step_by(step) {
            let mut bent = bytes.clone();
            bent[at] ^= 0x10;
            let bent = note(&[&format!("— w {}\n", STANDARD.encode(&bent))]);
            // With another id it is of somebody else.
            assert!(key.cosigned(&bent).is_err() == (at >= 4), "byte {at}");
            assert!(!matches!(key.cosigned(&bent), Ok(Some(_))), "byte {at}");
        }
    }
}

/// The structure as C2SP tlog-cosignature writes it down, put together by hand.
#[test]
fn what_ml_dsa_signs_has_the_form_of_the_page() {
    let key = Signer::ml_dsa_44().key("w.example/1");
    let root = STANDARD.decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=").expect("base64");
    let mut expected =
        b"subtree/v1\n\0\x0bw.example/1\0\0\0\0\0\0\0\x09\x1bexample.com/behind-the-sofa".to_vec();
    expected.extend([0; 8]);
    expected.extend(20_852_163_u64.to_be_bytes());
    expected.extend(root);
    assert_eq!(key.subtree(TEXT, 9), Some(expected));
    // What it does not sign may not be there.
    assert_eq!(key.subtree(&format!("{TEXT}more\n"), 9), None);
    assert_eq!(key.subtree(&TEXT.replace('\n', "\r\n"), 9), None);
}

#[test]
fn a_key_that_is_none_of_a_witness_is_named_and_one_given_twice_counts_once() {
    let signer = Signer::ed25519();
    let (key, log) = (signer.key("w"), SigningKey::generate("log.example/a").expect("a key"));
    assert_eq!(log.verifier().to_string().parse::<WitnessKey>(), Err(KeyError::NotAWitness));
    assert!(key.to_string().parse::<VerifierKey>().is_err_and(|error| error == KeyError::Type));
    // Base64 may have a plus, too.
    let text = key.to_string();
    let (name_and_id, encoded) = text.split_at(text.match_indices('+').nth(1).expect("a key").0);
    assert!(matches!(format!("w+00000000{encoded}").parse::<WitnessKey>(), Err(KeyError::Id { .. })));
    let short = STANDARD.encode([&[6][..], &[0; 32]].concat());
    assert_eq!(format!("{name_and_id}+{short}").parse::<WitnessKey>(), Err(KeyError::Form));

    let other = Signer::ed25519().key("v");
    let all = Witnesses::new([key.clone(), key.clone(), signer.key("alias"), other.clone()], None);
    assert_eq!((all.keys(), all.quorum()), (&[key, other][..], 2));
    let alias = signer.cosign("alias", 1, TEXT);
    let own = signer.cosign("w", 1, TEXT);
    assert_eq!(all.cosigned(&note(&[&own, &alias])).map(|all| all.len()), Ok(1));
    assert_eq!(Witnesses::new([], None).cosigned(&note(&[&own])), Ok(Vec::new()));
}

#[test]
fn a_seed_makes_the_key_that_python_makes_of_it() {
    // `cryptography.hazmat.primitives.asymmetric.ed25519`, of 32 bytes of 7.
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    assert!(pair.seed().and_then(|seed| seed.as_be_bytes()).is_ok());
    let key = Signer::Ed25519(pair).key("witness.example/w1");
    assert_eq!(key.to_string(), SEVEN);
    let cosigned = key.cosigned(COSIGNED_BY_PYTHON).expect("right").expect("there");
    assert_eq!(cosigned.time, 1_679_315_147);
    let pq: WitnessKey = include_str!("tests/ml-dsa-44.vkey").trim_end().parse().expect("a key");
    let cosigned = pq.cosigned(include_str!("tests/ml-dsa-44.note")).expect("right").expect("there");
    assert_eq!((cosigned.witness.as_str(), cosigned.time), ("witness.example/pq", 1_679_315_147));
}
