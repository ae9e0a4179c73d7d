//! What is said of all calls of a principal on a resource is what is decided of each: generated policies and entities, all pairs, and
//! calls with the contexts of the property test. What is left of a policy is read back as Cedar and must say the same.
//!
//! `VIDIMUS_REACH_CASES` sets how many calls are compared (4,000 by default), `VIDIMUS_PROPERTY_SEED` where to begin.

use std::collections::BTreeMap;

use cedar_policy::{Policy, PolicyId, PolicySet};
use serde_json::Value;
use vidimus_core::call::{Action, Arguments, Call, Target};
use vidimus_core::decision::Outcome;
use vidimus_core::reach::{Access, Answered, Outlook};
use vidimus_core::refusal::Code;
use vidimus_core::resource::policy::Scope;
use vidimus_core::resource::{AuthorityClass, Object, Principal};
use vidimus_core::snapshot::Snapshot;

use crate::generate::{self, Sample};
use crate::oracle::Oracle;
use crate::oracle::arguments::hides;
use crate::world::{agent, names, policy, server};

const OF_NO_SKILL: [&str; 3] = ["GetAgentCard", "GetExtendedAgentCard", "ListTasks"];

#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    cases: u64,
    always: u64,
    conditionally: u64,
    held: u64,
    never: u64,
    by_condition: u64,
    any_other: u64,
    implied: u64,
}

fn principals(objects: &[Object]) -> Vec<Principal> {
    let all = objects.iter().filter_map(|object| match object {
        Object::Agent(agent) => Some(Principal::Agent(agent.clone())),
        Object::Service(service) => Some(Principal::Service(service.clone())),
        _ => None,
    });
    all.collect()
}

fn everything(snapshot: &Snapshot) -> Vec<Access<'_>> {
    let all = snapshot.objects().iter().filter_map(|object| match object {
        Object::Agent(agent) => Some(Target::Agent(snapshot.agent(&agent.meta.key())?)),
        Object::McpServer(server) => Some(Target::Server(snapshot.mcp_server(&server.meta.key())?)),
        Object::LlmProvider(provider) => Some(Target::Provider(snapshot.llm_provider(&provider.meta.key())?)),
        Object::Service(_) | Object::Policy(_) => None,
    });
    all.flat_map(|target| snapshot.accesses(target)).collect()
}

/// The outlook of each pair, by places.
fn reached(
    snapshot: &Snapshot,
    principals: &[Principal],
    accesses: &[Access<'_>],
) -> BTreeMap<(usize, usize), Outlook> {
    let mut found = BTreeMap::new();
    for pairs in snapshot.reach(principals, accesses).unwrap() {
        for principal in &pairs.principals {
            for access in &pairs.accesses {
                let twice = found.insert((*principal, *access), pairs.outlook.clone());
                assert_eq!(twice, None, "{principal} {access}");
            }
        }
    }
    assert_eq!(found.len(), principals.len() * accesses.len());
    found
}

#[test]
fn what_is_reached_is_what_is_decided() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (cases, first) = (number("VIDIMUS_REACH_CASES", 4_000), number("VIDIMUS_PROPERTY_SEED", 1));
    let mut seen = Seen::default();
    let mut seed = first;
    while seen.cases < cases {
        configuration(seed, &mut seen);
        seed += 1;
    }
    println!("{seen:?}");
    for (what, count) in [
        ("always", seen.always),
        ("conditionally", seen.conditionally),
        ("never", seen.never),
        ("held", seen.held * 4),
        ("by condition", seen.by_condition),
        ("any other", seen.any_other),
        ("implied", seen.implied * 5),
    ] {
        assert!(count >= seen.cases / 100, "{what}: {seen:?}");
    }
}

