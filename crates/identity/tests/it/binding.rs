//! Workload and user together: each verified, neither taken for the other (I4).

use serde_json::{Value, json};
use vidimus_core::caller::{MAX_DEPTH, UnixMillis};
use vidimus_core::refusal::Code;
use vidimus_core::resource::{Origin, check};
use vidimus_core::snapshot::Snapshot;

use crate::world::{BOT, GATEWAY, World, agent, code, merged, now, objects, peer};

const AGENT: &str = "Agent/finance/invoice-bot";

#[tokio::test]
async fn an_svid_alone_is_its_workload() {
    let world = World::new();
    let proven = world.at(None, Some(&peer(BOT)), 0).await.unwrap();
    assert_eq!(proven.principal.entity().to_string(), AGENT);
    assert_eq!(&*proven.identity, BOT);
    assert_eq!(proven.user, None);
    let stranger = peer("spiffe://corp.example/stranger");
    assert_eq!(code(&world.at(None, Some(&stranger), 0).await), Err(Code::PrincipalUnknown));
}

/// So that the record of the refusal is found by who it was. A token that is not believed names nobody.
#[tokio::test]
async fn a_refusal_says_what_was_proven_all_the_same() {
    let world = World::new();
    let issuer = world.issuer.issuer();
    let anna = format!("{issuer}#anna");
    let token = world.token(json!({ "sub": "anna" }));
    let acting = world.token(json!({ "sub": "anna", "act": { "sub": "nobody" } }));
    let foreign =
        world.token(json!({ "sub": "anna", "act": { "sub": "bot-1", "iss": "https://other.example" } }));
    let stranger = peer("spiffe://corp.example/stranger");
    let oidc = |subject: &str| Some(format!("oidc:{issuer}#{subject}"));
    for (bearer, peer, identity, user) in [
        (Some(&token), None, oidc("anna"), None),
        (Some(&acting), None, oidc("nobody"), Some(&anna)),
        (Some(&foreign), None, oidc("anna"), None),
        (None, Some(&stranger), Some(stranger.spiffe_id.as_str().to_owned()), None),
        (Some(&token), Some(&stranger), Some(stranger.spiffe_id.as_str().to_owned()), Some(&anna)),
        (Some(&format!("{token}x")), None, None, None),
        (Some(&world.token(json!({ "sub": "anna", "aud": "somebody-else" }))), None, None, None),
    ] {
        let refusal = world.at(bearer.map(String::as_str), peer, 0).await.unwrap_err();
        let proven = refusal.proven.as_deref();
        assert_eq!(proven.map(|it| it.identity.to_string()), identity, "{refusal}");
        assert_eq!(proven.and_then(|it| it.user.as_deref()), user.map(String::as_str), "{refusal}");
    }
}

/// The connection lives on; what it proves does not.
#[tokio::test]
async fn an_svid_proves_nothing_after_its_end() {
    let world = World::new();
    let mut bot = peer(BOT);
    assert_eq!(code(&world.at(None, Some(&bot), 0).await), Ok(AGENT.to_owned()));
    assert_eq!(code(&world.at(None, Some(&bot), 3600).await), Err(Code::SvidInvalid));
    let end = bot.not_after;
    let last = UnixMillis(end.0 - 1);
    assert_eq!(code(&world.at_moment(None, Some(&bot), last).await), Ok(AGENT.to_owned()));
    assert_eq!(code(&world.at_moment(None, Some(&bot), end).await), Err(Code::SvidInvalid));
    bot.not_after = UnixMillis(now().0 - 1);
    assert_eq!(code(&world.at(None, Some(&bot), 0).await), Err(Code::SvidInvalid));
    assert_eq!(code(&world.both(&world.token(json!({"sub": "anna"})), &bot).await), Err(Code::SvidInvalid));
}

