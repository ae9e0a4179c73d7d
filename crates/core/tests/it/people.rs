//! What people may do, by the same policies.

use vidimus_core::act::Subject;
use vidimus_core::caller::{UnixMillis, User};
use vidimus_core::entity::EntityId;
use vidimus_core::person::{About, Asked, GrantOf, Operation, Person};
use vidimus_core::refusal::Code;
use vidimus_core::snapshot::{FIRST_ADMINISTRATOR_ID, Snapshot};

use std::collections::BTreeMap;
use std::sync::Arc;

use vidimus_core::resource::policy::Scope;
use vidimus_core::resource::{Agent, Identity, Object};

use crate::world;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn parts(id: &str) -> (&str, &str) {
    id.split_once('/').unwrap()
}

fn agent(id: &str) -> Object {
    let (namespace, name) = parts(id);
    Object::Agent(Arc::new(world::agent(namespace, name)))
}

fn server(id: &str) -> Object {
    let (namespace, name) = parts(id);
    Object::McpServer(Arc::new(world::server(namespace, name)))
}

fn policy(id: &str, cedar: &str) -> Object {
    scoped(id, cedar, Scope::Cluster)
}

fn scoped(id: &str, cedar: &str, scope: Scope) -> Object {
    let (namespace, name) = parts(id);
    world::policy(namespace, name, scope, cedar)
}

fn person(id: &str, groups: &[&str]) -> Person {
    let (issuer, subject) = id.split_once('#').unwrap();
    let email = Some(format!("{subject}@example.com").into());
    let user = User { issuer: issuer.into(), subject: subject.into(), email, groups: Arc::default() };
    let groups = groups.iter().map(|group| (*group).into()).collect();
    Person { user, groups, unverified_email: None }
}

fn may(world: &Snapshot, person: &Person, operation: Operation, about: About<'_>) -> Result<String, Code> {
    let asked = Asked { person, operation, about, now: NOW, source_ip: None };
    let permits = world.authorize_person(&asked).map_err(|refusal| refusal.code)?;
    Ok(permits.join(" "))
}

fn subject(text: &str) -> Subject {
    text.parse().unwrap()
}

#[test]
fn a_first_administrator_is_there_until_a_policy_permits_people_something() {
    let (world, _) = Snapshot::build(vec![agent("finance/bot")]);
    let bot = subject("Agent/finance/bot");
    let admin = person("urn:vidimus:local#admin", &[]);
    for operation in [Operation::Quarantine, Operation::Lift] {
        assert_eq!(may(&world, &admin, operation, About::Subject(&bot)), Ok(FIRST_ADMINISTRATOR_ID.into()));
    }
    assert_eq!(
        may(&world, &admin, Operation::Export, About::View("records")),
        Ok(FIRST_ADMINISTRATOR_ID.into())
    );
    assert_eq!(
        may(&world, &admin, Operation::Read, About::View("registry")),
        Ok(FIRST_ADMINISTRATOR_ID.into())
    );
    for other in ["urn:vidimus:local#bob", "https://login.example#admin"] {
        let asked = may(&world, &person(other, &["admin"]), Operation::Quarantine, About::Subject(&bot));
        assert_eq!(asked, Err(Code::NoPermit), "{other}");
    }
    // What is said of calls alone ends nothing.
    let everything = policy("finance/all", "permit (principal, action, resource);");
    let (world, rejected) = Snapshot::build(vec![agent("finance/bot"), everything]);
    assert!(rejected.is_empty(), "{rejected:?}");
    assert!(world.has_first_administrator());
    // Nor does what a namespace says of its own.
    let own = r#"permit (principal in UserGroup::"leads", action == Action::"approve", resource);"#;
    let (world, rejected) =
        Snapshot::build(vec![agent("finance/bot"), scoped("finance/people", own, Scope::Namespace)]);
    assert!(rejected.is_empty(), "{rejected:?}");
    assert!(world.has_first_administrator());
    let auditors = policy(
        "ops/people",
        r#"permit (principal in UserGroup::"auditors", action == Action::"read", resource);"#,
    );
    let (world, rejected) = Snapshot::build(vec![agent("finance/bot"), auditors]);
    assert!(rejected.is_empty(), "{rejected:?}");
    assert!(!world.has_first_administrator());
    assert_eq!(may(&world, &admin, Operation::Quarantine, About::Subject(&bot)), Err(Code::NoPermit));
}

