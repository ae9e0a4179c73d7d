//! Where an object is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::a2a_version::A2aVersion;
use super::agent_tool::AgentTools;
use super::api_key::{ApiKey, Written};
use super::check::Document;
use super::credential::CredentialSpec;
use super::era::Era;
use super::field::{header, timeout, web_url};
use super::grpc::Grpc;
use super::job::Job;
use super::openapi::Api;
use super::problem::{At, Fault, Problems};
use super::stale::{StaleAfter, StaleAfterSpec};

/// Where an object is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme `http` or `https`, no user info, no fragment; of a job `job`, with the digest of its template; of an agent as tools `agent`.
    pub url: Url,
    /// `aud` of the tokens minted for it; the URL where nothing is given.
    pub audience: Arc<str>,
    /// PEM file of the roots to trust instead of the system's.
    pub ca_file: Option<Arc<str>>,
    /// From request sent to response headers, milliseconds, 1 to 3,600,000.
    pub timeout_ms: u32,
    /// Which header fields pass, beside those that its protocol and clients have, and which are set.
    pub headers: HeaderRules,
    /// Where an agent's card is, if it is not where A2A looks for it.
    pub card: Option<Url>,
    /// Below which address an agent is served over HTTP+JSON, at the origin of the URL; `None` where it does not speak that.
    pub rest: Option<Url>,
    /// That it serves nothing else: at the URL nobody speaks JSON-RPC.
    pub rest_alone: bool,
    /// Where an agent is served over gRPC, at the host of the URL; `None` where it does not speak that.
    pub grpc: Option<Url>,
    /// The version of A2A that an agent speaks alone, where its record says so: callers of the other one are translated.
    pub a2a: Option<A2aVersion>,
    /// Which of several agents behind one address is called, in the words of A2A 1.0.
    pub tenant: Option<Arc<str>>,
    /// What becomes of calls when the configuration is old; nothing where it is not said.
    pub stale_after: Option<StaleAfter>,
    /// The key that the gateway holds for a server or an API; where there is none, it gets a token for each call.
    pub key: Option<ApiKey>,
    /// The era of MCP that a server speaks alone, where its record says so: clients of the other one are bridged.
    pub mcp: Option<Era>,
    /// What runs at each call, where nothing is reached by the URL.
    pub job: Option<Arc<Job>>,
    /// Its methods, where gRPC is spoken to the URL and not MCP.
    pub grpc_tools: Option<Arc<Grpc>>,
    /// The agent that is sent a message at each call, where nothing is reached by the URL.
    pub agent: Option<Arc<AgentTools>>,
    /// The API below the URL, where that is no MCP server and its operations are the tools.
    pub openapi: Option<Arc<Api>>,
}

/// What a record says of the header fields of a call to it. Names are in lower case. None of them is one that never passes on the
/// word of a record ([`header::why_never`]); a prefix may begin such a name, which then does not pass all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// Names, and prefixes that end in `-`, of fields that pass, in requests and in answers.
    pub pass: Arc<[Box<str>]>,
    /// Fields of a request that have this value, whatever the caller says: name and value.
    pub set: Arc<[(Box<str>, Box<str>)]>,
}

impl HeaderRules {
    /// Whether a field of this name, in lower case, passes.
    pub fn passes(&self, name: &str) -> bool {
        self.pass.iter().any(|passed| header::is_listed(name, passed)) && header::why_never(name).is_none()
    }
}

impl Endpoint {
    /// Whether the card is at another origin: somebody else's, who gets nothing that is meant for the agent.
    pub fn has_foreign_card(&self) -> bool {
        self.card.as_ref().is_some_and(|card| card.origin() != self.url.origin())
    }
}

/// What an agent or MCP server gets when it names no timeout: the official MCP clients give up no earlier.
pub const DEFAULT_TIMEOUT_MS: u32 = 60_000;

/// What a model provider gets when it names no timeout: the `openai` and `anthropic` clients give up no earlier.
pub const DEFAULT_MODEL_TIMEOUT_MS: u32 = 600_000;

