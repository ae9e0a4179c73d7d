//! What is decided of chains: their limits, what ends them, what they have read, and the facts of time and people.

use std::sync::Arc;

use vidimus_core::call::{Action, Ask, Call, Collected, SoFar, Target};
use vidimus_core::caller::{UnixMillis, User};
use vidimus_core::decide::chain_reads::ChainReads;
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::refusal::Code;
use vidimus_core::resource::llm_provider::Price;
use vidimus_core::resource::{DelegationLimits, Object};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Answer, Facts, agent, cluster, names, objects, provider, server, snapshot};

const ALL: &str = "permit (principal, action, resource);";

fn world(limits: DelegationLimits, policy: &str) -> Snapshot {
    let mut limited = agent("a", "limited");
    limited.delegation = limits;
    let mut tools = server("a", "s");
    tools.labels.server.reads = names(&["confidential"]);
    tools.tool_sets.insert("web".into(), names(&["fetch", "mail"]));
    tools.labels.sets.entry("web".into()).or_default().returns = names(&["untrusted"]);
    tools.labels.tools.entry("mail".into()).or_default().sends = names(&["external"]);
    let mut models = provider("a", "p", &[("m", &[])]);
    models.models[0].price = Some(Price::plain(2_000_000, 9));
    let mut all = objects(vec![agent("a", "x"), limited], vec![tools], vec![cluster(policy)]);
    all.push(Object::LlmProvider(Arc::new(models)));
    snapshot(all)
}

fn ask(world: &Snapshot, who: &str, so_far: SoFar) -> Answer {
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
    let facts = Facts { so_far, ..Facts::of(world, who).at_depth(2) };
    facts.authorize(world, Action::InvokeTool, target)
}

/// Whether the decision ends the chain, and by what.
fn ends(world: &Snapshot, so_far: &SoFar) -> Option<String> {
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
    Facts::of(world, "a/limited").at_depth(2).ask(Action::InvokeTool, target, |call| {
        let decision = world.authorize(&Call { so_far, ..*call });
        decision.ends_chain().map(ToString::to_string)
    })
}

#[test]
fn an_agents_own_record_limits_what_its_chains_come_to_and_ends_them() {
    let none = DelegationLimits::default();
    for (limits, so_far, limit, facts) in [
        (
            DelegationLimits { max_calls: Some(2), ..none },
            SoFar { calls: 3, ..SoFar::default() },
            "maxCalls",
            [("context.chain.calls", "3"), ("principal.delegation.maxCalls", "2")],
        ),
        (
            DelegationLimits { max_tokens: Some(100), ..none },
            SoFar { tokens: 101, ..SoFar::default() },
            "maxTokens",
            [("context.chain.tokens", "101"), ("principal.delegation.maxTokens", "100")],
        ),
        (
            DelegationLimits { max_spend: Some(5), ..none },
            SoFar { spend: 6, ..SoFar::default() },
            "maxSpend",
            [("context.chain.spend", "6"), ("principal.delegation.maxSpend", "5")],
        ),
        (
            DelegationLimits { max_age: Some(499), ..none },
            SoFar::default(),
            "maxAge",
            [("context.chain.age", "500"), ("principal.delegation.maxAge", "499")],
        ),
    ] {
        let world = world(limits, ALL);
        let by = format!("Agent/a/limited spec.delegation.{limit}");
        let found = ask(&world, "a/limited", so_far.clone());
        assert_eq!((found.code, found.policies()), (Some(Code::ChainLimit), vec![&*by]), "{limit}");
        assert_eq!(found.facts()[1..], facts, "{limit}");
        assert_eq!(found.facts()[0], ("chain.ended_by", &*by));
        assert_eq!(ends(&world, &so_far), Some(by));
        // Of another agent's calls it says nothing; and what fits is let through.
        assert!(ask(&world, "a/x", so_far).allowed(), "{limit}");
        if limit != "maxAge" {
            assert!(ask(&world, "a/limited", SoFar::default()).allowed(), "{limit}");
            assert_eq!(ends(&world, &SoFar::default()), None);
        }
    }
}

