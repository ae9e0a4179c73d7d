//! `MCPServer.spec.grpc`: tools that are the methods of a gRPC server (ADR 86).
//!
//! What the tools are is read from the descriptors of the record, and from nothing that the server says: they change with the record alone.

mod schema;
mod sound;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER};
use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use self::schema::{Comments, takes_object};
use super::Meta;
use super::api_key::Written;
use super::check::Document;
use super::credential::CredentialSpec;
use super::endpoint::{DEFAULT_TIMEOUT_MS, Endpoint, EndpointSpec, HeadersSpec, text_schema};
use super::field::{name, timeout, web_url};
use super::problem::{At, Fault, Problems, shortened};
use super::stale::StaleAfterSpec;

/// All messages of one answer, in bytes on the wire, when the record does not say it. What is read of a byte may take a hundred in memory.
const MAX_ANSWER: u32 = 256 * 1024;
/// The longest text of descriptors, in bytes of base64: an object of a cluster has 1.5 MiB.
const LONGEST: u32 = 1 << 20;
/// Most tools of one server, as many as a record may describe (`spec.tools`).
const MOST_TOOLS: usize = 256;
/// The longest listing, in bytes: it is sent to each client.
const MOST_BYTES: usize = 1 << 20;
/// What to do about descriptors.
const FIX: &str = "write what protoc --include_imports --include_source_info --descriptor_set_out=/dev/stdout … | base64 -w0 writes";

/// The methods of a gRPC server, checked.
#[derive(Clone)]
pub struct Grpc {
    /// Tool → method.
    pub tools: BTreeMap<Arc<str>, GrpcTool>,
    /// The most that one call is answered, in bytes on the wire.
    pub max_answer: u32,
    /// SHA-256 of the descriptors and of which services are taken of them, in hexadecimal.
    pub digest: Arc<str>,
}

/// What it was made of is said by the digest; what was made of that would be as large as the descriptors.
impl fmt::Debug for Grpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tools: _, max_answer, digest } = self;
        f.debug_struct("Grpc").field("max_answer", max_answer).field("digest", digest).finish_non_exhaustive()
    }
}

impl PartialEq for Grpc {
    fn eq(&self, other: &Self) -> bool {
        (&self.digest, self.max_answer) == (&other.digest, other.max_answer)
    }
}

impl Eq for Grpc {}

/// A method that is a tool: one message in, one or a stream of them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcTool {
    /// As MCP's `tools/list` has it: JSON.
    pub definition: Arc<str>,
    /// The method, with the types of its messages.
    pub method: MethodDescriptor,
    /// The result of a call has a structure: what the method answers is an object in JSON.
    pub is_structured: bool,
}

/// Each method of a gRPC server that takes one message is a tool.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcSpec {
    /// The http or https URL of the server, as in http://invoices.finance:50051. HTTP/2 is spoken to it, without TLS where it is http.
    #[schemars(schema_with = "web_url::schema")]
    pub url: String,
    /// Its descriptors: a FileDescriptorSet with all that it imports, in base64, as protoc --include_imports --descriptor_set_out writes it.
    /// Its comments (--include_source_info) are what a model is told of the tools.
    #[schemars(schema_with = "descriptors_schema")]
    pub descriptors: String,
    /// The services whose methods are tools, by their full names, as in finance.v1.Invoices. All that are described when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "services_schema")]
    pub services: Vec<String>,
    /// Where the server's key comes from. The gateway holds it; callers never see it. When it is left out, the server gets a token for each call.
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
    /// The audience (aud) of the tokens minted for it; the URL when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub audience: Option<String>,
    /// PEM file of the roots to trust instead of the system's. A relative path starts at the file of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_schema")]
    pub ca_file: Option<String>,
    /// How long one call may take, to the end of its answer, 1ms to 1h: 60s when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timeout::schema")]
    pub timeout: Option<String>,
    /// Metadata of a call that passes or is set.
    #[serde(default, skip_serializing_if = "HeadersSpec::is_default")]
    pub headers: HeadersSpec,
    /// The longest answer of one call, all its messages together, in bytes on the wire: 262144 when it is left out. A longer one is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 4_194_304))]
    pub max_answer: Option<u32>,
    /// What becomes of calls once the configuration is older than this; they are decided as before when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<StaleAfterSpec>,
}

fn descriptors_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 4, "maxLength": LONGEST})
}

fn services_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 64,
        "items": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z_][A-Za-z0-9_]*)*$"},
    })
}

impl GrpcSpec {
    /// Where the calls go, and which tools they are of.
    pub(super) fn check(
        &self,
        meta: &Meta,
        document: Document<'_>,
        at: At<'_>,
        problems: &mut Problems,
    ) -> Option<Endpoint> {
        let key = Written {
            credential: self.credential.as_ref(),
            header: self.credential_header.as_deref(),
            query: None,
            scheme: self.credential_scheme.as_deref(),
        };
        let key = key.check(meta, document, at, problems);
        let is_reserved = |header: &str| header.starts_with("grpc-") || header.ends_with("-bin");
        if let Some(reserved) = key.as_ref().filter(|key| is_reserved(&key.header)) {
            let fault = Fault::new(
                "is one that the protocol writes itself, or in a coding of its own",
                "name another header field",
            );
            problems.report(at.key("credentialHeader"), &reserved.header, fault);
        }
        let endpoint = EndpointSpec {
            url: self.url.clone(),
            audience: self.audience.clone(),
            ca_file: self.ca_file.clone(),
            timeout: self.timeout.clone(),
            headers: self.headers.clone(),
            stale_after: self.stale_after.clone(),
            ..EndpointSpec::default()
        };
        let url = at.key("url");
        if let Err(fault) = web_url::check_grpc(&self.url) {
            // It is said once, and in words that are about gRPC.
            problems.report_shape(url, &self.url, fault, &[url.to_string()]);
        }
        let endpoint = endpoint.check(document, DEFAULT_TIMEOUT_MS, at, problems);
        let pool = problems.take(at.key("descriptors"), "", self.pool());
        let services = pool.as_ref().and_then(|(pool, _)| self.services(pool, at.key("services"), problems));
        let (digest, services) = (pool?.1, services?);
        let tools = problems.take(at.key("descriptors"), "", tools(&services, &digest))?;
        let max_answer = self.max_answer.unwrap_or(MAX_ANSWER);
        let grpc = Grpc { tools, max_answer, digest };
        Some(Endpoint { grpc_tools: Some(Arc::new(grpc)), key, ..endpoint? })
    }

