//! The tables in `cases/` are data; `e2e/kube` holds the same tables against a real kube-apiserver.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

const ACCEPTED: &str = include_str!("cases/accepted.yaml");
const REFUSED: &str = include_str!("cases/refused.yaml");

#[derive(Deserialize)]
struct Table {
    cases: Vec<Case>,
    #[serde(flatten)]
    good: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Case {
    base: String,
    patch: Value,
    /// `[field, part of the reason, part of the fix]` of each rejection.
    says: Vec<Vec<String>>,
}

fn origin() -> Origin {
    Origin::file("/etc/vidimus/resources/a.yaml", 7)
}

fn table() -> Table {
    serde_saphyr::from_str(REFUSED).unwrap()
}

fn accepted() -> Vec<Value> {
    serde_saphyr::from_multiple(ACCEPTED).unwrap()
}

fn accepted_object(name: &str) -> Object {
    let documents = accepted();
    let document = documents.iter().find(|document| document["metadata"]["name"] == name).unwrap();
    check(&origin(), document).unwrap()
}

/// There are as many objects as somebody writes: lists have no more room than they need, and what many have is there once.
#[test]
fn an_object_takes_no_more_room_than_it_needs() {
    let agents = || {
        accepted().into_iter().filter_map(|document| match check(&origin(), &document).ok()? {
            Object::Agent(agent) => Some(agent),
            _ => None,
        })
    };
    assert!(agents().any(|agent| !agent.identities.is_empty()));
    for agent in agents() {
        assert_eq!(agent.identities.capacity(), agent.identities.len(), "{}", agent.meta.name);
    }
    let is_shared = |one: &Agent, same: &Agent| {
        Arc::ptr_eq(&one.owner, &same.owner) && Arc::ptr_eq(&one.meta.namespace, &same.meta.namespace)
    };
    // Tests beside this one may take the place of a text at any time.
    let are_shared = || agents().zip(agents()).all(|(one, same)| is_shared(&one, &same));
    assert!((0..8).any(|_| are_shared()));
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let members = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            merge(members.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[test]
fn what_is_good_is_accepted() {
    for document in accepted() {
        let only_in_a_cluster = document["metadata"]["annotations"]["cases/only"] == "cluster";
        match check(&origin(), &document) {
            Ok(_) => assert!(!only_in_a_cluster, "{document}"),
            Err(rejections) => assert!(only_in_a_cluster, "{document}: {rejections:#?}"),
        }
    }
    for (kind, document) in table().good {
        check(&origin(), &document).unwrap_or_else(|rejections| panic!("{kind}: {rejections:#?}"));
    }
}

#[test]
fn what_is_bad_is_refused_with_field_reason_and_fix() {
    let table = table();
    for case in &table.cases {
        let mut document = table.good[&case.base].clone();
        merge(&mut document, &case.patch);
        let rejections = check(&origin(), &document).err().unwrap_or_default();
        let context = format!("{} {}: {rejections:#?}", case.base, case.patch);
        assert_eq!(rejections.len(), case.says.len(), "{context}");
        for (rejection, says) in rejections.iter().zip(&case.says) {
            assert_eq!(rejection.field, says[0], "{context}");
            assert!(rejection.reason.contains(&says[1]), "{context}");
            assert!(says.get(2).is_none_or(|fix| rejection.fix.contains(fix)), "{context}");
            assert!(!rejection.fix.is_empty(), "{context}");
            assert_eq!(rejection.origin, origin());
            assert!(!format!("{rejection:?}").contains("hunter2"), "a secret is shown: {context}");
        }
    }
}

/// What was kept of an object is the same one, whichever way it is read.
#[test]
fn what_was_kept_is_read_as_it_was_without_being_written_again() {
    let of = Origin::Cluster { cluster: "c".into(), uid: Some("u".into()), resource_version: None };
    let mut count = 0;
    for document in accepted() {
        let Ok(object) = check(&of, &document) else { continue };
        let text = object.meta().document.clone();
        let kept: Value = serde_json::from_str(&text).unwrap();
        let again = check_again(&of, kept.clone(), &text).unwrap();
        let anew = check(&of, &kept).unwrap();
        assert_eq!((again.meta(), anew.meta().document.clone()), (anew.meta(), text));
        assert_eq!(format!("{again:?}"), format!("{anew:?}"));
        count += 1;
    }
    assert!(count > 3, "{count}");
    let wrong =
        json!({"apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": "p"}, "spec": {"descr": 7}});
    let says = |all: Vec<Rejection>| all.into_iter().map(|one| (one.field, one.value)).collect::<Vec<_>>();
    let again = says(check_again(&of, wrong.clone(), "").unwrap_err());
    assert_eq!(again, says(check(&of, &wrong).unwrap_err()));
}

#[test]
fn every_kind_has_a_case() {
    let table = table();
    for kind in Kind::ALL.map(Kind::as_str) {
        assert!(table.good.contains_key(kind), "{kind}");
        assert!(table.cases.iter().any(|case| case.base == kind), "{kind}");
    }
}

#[test]
fn a_document_that_is_no_object_is_refused() {
    for document in [json!(null), json!("text"), json!([]), json!(7), json!({})] {
        assert!(check(&origin(), &document).is_err(), "{document}");
    }
    let rejections = check(&origin(), &json!({"kind": "Agent", "metadata": {"name": "x"}})).unwrap_err();
    assert_eq!(rejections[0].object.to_string(), "Agent default/x");
}

#[test]
fn an_agent_keeps_what_was_written() {
    let Object::Agent(agent) = accepted_object("invoice-bot") else { panic!("an agent") };
    assert_eq!(agent.id.to_string(), "Agent/finance/invoice-bot");
    assert_eq!(agent.version.as_deref(), Some("1.4.2"));
    assert_eq!(agent.risk_level, RiskLevel::Low);
    assert_eq!(agent.authority_class, AuthorityClass::ActWithApproval);
    assert_eq!(
        agent.delegation,
        DelegationLimits { max_depth: Some(3), max_fan_out: Some(8), ..Default::default() }
    );
    let account = Identity::ServiceAccount { namespace: "finance".into(), name: "invoice-bot".into() };
    assert_eq!(agent.identities[2], account);
    let endpoint = agent.endpoint.as_ref().unwrap();
    assert_eq!(
        (endpoint.url.as_str(), &*endpoint.audience),
        ("http://invoice-bot.finance:8080/", "http://invoice-bot.finance:8080/")
    );
    assert_eq!((endpoint.timeout_ms, endpoint.ca_file.as_deref()), (60_000, None));
    assert_eq!(agent.meta.origin, origin());
}

#[test]
fn what_is_left_out_gets_the_careful_default() {
    let Object::Agent(agent) = accepted_object("local-bot") else { panic!("an agent") };
    assert_eq!((&*agent.meta.namespace, &*agent.environment), ("default", "production"));
    assert_eq!(agent.authority_class, AuthorityClass::Advise);
    assert!(!agent.quarantined);
    let Object::Service(service) = accepted_object("reporting") else { panic!("a service") };
    assert_eq!(service.risk_level, RiskLevel::Medium);
    let Object::LlmProvider(provider) = accepted_object("openai") else { panic!("a provider") };
    assert_eq!(
        (provider.endpoint.url.as_str(), provider.endpoint.timeout_ms),
        ("https://api.openai.com/", 600_000)
    );
    assert_eq!(&*provider.team, "");
    let Object::Policy(policy) = accepted_object("finance-read") else { panic!("a policy") };
    assert_eq!(policy.scope, policy::Scope::Namespace);
}

#[test]
fn tools_default_to_destructive_with_the_risk_of_the_server() {
    let Object::McpServer(server) = accepted_object("files") else { panic!("a server") };
    let tool = |risk_level, read_only, destructive| mcp_server::Tool {
        risk_level,
        read_only,
        destructive,
        unseen_arguments: false,
    };
    assert_eq!(server.tool("read/file.v1"), tool(RiskLevel::Low, true, false));
    assert_eq!(server.tool("write_file"), tool(RiskLevel::High, false, false));
    assert_eq!(server.tool("delete_file"), tool(RiskLevel::High, false, true));
    assert_eq!(server.tool("unlisted"), tool(RiskLevel::High, false, true));
}

#[test]
fn prices_are_exact() {
    let Object::LlmProvider(provider) = accepted_object("openai") else { panic!("a provider") };
    assert_eq!(
        provider.model("gpt-5.2-mini").unwrap().price,
        Some(llm_provider::Price::plain(250_000, 2_000_000))
    );
    let Object::LlmProvider(provider) = accepted_object("local") else { panic!("a provider") };
    let price = provider.model("meta-llama/Llama-3.3:70b").unwrap().price;
    assert_eq!(price, Some(llm_provider::Price::plain(0, 999_999_999_999)));
}

#[test]
fn roots_lie_beside_the_object_and_secrets_in_their_directory() {
    let Object::LlmProvider(provider) = accepted_object("openai") else { panic!("a provider") };
    assert_eq!(provider.credential, llm_provider::CredentialSource::File("keys/openai".into()));
    let Object::Agent(agent) = accepted_object("oracle.v2") else { panic!("an agent") };
    let endpoint = agent.endpoint.as_ref().unwrap();
    assert_eq!(endpoint.ca_file.as_deref(), Some("/etc/vidimus/resources/roots.pem"));
    assert_eq!((&*endpoint.audience, endpoint.timeout_ms), ("urn:oracle", 90_000));
    assert_eq!(&*endpoint::beside("a.yaml", "k"), "k");
    assert_eq!(&*endpoint::beside("d/a.yaml", "/k"), "/k");
}

#[test]
fn long_values_and_control_characters_are_not_printed_whole() {
    let mut document = table().good["Agent"].clone();
    merge(&mut document, &json!({"spec": {"team": "\u{1b}[31m".repeat(100)}}));
    let rejections = check(&origin(), &document).unwrap_err();
    assert_eq!(rejections[0].field, "spec.team");
    assert_eq!(rejections[0].value.chars().count(), 120);
    assert!(!rejections[0].value.contains('\u{1b}'));
}

/// CEL rules only pass the cost budget of Kubernetes when everything they look at is bounded.
#[test]
fn everything_in_a_spec_is_bounded() {
    fn visit(schema: &JSONSchemaProps, at: &str) {
        match schema.type_.as_deref() {
            Some("string") => {
                assert!(schema.max_length.is_some() || schema.enum_.is_some(), "{at} has no maxLength");
            }
            Some("array") => assert!(schema.max_items.is_some(), "{at} has no maxItems"),
            Some("object") if schema.properties.is_none() => {
                // `none: {}` is an object without fields.
                assert!(
                    schema.max_properties.is_some() || at.ends_with(".none"),
                    "{at} has no maxProperties"
                );
            }
            _ => {}
        }
        assert!(schema.nullable.is_none(), "{at} is nullable");
        for (name, property) in schema.properties.iter().flatten() {
            assert!(property.description.is_some(), "{at}.{name} is not described");
            visit(property, &format!("{at}.{name}"));
        }
        if let Some(JSONSchemaPropsOrArray::Schema(each)) = &schema.items {
            visit(each, &format!("{at}[]"));
        }
    }
    for kind in Kind::ALL.map(Kind::as_str) {
        visit(&crd::schema(kind).unwrap().properties.as_ref().unwrap()["spec"], kind);
    }
}

/// Attack: a forbid that was created by `metadata.generateName`, which the API server stores and nobody read, so that it was not in force.
#[test]
fn what_an_api_server_stores_of_an_object_makes_none_malformed() {
    let schema = schemars::generate::SchemaSettings::openapi3()
        .into_generator()
        .into_root_schema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>();
    let schema = serde_json::to_value(schema).unwrap();
    let mut all: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert!(all.len() > 10 && all.iter().any(|field| *field == "generateName"), "{all:?}");
    let mut known: Vec<&str> = check::META.into_iter().chain(check::META_OF_CLUSTER).collect();
    all.sort();
    known.sort_unstable();
    assert_eq!(all, known);
    let mut policy = table().good["Policy"].clone();
    policy["metadata"]["generateName"] = json!("stop-");
    check(&origin(), &policy).unwrap_or_else(|rejections| panic!("{rejections:#?}"));
}

/// Attack: a file of the gateway, named by whoever may write an object, to learn what is there.
#[test]
fn in_a_cluster_no_object_names_a_file_of_roots() {
    let of_cluster = Origin::Cluster { cluster: "c".into(), uid: None, resource_version: None };
    for kind in ["Agent", "MCPServer", "LLMProvider"] {
        let mut document = table().good[kind].clone();
        document["spec"]["endpoint"] =
            json!({"url": "https://a.example/", "caFile": "/var/run/secrets/token"});
        let rejections = check(&of_cluster, &document).expect_err(kind);
        assert!(rejections.iter().any(|one| one.field == "spec.endpoint.caFile"), "{kind}: {rejections:#?}");
    }
}
