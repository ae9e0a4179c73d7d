//! Who presents a token at the admin address: a person, by its own token, and nobody else.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use vidimus_core::person::Person;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Origin, check};
use vidimus_core::snapshot::Snapshot;
use vidimus_identity::{
    ConfigError, Limits, OPERATOR_AUDIENCE, Operators, People, PersonTokenRequest, TokenRequest, check_roots,
};
use vidimus_testkit::issuer::now_seconds;

use crate::world::{GATEWAY, World, agent, merged, now, objects};

/// Those of the world's first issuer, whose groups are in `roles`, and those of the built-in one.
fn operators(world: &World) -> Operators {
    Operators {
        issuers: vec![world.issuer.issuer().into()],
        audiences: vec!["https://admin.example".into()],
        groups_claim: "roles".into(),
        local: Some(world.local.clone()),
        roots_of_issuers: Vec::new(),
        limits: Limits::default(),
    }
}

async fn presented(world: &World, token: &str) -> Result<Person, Refusal> {
    People::new(operators(world)).unwrap().person(&world.snapshot, token, now()).await
}

/// Anna's token, with these claims added or in place of its own.
fn token(world: &World, claims: Value) -> String {
    world.issuer.token(merged(json!({ "sub": "anna", "aud": OPERATOR_AUDIENCE }), claims))
}

#[tokio::test]
async fn a_person_is_who_its_own_token_says() {
    let world = World::new();
    let claims = json!({ "email": "anna@corp.example", "roles": ["soc", "admins"], "groups": ["others"] });
    let person = presented(&world, &token(&world, claims)).await.unwrap();
    assert_eq!(person.actor(), format!("User/{}#anna", world.issuer.issuer()));
    assert_eq!(person.user.email.as_deref(), Some("anna@corp.example"));
    assert_eq!(person.unverified_email, None);
    // What is not verified proves nothing, and is known all the same.
    let unverified = token(&world, json!({ "email": "anna@corp.example", "email_verified": false }));
    let doubtful = presented(&world, &unverified).await.unwrap();
    assert_eq!(
        (doubtful.user.email.as_deref(), doubtful.unverified_email.as_deref()),
        (None, Some("anna@corp.example"))
    );
    assert!(doubtful.names().may_be(&person.names()));
    assert_eq!(*person.groups, ["soc".into(), "admins".into()]);
    assert!(person.user.groups.is_empty(), "they are those of whom somebody acts for");
}

#[tokio::test]
async fn what_a_persons_token_must_say_is_checked_one_by_one() {
    let world = World::new();
    let now = now_seconds();
    let cases = [
        ("as it should be", json!({}), Ok(())),
        ("a further audience", json!({ "aud": "https://admin.example" }), Ok(())),
        ("ours among several", json!({ "aud": ["x", OPERATOR_AUDIENCE] }), Ok(())),
        ("another audience", json!({ "aud": GATEWAY }), Err((Code::TokenAudience, "is \"https://gateway."))),
        ("other audiences", json!({ "aud": ["x", GATEWAY] }), Err((Code::TokenAudience, "is of another"))),
        ("no text", json!({ "aud": [1] }), Err((Code::TokenAudience, "is of another"))),
        ("ended", json!({ "exp": now }), Err((Code::TokenExpired, ""))),
        ("not begun", json!({ "nbf": now + 90 }), Err((Code::TokenNotYetValid, ""))),
        ("nobody", json!({ "sub": null }), Err((Code::TokenMalformed, "'sub'"))),
        ("another issuer", json!({ "iss": "https://other.example" }), Err((Code::TokenIssuer, "operate"))),
        // Of a workload.
        ("an actor", json!({ "act": { "sub": "bot" } }), Err((Code::PersonRequired, "acts for"))),
        ("no actor", json!({ "act": null }), Err((Code::TokenMalformed, "'act'"))),
        ("an SVID", json!({ "sub": "spiffe://corp.example/x" }), Err((Code::PersonRequired, "a workload"))),
        (
            "an account",
            json!({ "sub": "system:serviceaccount:a:b" }),
            Err((Code::PersonRequired, "a workload")),
        ),
        ("a principal", json!({ "sub": "bot-1" }), Err((Code::PersonRequired, "registered principal"))),
    ];
    for (name, claims, expected) in cases {
        let found = presented(&world, &token(&world, claims)).await;
        match (&found, expected) {
            (Ok(_), Ok(())) => {}
            (Err(refusal), Err((code, says))) => {
                assert_eq!(refusal.code, code, "{name}: {refusal}");
                assert!(refusal.message.contains(says), "{name}: {refusal}");
            }
            _ => panic!("{name}: {found:?}"),
        }
    }
    let none = presented(&world, &world.issuer.token(json!({ "sub": "anna" }))).await.unwrap_err();
    assert!(none.code == Code::TokenAudience && none.message.contains("is missing"), "{none}");
    // The one's payload with the other's signature.
    let (one, other) = (token(&world, json!({})), token(&world, json!({ "sub": "bob" })));
    let forged = [one.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1].join(".");
    assert_eq!(presented(&world, &forged).await.unwrap_err().code, Code::TokenSignature);
}

