//! `MCPServer.spec.job`: tools whose every call is a Kubernetes Job of its own (ADR 69).
//!
//! What a template may have is what its types below have, and nothing else: a field that could open the sandbox (`hostNetwork`, `hostPath`,
//! `privileged`, `serviceAccountName`, a capability, another container) is an unknown field, to the directory and to the API server alike. What the
//! sandbox consists of is no part of a template: whoever runs it writes that.

pub mod template;

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::credential::SecretKey;
use super::endpoint::{Endpoint, HeaderRules};
use super::field::network::Network;
use super::field::{name, timeout};
use super::problem::{At, Fault, Problems};
use super::stale::StaleAfterSpec;
use super::{Meta, shape};
use template::TemplateSpec;

/// The key of a Secret of the type kubernetes.io/dockerconfigjson.
pub const PULL_KEY: &str = ".dockerconfigjson";
/// How long a job may take when its record does not say it.
const DEADLINE_MS: u32 = 60_000;
/// Jobs of one server at once when its record does not say it.
const CONCURRENT: u32 = 4;
/// Bytes of output when the record does not say it.
const MAX_OUTPUT: u32 = 256 * 1024;
/// Networks that no job reaches, whatever its record says: addresses of the link and of clouds' metadata services, also behind a translator to IPv4
/// (RFC 6052). The services are those that no other upstream may be either (`field::special_purpose`).
pub const NEVER_REACHED: [&str; 13] = [
    "169.254.0.0/16",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.192/32",
    "fd00:ec2::/32",
    "fd20:ce::254/128",
    "fd00:c1::a9fe:a9fe/128",
    "fd00:42::42/128",
    "fe80::/10",
    "64:ff9b::a9fe:0/112",
    "64:ff9b::6464:64c8/128",
    "64:ff9b::a83f:8110/128",
    "64:ff9b::c000:c0/128",
];

/// What each call of a server runs, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The pod as its template has it: JSON, a part of a Kubernetes `PodSpec` with exactly one container.
    pub pod: Arc<str>,
    /// The name of its container, by which it is told from one that something else puts beside it.
    pub container: Arc<str>,
    /// The image of its container.
    pub image: Arc<str>,
    /// By which the image is pulled: of the server's own namespace.
    pub pull_secrets: Arc<[SecretKey]>,
    /// Its tools by name: each as MCP's `tools/list` has it, JSON.
    pub tools: BTreeMap<Arc<str>, JobTool>,
    /// What it may reach; nothing where it is empty.
    pub egress: Arc<[Egress]>,
    /// How long one call may take, milliseconds.
    pub deadline_ms: u32,
    /// How many calls run at once, of this server and on one gateway.
    pub concurrent: u32,
    /// The longest output of one call, in bytes.
    pub max_output: u32,
    /// SHA-256 of all that the record says of it, in hexadecimal: another template is another.
    pub digest: Arc<str>,
}

/// A tool of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobTool {
    /// As MCP's `tools/list` has it: JSON.
    pub definition: Arc<str>,
    /// It says which structure its results have.
    pub is_structured: bool,
}

/// A network that a job reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// In CIDR notation.
    pub cidr: Arc<str>,
    /// What of it is not reached: those of [`NEVER_REACHED`] that lie in it.
    pub except: Vec<&'static str>,
    /// TCP and UDP ports, never empty.
    pub ports: Vec<u16>,
}

/// Each call runs as a Kubernetes Job in a namespace of its own, which is deleted after it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobSpec {
    /// The pod of each call. The sandbox around it is not part of it, and cannot be changed.
    pub template: TemplateSpec,
    /// The tools, by name. A call finds its name in VIDIMUS_TOOL and its arguments in the file that VIDIMUS_ARGUMENTS names; what it writes is the
    /// result, and an exit code other than 0 says that it is an error.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    pub tools: BTreeMap<String, JobToolSpec>,
    /// What the pod may reach. Nothing when it is left out, no DNS either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub egress: Vec<EgressSpec>,
    /// How long one call may take, 1ms to 1h: 60s when it is left out. What takes longer is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timeout::schema")]
    pub deadline: Option<String>,
    /// How many calls run at once on one gateway: 4 when it is left out. One more is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub concurrent: Option<u32>,
    /// The longest output, in bytes: 262144 when it is left out. A longer one is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 1_048_576))]
    pub max_output: Option<u32>,
    /// What becomes of calls once the configuration is older than this; they are decided as before when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<StaleAfterSpec>,
}

