//! The credential of one hop: a JWT for exactly one destination and at most two minutes.
//!
//! It is minted from the permit of the call and from nothing else, so it names the destination, the caller, the user and the chain
//! that were decided on and recorded.
//!
//! `typ` is `at+jwt` (RFC 9068): it is an access token in the ordinary sense, and a resource server that follows RFC 9068 accepts
//! no other type. It carries what that profile requires (`iss`, `exp`, `aud`, `sub`, `client_id`, `iat`, `jti`). Confusion with
//! other tokens is excluded by the issuer, which signs no other token, and by `dst`, which the gateway requires. What else the key signs
//! stands beside its signature ([`Mint::sign`]), with another `typ`, and has no audience.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderValue;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use vidimus_core::call::Destination;
use vidimus_core::caller::{Chain, MAX_DEPTH, UnixMillis, User};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::permit::Permit;
use vidimus_core::resource::Identity;

use super::files::{self, KeyFileError};
use super::key::{self, Detached, SigningFailed};
use super::keys::Keys;
use super::replica_keys::{SharedKeys, SharedKeysError};
use crate::prove::keys::KeySet;
use crate::registration;

/// The maximum life of a hop's token.
pub const MAX_HOP_TTL: Duration = Duration::from_secs(120);
/// See the head of this file.
pub(crate) const TYPE: &str = "at+jwt";

/// What a token says of its hop.
#[derive(Clone, Copy, Debug)]
struct Hop<'a> {
    /// `aud`: the audience of the destination's endpoint.
    audience: &'a str,
    /// The registered object that receives the token.
    destination: &'a EntityId,
    /// By what it is registered: the token is good for it only as long as it is so.
    registered: &'a [Identity],
    caller: &'a EntityId,
    user: Option<&'a User>,
    /// The chain of this call; its actors acted before `caller`.
    chain: &'a Chain,
    now: UnixMillis,
    ttl: Duration,
}

/// A minted token.
#[derive(Clone, Debug)]
pub struct HopToken {
    /// `Bearer …` for the `Authorization` header, marked sensitive: `Debug` hides it and HPACK does not index it.
    pub header_value: HeaderValue,
    /// The token's id, 16 characters.
    pub jti: String,
}

/// Why a token was not minted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    #[error("{destination} has no endpoint, so no token can be meant for it")]
    NoEndpoint { destination: EntityId },
    #[error("a hop's token lives 1 to {} s, not {} ms", MAX_HOP_TTL.as_secs(), ttl.as_millis())]
    Ttl { ttl: Duration },
    #[error("the chain has {actors} actors, {MAX_DEPTH} at most can be named in a token")]
    ChainTooLong { actors: usize },
    #[error("{entity} cannot be an actor: only an Agent or a Service acts")]
    NotAnActor { entity: EntityId },
    #[error(transparent)]
    Signing(#[from] SigningFailed),
}

/// Mints tokens for hops, and publishes the keys by which others verify them.
#[derive(Debug)]
pub struct Mint {
    issuer: Arc<str>,
    /// Where one key follows another by itself; `None` where the keys are shared, and whoever shares them does that.
    directory: Option<PathBuf>,
    keys: ArcSwap<Keys>,
}

impl Mint {
    /// Opens the key in `directory` (generated on first use). `issuer` is the gateway's public URL, under which it serves
    /// [`Mint::jwks`].
    ///
    /// # Errors
    /// When the key cannot be read, made or used.
    pub fn open(directory: &Path, issuer: impl Into<Arc<str>>) -> Result<Self, KeyFileError> {
        files::directory(directory)?;
        let keys = ArcSwap::from_pointee(Keys::open(directory)?);
        Ok(Self { issuer: issuer.into(), directory: Some(directory.to_owned()), keys })
    }

    /// With the keys that several gateways share, of which each verifies what another minted. They change by [`Mint::take`] alone.
    ///
    /// # Errors
    /// When a key cannot be used.
    pub fn shared(
        keys: &SharedKeys,
        issuer: impl Into<Arc<str>>,
        now: UnixMillis,
    ) -> Result<Self, SharedKeysError> {
        let keys = ArcSwap::from_pointee(Self::of_shared(keys, now)?);
        Ok(Self { issuer: issuer.into(), directory: None, keys })
    }

    /// Goes on with these shared keys, as of `now`: of a time, or newly read. What was signed with one that is gone is refused from then on.
    ///
    /// # Errors
    /// When a key cannot be used; the present keys then stay.
    pub fn take(&self, keys: &SharedKeys, now: UnixMillis) -> Result<(), SharedKeysError> {
        self.turn_to(Self::of_shared(keys, now)?);
        Ok(())
    }

