//! What is said of all that somebody may do is what is decided of each request: generated policies and objects, everybody whom they tell
//! apart and some more, everything that people do something to, and requests at several moments. What is left of a policy is read back, as
//! a policy, and must say the same.
//!
//! `VIDIMUS_PEOPLE_CASES` sets how many requests are compared (6,000 by default), `VIDIMUS_PROPERTY_SEED` where to begin.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vidimus_core::act::Subject;
use vidimus_core::caller::{UnixMillis, User};
use vidimus_core::entity::EntityId;
use vidimus_core::person::{About, ApprovalOf, Asked, GrantOf, Operation, Person};
use vidimus_core::reach::people::{Deed, Somebody};
use vidimus_core::reach::{Answered, Outlook};
use vidimus_core::resource::Object;
use vidimus_core::resource::policy::Scope;
use vidimus_core::snapshot::Snapshot;

use crate::generate::Dice;
use crate::world::{agent, names, policy, server, service};

const NOW: i64 = 1_800_000_000_000;
const ISSUERS: &[&str] = &["https://a.test", "https://b.test"];
const GROUPS: &[&str] = &["g", "h", "https://a.test#g", "https://b.test#h", "https://a.test#odd#one"];
const MAILS: &[&str] = &["ada@x.test", "bob@x.test"];
const NAMESPACES: &[&str] = &["n0", "n1"];

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    cases: u64,
    always: u64,
    conditionally: u64,
    never: u64,
    by_condition: u64,
    any_other: u64,
}

fn objects(dice: &mut Dice) -> Vec<Object> {
    let mut objects = Vec::new();
    for (number, namespace) in NAMESPACES.iter().enumerate() {
        let mut bot = agent(namespace, &format!("a{number}"));
        bot.owner = dice.one(MAILS).into();
        bot.groups = names(&["bots"]);
        objects.push(Object::Agent(bot.into()));
    }
    objects.push(Object::Service(service("n0", "s").into()));
    let mut tools = server("n1", "tools");
    tools.tool_sets.insert("set".into(), names(&["get", "list_all"]));
    objects.push(Object::McpServer(tools.into()));
    for number in 0..2 + dice.below(6) {
        let scope = if dice.chance(25) { Scope::Namespace } else { Scope::Cluster };
        let namespace = dice.one(NAMESPACES);
        objects.push(policy(namespace, &format!("p{number}"), scope, &statement(dice)));
    }
    objects
}

fn statement(dice: &mut Dice) -> String {
    let effect = if dice.chance(70) { "permit" } else { "forbid" };
    let principal = match dice.below(5) {
        0 => "principal".to_owned(),
        1 => format!("principal == User::\"{}#{}\"", dice.one(ISSUERS), dice.one(&["x", "y"])),
        2 => "principal is User".to_owned(),
        _ => format!("principal in UserGroup::{:?}", dice.one(GROUPS)),
    };
    let (action, resource, of) = dice_scope(dice);
    let mut conditions = Vec::new();
    for _ in 0..dice.below(3) {
        conditions.push(condition(dice, of));
    }
    let word = if dice.chance(80) { "when" } else { "unless" };
    let conditions: String = conditions.iter().map(|one| format!(" {word} {{ {one} }}")).collect();
    format!("{effect} ({principal}, {action}, {resource}){conditions};")
}

/// The actions, the resource, and what may be looked at there.
fn dice_scope(dice: &mut Dice) -> (&'static str, &'static str, &'static str) {
    let scopes: [(&str, &str, &str); 14] = [
        ("action in Action::\"operate\"", "resource", ""),
        ("action in [Action::\"operate\", Action::\"read\"]", "resource", ""),
        ("action == Action::\"quarantine\"", "resource is Agent", "owned"),
        ("action in [Action::\"quarantine\", Action::\"lift\"]", "resource is User", "user"),
        ("action == Action::\"quarantine\"", "resource in Namespace::\"n0\"", ""),
        ("action == Action::\"lift\"", "resource == Agent::\"n0/a0\"", "owned"),
        ("action == Action::\"approve\"", "resource", "approve"),
        ("action == Action::\"approve\"", "resource is Tool", "tool"),
        ("action in [Action::\"grant\", Action::\"revoke\"]", "resource in MCPServer::\"n1/tools\"", "grant"),
        ("action == Action::\"grant\"", "resource == Tool::\"n1/tools/pay\"", "grant"),
        ("action == Action::\"read\"", "resource == View::\"ledger\"", ""),
        ("action == Action::\"declassify\"", "resource is Transaction", ""),
        ("action == Action::\"shred\"", "resource is User", "user"),
        ("action == Action::\"export\"", "resource == View::\"records\"", ""),
    ];
    scopes[dice.below(scopes.len())]
}

