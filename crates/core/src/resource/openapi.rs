//! `MCPServer.spec.openapi`: tools that are the operations of an API, as its OpenAPI document has them (ADR 85).
//!
//! The document is compiled when the record is checked. An operation that is not supported is left out with a warning, or is a fault where the record
//! names it. Where calls go is said by the record alone: what the document says of servers and of credentials is not used.

mod body;
mod document;
mod operation;
pub mod parameter;
pub mod path;
mod schema;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::api_key;
use super::check::Document as Of;
use super::credential::CredentialSpec;
use super::endpoint::{DEFAULT_TIMEOUT_MS, Endpoint, EndpointSpec, HeadersSpec};
use super::field::{timeout, web_url};
use super::mcp_server::Tool;
use super::problem::{At, Fault, Problems};
use super::stale::StaleAfterSpec;
use super::{Meta, RiskLevel};
use document::Operations;
use operation::Given;
use parameter::Parameter;
use path::{Loose, Template};

/// The argument of a tool that is the body of its request.
pub const BODY: &str = "body";
/// The longest answer when the record does not say it, in bytes.
const MAX_ANSWER: u32 = 1024 * 1024;
/// The largest document, in bytes of JSON.
const MAX_DOCUMENT: usize = 4 * 1024 * 1024;

/// An API whose operations are tools, checked.
#[derive(Clone)]
pub struct Api {
    /// Its tools, by name.
    pub tools: BTreeMap<Arc<str>, Operation>,
    /// Every operation of the document that has a path, also those that are no tools.
    routes: Vec<Route>,
    /// The first of those that are not supported, where the record does not say which are tools.
    pub left_out: Vec<LeftOut>,
    /// How many are not supported beside those.
    pub more_left_out: usize,
    /// The longest answer of it, in bytes.
    pub max_answer: u32,
    /// SHA-256 of all that the record says of it, in hexadecimal: another document is another.
    pub digest: Arc<str>,
}

/// An operation, which is a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its HTTP method.
    pub verb: Verb,
    /// Its path, below the registered address.
    pub path: Template,
    /// What else it takes, but for its body.
    pub parameters: Vec<Parameter>,
    /// The body that it takes.
    pub body: Option<Body>,
    /// As MCP's `tools/list` has it: JSON.
    pub definition: Arc<str>,
}

/// The body of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Whether a request must have it.
    pub required: bool,
    /// Its media type, as it is sent, in lower case.
    pub media: Arc<str>,
    /// How the argument becomes it.
    pub kind: BodyKind,
}

/// How an argument becomes a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// It is the body, as JSON.
    Json,
    /// It is an object, whose members are the pairs of a form (`application/x-www-form-urlencoded`).
    Form(Vec<Parameter>),
    /// It is a string, which is the body.
    Text,
    /// It is a string: the body in base64 (RFC 4648 section 4).
    Bytes,
}

/// What of the document is no tool, since it is not supported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it stands in the object.
    pub field: String,
    /// The operation; `None` of all that a path has.
    pub operation: Option<String>,
    /// The value that is wrong; empty where the reason says all.
    pub value: String,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
}

/// The HTTP methods of operations that are tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads (RFC 9110 section 9.2.1).
    Get,
    /// Replaces.
    Put,
    /// Does anything.
    Post,
    /// Deletes.
    Delete,
    /// Changes (RFC 5789).
    Patch,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Get, Self::Put, Self::Post, Self::Delete, Self::Patch];

    /// As HTTP has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
        }
    }

    /// As a document has it.
    const fn key(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Post => "post",
            Self::Delete => "delete",
            Self::Patch => "patch",
        }
    }

    /// Whether it changes nothing.
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get)
    }

    /// Whether twice is as good as once.
    pub const fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Put | Self::Delete)
    }
}

/// An operation of the document, by its path.
#[derive(Clone, Debug)]
struct Route {
    /// `None` of a path that is not read, and so no tool's.
    template: Option<Template>,
    /// As some server reads it.
    loose: Loose,
    verb: Verb,
    /// The tool that it is, where it is one.
    tool: Option<Arc<str>>,
}

impl Route {
    /// An operation that is no tool. A path that is its own is none of a tool's either, also where it is not read here.
    fn of_none(path: &str, verb: Verb) -> Self {
        Self { template: Template::parse(path).ok(), loose: Loose::of(path), verb, tool: None }
    }
}

