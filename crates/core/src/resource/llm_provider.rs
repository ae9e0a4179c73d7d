//! `LLMProvider`.

mod aliases;
mod api_path;
mod failover;
mod price;
mod region;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Document;
use super::crd::Status;
use super::credential::CredentialSpec;
use super::endpoint::{DEFAULT_MODEL_TIMEOUT_MS, EndpointSpec, has_no_card, has_nothing_of_servers};
use super::field::{name, person, timeout};
use super::labels::LabelsSpec;
use super::problem::{At, Fault, Problems};
use super::*;

pub use super::credential::{CredentialSource, SecretKey, one_key};
pub use api_path::OPENAI as API_PATH_OF_OPENAI;
pub use failover::{Alternative, Failover, FailoverSpec};
pub use price::{Price, PriceSpec, Tokens};
pub(super) use price::{micro_units, price_schema};
pub use region::is_model as is_model_of_bedrock;

/// How long a stream may take where its record does not say: a model writes the most that any has in one answer in less.
pub const DEFAULT_STREAM_TIMEOUT_MS: u32 = 1_800_000;

/// Which API the provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum ProviderType {
    #[serde(rename = "openAI")]
    OpenAi,
    #[serde(rename = "anthropic")]
    Anthropic,
    #[serde(rename = "openAICompatible")]
    OpenAiCompatible,
    #[serde(rename = "gemini")]
    Gemini,
    #[serde(rename = "azure")]
    Azure,
    #[serde(rename = "bedrock")]
    Bedrock,
}

impl ProviderType {
    /// The text in resources.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openAI",
            Self::Anthropic => "anthropic",
            Self::OpenAiCompatible => "openAICompatible",
            Self::Gemini => "gemini",
            Self::Azure => "azure",
            Self::Bedrock => "bedrock",
        }
    }

    /// Where the provider is when the object does not say. A compatible one may be anywhere, each customer of Azure has an address, and Bedrock has one
    /// in each region.
    const fn default_url(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("https://api.openai.com"),
            Self::Anthropic => Some("https://api.anthropic.com"),
            Self::Gemini => Some("https://generativelanguage.googleapis.com"),
            Self::OpenAiCompatible | Self::Azure | Self::Bedrock => None,
        }
    }
}

/// A registered model provider, checked.
#[derive(Clone, Debug)]
pub struct LlmProvider {
    /// Its metadata and origin.
    pub meta: Meta,
    /// Its entity in Cedar: the kind, and `namespace/name`.
    pub id: EntityId,
    /// The person who answers for it (an e-mail address).
    pub owner: Arc<str>,
    /// The team it belongs to. Cedar: `.team`, and `in Team::"…"`.
    pub team: Arc<str>,
    /// Where it runs. Cedar: `.environment`.
    pub environment: Arc<str>,
    /// Which API it speaks.
    pub provider: ProviderType,
    /// Where it is called.
    pub endpoint: Endpoint,
    /// Where the gateway's own key for it is.
    pub credential: CredentialSource,
    /// The region of AWS in which its calls are signed: of Bedrock alone, which always has one.
    pub region: Option<Arc<str>>,
    /// Allow-list; a model not listed does not exist.
    pub models: Vec<Model>,
    /// Other names of models, each with the listed model that it stands for. What is decided and called is that model.
    pub aliases: BTreeMap<Arc<str>, Arc<str>>,
    /// Whether it takes `stream_options.include_usage`, so that the gateway may ask it for the tokens of a stream.
    pub stream_usage: bool,
    /// Where it has OpenAI's API, behind the path of its endpoint, without a slash at its end; `None` where that is at OpenAI's own `/v1`.
    pub api_path: Option<Arc<str>>,
    /// How long a stream of an answer may take, from its beginning, in milliseconds.
    pub stream_timeout_ms: u32,
    /// What calling its models does with information.
    pub labels: Labels,
    /// Which other providers may answer in its place.
    pub failover: Option<Failover>,
}

/// One model of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The name by which callers ask for it.
    pub name: Arc<str>,
    /// Cedar: `resource in ModelSet::"…"`.
    pub sets: Names,
    /// Price per million input / output tokens in millionths of the currency unit.
    pub price: Option<Price>,
}

impl LlmProvider {
    /// The listed model of this name.
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|m| &*m.name == name)
    }

    /// The listed model that a caller means by a name: its own, or an alias.
    pub fn meant(&self, name: &str) -> Option<&Model> {
        self.model(name).or_else(|| self.model(self.aliases.get(name)?))
    }
}

