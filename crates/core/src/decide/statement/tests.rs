use super::*;
use crate::interned;
use crate::person::Operation;

#[test]
fn actions_of_the_gateway_and_of_the_kernel_are_told_apart() {
    for (scope, gateway, kernel) in [
        ("action", true, true),
        ("action == Action::\"invokeTool\"", true, false),
        ("action in Action::\"mcp\"", true, false),
        ("action == Action::\"readFile\"", false, true),
        ("action in Action::\"kernel\"", false, true),
        // The order does not matter.
        ("action in [Action::\"exec\", Action::\"callAgent\"]", true, true),
        ("action in [Action::\"callAgent\", Action::\"exec\"]", true, true),
    ] {
        let policy =
            cedar_policy::Policy::parse(None, format!("permit (principal, {scope}, resource);")).unwrap();
        let actions = Actions::of(&policy.to_pst().unwrap().body().action);
        assert_eq!((actions.gateway != 0, actions.kernel), (gateway, kernel), "{scope}");
        assert!(!actions.of_people(None), "{scope}");
    }
}

#[test]
fn what_people_do_is_named_by_action_or_group() {
    const OPERATE: [Operation; 6] = [
        Operation::Quarantine,
        Operation::Lift,
        Operation::Declassify,
        Operation::Grant,
        Operation::Revoke,
        Operation::Approve,
    ];
    for (scope, named) in [
        ("action == Action::\"lift\"", &[Operation::Lift][..]),
        ("action in Action::\"operate\"", &OPERATE[..]),
        ("action in [Action::\"read\", Action::\"callAgent\"]", &[Operation::Read]),
        ("action == Action::\"export\"", &[Operation::Export]),
        ("action == Action::\"shred\"", &[Operation::Shred]),
        ("action == Action::\"evaluate\"", &[Operation::Evaluate]),
        ("action", &[]),
    ] {
        let policy =
            cedar_policy::Policy::parse(None, format!("permit (principal, {scope}, resource);")).unwrap();
        let actions = Actions::of(&policy.to_pst().unwrap().body().action);
        for operation in Operation::ALL {
            assert_eq!(
                actions.of_people(Some(operation)),
                named.contains(&operation),
                "{scope} {operation:?}"
            );
        }
    }
}

/// Conditions behind an `unless` that cannot fail are filed as well, and none behind one that can.
#[test]
fn constants_are_taken_up_to_what_could_fail() {
    for (conditions, keys) in [
        ("when { principal.team == \"a\" && resource.team == \"b\" }", 2),
        ("when { -principal.risk == 1 && resource.team == \"b\" }", 0),
        (
            "when { principal.team == \"a\" } unless { principal.quarantined } when { resource.team == \"b\" }",
            2,
        ),
        (
            "when { principal.team == \"a\" } unless { -principal.risk == 1 } when { resource.team == \"b\" }",
            1,
        ),
        ("unless { principal.team == \"a\" }", 0),
    ] {
        let text = format!("permit (principal, action, resource) {conditions};");
        let pst = cedar_policy::Policy::parse(None, text).unwrap().to_pst().unwrap();
        assert_eq!(condition_keys(pst.body().clauses()).len(), keys, "{conditions}");
    }
}

/// The policy as it is compiled in namespace `n`.
fn compiled(text: &str, scope: Scope) -> Result<Statement, NotCompiled> {
    let policy = cedar_policy::Policy::parse(None, text).unwrap();
    let members = Members::default();
    Statement::compile(
        &policy,
        "n/p".into(),
        Reach {
            scope,
            namespace: "n",
            members: &members,
            window: None,
            plan: None,
            limits: &[],
            guards: &[],
        },
    )
}

fn statement(text: &str) -> Statement {
    compiled(text, Scope::Cluster).unwrap()
}

#[test]
fn what_policies_name_is_there_once() {
    let named = |text: &str| -> Vec<Arc<EntityUid>> { statement(text).literals.to_vec() };
    let of =
        |tool: &str| named(&format!("permit (principal in Group::\"a/g\", action, resource == {tool});"));
    // Tests beside this one may take its place at any time.
    let is_shared = || {
        let (one, other) = (of("Tool::\"a/s/one\""), of("Tool::\"a/s/other\""));
        assert_eq!((one.len(), one.first() == other.first(), one.last() == other.last()), (2, true, false));
        one.first().zip(other.first()).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    };
    assert!((0..8).any(|_| is_shared()));
    let first = |tool: &str| {
        let text = format!("permit (principal in Group::\"a/g\", action, resource == {tool});");
        statement(&text).references.first().cloned()
    };
    let is_shared = || {
        let (one, other) = (first("Tool::\"a/s/one\""), first("Tool::\"a/s/other\""));
        assert_eq!(one, other);
        one.zip(other).is_some_and(|(one, other)| Arc::ptr_eq(&one, &other))
    };
    assert!((0..8).any(|_| is_shared()));
    // Attack: a name as long as a policy, which would stay when it is gone.
    let long = of(&format!("Tool::\"a/s/{}\"", "x".repeat(interned::LONGEST)));
    assert_eq!(Arc::strong_count(long.last().unwrap()), 1);
}

