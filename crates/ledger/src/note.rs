//! Signed notes with Ed25519 (C2SP signed-note), and the keys for them. The keys of witnesses are in [`crate::cosignature`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
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
///
/// It may know the keys that it followed: each on a further line, as `vkey until N`, where N is the number of records of the last checkpoint
/// that such a key may have signed alone. Two keys are the same whatever they know.
#[derive(Clone, Debug)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
    former: Arc<[Former]>,
}

/// A key that another one followed.
#[derive(Clone, Debug)]
pub(crate) struct Former {
    public: [u8; 32],
    /// It may have signed alone for so many records.
    until: u64,
}

impl Former {
    pub(crate) fn new(key: &VerifierKey, until: u64) -> Self {
        Self { public: key.public, until }
    }
}

impl PartialEq for VerifierKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.public) == (&other.name, other.public)
    }
}

impl Eq for VerifierKey {}

impl VerifierKey {
    /// The same, which knows the keys that it followed.
    pub(crate) fn followed(self, former: Vec<Former>) -> Self {
        Self { former: former.into(), ..self }
    }

    /// Its text, and on a line each the keys that it followed, as [`VerifierKey::from_str`] takes them.
    pub fn with_former(&self) -> String {
        let former = self.former.iter().map(|Former { public, until }| {
            let key = Self { name: self.name.clone(), public: *public, former: Arc::default() };
            format!("\n{key} until {until}")
        });
        std::iter::once(self.to_string()).chain(former).collect()
    }

    /// Whether this key followed another.
    pub fn follows(&self, other: &Self) -> bool {
        self.name == other.name && self.former.iter().any(|former| former.public == other.public)
    }

    /// The text of `note`, if a key that this one followed signed it, and of how many records that may be.
    pub(crate) fn open_former<'a>(&self, note: &'a str) -> Result<(&'a str, u64), NoteError> {
        for Former { public, until } in &*self.former {
            let key = Self { name: self.name.clone(), public: *public, former: Arc::default() };
            match key.open(note) {
                Err(NoteError::Unsigned(_)) => {}
                text => return Ok((text?, *until)),
            }
        }
        Err(NoteError::Unsigned(self.to_string()))
    }

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
        // Another key of the log's name is one that this followed, or that follows it.
        .filter(|line| line.name != key.name)
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
        let (newest, rest) =
            text.split_once('\n').map_or((text, None), |(newest, rest)| (newest, Some(rest)));
        let Parts { name, id, kind, key } = Parts::of(newest)?;
        let key = Self { name, public: ed25519(kind, &key)?, former: Arc::default() };
        checked(id, key.id())?;
        let mut former = Vec::new();
        for line in rest.into_iter().flat_map(|rest| rest.split('\n')) {
            let (older, until) = line.split_once(" until ").ok_or(KeyError::Form)?;
            let older: Self = older.parse()?;
            let until = crate::checkpoint::decimal(until).ok_or(KeyError::Form)?;
            if older.name != key.name {
                return Err(KeyError::Name(older.name));
            }
            former.push(Former::new(&older, until));
        }
        Ok(key.followed(former))
    }
}

/// A private key. Its text is the form of Go's `sumdb/note`: `PRIVATE+KEY+name+hex(id)+base64(0x01 || seed)`.
pub(crate) struct SigningKey {
    key: Ed25519KeyPair,
    verifier: VerifierKey,
    /// A key that this one followed, and until when it signs too.
    former: Option<(Box<SigningKey>, Timestamp)>,
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
        Ok(Self { key, verifier: VerifierKey { name, public, former: Arc::default() }, former: None })
    }

    /// The same, which knows the keys that it followed; the last of them signs too until a time.
    pub(crate) fn behind(self, verifier: VerifierKey, former: Option<(Self, Timestamp)>) -> Self {
        let former = former.map(|(key, until)| (Box::new(key), until));
        Self { verifier, former, ..self }
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
        let note = format!("{text}\n{}", self.line(text));
        match &self.former {
            Some((former, until)) if Timestamp::now() < *until => format!("{note}{}", former.line(text)),
            _ => note,
        }
    }

    /// A note of another key, with the signature of this one before its.
    pub(crate) fn sign_too(&self, note: &str) -> String {
        match note.rsplit_once("\n\n") {
            Some((text, lines)) => format!("{text}\n\n{}{lines}", self.line(&format!("{text}\n"))),
            None => note.to_owned(),
        }
    }

    fn line(&self, text: &str) -> String {
        let signature = [self.verifier.id().as_slice(), self.key.sign(text.as_bytes()).as_ref()].concat();
        format!("— {} {}\n", self.verifier.name, STANDARD.encode(signature))
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