fn condition(dice: &mut Dice, of: &str) -> String {
    let of_object = match of {
        "owned" => Some("principal has email && principal.email == resource.owner"),
        "user" => Some(dice.one(&[
            "resource == principal",
            "resource.issuer == principal.issuer",
            "resource.subject == \"x\"",
            "!(resource has email)",
        ])),
        "approve" => Some("context.role == \"payers\""),
        "tool" => Some(dice.one(&[
            "resource.name like \"list_*\"",
            "context.caller != \"Agent/n0/a0\" && resource.name != \"pay\"",
        ])),
        "grant" => Some(dice.one(&[
            "context has uses && context.uses + 9223372036854775800 > 3",
            "context.until < context.now.offset(duration(\"1h\"))",
            "context.agent in Group::\"bots\"",
        ])),
        _ => None,
    };
    match of_object.filter(|_| dice.chance(60)) {
        Some(text) => text.to_owned(),
        None => match dice.below(8) {
            0 => format!("principal.issuer == {:?}", dice.one(ISSUERS)),
            1 => format!("principal has email && principal.email == {:?}", dice.one(MAILS)),
            2 => "principal.subject like \"x*\"".to_owned(),
            3 => "context has source_ip && context.source_ip.isLoopback()".to_owned(),
            4 => format!("principal in [UserGroup::\"h\", UserGroup::{:?}]", dice.one(GROUPS)),
            5 => format!("principal != User::\"{}#x\"", dice.one(ISSUERS)),
            6 => "User::\"https://a.test#x\" has email".to_owned(),
            _ => format!("!(principal in UserGroup::{:?}) || context has source_ip", dice.one(GROUPS)),
        },
    }
}

/// People whom somebody stands for.
fn of(somebody: &Somebody, dice: &mut Dice) -> Person {
    let mail = dice.chance(60).then(|| dice.one(MAILS).into());
    let fresh = |issuer: &str| {
        let subject: Arc<str> = format!("x-{issuer}").into();
        User { issuer: issuer.into(), subject, email: mail.clone(), groups: Arc::default() }
    };
    match somebody {
        Somebody::One(person) => {
            let mut person = person.clone();
            person.user.email = person.user.email.or(mail);
            person
        }
        Somebody::InGroup(group) => match group.split_once('#') {
            Some((issuer, name)) => {
                Person { user: fresh(issuer), groups: [name.into()].into(), unverified_email: None }
            }
            None => {
                Person { user: fresh("urn:others"), groups: [group.clone()].into(), unverified_email: None }
            }
        },
        Somebody::AnyOther => {
            let issuer = dice.one(&["urn:others", "https://a.test"]);
            Person { user: fresh(issuer), groups: ["unheard-of".into()].into(), unverified_email: None }
        }
    }
}

/// What a deed may be about: the texts of something that it stands for.
fn about<'a>(
    deed: &Deed,
    (text, entity, subject): &'a (String, Option<EntityId>, Option<Subject>),
    dice: &mut Dice,
    agent: &'a EntityId,
) -> About<'a> {
    let resource = || entity.as_ref().unwrap_or_else(|| panic!("{text}"));
    match deed.operation {
        Operation::Read | Operation::Export => About::View(text.strip_prefix("View/").unwrap()),
        Operation::Quarantine | Operation::Lift | Operation::Declassify | Operation::Shred => {
            About::Subject(subject.as_ref().unwrap())
        }
        Operation::Evaluate => About::Resource(resource()),
        Operation::Approve => {
            let (caller, role) = (dice.one(&["Agent/n0/a0", "Agent/n1/a1"]), dice.one(&["payers", "boss"]));
            About::Approval(ApprovalOf { resource: resource(), caller, role })
        }
        Operation::Grant | Operation::Revoke => {
            let uses = if dice.chance(50) { Some(1 + dice.below(20) as u32) } else { None };
            let until = UnixMillis(NOW + if dice.chance(50) { 1_000 } else { 7_200_000 });
            About::Grant(GrantOf { resource: resource(), agent, until, uses })
        }
    }
}