fn configuration(seed: u64, seen: &mut Seen) {
    let (objects, calls) = generate::world(seed, 3);
    let oracle = Oracle::new(&objects);
    let (snapshot, _) = Snapshot::build(objects.clone());
    let (principals, accesses) = (principals(&objects), everything(&snapshot));
    let found = reached(&snapshot, &principals, &accesses);
    // However it is asked, one side or the other in groups.
    let one = &principals[..1];
    for (pair, outlook) in reached(&snapshot, one, &accesses) {
        assert_eq!(outlook, found[&pair], "seed {seed}: {pair:?}");
    }
    for (place, access) in accesses.iter().enumerate() {
        for ((principal, _), outlook) in reached(&snapshot, &principals, &[*access]) {
            assert_eq!(outlook, found[&(principal, place)], "seed {seed}: {principal} {access}");
        }
    }
    for sample in &calls {
        for ((principal, access), outlook) in &found {
            let asked = (&principals[*principal], accesses[*access]);
            with(sample, &snapshot, asked, |call, arguments| {
                compare(&oracle, &snapshot, (call, arguments), (asked.1, outlook), seen, seed);
            });
        }
    }
}

/// A call of a principal on an access, with the context of a sample.
fn with(
    sample: &Sample,
    snapshot: &Snapshot,
    (principal, access): (&Principal, Access<'_>),
    ask: impl FnOnce(&Call<'_>, Option<&Value>),
) {
    let parsed = sample.arguments.as_ref().map(|text| serde_json::from_str::<Value>(text).unwrap());
    let of_tool = access.action == Action::InvokeTool;
    sample.ask(snapshot, |call| {
        let mut caller = call.caller.clone();
        let mut proven = (*caller.proven).clone();
        proven.principal = principal.clone();
        caller.proven = proven.into();
        let mut call = Call { caller: &caller, ..*call };
        call.ask.action = access.action;
        call.ask.target = match access.target {
            Target::Tool { server, .. } if access.any_other => Target::Tool { server, name: "unlisted" },
            Target::Skill { agent, .. } if access.any_other => Target::Skill { agent, name: "unheard of" },
            Target::Prompt { server, .. } if access.any_other => Target::Prompt { server, name: "unknown" },
            Target::Resource { server, .. } if access.any_other => Target::Resource { server, uri: "x:y" },
            target => target,
        };
        if !of_tool {
            call.ask.arguments = Arguments::None;
        }
        // What asks for an earlier call is not held again.
        call.ask.task = None;
        if access.action != Action::CallAgent {
            call.ask.push_url = None;
        }
        if !matches!(access.action, Action::CallModel | Action::ListModels) {
            (call.ask.tokens_estimated, call.ask.streaming) = (0, false);
        }
        ask(&call, parsed.as_ref().filter(|_| of_tool));
    });
}

fn compare(
    oracle: &Oracle,
    snapshot: &Snapshot,
    (call, arguments): (&Call<'_>, Option<&Value>),
    (access, outlook): (Access<'_>, &Outlook),
    seen: &mut Seen,
    seed: u64,
) {
    let decision = snapshot.authorize(call);
    let allowed = matches!(decision.outcome(), Outcome::Allow | Outcome::AllowWithObligations);
    let show = || {
        let policies = snapshot.objects().iter().filter_map(|object| match object {
            Object::Policy(policy) => Some(format!("{}: {}", policy.meta.key(), policy.cedar)),
            _ => None,
        });
        let policies: Vec<String> = policies.collect();
        format!("seed {seed}\n{outlook:#?}\n{decision:#?}\n{}", policies.join("\n"))
    };
    // Of a card, reach says nothing.
    if matches!(call.ask.target, Target::Agent(_)) && OF_NO_SKILL.contains(&call.ask.method) {
        return;
    }
    seen.cases += 1;
    seen.any_other += u64::from(access.any_other);
    seen.implied += u64::from(!outlook.implied.is_empty());
    match outlook.answered() {
        Answered::Never => {
            seen.never += 1;
            assert_eq!(decision.outcome(), Outcome::Deny, "{}", show());
            if !matches!(call.ask.target, Target::Skill { .. }) {
                assert!(!snapshot.could_allow(call), "{}", show());
            }
        }
        Answered::Always => {
            seen.always += 1;
            let unseen = decision.code() == Some(Code::Unrepresentable)
                && decision.policies().iter().any(|policy| &**policy == "vidimus/arguments");
            let ended = decision.code() == Some(Code::ChainEnded);
            let lowered = came_through_a_lower_class(snapshot, call);
            assert!(allowed || unseen || ended || lowered, "{}", show());
        }
        Answered::Held => {
            seen.held += 1;
            assert!(!allowed || !call.approvals.is_empty(), "{}", show());
        }
        Answered::Conditionally => seen.conditionally += 1,
    }
    let is_hidden = || {
        let places = generate::POINTERS.iter().flat_map(|pointer| [(*pointer, false), (*pointer, true)]);
        arguments.is_some_and(|arguments| places.clone().any(|place| hides(arguments, place)))
    };
    let beyond = [
        Code::ChainEnded,
        Code::ChainLimit,
        Code::DelegationTooDeep,
        Code::DelegationTooWide,
        Code::Unrepresentable,
    ];
    // Of several approvals each policy sees its own.
    if call.approvals.len() > 1
        || came_through_a_lower_class(snapshot, call)
        || !outlook.implied.is_empty()
        || decision.code().is_some_and(|code| beyond.contains(&code))
        || (arguments.is_some() && is_hidden())
    {
        return;
    }
    let Some(policies) = read_back(outlook) else { return };
    seen.by_condition += 1;
    assert_eq!(oracle.by(&policies, call, arguments).code.is_none(), allowed, "{}", show());
}

/// Whether one through whom the call came may not do all that its caller may.
fn came_through_a_lower_class(snapshot: &Snapshot, call: &Call<'_>) -> bool {
    let keeps_from_something = |object: &Object| match object {
        Object::Agent(agent) => {
            agent.authority_stated
                && agent.authority_class < AuthorityClass::Act
                && call.chain().actors.contains(&agent.id)
        }
        _ => false,
    };
    snapshot.objects().iter().any(keeps_from_something)
}

/// What is left of the policies, as policies; `None` where a part of one fails for sure, which Cedar's text cannot say.
fn read_back(outlook: &Outlook) -> Option<PolicySet> {
    let mut set = PolicySet::new();
    let mut add = |effect: &str, when: &str| {
        let id = PolicyId::new(format!("p{}", set.policies().count()));
        let text = format!("{effect} (principal, action, resource) when {{ {when} }};");
        let policy = Policy::parse(Some(id), &text).unwrap_or_else(|error| panic!("{text}: {error}"));
        set.add(policy).unwrap();
    };
    let forbids = || outlook.refusals_when.iter().chain(&outlook.holds_when);
    let conditions = || outlook.permits_when.iter().chain(forbids());
    // What changes a call allows it, unless it fails.
    let may_fail = outlook.changes_when.iter().any(|condition| !condition.certain);
    if may_fail || conditions().any(|condition| condition.when.contains("error()")) {
        return None;
    }
    outlook.permits.iter().for_each(|_| add("permit", "true"));
    outlook.refusals.iter().chain(&outlook.holds).for_each(|_| add("forbid", "true"));
    outlook.permits_when.iter().for_each(|condition| add("permit", &condition.when));
    forbids().for_each(|condition| add("forbid", &condition.when));
    Some(set)
}

/// Who may call what of one server, in words: policies of each kind, listed and unlisted tools.
#[test]
fn what_is_left_is_said_in_cedars_words() {
    let mut reader = agent("a", "reader");
    reader.groups = names(&["readers"]);
    let mut limited = agent("a", "limited");
    limited.groups = names(&["readers"]);
    limited.delegation.max_depth = Some(2);
    let mut gone = agent("a", "gone");
    gone.groups = names(&["readers"]);
    gone.quarantined = true;
    let mut tools = server("a", "tools");
    tools.tool_sets.insert("set".into(), names(&["get"]));
    let cluster = |name: &str, text: &str| policy("a", name, Scope::Cluster, text);
    let objects = vec![
        Object::Agent(reader.into()),
        Object::Agent(limited.into()),
        Object::Agent(gone.into()),
        Object::Agent(agent("a", "other").into()),
        Object::Agent(agent("a", "wide").into()),
        Object::McpServer(tools.into()),
        cluster(
            "read",
            r#"permit (principal in Group::"readers", action == Action::"invokeTool", resource in ToolSet::"set");"#,
        ),
        cluster(
            "pay",
            r#"permit (principal in Group::"readers", action == Action::"invokeTool", resource == Tool::"a/tools/pay")
            when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 10 };"#,
        ),
        cluster(
            "list",
            r#"permit (principal in Group::"readers", action == Action::"invokeTool", resource) when { resource.name like "list_*" };"#,
        ),
        cluster(
            "open",
            r#"permit (principal == Agent::"a/wide", action == Action::"invokeTool", resource);"#,
        ),
        cluster(
            "named",
            r#"forbid (principal == Agent::"a/wide", action == Action::"invokeTool", resource) when { resource.name == "named" };"#,
        ),
    ];
    let (snapshot, rejected) = Snapshot::build(objects.clone());
    assert!(rejected.is_empty(), "{rejected:?}");
    let (principals, accesses) = (principals(&objects), everything(&snapshot));
    let said = |principal: usize, access: &str, any_other: bool| {
        let place =
            accesses.iter().position(|one| one.to_string() == access && one.any_other == any_other).unwrap();
        let outlook = &reached(&snapshot, &principals, &accesses)[&(principal, place)];
        // Also where this one is asked about for everybody.
        assert_eq!(reached(&snapshot, &principals, &[accesses[place]])[&(principal, 0)], *outlook);
        let all = |conditions: &[vidimus_core::reach::Condition]| {
            let all: Vec<String> =
                conditions.iter().map(|one| format!(" {} when {}", one.policy, one.when)).collect();
            all.concat()
        };
        format!(
            "{}: {} | {}{}{}{}",
            outlook.answered().as_str(),
            outlook.permits.join(" "),
            outlook.refusals.join(" "),
            all(&outlook.permits_when),
            all(&outlook.refusals_when),
            outlook.implied.iter().map(|one| format!(" ({} {})", one.by, one.always)).collect::<String>()
        )
    };
    let amount =
        r#"a/pay when context.numbers.hasTag("/amount") && (context.numbers.getTag("/amount") <= 10)"#;
    for (principal, access, any_other, expected) in [
        (0, "invokeTool Tool/a/tools/get", false, "always: a/read | ".to_owned()),
        (1, "invokeTool Tool/a/tools/get", false, "conditional: a/read | ".to_owned()),
        (2, "invokeTool Tool/a/tools/get", false, "never: a/read | vidimus/quarantine".to_owned()),
        (3, "invokeTool Tool/a/tools/get", false, "never:  | ".to_owned()),
        (0, "invokeTool Tool/a/tools/pay", false, format!("conditional:  |  {amount}")),
        (
            0,
            "invokeTool Tool/a/tools/*",
            true,
            r#"conditional:  |  a/list when resource.name like "list_*""#.to_owned(),
        ),
        (3, "invokeTool Tool/a/tools/*", true, "never:  | ".to_owned()),
        (4, "invokeTool Tool/a/tools/get", false, "always: a/open | ".to_owned()),
        (
            4,
            "invokeTool Tool/a/tools/*",
            true,
            r#"conditional: a/open |  a/named when resource.name == "named""#.to_owned(),
        ),
        (
            0,
            "connectServer MCPServer/a/tools",
            false,
            "always:  |  (invokeTool Tool/a/tools/get true) (invokeTool Tool/a/tools/pay false) (invokeTool Tool/a/tools/* false)"
                .to_owned(),
        ),
        (3, "connectServer MCPServer/a/tools", false, "never:  | ".to_owned()),
    ] {
        assert_eq!(said(principal, access, any_other), expected, "{principal} {access}");
    }
}