/// A provider of models: who answers for it, which API it speaks, and which of its models exist here.
#[derive(Clone, CustomResource, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "vidimus.dev",
    version = "v1alpha1",
    kind = "LLMProvider",
    root = "LlmProviderResource",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "A provider of models: who answers for it, which API it speaks, and which of its models exist here.",
    shortname = "vllm",
    category = "vidimus",
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Models", type_ = "string", json_path = ".spec.models[*].name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!(self.type in ['openAICompatible', 'azure']) || has(self.endpoint)",
        "message": "an openAICompatible or azure provider needs an endpoint",
    },
    {
        "rule": "(self.type == 'bedrock') == has(self.region)",
        "message": "a bedrock provider needs a region, and no other has one",
    },
    {
        "rule": "!has(self.apiPath) || self.type == 'openAICompatible'",
        "message": "only an openAICompatible provider has an apiPath",
    },
]))]
pub struct LlmProviderSpec {
    /// The e-mail address of the person who answers for the provider. Never a team alias.
    #[schemars(schema_with = "person::schema")]
    pub owner: String,
    /// The team it belongs to. None when it is left out, so that no policy on the same team applies to it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "name::optional_plain_schema")]
    pub team: String,
    /// Where it runs. production when it is left out.
    #[serde(default = "production")]
    #[schemars(schema_with = "name::plain_schema")]
    pub environment: String,
    /// Which API it speaks.
    #[serde(rename = "type")]
    pub type_: ProviderType,
    /// Where it is reached; the provider's public address when it is left out. Its path goes before the API's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointSpec>,
    /// Where its key comes from. The gateway holds it; callers never see it. Of bedrock it is ACCESS_KEY_ID:SECRET_ACCESS_KEY, with
    /// :SESSION_TOKEN behind it where there is one, by which requests are signed; or an API key of Bedrock's.
    pub credential: CredentialSpec,
    /// The region of AWS, as in eu-central-1: of bedrock alone, which needs it. Without an endpoint it says where Bedrock is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "region::schema")]
    pub region: Option<String>,
    /// Which of its models exist here. One that is not listed does not. Of azure they are its deployments; of bedrock the ids of models and
    /// inference profiles.
    #[schemars(length(min = 1, max = 128))]
    pub models: Vec<ModelSpec>,
    /// Other names by which callers may ask for its models, each with the model, or another alias, that it stands for: {fast: gpt-5-mini}.
    /// Policies, prices and records are of the model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "name::aliases_schema")]
    pub aliases: BTreeMap<String, String>,
    /// Whether it takes stream_options.include_usage, by which the gateway asks for the tokens of a stream whose caller does not.
    /// true for openAI and azure and false for openAICompatible when it is left out: some of those refuse what they do not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_usage: Option<bool>,
    /// Where an openAICompatible provider has the API, behind the path of its endpoint: /v1 when it is left out, / for nothing at all, /v1beta/openai of
    /// Gemini's. Calls go to {endpoint}{apiPath}/chat/completions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "api_path::schema")]
    pub api_path: Option<String>,
    /// How long a stream of an answer may take as a whole, 1ms to 1h: 30m when it is left out. What is still under way then is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timeout::schema")]
    pub stream_timeout: Option<String>,
    /// What calling its models does with information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelsSpec>,
    /// Which other providers of its namespace may answer in its place. One is tried only where policies let the caller call it as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverSpec>,
}

/// One model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelSpec {
    /// The name by which the provider's API knows it.
    #[schemars(schema_with = "name::model_schema")]
    pub name: String,
    /// Sets it belongs to. Cedar: resource in ModelSet::"…".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "name::plain_list_schema")]
    pub sets: Vec<String>,
    /// What it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceSpec>,
}

