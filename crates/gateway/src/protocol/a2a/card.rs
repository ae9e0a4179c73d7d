//! Agent cards, as callers get them: whatever address is in one, a client sends its credential there. Where the agent's record names keys, what
//! passes is what one of them has signed; whatever passes is signed by the gateway.

mod signed;
pub mod tag;

use serde_json::{Map, Value, json};
use url::Url;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{A2aVersion, Agent};
use vidimus_identity::Mint;

use super::{grpc, rest};

/// The members of a card that go on (A2A 1.0 section 4.4.1, 0.3 section 5.5). An allow-list: protobuf readers take other
/// spellings of a member as well. Left out are the agent's own signatures, which are over what the agent wrote, and security schemes, which are
/// between the agent and the gateway.
const CARD: [&str; 16] = [
    "name",
    "description",
    "version",
    "protocolVersion",
    "provider",
    "url",
    "preferredTransport",
    "supportedInterfaces",
    "additionalInterfaces",
    "documentationUrl",
    "iconUrl",
    "capabilities",
    "skills",
    "defaultInputModes",
    "defaultOutputModes",
    "supportsAuthenticatedExtendedCard",
];

/// The lists of addresses, and what names the transport in their elements.
const INTERFACES: [(&str, &str); 2] =
    [("supportedInterfaces", "protocolBinding"), ("additionalInterfaces", "transport")];

/// What is governed of every agent.
const JSON_RPC: &str = "JSONRPC";

/// What is governed of 1.0, and of 0.3 of an agent whose record says where it speaks it.
const HTTP_JSON: &str = "HTTP+JSON";

/// By what a card is held, and what it says in place of what the agent wrote.
#[derive(Debug)]
pub struct Passing<'a> {
    /// Where the agent is called through the gateway.
    governed: Governed,
    /// The keys that sign the agent's card, where its record names some: a JWK Set.
    keys: Option<&'a str>,
    /// What signs the card that goes on.
    mint: &'a Mint,
}

impl<'a> Passing<'a> {
    /// Of the card of this agent, which is called below `public_url`.
    pub fn of(agent: &'a Agent, public_url: &str, mint: &'a Mint) -> Self {
        Self { governed: Governed::of(agent, public_url), keys: agent.card_keys.as_deref(), mint }
    }
}

/// What is governed of 1.0, of every agent that is called in it.
const GRPC: &str = "GRPC";

/// Where and how an agent is called through the gateway. Nothing else is governed, so nothing else is announced.
#[derive(Clone, Debug)]
pub struct Governed {
    /// Over HTTP.
    pub address: String,
    /// Over HTTP+JSON as it speaks that itself. What it does not speak is translated, of 1.0.
    pub rest: bool,
    /// It speaks nothing else.
    pub is_rest_alone: bool,
    /// Over gRPC; `None` where no address of gRPC leads to the gateway.
    pub grpc: Option<GrpcAddress>,
    /// The agent itself speaks gRPC alone.
    pub is_grpc_alone: bool,
    /// The version that its record says it speaks alone, where it is called in both.
    pub translated: Option<A2aVersion>,
}

/// Where an agent is called over gRPC.
#[derive(Clone, Debug)]
pub struct GrpcAddress {
    /// Host and port (1.0, section 4.4.6).
    pub authority: String,
    /// By which the gateway knows the agent: clients send it with each request.
    pub tenant: String,
}

impl Governed {
    /// Of the agent of this name, at the gateway's public address. One that has a path leads no gRPC here.
    pub fn of(agent: &Agent, public_url: &str) -> Self {
        let endpoint = agent.endpoint.as_ref();
        let tenant = agent.id.id.to_string();
        let url = Url::parse(public_url).ok().filter(|url| url.path() == "/");
        let authority =
            url.and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
        Self {
            address: format!("{public_url}/a2a/{tenant}"),
            rest: endpoint.is_some_and(|endpoint| endpoint.rest.is_some()),
            is_rest_alone: rest::is_alone(agent),
            grpc: authority.map(|authority| GrpcAddress { authority, tenant }),
            is_grpc_alone: grpc::is_alone(agent),
            // To HTTP+JSON of 0.3 nothing is translated.
            translated: super::version::declared(agent)
                .filter(|spoken| *spoken == A2aVersion::V1_0 || !rest::is_alone(agent)),
        }
    }

