//! Ids that upstreams give out (of sessions, tasks, contexts, events, pages), sealed: the upstream's own id never opens anything here, and
//! a sealed one is good only for who got it.
//!
//! A seal holds no state, so any replica with the key opens what another sealed, also after a restart. It is deterministic, because
//! clients compare ids: one id of one upstream has one sealed form for one holder. AES-GCM-SIV (RFC 8452) is made for that; it
//! tells of two sealed ids that they are the same, and nothing else.
//!
//! Where gateways share keys (ADR 67) there may be several: one seals, all open. A rotation gives an id another form; the former
//! one stays good for as long as its key is there.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hkdf;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vidimus_core::call::Destination;
use vidimus_core::caller::{Caller, User};
use vidimus_identity::SealingKeys;

use crate::part::Part;

/// Length of the sealing key in bytes.
pub const KEY_LENGTH: usize = 32;

/// The longest id of an upstream's that is sealed, in bytes; a longer one stays as it is, and opens nothing.
pub const MAX_ID: usize = 1_024;

/// The longest token of a page that is sealed, in bytes.
pub const MAX_PAGE: usize = 3_072;

/// The longest sealed id that is looked at, in bytes: a part's name of 2,048, an id, and what sealing adds.
pub const MAX_SEALED: usize = 4_608;

/// The longest sealed address for news that is looked at, in bytes.
pub const MAX_NEWS: usize = 16_384;

/// What the key is derived for.
const PURPOSE: [&[u8]; 1] = [b"vidimus ids"];

/// What an id is of. One that was sealed as one kind does not open as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A session of the handshake eras of MCP.
    Session,
    /// The same, of a client that said at its beginning that it leads its user to addresses.
    ElicitingSession,
    /// An event of a stream, after which it may be resumed.
    Event,
    /// A task.
    Task,
    /// A context of an agent's, which the agent named.
    Context,
    /// A context of an agent's, which the caller named: sealed on its way to the agent, so that no two callers name the same.
    ChosenContext,
    /// The next page of a list of tasks, which may say where in all tasks it begins.
    Page,
    /// An approval that a call of the caller's waits for.
    Approval,
    /// Where news of a task go on to, and for whom: sealed to the agent that sends them.
    News,
}

/// The keys that seal and open. Clones have the same ones, also later.
#[derive(Clone)]
pub struct Seal(Arc<ArcSwap<Keys>>);

/// The keys of one time.
struct Keys {
    current: LessSafeKey,
    /// What seals the names that callers choose, where it is not the current one: an agent goes on by the sealed name, so it stays the same for as
    /// long as it can.
    oldest: Option<LessSafeKey>,
    /// They open too.
    others: Vec<LessSafeKey>,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// The cipher failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id could not be sealed")]
pub struct SealFailed;

/// What was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What the call was about that the upstream gave the id to.
    pub part: Part,
    /// The upstream's own id.
    pub id: String,
}

/// To whom ids are sealed: one principal, acting for one person or nobody, at one registered object.
pub fn binding(destination: &Destination, caller: &Caller) -> String {
    let user = caller.proven.user.as_ref().map(User::id).unwrap_or_default();
    format!("{}|{}|{user}", destination.id(), caller.proven.principal.entity())
}

impl Seal {
    /// # Errors
    /// When the cipher refuses the key, which has a fixed length.
    pub fn new(key: &[u8; KEY_LENGTH]) -> Result<Self, SealFailed> {
        let keys = Keys { current: derived(key)?, oldest: None, others: Vec::new() };
        Ok(Self(Arc::new(ArcSwap::from_pointee(keys))))
    }