#[test]
fn policies_share_the_conditions_that_are_the_same() {
    let conditions = |text: &str| -> Vec<Arc<Expr>> {
        let pst = compiled(text, Scope::Namespace).unwrap().policy.pst().clone();
        let clauses = pst.body().clauses().iter();
        let conditions = clauses.map(|clause| match clause {
            Clause::When(condition) | Clause::Unless(condition) => condition.clone(),
        });
        conditions.collect()
    };
    let first = |text: &str| conditions(text).remove(0);
    let (calls, processes) = ("action == Action::\"invokeTool\"", "action == Action::\"exec\"");
    let of = |actions: &str| first(&format!("permit (principal, {actions}, resource);"));
    // Tests beside this one may take its place at any time.
    assert!((0..8).any(|_| Arc::ptr_eq(&of(calls), &of(calls))));
    assert_ne!(of(calls), of(processes));
    assert_ne!(of(calls), of("action"));
    let with = |condition: &str| {
        let text = format!("permit (principal, {calls}, resource) unless {{ {condition} }};");
        conditions(&text).remove(1)
    };
    let is_shared = |condition: &str| {
        let (one, other) = (with(condition), with(condition));
        assert_eq!(one, other);
        Arc::ptr_eq(&one, &other)
    };
    assert!((0..8).any(|_| is_shared("principal.team == \"a\"")));
    assert_ne!(with("principal.team == \"a\""), with("principal.team == \"b\""));
    assert_ne!(with("principal.team == \"a\""), with("resource.team == \"a\""));
    // Attack: conditions as long as a policy, which would stay when it is gone.
    let long = "x".repeat(interned::LONGEST);
    for condition in [
        format!("principal.team == \"{long}\""),
        format!("principal.team like \"{long}\""),
        ["principal.team == \"a\""; 10].join(" || "),
    ] {
        assert!(!is_shared(&condition), "{condition}");
    }
}

