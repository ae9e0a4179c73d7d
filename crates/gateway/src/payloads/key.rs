//! A key in memory: what is sealed under it, and to which record.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vidimus_core::keep::{KeptPayload, MAX_KEPT, PayloadOf};

use super::PayloadKeyError;
use super::file::{BLOCK, KeyFile};

/// How many payloads one call may have: what it says, and what it is answered.
const OF_A_CALL: u32 = 2;

/// Where a payload is kept: it is opened for this record and for no other.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The name of the log.
    pub origin: &'a str,
    /// The id of the call.
    pub call: &'a str,
    /// Which of its payloads.
    pub of: PayloadOf,
}

/// What was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plain {
    /// The payload.
    Whole(Vec<u8>),
    /// Of one that was too long: its SHA-256.
    Digest([u8; 32]),
}

/// The key of one person, until it is wiped.
pub(crate) struct PersonKey {
    id: String,
    until: SystemTime,
    state: Mutex<State>,
}

struct State {
    /// `None` once it was destroyed.
    key: Option<LessSafeKey>,
    /// How many payloads are marked in its file, and nobody has the right to seal.
    left: u32,
}

impl fmt::Debug for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersonKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PersonKey {
    /// # Errors
    /// When the cipher refuses the key, which has a fixed length.
    pub(super) fn of(file: KeyFile) -> Result<Self, PayloadKeyError> {
        let key = UnboundKey::new(&AES_256_GCM, &*file.secret).map_err(|_| PayloadKeyError::Random)?;
        let state = State { key: Some(LessSafeKey::new(key)), left: BLOCK };
        Ok(Self { until: file.until(), id: file.id, state: Mutex::new(state) })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to seal the payloads of one call; `None` where another key has to be taken, or more be marked.
    pub(super) fn lease(self: &Arc<Self>, now: SystemTime) -> Option<Lease> {
        let mut state = self.state();
        state.key.as_ref().filter(|_| now <= self.until)?;
        state.left = state.left.checked_sub(OF_A_CALL)?;
        Some(Lease(self.clone()))
    }

    /// Destroys it in memory, for whoever has it. The library overwrites what it frees.
    pub(super) fn wipe(&self) {
        self.state().key = None;
    }

    fn seal(&self, place: Place<'_>, (bytes, too_long): (u64, bool), plain: &[u8]) -> Option<KeptPayload> {
        let mut nonce = [0_u8; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let aad = Aad::from(self.context(place, bytes, too_long));
        let state = self.state();
        let Some(key) = &state.key else { return Some(KeptPayload::unkept("shredded")) };
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        drop(state);
        let sealed = STANDARD.encode([nonce.as_slice(), sealed.as_slice()].concat());
        Some(KeptPayload { bytes, key: Some(self.id.clone()), sealed: Some(sealed), too_long, unkept: None })
    }

    /// What was sealed; `None` where it was not sealed so.
    pub(super) fn open(
        &self,
        place: Place<'_>,
        (bytes, too_long): (u64, bool),
        sealed: &str,
    ) -> Option<Plain> {
        // Before anything is decoded that nobody here sealed.
        if sealed.len() > vidimus_core::keep::MAX_KEPT_RECORD {
            return None;
        }
        let mut sealed = STANDARD.decode(sealed).ok()?;
        let (nonce, rest) = sealed.split_first_chunk_mut::<NONCE_LEN>()?;
        let aad = Aad::from(self.context(place, bytes, too_long));
        let state = self.state();
        let plain =
            state.key.as_ref()?.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, rest).ok()?;
        match too_long {
            true => Some(Plain::Digest((&*plain).try_into().ok()?)),
            false => Some(Plain::Whole(plain.to_vec())),
        }
    }

    /// What a payload is sealed with: another log, call, side, key or length is another payload. None of these has an end of line in it.
    fn context(&self, Place { origin, call, of }: Place<'_>, bytes: u64, too_long: bool) -> Vec<u8> {
        format!("vidimus payload 1\n{origin}\n{call}\n{of}\n{}\n{bytes}\n{too_long}", self.id).into_bytes()
    }
}

/// The right to seal what one call says, and what it is answered, once each.
#[derive(Debug)]
pub(crate) struct Lease(Arc<PersonKey>);

impl Lease {
    /// A payload, sealed to its place. What is longer than [`MAX_KEPT`] is not taken.
    pub(crate) fn seal(&self, place: Place<'_>, plain: &[u8]) -> KeptPayload {
        let sealed =
            (plain.len() <= MAX_KEPT).then(|| self.0.seal(place, (plain.len() as u64, false), plain));
        sealed.flatten().unwrap_or_else(|| KeptPayload::unkept("failed"))
    }

    /// The digest of one that is too long, and its length.
    pub(crate) fn seal_digest(&self, place: Place<'_>, digest: &[u8], bytes: u64) -> KeptPayload {
        let sealed = self.0.seal(place, (bytes, true), digest);
        sealed.unwrap_or_else(|| KeptPayload::unkept("failed"))
    }

    /// Whether the key was destroyed meanwhile.
    pub(crate) fn is_void(&self) -> bool {
        self.0.state().key.is_none()
    }
}
