//! The digest of a configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::preserved::text;
use crate::resource::Object;

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// The digest of one object of a configuration. Where it came from does not count.
///
/// It is of the object's text and of whether it is in quarantine, so that whoever has the texts can compute it (docs/ledger-format.md).
/// One that was not read from a document is digested in its `Debug` form, which lists every field, in order; all its maps are sorted.
pub(crate) fn of_object(object: &Object) -> Digest {
    let text = match text(object) {
        Some(text) => Sha256::digest(text.as_bytes()).into(),
        None => of_debug(object),
    };
    of_text(text, object.is_quarantined())
}

fn of_debug(object: &Object) -> Digest {
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

/// The digest of an object, given that of its text.
fn of_text(text: Digest, quarantined: bool) -> Digest {
    let kind = if quarantined { "quarantined " } else { "object " };
    Sha256::new().chain_update(kind).chain_update(text).finalize().into()
}

/// The digest of what an object refuses that is not in force, given the object's own.
pub(crate) fn of_refusing(object: Digest) -> Digest {
    Sha256::new().chain_update("refusing ").chain_update(object).finalize().into()
}

/// The digest of a policy, `namespace/name`, of which only these permits are left.
pub(crate) fn of_withdrawn(policy: &str, standing: &BTreeSet<String>) -> Digest {
    let text = serde_json::json!([policy, standing]).to_string();
    Sha256::new().chain_update("withdrawn ").chain_update(text).finalize().into()
}

/// Stands for a configuration in which everything is refused.
pub(crate) const CLOSED: Digest = [0xff; 32];

/// The digest of what stands by acts, given a text of all of it.
pub(crate) fn of_standing(key: &str) -> Digest {
    Sha256::new().chain_update("standing ").chain_update(key).finalize().into()
}

/// What the digest of a configuration is of, for who has its texts and not the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Of each object in force: SHA-256 of its text, and whether it is in quarantine.
    pub objects: Vec<([u8; 32], bool)>,
    /// The digests of the objects that only refuse.
    pub refusing: Vec<[u8; 32]>,
    /// The policies, by `namespace/name`, of which only these permits are left.
    pub withdrawn: BTreeMap<String, BTreeSet<String>>,
    /// Whether everything is refused.
    pub closed: bool,
    /// The text of what stands by acts, where anything does.
    pub standing: Option<String>,
}

impl Parts {
    /// The digest of the configuration, as records have it.
    pub fn digest(&self) -> String {
        let objects = self.objects.iter().map(|(text, quarantined)| of_text(*text, *quarantined));
        let refusing = self.refusing.iter().copied().map(of_refusing);
        let withdrawn = self.withdrawn.iter().map(|(policy, standing)| of_withdrawn(policy, standing));
        let beside =
            withdrawn.chain(self.closed.then_some(CLOSED)).chain(self.standing.as_deref().map(of_standing));
        of_all(objects.chain(refusing).chain(beside).collect())
    }
}

/// `sha256:` and hex over the digests of all parts, sorted, so that their order does not count.
pub(crate) fn of_all(mut parts: Vec<Digest>) -> String {
    parts.sort_unstable();
    of_sorted(&parts)
}

fn of_sorted(parts: &[Digest]) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(parts.as_flattened())))
}

/// The digests of what is in force, sorted. Those of one snapshot are made of those of the last: what is sorted is not sorted again, and
/// what is left to do for all of them is one hash over 32 bytes of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Digests(Vec<Digest>);

impl Digests {
    /// Some are gone and some are new.
    pub(super) fn with(&self, mut gone: Vec<Digest>, new: Vec<Digest>) -> Self {
        /// As many are inserted one by one; beyond, all are sorted.
        const FEW: usize = 64;
        let is_few = new.len() <= FEW;
        gone.sort_unstable();
        let mut left = gone.iter().peekable();
        let mut all = Vec::with_capacity(self.0.len() + new.len());
        for digest in &self.0 {
            while left.next_if(|one| *one < digest).is_some() {}
            if left.next_if(|one| *one == digest).is_none() {
                all.push(*digest);
            }
        }
        for one in new {
            match is_few {
                true => all.insert(all.partition_point(|other| *other < one), one),
                false => all.push(one),
            }
        }
        if !is_few {
            all.sort_unstable();
        }
        Self(all)
    }

    /// The digest of all, with what is beside them.
    pub(super) fn digest(&self, beside: impl Iterator<Item = Digest>) -> String {
        // Nearly always there is nothing, or little.
        let mut beside = beside.peekable();
        if beside.peek().is_none() {
            return of_sorted(&self.0);
        }
        let mut all = self.0.clone();
        for one in beside {
            all.insert(all.partition_point(|other| *other < one), one);
        }
        of_all(all)
    }
}

/// Text that is hashed as it is written.
struct Hashed(Sha256);

impl fmt::Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}