    /// With keys that gateways share.
    ///
    /// # Errors
    /// As of [`Seal::new`].
    pub fn shared(keys: &SealingKeys) -> Result<Self, SealFailed> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(Keys::of(keys)?))))
    }

    /// Goes on with these. What was sealed with one that is gone opens no more.
    ///
    /// # Errors
    /// As of [`Seal::new`]; the present keys then stay.
    pub fn take(&self, keys: &SealingKeys) -> Result<(), SealFailed> {
        self.0.store(Arc::new(Keys::of(keys)?));
        Ok(())
    }

    /// Seals an upstream's id to `binding`. `part` is what the call was about that it was given to.
    ///
    /// # Errors
    /// When the cipher fails, or the part's name has more than 65,535 bytes.
    pub fn seal(&self, kind: Kind, binding: &str, part: &Part, id: &str) -> Result<String, SealFailed> {
        let (letter, name) = part.encoded();
        let length = u16::try_from(name.len()).map_err(|_| SealFailed)?;
        let mut sealed = Vec::with_capacity(3 + name.len() + id.len() + AES_256_GCM_SIV.tag_len());
        sealed.push(letter);
        sealed.extend_from_slice(&length.to_be_bytes());
        sealed.extend_from_slice(name.as_bytes());
        sealed.extend_from_slice(id.as_bytes());
        let (nonce, aad) = context(kind, binding);
        let keys = self.0.load();
        let key = match kind {
            Kind::ChosenContext => keys.oldest.as_ref().unwrap_or(&keys.current),
            _ => &keys.current,
        };
        key.seal_in_place_append_tag(nonce, aad, &mut sealed).map_err(|_| SealFailed)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What was sealed, if it was sealed here as this kind, to `binding`.
    pub fn open(&self, kind: Kind, binding: &str, sealed: &str) -> Option<Opened> {
        let most = if kind == Kind::News { MAX_NEWS } else { MAX_SEALED };
        if sealed.len() > most {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let keys = self.0.load();
        let opened = std::iter::once(&keys.current)
            .chain(&keys.others)
            .find_map(|key| opened(key, kind, binding, bytes.clone()))?;
        let ([letter, high, low], rest) = opened.split_first_chunk::<3>()?;
        let (name, id) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        let part = Part::decoded(*letter, std::str::from_utf8(name).ok()?)?;
        Some(Opened { part, id: std::str::from_utf8(id).ok()?.to_owned() })
    }
}

impl Keys {
    fn of(keys: &SealingKeys) -> Result<Self, SealFailed> {
        Ok(Self {
            current: derived(&keys.current)?,
            oldest: (keys.oldest != keys.current).then(|| derived(&keys.oldest)).transpose()?,
            others: keys.others.iter().map(derived).collect::<Result<_, _>>()?,
        })
    }
}

fn derived(key: &[u8; KEY_LENGTH]) -> Result<LessSafeKey, SealFailed> {
    // The key in the file sealed sessions by another cipher once; a key serves one cipher only.
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(key);
    let key = secret.expand(&PURPOSE, &AES_256_GCM_SIV).map_err(|_| SealFailed)?;
    Ok(LessSafeKey::new(UnboundKey::from(key)))
}

/// What opens with this key. It takes a copy: a key that does not fit leaves nothing of what it tried.
fn opened(key: &LessSafeKey, kind: Kind, binding: &str, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let (nonce, aad) = context(kind, binding);
    let length = key.open_in_place(nonce, aad, &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

/// What an id is sealed under: nonce and additional data, both from the kind and the binding alone.
fn context(kind: Kind, binding: &str) -> (Nonce, Aad<Vec<u8>>) {
    let kind = match kind {
        Kind::Session => b'S',
        Kind::ElicitingSession => b's',
        Kind::Event => b'E',
        Kind::Task => b'T',
        Kind::Context => b'C',
        Kind::ChosenContext => b'c',
        Kind::Page => b'P',
        Kind::Approval => b'A',
        Kind::News => b'N',
    };
    let aad = [&[kind], binding.as_bytes()].concat();
    let hash = digest::digest(&SHA256, &aad);
    let mut nonce = [0; NONCE_LEN];
    nonce.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    (Nonce::assume_unique_for_key(nonce), Aad::from(aad))
}

/// Who sends a message, as the holder of sealed ids in it.
pub struct Holder<'a> {
    seal: &'a Seal,
    destination: &'a Destination,
    caller: &'a Caller,
    binding: OnceLock<String>,
    decisive: OnceLock<Opened>,
    /// Ids of sessions are the upstream's own: nobody here saw the answer that gave them out.
    raw_sessions: bool,
}

impl fmt::Debug for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("destination", self.destination.id()).finish_non_exhaustive()
    }
}