#[tokio::test]
async fn a_persons_token_beside_an_svid_adds_the_user() {
    let world = World::new();
    let token = world.token(json!({ "sub": "anna", "email": "anna@example.com", "email_verified": true }));
    let proven = world.both(&token, &peer(BOT)).await.unwrap();
    let user = proven.user.as_ref().unwrap();
    assert_eq!(proven.principal.entity().to_string(), AGENT);
    assert_eq!(&*proven.identity, BOT);
    assert_eq!(user.id(), format!("{}#anna", world.issuer.issuer()));
    assert_eq!(user.email.as_deref(), Some("anna@example.com"));
    assert_eq!(proven.delegated, None);

    let unverified =
        world.token(json!({ "sub": "anna", "email": "boss@example.com", "email_verified": false }));
    assert_eq!(world.both(&unverified, &peer(BOT)).await.unwrap().user.as_ref().unwrap().email, None);
}

/// No standard has the claim; issuers write a list of names.
#[tokio::test]
async fn the_groups_of_a_person_are_those_of_the_token() {
    let world = World::new();
    let many: Vec<String> = (0..129).map(|number| format!("g{number}")).collect();
    let long = vec!["g".repeat(2049), "h".repeat(2048)];
    for (groups, expected) in [
        (json!(["b", "a", "b"]), Ok(vec!["a", "b"])),
        (json!([]), Ok(vec![])),
        // No list of names is no such claim.
        (json!("a"), Ok(vec![])),
        (json!(["a", 1]), Ok(vec![])),
        (json!(["a", ""]), Ok(vec![])),
        (json!(["a\u{7}"]), Ok(vec![])),
        // A forbid by a group must not be lost on the way.
        (json!(many), Err(Code::TokenMalformed)),
        (json!(long), Err(Code::TokenMalformed)),
    ] {
        let token = world.token(json!({ "sub": "anna", "groups": groups }));
        let found = world.both(&token, &peer(BOT)).await.map_err(|refusal| refusal.code);
        let found = found.map(|proven| proven.user.as_ref().unwrap().groups.to_vec());
        assert_eq!(found, expected.map(|names| names.into_iter().map(Into::into).collect()), "{groups}");
    }
}

/// OpenID Connect Core section 5.1; some issuers write the boolean as text.
#[tokio::test]
async fn an_address_counts_unless_its_issuer_says_that_it_is_not_verified() {
    let world = World::new();
    for (claims, kept) in [
        (json!({}), true),
        (json!({ "email_verified": true }), true),
        (json!({ "email_verified": "true" }), true),
        (json!({ "email_verified": false }), false),
        (json!({ "email_verified": "false" }), false),
        (json!({ "email_verified": "" }), false),
        (json!({ "email_verified": 1 }), false),
        (json!({ "email_verified": null }), false),
        (json!({ "email": "anna@example.com\u{7}" }), false),
        (json!({ "email": ["anna@example.com"] }), false),
        (json!({ "email": null }), false),
    ] {
        let token =
            world.token(merged(json!({ "sub": "anna", "email": "anna@example.com" }), claims.clone()));
        let proven = world.both(&token, &peer(BOT)).await.unwrap();
        let email = proven.user.as_ref().unwrap().email.clone();
        assert_eq!(email.as_deref(), kept.then_some("anna@example.com"), "{claims}");
    }
}