#[test]
fn types_share_that_they_are_in_no_namespace_of_cedar() {
    let text = "permit (principal, action, resource in MCPServer::\"a/s\");";
    let of = || statement(text).policy.pst().body().resource.clone();
    match (of(), of()) {
        (
            ResourceConstraint::In(EntityOrSlot::Entity(one)),
            ResourceConstraint::In(EntityOrSlot::Entity(other)),
        ) => assert!(Arc::ptr_eq(&one.ty.0.namespace, &other.ty.0.namespace)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_policy_is_about_is_known_by_its_scope() {
    use Action::{CallAgent, CallModel, ConnectServer, GetPrompt, InvokeTool, ListModels, ReadResource};
    let on = |scope: &str| statement(&format!("permit (principal, {scope}, resource);")).actions;
    for (scope, contained, on_resources, registers) in [
        ("action", &Action::ALL[..], true, false),
        ("action == Action::\"invokeTool\"", &[InvokeTool], true, false),
        ("action == Action::\"listModels\"", &[ListModels], true, false),
        ("action in Action::\"mcp\"", &[InvokeTool, ReadResource, GetPrompt, ConnectServer], true, false),
        ("action in Action::\"a2a\"", &[CallAgent], true, false),
        ("action in [Action::\"llm\", Action::\"exec\"]", &[CallModel], true, false),
        ("action == Action::\"exec\"", &[], false, false),
        ("action == Action::\"lift\"", &[], true, false),
        ("action == Action::\"register\"", &[], false, true),
    ] {
        let actions = on(scope);
        for action in Action::ALL {
            assert_eq!(actions.contain(action), contained.contains(&action), "{scope} {action:?}");
            let only = contained == [action] && !actions.kernel;
            assert_eq!(actions.are_only(action), only, "{scope} {action:?}");
        }
        assert_eq!((actions.any_on_resources(), actions.register), (on_resources, registers), "{scope}");
    }
    // In whichever order they are named.
    let (names, lift) = ("Action::\"register\"", "Action::\"lift\"");
    let objects = "Action::\"registerObject\"";
    for [one, other] in [[names, lift], [lift, names], [objects, lift], [objects, names], [names, objects]] {
        let text = format!("permit (principal, action in [{one}, {other}], resource);");
        assert!(matches!(compiled(&text, Scope::Cluster), Err(NotCompiled::Registers)), "{text}");
    }
}

/// The name that is granted is the one that is written, and no one namespace grants it.
#[test]
fn who_may_bear_a_name_is_said_by_a_policy_of_its_own() {
    let register = "permit (principal in Group::\"g\", action == Action::\"register\", resource);";
    assert!(statement(register).granting.is_empty());
    assert!(matches!(compiled(register, Scope::Namespace), Err(NotCompiled::Registers)));
    let object = r#"permit (principal in UserGroup::"g", action == Action::"registerObject", resource in Namespace::"a");"#;
    assert!(statement(object).actions.register_object);
    assert!(matches!(compiled(object, Scope::Namespace), Err(NotCompiled::Registers)));
    let call = register.replace("register", "invokeTool");
    assert_eq!(statement(&call).granting.len(), 1);
    let namespace = Key::member(Side::Resource, "Namespace", "n");
    assert!(compiled(&call, Scope::Namespace).unwrap().scope.contains(&namespace));
    assert!(!statement(&call).scope.contains(&namespace));
}

#[test]
fn what_a_policy_says_follows_from_its_effect_and_its_annotations() {
    const TOOL: &str = "(principal, action == Action::\"invokeTool\", resource);";
    for (text, says, refuses) in [
        (format!("permit {TOOL}"), Says::Permitted, false),
        (format!("forbid {TOOL}"), Says::Refused, true),
        (format!("@approval(\"r\") forbid {TOOL}"), Says::Held, true),
        (format!("@redact(\"/a\") forbid {TOOL}"), Says::Changed, true),
    ] {
        let statement = statement(&text);
        assert_eq!((statement.says(), statement.refuses()), (says, refuses), "{text}");
        assert!(!Statement { observes: true, ..statement }.refuses(), "{text}");
    }
    for (annotation, effect, reason, ends, ends_chain) in [
        ("", "forbid", None, false, false),
        ("@reason(\"\")", "forbid", None, false, false),
        ("@reason(\"why\")", "forbid", Some("why"), false, false),
        ("@ends_chain", "forbid", None, true, true),
        ("@ends_chain", "permit", None, true, false),
    ] {
        let found = statement(&format!("{annotation} {effect} {TOOL}"));
        assert_eq!(found.reason.as_deref(), reason, "{annotation} {effect}");
        let found = (found.chain_reads.ends, found.ends_chain);
        assert_eq!(found, (ends, ends_chain), "{annotation} {effect}");
    }
}

#[test]
fn under_another_id_a_policy_bears_it_everywhere() {
    const TOOL: &str = "(principal, action == Action::\"invokeTool\", resource);";
    let held = statement(&format!("@approval(\"r\") forbid {TOOL}")).under("x".into());
    let changed = statement(&format!("@redact(\"/a\") forbid {TOOL}")).under("x".into());
    for statement in [&held, &changed] {
        let id: &str = statement.policy.evaluated().unwrap().id().as_ref();
        assert_eq!((&*statement.id, id), ("x", "x"));
    }
    assert_eq!(held.asks.as_ref().map(|asks| &*asks.policy), Some("x"));
    let changes = changed.changes.as_deref().unwrap_or_default();
    assert_eq!(changes.iter().map(|one| &*one.policy).collect::<Vec<_>>(), ["x"]);
}

#[test]
fn a_policy_applies_to_the_types_of_its_scope_and_names_what_it_names() {
    use EntityKind::{Agent, Prompt, Service, Tool};
    let narrow = statement("permit (principal is Agent, action, resource is Tool);");
    let one_side = statement("permit (principal is Agent in Group::\"a/g\", action, resource);");
    let open = statement("permit (principal, action, resource in MCPServer::\"a/s\");");
    for (principal, resource, expected) in [
        (Agent, Tool, [true, true, true]),
        (Service, Tool, [false, false, true]),
        (Agent, Prompt, [false, true, true]),
        (Service, Prompt, [false, false, true]),
    ] {
        let found = [&narrow, &one_side, &open].map(|statement| statement.applies_to(principal, resource));
        assert_eq!(found, expected, "{principal:?} {resource:?}");
    }
    let named = |text: &str| statement(text).literals().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        named(
            "forbid (principal == Agent::\"a/x\", action, resource) when { resource in MCPServer::\"a/s\" };"
        ),
        ["Agent::\"a/x\"", "MCPServer::\"a/s\""]
    );
    // What is in a group beside those who may bear its name is named by nobody.
    let all = Members::from_iter([Members::ALL]);
    let text = "permit (principal in Group::\"g\", action, resource);";
    let policy = cedar_policy::Policy::parse(None, text).unwrap();
    let reach = Reach {
        scope: Scope::Cluster,
        namespace: "n",
        members: &all,
        window: None,
        plan: None,
        limits: &[],
        guards: &[],
    };
    let statement = Statement::compile(&policy, "n/p".into(), reach).unwrap();
    let named: Vec<_> = statement.literals().map(ToString::to_string).collect();
    assert_eq!(named, ["Group::\"g\""]);
}