    /// The descriptors, and the digest of what is made of them.
    fn pool(&self) -> Result<(DescriptorPool, Arc<str>), Fault> {
        // As it is usual in YAML, in several lines.
        let text: String = self.descriptors.split_ascii_whitespace().collect();
        let bytes = BASE64
            .decode(text.as_bytes())
            .map_err(|error| Fault::new(format!("it is not base64: {error}"), FIX))?;
        let pool = sound::pool(&bytes)?;
        let mut digest = Sha256::new_with_prefix(&bytes);
        for service in &self.services {
            digest.update(format!("\n{service}"));
        }
        Ok((pool, HEXLOWER.encode(&digest.finalize()).into()))
    }

    /// Those that are taken.
    fn services(
        &self,
        pool: &DescriptorPool,
        at: At<'_>,
        problems: &mut Problems,
    ) -> Option<Vec<ServiceDescriptor>> {
        if self.services.is_empty() {
            return Some(pool.services().collect());
        }
        let one = |(index, name): (usize, &String)| {
            let known = || {
                let all: Vec<String> = pool.services().map(|one| one.full_name().to_owned()).collect();
                format!("name one that they describe: {}", shortened(&all.join(", ")))
            };
            let service = pool
                .get_service_by_name(name)
                .ok_or_else(|| Fault::new("the descriptors have no such service", known()));
            problems.take(at.index(index), name, service)
        };
        self.services.iter().enumerate().map(one).collect()
    }
}

fn tools(services: &[ServiceDescriptor], digest: &str) -> Result<BTreeMap<Arc<str>, GrpcTool>, Fault> {
    const NONE: &str =
        "describe a service with a method that takes one message, and that message is an object in JSON";
    let comments = Comments::of(services);
    let (mut tools, mut bytes) = (BTreeMap::new(), 0_usize);
    for method in services.iter().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        if method.is_client_streaming() || !takes_object(&method.input()) {
            continue;
        }
        let tool = format!("{}_{}", method.parent_service().name(), method.name());
        name::check_tool(&tool)
            .map_err(|fault| Fault::new(format!("{tool}: {}", fault.reason), fault.fix))?;
        let (definition, is_structured) = definition(&method, &tool, &comments, digest)?;
        bytes = bytes.saturating_add(definition.len());
        if tools.len() == MOST_TOOLS || bytes > MOST_BYTES {
            let reason =
                format!("they make more than {MOST_TOOLS} tools, or more than {MOST_BYTES} bytes of listing");
            return Err(Fault::new(reason, "name the services that agents need (spec.grpc.services)"));
        }
        let is_new = GrpcTool { definition: definition.into(), method, is_structured };
        if tools.insert(Arc::from(&*tool), is_new).is_some() {
            let reason = format!("two methods would be the tool {tool}");
            let fix =
                "name one of the services (spec.grpc.services), and register the other as another server";
            return Err(Fault::new(reason, fix));
        }
    }
    if tools.is_empty() {
        return Err(Fault::new("no method of it can be a tool", NONE));
    }
    Ok(tools)
}

/// What `tools/list` has of a method, and whether its results have a structure.
fn definition(
    method: &MethodDescriptor,
    tool: &str,
    comments: &Comments,
    digest: &str,
) -> Result<(String, bool), Fault> {
    use prost_reflect::prost_types::method_options::IdempotencyLevel;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let described = comments.find(&method.parent_file(), method.path());
    let description = described.map_or_else(|| format!("Calls the gRPC method {path}."), ToOwned::to_owned);
    let output = comments.output(&method.output(), method.is_server_streaming())?;
    let mut definition = json!({
        "name": tool,
        "description": description,
        "inputSchema": comments.input(&method.input())?,
        // The same in JSON may be something else on the wire: people approve both.
        "_meta": {"dev.vidimus/grpc": {"method": path, "descriptors": format!("sha256:{digest}")}},
    });
    let options = method.method_descriptor_proto().options.as_ref();
    let level = options.map(prost_reflect::prost_types::MethodOptions::idempotency_level);
    let annotations = match level {
        Some(IdempotencyLevel::NoSideEffects) => Some(json!({"readOnlyHint": true})),
        Some(IdempotencyLevel::Idempotent) => Some(json!({"idempotentHint": true})),
        Some(IdempotencyLevel::IdempotencyUnknown) | None => None,
    };
    let is_structured = output.is_some();
    if let Value::Object(members) = &mut definition {
        members.extend(output.map(|schema| ("outputSchema".to_owned(), schema)));
        members.extend(annotations.map(|annotations| ("annotations".to_owned(), annotations)));
    }
    Ok((definition.to_string(), is_structured))
}

#[cfg(test)]
mod tests;