/// Token claims, whether beside invoice-bot's SVID, and what comes of it.
#[tokio::test]
async fn two_identities_are_one_too_many() {
    let world = World::new();
    let actor = |subject: &str| json!({ "sub": subject });
    let mut deep = json!({ "sub": "bot-1" });
    for _ in 0..16 {
        deep = json!({ "sub": "bot-1", "act": deep });
    }
    let cases: Vec<(&str, Value, bool, Result<&str, Code>)> = vec![
        ("a person alone is nobody", json!({ "sub": "anna" }), false, Err(Code::PrincipalUnknown)),
        ("its own token beside its SVID", json!({}), true, Err(Code::CredentialAmbiguous)),
        ("another's token beside its SVID", json!({ "sub": "bot-2" }), true, Err(Code::CredentialAmbiguous)),
        (
            "a service's token beside its SVID",
            json!({ "sub": "svc-reporting" }),
            true,
            Err(Code::CredentialAmbiguous),
        ),
        ("the actor alone", json!({ "sub": "anna", "act": actor("bot-1") }), false, Ok(AGENT)),
        ("the actor and its SVID", json!({ "sub": "anna", "act": actor("bot-1") }), true, Ok(AGENT)),
        (
            "another actor beside its SVID",
            json!({ "sub": "anna", "act": actor("bot-2") }),
            true,
            Err(Code::CredentialAmbiguous),
        ),
        (
            "an actor nobody knows",
            json!({ "sub": "anna", "act": actor("bot-9") }),
            false,
            Err(Code::PrincipalUnknown),
        ),
        (
            "an actor nobody knows beside an SVID",
            json!({ "sub": "anna", "act": actor("x") }),
            true,
            Err(Code::PrincipalUnknown),
        ),
        (
            "a person acting for a person",
            json!({ "sub": "anna", "act": actor("berta") }),
            false,
            Err(Code::PrincipalUnknown),
        ),
        (
            "an agent acting for an agent",
            json!({ "sub": "bot-2", "act": actor("bot-1") }),
            false,
            Err(Code::CredentialAmbiguous),
        ),
        (
            "an agent acting for itself",
            json!({ "act": actor("bot-1") }),
            false,
            Err(Code::CredentialAmbiguous),
        ),
        (
            "an actor that may not act for people",
            json!({ "sub": "anna", "act": actor("svc-reporting") }),
            false,
            Err(Code::UserNotAllowed),
        ),
        (
            "an actor of the same issuer, said so",
            json!({ "sub": "anna", "act": merged(actor("bot-1"), json!({ "iss": world.issuer.issuer() })) }),
            false,
            Ok(AGENT),
        ),
        (
            "an actor of another issuer",
            json!({ "sub": "anna", "act": merged(actor("bot-1"), json!({ "iss": world.foreign.issuer() })) }),
            false,
            Err(Code::PrincipalUnknown),
        ),
        (
            "an SVID as actor in a token",
            json!({ "sub": "anna", "act": actor(BOT) }),
            false,
            Err(Code::PrincipalUnknown),
        ),
        (
            "an actor without claims asked for",
            json!({ "sub": "anna", "act": actor("tenant-bot") }),
            false,
            Err(Code::PrincipalUnknown),
        ),
        ("act that is text", json!({ "sub": "anna", "act": "bot-1" }), false, Err(Code::TokenMalformed)),
        ("act that is null", json!({ "sub": "anna", "act": null }), false, Err(Code::TokenMalformed)),
        ("act without a subject", json!({ "sub": "anna", "act": {} }), false, Err(Code::TokenMalformed)),
        ("act nested too deep", json!({ "sub": "anna", "act": deep }), false, Err(Code::DelegationTooDeep)),
        (
            "a prior actor nobody knows",
            json!({ "sub": "anna", "act": merged(actor("bot-1"), json!({ "act": actor("x") })) }),
            false,
            Err(Code::PrincipalUnknown),
        ),
    ];
    for (name, claims, with_svid, expected) in cases {
        let token = world.token(claims);
        let svid = with_svid.then(|| peer(BOT));
        let result = world.at(Some(&token), svid.as_ref(), 0).await;
        assert_eq!(code(&result), expected.map(str::to_owned), "{name}");
        if let Ok(proven) = result {
            assert_eq!(&*proven.user.as_ref().unwrap().subject, "anna", "{name}");
            assert_eq!(proven.delegated, None, "{name}");
            // What is recorded is the stronger of the two.
            let by_token = format!("oidc:{}#bot-1", world.issuer.issuer());
            assert_eq!(*proven.identity, if with_svid { BOT.to_owned() } else { by_token }, "{name}");
        }
    }
}

