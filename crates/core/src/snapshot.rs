//! All configuration, compiled into one immutable view. A call takes one `Arc<Snapshot>` and keeps it to its end.

use std::sync::Arc;

use crate::call::Call;
use crate::decision::Decision;
use crate::resource::{Agent, LlmProvider, McpServer, Object, Principal, Rejection, Service};

/// The compiled configuration.
#[derive(Debug)]
pub struct Snapshot {}

#[expect(unused_variables, clippy::unimplemented, clippy::needless_pass_by_value, reason = "signature only, filled in next")]
impl Snapshot {
    /// Compiles checked objects. What does not fit is left out and reported; everything else is live.
    pub fn build(objects: Vec<Object>) -> (Self, Vec<Rejection>) {
        unimplemented!()
    }

    /// Digest of the configuration: `sha256:` and hex, the same for the same objects in any order.
    pub fn digest(&self) -> &str {
        unimplemented!()
    }

    /// `key` is `namespace/name`, here and below.
    pub fn agent(&self, key: &str) -> Option<&Arc<Agent>> {
        unimplemented!()
    }

    pub fn mcp_server(&self, key: &str) -> Option<&Arc<McpServer>> {
        unimplemented!()
    }

    pub fn llm_provider(&self, key: &str) -> Option<&Arc<LlmProvider>> {
        unimplemented!()
    }

    pub fn service(&self, key: &str) -> Option<&Arc<Service>> {
        unimplemented!()
    }

    /// All objects, for status pages and `check`.
    pub fn objects(&self) -> &[Object] {
        unimplemented!()
    }

    /// The principal a SPIFFE ID is bound to.
    pub fn principal_by_spiffe(&self, id: &str) -> Option<&Principal> {
        unimplemented!()
    }

    /// The principal an issuer and subject are bound to (claims are the caller's to check).
    pub fn principal_by_oidc(&self, issuer: &str, subject: &str) -> Option<&Principal> {
        unimplemented!()
    }

    /// The principal a Kubernetes ServiceAccount is bound to.
    pub fn principal_by_service_account(&self, namespace: &str, name: &str) -> Option<&Principal> {
        unimplemented!()
    }

    /// Every issuer that some principal's identity or `actsFor` names: the allow-list.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// The decision.
    pub fn decide(&self, call: &Call<'_>) -> Decision {
        unimplemented!()
    }

    /// Whether some call with these facts (arguments unknown) could be allowed: what a filtered listing shows.
    pub fn could_allow(&self, call: &Call<'_>) -> bool {
        unimplemented!()
    }
}
