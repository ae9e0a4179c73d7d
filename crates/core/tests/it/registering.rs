//! Who may register which objects: each field by which one reaches beyond its namespace can be kept to some.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use vidimus_core::admission::pod::{Pod, Rule, violations};
use vidimus_core::admission::workloads::{IMAGES_LABEL, Workloads};
use vidimus_core::admission::{Change, Permitted, Registering};
use vidimus_core::caller::{UnixMillis, User};
use vidimus_core::person::Person;
use vidimus_core::refusal::Code;
use vidimus_core::resource::policy::{Members, Scope};
use vidimus_core::resource::{
    self, ActsFor, Agent, Identity, LlmProvider, McpServer, Object, Origin, Policy, Service,
};
use vidimus_core::snapshot::Snapshot;

use crate::world::{agent, cluster, names, objects, policy, provider, server, service, snapshot};

fn person(subject: &str, groups: &[&str]) -> Person {
    let groups: Vec<Arc<str>> = groups.iter().map(|group| Arc::from(*group)).collect();
    let user = User {
        issuer: "kubernetes".into(),
        subject: subject.into(),
        email: None,
        groups: groups.clone().into(),
    };
    Person { user, groups: groups.into(), unverified_email: None }
}

fn asked(world: &Snapshot, person: &Person, change: Change<'_>) -> Result<Permitted, Code> {
    let asked = Registering { person, change, now: UnixMillis(1_795_869_399_000) };
    world.authorize_registration(&asked).map_err(|refusal| refusal.code)
}

fn created(world: &Snapshot, who: &Person, object: &Object) -> Result<Permitted, Code> {
    asked(world, who, Change::Create(object))
}