    /// The transport that is announced in the place of one that the agent speaks, in 1.0 (`new`) or in 0.3; `None` where that is not governed. JSON-RPC of
    /// 0.3 is announced of agents that are called over something else where their record says which version they speak ([`in_both`]).
    fn transport(&self, spoken: Option<&str>, new: bool) -> Option<&'static str> {
        match spoken? {
            JSON_RPC if new || !(self.is_rest_alone || self.is_grpc_alone) => Some(JSON_RPC),
            HTTP_JSON if self.rest => Some(HTTP_JSON),
            _ => None,
        }
    }

    /// What 0.3 is announced in, where the agent prefers this; `None` where it is not served in anything.
    fn preferred(&self, spoken: Option<&str>) -> Option<&'static str> {
        [spoken, Some(JSON_RPC), Some(HTTP_JSON)].into_iter().find_map(|spoken| self.transport(spoken, false))
    }

    /// What is announced beside `kept`, which the agent announced: it is called in these bindings whatever it speaks itself.
    fn beside(&self, kept: &[Value]) -> Vec<Value> {
        let mut more = Vec::new();
        let speaks = |name: &str| kept.iter().any(|one| is_new(one) && binding(one) == Some(name));
        if speaks(JSON_RPC) || self.is_grpc_alone || self.is_rest_alone && speaks(HTTP_JSON) {
            if !speaks(GRPC) {
                more.extend(self.over_grpc("1.0"));
            }
            if !speaks(JSON_RPC) {
                more.push(self.over_http(JSON_RPC, "1.0"));
            }
            // Where its record says that it speaks it, of which version it does is the card's to say.
            if !self.rest {
                more.push(self.over_http(HTTP_JSON, "1.0"));
            }
        }
        // What 0.3 says there goes on to its JSON-RPC.
        let is_old = |one: &&Value| binding(one) == Some(JSON_RPC) && !is_new(one);
        let old = kept.iter().find(is_old).and_then(version);
        if let Some(old) = old.filter(|_| !(self.rest || self.is_grpc_alone)) {
            more.push(self.over_http(HTTP_JSON, old));
        }
        more
    }

    fn over_http(&self, binding: &str, version: &str) -> Value {
        json!({"url": self.address, "protocolBinding": binding, "protocolVersion": version})
    }

    fn over_grpc(&self, version: &str) -> Option<Value> {
        let GrpcAddress { authority, tenant } = self.grpc.as_ref()?;
        Some(json!({"url": authority, "protocolBinding": GRPC, "protocolVersion": version, "tenant": tenant}))
    }
}

/// Whether an interface is one of 1.0 or later.
fn is_new(interface: &Value) -> bool {
    version(interface).is_some_and(|version| version.starts_with("1."))
}

fn binding(interface: &Value) -> Option<&str> {
    interface.get("protocolBinding").and_then(Value::as_str)
}

fn version(interface: &Value) -> Option<&str> {
    interface.get("protocolVersion").and_then(Value::as_str)
}

/// The card in `text` with the gateway's addresses in place of the agent's own. `rpc`: it is the result of a JSON-RPC response.
///
/// # Errors
/// `card_unverified` for one that is not signed as the agent's record says; `upstream_invalid` for what is not a card, or one of an agent that
/// speaks nothing that is governed.
pub fn rewrite(text: &str, passing: &Passing<'_>, rpc: bool) -> Result<String, Refusal> {
    let invalid = |what| Refusal::new(Code::UpstreamInvalid, what);
    let unreadable = |error| invalid("the agent card could not be read").with_detail(error);
    let document: Value = serde_json::from_str(text).map_err(unreadable)?;
    let Value::Object(mut document) = document else {
        return Err(invalid("the agent card is not an object"));
    };
    if !rpc {
        return serde_json::to_string(&passed(document, passing)?).map_err(unreadable);
    }
    document.retain(|member, _| ["jsonrpc", "id", "result", "error"].contains(&member.as_str()));
    match document.get_mut("result") {
        Some(Value::Object(card)) => *card = passed(std::mem::take(card), passing)?,
        Some(_) => return Err(invalid("the agent card is not an object")),
        None => {}
    }
    // Where cards are signed, no other word of an agent's is one.
    if let (Some(Value::Object(error)), Some(_)) = (document.get_mut("error"), passing.keys) {
        error.retain(|member, _| matches!(member.as_str(), "code" | "message"));
    }
    serde_json::to_string(&document).map_err(unreadable)
}

/// The card that goes on.
fn passed(card: Map<String, Value>, passing: &Passing<'_>) -> Result<Map<String, Value>, Refusal> {
    let mut card = match passing.keys {
        Some(keys) => signed::said(card, keys)?,
        None => card,
    };
    announce(&mut card, &passing.governed)?;
    signed::sign(&mut card, passing.mint)?;
    Ok(card)
}