/// Where an object is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointSpec {
    /// The http or https URL, as in http://ledger-mcp.finance:9000/mcp.
    #[schemars(schema_with = "web_url::schema")]
    pub url: String,
    /// The audience (aud) of the tokens minted for it; the URL when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub audience: Option<String>,
    /// PEM file of the roots to trust instead of the system's. A relative path starts at the file of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub ca_file: Option<String>,
    /// From request sent to response headers, 1ms to 1h: 60s when it is left out, 10m for a model provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timeout::schema")]
    pub timeout: Option<String>,
    /// Header fields that pass or are set. Those of the protocol, of tracing and of providers' SDKs pass without being named.
    #[serde(default, skip_serializing_if = "HeadersSpec::is_default")]
    pub headers: HeadersSpec,
    /// Where the card of an agent is, if it is neither below the path of the URL nor at its origin, at /.well-known/agent-card.json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "web_url::schema")]
    pub card: Option<String>,
    /// Below which address an agent serves A2A over HTTP+JSON (message:send, tasks/…), if it does: an http or https URL at the origin of the
    /// URL. Without it, what callers say over HTTP+JSON is translated to what the agent speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "web_url::schema")]
    pub rest: Option<String>,
    /// Whether an agent serves nothing but that, and no JSON-RPC at the URL: callers over JSON-RPC and gRPC are then translated to it, in 1.0.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rest_alone: bool,
    /// Where an agent serves A2A 1.0 over gRPC, if it does: an http or https URL without a path, at the host of the URL, whose port may be
    /// another. Callers over gRPC are led there, and all of JSON-RPC too where it is the URL itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "web_url::schema")]
    pub grpc: Option<String>,
    /// The one version of A2A that an agent speaks, in quotes: "1.0" or "0.3". Callers of the other one are then translated to it. It is
    /// spoken to as its callers speak when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub a2a: Option<A2aVersion>,
    /// The tenant of an agent that shares its address with others, as the interface in its card names it: each request to it says so. It is
    /// one of A2A 1.0 then. What another tenant answers is another agent, with a record of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), pattern("^[A-Za-z0-9._~/-]+$"))]
    pub tenant: Option<String>,
    /// What becomes of calls once the configuration is older than this; they are decided as before when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<StaleAfterSpec>,
    /// The one era of MCP that a server speaks: sessions (2025-11-25 and before) or stateless (2026-07-28). Clients of the other era are
    /// then bridged to it. It is spoken to as its clients speak when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp: Option<Era>,
    /// Where the key of a server comes from that is not of this estate, and takes no token of the gateway's. The gateway holds it; callers never see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialSpec>,
    /// The header field of the key, as in X-Api-Key: Authorization, with credentialScheme before the key, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), pattern("^[A-Za-z0-9][A-Za-z0-9_.-]*$"))]
    pub credential_header: Option<String>,
    /// What stands before the key in Authorization, as in Token: Bearer when it is left out. Of Basic the key is user:password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), pattern("^[A-Za-z0-9._-]+$"))]
    pub credential_scheme: Option<String>,
}

/// Header fields that pass or are set, beside those that pass always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeadersSpec {
    /// Fields that pass, both ways: names, or prefixes that end in '-', as in X-Tenant-. Never credentials, or what is about a connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "header::pass_schema")]
    pub pass: Vec<String>,
    /// Fields of each request that get this value, whatever the caller sends: name and value. Secrets do not belong here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "header::set_schema")]
    pub set: BTreeMap<String, String>,
}

impl HeadersSpec {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn check(&self, at: At<'_>, problems: &mut Problems) -> HeaderRules {
        let (to_pass, to_set) = (at.key("pass"), at.key("set"));
        let pass = self.pass.iter().enumerate().filter_map(|(index, name)| {
            let checked = header::check_passed(name);
            problems.take(to_pass.index(index), name, checked).map(Into::into)
        });
        let pass = pass.collect();
        let mut named = BTreeSet::new();
        let set = self.set.iter().filter_map(|(name, value)| {
            let checked = problems.take(to_set.key(name), name, header::check_set(name))?;
            if !named.insert(checked.clone()) {
                let fault =
                    Fault::new("is set twice: case does not matter in the name of a header", "remove one");
                problems.report(to_set.key(name), name, fault);
            }
            // A value that is wrong may be a secret.
            problems.take(to_set.key(name), "", header::check_value(value))?;
            Some((checked.into(), value.as_str().into()))
        });
        HeaderRules { pass, set: set.collect() }
    }
}