impl LlmProviderSpec {
    pub(super) fn check(
        self,
        meta: Meta,
        document: Document<'_>,
        problems: &mut Problems,
    ) -> Option<LlmProvider> {
        let spec = document.spec();
        problems.take(spec.key("owner"), &self.owner, person::check(&self.owner));
        if !self.team.is_empty() {
            plain(spec.key("team"), &self.team, problems);
        }
        plain(spec.key("environment"), &self.environment, problems);
        let region = self.check_region(spec.key("region"), problems);
        let endpoint = self.check_endpoint(document, problems);
        let credential = self.credential.check(&meta, document, spec.key("credential"), problems);
        let models = check_models(&self.models, spec.key("models"), problems);
        match self.type_ {
            ProviderType::Gemini => {
                let written =
                    "without \"models/\", of letters, digits, '-', '_' and '.', as in gemini-2.5-flash";
                check_in_path(
                    &self.models,
                    (is_path_segment, "Gemini", written),
                    spec.key("models"),
                    problems,
                );
            }
            ProviderType::Bedrock => {
                let written = "as its id or its ARN is, as in anthropic.claude-sonnet-4-20250514-v1:0";
                check_in_path(
                    &self.models,
                    (region::is_model, "Bedrock", written),
                    spec.key("models"),
                    problems,
                );
            }
            _ => {}
        }
        let api_path = self.check_api_path(spec.key("apiPath"), problems);
        let stream_timeout_ms = match &self.stream_timeout {
            Some(text) => problems.take(spec.key("streamTimeout"), text, timeout::check(text)),
            None => Some(DEFAULT_STREAM_TIMEOUT_MS),
        };
        let aliases = aliases::check(&self.aliases, &models, spec.key("aliases"), problems);
        let labels = self.labels.unwrap_or_default().check(spec.key("labels"), problems);
        let failover = self.failover.map(|failover| failover.check(&meta, spec.key("failover"), problems));
        Some(LlmProvider {
            id: EntityId::new(EntityKind::LlmProvider, meta.key()),
            endpoint: endpoint?,
            credential: credential?,
            region: region?,
            owner: interned::text(&self.owner),
            team: interned::text(&self.team),
            environment: interned::text(&self.environment),
            provider: self.type_,
            stream_usage: self
                .stream_usage
                .unwrap_or(matches!(self.type_, ProviderType::OpenAi | ProviderType::Azure)),
            api_path: api_path?,
            stream_timeout_ms: stream_timeout_ms?,
            models,
            aliases,
            labels,
            failover,
            meta,
        })
    }

    fn check_endpoint(&self, document: Document<'_>, problems: &mut Problems) -> Option<Endpoint> {
        let spec = document.spec();
        let at = spec.key("endpoint");
        if let Some(endpoint) = &self.endpoint {
            has_no_card(endpoint, at, problems);
            has_nothing_of_servers(endpoint, at, problems);
            return endpoint.check(document, DEFAULT_MODEL_TIMEOUT_MS, at, problems);
        }
        let own = match (self.type_, &self.region) {
            (ProviderType::Bedrock, Some(region)) if region::is_region(region) => {
                Some(region::address(region))
            }
            // That it has none is told of the region.
            (ProviderType::Bedrock, _) => return None,
            (other, _) => other.default_url().map(str::to_owned),
        };
        let Some(url) = own else {
            let fault = Fault::new(
                format!("a provider of type {} has no address of its own", self.type_.as_str()),
                "add endpoint: {url: https://…}",
            );
            problems.report(at, "", fault);
            return None;
        };
        EndpointSpec { url, ..EndpointSpec::default() }.check(
            document,
            DEFAULT_MODEL_TIMEOUT_MS,
            at,
            problems,
        )
    }
}

fn check_models(specs: &[ModelSpec], at: At<'_>, problems: &mut Problems) -> Vec<Model> {
    let mut models: Vec<Model> = Vec::new();
    if specs.is_empty() {
        problems.report(
            at,
            "",
            Fault::new("no model is listed, so none exists", "list the models that may be called"),
        );
    }
    for (index, spec) in specs.iter().enumerate() {
        let at = at.index(index);
        let named = problems.take(at.key("name"), &spec.name, name::check_model(&spec.name));
        let sets = names(at.key("sets"), &spec.sets, problems);
        let price = spec.price.as_ref().and_then(|price| price.check(at.key("price"), problems));
        if models.iter().any(|model| *model.name == *spec.name) {
            problems.report(
                at.key("name"),
                &spec.name,
                Fault::new("the model is listed twice", "list every model once"),
            );
        } else if named.is_some() {
            models.push(Model { name: spec.name.as_str().into(), sets, price });
        }
    }
    models
}

/// That names can stand in the paths of a provider that has its models there: what can, whose paths they are, and how a name is written.
fn check_in_path(
    specs: &[ModelSpec],
    (can_stand, whose, written): (fn(&str) -> bool, &str, &str),
    at: At<'_>,
    problems: &mut Problems,
) {
    for (index, spec) in specs.iter().enumerate() {
        if !can_stand(&spec.name) {
            let fault =
                Fault::new(format!("not the name of a model of {whose}'s"), format!("write it {written}"));
            problems.report(at.index(index).key("name"), &spec.name, fault);
        }
    }
}

/// Whether a model's name can stand in a path as it is: what has to be escaped, or ends a segment, is read in more than one way.
pub fn is_path_segment(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}
