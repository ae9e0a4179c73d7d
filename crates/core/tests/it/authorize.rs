//! What follows for a call from records and from what a protocol needs.

use std::sync::Arc;

use vidimus_core::call::{Action, Arguments, Ask, Call, Content, SoFar, Target};
use vidimus_core::json::Json;
use vidimus_core::permit::Verdict;
use vidimus_core::refusal::Code;
use vidimus_core::resource::mcp_server::Tool;
use vidimus_core::resource::{DelegationLimits, McpServer, Member, Members, Object, RiskLevel, WhenDown};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Answer, Facts, agent, cluster, names, objects, provider, server, snapshot};

fn world(policy: &str) -> Snapshot {
    let mut limited = agent("a", "limited");
    limited.delegation = DelegationLimits { max_depth: Some(2), max_fan_out: Some(3), ..Default::default() };
    let mut tools = server("a", "s");
    tools.tool_sets.insert("readers".into(), names(&["get"]));
    let policies: Vec<Object> = if policy.is_empty() { Vec::new() } else { vec![cluster(policy)] };
    snapshot(objects(vec![agent("a", "x"), agent("b", "y"), limited], vec![tools], policies))
}

fn connect(world: &Snapshot) -> Answer {
    let target = Target::Server(world.mcp_server("a/s").unwrap());
    Facts::of(world, "a/x").authorize(world, Action::ConnectServer, target)
}

fn skill(world: &Snapshot, name: &str) -> Answer {
    let target = Target::Skill { agent: world.agent("b/y").unwrap(), name };
    Facts::of(world, "a/x").authorize(world, Action::CallAgent, target)
}