/// A tool, as tools/list shows it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobToolSpec {
    /// What it does, for the model that may call it.
    #[schemars(schema_with = "description_schema")]
    pub description: String,
    /// JSON Schema of its arguments, of type object.
    #[schemars(schema_with = "any_object_schema")]
    pub input_schema: Value,
    /// JSON Schema of its result, of type object, where its output is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object_schema")]
    pub output_schema: Option<Value>,
}

/// A network that a job may reach.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressSpec {
    /// In CIDR notation, as in 10.1.0.0/16. Addresses of the link and of metadata services are left out of it.
    #[schemars(schema_with = "cidr_schema")]
    pub cidr: String,
    /// TCP and UDP ports.
    #[schemars(schema_with = "ports_schema")]
    pub ports: Vec<u16>,
}

/// What of it can be said by patterns: an address may be written in many ways, and the status of the object says the rest.
fn cidr_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string", "minLength": 1, "maxLength": 64,
        "x-kubernetes-validations": [
            {
                "rule": "self.matches('^([0-9]{1,3}([.][0-9]{1,3}){3}/(3[0-2]|[12]?[0-9])|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$')",
                "message": "must be a network such as 10.1.0.0/16, or 10.1.0.7/32 for one address",
            },
            {
                "rule": "!self.matches('^(169[.]254[.].*/(1[6-9]|[23][0-9])|100[.]100[.]100[.]200/32|168[.]63[.]129[.]16/32|192[.]0[.]0[.]192/32)$')",
                "message": "no job reaches addresses of the link or of a metadata service; name another network",
            },
        ],
    })
}

fn ports_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 16,
        "items": {"type": "integer", "minimum": 1, "maximum": 65535},
    })
}

fn description_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 4096})
}

fn any_object_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 64, "x-kubernetes-preserve-unknown-fields": true})
}

impl JobSpec {
    /// Where the calls go: a job, by an address that another template does not have.
    pub(super) fn check(&self, meta: &Meta, at: At<'_>, problems: &mut Problems) -> Option<Endpoint> {
        self.template.check(at.key("template"), problems);
        let tools = self.check_tools(at.key("tools"), problems);
        let egress = self.check_egress(at.key("egress"), problems);
        let deadline_ms = match &self.deadline {
            Some(text) => problems.take(at.key("deadline"), text, timeout::check(text)),
            None => Some(DEADLINE_MS),
        };
        let stale = self.stale_after.as_ref().map(|stale| stale.check(at.key("staleAfter"), problems));
        let unwritable = |error: serde_json::Error| {
            Fault::new(format!("it cannot be written as JSON: {error}"), "write it as its CRD describes it")
        };
        let all = problems.take(at, "", serde_json::to_vec(self).map_err(unwritable))?;
        let pod = problems.take(at, "", serde_json::to_string(&self.template.spec).map_err(unwritable))?;
        let digest = HEXLOWER.encode(&Sha256::digest(&all));
        let address = format!("job://{}/{}?template={digest}", meta.namespace, meta.name);
        let not_an_address =
            |_: url::ParseError| Fault::new("its name makes no address", "give it another name");
        let url = problems.take(at, &address, address.parse::<Url>().map_err(not_an_address))?;
        let deadline_ms = deadline_ms?;
        let one = self.template.spec.containers.first();
        let pull_secrets = self.template.spec.image_pull_secrets.iter().map(|secret| SecretKey {
            namespace: meta.namespace.clone(),
            name: secret.name.as_str().into(),
            key: PULL_KEY.into(),
        });
        let job = Job {
            pod: pod.into(),
            container: one.map_or_else(Arc::default, |one| one.name.as_str().into()),
            image: one.map_or_else(Arc::default, |one| one.image.as_str().into()),
            pull_secrets: pull_secrets.collect(),
            tools,
            egress: egress.into(),
            deadline_ms,
            concurrent: self.concurrent.unwrap_or(CONCURRENT),
            max_output: self.max_output.unwrap_or(MAX_OUTPUT),
            digest: digest.into(),
        };
        Some(Endpoint {
            audience: url.as_str().into(),
            url,
            ca_file: None,
            timeout_ms: deadline_ms,
            headers: HeaderRules::default(),
            card: None,
            rest: None,
            rest_alone: false,
            grpc: None,
            a2a: None,
            tenant: None,
            stale_after: stale.flatten(),
            mcp: None,
            job: Some(Arc::new(job)),
            grpc_tools: None,
            agent: None,
            openapi: None,
            key: None,
        })
    }

