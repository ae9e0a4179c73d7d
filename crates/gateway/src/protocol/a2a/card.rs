//! Agent cards, as callers get them: whatever address is in one, a client sends its credential there.

use serde_json::{Map, Value, json};
use url::Url;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Agent;

use super::grpc;

/// The members of a card that go on (A2A 1.0 section 4.4.1, 0.3 section 5.5). An allow-list: protobuf readers take other
/// spellings of a member as well. Left out are signatures, which are over what the agent wrote, and security schemes, which are
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

/// What is governed of 1.0, of every agent that is called in it.
const GRPC: &str = "GRPC";

/// Where and how an agent is called through the gateway. Nothing else is governed, so nothing else is announced.
#[derive(Clone, Debug)]
pub struct Governed {
    /// Over HTTP.
    pub address: String,
    /// Over HTTP+JSON too.
    pub rest: bool,
    /// Over gRPC; `None` where no address of gRPC leads to the gateway.
    pub grpc: Option<GrpcAddress>,
    /// The agent itself speaks gRPC alone, so that it is called over JSON-RPC as well.
    pub is_grpc_alone: bool,
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
            grpc: authority.map(|authority| GrpcAddress { authority, tenant }),
            is_grpc_alone: grpc::is_alone(agent),
        }
    }

    /// The transport that is announced in the place of one that the agent speaks; `None` where that is not governed.
    fn transport(&self, spoken: Option<&str>) -> Option<&'static str> {
        match spoken? {
            JSON_RPC => Some(JSON_RPC),
            HTTP_JSON if self.rest => Some(HTTP_JSON),
            _ => None,
        }
    }

    /// What is announced beside `kept`, which the agent announced: it is called in these bindings whatever it speaks itself.
    fn beside(&self, kept: &[Value]) -> Vec<Value> {
        let speaks = |name: &str| {
            let mut all = kept.iter().filter(|one| is_new(one));
            all.any(|one| one.get("protocolBinding").and_then(Value::as_str) == Some(name))
        };
        let mut more = Vec::new();
        if speaks(JSON_RPC) && !speaks(GRPC) {
            more.extend(self.over_grpc("1.0"));
        }
        if self.is_grpc_alone && !speaks(JSON_RPC) {
            more.push(json!({"url": self.address, "protocolBinding": JSON_RPC, "protocolVersion": "1.0"}));
        }
        more
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

fn version(interface: &Value) -> Option<&str> {
    interface.get("protocolVersion").and_then(Value::as_str)
}

/// The card in `text` with the gateway's address in place of the agent's own. `rpc`: it is the result of a JSON-RPC response.
///
/// # Errors
/// `upstream_invalid` for what is not a card, or one of an agent that speaks nothing that is governed.
pub fn rewrite(text: &str, governed: &Governed, rpc: bool) -> Result<String, Refusal> {
    let invalid = |what| Refusal::new(Code::UpstreamInvalid, what);
    let unreadable = |error| invalid("the agent card could not be read").with_detail(error);
    let document: Value = serde_json::from_str(text).map_err(unreadable)?;
    let Value::Object(mut document) = document else {
        return Err(invalid("the agent card is not an object"));
    };
    if rpc {
        document.retain(|member, _| ["jsonrpc", "id", "result", "error"].contains(&member.as_str()));
        match document.get_mut("result") {
            Some(Value::Object(card)) => announce(card, governed)?,
            Some(_) => return Err(invalid("the agent card is not an object")),
            None => {}
        }
    } else {
        announce(&mut document, governed)?;
    }
    serde_json::to_string(&document).map_err(unreadable)
}

fn announce(card: &mut Map<String, Value>, governed: &Governed) -> Result<(), Refusal> {
    card.retain(|member, _| CARD.contains(&member.as_str()));
    let mut announced = card.contains_key("url");
    if announced {
        card.insert("url".to_owned(), json!(governed.address));
        let preferred = card.get("preferredTransport").and_then(Value::as_str);
        let preferred = governed.transport(preferred).unwrap_or(JSON_RPC);
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
    if announced {
        Ok(())
    } else {
        Err(Refusal::new(
            Code::UpstreamInvalid,
            "the agent's card announces no interface that is governed here: JSONRPC, GRPC of 1.0, and HTTP+JSON where its record has spec.endpoint.rest",
        ))
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
            let announced = governed.transport(spoken)?;
            let mut kept = Map::new();
            for member in ["protocolVersion", "tenant"] {
                kept.extend(interface.get(member).map(|value| (member.to_owned(), value.clone())));
            }
            kept.insert("url".to_owned(), json!(governed.address));
            kept.insert(transport.to_owned(), json!(announced));
            Some(kept.into())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = "http://gw/a2a/n/b";

    fn rewritten(card: &Value, rpc: bool) -> Result<Value, Code> {
        governed_by(card, rpc, false)
    }

    fn governed(rest: bool) -> Governed {
        Governed { address: GATEWAY.to_owned(), rest, grpc: None, is_grpc_alone: false }
    }

    fn governed_by(card: &Value, rpc: bool, rest: bool) -> Result<Value, Code> {
        let text = if rpc { json!({"jsonrpc": "2.0", "id": 1, "result": card}) } else { card.clone() };
        let out = rewrite(&text.to_string(), &governed(rest), rpc).map_err(|refusal| refusal.code)?;
        let out: Value = serde_json::from_str(&out).expect("JSON");
        Ok(if rpc { out["result"].clone() } else { out })
    }

    #[test]
    fn a_card_announces_the_gateway_and_only_what_it_governs() {
        let given = json!({
            "name": "b", "url": "http://b:1/rpc", "preferredTransport": "GRPC", "signatures": [{"protected": "x"}],
            "supportedInterfaces": [
                {"url": "http://b:1/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0", "x": "http://b:3"},
                {"url": "http://b:2", "protocolBinding": "GRPC"}],
            "additionalInterfaces": [{"url": "http://b:2", "transport": "HTTP+JSON"}],
            "skills": [{"id": "s"}],
        });
        for rpc in [false, true] {
            let out = rewritten(&given, rpc).expect("a card");
            assert!(!out.to_string().contains("http://b:"), "{out}");
            assert_eq!((&out["url"], &out["additionalInterfaces"]), (&json!(GATEWAY), &json!([])));
            assert_eq!(
                out["supportedInterfaces"],
                json!([{"url": GATEWAY, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}])
            );
            assert!(out.get("signatures").is_none() && out["skills"][0]["id"] == "s");
        }
    }

    #[test]
    fn what_is_announced_is_what_the_record_says_is_served() {
        let of = |binding: &str| json!({"url": "http://b:1/", "protocolBinding": binding, "protocolVersion": "1.0"});
        let rest = json!({"url": "http://b:1/", "preferredTransport": "HTTP+JSON",
            "supportedInterfaces": [of("HTTP+JSON"), of("GRPC"), of("JSONRPC"), of("http+json")],
            "additionalInterfaces": [{"url": "http://b:2", "transport": "HTTP+JSON"}]});
        let announced = |rest_too: bool| {
            let card = governed_by(&rest, false, rest_too).expect("a card");
            assert!(!card.to_string().contains("http://b:"), "{card}");
            let of = |member: &str, name: &str| {
                let list = card[member].as_array().expect("a list").clone();
                list.iter().map(|one| one[name].as_str().expect("text").to_owned()).collect::<Vec<_>>()
            };
            let preferred = card["preferredTransport"].as_str().expect("text").to_owned();
            (preferred, of("supportedInterfaces", "protocolBinding"), of("additionalInterfaces", "transport"))
        };
        let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(announced(false), ("JSONRPC".to_owned(), text(&["JSONRPC"]), text(&[])));
        let both = ("HTTP+JSON".to_owned(), text(&["HTTP+JSON", "JSONRPC"]), text(&["HTTP+JSON"]));
        assert_eq!(announced(true), both);
        // One that speaks nothing else is called by nothing else.
        let only = json!({"supportedInterfaces": [of("HTTP+JSON")]});
        assert_eq!(governed_by(&only, false, false), Err(Code::UpstreamInvalid));
        assert!(governed_by(&only, false, true).is_ok());
    }

    /// The official SDK reads cards by protobuf's rules, and sends the caller's credential to the address that it finds.
    #[test]
    fn no_spelling_and_no_nesting_gets_an_address_past_it() {
        let evil = json!([{"url": "http://evil:1", "protocolBinding": "JSONRPC"}]);
        for card in [
            json!({"url": "http://evil:1", "result": {"url": "http://evil:1"}}),
            json!({"url": "http://evil:1", "supported_interfaces": evil}),
            json!({"url": "http://evil:1", "error": {}, "result": {}, "supported_interfaces": evil}),
            json!({"supportedInterfaces": evil, "url ": "http://evil:1"}),
        ] {
            for rpc in [false, true] {
                let out = rewritten(&card, rpc).expect("a card").to_string();
                assert!(!out.contains("evil"), "{out}");
            }
        }
        let beside =
            json!({"jsonrpc": "2.0", "id": 1, "result": {"url": "x"}, "url": "http://evil:1"}).to_string();
        assert!(!rewrite(&beside, &governed(false), true).expect("a card").contains("evil"));
    }

    #[test]
    fn what_is_no_card_is_refused_and_an_error_passes() {
        for card in [json!([]), json!({}), json!({"name": "b"}), json!({"supportedInterfaces": []})] {
            assert_eq!(rewritten(&card, false), Err(Code::UpstreamInvalid), "{card}");
            assert_eq!(rewritten(&card, true), Err(Code::UpstreamInvalid), "{card}");
        }
        let error = r#"{"error":{"code":-32601,"message":"no"},"id":1,"jsonrpc":"2.0"}"#;
        assert_eq!(rewrite(error, &governed(false), true).as_deref(), Ok(error));
    }

    #[test]
    fn over_grpc_an_agent_is_called_by_the_tenant_that_the_gateway_knows_it_by() {
        let of = |binding: &str, version: &str| json!({"url": "b:1", "protocolBinding": binding, "protocolVersion": version, "tenant": "theirs"});
        let grpc = |version: &str| json!({"url": "gw:443", "protocolBinding": "GRPC", "protocolVersion": version, "tenant": "n/b"});
        let rpc = |tenant: Option<&str>| {
            let mut rpc = json!({"url": GATEWAY, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"});
            if let Some(tenant) = tenant {
                rpc["tenant"] = json!(tenant);
            }
            rpc
        };
        let announced = |given: Value, is_grpc_alone: bool, reached: bool| {
            let address = GrpcAddress { authority: "gw:443".to_owned(), tenant: "n/b".to_owned() };
            let governed = Governed { grpc: reached.then_some(address), is_grpc_alone, ..governed(false) };
            let card = json!({"supportedInterfaces": given}).to_string();
            let card = rewrite(&card, &governed, false).map_err(|refusal| refusal.code)?;
            Ok(serde_json::from_str::<Value>(&card).expect("JSON")["supportedInterfaces"].clone())
        };
        for (given, is_grpc_alone, reached, expected) in [
            (json!([of("JSONRPC", "1.0")]), false, true, Ok(json!([rpc(Some("theirs")), grpc("1.0")]))),
            (
                json!([of("GRPC", "1.0"), of("JSONRPC", "1.0")]),
                false,
                true,
                Ok(json!([grpc("1.0"), rpc(Some("theirs"))])),
            ),
            (json!([of("GRPC", "1.0")]), true, true, Ok(json!([grpc("1.0"), rpc(None)]))),
            // gRPC of 0.3 is not served, and nothing of an agent that speaks 0.3 alone.
            (
                json!([of("GRPC", "0.3"), of("JSONRPC", "1.0")]),
                false,
                true,
                Ok(json!([rpc(Some("theirs")), grpc("1.0")])),
            ),
            (json!([of("GRPC", "0.3")]), false, true, Err(Code::UpstreamInvalid)),
            // Where nobody reaches the gateway by it.
            (
                json!([of("GRPC", "1.0"), of("JSONRPC", "1.0")]),
                false,
                false,
                Ok(json!([rpc(Some("theirs"))])),
            ),
            (json!([of("GRPC", "1.0")]), false, false, Err(Code::UpstreamInvalid)),
        ] {
            assert_eq!(announced(given.clone(), is_grpc_alone, reached), expected, "{given}");
        }
    }
}