/// Also where two principals claim it, so that it proves neither.
#[tokio::test]
async fn what_is_contested_is_no_person() {
    let mut world = World::new();
    let issuer = world.issuer.issuer();
    let claimed = json!([{ "oidc": { "issuer": issuer, "subject": "bot-1" } }]);
    let mut objects = objects(&issuer, &world.foreign.issuer());
    objects.push(agent("intruder", claimed, json!([])));
    let objects = objects.iter().map(|object| check(&Origin::default(), object).unwrap()).collect();
    let (snapshot, rejected) = Snapshot::build(objects);
    assert!(!rejected.is_empty());
    world.snapshot = snapshot;
    let refused = presented(&world, &token(&world, json!({ "sub": "bot-1" }))).await.unwrap_err();
    assert_eq!(refused.code, Code::PersonRequired);
    assert!(presented(&world, &token(&world, json!({}))).await.is_ok());
}

#[tokio::test]
async fn groups_are_a_list_of_names_or_one() {
    let world = World::new();
    let of = |letter: &str, length: usize| letter.repeat(length);
    let many = |number: usize| (0..number).map(|one| format!("g{one}")).collect::<Vec<_>>();
    for (roles, expected) in [
        (json!(null), Some(0)),
        (json!("soc"), Some(1)),
        (json!([]), Some(0)),
        (json!(["a", "b"]), Some(2)),
        (json!(of("g", 256)), Some(1)),
        (json!(["é".repeat(128)]), Some(1)),
        (json!(many(512)), Some(512)),
        (json!(of("g", 257)), None),
        (json!([of("g", 257)]), None),
        (json!(many(513)), None),
        (json!(""), None),
        (json!(["a", ""]), None),
        (json!(["a\n"]), None),
        (json!(["a", 1]), None),
        (json!(1), None),
        (json!({ "a": true }), None),
    ] {
        let found = presented(&world, &token(&world, json!({ "roles": roles }))).await;
        match expected {
            Some(number) => assert_eq!(found.unwrap().groups.len(), number, "{roles}"),
            None => assert_eq!(found.unwrap_err().code, Code::TokenMalformed, "{roles}"),
        }
    }
    assert_eq!(presented(&world, &token(&world, json!({}))).await.unwrap().groups.len(), 0);
}