impl<'a> Holder<'a> {
    pub fn new(seal: &'a Seal, destination: &'a Destination, caller: &'a Caller) -> Self {
        Self {
            seal,
            destination,
            caller,
            binding: OnceLock::new(),
            decisive: OnceLock::new(),
            raw_sessions: false,
        }
    }

    /// Takes the ids of sessions as they are, where `raw` says so.
    #[must_use]
    pub fn with_raw_sessions(mut self, raw: bool) -> Self {
        self.raw_sessions = raw;
        self
    }

    fn binding(&self) -> &str {
        self.binding.get_or_init(|| binding(self.destination, self.caller))
    }

    /// What was sealed to this holder.
    pub fn open(&self, kind: Kind, sealed: &str) -> Option<Opened> {
        if self.raw_sessions && kind == Kind::Session && sealed.len() <= MAX_ID {
            return Some(Opened { part: Part::Whole, id: sealed.to_owned() });
        }
        self.seal.open(kind, self.binding(), sealed)
    }

    /// As [`Holder::open`], of the one id in a message by which the message is decided. It is kept with the holder.
    pub fn decisive(&self, kind: Kind, sealed: &str) -> Option<&Opened> {
        let opened = self.open(kind, sealed)?;
        self.decisive.set(opened).ok()?;
        self.decisive.get()
    }

    /// An id of the caller's own choice, which no other caller can name.
    ///
    /// # Errors
    /// When the cipher fails.
    pub fn chosen(&self, kind: Kind, id: &str) -> Result<String, SealFailed> {
        self.sealed(kind, &Part::Whole, id)
    }