#[test]
fn what_comes_to_just_the_limit_fits() {
    let (none, so_far) = (DelegationLimits::default(), SoFar::default());
    for (limits, so_far) in [
        (DelegationLimits { max_calls: Some(2), ..none }, SoFar { calls: 2, ..so_far.clone() }),
        (DelegationLimits { max_tokens: Some(100), ..none }, SoFar { tokens: 100, ..so_far.clone() }),
        (DelegationLimits { max_spend: Some(5), ..none }, SoFar { spend: 5, ..so_far.clone() }),
        (DelegationLimits { max_age: Some(500), ..none }, so_far.clone()),
        (DelegationLimits { max_calls: Some(2), no_cycles: true, ..none }, so_far),
    ] {
        assert!(ask(&world(limits, ALL), "a/limited", so_far).allowed(), "{limits:?}");
    }
}

/// Who acted before acts again, or is called again, or calls itself.
#[test]
fn an_agents_own_record_may_allow_no_circle() {
    let none = DelegationLimits::default();
    let by = "Agent/a/limited spec.delegation.allowCycles";
    for (actors, called, circle) in [
        (&["a/y"][..], None, false),
        (&["a/y", "a/limited"], None, true),
        (&["a/y"], Some("a/x"), false),
        (&["a/x", "a/y"], Some("a/x"), true),
        (&[], Some("a/limited"), true),
        (&[], Some("a/x"), false),
    ] {
        for (no_cycles, skill) in [(true, None), (true, Some("s")), (false, None)] {
            let world = world(DelegationLimits { no_cycles, ..none }, ALL);
            let (action, target) = match (called.map(|name| world.agent(name).unwrap()), skill) {
                (None, _) => {
                    let server = world.mcp_server("a/s").unwrap();
                    (Action::InvokeTool, Target::Tool { server, name: "get" })
                }
                (Some(agent), None) => (Action::CallAgent, Target::Agent(agent)),
                (Some(agent), Some(name)) => (Action::CallAgent, Target::Skill { agent, name }),
            };
            let mut facts = Facts::of(&world, "a/limited");
            facts.chain.actors = actors.iter().map(|id| EntityId::new(EntityKind::Agent, *id)).collect();
            let found = facts.authorize(&world, action, target);
            if circle && no_cycles {
                assert_eq!((found.code, found.policies()), (Some(Code::ChainLimit), vec![by]), "{actors:?}");
                let facts = [
                    ("chain.ended_by", by),
                    ("context.chain.cycle", "true"),
                    ("principal.delegation.allowCycles", "false"),
                ];
                assert_eq!(found.facts(), facts);
            } else {
                assert!(found.allowed(), "{actors:?} {called:?}");
            }
        }
    }
}

#[test]
fn in_an_ended_chain_nothing_is_allowed() {
    let world = world(DelegationLimits::default(), ALL);
    let found = ask(&world, "a/x", SoFar { ended: Some("t/p#circle".into()), ..SoFar::default() });
    assert_eq!((found.code, found.policies()), (Some(Code::ChainEnded), vec!["t/p#circle"]));
    assert_eq!(found.facts(), [("chain.ended_by", "t/p#circle")]);
    assert_eq!(&*found.refusal().message, "this chain of calls was ended by t/p#circle");
}

#[test]
fn a_forbid_ends_the_chain_where_it_says_so_and_refuses() {
    let forbid = |annotation: &str| {
        format!(
            "{ALL} @id(\"n\") {annotation} forbid (principal, action in Action::\"mcp\", resource) when {{ context.chain.calls > 2 }};"
        )
    };
    let many = SoFar { calls: 3, ..SoFar::default() };
    for (annotation, by) in [("@ends_chain", Some("t/p#n".to_owned())), ("", None)] {
        let world = world(DelegationLimits::default(), &forbid(annotation));
        assert_eq!(ask(&world, "a/limited", many.clone()).code, Some(Code::ForbiddenByPolicy));
        assert_eq!(ends(&world, &many), by);
        assert_eq!(ends(&world, &SoFar::default()), None);
    }
    let permit = "@ends_chain permit (principal, action, resource);";
    let world = world(DelegationLimits::default(), permit);
    assert_eq!(world.warnings()[0].reason, "t/p: @ends_chain does nothing on a permit");
}