#[tokio::test]
async fn the_built_in_issuer_is_one_of_people_where_it_is_on() {
    let world = World::new();
    let (ttl, now, groups) = (Duration::from_secs(60), now(), ["soc".to_owned()]);
    let own = world.local.person_token(&PersonTokenRequest { subject: "anna", groups: &groups, ttl, now });
    let own = own.unwrap();
    let named_groups = |world: &World| Operators { groups_claim: "groups".into(), ..operators(world) };
    let people = People::new(named_groups(&world)).unwrap();
    let person = people.person(&world.snapshot, own.expose_secret(), now).await.unwrap();
    assert_eq!((person.actor().as_str(), person.groups.len()), ("User/urn:vidimus:local#anna", 1));
    let acting = TokenRequest { subject: "bot", user: Some("anna"), audience: OPERATOR_AUDIENCE, ttl, now };
    let acting = world.local.token(&acting).unwrap();
    let refused = people.person(&world.snapshot, acting.expose_secret(), now).await.unwrap_err();
    assert_eq!(refused.code, Code::PersonRequired);
    let without = People::new(Operators { local: None, ..named_groups(&world) }).unwrap();
    let refused = without.person(&world.snapshot, own.expose_secret(), now).await.unwrap_err();
    assert_eq!(refused.code, Code::TokenIssuer);
    assert!(refused.next().contains("--operator-issuer"), "{}", refused.next());
}

/// Attack: a record of a tenant with the subject of whoever operates the installation.
#[tokio::test]
async fn no_record_takes_a_person_of_the_built_in_issuer_away() {
    let mut world = World::new();
    let claimed = json!([{ "oidc": { "issuer": "urn:vidimus:local", "subject": "admin" } }]);
    let eve = agent("lock", claimed, json!([]));
    world.snapshot = Snapshot::build(vec![check(&Origin::default(), &eve).unwrap()]).0;
    let (ttl, now, groups) = (Duration::from_secs(60), now(), []);
    let own = PersonTokenRequest { subject: "admin", groups: &groups, ttl, now };
    let own = world.local.person_token(&own).unwrap();
    let person = presented(&world, own.expose_secret()).await.unwrap();
    assert_eq!(person.actor(), "User/urn:vidimus:local#admin");
    // Nor is the workload's own token a person's, whoever it is meant for, registered or not.
    for subject in ["admin", "nobody"] {
        let token = TokenRequest { subject, user: None, audience: OPERATOR_AUDIENCE, ttl, now };
        let token = world.local.token(&token).unwrap();
        assert_eq!(
            presented(&world, token.expose_secret()).await.unwrap_err().code,
            Code::PersonRequired,
            "{subject}"
        );
    }
}

/// Attack: the same with a subject of another issuer, where a policy names it.
#[tokio::test]
async fn no_record_takes_a_person_away_whom_a_policy_names() {
    let mut world = World::new();
    let issuer = world.issuer.issuer();
    let cedar =
        format!(r#"permit (principal == User::"{issuer}#bot-1", action in Action::"operate", resource);"#);
    let policy = json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "ops", "namespace": "platform"},
        "spec": {"description": "Who operates.", "scope": "Cluster", "cedar": cedar},
    });
    let mut objects = objects(&issuer, &world.foreign.issuer());
    objects.push(policy);
    let objects = objects.iter().map(|object| check(&Origin::default(), object).unwrap()).collect();
    world.snapshot = Snapshot::build(objects).0;
    assert!(presented(&world, &token(&world, json!({ "sub": "bot-1" }))).await.is_ok());
}

#[test]
fn an_issuer_has_the_roots_that_are_given_for_it() {
    let world = World::new();
    let with = |issuer: String| {
        let roots_of_issuers = vec![(issuer.into(), b"no certificate".to_vec())];
        People::new(Operators { roots_of_issuers, ..operators(&world) }).map(drop)
    };
    assert!(matches!(with(world.issuer.issuer()), Err(ConfigError::IssuerRoots { .. })));
    assert_eq!(with("https://other.example".to_owned()), Ok(()));
    assert_eq!(check_roots(world.local.bundle().as_bytes()), Ok(()));
    for bad in ["", "no certificate"] {
        assert!(matches!(check_roots(bad.as_bytes()), Err(ConfigError::IssuerRoots { .. })), "{bad}");
    }
}