#[test]
fn a_first_administrator_does_not_come_back() {
    let admin = person("urn:vidimus:local#admin", &[]);
    let bot = subject("Agent/finance/bot");
    let may = |world: &Snapshot| may(world, &admin, Operation::Quarantine, About::Subject(&bot));
    let leads = policy(
        "ops/people",
        r#"permit (principal in UserGroup::"leads", action in Action::"operate", resource);"#,
    );
    let (world, _) = Snapshot::build(vec![agent("finance/bot"), leads.clone()]);
    assert_eq!(may(&world), Err(Code::NoPermit));
    // Malformed, and gone.
    let malformed = policy("ops/people", "permit ((principal");
    for objects in [vec![malformed], vec![]] {
        let (next, _) = world.rebuilt([vec![agent("finance/bot")], objects.clone()].concat(), Vec::new());
        assert!(!next.has_first_administrator() && !next.permits_people());
        assert_eq!(may(&next), Err(Code::NoPermit));
        // And over a restart, also the second one.
        let mut memory = next.memory();
        for _ in 0..2 {
            let (seen, _) = Snapshot::build([vec![agent("finance/bot")], objects.clone()].concat());
            let base = seen.remembering(&memory).unwrap().expect("something is remembered");
            let (next, _) = base.rebuilt([vec![agent("finance/bot")], objects.clone()].concat(), Vec::new());
            assert_eq!(may(&next), Err(Code::NoPermit));
            memory = next.memory();
        }
    }
    let (mended, _) = world.rebuilt(vec![agent("finance/bot"), leads], Vec::new());
    assert!(mended.permits_people());
}

#[test]
fn policies_say_who_may_do_what_to_whom() {
    let text = r#"
        @id("soc") permit (principal in UserGroup::"soc", action in Action::"operate", resource);
        @id("owners") permit (principal, action == Action::"quarantine", resource is Agent)
        when { principal has email && principal.email == resource.owner };
        @id("crown") @reason("the bank is for two people") forbid (principal, action == Action::"lift", resource == Agent::"finance/bank");
        @id("short") forbid (principal, action == Action::"grant", resource) unless { context.until < context.now.offset(duration("1h")) };
        @id("corp") permit (principal in UserGroup::"https://corp.example#leads", action == Action::"lift", resource);
    "#;
    let objects = vec![
        agent("finance/bot"),
        agent("finance/bank"),
        server("finance/ledger"),
        policy("ops/people", text),
    ];
    let (world, rejected) = Snapshot::build(objects);
    assert!(rejected.is_empty(), "{rejected:?}");
    let [bot, bank, chain] = ["Agent/finance/bot", "Agent/finance/bank", "Chain/t-1"].map(subject);
    let soc = person("https://corp.example#sam", &["soc"]);
    let owner = person("https://corp.example#first.last", &[]);
    for (who, operation, about, says) in [
        (&soc, Operation::Quarantine, &bot, Ok("ops/people#soc")),
        (&soc, Operation::Quarantine, &chain, Ok("ops/people#soc")),
        (&soc, Operation::Lift, &bank, Err(Code::ForbiddenByPolicy)),
        (&owner, Operation::Quarantine, &bot, Ok("ops/people#owners")),
        // Owning something does not lift what was put on it.
        (&owner, Operation::Lift, &bot, Err(Code::NoPermit)),
        (&owner, Operation::Quarantine, &chain, Err(Code::NoPermit)),
        (&person("https://corp.example#l", &["leads"]), Operation::Lift, &bot, Ok("ops/people#corp")),
        (&person("https://evil.example#l", &["leads"]), Operation::Lift, &bot, Err(Code::NoPermit)),
        (
            &person("https://evil.example#l", &["https://corp.example#leads"]),
            Operation::Lift,
            &bot,
            Err(Code::NoPermit),
        ),
    ] {
        assert_eq!(
            may(&world, who, operation, About::Subject(about)),
            says.map(str::to_owned),
            "{who:?} {operation:?} {about}"
        );
    }
    let (tool, agent): (EntityId, EntityId) =
        ("Tool/finance/ledger/get".parse().unwrap(), "Agent/finance/bot".parse().unwrap());
    for (hours, says) in [(0, Ok("ops/people#soc".to_owned())), (2, Err(Code::ForbiddenByPolicy))] {
        let of = GrantOf {
            resource: &tool,
            agent: &agent,
            until: UnixMillis(NOW.0 + hours * 3_600_000 + 1_000),
            uses: Some(2),
        };
        assert_eq!(may(&world, &soc, Operation::Grant, About::Grant(of)), says, "{hours}");
    }
}