fn named(deed: &Deed, dice: &mut Dice) -> (String, Option<EntityId>, Option<Subject>) {
    let text = deed.thing.to_string();
    let text = match text.strip_suffix('*') {
        Some("User/") => format!("User/{}#q", dice.one(&["urn:q", "https://a.test"])),
        Some("Identity/") => "Identity/spiffe://q/r".to_owned(),
        Some("Chain/") => "Chain/ext-q".to_owned(),
        Some(of) => format!("{of}{}", dice.one(&["list_more", "else"])),
        None => text,
    };
    (text.clone(), text.parse().ok(), text.parse().ok())
}

#[test]
fn what_people_reach_is_what_is_decided() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (cases, first) = (number("VIDIMUS_PEOPLE_CASES", 6_000), number("VIDIMUS_PROPERTY_SEED", 1));
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
        ("by condition", seen.by_condition),
        ("any other", seen.any_other),
    ] {
        assert!(count >= seen.cases / 50, "{what}: {seen:?}");
    }
}

fn configuration(seed: u64, seen: &mut Seen) {
    let mut dice = Dice::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let objects = objects(&mut dice);
    let (world, rejected) = Snapshot::build(objects.clone());
    let refused: Vec<_> = rejected.iter().map(|one| &one.reason).collect();
    assert!(rejected.is_empty(), "seed {seed}: {refused:?}");
    let mut who = world.people().unwrap();
    for (email, groups) in [(None, vec!["g", "h"]), (Some(MAILS[0]), vec!["g"]), (Some(MAILS[1]), vec![])] {
        let user = User {
            issuer: dice.one(ISSUERS).into(),
            subject: dice.one(&["x", "y", "z"]).into(),
            email: email.map(Into::into),
            groups: Arc::default(),
        };
        who.push(Somebody::One(Person {
            user,
            groups: groups.into_iter().map(Into::into).collect(),
            unverified_email: None,
        }));
    }
    let things = world.things().unwrap();
    assert!(things.is_sorted() && things.iter().collect::<BTreeSet<_>>().len() == things.len());
    let deeds = Operation::ALL.into_iter().flat_map(|operation| {
        let taking = things.iter().filter(move |thing| thing.takes(operation));
        taking.map(move |thing| Deed { operation, thing: thing.clone() })
    });
    let deeds: Vec<Deed> = deeds.collect();
    let found = reached(&world, &who, &deeds);
    // However many are asked about at once.
    for (place, deed) in deeds.iter().enumerate().filter(|(place, _)| place % 7 == (seed % 7) as usize) {
        for ((one, _), outlook) in reached(&world, &who, std::slice::from_ref(deed)) {
            assert_eq!(outlook, found[&(one, place)], "seed {seed}: {} {}", who[one], deed.thing);
        }
    }
    for ((one, place), outlook) in &found {
        let deed = &deeds[*place];
        let (person, what) = (of(&who[*one], &mut dice), named(deed, &mut dice));
        let bot: EntityId = dice.one(&["Agent/n0/a0", "Agent/n1/a1"]).parse().unwrap();
        let about = about(deed, &what, &mut dice, &bot);
        let source_ip = match dice.below(3) {
            0 => None,
            1 => Some([127, 0, 0, 1].into()),
            _ => Some([10, 0, 0, 1].into()),
        };
        let asked =
            Asked { person: &person, operation: deed.operation, about, now: UnixMillis(NOW), source_ip };
        compare(
            &world,
            &asked,
            outlook,
            seen,
            &format!("seed {seed}: {} for {}", person.actor(), who[*one]),
            &objects,
        );
        seen.any_other += u64::from(deed.thing.to_string().ends_with('*'));
    }
}

fn reached(world: &Snapshot, who: &[Somebody], deeds: &[Deed]) -> BTreeMap<(usize, usize), Outlook> {
    let mut found = BTreeMap::new();
    for pairs in world.reach_people(who, deeds).unwrap() {
        for principal in &pairs.principals {
            for access in &pairs.accesses {
                let twice = found.insert((*principal, *access), pairs.outlook.clone());
                assert_eq!(twice, None, "{principal} {access}");
            }
        }
    }
    assert_eq!(found.len(), who.len() * deeds.len());
    found
}

