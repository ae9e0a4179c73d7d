use cedar_policy::Policy;
use cedar_policy::pst::Clause;

use super::*;
use crate::decide::statement::Reach;
use crate::interned;
use crate::resource::policy::{Members, Scope};

fn key_of(condition: &str) -> Option<Key> {
    let text = format!("permit (principal, action, resource) when {{ {condition} }};");
    let pst = Policy::parse(None, text).unwrap().to_pst().unwrap();
    let [Clause::When(condition)] = pst.body().clauses().as_slice() else { panic!("{condition}") };
    Key::from_condition(condition)
}

/// What a condition is not filed under, each call of the action looks at.
#[test]
fn conditions_are_filed_by_what_they_insist_on() {
    let of_group = Key::member(Side::Principal, "Group", "g");
    let of_tool = Key::itself(Side::Resource, "Tool", "a/s/t");
    let of_team = Key::new(Side::Principal, Test::Equals, "team", "red");
    let of_skill = Key::new(Side::Resource, Test::Contains, "capabilities", "s");
    for (condition, key) in [
        ("principal in Group::\"g\"", Some(&of_group)),
        ("resource == Tool::\"a/s/t\"", Some(&of_tool)),
        ("Tool::\"a/s/t\" == resource", Some(&of_tool)),
        ("principal.team == \"red\"", Some(&of_team)),
        ("\"red\" == principal.team", Some(&of_team)),
        ("resource.capabilities.contains(\"s\")", Some(&of_skill)),
        ("resource.server in Team::\"t\"", None),
        ("resource.server.team == \"red\"", None),
        ("context.method == \"red\"", None),
        ("principal.team != \"red\"", None),
        ("principal.risk == 1", None),
    ] {
        assert_eq!(key_of(condition).as_ref(), key, "{condition}");
    }
}

#[test]
fn a_constant_that_many_policies_have_is_there_once() {
    let member = || Key::member(Side::Resource, "Namespace", "a").shared();
    let is_shared = || Arc::ptr_eq(&member().constant, &member().constant);
    // Tests beside this one may take its place at any time.
    assert!((0..8).any(|_| is_shared()));
    assert_eq!(member(), Key::member(Side::Resource, "Namespace", "a"));
    // Attack: constants as long as a policy, which would stay when it is gone.
    let long = Key::member(Side::Resource, "Group", &"x".repeat(interned::LONGEST + 1)).shared();
    assert_eq!(Arc::strong_count(&long.constant), 1);
}

#[test]
fn keys_are_one_only_if_all_of_them_is() {
    let key = Key::new(Side::Principal, Test::Equals, "team", "red");
    assert_eq!(key, Key::new(Side::Principal, Test::Equals, "team", "red"));
    assert_eq!(key, key.clone());
    for other in [
        Key::new(Side::Resource, Test::Equals, "team", "red"),
        Key::new(Side::Principal, Test::Contains, "team", "red"),
        Key::new(Side::Principal, Test::Equals, "kind", "red"),
        Key::new(Side::Principal, Test::Equals, "team", "blue"),
    ] {
        assert_ne!(key, other);
        // Also where their hashes collide, and where only those differ.
        assert_ne!(key, Key { hash: key.hash, ..other });
    }
    assert_ne!(key, Key { hash: !key.hash, ..key.clone() });
    let seed = RandomState::default();
    assert_ne!(seed.hash_one(&key), seed.hash_one(Key { hash: !key.hash, ..key.clone() }));
}