#[test]
fn who_may_use_something_may_connect_and_the_record_says_what_implies_it() {
    for (policy, use_of_it) in [
        (
            r#"permit (principal, action == Action::"invokeTool", resource in ToolSet::"readers");"#,
            "Tool/a/s/get",
        ),
        (
            r#"permit (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay");"#,
            "Tool/a/s/pay",
        ),
        (
            r#"permit (principal, action == Action::"getPrompt", resource == Prompt::"a/s/p");"#,
            "Prompt/a/s/p",
        ),
        (
            r#"permit (principal, action == Action::"readResource", resource == Resource::"a/s/file:///x");"#,
            "Resource/a/s/file:///x",
        ),
        (r#"permit (principal, action == Action::"readResource", resource);"#, "Resource/a/s/*"),
        (
            r#"permit (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay")
               when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") < 5 };"#,
            "Tool/a/s/pay",
        ),
    ] {
        let decision = connect(&world(policy));
        assert!(decision.allowed(), "{policy}");
        assert_eq!(decision.policies(), ["t/p"], "{policy}");
        assert!(
            decision.facts().iter().any(|(name, value)| *name == "implied_by" && value.ends_with(use_of_it)),
            "{policy}"
        );
    }
    for policy in [
        "",
        r#"permit (principal == Agent::"b/y", action == Action::"invokeTool", resource);"#,
        r#"permit (principal, action == Action::"invokeTool", resource == Tool::"a/other/pay");"#,
        r#"permit (principal, action == Action::"callAgent", resource);"#,
        r#"permit (principal, action, resource); forbid (principal, action == Action::"connectServer", resource);"#,
    ] {
        assert!(!connect(&world(policy)).allowed(), "{policy}");
    }
}

#[test]
fn what_is_changed_of_a_use_is_nothing_of_the_whole() {
    let decision = connect(&world(
        r#"@id("use") permit (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay");
           @id("less") @redact("/card") forbid (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay");"#,
    ));
    assert!(decision.allowed(), "{decision:?}");
    let Verdict::Permitted(permit) = decision.verdict else { panic!() };
    assert!(permit.obligations().is_empty());
}

/// A record may list 64 sets of 256 tools. What is looked at for one message is bounded, and finds what may be used.
#[test]
fn connecting_to_a_server_of_many_tools_is_bounded_work() {
    let mut large = server("a", "s");
    for set in 0..64 {
        let tools: Vec<String> = (0..256).map(|tool| format!("s{set:02}-t{tool:03}")).collect();
        let tools: Vec<&str> = tools.iter().map(String::as_str).collect();
        large.tool_sets.insert(format!("set{set:02}").as_str().into(), names(&tools));
    }
    let safe =
        Tool { risk_level: RiskLevel::Low, read_only: true, destructive: false, unseen_arguments: false };
    large.tools.insert("s40-t200".into(), safe);
    for (policy, use_of_it) in [
        ("", None),
        (r#"permit (principal == Agent::"b/y", action, resource);"#, None),
        (
            r#"permit (principal, action == Action::"invokeTool", resource in ToolSet::"set63");"#,
            Some("Tool/a/s/s63-t000"),
        ),
        (
            r#"permit (principal, action == Action::"invokeTool", resource == Tool::"a/s/s50-t100");"#,
            Some("Tool/a/s/s50-t100"),
        ),
        (
            r#"permit (principal, action == Action::"invokeTool", resource) when { resource.read_only };"#,
            Some("Tool/a/s/s40-t200"),
        ),
        (
            r#"permit (principal, action == Action::"invokeTool", resource in ToolSet::"set00");
               forbid (principal, action, resource == Tool::"a/s/s00-t000");"#,
            Some("Tool/a/s/s00-t001"),
        ),
    ] {
        let policies = if policy.is_empty() { Vec::new() } else { vec![cluster(policy)] };
        let world = snapshot(objects(vec![agent("a", "x"), agent("b", "y")], vec![large.clone()], policies));
        let decision = connect(&world);
        let facts = decision.facts();
        let fact = facts.iter().find(|(name, _)| *name == "implied_by");
        let implied = fact.map(|(_, value)| value.split(' ').next_back().unwrap_or_default().to_owned());
        assert_eq!(implied.as_deref(), use_of_it, "{policy}");
        assert!(world.edges() <= 400, "{policy}: {} edges are compiled for one message", world.edges());
    }
}

#[test]
fn a_skill_narrows_and_never_escapes() {
    let part = r#"permit (principal, action, resource == Skill::"b/y/s");"#;
    let whole = r#"permit (principal, action, resource == Agent::"b/y");"#;
    let no_part = r#"forbid (principal, action, resource == Skill::"b/y/s");"#;
    let no_whole = r#"forbid (principal, action, resource == Agent::"b/y");"#;
    for (policy, named, other) in [
        (part.to_owned(), None, Some(Code::NoPermit)),
        (whole.to_owned(), None, None),
        (format!("{whole}{no_part}"), Some(Code::ForbiddenByPolicy), None),
        (format!("{part}{no_whole}"), Some(Code::ForbiddenByPolicy), Some(Code::ForbiddenByPolicy)),
        (String::new(), Some(Code::NoPermit), Some(Code::NoPermit)),
    ] {
        let world = world(&policy);
        assert_eq!(skill(&world, "s").code, named, "{policy}");
        assert_eq!(skill(&world, "t").code, other, "{policy}");
    }
}

/// Where both are permitted, the record says by what the skill is.
#[test]
fn what_permits_the_skill_is_named_before_what_permits_the_agent() {
    let both = r#"@id("part") permit (principal, action, resource == Skill::"b/y/s");
        @id("whole") permit (principal, action, resource == Agent::"b/y");"#;
    let world = world(both);
    assert_eq!(skill(&world, "s").policies(), ["t/p#part"]);
    assert_eq!(skill(&world, "t").policies(), ["t/p#whole"]);
}

/// Whether an agent is to tell somebody of what comes later, and whom.
#[test]
fn where_notifications_go_is_part_of_the_call() {
    let world = world(
        r#"permit (principal, action == Action::"callAgent", resource) unless {
            context has push_notification_url && !(context.push_notification_url like "https://hooks.example/*") };"#,
    );
    for (push_url, code) in [
        (None, None),
        (Some("https://hooks.example/a"), None),
        (Some("https://elsewhere.example/a"), Some(Code::NoPermit)),
    ] {
        let target = Target::Agent(world.agent("b/y").unwrap());
        let found = Facts::of(&world, "a/x").ask(Action::CallAgent, target, |call| {
            let ask = Ask { push_url, ..call.ask };
            world.authorize(&Call { ask, ..*call }).code()
        });
        assert_eq!(found, code, "{push_url:?}");
    }
}

/// What is sent to an agent may be an image, or more than it is meant for; what sends nothing has no parts.
#[test]
fn the_parts_of_a_message_are_part_of_the_call() {
    let world = world(
        r#"permit (principal, action == Action::"callAgent", resource) unless { context has parts &&
            (context.parts.media_types.contains("image/png") || context.parts.largest > 3 || context.parts.bytes > 4) };"#,
    );
    for (message, code) in [
        ("{}", None),
        (r#"{"message":{"parts":[{"text":"abc"}]}}"#, None),
        (r#"{"message":{"parts":[{"text":"abcd"}]}}"#, Some(Code::NoPermit)),
        (r#"{"message":{"parts":[{"text":"abc"},{"text":"ab"}]}}"#, Some(Code::NoPermit)),
        (
            r#"{"message":{"parts":[{"text":"a"},{"url":"https://a.example/","mediaType":"Image/PNG"}]}}"#,
            Some(Code::NoPermit),
        ),
    ] {
        let params = Json::parse(message.as_bytes()).unwrap();
        let target = Target::Agent(world.agent("b/y").unwrap());
        let found = Facts::of(&world, "a/x").ask(Action::CallAgent, target, |call| {
            let content = Content { params: Some(&params), ..Content::default() };
            let ask = Ask { content, ..call.ask };
            world.authorize(&Call { ask, ..*call }).code()
        });
        assert_eq!(found, code, "{message}");
    }
}

/// A server with members permits nothing: who may use something of one of these may connect to it, and a permit of a tool below its own name is of
/// no tool that there is.
#[test]
fn who_may_use_something_of_a_member_may_connect_to_the_server_with_members() {
    let front = |policy: &str| {
        let member = |name: &str, server: &str| Member { name: name.into(), server: server.into() };
        let members = |all: [Member; 2]| Some(Members { all: all.into(), when_down: WhenDown::Omit });
        let desk = McpServer {
            members: members([member("s", "b/s"), member("o", "a/other")]),
            ..server("a", "desk")
        };
        let other = McpServer {
            members: members([member("s", "b/t"), member("d", "a/desk")]),
            ..server("a", "other")
        };
        let servers = vec![desk, other, server("b", "s"), server("b", "t")];
        snapshot(objects(vec![agent("a", "x")], servers, vec![cluster(policy)]))
    };
    for (policy, code, against) in [
        (r#"permit (principal, action, resource == Tool::"b/s/get");"#, None, false),
        (r#"permit (principal, action, resource == MCPServer::"a/desk");"#, None, false),
        // A member of a member is none.
        (r#"permit (principal, action, resource == Tool::"b/t/get");"#, Some(Code::NoPermit), false),
        (r#"permit (principal, action, resource == Tool::"a/desk/s__get");"#, Some(Code::NoPermit), false),
        (
            r#"permit (principal, action, resource == Tool::"b/s/get"); forbid (principal, action, resource == MCPServer::"a/desk");"#,
            Some(Code::ForbiddenByPolicy),
            true,
        ),
        (r#"forbid (principal, action, resource == MCPServer::"b/s");"#, Some(Code::NoPermit), false),
    ] {
        let world = front(policy);
        let target = Target::Server(world.mcp_server("a/desk").unwrap());
        let facts = Facts::of(&world, "a/x");
        assert_eq!(facts.authorize(&world, Action::ConnectServer, target).code, code, "{policy}");
        let stands = facts.ask(Action::ConnectServer, target, |call| world.stands_against(call));
        assert_eq!(stands, against, "{policy}");
    }
}

#[test]
fn who_may_use_a_skill_may_read_the_card_and_list_tasks() {
    let ask = |world: &Snapshot, method| {
        let target = Target::Agent(world.agent("b/y").unwrap());
        let facts = Facts { method, ..Facts::of(world, "a/x") };
        facts.authorize(world, Action::CallAgent, target)
    };
    let about = ["GetAgentCard", "GetExtendedAgentCard", "ListTasks"];
    for (policy, use_of_it) in [
        (r#"permit (principal, action, resource == Skill::"b/y/s");"#, "Skill/b/y/s"),
        (r#"permit (principal, action, resource) when { resource == Skill::"b/y/s" };"#, "Skill/b/y/s"),
        (r#"permit (principal, action == Action::"callAgent", resource is Skill);"#, "Skill/b/y/*"),
    ] {
        let world = world(policy);
        for method in about {
            let decision = ask(&world, method);
            assert!(decision.allowed(), "{policy} {method}");
            assert_eq!(decision.policies(), ["t/p"], "{policy}");
            let facts = decision.facts();
            assert!(
                facts.iter().any(|(name, value)| *name == "implied_by" && value.ends_with(use_of_it)),
                "{policy} {method} {facts:?}"
            );
        }
        // What is about one task is decided as the call that made it; one that named no skill was about the agent.
        for method in ["SendMessage", "SendStreamingMessage", "GetTask", "CancelTask", "SubscribeToTask", ""]
        {
            assert_eq!(ask(&world, method).code, Some(Code::NoPermit), "{policy} {method}");
        }
    }
    let part = r#"permit (principal, action, resource == Skill::"b/y/s");"#;
    for (policy, code) in [
        (String::new(), Code::NoPermit),
        (r#"permit (principal, action, resource == Skill::"b/z/s");"#.to_owned(), Code::NoPermit),
        (r#"permit (principal, action, resource == Tool::"b/y/s");"#.to_owned(), Code::NoPermit),
        (format!(r#"{part} forbid (principal, action, resource == Skill::"b/y/s");"#), Code::NoPermit),
        (format!(r#"{part} forbid (principal, action, resource == Agent::"b/y");"#), Code::ForbiddenByPolicy),
        (
            format!(
                r#"{part} forbid (principal, action == Action::"callAgent", resource) when {{ context.method == "ListTasks" }};"#
            ),
            Code::ForbiddenByPolicy,
        ),
    ] {
        assert_eq!(ask(&world(&policy), "ListTasks").code, Some(code), "{policy}");
    }
}

#[test]
fn what_became_of_a_tool_call_is_allowed_while_some_call_of_the_tool_is() {
    let ask = |world: &Snapshot| {
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "pay" };
        let unknown =
            Ask { arguments: Arguments::Unknown, ..Ask::about("tasks/get", Action::InvokeTool, target) };
        Facts::of(world, "a/x").asked(world, unknown)
    };
    let permit = r#"permit (principal, action == Action::"invokeTool", resource == Tool::"a/s/pay")"#;
    for (policy, code) in [
        (format!("{permit};"), None),
        (
            format!(
                r#"{permit} when {{ context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") < 5 }};"#
            ),
            None,
        ),
        (
            format!("{permit}; forbid (principal, action, resource == Tool::\"a/s/pay\");"),
            Some(Code::ForbiddenByPolicy),
        ),
        (format!(r#"{permit} unless {{ context.method == "tasks/get" }};"#), Some(Code::NoPermit)),
        // Refused without arguments, but which there were is not known.
        (
            format!(
                r#"{permit}; forbid (principal, action == Action::"invokeTool", resource) unless {{ context.args.hasTag("/to") }};"#
            ),
            None,
        ),
        (String::new(), Some(Code::NoPermit)),
    ] {
        assert_eq!(ask(&world(&policy)).code, code, "{policy}");
    }
}

#[test]
fn an_agents_own_record_limits_its_depth_whatever_policies_say() {
    let world = world("permit (principal, action, resource);");
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
    for (name, depth, code) in [
        ("a/limited", 2, None),
        ("a/limited", 3, Some(Code::DelegationTooDeep)),
        ("a/x", 16, None),
        ("a/x", 17, Some(Code::DelegationTooDeep)),
    ] {
        let facts = Facts::of(&world, name).at_depth(depth);
        let decision = facts.authorize(&world, Action::InvokeTool, target);
        assert_eq!(decision.code, code, "{name} at {depth}");
        assert_eq!(matches!(decision.verdict, Verdict::Permitted(_)), code.is_none());
    }
}

#[test]
fn an_agents_own_record_limits_its_width_whatever_policies_say() {
    let world = world("permit (principal, action, resource);");
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "get" };
    for (name, fan_out, code) in
        [("a/limited", 3, None), ("a/limited", 4, Some(Code::DelegationTooWide)), ("a/x", 9, None)]
    {
        let so_far = SoFar { fan_out, ..SoFar::default() };
        let facts = Facts { so_far, ..Facts::of(&world, name).at_depth(2) };
        let decision = facts.authorize(&world, Action::InvokeTool, target);
        assert_eq!(decision.code, code, "{name} at {fan_out}");
        assert_eq!(matches!(decision.verdict, Verdict::Permitted(_)), code.is_none());
        if code.is_some() {
            assert_eq!(decision.facts(), [("context.fan_out", "4"), ("principal.delegation.maxFanOut", "3")]);
        }
    }
}

#[test]
fn who_may_call_a_model_may_list_the_models_of_its_provider() {
    let world = |policy: &str| {
        let models: [(&str, &[&str]); 2] = [("big", &["large"]), ("little", &["small"])];
        let provider = Object::LlmProvider(Arc::new(provider("p", "llm", &models)));
        let policies: Vec<Object> = if policy.is_empty() { Vec::new() } else { vec![cluster(policy)] };
        let agents = vec![agent("a", "x"), agent("b", "y")];
        snapshot(objects(agents, Vec::new(), policies).into_iter().chain([provider]).collect())
    };
    let list = |world: &Snapshot| {
        let target = Target::Provider(world.llm_provider("p/llm").unwrap());
        Facts::of(world, "a/x").authorize(world, Action::ListModels, target)
    };
    for (policy, use_of_it) in [
        (
            r#"permit (principal, action == Action::"callModel", resource);"#,
            Some("callModel Model/p/llm/big"),
        ),
        (
            r#"permit (principal, action == Action::"callModel", resource in ModelSet::"small");"#,
            Some("callModel Model/p/llm/little"),
        ),
        (
            r#"permit (principal, action == Action::"callModel", resource == Model::"p/llm/little")
               when { context.tokens_estimated <= 100 };"#,
            Some("callModel Model/p/llm/little"),
        ),
        (
            // A policy on the group may look at what only models have; it is not about the listing itself.
            r#"permit (principal, action in Action::"llm", resource) when { resource.name == "big" };"#,
            Some("callModel Model/p/llm/big"),
        ),
        (r#"permit (principal, action == Action::"listModels", resource == LLMProvider::"p/llm");"#, None),
        (
            // On whatever action: as good for a provider as for its models.
            r#"permit (principal, action, resource in LLMProvider::"p/llm") when { resource.name == "big" };"#,
            Some("callModel Model/p/llm/big"),
        ),
    ] {
        let decision = list(&world(policy));
        assert!(decision.allowed(), "{policy}");
        assert_eq!(decision.policies(), ["t/p"], "{policy}");
        let facts = decision.facts();
        let implied = facts.iter().find(|(name, _)| *name == "implied_by").map(|(_, value)| *value);
        assert_eq!(implied, use_of_it, "{policy}");
    }
    let all = r#"permit (principal, action == Action::"callModel", resource);"#;
    for (policy, code) in [
        (String::new(), Code::NoPermit),
        (
            r#"permit (principal == Agent::"b/y", action == Action::"callModel", resource);"#.to_owned(),
            Code::NoPermit,
        ),
        // Nothing can call a model that is not registered.
        (r#"permit (principal, action, resource == Model::"p/llm/other");"#.to_owned(), Code::NoPermit),
        (r#"permit (principal, action in Action::"mcp", resource);"#.to_owned(), Code::NoPermit),
        // Where no model may be called, what forbids them says why.
        (
            format!(r#"{all} forbid (principal, action == Action::"callModel", resource);"#),
            Code::ForbiddenByPolicy,
        ),
        (format!(r#"{all} forbid (principal, action in Action::"llm", resource);"#), Code::ForbiddenByPolicy),
        (
            format!(r#"{all} forbid (principal, action == Action::"listModels", resource);"#),
            Code::ForbiddenByPolicy,
        ),
        (
            format!(r#"{all} forbid (principal, action, resource == LLMProvider::"p/llm");"#),
            Code::ForbiddenByPolicy,
        ),
    ] {
        assert_eq!(list(&world(&policy)).code, Some(code), "{policy}");
    }
}

#[test]
fn a_permit_is_of_the_call_that_was_decided() {
    let world = world("permit (principal, action, resource);");
    let server = world.mcp_server("a/s").unwrap();
    for target in [
        Target::Tool { server, name: "get" },
        Target::Resource { server, uri: "file:///a" },
        Target::Prompt { server, name: "p" },
    ] {
        let action = match target {
            Target::Tool { .. } => Action::InvokeTool,
            Target::Resource { .. } => Action::ReadResource,
            _ => Action::GetPrompt,
        };
        let Verdict::Permitted(permit) = Facts::of(&world, "a/x").authorize(&world, action, target).verdict
        else {
            panic!("{target:?}")
        };
        assert_eq!(permit.destination().id().to_string(), "MCPServer/a/s");
        assert_eq!(permit.endpoint(), Ok(&server.endpoint));
        assert_eq!((permit.index(), permit.call()), (7, "call-1"));
        assert_eq!(permit.caller().proven.principal.entity().to_string(), "Agent/a/x");
        assert_eq!(&*permit.caller().chain.transaction, "txn-1");
        assert!(permit.obligations().is_empty());
    }
    // An agent that nobody can call has no endpoint.
    let target = Target::Agent(world.agent("b/y").unwrap());
    let Verdict::Permitted(permit) =
        Facts::of(&world, "a/x").authorize(&world, Action::CallAgent, target).verdict
    else {
        panic!()
    };
    let refusal = permit.endpoint().unwrap_err();
    assert_eq!(
        (refusal.code, &*refusal.message),
        (Code::ResourceUnknown, "Agent/b/y has no endpoint, so it cannot be called")
    );
}

/// That every use is forbidden is said only where every one was looked at.
#[test]
fn a_refusal_to_connect_speaks_for_as_many_uses_as_it_looked_at() {
    let tools: Vec<String> = (0..17).map(|number| format!("t{number:02}")).collect();
    let tools: Vec<&str> = tools.iter().map(String::as_str).collect();
    let forbid = |rest: &str| {
        let text = format!("forbid (principal, action in Action::\"mcp\", resource) {rest};");
        let mut server = server("a", "s");
        server.tool_sets.insert("all".into(), names(&tools));
        let world = snapshot(objects(vec![agent("a", "x")], vec![server], vec![cluster(&text)]));
        connect(&world).code
    };
    let of_tools = "when { resource is Tool && resource.name like \"t*\" }";
    assert_eq!(forbid(of_tools), Some(Code::NoPermit));
    assert_eq!(
        forbid("unless { resource is Tool && resource.name == \"t16\" || resource is MCPServer }"),
        Some(Code::NoPermit)
    );
}