fn compare(
    world: &Snapshot,
    asked: &Asked<'_>,
    outlook: &Outlook,
    seen: &mut Seen,
    what: &str,
    objects: &[Object],
) {
    let decided = world.authorize_person(asked);
    let show = || {
        let policies = objects.iter().filter_map(|object| match object {
            Object::Policy(policy) => Some(format!("{}: {}", policy.meta.key(), policy.cedar)),
            _ => None,
        });
        let policies: Vec<String> = policies.collect();
        format!("{what}\n{asked:#?}\n{outlook:#?}\n{decided:#?}\n{}", policies.join("\n"))
    };
    seen.cases += 1;
    match outlook.answered() {
        Answered::Always => {
            seen.always += 1;
            assert!(decided.is_ok(), "{}", show());
        }
        Answered::Never => {
            seen.never += 1;
            assert!(decided.is_err(), "{}", show());
        }
        Answered::Conditionally => {
            seen.conditionally += 1;
            let Some(policies) = read_back(asked, outlook) else { return };
            let mut objects: Vec<Object> =
                objects.iter().filter(|one| !matches!(one, Object::Policy(_))).cloned().collect();
            objects.push(policy("n0", "left", Scope::Cluster, &policies));
            let (left, rejected) = Snapshot::build(objects);
            // Of what is never satisfied something may be left that could fail, which strict checking does not take.
            if !rejected.is_empty() {
                assert!(
                    rejected.iter().all(|one| one.reason.contains("never apply")),
                    "{policies}: {rejected:?}"
                );
                return;
            }
            seen.by_condition += 1;
            assert_eq!(left.authorize_person(asked).is_ok(), decided.is_ok(), "{policies}\n{}", show());
        }
        Answered::Held => panic!("people are not held: {}", show()),
    }
}

/// What is left of the policies, as policies; `None` where a part of one fails for sure, which Cedar's text cannot say.
fn read_back(asked: &Asked<'_>, outlook: &Outlook) -> Option<String> {
    let resource = match asked.about {
        About::Subject(Subject::Object(entity)) => entity.kind.as_str(),
        About::Subject(Subject::User(_)) => "User",
        About::Subject(Subject::Identity(_)) => "Identity",
        About::Subject(Subject::Instance(_)) => "Instance",
        About::Subject(Subject::Chain(_)) => "Transaction",
        About::View(_) => "View",
        About::Grant(GrantOf { resource, .. }) | About::Approval(ApprovalOf { resource, .. }) => {
            resource.kind.as_str()
        }
        About::Resource(resource) => resource.kind.as_str(),
    };
    let action = asked.operation.as_str();
    // Somebody may do something, so that nobody is the first administrator.
    let mut text =
        r#"permit (principal in UserGroup::"nobody", action == Action::"read", resource);"#.to_owned();
    let conditions = |all: &[vidimus_core::reach::Condition]| {
        all.iter().map(|one| one.when.to_string()).collect::<Vec<_>>()
    };
    let of = |certain: &[Arc<str>], when: Vec<String>| {
        [certain.iter().map(|_| "true".to_owned()).collect(), when].concat()
    };
    let permits = of(&outlook.permits, conditions(&outlook.permits_when));
    let forbids = of(&outlook.refusals, conditions(&outlook.refusals_when));
    for (effect, all) in [("permit", permits), ("forbid", forbids)] {
        for when in all {
            if when.contains("error()") {
                return None;
            }
            text.push_str(&format!(
                "\n{effect} (principal, action == Action::{action:?}, resource is {resource}) when {{ {when} }};"
            ));
        }
    }
    Some(text)
}

