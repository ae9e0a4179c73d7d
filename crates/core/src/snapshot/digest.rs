//! The digest of a configuration.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

use crate::resource::{Object, ObjectKey};

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// The digest of one object. Where it came from does not count.
///
/// An object is digested in its `Debug` form: it lists every field, in order, and all its maps are sorted. The form may change
/// with a version of Vidimus; a digest says "the same configuration in the same version".
pub(crate) fn of_object(object: &Object) -> Digest {
    let mut text = Hashed(Sha256::new());
    // Hashing never fails, and so writing does not.
    let _ = match object {
        Object::Agent(agent) => write!(text, "Agent {agent:?}"),
        Object::McpServer(server) => write!(text, "MCPServer {server:?}"),
        Object::LlmProvider(provider) => write!(text, "LLMProvider {provider:?}"),
        Object::Service(service) => write!(text, "ServiceIdentity {service:?}"),
        Object::Policy(policy) => write!(text, "Policy {policy:?}"),
    };
    text.0.finalize().into()
}

/// The digest of what an object refuses that is not in force, given the object's own.
pub(crate) fn of_refusing(object: Digest) -> Digest {
    Sha256::new().chain_update("refusing ").chain_update(object).finalize().into()
}

/// The digest of a policy of which only these permits are left.
pub(crate) fn of_withdrawn(policy: &ObjectKey, standing: &BTreeSet<String>) -> Digest {
    let mut text = Hashed(Sha256::new());
    // Hashing never fails, and so writing does not.
    let _ = write!(text, "withdrawn {policy:?} {standing:?}");
    text.0.finalize().into()
}

/// Stands for a configuration in which everything is refused.
pub(crate) const CLOSED: Digest = [0xff; 32];

/// The digest of what stands by acts, given a text of all of it.
pub(crate) fn of_standing(key: &str) -> Digest {
    let mut text = Sha256::new();
    text.update(b"standing\0");
    text.update(key);
    text.finalize().into()
}

/// `sha256:` and hex over the digests of all parts, sorted, so that their order does not count.
pub(crate) fn of_all(mut parts: Vec<Digest>) -> String {
    parts.sort_unstable();
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(parts.as_flattened()) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Text that is hashed as it is written.
struct Hashed(Sha256);

impl fmt::Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}