pub(crate) fn text_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "minLength": 1, "maxLength": 2048})
}

impl EndpointSpec {
    /// What it says of a key, of which only that of a server may say something.
    pub(super) fn key(&self) -> Written<'_> {
        Written {
            credential: self.credential.as_ref(),
            header: self.credential_header.as_deref(),
            query: None,
            scheme: self.credential_scheme.as_deref(),
        }
    }

    pub(crate) fn check(
        &self,
        document: Document<'_>,
        default_timeout_ms: u32,
        at: At<'_>,
        problems: &mut Problems,
    ) -> Option<Endpoint> {
        let url = problems.take(at.key("url"), &self.url, web_url::check(&self.url));
        let timeout_ms = match &self.timeout {
            Some(text) => problems.take(at.key("timeout"), text, timeout::check(text)),
            None => Some(default_timeout_ms),
        };
        let card = self.card.as_ref().map(|card| problems.take(at.key("card"), card, web_url::check(card)));
        let rest = self.rest.as_ref().map(|rest| problems.take(at.key("rest"), rest, web_url::check(rest)));
        let grpc = self.grpc.as_ref().map(|grpc| problems.take(at.key("grpc"), grpc, web_url::check(grpc)));
        let headers = self.headers.check(at.key("headers"), problems);
        let stale = self.stale_after.as_ref().map(|stale| stale.check(at.key("staleAfter"), problems));
        let (url, timeout_ms) = (url?, timeout_ms?);
        let audience = self.audience.as_deref().unwrap_or(url.as_str()).into();
        let ca_file = self.ca_file.as_deref().map(|roots| beside(document.file, roots));
        check_roots(self.ca_file.as_deref(), document, at, problems);
        let (card, rest, stale_after) = (card.flatten(), rest.flatten(), stale.flatten());
        let grpc = grpc.flatten();
        if let Some(other) = rest.as_ref().filter(|rest| rest.origin() != url.origin()) {
            // What is meant for the agent goes there: its tokens, and the headers that are set.
            let fix = "give an address at the origin of the URL, or register what is elsewhere as an Agent of its own";
            problems.report(
                at.key("rest"),
                other.as_str(),
                Fault::new("is at another origin than the URL", fix),
            );
        }
        if let Some(grpc) = &grpc {
            check_grpc(grpc, &url, at, problems);
        }
        if self.a2a == Some(A2aVersion::V0_3) && grpc.is_some() {
            let fix = "remove it, or the address over gRPC";
            problems.report(
                at.key("a2a"),
                "0.3",
                Fault::new("is not what is spoken over gRPC: that is 1.0", fix),
            );
        }
        if let Some(tenant) = &self.tenant {
            check_tenant(tenant, self.a2a, at, problems);
        }
        if self.rest_alone && self.rest.is_none() {
            let fix = "give the address over HTTP+JSON (rest), or remove it";
            problems.report(at.key("restAlone"), "", Fault::new("is said of no address over HTTP+JSON", fix));
        }
        Some(Endpoint {
            url,
            audience,
            ca_file,
            timeout_ms,
            headers,
            card,
            rest,
            rest_alone: self.rest_alone,
            grpc,
            a2a: self.a2a.or(self.tenant.as_ref().map(|_| A2aVersion::V1_0)),
            tenant: self.tenant.as_deref().map(Into::into),
            stale_after,
            key: None,
            mcp: self.mcp,
            job: None,
            grpc_tools: None,
            agent: None,
            openapi: None,
        })
    }
}

/// Reports a tenant that is none, or of an agent that has no word for it. It stands in paths of HTTP+JSON.
fn check_tenant(tenant: &str, version: Option<A2aVersion>, at: At<'_>, problems: &mut Problems) {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'/' | b'-');
    let is_tenant = (1..=256).contains(&tenant.len()) && tenant.bytes().all(is_plain);
    if !is_tenant || matches!(tenant, "." | "..") {
        let fix = "write 1 to 256 letters, digits and any of . _ ~ / -";
        problems.report(at.key("tenant"), tenant, Fault::new("is no tenant", fix));
    }
    if version == Some(A2aVersion::V0_3) {
        let fault =
            Fault::new("is said of an agent of A2A 0.3, which has no tenants", "remove one of the two");
        problems.report(at.key("tenant"), tenant, fault);
    }
}