/// In words: who is named, who is in a group, and who is neither.
#[test]
fn who_may_approve_is_said_of_those_whom_policies_tell_apart() {
    let text = r#"
        @id("payers") permit (principal in UserGroup::"https://a.test#payers", action == Action::"approve", resource) when { context.role == "payers" };
        @id("ada") permit (principal == User::"https://a.test#ada", action in Action::"operate", resource);
        @id("owners") permit (principal, action == Action::"quarantine", resource is Agent) when { principal has email && principal.email == resource.owner };
        @id("lists") permit (principal in UserGroup::"soc", action == Action::"grant", resource is Tool) when { resource.name like "list_*" };
        @id("crown") forbid (principal, action == Action::"lift", resource == Agent::"a/bank");
    "#;
    let mut tools = server("a", "tools");
    tools.tool_sets.insert("set".into(), names(&["get"]));
    let objects = vec![
        Object::Agent(agent("a", "bank").into()),
        Object::McpServer(tools.into()),
        policy("a", "people", Scope::Cluster, text),
    ];
    let (world, rejected) = Snapshot::build(objects);
    assert!(rejected.is_empty(), "{rejected:?}");
    let who = world.people().unwrap();
    let shown: Vec<String> = who.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["User/https://a.test#ada", "UserGroup/https://a.test#payers", "UserGroup/soc", "User/*"]
    );
    let things = world.things().unwrap();
    let said = |operation: Operation, thing: &str| {
        let thing = things.iter().find(|one| one.to_string() == thing).unwrap();
        let deeds = [Deed { operation, thing: thing.clone() }];
        let pairs = world.reach_people(&who, &deeds).unwrap();
        let rows = pairs.iter().map(|pairs| {
            let who: Vec<&str> = pairs.principals.iter().map(|place| &*shown[*place]).collect();
            let when: String = pairs
                .outlook
                .permits_when
                .iter()
                .map(|one| format!(" {} when {}", one.policy, one.when))
                .collect();
            format!("{} {}{when}", pairs.outlook.answered().as_str(), who.join(" "))
        });
        rows.collect::<Vec<_>>()
    };
    assert_eq!(
        said(Operation::Approve, "Tool/a/tools/get"),
        [
            "always User/https://a.test#ada",
            r#"conditional UserGroup/https://a.test#payers a/people#payers when context.role == "payers""#,
            "never UserGroup/soc User/*",
        ]
    );
    let owners =
        r#"a/people#owners when (principal has email) && (principal.email == "first.last@example.com")"#;
    assert_eq!(
        said(Operation::Quarantine, "Agent/a/bank"),
        [
            format!("always User/https://a.test#ada {owners}"),
            format!("conditional UserGroup/https://a.test#payers UserGroup/soc User/* {owners}"),
        ]
    );
    let lists = r#"conditional UserGroup/soc a/people#lists when resource.name like "list_*""#;
    assert!(
        said(Operation::Grant, "Tool/a/tools/*").contains(&lists.to_owned()),
        "{:?}",
        said(Operation::Grant, "Tool/a/tools/*")
    );
    assert_eq!(
        said(Operation::Grant, "Tool/a/tools/get"),
        ["always User/https://a.test#ada", "never UserGroup/https://a.test#payers UserGroup/soc User/*"]
    );
    assert_eq!(
        said(Operation::Lift, "Agent/a/bank"),
        ["never User/https://a.test#ada", "never UserGroup/https://a.test#payers UserGroup/soc User/*"]
    );
    assert_eq!(said(Operation::Quarantine, "User/*")[0], "always User/https://a.test#ada");
}

/// Whoever writes the name that stands for others names nobody, and tells nobody apart.
#[test]
fn what_stands_for_others_is_never_what_a_policy_names() {
    let text = r#"
        @id("p") permit (principal == User::"*", action in Action::"operate", resource);
        @id("t") permit (principal, action == Action::"grant", resource == Tool::"a/tools/*");
    "#;
    let objects =
        vec![Object::McpServer(server("a", "tools").into()), policy("a", "people", Scope::Cluster, text)];
    let (world, rejected) = Snapshot::build(objects);
    assert!(rejected.is_empty(), "{rejected:?}");
    let who = world.people().unwrap();
    assert_eq!(who.iter().map(ToString::to_string).collect::<Vec<_>>(), ["User/*"]);
    let things = world.things().unwrap().into_iter().filter(|thing| thing.takes(Operation::Grant));
    let deeds: Vec<Deed> = things.map(|thing| Deed { operation: Operation::Grant, thing }).collect();
    // The tool that is called so is one, and all others are not.
    let tools = deeds.iter().filter(|deed| deed.thing.to_string() == "Tool/a/tools/*").count();
    assert_eq!(tools, 2, "{deeds:?}");
    let pairs = world.reach_people(&who, &deeds).unwrap();
    let permitted = pairs.iter().filter(|pairs| pairs.outlook.answered() == Answered::Always);
    assert_eq!(permitted.map(|pairs| pairs.accesses.len()).sum::<usize>(), 1);
}