#[test]
fn tokens_and_spend_are_with_the_call_by_its_estimate() {
    let policy = "permit (principal, action in Action::\"llm\", resource) when { context.chain.tokens <= 10 && context.chain.spend <= 20 };";
    let world = world(DelegationLimits::default(), policy);
    let provider = world.llm_provider("a/p").unwrap();
    let allowed = |tokens_estimated, tokens, spend| {
        let target = Target::Model { provider, name: "m" };
        let ask = Ask { tokens_estimated, ..Ask::about("m", Action::CallModel, target) };
        let so_far = SoFar { tokens, spend, ..SoFar::default() };
        Facts { so_far, ..Facts::of(&world, "a/x") }.asked(&world, ask).allowed()
    };
    // The price is 2 a token.
    assert!(allowed(10, 0, 0));
    assert!(!allowed(11, 0, 0));
    assert!(!allowed(10, 1, 0));
    assert!(!allowed(10, 0, 1));
    assert!(!allowed(i64::MAX, i64::MAX, i64::MAX));
}

fn label(name: &str) -> Collected {
    Collected {
        label: name.into(),
        from: format!("Tool/a/s/{name}").into(),
        call: format!("c-{name}").into(),
    }
}

#[test]
fn labels_are_of_the_chain_and_of_what_is_called_and_say_where_they_came_from() {
    let policy = r#"permit (principal, action, resource);
        forbid (principal, action, resource is Tool)
        when { context.labels.containsAll(["confidential", "untrusted"]) && resource.sends.contains("external") };"#;
    let world = world(DelegationLimits::default(), policy);
    let call = |name, labels: &[&str]| {
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name };
        let labels = labels.iter().map(|name| label(name)).collect();
        let facts = Facts { so_far: SoFar { labels, ..SoFar::default() }, ..Facts::of(&world, "a/x") };
        facts.authorize(&world, Action::InvokeTool, target)
    };
    assert!(call("mail", &["confidential"]).allowed());
    assert!(call("fetch", &["confidential", "untrusted"]).allowed(), "it sends nothing");
    let refused = call("mail", &["confidential", "untrusted"]);
    assert_eq!(refused.code, Some(Code::ForbiddenByPolicy));
    assert_eq!(
        refused.facts(),
        [
            ("context.labels", "[confidential, untrusted]"),
            ("context.labels[\"confidential\"]", "Tool/a/s/confidential by call c-confidential"),
            ("context.labels[\"untrusted\"]", "Tool/a/s/untrusted by call c-untrusted"),
            ("resource.sends", "[external]"),
        ]
    );
    let server = world.mcp_server("a/s").unwrap();
    let brought = |name| -> Vec<String> {
        let target = Target::Tool { server, name };
        target.labels().brought().map(ToString::to_string).collect()
    };
    assert_eq!(brought("get"), ["confidential"]);
    assert_eq!(brought("mail"), ["confidential", "untrusted"]);
}

