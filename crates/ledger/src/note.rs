//! Signed notes with Ed25519 (C2SP signed-note), and the keys for them. The keys of witnesses are in [`crate::cosignature`].

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::seal::SealKey;

/// The signature type of Ed25519 (C2SP signed-note, "Signature types").
const ED25519_TYPE: u8 = 0x01;

/// A note is a few hundred bytes; sixteen post-quantum signatures are 80 kB (C2SP signed-note, "Format").
const MAX_NOTE: usize = 128 * 1024;

/// Why a key's text is not a key of this log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key is not of the form name+id+base64")]
    Form,
    #[error("the name '{0}' is empty or contains a space, a control character or '+'")]
    Name(String),
    #[error("the key is not an Ed25519 key")]
    Type,
    /// Another type than the log's, so that nobody takes a log's key for a witness's.
    #[error("the key is not one of a witness, which is of type 4 (Ed25519) or 6 (ML-DSA-44)")]
    NotAWitness,
    #[error("the key id is {found} but the key's own is {expected}")]
    Id { found: String, expected: String },
    #[error("the key was not accepted")]
    Rejected,
}

/// Why a note is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("not a signed note: {0}")]
    Form(&'static str),
    #[error("no signature of key {0}")]
    Unsigned(String),
    #[error("the signature of key {0} is wrong")]
    Signature(String),
}

/// A public key, in text a C2SP vkey: `name+hex(id)+base64(0x01 || key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

impl VerifierKey {
    /// The name of the signer, which is the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        id(&self.name, ED25519_TYPE, &self.public)
    }

    /// The text of `note`, if this key signed it. Signatures of other keys are ignored, as the format demands.
    ///
    /// # Errors
    /// See [`NoteError`].
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, lines) = text_and_signatures(note)?;
        let mut signed = false;
        for line in lines.split('\n') {
            signed |= self.signed(text, line)?;
        }
        if signed { Ok(text) } else { Err(NoteError::Unsigned(self.to_string())) }
    }

    /// Whether a signature line is this key's and right.
    fn signed(&self, text: &str, line: &str) -> Result<bool, NoteError> {
        let line = Line::parse(line)?;
        if line.name != self.name || line.id != self.id() {
            return Ok(false);
        }
        UnparsedPublicKey::new(&ED25519, self.public)
            .verify(text.as_bytes(), &line.signature)
            .map_err(|_| NoteError::Signature(self.to_string()))?;
        Ok(true)
    }
}

/// A signature line of a note.
pub(crate) struct Line<'a> {
    /// The name of the key.
    pub(crate) name: &'a str,
    /// The key's id.
    pub(crate) id: [u8; 4],
    /// What follows: the signature, in the form of the key's type.
    pub(crate) signature: Vec<u8>,
}

impl<'a> Line<'a> {
    pub(crate) fn parse(line: &'a str) -> Result<Self, NoteError> {
        let malformed = || NoteError::Form("malformed signature line");
        let named = line.strip_prefix("— ").and_then(|rest| rest.split_once(' '));
        let (name, encoded) = named.ok_or_else(malformed)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| malformed())?;
        let (id, signature) = bytes.split_first_chunk::<4>().ok_or_else(malformed)?;
        Ok(Self { name, id: *id, signature: signature.to_vec() })
    }
}

/// The id of a key: the first four bytes of SHA-256 over name, newline, type and key.
pub(crate) fn id(name: &str, kind: u8, public: &[u8]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', kind]).chain_update(public).finalize();
    hash.first_chunk().copied().unwrap_or_default()
}

/// The text of a note, and the lines of its signatures.
pub(crate) fn text_and_signatures(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > MAX_NOTE {
        return Err(NoteError::Form("too long"));
    }
    if note.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NoteError::Form("control character"));
    }
    let (text, signatures) =
        note.rsplit_once("\n\n").ok_or(NoteError::Form("no blank line before signatures"))?;
    let text = note.get(..text.len() + 1).unwrap_or(text);
    let lines = signatures.strip_suffix('\n').ok_or(NoteError::Form("no newline at the end"))?;
    Ok((text, lines))
}

/// The names of who signed a note beside `key`, whoever they are.
pub(crate) fn others(note: &str, key: &VerifierKey) -> Vec<String> {
    let lines = text_and_signatures(note).map_or("", |(_, lines)| lines);
    let signers = lines.split('\n').filter_map(|line| Line::parse(line).ok());
    signers
        .filter(|line| line.name != key.name || line.id != key.id())
        .map(|line| line.name.to_owned())
        .collect()
}