#[tokio::test]
async fn people_of_an_issuer_that_is_not_listed_are_refused() {
    let world = World::new();
    let token = world.foreign.token(json!({ "sub": "mallory", "aud": GATEWAY }));
    assert_eq!(code(&world.both(&token, &peer(BOT)).await), Err(Code::UserNotAllowed));
}

/// A chain that began elsewhere is not shorter for it, and its transaction cannot be chosen.
#[tokio::test]
async fn prior_actors_of_a_foreign_chain_count() {
    let world = World::new();
    let act = json!({ "sub": "bot-1", "act": { "sub": "bot-2", "act": { "sub": "svc-reporting" } } });
    let token = world.token(json!({ "sub": "anna", "act": act, "txn": "ours-1", "jti": "x" }));
    let proven = world.bearer(&token).await.unwrap();
    let chain = proven.delegated.as_ref().unwrap();
    let actors: Vec<_> = chain.actors.iter().map(ToString::to_string).collect();
    assert_eq!(actors, ["Service/finance/reporting", "Agent/finance/summarizer"]);
    assert_eq!(chain.depth(), 3);
    assert!(chain.transaction.starts_with("ext-"), "{}", chain.transaction);
    let again = world.both(&token, &peer(BOT)).await.unwrap();
    assert_eq!(again.delegated.as_ref().unwrap().transaction, chain.transaction);
    assert_eq!(&*again.identity, BOT, "the chain is the token's, the caller the SVID's");

    // Another token of the same chain is another transaction; one without prior actors continues none.
    let other = json!({ "sub": "bot-1", "act": { "sub": "bot-2" } });
    let other = world.bearer(&world.token(json!({ "sub": "anna", "act": other }))).await.unwrap();
    assert_ne!(other.delegated.as_ref().unwrap().transaction, chain.transaction);
    let started = chain.started;
    let iat = started.0 / 1000 - 1;
    let earlier = json!({ "sub": "bot-1", "act": { "sub": "bot-2", "act": { "sub": "svc-reporting" } } });
    let earlier =
        world.bearer(&world.token(json!({ "sub": "anna", "act": earlier, "iat": iat }))).await.unwrap();
    let earlier = earlier.delegated.as_ref().unwrap();
    assert_eq!(earlier.started, UnixMillis(started.0 - 1000));
    assert_ne!(earlier.transaction, chain.transaction);
}

#[tokio::test]
async fn a_foreign_chain_may_be_as_long_as_ours() {
    let world = World::new();
    let mut act = json!({ "sub": "bot-1" });
    for _ in 1..MAX_DEPTH {
        act = json!({ "sub": "bot-1", "act": act });
    }
    let proven = world.bearer(&world.token(json!({ "sub": "anna", "act": act }))).await.unwrap();
    let prior = MAX_DEPTH - 1;
    assert_eq!(proven.delegated.as_ref().unwrap().actors.len(), prior);
}

/// The check of resources refuses such names; identity does not rely on it.
#[tokio::test]
async fn a_subject_that_kubernetes_cannot_give_is_no_service_account() {
    use vidimus_core::resource::{Identity, Object};
    let mut world = World::new();
    for (namespace, name) in [("finance", "bot"), ("", "bot"), ("finance", ""), ("finance", "bot:x")] {
        let object = check(&Origin::default(), &agent("invoice-bot", json!([]), json!([]))).unwrap();
        let Object::Agent(agent) = object else { panic!("an agent") };
        let mut agent = (*agent).clone();
        agent.identities = vec![Identity::ServiceAccount { namespace: namespace.into(), name: name.into() }];
        world.snapshot = Snapshot::build(vec![Object::Agent(agent.into())]).0;
        let subject = format!("system:serviceaccount:{namespace}:{name}");
        let token = world.foreign.token(json!({ "sub": subject, "aud": GATEWAY }));
        let expected = if name == "bot" && !namespace.is_empty() {
            Ok(AGENT.to_owned())
        } else {
            Err(Code::PrincipalUnknown)
        };
        assert_eq!(code(&world.bearer(&token).await), expected, "{subject}");
    }
}