#[test]
fn a_snapshot_knows_what_has_to_be_counted() {
    let none = ChainReads::default();
    let of = |limits, policy| world(limits, policy).chain_reads();
    let limits = DelegationLimits::default();
    assert_eq!(of(limits, ALL), none);
    let depth = DelegationLimits { max_depth: Some(1), max_fan_out: Some(1), ..limits };
    assert_eq!(of(depth, ALL), none, "fan-out is counted for those who have the limit");
    let calls = DelegationLimits { max_calls: Some(1), ..limits };
    assert_eq!(of(calls, ALL), ChainReads { counts: true, ends: true, ..none });
    let age = DelegationLimits { max_age: Some(1), ..limits };
    assert_eq!(of(age, ALL), ChainReads { ends: true, ..none });
    let labels =
        "permit (principal, action in Action::\"mcp\", resource) unless { context.labels.contains(\"x\") };";
    assert_eq!(of(limits, labels), ChainReads { labels: true, labels_kept: true, ..none });
    // Where nothing brings a label there is none to collect, but what was collected counts.
    let unlabelled = snapshot(objects(vec![agent("a", "x")], vec![server("a", "s")], vec![cluster(labels)]));
    assert_eq!(unlabelled.chain_reads(), ChainReads { labels_kept: true, ..none });
    for brings in 0..3 {
        let (mut who, mut tools, mut models) = (agent("a", "x"), server("a", "s"), provider("a", "llm", &[]));
        let all = [&mut who.labels.reads, &mut tools.labels.server.reads, &mut models.labels.reads];
        if let Some(reads) = all.into_iter().nth(brings) {
            *reads = names(&["x"]);
        }
        let mut all = objects(vec![who], vec![tools], vec![cluster(labels)]);
        all.push(Object::LlmProvider(Arc::new(models)));
        let reads = ChainReads { labels: true, labels_kept: true, ..none };
        assert_eq!(snapshot(all).chain_reads(), reads, "object {brings}");
    }
    let ends =
        "@ends_chain forbid (principal, action in Action::\"mcp\", resource) when { context.chain.cycle };";
    assert_eq!(of(limits, ends), ChainReads { ends: true, ..none });
}

#[test]
fn the_day_and_the_hour_are_those_of_utc() {
    let holds = |now, condition: &str| {
        let world = world(
            DelegationLimits::default(),
            &format!("permit (principal, action in Action::\"mcp\", resource) when {{ {condition} }};"),
        );
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
        Facts { now: UnixMillis(now), ..Facts::of(&world, "a/x") }
            .authorize(&world, Action::InvokeTool, target)
            .allowed()
    };
    // 2026-11-27 is a Friday.
    let friday = 1_795_737_600_000;
    for (day, name) in
        ["friday", "saturday", "sunday", "monday", "tuesday", "wednesday", "thursday"].iter().enumerate()
    {
        let at = friday + day as i64 * 86_400_000;
        assert!(holds(at, &format!("context.weekday == \"{name}\" && context.hour == 0")), "{name}");
        assert!(
            holds(at + 86_399_999, &format!("context.weekday == \"{name}\" && context.hour == 23")),
            "{name}"
        );
    }
    assert!(holds(0, "context.weekday == \"thursday\""));
    assert!(holds(-1, "context.weekday == \"wednesday\" && context.hour == 23"));
    assert!(holds(friday + 9 * 3_600_000, "context.now.toTime() >= duration(\"9h\") && context.hour == 9"));
}

#[test]
fn a_person_is_in_the_groups_of_its_own_issuer_only() {
    let holds = |condition: &str| {
        let world = world(
            DelegationLimits::default(),
            &format!("permit (principal, action in Action::\"mcp\", resource) when {{ {condition} }};"),
        );
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
        let user = User {
            issuer: "https://i".into(),
            subject: "anna".into(),
            email: None,
            groups: ["payments".into(), "staff".into()].into(),
        };
        let facts = Facts { user: Some(user), ..Facts::of(&world, "a/x") };
        facts.authorize(&world, Action::InvokeTool, target).allowed()
    };
    let of = |group: &str| format!("context has on_behalf_of && context.on_behalf_of in {group}");
    assert!(holds(&of("UserGroup::\"https://i#payments\"")));
    assert!(holds(&of("[UserGroup::\"https://i#other\", UserGroup::\"https://i#staff\"]")));
    for other in ["payments", "https://j#payments", "https://i#payment", "https://i#", "https://i#payments#"]
    {
        assert!(!holds(&of(&format!("UserGroup::{other:?}"))), "{other}");
    }
}