fn announce(card: &mut Map<String, Value>, governed: &Governed) -> Result<(), Refusal> {
    card.retain(|member, _| CARD.contains(&member.as_str()));
    let of_old = card.remove("url");
    let preferred = card.remove("preferredTransport");
    let preferred = of_old.and_then(|_| governed.preferred(preferred.as_ref().and_then(Value::as_str)));
    let mut announced = preferred.is_some();
    if let Some(preferred) = preferred {
        card.insert("url".to_owned(), json!(governed.address));
        card.insert("preferredTransport".to_owned(), json!(preferred));
    }
    for (member, transport) in INTERFACES {
        let Some(given) = card.remove(member) else { continue };
        let mut kept = interfaces(&given, transport, governed);
        if transport == "protocolBinding" {
            kept.extend(governed.beside(&kept));
        }
        announced |= !kept.is_empty();
        card.insert(member.to_owned(), kept.into());
    }
    if let Some(spoken) = governed.translated {
        in_both(card, governed, spoken);
    }
    if announced {
        Ok(())
    } else {
        Err(Refusal::new(
            Code::UpstreamInvalid,
            "the agent's card announces no interface that is governed here: JSONRPC, GRPC of 1.0, and HTTP+JSON where its record has spec.endpoint.rest",
        ))
    }
}

/// Has a card be one of both versions: who asks for it does not say which it reads, and each passes over the members of the other. What the agent
/// itself speaks stands first.
fn in_both(card: &mut Map<String, Value>, governed: &Governed, spoken: A2aVersion) {
    let mut all = match card.remove("supportedInterfaces") {
        Some(Value::Array(given)) => given,
        _ => Vec::new(),
    };
    for version in [spoken, spoken.other()] {
        let (said, is_new) = (version.as_str(), version == A2aVersion::V1_0);
        let grpc = is_new.then(|| governed.over_grpc(said)).flatten();
        let one = [JSON_RPC, HTTP_JSON].map(|binding| governed.over_http(binding, said));
        for one in one.into_iter().chain(grpc) {
            let is_it = |other: &Value| binding(other) == binding(&one) && self::is_new(other) == is_new;
            if !all.iter().any(is_it) {
                all.push(one);
            }
        }
    }
    card.insert("supportedInterfaces".to_owned(), all.into());
    card.insert("url".to_owned(), json!(governed.address));
    card.insert("preferredTransport".to_owned(), json!(JSON_RPC));
    let others =
        [JSON_RPC, HTTP_JSON].map(|transport| json!({"url": governed.address, "transport": transport}));
    card.insert("additionalInterfaces".to_owned(), json!(others));
    let is_old = |version: &Value| version.as_str().is_some_and(|version| version.starts_with("0."));
    if !card.get("protocolVersion").is_some_and(is_old) {
        card.insert("protocolVersion".to_owned(), json!("0.3.0"));
    }
    let capabilities = card.entry("capabilities").or_insert_with(|| json!({}));
    let is_new = capabilities.get("extendedAgentCard") == Some(&json!(true));
    let is_old = card.get("supportsAuthenticatedExtendedCard") == Some(&json!(true));
    if is_new || is_old {
        card.insert("supportsAuthenticatedExtendedCard".to_owned(), json!(true));
        if let Some(Value::Object(capabilities)) = card.get_mut("capabilities") {
            capabilities.insert("extendedAgentCard".to_owned(), json!(true));
        }
    }
}

fn interfaces(given: &Value, transport: &str, governed: &Governed) -> Vec<Value> {
    let given = given.as_array().into_iter().flatten();
    given
        .filter_map(|interface| {
            let spoken = interface.get(transport).and_then(Value::as_str);
            if spoken == Some(GRPC) && is_new(interface) {
                return governed.over_grpc(version(interface).unwrap_or_default());
            }
            let announced = governed.transport(spoken, is_new(interface))?;
            let mut kept = Map::new();
            // Not its tenant: that is between the agent and whoever calls it, and the gateway refuses one that it does not know.
            kept.extend(version(interface).map(|version| ("protocolVersion".to_owned(), json!(version))));
            kept.insert("url".to_owned(), json!(governed.address));
            kept.insert(transport.to_owned(), json!(announced));
            Some(kept.into())
        })
        .collect()
}

#[cfg(test)]
mod tests;