/// The operation that a request is to.
#[derive(Clone, Debug)]
pub struct Matched<'a, 'p> {
    /// Its tool.
    pub tool: &'a Arc<str>,
    /// What it takes.
    pub operation: &'a Operation,
    /// What the path says for its parameters, as it is written there.
    pub given: Vec<(&'a str, &'p str)>,
}

/// Why a request is to none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoMatch {
    /// There is no such path.
    Path,
    /// It has these methods, and not the one that was asked for.
    Method(Vec<Verb>),
    /// Two operations match it, also by another case, and servers differ in which of them it is.
    Ambiguous,
}

impl Api {
    /// The operation that a method and a path below the registered address are to: of several, the one that says more of the path in each part.
    ///
    /// # Errors
    /// Why there is none. An operation of the document that is no tool is none, and what is its path is none of a tool's.
    pub fn find<'a, 'p>(&'a self, method: &str, path: &'p str) -> Result<Matched<'a, 'p>, NoMatch> {
        let on_path = self.routes.iter().filter_map(|route| {
            let template = route.template.as_ref()?;
            Some((route, template, template.matched(path)?))
        });
        let mut on_path: Vec<_> = on_path.collect();
        let methods =
            || on_path.iter().filter(|(route, ..)| route.tool.is_some()).map(|(route, ..)| route.verb);
        if !on_path.iter().any(|(route, ..)| route.verb.as_str() == method) {
            let methods: Vec<Verb> =
                Verb::ALL.into_iter().filter(|verb| methods().any(|one| one == *verb)).collect();
            return Err(if methods.is_empty() { NoMatch::Path } else { NoMatch::Method(methods) });
        }
        on_path.retain(|(route, ..)| route.verb.as_str() == method);
        let outranks = |one: &Route, template: &Template| {
            on_path
                .iter()
                .all(|(other, of_other, _)| std::ptr::eq(one, *other) || template.outranks(of_other))
        };
        let best = on_path.iter().position(|(route, template, _)| outranks(route, template));
        let (route, template, given) = on_path.swap_remove(best.ok_or(NoMatch::Ambiguous)?);
        let folded = path.to_ascii_lowercase();
        let may_be_meant = |other: &Route| {
            !std::ptr::eq(route, other)
                && other.verb == route.verb
                && other.loose.may_be(&folded)
                && !template.stands_before(&other.loose)
        };
        if self.routes.iter().any(may_be_meant) {
            return Err(NoMatch::Ambiguous);
        }
        let tool = route.tool.as_ref().ok_or(NoMatch::Path)?;
        let operation = self.tools.get(tool).ok_or(NoMatch::Path)?;
        Ok(Matched { tool, operation, given })
    }

    /// What is known of its tools from their methods, where the record says nothing of them.
    pub(super) fn known_tools(&self, risk_level: RiskLevel) -> impl Iterator<Item = (Arc<str>, Tool)> {
        self.tools.iter().map(move |(name, operation)| {
            let read_only = operation.verb.is_safe();
            (name.clone(), Tool { risk_level, read_only, destructive: !read_only, unseen_arguments: false })
        })
    }
}