#[tokio::test]
async fn service_account_tokens_bind_by_namespace_and_name() {
    let world = World::new();
    let token = |subject: &str| world.foreign.token(json!({ "sub": subject, "aud": [GATEWAY] }));
    for (subject, expected) in [
        // Registered as ServiceAccount of one agent and as plain subject of another.
        ("system:serviceaccount:finance:invoice-bot", Err(Code::CredentialAmbiguous)),
        ("system:serviceaccount:finance:other", Err(Code::PrincipalUnknown)),
        ("system:serviceaccount:other:invoice-bot", Err(Code::PrincipalUnknown)),
        ("system:serviceaccount:finance:invoice-bot:x", Err(Code::PrincipalUnknown)),
        ("system:serviceaccount::invoice-bot", Err(Code::PrincipalUnknown)),
        ("finance:invoice-bot", Err(Code::PrincipalUnknown)),
    ] {
        assert_eq!(code(&world.bearer(&token(subject)).await), expected, "{subject}");
    }
    let mut world = World::new();
    let objects = objects(&world.issuer.issuer(), &world.foreign.issuer());
    let unambiguous: Vec<_> = objects.into_iter().filter(|o| o["metadata"]["name"] != "twice").collect();
    world.snapshot = crate::world::snapshot(&unambiguous);
    let subject = "system:serviceaccount:finance:invoice-bot";
    let token = world.foreign.token(json!({ "sub": subject, "aud": [GATEWAY] }));
    let proven = world.bearer(&token).await.unwrap();
    assert_eq!(proven.principal.entity().to_string(), AGENT);
    assert_eq!(*proven.identity, format!("oidc:{}#{subject}", world.foreign.issuer()));
    // One that is registered in both ways is one, and not two that claim it.
    let both = json!([
        { "serviceAccount": { "namespace": "finance", "name": "both" } },
        { "oidc": { "issuer": world.foreign.issuer(), "subject": "system:serviceaccount:finance:both" } },
    ]);
    let both = [agent("both", both, json!([]))];
    world.snapshot = crate::world::snapshot(&[unambiguous, both.into()].concat());
    let of_both = json!({ "sub": "system:serviceaccount:finance:both", "aud": [GATEWAY] });
    assert_eq!(code(&world.bearer(&world.foreign.token(of_both)).await), Ok("Agent/finance/both".to_owned()));
    // The same subject of another issuer is only a subject.
    let token = world.issuer.token(json!({ "sub": subject, "aud": GATEWAY }));
    assert_eq!(code(&world.bearer(&token).await), Err(Code::PrincipalUnknown));
}

/// An identity is fitted by what it says itself, not by what the others of the record do.
#[tokio::test]
async fn the_claims_that_one_identity_asks_for_are_not_had_by_another() {
    let mut world = World::new();
    let (issuer, foreign) = (world.issuer.issuer(), world.foreign.issuer());
    let oidc = |issuer: &str, subject: &str, claims: Value| json!({ "oidc": { "issuer": issuer, "subject": subject, "claims": claims } });
    let identities = json!([
        oidc(&issuer, "plain", json!({})),
        oidc(&foreign, "strict", json!({})),
        oidc(&issuer, "strict", json!({ "tier": "1" })),
    ]);
    let mut objects = objects(&issuer, &foreign);
    objects.push(agent("several", identities, json!([])));
    world.snapshot = crate::world::snapshot(&objects);
    let several = || Ok("Agent/finance/several".to_owned());
    for (token, expected) in [
        (world.token(json!({ "sub": "plain" })), several()),
        (world.token(json!({ "sub": "strict", "tier": "1" })), several()),
        (world.token(json!({ "sub": "strict" })), Err(Code::PrincipalUnknown)),
        (world.token(json!({ "sub": "strict", "tier": "2" })), Err(Code::PrincipalUnknown)),
        (world.foreign.token(json!({ "sub": "strict", "aud": GATEWAY })), several()),
        (world.foreign.token(json!({ "sub": "plain", "aud": GATEWAY })), Err(Code::PrincipalUnknown)),
    ] {
        assert_eq!(code(&world.bearer(&token).await), expected);
    }
}