/// The text of a note, whoever signed it.
pub(crate) fn text(note: &str) -> Result<&str, NoteError> {
    text_and_signatures(note).map(|(text, _)| text)
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519_TYPE], self.public.as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode(&self.id()), STANDARD.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let Parts { name, id, kind, key } = Parts::of(text)?;
        let key = Self { name, public: ed25519(kind, &key)? };
        checked(id, key.id())?;
        Ok(key)
    }
}

/// A private key. Its text is the form of Go's `sumdb/note`: `PRIVATE+KEY+name+hex(id)+base64(0x01 || seed)`.
pub(crate) struct SigningKey {
    key: Ed25519KeyPair,
    verifier: VerifierKey,
}

const PRIVATE: &str = "PRIVATE+KEY+";

impl SigningKey {
    /// A new key for a log named `name`.
    pub(crate) fn generate(name: &str) -> Result<Self, KeyError> {
        checked_name(name)?;
        let key = Ed25519KeyPair::generate().map_err(|_| KeyError::Rejected)?;
        Self::new(name.to_owned(), key)
    }

    fn new(name: String, key: Ed25519KeyPair) -> Result<Self, KeyError> {
        let public = key.public_key().as_ref().try_into().map_err(|_| KeyError::Rejected)?;
        Ok(Self { key, verifier: VerifierKey { name, public } })
    }

    pub(crate) fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The key of the seals of this key's log.
    pub(crate) fn seal_key(&self) -> Result<SealKey, KeyError> {
        let seed = self.key.seed().and_then(|seed| seed.as_be_bytes()).map_err(|_| KeyError::Rejected)?;
        SealKey::derive(seed.as_ref())
    }

    /// The private key's text: a secret.
    pub(crate) fn secret_text(&self) -> Result<String, KeyError> {
        let seed = self.key.seed().and_then(|seed| seed.as_be_bytes()).map_err(|_| KeyError::Rejected)?;
        let key = [&[ED25519_TYPE], seed.as_ref()].concat();
        let VerifierKey { name, .. } = &self.verifier;
        Ok(format!("{PRIVATE}{name}+{}+{}", HEXLOWER.encode(&self.verifier.id()), STANDARD.encode(key)))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, KeyError> {
        let Parts { name, id, kind, key } = Parts::of(text.strip_prefix(PRIVATE).ok_or(KeyError::Form)?)?;
        let key = Ed25519KeyPair::from_seed_unchecked(&ed25519(kind, &key)?);
        let key = Self::new(name, key.map_err(|_| KeyError::Rejected)?)?;
        checked(id, key.verifier.id())?;
        Ok(key)
    }

    /// Signs `text`, which ends in a newline, into a note.
    pub(crate) fn sign(&self, text: &str) -> String {
        let signature = [self.verifier.id().as_slice(), self.key.sign(text.as_bytes()).as_ref()].concat();
        format!("{text}\n— {} {}\n", self.verifier.name, STANDARD.encode(signature))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("verifier", &self.verifier.to_string()).finish_non_exhaustive()
    }
}

/// The parts of `name+id+base64(type || key)`.
pub(crate) struct Parts<'a> {
    pub(crate) name: String,
    pub(crate) id: &'a str,
    pub(crate) kind: u8,
    pub(crate) key: Vec<u8>,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(text: &'a str) -> Result<Self, KeyError> {
        // The base64 part may itself contain '+', the name may not.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form);
        };
        checked_name(name)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| KeyError::Form)?;
        let (kind, key) = bytes.split_first().ok_or(KeyError::Type)?;
        Ok(Self { name: name.to_owned(), id, kind: *kind, key: key.to_vec() })
    }
}

/// The 32 bytes of a key of the log's type.
fn ed25519(kind: u8, key: &[u8]) -> Result<[u8; 32], KeyError> {
    if kind == ED25519_TYPE { key.try_into().map_err(|_| KeyError::Form) } else { Err(KeyError::Type) }
}

/// Whether a key's text has the key's own id.
pub(crate) fn checked(id: &str, own: [u8; 4]) -> Result<(), KeyError> {
    let expected = HEXLOWER.encode(&own);
    if id == expected { Ok(()) } else { Err(KeyError::Id { found: id.to_owned(), expected }) }
}

/// A name in notes: not empty, no space, no '+' (C2SP signed-note, "Format").
pub(crate) fn checked_name(name: &str) -> Result<(), KeyError> {
    let bad = name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+');
    if bad { Err(KeyError::Name(name.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