/// All that it is made of is in its digest.
impl PartialEq for Api {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Api {}

/// As short as the digest of a snapshot needs it.
impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// An API whose operations are tools, as its OpenAPI document describes them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenApiSpec {
    /// The http or https URL below which the paths of the document are, as in https://petstore.example/api/v3. What the document says of servers is
    /// not used.
    #[schemars(schema_with = "web_url::schema")]
    pub url: String,
    /// The document, of OpenAPI 3.0 or 3.1. Its references lead within it.
    #[schemars(schema_with = "document_schema")]
    pub document: Value,
    /// The operations that are tools, by operationId, or by method and path (get_pets_id) where one has none. All that are supported when it is left
    /// out; one that is named and not supported is a fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "operations_schema")]
    pub operations: Vec<String>,
    /// Where the API's key comes from. The gateway holds it; callers never see it. When it is left out, the API gets a token for each call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialSpec>,
    /// The header field of the key, as in X-Api-Key: Authorization, with credentialScheme before the key, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), pattern("^[A-Za-z0-9][A-Za-z0-9_.-]*$"))]
    pub credential_header: Option<String>,
    /// The query parameter in which the API takes the key, as in appid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), pattern("^[A-Za-z0-9_.-]+$"))]
    pub credential_query: Option<String>,
    /// What stands before the key in Authorization, as in Token: Bearer when it is left out. Of Basic the key is user:password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), pattern("^[A-Za-z0-9._-]+$"))]
    pub credential_scheme: Option<String>,
    /// The audience (aud) of the tokens minted for it; the URL when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub audience: Option<String>,
    /// PEM file of the roots to trust instead of the system's. A relative path starts at the file of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub ca_file: Option<String>,
    /// From request sent to the end of the answer, 1ms to 1h: 60s when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timeout::schema")]
    pub timeout: Option<String>,
    /// Header fields that pass or are set, beside those that are parameters of operations.
    #[serde(default, skip_serializing_if = "HeadersSpec::is_default")]
    pub headers: HeadersSpec,
    /// The longest answer, in bytes: 1048576 when it is left out. A longer one is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 4_194_304))]
    pub max_answer: Option<u32>,
    /// What becomes of calls once the configuration is older than this; they are decided as before when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<StaleAfterSpec>,
}

fn document_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "minProperties": 1, "maxProperties": 64, "x-kubernetes-preserve-unknown-fields": true})
}

fn operations_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 512,
        "items": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9_.-]+$"},
    })
}

impl OpenApiSpec {
    /// Where the calls go, with the tools that the document has.
    pub(super) fn check(
        &self,
        meta: &Meta,
        of: Of<'_>,
        at: At<'_>,
        problems: &mut Problems,
    ) -> Option<Endpoint> {
        let endpoint = self.endpoint().check(of, DEFAULT_TIMEOUT_MS, at, problems);
        let key = api_key::Written {
            credential: self.credential.as_ref(),
            header: self.credential_header.as_deref(),
            query: self.credential_query.as_deref(),
            scheme: self.credential_scheme.as_deref(),
        };
        let key = key.check(meta, of, at, problems);
        let query: Option<Vec<String>> = web_url::check(&self.url)
            .ok()
            .map(|url| url.query_pairs().map(|(name, _)| name.into_owned()).collect());
        if let (Some(name), Some(given)) = (&self.credential_query, &query)
            && given.iter().any(|one| one.eq_ignore_ascii_case(name))
        {
            let fault = Fault::new("the URL has it in its query already", "take it out of spec.openapi.url");
            problems.report(at.key("credentialQuery"), name, fault);
        }
        let document_at = at.key("document");
        let unwritable = |error: serde_json::Error| {
            Fault::new(format!("it cannot be written as JSON: {error}"), "write it as its CRD describes it")
        };
        let all = problems.take(at, "", serde_json::to_vec(self).map_err(unwritable))?;
        if all.len() > MAX_DOCUMENT {
            let reason = format!("the document takes more than {MAX_DOCUMENT} bytes as JSON");
            problems.report(document_at, "", Fault::new(reason, "leave out what is not needed of it"));
            return None;
        }
        let document =
            problems.take(document_at.key("openapi"), "", document::Document::of(&self.document))?;
        let of_key = key.as_ref().map(|key| match &key.query {
            Some(name) => (parameter::Place::Query, name.clone()),
            None => (parameter::Place::Header, key.header.clone()),
        });
        let given = Given { query: query.unwrap_or_default(), key: of_key };
        let Operations { tools, routes, left_out, more_left_out } =
            document.compiled((&self.operations, at.key("operations")), (document_at, &given), problems);
        let max_answer = self.max_answer.unwrap_or(MAX_ANSWER);
        let digest = HEXLOWER.encode(&Sha256::digest(&all)).into();
        let api = Api { tools, routes, left_out, more_left_out, max_answer, digest };
        Some(Endpoint { openapi: Some(Arc::new(api)), key, ..endpoint? })
    }

    /// As that of any server.
    fn endpoint(&self) -> EndpointSpec {
        EndpointSpec {
            url: self.url.clone(),
            audience: self.audience.clone(),
            ca_file: self.ca_file.clone(),
            timeout: self.timeout.clone(),
            headers: self.headers.clone(),
            stale_after: self.stale_after.clone(),
            ..EndpointSpec::default()
        }
    }
}

#[cfg(test)]
mod tests;