/// Somebody who may write objects of the namespace `a`, and policies that keep to others what reaches out of it.
#[test]
fn each_field_that_crosses_namespaces_can_be_kept_to_some() {
    let of = |agent: Agent| Object::Agent(Arc::new(agent));
    let foreign = Identity::ServiceAccount { namespace: "b".into(), name: "bot".into() };
    let spiffe = Identity::Spiffe("spiffe://corp.example/ns/b/sa/bot".into());
    let oidc =
        Identity::Oidc { issuer: "https://login".into(), subject: "bot".into(), claims: BTreeMap::new() };
    let with = |identity: &Identity| of(Agent { identities: vec![identity.clone()], ..agent("a", "x") });
    let acts_for = vec![ActsFor { issuer: "https://login".into() }];
    let at = |url: &str, audience: Option<&str>| {
        let mut one = server("a", "x");
        one.endpoint.url = url.parse().unwrap();
        one.endpoint.audience = audience.unwrap_or(url).into();
        Object::McpServer(Arc::new(one))
    };
    let ruling = |scope, members: &[&str]| {
        let Object::Policy(one) = policy("a", "p", scope, "permit (principal, action, resource);") else {
            panic!("a policy")
        };
        Object::Policy(Arc::new(Policy {
            members: members.iter().copied().collect::<Members>(),
            ..(*one).clone()
        }))
    };
    let job = json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer", "metadata": {"namespace": "a", "name": "x"},
        "spec": {"owner": "first.last@example.com", "team": "finance", "riskLevel": "low", "job": {
            "template": {"spec": {"containers": [{"name": "t", "image": "hub.example/any:latest"}], "imagePullSecrets": [{"name": "hub"}]}},
            "tools": {"run": {"description": "d", "inputSchema": {"type": "object"}}},
            "egress": [{"cidr": "10.1.0.0/16", "ports": [443]}],
        }},
    });
    let job = resource::check(&Origin::default(), &job).unwrap();
    let in_cluster = Origin::Cluster { cluster: "kubernetes".into(), uid: None, resource_version: None };
    let of_cluster = |kind: &str, spec: serde_json::Value| {
        let document = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "a", "name": "x"}, "spec": spec});
        resource::check(&in_cluster, &document).unwrap()
    };
    let asking = of_cluster(
        "Policy",
        json!({
            "description": "d",
            "guards": [
                {"name": "host", "regex": [{"kind": "host", "pattern": "corp"}]},
                {"name": "dlp", "webhook": {"url": "https://DLP.b.svc:8443/ask"}},
            ],
            "cedar": "@guard(\"dlp\") forbid (principal, action, resource);",
        }),
    );
    let keyed = of_cluster(
        "LLMProvider",
        json!({
            "owner": "first.last@example.com", "team": "finance", "type": "openAICompatible", "endpoint": {"url": "https://models.a.svc"},
            "credential": {"secretRef": {"name": "openai", "key": "apiKey"}}, "models": [{"name": "m"}],
        }),
    );
    let keyed_server = of_cluster(
        "MCPServer",
        json!({
            "owner": "first.last@example.com", "team": "finance", "riskLevel": "low",
            "endpoint": {"url": "https://tools.a.svc/mcp", "credential": {"secretRef": {"name": "partner", "key": "k"}}},
        }),
    );
    let front = of_cluster(
        "MCPServer",
        json!({
            "owner": "first.last@example.com", "team": "finance", "riskLevel": "low",
            "members": [{"name": "ledger", "server": {"namespace": "b", "name": "ledger"}}],
        }),
    );
    let mut carded = agent("a", "x");
    let mut endpoint = server("a", "x").endpoint;
    endpoint.card = Some("http://Cards.b.svc/card.json".parse().unwrap());
    carded.endpoint = Some(Box::new(endpoint));
    let sets: BTreeMap<Arc<str>, _> = [(Arc::from("paying"), names(&["pay"]))].into();
    for (condition, object) in [
        (r#"resource.groups.contains("g")"#, of(Agent { groups: names(&["g"]), ..agent("a", "x") })),
        (
            r#"resource.groups.contains("g")"#,
            Object::Service(Arc::new(Service { groups: names(&["g"]), ..service("a", "x") })),
        ),
        (
            r#"resource has team && resource.team == "others""#,
            of(Agent { team: "others".into(), ..agent("a", "x") }),
        ),
        (
            r#"resource has sandbox_class && resource.sandbox_class == "gvisor""#,
            of(Agent { sandbox_class: Some("gvisor".into()), ..agent("a", "x") }),
        ),
        (
            r#"resource.tool_sets.contains("paying")"#,
            Object::McpServer(Arc::new(McpServer { tool_sets: sets, ..server("a", "x") })),
        ),
        (
            r#"resource.model_sets.contains("large")"#,
            Object::LlmProvider(Arc::new(provider("a", "x", &[("m", &["large"])]))),
        ),
        (r#"resource.identities.contains("serviceAccount:b/bot")"#, with(&foreign)),
        (r#"resource.identities.contains("spiffe://corp.example/ns/b/sa/bot")"#, with(&spiffe)),
        (r#"resource.identities.contains("oidc:https://login#bot")"#, with(&oidc)),
        (r#"resource.issuers.contains("https://login")"#, with(&oidc)),
        (r#"resource has host && !(resource.host like "*.a.svc")"#, at("http://Ledger.b.svc:9000/mcp", None)),
        (
            r#"resource has audience && resource.audience == "http://ledger.b.svc/mcp""#,
            at("http://mine.a.svc/", Some("http://ledger.b.svc/mcp")),
        ),
        (r#"resource.acts_for.contains("https://login")"#, of(Agent { acts_for, ..agent("a", "x") })),
        (r#"resource has scope && resource.scope == "Cluster""#, ruling(Scope::Cluster, &[])),
        (r#"resource.members.contains("*")"#, ruling(Scope::Namespace, &["*"])),
        (r#"resource has endpoint && resource.endpoint == "job""#, job.clone()),
        (r#"resource has image && !(resource.image like "registry.a.example/*@sha256:*")"#, job.clone()),
        (r#"resource.egress.contains("10.1.0.0/16")"#, job.clone()),
        (r#"!["dlp.a.svc"].containsAll(resource.webhooks)"#, asking.clone()),
        (r#"resource.webhooks.contains("dlp.b.svc")"#, asking),
        (r#"resource.secrets.contains("hub")"#, job.clone()),
        (r#"resource.secrets.contains("openai")"#, keyed),
        (r#"resource.secrets.contains("partner")"#, keyed_server),
        (r#"resource.members.contains("b/ledger")"#, front),
        (r#"resource has card_host && resource.card_host == "cards.b.svc""#, of(carded)),
        (r#"resource has authority_class && resource.authority_class == "act""#, of(agent("a", "x"))),
    ] {
        let forbid = format!(
            r#"forbid (principal, action == Action::"registerObject", resource) when {{ {condition} }} unless {{ principal in UserGroup::"platform" }};"#
        );
        let world = snapshot(vec![cluster(&forbid)]);
        let tenant = person("mallory", &["tenant-a"]);
        assert_eq!(created(&world, &tenant, &object), Err(Code::ForbiddenByPolicy), "{condition}");
        assert_eq!(
            created(&world, &person("ada", &["platform"]), &object),
            Ok(Permitted::Unsaid),
            "{condition}"
        );
        // Nothing else is kept from anybody.
        let plain = Agent { authority_stated: false, ..agent("a", "y") };
        assert_eq!(created(&world, &tenant, &of(plain)), Ok(Permitted::Unsaid), "{condition}");
        // Into it, and out of it.
        let other = Object::McpServer(Arc::new(server("a", "z")));
        for (before, after) in [(&object, &other), (&other, &object)] {
            let change = Change::Update { before: Some(before), after };
            assert_eq!(asked(&world, &tenant, change), Err(Code::ForbiddenByPolicy), "{condition}");
        }
        assert_eq!(
            asked(&world, &tenant, Change::Delete(&object)),
            Err(Code::ForbiddenByPolicy),
            "{condition}"
        );
    }
}

/// A provider without a team has none, and not one without a name.
#[test]
fn a_provider_without_a_team_has_no_team() {
    let has =
        r#"forbid (principal, action == Action::"registerObject", resource) when { resource has team };"#;
    let world = snapshot(vec![cluster(has)]);
    let ada = person("ada", &[]);
    let of = |team: &str| {
        let provider = LlmProvider { team: team.into(), ..provider("a", "x", &[("m", &[])]) };
        Object::LlmProvider(Arc::new(provider))
    };
    assert_eq!(created(&world, &ada, &of("")), Ok(Permitted::Unsaid));
    assert_eq!(created(&world, &ada, &of("platform")), Err(Code::ForbiddenByPolicy));
}

#[test]
fn as_long_as_no_policy_permits_kubernetes_decides_and_then_what_is_permitted() {
    let object = Object::Agent(Arc::new(agent("a", "x")));
    let ada = person("ada", &["a-admins"]);
    assert_eq!(created(&snapshot(vec![]), &ada, &object), Ok(Permitted::Unsaid));
    let of_a = r#"permit (principal in UserGroup::"a-admins", action == Action::"registerObject", resource in Namespace::"a") when { context.operation != "delete" };"#;
    let world = snapshot(vec![cluster(of_a)]);
    assert_eq!(created(&world, &ada, &object), Ok(Permitted::By(vec!["t/p".into()])));
    assert_eq!(asked(&world, &ada, Change::Delete(&object)), Err(Code::NoPermit));
    let elsewhere = Object::Agent(Arc::new(agent("b", "x")));
    assert_eq!(created(&world, &ada, &elsewhere), Err(Code::NoPermit));
    assert_eq!(created(&world, &person("bob", &[]), &object), Err(Code::NoPermit));
    // What a token of another issuer says is another group.
    let of_issuer = of_a.replace("a-admins", "https://login#a-admins");
    let world = snapshot(vec![cluster(&of_issuer)]);
    assert_eq!(created(&world, &ada, &object), Err(Code::NoPermit));
    assert_eq!(created(&world, &person("ada", &["https://login#a-admins"]), &object), Err(Code::NoPermit));
    // One that fails denies.
    let failing = r#"permit (principal, action == Action::"registerObject", resource) when { resource.hasTag("x") || resource.getTag("x") == "y" };"#;
    let (world, rejected) = Snapshot::build(vec![cluster(failing)]);
    assert!(!rejected.is_empty(), "strict types do not let it be");
    assert_eq!(created(&world, &ada, &object), Ok(Permitted::Unsaid));
    // What is said of names is of namespaces, and of nobody who registers.
    let of_names = r#"permit (principal == Namespace::"z", action == Action::"register", resource);"#;
    let (world, _) = Snapshot::build(vec![cluster(of_names)]);
    assert_eq!(created(&world, &ada, &object), Ok(Permitted::Unsaid));
}

fn pod(spec: &serde_json::Value) -> Pod {
    Pod::read(&json!({"metadata": {"name": "p"}, "spec": spec}), "a").unwrap()
}

fn claiming(name: &str, identities: Vec<Identity>) -> Agent {
    Agent { identities, ..agent("a", name) }
}

fn account(name: &str) -> Identity {
    Identity::ServiceAccount { namespace: "a".into(), name: name.into() }
}

#[test]
fn what_claims_a_service_account_and_what_it_asks_for() {
    let mut pinned = claiming("pinned", vec![account("pinned")]);
    pinned.meta.labels.insert(IMAGES_LABEL.to_owned(), "digest".to_owned());
    let both = vec![account("both"), Identity::Spiffe("spiffe://c/ns/a/sa/both".into())];
    let spiffe = vec![Identity::Spiffe("spiffe://corp.example/cluster-1/ns/b/sa/deep".into())];
    let none = vec![
        Identity::Spiffe("spiffe://corp.example/ns/b/sa/x/y".into()),
        Identity::Spiffe("spiffe://corp.example/ns/b/c/sa/x".into()),
        Identity::Spiffe("spiffe://corp.example/sa/x".into()),
        Identity::Spiffe("spiffe://corp.example".into()),
    ];
    let agents = vec![
        pinned,
        Agent { sandbox_class: Some("gvisor".into()), ..claiming("both", both) },
        claiming("deep", spiffe),
        claiming("none", none),
        Agent { quarantined: true, ..claiming("stopped", vec![account("stopped")]) },
        claiming("one", vec![account("twin")]),
        claiming("two", vec![account("twin"), account("other")]),
    ];
    let (world, _) = Snapshot::build(objects(agents, vec![], vec![]));
    let workloads = Workloads::of(&world);
    let found: Vec<String> = workloads
        .iter()
        .map(|((namespace, name), one)| {
            let sandbox = one.sandbox.as_deref().unwrap_or("-");
            format!(
                "{namespace}/{name} {} {sandbox} {} {}",
                one.held.is_none(),
                one.digest,
                one.records.len()
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            "a/both true gvisor false 1",
            "a/other false - false 1",
            "a/pinned true - true 1",
            "a/stopped false - false 1",
            "a/twin false - false 2",
            "b/deep true - false 1",
        ]
    );
    let of = |spec: serde_json::Value| {
        let pod = pod(&spec);
        let broken = violations(&pod, workloads.get("a", &pod.service_account), None);
        broken.iter().map(|one| one.rule).collect::<Vec<_>>()
    };
    assert_eq!(of(json!({})), [Rule::OwnServiceAccount]);
    assert_eq!(of(json!({"serviceAccount": "both"})), [Rule::Sandbox]);
    assert_eq!(of(json!({"serviceAccountName": "deep"})), [Rule::Registered]);
    let image = |image: &str| of(json!({"serviceAccountName": "pinned", "containers": [{"image": image}]}));
    let digest = "0123456789abcdef".repeat(4);
    assert!(image(&format!("r/x:1@sha256:{digest}")).is_empty());
    for bad in [
        "r/x",
        "",
        "r/x@sha256:",
        &format!("r/x@sha256:{}", digest.to_uppercase()),
        &format!("r/x@sha512:{digest}"),
    ] {
        assert_eq!(image(bad), [Rule::ImageDigest], "{bad}");
    }
}
