//! Which copy of a principal calls: several pods may run under one ServiceAccount, and several workloads have one SPIFFE ID.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One copy, as its credential names it. Cedar: `context.instance`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// What tells it from its siblings: the UID of a pod, the serial number of a certificate in lower-case hex.
    pub id: Arc<str>,
    /// What names it.
    pub kind: InstanceKind,
    /// `namespace/name` of a pod; its id is what is proven of it, and names are given again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// The node that a pod runs on, where its token says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
}

/// What names a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InstanceKind {
    /// A pod, by the token of its ServiceAccount that is bound to it. It is the same for all tokens of the pod.
    Pod,
    /// An X.509-SVID, by its serial number. It is another one once the certificate is renewed.
    Certificate,
}

impl InstanceKind {
    /// As in policies and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Certificate => "certificate",
        }
    }
}

impl Instance {
    /// Whether a credential of this identity ([`crate::caller::Proven::identity`]) may name a copy.
    pub fn may_be_named_by(identity: &str) -> bool {
        identity.starts_with("spiffe://") || identity.contains("#system:serviceaccount:")
    }
}

/// For people: `pod 5f0c… (finance/invoice-bot-7d4f)`.
impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.id)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}
