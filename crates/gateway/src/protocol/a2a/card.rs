//! Agent cards, as callers get them: whatever address is in one, a client sends its credential there. Where the agent's record names keys, what
//! passes is what one of them has signed; whatever passes is signed by the gateway.

mod signed;

use serde_json::{Map, Value, json};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Agent;
use vidimus_identity::Mint;

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

/// What is governed of an agent whose record says where it speaks it.
const HTTP_JSON: &str = "HTTP+JSON";

/// By what a card is held, and what it says in place of what the agent wrote.
#[derive(Debug)]
pub struct Passing<'a> {
    /// The bindings in which the agent is called through the gateway, each with its address there. Nothing else is governed, so nothing else
    /// is announced. The first is that of every agent.
    served: Vec<(&'static str, String)>,
    /// The keys that sign the agent's card, where its record names some: a JWK Set.
    keys: Option<&'a str>,
    /// What signs the card that goes on.
    mint: &'a Mint,
}

impl<'a> Passing<'a> {
    /// Of the card of this agent, which is called below `public_url`.
    pub fn of(agent: &'a Agent, public_url: &str, mint: &'a Mint) -> Self {
        let address = format!("{public_url}/a2a/{}", agent.id.id);
        let has_rest = agent.endpoint.as_ref().is_some_and(|endpoint| endpoint.rest.is_some());
        let mut served = vec![(JSON_RPC, address.clone())];
        served.extend(has_rest.then_some((HTTP_JSON, address)));
        Self { served, keys: agent.card_keys.as_deref(), mint }
    }

    /// The binding that is announced in the place of one that the agent speaks, and its address; `None` where that is not governed.
    fn governed(&self, transport: Option<&str>) -> Option<(&'static str, &str)> {
        let served = self.served.iter().find(|(binding, _)| Some(*binding) == transport);
        served.map(|(binding, address)| (*binding, address.as_str()))
    }
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
    serde_json::to_string(&document).map_err(unreadable)
}

/// The card that goes on.
fn passed(card: Map<String, Value>, passing: &Passing<'_>) -> Result<Map<String, Value>, Refusal> {
    let mut card = match passing.keys {
        Some(keys) => signed::said(card, keys)?,
        None => card,
    };
    announce(&mut card, passing)?;
    signed::sign(&mut card, passing.mint)?;
    Ok(card)
}

fn announce(card: &mut Map<String, Value>, passing: &Passing<'_>) -> Result<(), Refusal> {
    card.retain(|member, _| CARD.contains(&member.as_str()));
    let mut announced = card.contains_key("url");
    if announced {
        let preferred = card.get("preferredTransport").and_then(Value::as_str);
        let (preferred, address) = passing.governed(preferred).or(passing.governed(Some(JSON_RPC))).unzip();
        card.insert("url".to_owned(), json!(address));
        card.insert("preferredTransport".to_owned(), json!(preferred));
    }
    for (member, transport) in INTERFACES {
        let Some(given) = card.remove(member) else { continue };
        let kept = interfaces(&given, transport, passing);
        announced |= !kept.is_empty();
        card.insert(member.to_owned(), kept.into());
    }
    if announced {
        Ok(())
    } else {
        Err(Refusal::new(
            Code::UpstreamInvalid,
            "the agent's card announces no interface that is governed here: JSONRPC, and HTTP+JSON where its record has spec.endpoint.rest",
        ))
    }
}

fn interfaces(given: &Value, transport: &str, passing: &Passing<'_>) -> Vec<Value> {
    let given = given.as_array().into_iter().flatten();
    given
        .filter_map(|interface| {
            let (announced, address) = passing.governed(interface.get(transport).and_then(Value::as_str))?;
            let mut kept = Map::new();
            for member in ["protocolVersion", "tenant"] {
                kept.extend(interface.get(member).map(|value| (member.to_owned(), value.clone())));
            }
            kept.insert("url".to_owned(), json!(address));
            kept.insert(transport.to_owned(), json!(announced));
            Some(kept.into())
        })
        .collect()
}

#[cfg(test)]
mod tests;