#[test]
fn a_policy_of_people_that_fails_denies() {
    let text = r#"
        @id("all") permit (principal, action in Action::"operate", resource);
        @id("bad") permit (principal, action == Action::"quarantine", resource) when { principal.email == "x" };
    "#;
    let (_, rejected) = Snapshot::build(vec![policy("ops/people", text)]);
    assert!(rejected[0].reason.contains("email"), "strict: {rejected:?}");
    let failing = r#"
        @id("all") permit (principal, action in Action::"operate", resource);
        @id("bad") permit (principal, action == Action::"quarantine", resource is Agent) when { resource.risk + 9223372036854775807 > 1 };
    "#;
    let (world, rejected) = Snapshot::build(vec![agent("finance/bot"), policy("ops/people", failing)]);
    assert!(rejected.is_empty(), "{rejected:?}");
    let bot = subject("Agent/finance/bot");
    let who = person("https://corp.example#sam", &[]);
    assert_eq!(may(&world, &who, Operation::Quarantine, About::Subject(&bot)), Err(Code::PolicyError));
    assert_eq!(may(&world, &who, Operation::Lift, About::Subject(&bot)), Ok("ops/people#all".into()));
}

/// The scope of a namespace is that of what is acted upon.
#[test]
fn a_policy_of_a_namespace_is_about_its_own_objects() {
    let text = r#"permit (principal in UserGroup::"leads", action in Action::"operate", resource);"#;
    let narrow = scoped("finance/people", text, Scope::Namespace);
    let (world, rejected) = Snapshot::build(vec![agent("finance/bot"), agent("sales/bot"), narrow]);
    assert!(rejected.is_empty(), "{rejected:?}");
    let lead = person("https://corp.example#lea", &["leads"]);
    let quarantines = |text: &str| may(&world, &lead, Operation::Quarantine, About::Subject(&subject(text)));
    assert_eq!(quarantines("Agent/finance/bot"), Ok("finance/people".into()));
    for other in ["Agent/sales/bot", "User/https://corp.example#ada", "Chain/x", "Identity/spiffe://a/b"] {
        assert_eq!(quarantines(other), Err(Code::NoPermit), "{other}");
    }
}

#[test]
fn what_leaves_the_action_open_is_about_calls_alone() {
    // These fit what calls are by, and not what people are.
    let text = r#"
        @id("a") forbid (principal, action, resource) when { principal.quarantined };
        @id("b") permit (principal, action, resource);
    "#;
    let (world, rejected) = Snapshot::build(vec![agent("finance/bot"), policy("ops/all", text)]);
    assert!(rejected.is_empty(), "{rejected:?}");
    let who = person("https://corp.example#sam", &[]);
    assert_eq!(
        may(&world, &who, Operation::Quarantine, About::Subject(&subject("Agent/finance/bot"))),
        Err(Code::NoPermit)
    );
}

#[test]
fn whoever_is_quarantined_operates_nothing_and_does_not_lift_it() {
    let text = r#"permit (principal, action in [Action::"operate", Action::"read"], resource);"#;
    let objects = || vec![agent("finance/bot"), policy("ops/people", text)];
    let ada = person("https://login.example#ada", &["soc"]);
    let own = subject("User/https://login.example#ada");
    let (world, _) = Snapshot::build(objects());
    assert_eq!(may(&world, &ada, Operation::Lift, About::Subject(&own)), Ok("ops/people".into()));
    let mut standing = vidimus_core::standing::Standing::default();
    let placed = vidimus_core::standing::Placed {
        id: "1".into(),
        actor: "User/x#y".into(),
        time: "2026-11-27T18:00:00Z".into(),
        why: "stolen".into(),
    };
    standing.quarantined.insert(own.clone(), Arc::new(placed));
    let overlay = Arc::new(vidimus_core::snapshot::Overlay::of(&standing).unwrap());
    let (world, _) = world.next(vidimus_core::snapshot::Configuration {
        objects: objects(),
        standing: overlay,
        ..Default::default()
    });
    for operation in [Operation::Lift, Operation::Quarantine] {
        assert_eq!(
            may(&world, &ada, operation, About::Subject(&own)),
            Err(Code::ForbiddenByPolicy),
            "{operation:?}"
        );
    }
    assert_eq!(may(&world, &ada, Operation::Read, About::View("approvals")), Err(Code::ForbiddenByPolicy));
    let bob = person("https://login.example#bob", &[]);
    assert_eq!(may(&world, &bob, Operation::Lift, About::Subject(&own)), Ok("ops/people".into()));
}

