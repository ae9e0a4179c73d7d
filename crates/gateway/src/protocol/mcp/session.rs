//! MCP session ids, sealed: the upstream's id never reaches a caller, and a sealed id is good only for the caller and route
//! that it was made for (MCP 2025-11-25, security best practices, "Session hijacking").

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vidimus_core::call::Destination;
use vidimus_core::caller::{Caller, User};

/// The session header of the handshake eras.
pub const HEADER: &str = "mcp-session-id";

/// What a session of this caller with this object is sealed to.
pub fn binding(destination: &Destination, caller: &Caller) -> String {
    let user = caller.proven.user.as_ref().map(User::id).unwrap_or_default();
    format!("{}|{}|{user}", destination.id(), caller.proven.principal.entity())
}

/// Length of the sealing key in bytes (AES-256-GCM).
pub const KEY_LENGTH: usize = 32;

/// Seals and opens session ids. Holds no state: any replica with the key continues any session.
pub struct SessionSeal(LessSafeKey);

impl std::fmt::Debug for SessionSeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionSeal")
    }
}

/// The system's random source or cipher failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session id could not be sealed")]
pub struct SealFailed;

impl SessionSeal {
    /// # Errors
    /// When the cipher refuses the key, which has a fixed length.
    pub fn new(key: &[u8; KEY_LENGTH]) -> Result<Self, SealFailed> {
        UnboundKey::new(&AES_256_GCM, key).map(|key| Self(LessSafeKey::new(key))).map_err(|_| SealFailed)
    }

    /// Seals an upstream's session id to `binding` (route, principal and user).
    pub fn seal(&self, upstream: &str, binding: &str) -> Result<String, SealFailed> {
        let mut nonce = [0_u8; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| SealFailed)?;
        let mut sealed = upstream.as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(binding.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| SealFailed)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// The upstream's session id, if `sealed` was made here for `binding`.
    pub fn open(&self, sealed: &str, binding: &str) -> Option<String> {
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, rest) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.0.open_in_place(nonce, Aad::from(binding.as_bytes()), rest).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_good_for_its_caller_and_route_only() {
        let seal = SessionSeal::new(&[7; KEY_LENGTH]).expect("key");
        let id = seal.seal("upstream-1", "mcp/f/ledger|Agent/f/a|").expect("sealed");
        assert!(!id.contains("upstream") && id.is_ascii());
        assert_eq!(seal.open(&id, "mcp/f/ledger|Agent/f/a|").as_deref(), Some("upstream-1"));
        assert_eq!(seal.open(&id, "mcp/f/ledger|Agent/f/b|"), None);
        assert_eq!(
            SessionSeal::new(&[8; KEY_LENGTH]).expect("key").open(&id, "mcp/f/ledger|Agent/f/a|"),
            None
        );
        for forged in ["", "upstream-1", "AAAA", id.get(1..).expect("ASCII"), &format!("{id}A")] {
            assert_eq!(seal.open(forged, "mcp/f/ledger|Agent/f/a|"), None, "{forged}");
        }
        assert_ne!(id, seal.seal("upstream-1", "mcp/f/ledger|Agent/f/a|").expect("sealed"));
    }
}