/// What was proven ends with the first credential that was needed to prove it, also where the answer comes from the cache.
#[tokio::test]
async fn what_is_proven_has_an_end() {
    let world = World::new();
    let start = now().0;
    let at = |minutes: i64| UnixMillis(start + minutes * 60_000);
    let token = |subject: &str, minutes: i64| {
        world.token(json!({ "sub": subject, "exp": at(minutes).0 / 1000, "minutes": minutes }))
    };
    let svid = |minutes: i64| {
        let mut peer = peer(BOT);
        peer.not_after = at(minutes);
        peer
    };
    let (bot, anna) = (token("bot-1", 10), token("anna", 20));
    let acting = world.token(json!({ "sub": "anna", "act": { "sub": "bot-1" }, "exp": at(25).0 / 1000 }));
    // In turns, so that some are answered from the cache; the same token comes beside different certificates.
    for round in ["new", "cached"] {
        for (name, bearer, peer, end) in [
            ("a token", Some(&bot), None, 10),
            ("an SVID", None, Some(svid(30)), 30),
            ("the SVID of the next connection", None, Some(svid(15)), 15),
            ("a token that ends before the SVID", Some(&anna), Some(svid(30)), 20),
            ("a token that ends after the SVID", Some(&anna), Some(svid(15)), 15),
            ("a token with an actor", Some(&acting), None, 25),
            ("a token with an actor, after the SVID", Some(&acting), Some(svid(15)), 15),
        ] {
            let proven = world.at(bearer.map(String::as_str), peer.as_ref(), 0).await.unwrap();
            assert_eq!(proven.expires, Some(at(end)), "{name}, {round}");
        }
    }
}

/// Two objects list one identity: it proves neither, nor is its token a person's.
#[tokio::test]
async fn a_contested_identity_proves_nobody_and_says_so() {
    let mut world = World::new();
    let issuer = world.issuer.issuer();
    let claimed = json!([
        { "spiffe": BOT }, { "oidc": { "issuer": issuer, "subject": "bot-1" } },
        { "spiffe": "spiffe://corp.example/intruder" },
    ]);
    let mut objects = objects(&issuer, &world.foreign.issuer());
    objects.insert(0, agent("intruder", claimed, json!([{ "issuer": issuer }])));
    let objects = objects.iter().map(|object| check(&Origin::default(), object).unwrap()).collect();
    let (snapshot, rejected) = Snapshot::build(objects);
    assert_eq!(rejected.len(), 4, "{rejected:#?}");
    world.snapshot = snapshot;
    let token = world.token(json!({}));
    let intruder = peer("spiffe://corp.example/intruder");
    for refused in [
        world.at(None, Some(&peer(BOT)), 0).await,
        world.bearer(&token).await,
        // As the user of somebody who may act for people of the issuer.
        world.both(&token, &intruder).await,
        world.bearer(&world.token(json!({ "sub": "anna", "act": { "sub": "bot-1" } }))).await,
    ] {
        let refusal = refused.unwrap_err();
        assert_eq!(refusal.code, Code::IdentityContested);
        for claimant in ["Agent finance/intruder", "Agent finance/invoice-bot"] {
            assert!(refusal.message.contains(claimant), "{refusal}");
        }
        assert!(refusal.code.next().contains("rename"), "{}", refusal.code.next());
    }
    // What is not contested is as it was.
    let proven = world.at(None, Some(&intruder), 0).await.unwrap();
    assert_eq!(proven.principal.entity().to_string(), "Agent/finance/intruder");
}