    fn of_shared(keys: &SharedKeys, now: UnixMillis) -> Result<Keys, SharedKeysError> {
        let (current, all) = keys.minting(now)?;
        Ok(Keys::shared(keys.place(), current, &all)?)
    }

    /// Whether the keys in `directory` can be read, for one who only looks. Nothing is made.
    ///
    /// # Errors
    /// As of [`Mint::open`].
    pub fn look(directory: &Path) -> Result<(), KeyFileError> {
        Keys::look(directory)
    }

    /// Does what is due for the keys at `now`: makes and publishes the next one, signs with it, gives up the one before
    /// ([`crate::KEY_LIFE`]). To be called at the start and every [`crate::KEY_LOOK`]; also takes up what another process of this directory did. Reads
    /// and writes files, and waits for such a process where it is at the same (10 s at most).
    ///
    /// # Errors
    /// When a file cannot be read or written; the present keys then stay. Shared keys have none, and stay.
    pub fn turn_keys(&self, now: UnixMillis) -> Result<(), KeyFileError> {
        if let Some(directory) = &self.directory {
            self.turn_to(Keys::turned(directory, now)?);
        }
        Ok(())
    }

    fn turn_to(&self, turned: Keys) {
        // The same keys stay the same set, so that verified tokens stay known.
        let present = self.keys.load();
        if turned.jwks != present.jwks || turned.current.public != present.current.public {
            self.keys.store(Arc::new(turned));
        }
    }

    /// `iss` of the tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The JWK Set: the key that signs, and where there are any, the one after it and the one before.
    pub fn jwks(&self) -> String {
        self.keys.load().jwks.clone()
    }

    /// Mints the token of the hop that `permit` allows, issued at `now`. `ttl` is 1 s to [`MAX_HOP_TTL`]; whole seconds count.
    /// CPU only.
    ///
    /// Destination and caller are those of the permit. Nothing else can be minted for:
    ///
    /// ```compile_fail,E0308
    /// # use std::time::Duration;
    /// # use vidimus_core::{call::Destination, caller::UnixMillis, permit::Permit};
    /// # fn example(mint: &vidimus_identity::Mint, permit: &Permit, destination: &Destination, now: UnixMillis) {
    /// let token = mint.mint(destination, now, Duration::from_secs(60));
    /// # }
    /// ```
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use vidimus_core::{call::Destination, caller::UnixMillis, permit::Permit};
    /// # fn example(mint: &vidimus_identity::Mint, permit: &Permit, destination: &Destination, now: UnixMillis) {
    /// let token = mint.mint(permit, now, Duration::from_secs(60));
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`MintError`].
    pub fn mint(&self, permit: &Permit, now: UnixMillis, ttl: Duration) -> Result<HopToken, MintError> {
        let hop = Hop::of(permit, now, ttl)?;
        let jti = key::token_id()?;
        let payload = serde_json::to_vec(&Payload { hop, issuer: &self.issuer, jti: &jti });
        let payload = payload.map_err(|_| SigningFailed)?;
        let keys = self.keys.load();
        let mut text = String::with_capacity("Bearer ".len() + keys.current.length(payload.len()));
        text.push_str("Bearer ");
        keys.current.append(&mut text, &payload)?;
        let value = HeaderValue::from_maybe_shared(Bytes::from(text));
        let mut header_value = value.map_err(|_| SigningFailed)?;
        header_value.set_sensitive(true);
        Ok(HopToken { header_value, jti })
    }

    /// Signs what is no token and stands beside the signature, such as an agent's card: `typ` says what it is, and is another one than that of
    /// tokens. Verified by [`Mint::jwks`], which its header names (`jku`). CPU only.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn sign(&self, typ: &str, bytes: &[u8]) -> Result<Detached, SigningFailed> {
        let jku = format!("{}/.well-known/jwks.json", self.issuer);
        self.keys.load().current.detached(typ, &jku, bytes)
    }

    pub(crate) fn keys(&self) -> Arc<KeySet> {
        self.keys.load().published.clone()
    }

    pub(crate) fn verifies_with(&self, keys: &Arc<KeySet>) -> bool {
        Arc::ptr_eq(&self.keys.load().published, keys)
    }
}