/// A namespace says it of what is its own, and what people operate by is no permit to ask.
#[test]
fn an_enforcement_point_asks_about_what_it_is_let_ask_about() {
    let ask = r#"permit (principal == User::"https://login.example#kong", action == Action::"evaluate", resource);"#;
    let operate =
        r#"permit (principal == User::"https://login.example#ops", action in Action::"operate", resource);"#;
    let objects = vec![
        server("finance/ledger"),
        server("hr/files"),
        scoped("finance/kong", ask, Scope::Namespace),
        policy("ops/all", operate),
    ];
    let (world, rejections) = Snapshot::build(objects);
    assert!(rejections.is_empty(), "{rejections:?}");
    let (kong, ops) = (person("https://login.example#kong", &[]), person("https://login.example#ops", &[]));
    for (who, resource, expected) in [
        (&kong, "Tool/finance/ledger/get", Ok("finance/kong".to_owned())),
        (&kong, "MCPServer/finance/ledger", Ok("finance/kong".to_owned())),
        (&kong, "Tool/hr/files/get", Err(Code::NoPermit)),
        // Of what is not registered it is not known whose it is.
        (&kong, "Tool/finance/none/get", Err(Code::NoPermit)),
        (&ops, "Tool/finance/ledger/get", Err(Code::NoPermit)),
    ] {
        let id: EntityId = resource.parse().unwrap();
        assert_eq!(may(&world, who, Operation::Evaluate, About::Resource(&id)), expected, "{resource}");
    }
}

/// Attack: an agent that is registered with the subject of an operator, so that the operator's token is that of a workload.
#[test]
fn whom_a_cluster_wide_policy_names_is_no_workload_of_anybody() {
    let claimed = |subject: &str| {
        let identity = Identity::Oidc {
            issuer: "https://login.example".into(),
            subject: subject.into(),
            claims: BTreeMap::new(),
        };
        Object::Agent(Arc::new(Agent { identities: vec![identity], ..world::agent("evil", subject) }))
    };
    let ops = |operation: &str| {
        policy(
            "platform/ops",
            &format!(
                r#"permit (principal == User::"https://login.example#ada", action == Action::"{operation}", resource);"#
            ),
        )
    };
    let of = |objects: &[Object]| Snapshot::build(objects.to_vec());
    let (world, rejected) = of(&[claimed("ada"), claimed("bot"), ops("quarantine")]);
    assert!(world.principal_by_oidc("https://login.example", "ada").is_none());
    assert!(world.principal_by_oidc("https://login.example", "bot").is_some());
    let fields: Vec<_> = rejected.iter().map(|one| (one.object.to_string(), one.field.as_str())).collect();
    assert_eq!(fields, [("Agent evil/ada".to_owned(), "spec.identities[0].oidc")]);
    // Nor does it help to claim it twice.
    let twice = Object::Agent(Arc::new(match claimed("ada") {
        Object::Agent(agent) => {
            Agent { identities: agent.identities.clone(), ..world::agent("evil", "other") }
        }
        _ => panic!("an agent"),
    }));
    let (world, _) = of(&[claimed("ada"), twice, ops("quarantine")]);
    assert!(world.claims_on_oidc("https://login.example", "ada").is_empty());
    // By the policies of one namespace nobody is taken from another.
    let own = scoped(
        "evil/mine",
        r#"permit (principal == User::"https://login.example#bot", action == Action::"approve", resource);"#,
        Scope::Namespace,
    );
    let (world, rejected) = of(&[claimed("bot"), own]);
    assert!(world.principal_by_oidc("https://login.example", "bot").is_some() && rejected.is_empty());
    // It is so for as long as the policy is there.
    let (without, _) = world.rebuilt(vec![claimed("ada")], Vec::new());
    assert!(without.principal_by_oidc("https://login.example", "ada").is_some());
    let (again, _) = without.rebuilt(vec![claimed("ada"), ops("approve")], Vec::new());
    assert!(again.principal_by_oidc("https://login.example", "ada").is_none());
}