    /// What this holder gets for an id.
    ///
    /// # Errors
    /// As [`Seal::seal`].
    pub fn sealed(&self, kind: Kind, part: &Part, id: &str) -> Result<String, SealFailed> {
        self.seal.seal(kind, self.binding(), part, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 9] = [
        Kind::Session,
        Kind::ElicitingSession,
        Kind::Event,
        Kind::Task,
        Kind::Context,
        Kind::ChosenContext,
        Kind::Page,
        Kind::Approval,
        Kind::News,
    ];
    const HOLDER: &str = "MCPServer/f/ledger|Agent/f/a|https://i#alice";

    fn seal(key: u8) -> Seal {
        Seal::new(&[key; KEY_LENGTH]).expect("a key")
    }

    #[test]
    fn an_id_is_good_for_its_holder_as_its_kind_only() {
        let tool = Part::Tool("pay".into());
        for kind in KINDS {
            let id = seal(7).seal(kind, HOLDER, &tool, "upstream-1").expect("sealed");
            let opened = Opened { part: tool.clone(), id: "upstream-1".to_owned() };
            assert_eq!(seal(7).open(kind, HOLDER, &id), Some(opened), "{kind:?}");
            assert_eq!(seal(8).open(kind, HOLDER, &id), None, "another key");
            for other in [
                "MCPServer/f/ledger|Agent/f/b|https://i#alice",
                "MCPServer/f/ledger|Agent/f/a|https://i#bob",
                "MCPServer/f/ledger|Agent/f/a|",
                "MCPServer/f/other|Agent/f/a|https://i#alice",
            ] {
                assert_eq!(seal(7).open(kind, other, &id), None, "{other}");
            }
            for other in KINDS.into_iter().filter(|other| *other != kind) {
                assert_eq!(seal(7).open(other, HOLDER, &id), None, "{kind:?} as {other:?}");
            }
            let cut = id.get(1..).expect("ASCII");
            for forged in ["", "upstream-1", "AAAA", cut, &format!("{id}A"), &"A".repeat(MAX_SEALED + 4)] {
                assert_eq!(seal(7).open(kind, HOLDER, forged), None, "{forged}");
            }
        }
    }

    #[test]
    fn one_id_has_one_sealed_form_which_says_nothing_of_it() {
        let sealed = |part: &Part, id: &str| seal(7).seal(Kind::Task, HOLDER, part, id).expect("sealed");
        let tool = Part::Tool("pay".into());
        assert_eq!(sealed(&tool, "1"), sealed(&tool, "1"));
        assert_ne!(sealed(&tool, "1"), sealed(&tool, "2"));
        assert_ne!(sealed(&tool, "1"), sealed(&Part::Skill("pay".into()), "1"));
        assert_ne!(sealed(&Part::Tool("pa".into()), "y1"), sealed(&tool, "1"), "name and id are apart");
        let id = sealed(&tool, "upstream-1");
        assert!(!id.contains("upstream") && !id.contains("pay") && id.is_ascii());
    }

    fn shared(current: u8, oldest: u8, others: &[u8]) -> SealingKeys {
        let key = |number: u8| [number; KEY_LENGTH];
        let others = others.iter().copied().map(key).collect();
        SealingKeys { current: key(current), oldest: key(oldest), others }
    }

    /// As a key is added, used, and dropped, at two gateways that do not do so at once.
    #[test]
    fn what_one_gateway_sealed_another_opens_while_keys_follow_each_other() {
        let one = Seal::shared(&shared(1, 1, &[2])).expect("keys");
        let other = one.clone();
        let late = Seal::shared(&shared(1, 1, &[2])).expect("keys");
        let sealed = |seal: &Seal, kind| seal.seal(kind, HOLDER, &Part::Whole, "1").expect("sealed");
        let opens = |seal: &Seal, kind, id: &str| seal.open(kind, HOLDER, id).is_some();
        let (before, named) = (sealed(&one, Kind::Task), sealed(&one, Kind::ChosenContext));
        assert_eq!(before, sealed(&seal(1), Kind::Task), "the key that is accepted only does not seal");
        one.take(&shared(2, 1, &[1])).expect("keys");
        let after = sealed(&other, Kind::Task);
        assert_eq!(after, sealed(&seal(2), Kind::Task), "clones have the same keys, also later");
        assert_ne!(before, after);
        assert_eq!(named, sealed(&one, Kind::ChosenContext), "the agent goes on by the same name");
        for seal in [&one, &late] {
            assert!(opens(seal, Kind::Task, &before) && opens(seal, Kind::Task, &after));
            assert!(opens(seal, Kind::ChosenContext, &named) && !opens(seal, Kind::Session, &after));
        }
        one.take(&shared(2, 2, &[])).expect("keys");
        assert!(!opens(&one, Kind::Task, &before) && !opens(&one, Kind::ChosenContext, &named), "dropped");
        assert!(opens(&one, Kind::Task, &after));
        assert_ne!(named, sealed(&one, Kind::ChosenContext));
    }

    #[test]
    fn the_longest_names_and_ids_open_again() {
        for (name, id) in [(0, 0), (2_048, MAX_ID), (0, MAX_ID), (256, 36)] {
            let part = Part::Resource("é".repeat(name / 2).into());
            let id = "x".repeat(id);
            let sealed = seal(7).seal(Kind::Event, HOLDER, &part, &id).expect("sealed");
            assert!(sealed.len() <= MAX_SEALED, "{}", sealed.len());
            assert_eq!(seal(7).open(Kind::Event, HOLDER, &sealed), Some(Opened { part, id }));
        }
        let page = seal(7).seal(Kind::Page, HOLDER, &Part::Whole, &"x".repeat(MAX_PAGE)).expect("sealed");
        assert!(seal(7).open(Kind::Page, HOLDER, &page).is_some());
        let beyond = Part::Tool("x".repeat(65_536).into());
        assert_eq!(seal(7).seal(Kind::Task, HOLDER, &beyond, "1"), Err(SealFailed));
    }
}