impl<'a> Hop<'a> {
    /// The hop that `permit` allows, if a token can say it.
    fn of(permit: &'a Permit, now: UnixMillis, ttl: Duration) -> Result<Self, MintError> {
        if ttl < Duration::from_secs(1) || ttl > MAX_HOP_TTL {
            return Err(MintError::Ttl { ttl });
        }
        let destination = permit.destination().id();
        let no_endpoint = || MintError::NoEndpoint { destination: destination.clone() };
        let endpoint = permit.destination().endpoint().ok_or_else(no_endpoint)?;
        let (proven, chain) = (&permit.caller().proven, &*permit.caller().chain);
        let actors = chain.actors.len() + 1;
        if actors > MAX_DEPTH {
            return Err(MintError::ChainTooLong { actors });
        }
        let acts = |entity: &EntityId| matches!(entity.kind, EntityKind::Agent | EntityKind::Service);
        let caller = proven.principal.entity();
        if let Some(other) = std::iter::once(caller).chain(&chain.actors).find(|actor| !acts(actor)) {
            return Err(MintError::NotAnActor { entity: other.clone() });
        }
        let (audience, user) = (&*endpoint.audience, proven.user.as_ref());
        let registered = match permit.destination() {
            Destination::Agent(agent) => &*agent.identities,
            Destination::Server(_) | Destination::Provider(_) => &[],
        };
        Ok(Self { audience, destination, registered, caller, user, chain, now, ttl })
    }
}

/// The claims, written straight from the hop.
struct Payload<'a> {
    hop: Hop<'a>,
    issuer: &'a str,
    jti: &'a str,
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Hop { audience, destination, registered, caller, user, chain, now, ttl } = self.hop;
        let issued = now.0.div_euclid(1000);
        let mut claims = serializer.serialize_map(None)?;
        claims.serialize_entry("iss", self.issuer)?;
        match user {
            Some(user) => {
                // What two issuers call by one name are two people, and none is an agent: an agent's name has no '#' (ADR 21).
                claims.serialize_entry("sub", &user.id())?;
                claims.serialize_entry("sub_id", &SubjectId(user))?;
            }
            None => claims.serialize_entry("sub", &Text(chain.actors.first().unwrap_or(caller)))?,
        }
        // Who may call on keeps what policies may ask about the user; a tool or a model has no use for it.
        let continues = matches!(destination.kind, EntityKind::Agent | EntityKind::Service);
        if let Some(email) = user.and_then(|user| user.email.as_deref()).filter(|_| continues) {
            claims.serialize_entry("email", email)?;
        }
        if let Some(user) = user.filter(|user| continues && !user.groups.is_empty()) {
            claims.serialize_entry("groups", &Groups(user))?;
        }
        claims.serialize_entry("client_id", &Text(caller))?;
        claims.serialize_entry("aud", audience)?;
        claims.serialize_entry("dst", &Text(destination))?;
        if continues {
            claims.serialize_entry("dst_ids", &Marks(registered))?;
        }
        claims.serialize_entry("act", &Act { current: caller, prior: &chain.actors })?;
        claims.serialize_entry("depth", &chain.depth())?;
        claims.serialize_entry("txn", &*chain.transaction)?;
        claims.serialize_entry("txn_iat", &chain.started.0)?;
        claims.serialize_entry("jti", self.jti)?;
        claims.serialize_entry("iat", &issued)?;
        claims.serialize_entry("exp", &issued.saturating_add_unsigned(ttl.as_secs()))?;
        claims.end()
    }
}

/// RFC 8693 section 4.1: the current actor outermost, the first one innermost.
struct Act<'a> {
    current: &'a EntityId,
    /// Oldest first.
    prior: &'a [EntityId],
}

impl Serialize for Act<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut act = serializer.serialize_map(None)?;
        act.serialize_entry("sub", &Text(self.current))?;
        if let Some((current, prior)) = self.prior.split_last() {
            act.serialize_entry("act", &Act { current, prior })?;
        }
        act.end()
    }
}

/// The groups of a person, by their issuer's names.
struct Groups<'a>(&'a User);

impl Serialize for Groups<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.groups.iter().map(|group| &**group))
    }
}

/// RFC 9493 section 3.2.3.
struct SubjectId<'a>(&'a User);

impl Serialize for SubjectId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut id = serializer.serialize_map(Some(3))?;
        id.serialize_entry("format", "iss_sub")?;
        id.serialize_entry("iss", &*self.0.issuer)?;
        id.serialize_entry("sub", &*self.0.subject)?;
        id.end()
    }
}

/// By what the destination is registered.
struct Marks<'a>(&'a [Identity]);

impl Serialize for Marks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(registration::marks(self.0))
    }
}

struct Text<'a>(&'a EntityId);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}