/// Reports an address over gRPC that is elsewhere than the agent's URL: what is meant for the agent goes there. Servers of gRPC have ports of
/// their own, so the port may be another.
fn check_grpc(grpc: &Url, url: &Url, at: At<'_>, problems: &mut Problems) {
    if (grpc.scheme(), grpc.host()) != (url.scheme(), url.host()) {
        let fix = "give an address of the scheme and host of the URL, or register what is elsewhere as an Agent of its own";
        let fault = Fault::new("is at another scheme or host than the URL", fix);
        problems.report(at.key("grpc"), grpc.as_str(), fault);
    }
    if grpc.path() != "/" || grpc.query().is_some() {
        let fault = Fault::new("has a path or a query, which gRPC has no place for", "leave both out");
        problems.report(at.key("grpc"), grpc.as_str(), fault);
    }
}

/// Reports what only an agent has, of something else.
pub(crate) fn has_no_card(endpoint: &EndpointSpec, at: At<'_>, problems: &mut Problems) {
    if let Some(rest) = &endpoint.rest {
        let fault = Fault::new("only an agent is called over HTTP+JSON", "remove it");
        problems.report(at.key("rest"), rest, fault);
    }
    if endpoint.rest_alone {
        let fault = Fault::new("only an agent is called over HTTP+JSON", "remove it");
        problems.report(at.key("restAlone"), "", fault);
    }
    if let Some(grpc) = &endpoint.grpc {
        let fault = Fault::new("only an agent is called over gRPC", "remove it");
        problems.report(at.key("grpc"), grpc, fault);
    }
    if let Some(tenant) = &endpoint.tenant {
        let fault = Fault::new("only an agent is one of several tenants", "remove it");
        problems.report(at.key("tenant"), tenant, fault);
    }
    if let Some(version) = endpoint.a2a {
        let fault = Fault::new("only an agent speaks a version of A2A", "remove it");
        problems.report(at.key("a2a"), version.as_str(), fault);
    }
    if let Some(card) = &endpoint.card {
        let fault = Fault::new("only an agent has a card", "remove it");
        problems.report(at.key("card"), card, fault);
    }
}

/// That a file of roots is not named by an object of a cluster: whoever may write there must not thereby learn which files the gateway has.
pub(crate) fn check_roots(
    ca_file: Option<&str>,
    document: Document<'_>,
    at: At<'_>,
    problems: &mut Problems,
) {
    if let (Some(roots), true) = (ca_file, document.of_cluster) {
        let fix = "remove it, and give the gateway the roots of all endpoints (SSL_CERT_FILE)";
        let fault = Fault::new("in a cluster no object names a file of the gateway", fix);
        problems.report(at.key("caFile"), roots, fault);
    }
}

/// Reports what only an MCP server has, of something else.
pub(crate) fn has_nothing_of_servers(endpoint: &EndpointSpec, at: At<'_>, problems: &mut Problems) {
    if endpoint.mcp.is_some() {
        problems.report(
            at.key("mcp"),
            "",
            Fault::new("only an MCP server speaks an era of MCP", "remove it"),
        );
    }
    let Written { credential, header, query: _, scheme } = endpoint.key();
    let given = [
        ("credential", credential.is_some()),
        ("credentialHeader", header.is_some()),
        ("credentialScheme", scheme.is_some()),
    ];
    for (name, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
        let fix =
            "remove it: an agent gets a token for each call, and a provider's key is said in spec.credential";
        problems.report(at.key(name), "", Fault::new("only an MCP server has a key here", fix));
    }
}

/// A relative path as seen from the file that names it, so that a directory of resources can be moved as a whole.
pub(crate) fn beside(file: &str, named: &str) -> Arc<str> {
    match file.rsplit_once('/') {
        Some((directory, _)) if !named.starts_with('/') => format!("{directory}/{named}").into(),
        _ => named.into(),
    }
}