#[test]
fn what_a_key_insists_on_is_told() {
    let new = Key::new;
    let (principal, resource) = (Side::Principal, Side::Resource);
    for (key, of_a_namespace, of_name, named) in [
        (Key::member(resource, "Namespace", "n"), true, false, Some(("Namespace", "n", false))),
        (Key::member(principal, "Namespace", "n"), false, false, Some(("Namespace", "n", false))),
        (Key::itself(resource, "Namespace", "n"), false, false, Some(("Namespace", "n", true))),
        (Key::member(resource, "ToolSet", "s"), false, false, Some(("ToolSet", "s", false))),
        (new(resource, Test::Equals, "name", "t"), false, true, None),
        (new(resource, Test::Equals, "uri", "t"), false, true, None),
        (new(resource, Test::Equals, "team", "t"), false, false, None),
        (new(resource, Test::Contains, "name", "t"), false, false, None),
        (new(principal, Test::Equals, "name", "t"), false, false, None),
    ] {
        assert_eq!((key.is_of_a_namespace(), key.is_of_name()), (of_a_namespace, of_name), "{key:?}");
        assert_eq!(key.named(), named, "{key:?}");
    }
    assert_eq!([principal.as_str(), resource.as_str()], ["principal", "resource"]);
}

#[test]
fn what_follows_from_a_key_is_what_holds_wherever_it_does() {
    let of = Side::Principal;
    let bot = r#"[{ "uid": { "type": "Agent", "id": "a/x" }, "attrs": { "team": "red" },
        "parents": [{ "type": "Team", "id": "red" }] }]"#;
    let entities = Entities::from_json_str(bot, None).unwrap();
    let (team, of_team) = (Key::new(of, Test::Equals, "team", "red"), Key::member(of, "Team", "red"));
    let (itself, inside) = (Key::itself(of, "Agent", "a/x"), Key::member(of, "Agent", "a/x"));
    for (key, follows, not) in [
        (&itself, vec![&itself, &inside, &of_team, &team], vec![]),
        // What is in it bears none of its attributes.
        (&inside, vec![&inside, &of_team], vec![&itself, &team]),
        (&team, vec![&team, &of_team], vec![]),
        (
            &Key::member(of, "Group", "a/g"),
            vec![&Key::member(of, "Namespace", "a"), &Key::member(of, "Group", "g")],
            vec![],
        ),
        (&Key::member(of, "Group", "g"), vec![], vec![&Key::member(of, "Namespace", "g")]),
        (&Key::member(of, "MCPServer", "a/g"), vec![], vec![&Key::member(of, "Namespace", "a")]),
        (&Key::new(of, Test::Equals, "owner", "red"), vec![], vec![&of_team]),
    ] {
        let all = key.with_what_follows(&entities);
        assert!(all.contains(key) && follows.iter().all(|one| all.contains(one)), "{key:?}: {all:?}");
        assert!(not.iter().all(|one| !all.contains(one)), "{key:?}: {all:?}");
    }
}

/// All, those on one action, and what holds of who may be meant.
#[test]
fn the_statements_of_an_index_are_told_by_action() {
    let statement = |id: &str, text: &str| {
        let (scope, members) = (Scope::Cluster, Members::default());
        let reach = Reach {
            scope,
            namespace: "n",
            members: &members,
            window: None,
            plan: None,
            limits: &[],
            guards: &[],
        };
        Arc::new(Statement::compile(&Policy::parse(None, text).unwrap(), id.into(), reach).unwrap())
    };
    let index = Index::new(&[
        statement("all", "permit (principal, action, resource) when { principal.team == \"red\" };"),
        statement(
            "tools",
            "permit (principal, action == Action::\"invokeTool\", resource in ToolSet::\"n/s\");",
        ),
    ]);
    let ids = |statements: Vec<&Arc<Statement>>| -> Vec<String> {
        statements.into_iter().map(|statement| statement.id.to_string()).collect()
    };
    assert_eq!(ids(index.statements().collect()), ["all", "tools"]);
    assert_eq!(ids(index.on(Action::InvokeTool).collect()), ["all", "tools"]);
    assert_eq!(ids(index.on(Action::CallModel).collect()), ["all"]);
    let [red, blue] = ["red", "blue"].map(|team| Key::new(Side::Principal, Test::Equals, "team", team));
    for (place, key) in [red, Key::member(Side::Resource, "ToolSet", "n/s")].into_iter().enumerate() {
        let held = index.holding_by([&key, &blue]);
        assert_eq!(held.ids().collect::<Vec<_>>(), [u32::try_from(place).unwrap()], "{key:?}");
        assert_eq!(index.number(&key), held.ids().next());
    }
    assert_eq!(index.number(&blue), None);
}