    fn check_tools(&self, at: At<'_>, problems: &mut Problems) -> BTreeMap<Arc<str>, JobTool> {
        let mut checked = BTreeMap::new();
        for (tool, spec) in &self.tools {
            let at = at.key(tool);
            problems.take(at, tool, name::check_tool(tool));
            let mut definition = Map::new();
            definition.insert("name".to_owned(), json!(tool));
            definition.insert("description".to_owned(), json!(spec.description));
            let schemas =
                [("inputSchema", Some(&spec.input_schema)), ("outputSchema", spec.output_schema.as_ref())];
            for (key, schema) in schemas.into_iter().filter_map(|(key, schema)| Some((key, schema?))) {
                // MCP, "Tools": either schema is one of an object.
                if schema.get("type").and_then(Value::as_str) != Some("object") {
                    let value = schema.get("type").map(shape::text).unwrap_or_default();
                    let fault = Fault::new("MCP wants the schema of an object", "write type: object");
                    problems.report(at.key(key).key("type"), &value, fault);
                }
                definition.insert(key.to_owned(), schema.clone());
            }
            let is_structured = spec.output_schema.is_some();
            let definition = Value::Object(definition).to_string().into();
            checked.insert(tool.as_str().into(), JobTool { definition, is_structured });
        }
        checked
    }

    fn check_egress(&self, at: At<'_>, problems: &mut Problems) -> Vec<Egress> {
        let mut checked = Vec::new();
        for (index, egress) in self.egress.iter().enumerate() {
            let at = at.index(index);
            let network = check_cidr(&egress.cidr);
            let Some(network) = problems.take(at.key("cidr"), &egress.cidr, network) else { continue };
            if egress.ports.contains(&0) {
                problems.report(at.key("ports"), "0", Fault::new("there is no port 0", "name the ports"));
            }
            let never = NEVER_REACHED
                .into_iter()
                .filter(|never| never.parse::<Network>().is_ok_and(|never| network.covers(&never)));
            let (cidr, except) = (egress.cidr.as_str().into(), never.collect());
            checked.push(Egress { cidr, except, ports: egress.ports.clone() });
        }
        checked
    }
}

fn check_cidr(text: &str) -> Result<Network, Fault> {
    const FIX: &str = "write a network such as 10.1.0.0/16, or 10.1.0.7/32 for one address";
    if !text.contains('/') {
        return Err(Fault::new("not a network in CIDR notation", FIX));
    }
    let network = text.parse::<Network>().map_err(|error| Fault::new(error.to_string(), FIX))?;
    let never = |never: &&str| never.parse::<Network>().is_ok_and(|never| never.covers(&network));
    match NEVER_REACHED.iter().find(|one| never(one)) {
        Some(never) => {
            let reason = format!("it lies in {never}: addresses of the link, or of a metadata service");
            Err(Fault::new(reason, "name another network: no job reaches those"))
        }
        None => Ok(network),
    }
}

#[cfg(test)]
mod tests;
