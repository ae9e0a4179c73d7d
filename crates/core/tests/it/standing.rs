//! What stands by acts: each subject is refused what it says and nothing else, grants permit what they say and nothing else.

use std::sync::Arc;

use serde_json::json;
use vidimus_core::act::{
    Act, BY_ITSELF, Granted, LastRun, Lifted, OfGrant, OfSubject, Requested, Shred, Start, Stop, Subject,
    Terms, Used,
};
use vidimus_core::call::{Action, Ask, Call, Target};
use vidimus_core::caller::{Instance, InstanceKind, UnixMillis, User};
use vidimus_core::decision::Outcome;
use vidimus_core::record::{ActKind, ActRecord, VERSION};
use vidimus_core::refusal::Code;
use vidimus_core::resource::{Object, Origin, Rejection, Subject as About};
use vidimus_core::snapshot::{Configuration, Overlay, Snapshot};
use vidimus_core::standing::agreed::{Agreed, Agreement, Known, MOST_LIFTED, Place};
use vidimus_core::standing::{Standing, Unfit};

use crate::world::{self, Facts};

const NOW: i64 = 1_790_000_000_500;
const ODD: [&str; 7] = ["plain", "a\"b", "a\\b", "a' || true || 'b", "\u{202e}abc", "ü€😀", "*.?${x}\\u{41}"];

fn record(id: &str, act: Act) -> ActRecord<'static> {
    ActRecord {
        act,
        actor: "User/urn:vidimus:local#admin".into(),
        id: id.to_owned().into(),
        kind: ActKind,
        note: false,
        shared: None,
        time: "2026-09-21T14:13:20.500000Z".into(),
        version: VERSION,
        why: "INC-7".into(),
    }
}

fn fold(acts: Vec<(&str, Act)>) -> Standing {
    let mut standing = Standing::default();
    for (id, act) in acts {
        standing.apply(&record(id, act));
    }
    standing
}

fn quarantine(subject: &str) -> Act {
    Act::Quarantine(OfSubject { subject: subject.parse().unwrap() })
}

/// One copy of an agent.
fn pod(uid: &str) -> Instance {
    Instance { id: uid.into(), kind: InstanceKind::Pod, name: Some("a/other-0".into()), node: None }
}

fn objects() -> Vec<Object> {
    let agents = vec![world::agent("a", "bot"), world::agent("a", "other")];
    let servers = vec![world::server("a", "tools"), world::server("a", "more")];
    let mut all = world::objects(agents, servers, Vec::new());
    all.push(Object::Service(Arc::new(world::service("a", "svc"))));
    all.push(Object::LlmProvider(Arc::new(world::provider("a", "llm", &[("m", &[])]))));
    all
}

fn under(standing: &Standing, policies: Vec<Object>) -> Snapshot {
    let all = objects().into_iter().chain(policies).collect();
    let standing = Arc::new(Overlay::of(standing).unwrap());
    let configuration = Configuration { objects: all, standing, ..Configuration::default() };
    let (snapshot, rejected) = Snapshot::default().next(configuration);
    assert!(rejected.is_empty(), "{rejected:?}");
    snapshot
}

/// What `facts` make of a call of a tool.
fn tool(snapshot: &Snapshot, facts: &Facts, server: &str, name: &str) -> (Option<Code>, Vec<String>) {
    let target = Target::Tool { server: snapshot.mcp_server(server).unwrap(), name };
    let answer = facts.authorize(snapshot, Action::InvokeTool, target);
    (answer.code, answer.policies().into_iter().map(str::to_owned).collect())
}

#[test]
fn each_subject_is_refused_and_nothing_else() {
    let everything = || vec![world::cluster("permit (principal, action, resource);")];
    let calls = |snapshot: &Snapshot| {
        let bot = Facts::of(snapshot, "a/bot");
        let other = Facts::of(snapshot, "a/other");
        let ada =
            User { issuer: "https://i".into(), subject: "ada".into(), email: None, groups: Arc::default() };
        let for_ada = Facts { user: Some(ada), ..Facts::of(snapshot, "a/other") };
        let mut in_chain = Facts::of(snapshot, "a/other");
        in_chain.chain.transaction = "txn-2".into();
        let model = Target::Model { provider: snapshot.llm_provider("a/llm").unwrap(), name: "m" };
        let model = other.authorize(snapshot, Action::CallModel, model).code.is_some();
        let mut of_copy = Facts::of(snapshot, "a/other");
        of_copy.instance = Some(pod("6d1f"));
        let refused = |facts: &Facts, server| tool(snapshot, facts, server, "t").0.is_some();
        [
            refused(&bot, "a/tools"),
            refused(&other, "a/tools"),
            refused(&other, "a/more"),
            refused(&for_ada, "a/more"),
            refused(&in_chain, "a/more"),
            model,
            refused(&of_copy, "a/more"),
        ]
    };
    let (yes, no) = (true, false);
    for (subject, refused) in [
        ("Agent/a/bot", [yes, no, no, no, no, no, no]),
        ("MCPServer/a/tools", [yes, yes, no, no, no, no, no]),
        ("LLMProvider/a/llm", [no, no, no, no, no, yes, no]),
        ("User/https://i#ada", [no, no, no, yes, no, no, no]),
        ("User/https://i#ad", [no; 7]),
        ("Chain/txn-2", [no, no, no, no, yes, no, no]),
        ("Chain/txn-1", [yes, yes, yes, yes, no, yes, yes]),
        ("Identity/spiffe://test/agent", [yes; 7]),
        ("Identity/spiffe://test/agen", [no; 7]),
        ("Instance/6d1f", [no, no, no, no, no, no, yes]),
        ("Instance/6d1", [no; 7]),
        ("Service/a/svc", [no; 7]),
        ("Agent/a/nobody", [no; 7]),
    ] {
        let standing = fold(vec![("1", quarantine(subject))]);
        assert_eq!(calls(&under(&standing, everything())), refused, "{subject}");
        let lifted = Act::Lift(Lifted { of: "1".into(), subject: subject.parse().unwrap() });
        assert_eq!(standing.check(&record("x", lifted.clone())), Ok(()));
        let mut standing = standing;
        standing.apply(&record("2", lifted.clone()));
        assert_eq!(calls(&under(&standing, everything())), [no; 7], "{subject} lifted");
        assert!(matches!(standing.check(&record("x", lifted.clone())), Err(Unfit::Nothing { .. })));
        // What is quarantined anew is not lifted by what lifted it before.
        standing.apply(&record("3", quarantine(subject)));
        assert!(matches!(standing.check(&record("x", lifted.clone())), Err(Unfit::Other { .. })));
    }
}

/// Two people quarantine one agent, each for a reason of their own: who lifts the one leaves the other.
#[test]
fn each_act_of_quarantine_suffices() {
    let subject = || "Agent/a/bot".parse().unwrap();
    let lift = |of: &str| Act::Lift(Lifted { of: of.into(), subject: subject() });
    let by = |standing: &Standing| -> Vec<String> {
        standing.quarantined_by(&subject()).map(|placed| placed.id.clone()).collect()
    };
    for order in [["1", "2", "3"], ["3", "2", "1"], ["2", "1", "3"], ["2", "3", "1"]] {
        let mut standing = fold(["1", "2", "3"].map(|id| (id, quarantine("Agent/a/bot"))).into());
        // Told again, it is the same act.
        standing.apply(&record("2", quarantine("Agent/a/bot")));
        assert_eq!(by(&standing), ["1", "2", "3"]);
        let kept: Standing = serde_json::from_str(&serde_json::to_string(&standing).unwrap()).unwrap();
        assert_eq!(kept, standing);
        let told: Vec<_> = standing.quarantines().map(|act| act.id.into_owned()).collect();
        assert_eq!(told, ["1", "2", "3"]);
        for (nth, of) in order.into_iter().enumerate() {
            assert!(under(&standing, Vec::new()).agent("a/bot").unwrap().quarantined);
            assert_eq!(standing.check(&record("x", lift(of))), Ok(()));
            assert!(standing.needs(&record(of, quarantine("Agent/a/bot")), 0));
            standing.apply(&record("x", lift(of)));
            assert_eq!(by(&standing).len(), 2 - nth);
            assert!(standing.check(&record("x", lift(of))).is_err());
        }
        assert!(!under(&standing, Vec::new()).agent("a/bot").unwrap().quarantined);
    }
    let all: Vec<String> = (0..64).map(|id| id.to_string()).collect();
    let standing = fold(all.iter().map(|id| (&**id, quarantine("Agent/a/bot"))).collect());
    assert!(matches!(standing.check(&record("x", quarantine("Agent/a/bot"))), Err(Unfit::Full)));
}

#[test]
fn odd_names_stand_for_themselves_alone() {
    for odd in ODD {
        for (kind, prefix) in [("Chain", ""), ("User", "https://i#"), ("Identity", ""), ("Instance", "")] {
            let standing = fold(vec![("1", quarantine(&format!("{kind}/{prefix}{odd}")))]);
            let snapshot = under(&standing, vec![world::cluster("permit (principal, action, resource);")]);
            for name in ODD {
                let mut facts = Facts::of(&snapshot, "a/bot");
                let refused = match kind {
                    "Chain" => {
                        facts.chain.transaction = name.into();
                        name == odd
                    }
                    "User" => {
                        let issuer = "https://i".into();
                        facts.user =
                            Some(User { issuer, subject: name.into(), email: None, groups: Arc::default() });
                        name == odd
                    }
                    "Instance" => {
                        facts.instance = Some(pod(name));
                        name == odd
                    }
                    // The test's callers have one identity.
                    _ => false,
                };
                let (code, policies) = tool(&snapshot, &facts, "a/tools", "t");
                assert_eq!(code.is_some(), refused, "{kind} {odd:?} {name:?}: {policies:?}");
            }
        }
    }
}

fn terms(resources: &[&str], transaction: Option<&str>, uses: Option<u32>) -> Terms {
    Terms {
        agent: "Agent/a/bot".parse().unwrap(),
        resources: resources.iter().map(|text| text.parse().unwrap()).collect(),
        transaction: transaction.map(str::to_owned),
        uses,
    }
}

fn granted(terms: Terms) -> Act {
    Act::Grant(Granted { request: None, terms, until_ms: NOW + 1000 })
}

#[test]
fn a_grant_permits_what_it_says_until_its_end() {
    let of = terms(&["Tool/a/tools/t", "MCPServer/a/more", "Tool/a/tools/o\"dd"], None, Some(2));
    let snapshot = under(&fold(vec![("g1", granted(of))]), Vec::new());
    let bot = || Facts::of(&snapshot, "a/bot");
    let permits = |facts: &Facts, server, name| tool(&snapshot, facts, server, name);
    assert_eq!(permits(&bot(), "a/tools", "t"), (None, vec!["vidimus/grant#g1".to_owned()]));
    assert_eq!(permits(&bot(), "a/more", "x"), (None, vec!["vidimus/grant#g1~2".to_owned()]));
    assert_eq!(permits(&bot(), "a/tools", "o\"dd").0, None);
    assert_eq!(permits(&bot(), "a/tools", "u").0, Some(Code::NoPermit));
    assert_eq!(permits(&Facts::of(&snapshot, "a/other"), "a/tools", "t").0, Some(Code::NoPermit));
    for (now, code) in [(NOW + 999, None), (NOW + 1000, Some(Code::NoPermit))] {
        assert_eq!(permits(&Facts { now: UnixMillis(now), ..bot() }, "a/tools", "t").0, code, "{now}");
    }
    // What is forbidden stays so.
    let of = terms(&["Tool/a/tools/t"], None, Some(2));
    let forbid = vec![world::cluster("forbid (principal, action == Action::\"invokeTool\", resource);")];
    let snapshot = under(&fold(vec![("g1", granted(of))]), forbid);
    assert_eq!(
        tool(&snapshot, &Facts::of(&snapshot, "a/bot"), "a/tools", "t").0,
        Some(Code::ForbiddenByPolicy)
    );
    let of = terms(&["Tool/a/tools/t"], None, Some(2));
    let snapshot = under(&fold(vec![("g1", granted(of)), ("q", quarantine("Agent/a/bot"))]), Vec::new());
    assert_eq!(
        tool(&snapshot, &Facts::of(&snapshot, "a/bot"), "a/tools", "t").0,
        Some(Code::ForbiddenByPolicy)
    );
}

#[test]
fn a_grant_does_not_outlive_its_chain_or_its_uses() {
    let snapshot =
        under(&fold(vec![("g1", granted(terms(&["Tool/a/tools/t"], Some("txn-1"), None)))]), Vec::new());
    let mut facts = Facts::of(&snapshot, "a/bot");
    assert_eq!(tool(&snapshot, &facts, "a/tools", "t").0, None);
    facts.chain.transaction = "txn-2".into();
    assert_eq!(tool(&snapshot, &facts, "a/tools", "t").0, Some(Code::NoPermit));

    let mut standing = fold(vec![("g1", granted(terms(&["Tool/a/tools/t"], None, Some(2))))]);
    let used = || Act::UseGrant(Used { call: "c".into(), of: "g1".into() });
    let claim = |snapshot: &Snapshot, policies: Vec<Object>| {
        drop(policies);
        let facts = Facts::of(snapshot, "a/bot");
        let target = Target::Tool { server: snapshot.mcp_server("a/tools").unwrap(), name: "t" };
        facts.ask(Action::InvokeTool, target, |call| snapshot.grant_to_claim(&snapshot.authorize(call)))
    };
    for _ in 0..2 {
        let snapshot = under(&standing, Vec::new());
        assert_eq!(claim(&snapshot, Vec::new()).as_deref(), Some("g1"));
        assert_eq!(standing.check(&record("x", used())), Ok(()));
        standing.apply(&record("u", used()));
    }
    assert_eq!(standing.check(&record("x", used())), Err(Unfit::Spent { id: "g1".into() }));
    let snapshot = under(&standing, Vec::new());
    assert_eq!(tool(&snapshot, &Facts::of(&snapshot, "a/bot"), "a/tools", "t").0, Some(Code::NoPermit));
    assert!(snapshot.is_spent("g1", UnixMillis(NOW)) && !snapshot.is_spent("g1", UnixMillis(NOW + 1000)));
    // A call that something else permits takes no use.
    let standing = fold(vec![("g1", granted(terms(&["Tool/a/tools/t"], None, Some(2))))]);
    let open = vec![world::cluster("permit (principal, action, resource);")];
    assert_eq!(claim(&under(&standing, open), Vec::new()), None);
    // Nor one that a grant without a number permits.
    let both = vec![
        ("g1", granted(terms(&["Tool/a/tools/t"], None, Some(2)))),
        ("g2", granted(terms(&["MCPServer/a/tools"], Some("txn-1"), None))),
    ];
    assert_eq!(claim(&under(&fold(both), Vec::new()), Vec::new()), None);
    let mut standing = standing;
    standing.apply(&record("r", Act::Revoke(OfGrant { of: "g1".into() })));
    assert!(standing.grants.is_empty());
    assert!(!under(&standing, Vec::new()).is_spent("g1", UnixMillis(NOW)));
}

/// Who may call the whole agent uses up no grant for one of its skills.
#[test]
fn a_skill_of_an_agent_that_may_be_called_takes_no_use() {
    let standing = fold(vec![("g1", granted(terms(&["Skill/a/bot/s"], None, Some(2))))]);
    for (open, claimed) in [
        (None, Some("g1")),
        (Some(r#"permit (principal, action == Action::"callAgent", resource == Agent::"a/bot");"#), None),
        // What is about another agent permits nothing here.
        (
            Some(r#"permit (principal, action == Action::"callAgent", resource == Agent::"a/ghost");"#),
            Some("g1"),
        ),
    ] {
        let snapshot = under(&standing, open.map(world::cluster).into_iter().collect());
        let facts = Facts::of(&snapshot, "a/bot");
        let target = Target::Skill { agent: snapshot.agent("a/bot").unwrap(), name: "s" };
        let grant = facts.ask(Action::CallAgent, target, |call| {
            let decision = snapshot.authorize(call);
            assert_eq!(decision.outcome(), Outcome::Allow, "{decision:#?}");
            snapshot.grant_to_claim(&decision)
        });
        assert_eq!(grant.as_deref(), claimed, "{open:?}");
    }
}

/// Attack: one message makes a task, and all others name it. Each asks for new work; what asks for that, or ends it, takes no use.
#[test]
fn a_message_to_a_task_takes_a_use() {
    let snapshot = under(&fold(vec![("g1", granted(terms(&["Agent/a/other"], None, Some(2))))]), Vec::new());
    let facts = Facts::of(&snapshot, "a/bot");
    for (method, claimed) in [
        ("SendMessage", Some("g1")),
        ("SendStreamingMessage", Some("g1")),
        ("CreateTaskPushNotificationConfig", Some("g1")),
        ("GetTask", None),
        ("SubscribeToTask", None),
        ("CancelTask", None),
    ] {
        let target = Target::Agent(snapshot.agent("a/other").unwrap());
        let grant = facts.ask(Action::CallAgent, target, |call| {
            let ask = Ask { task: Some("task-1"), ..Ask::about(method, Action::CallAgent, target) };
            let call = Call { ask, ..*call };
            let decision = snapshot.authorize(&call);
            assert_eq!(decision.outcome(), Outcome::Allow, "{decision:#?}");
            snapshot.grant_to_claim(&decision)
        });
        assert_eq!(grant.as_deref(), claimed, "{method}");
    }
}

#[test]
fn an_answer_to_a_request_gives_no_more_than_was_asked_for() {
    let asked =
        Act::RequestGrant(Requested { terms: terms(&["Tool/a/tools/t"], None, Some(1)), until_ms: NOW });
    let mut standing = Standing::default();
    assert_eq!(standing.check(&record("x", asked.clone())), Ok(()));
    standing.apply(&record("r1", asked.clone()));
    assert_eq!(standing.check(&record("x", asked.clone())), Err(Unfit::Requested { id: "r1".into() }));
    let answer =
        |request: &str, terms| Act::Grant(Granted { request: Some(request.into()), terms, until_ms: NOW });
    let wider = [terms(&["MCPServer/a/tools"], None, Some(1)), {
        let mut other = terms(&["Tool/a/tools/t"], None, Some(1));
        other.agent = "Agent/a/other".parse().unwrap();
        other
    }];
    for wider in wider {
        assert_eq!(standing.check(&record("x", answer("r1", wider))), Err(Unfit::Wider { id: "r1".into() }));
    }
    let good = || terms(&["Tool/a/tools/t"], None, Some(3));
    assert_eq!(standing.check(&record("x", answer("r2", good()))), Err(Unfit::NoGrant { id: "r2".into() }));
    assert_eq!(standing.check(&record("x", answer("r1", good()))), Ok(()));
    standing.apply(&record("g1", answer("r1", good())));
    // It is answered once.
    let again = standing.check(&record("x", answer("r1", good()))).unwrap_err();
    assert!(matches!(again, Unfit::Ended(_)), "{again:?}");
    let over: Vec<&str> = standing.over(NOW).collect();
    assert_eq!(over, ["g1"]);
    // An agent cannot fill what waits.
    for number in 0..16 {
        let of = terms(&[&format!("Tool/a/tools/t{number}")], None, Some(1));
        standing
            .apply(&record(&format!("x{number}"), Act::RequestGrant(Requested { terms: of, until_ms: NOW })));
    }
    assert_eq!(standing.check(&record("x", asked.clone())), Err(Unfit::Full));
}

/// Whoever asks about what is over is told what ended it: a person, its time, or its last use.
#[test]
fn what_ended_a_grant_or_a_request_is_said() {
    let asked = || {
        Act::RequestGrant(Requested { terms: terms(&["Tool/a/tools/t"], None, Some(1)), until_ms: NOW - 500 })
    };
    let lent = || granted(terms(&["Tool/a/tools/t"], None, Some(1)));
    let answered = || {
        let terms = terms(&["Tool/a/tools/t"], None, Some(1));
        Act::Grant(Granted { request: Some("1".into()), terms, until_ms: NOW })
    };
    let revoke = || Act::Revoke(OfGrant { of: "1".into() });
    let end = || Act::EndGrant(OfGrant { of: "1".into() });
    let used = || Act::UseGrant(Used { call: "c".into(), of: "1".into() });
    for (acts, says) in [
        (
            vec![asked(), revoke()],
            "the request 1 was declined by User/urn:vidimus:local#admin at 2026-09-21T",
        ),
        (
            vec![asked(), answered()],
            "the request 1 was granted by User/urn:vidimus:local#admin at 2026-09-21T",
        ),
        (vec![asked(), end()], "nobody decided about the request 1 in time: it expired at 2026-09-21T"),
        (vec![lent(), revoke()], "the grant 1 was revoked by User/urn:vidimus:local#admin at 2026-09-21T"),
        (vec![lent(), used(), end()], "the grant 1 was used up, and expired at 2026-09-21T"),
        (vec![lent(), end()], "the grant 1 expired at 2026-09-21T"),
        // Before anything is on record of its end.
        (vec![asked()], ""),
    ] {
        let mut standing = Standing::default();
        for (number, act) in (1..).zip(acts.clone()) {
            standing.apply(&record(&number.to_string(), act));
        }
        let why = if says.is_empty() {
            let why = standing.check(&record("x", answered())).unwrap_err();
            assert!(why.to_string().contains("the request 1 in time: it expired at"), "{why}");
            why
        } else {
            standing.check(&record("x", revoke())).unwrap_err()
        };
        assert!(why.to_string().starts_with(says), "{acts:?}: {why}");
        assert_eq!(why.refusal().code, Code::ActUnfit, "{acts:?}");
        // The agent whose call it is learns of nobody.
        let claim = standing.check(&record("x", used()));
        assert!(claim.is_err_and(|why| !why.to_string().contains("User/")), "{acts:?}");
        let kept = serde_json::to_string(&standing).unwrap();
        assert_eq!(serde_json::from_str::<Standing>(&kept).unwrap(), standing);
    }
    assert_eq!(
        Standing::default().check(&record("x", revoke())).unwrap_err().refusal().code,
        Code::IdUnknown
    );
    // Of so many the first is forgotten.
    let mut standing = Standing::default();
    for number in 0..300 {
        standing.apply(&record(&format!("g{number}"), lent()));
        let of = OfGrant { of: format!("g{number}") };
        standing.apply(&record(&format!("r{number}"), Act::Revoke(of)));
    }
    assert!(standing.ended("g0").is_none() && standing.ended("g299").is_some());
    assert_eq!(standing.all_ended().count(), 256);
}

#[test]
fn what_stands_is_kept_and_read() {
    let standing = fold(vec![
        ("q", quarantine("User/https://i#a\"b")),
        ("g", granted(terms(&["Tool/a/tools/t"], None, Some(2)))),
        (
            "r",
            Act::RequestGrant(Requested { terms: terms(&["Tool/a/tools/t"], None, Some(1)), until_ms: NOW }),
        ),
    ]);
    let text = serde_json::to_string(&standing).unwrap();
    assert_eq!(serde_json::from_str::<Standing>(&text).unwrap(), standing);
    // What a former version kept.
    let old = r#"{"quarantined":{}}"#;
    assert_eq!(serde_json::from_str::<Standing>(old).unwrap(), Standing::default());
    let subject: Subject = "Agent/a/bot".parse().unwrap();
    assert!(!standing.quarantined.contains_key(&subject));
}

/// An act in the list of gateways that share one.
fn shared(number: u64, id: &str, act: Act) -> ActRecord<'static> {
    let place = Place { era: "e".into(), from: None, number };
    ActRecord { shared: Some(place), ..record(id, act) }
}

#[test]
fn what_was_done_alone_is_kept_until_it_is_told_and_stands_in_whatever_list() {
    let mut standing = Standing::default();
    standing.apply(&record("0", quarantine("Agent/a/other")));
    assert!(standing.unshared.is_empty(), "nobody shares anything");
    standing.apply(&record("1", Act::Agree(Agreed { era: "e".into(), lifted: Vec::new(), more: false })));
    let waiting = |standing: &Standing| -> Vec<String> {
        standing.unshared.iter().map(|act| act.id.to_string()).collect()
    };
    assert_eq!(waiting(&standing), ["0"], "the others do not have it");
    standing.apply(&shared(1, "0", quarantine("Agent/a/other")));
    assert!(waiting(&standing).is_empty());
    standing.apply(&record("2", quarantine("Agent/a/bot")));
    assert_eq!(waiting(&standing), ["2"]);
    assert_eq!(standing.agreed.as_ref().map(|known| (known.number, &*known.last)), Some((1, "0")));
    // Another list: what the others lifted is lifted, and what stands is told.
    let lifted = vec!["0".to_owned()];
    standing.apply(&record("3", Act::Agree(Agreed { era: "f".into(), lifted, more: false })));
    assert_eq!((waiting(&standing), standing.quarantined.len()), (vec!["2".to_owned()], 1));
}

#[test]
fn a_list_that_begins_anew_has_nothing_that_opens_and_is_kept_as_short_as_it_matters() {
    let lent = || terms(&["Tool/a/tools/t"], None, Some(3));
    let acts = [
        shared(1, "1", quarantine("Agent/a/bot")),
        shared(2, "2", quarantine("Agent/a/other")),
        shared(3, "3", Act::Lift(Lifted { of: "2".into(), subject: "Agent/a/other".parse().unwrap() })),
        shared(4, "4", granted(lent())),
        shared(5, "5", Act::UseGrant(Used { call: "c".into(), of: "4".into() })),
        shared(6, "6", Act::RequestGrant(Requested { terms: lent(), until_ms: NOW + 1_000 })),
    ];
    let mut standing = Standing::default();
    acts.iter().for_each(|act| standing.apply(act));
    let told: Vec<String> = standing.told_again(NOW).iter().map(|act| act.id.to_string()).collect();
    assert_eq!(told, ["1", "6"]);
    let needed: Vec<&str> = acts.iter().filter(|act| standing.needs(act, NOW)).map(|act| &*act.id).collect();
    assert_eq!(needed, ["1", "4", "5", "6"]);
    // What is left of the list makes the same stand.
    let mut later = Standing::default();
    acts.iter().filter(|act| standing.needs(act, NOW)).for_each(|act| later.apply(act));
    assert_eq!(later, standing);
}

#[test]
fn a_list_that_does_not_have_what_is_known_was_lost_or_has_gone_on() {
    let known = Agreement { era: "e".into(), number: 9, last: "nine".into() };
    assert_eq!(known.is_to("e", 3, Some("nine")), Known::Beginning);
    assert_eq!(known.is_to("f", 3, Some("nine")), Known::Other);
    assert_eq!(known.is_to("e", 3, Some("another")), Known::Lost, "somebody began from less");
    assert_eq!(known.is_to("e", 3, None), Known::Lost, "it is shorter");
    assert_eq!(known.is_to("e", 10, None), Known::Other, "it was taken out");
    assert_eq!(Agreement { number: 0, ..known }.is_to("e", 10, Some("one")), Known::Beginning);
}

/// However many were lifted while a gateway was away, each record of it fits, and a fall between two of them opens and closes nothing.
#[test]
fn what_others_lifted_fits_records_however_much_it_is() {
    let agents = |number: usize| format!("Agent/a/bot-{number}");
    let mut standing = Standing::default();
    standing.apply(&record("era", Act::Agree(Agreed { era: "e".into(), lifted: Vec::new(), more: false })));
    let all = 2 * MOST_LIFTED + 500;
    for number in 0..all {
        standing.apply(&shared(number as u64 + 1, &format!("q{number}"), quarantine(&agents(number))));
    }
    let lifted: Vec<String> = (0..all - 1).map(|number| format!("q{number}")).collect();
    let parts = Agreed::all("f", &lifted);
    assert_eq!(parts.iter().map(|one| one.more).collect::<Vec<_>>(), [true, true, false]);
    assert!(parts.iter().all(|one| one.lifted.len() <= MOST_LIFTED));
    for (at, part) in parts.into_iter().enumerate() {
        let era = |standing: &Standing| standing.agreed.as_ref().map(|known| known.era.clone());
        assert_eq!(
            (era(&standing).as_deref(), standing.unshared.len()),
            (Some("e"), 0),
            "{at}: taken up at the end"
        );
        let is_last = !part.more;
        standing.apply(&record(&format!("a{at}"), Act::Agree(part)));
        assert_eq!(is_last, era(&standing).as_deref() == Some("f"));
    }
    assert_eq!(standing.quarantined.len(), 1);
    assert_eq!(standing.unshared.len(), 1, "the others do not have it");
    for of in [0, 1, MOST_LIFTED, MOST_LIFTED + 1] {
        let parts = Agreed::all("f", &lifted[..of]);
        assert_eq!(
            (parts.len(), parts.iter().map(|one| one.lifted.len()).sum::<usize>()),
            (1 + of / (MOST_LIFTED + 1), of)
        );
    }
}

/// Attack: the list is lost while a gateway is away, and with it the act that destroys the keys there; or an act is read again, and destroys what
/// was kept since.
#[test]
fn an_act_that_destroys_keys_is_known_and_told_for_thirty_days() {
    let shred = || {
        let subject = "User/urn:vidimus:local#ada".parse().unwrap();
        Act::Shred(Shred { keys: Vec::new(), records: 0, subject })
    };
    let day = 24 * 3_600_000;
    let mut standing = Standing::default();
    standing.apply(&shared(1, "1", shred()));
    // What a gateway ended by itself is about keys of its own.
    let own = ActRecord { actor: BY_ITSELF.into(), ..shared(2, "2", shred()) };
    standing.apply(&own);
    assert!(standing.has_shredded("1") && !standing.has_shredded("2") && !standing.has_shredded("3"));
    assert!(!standing.needs(&own, NOW));
    let told =
        |now: i64| -> Vec<String> { standing.told_again(now).iter().map(|act| act.id.to_string()).collect() };
    assert_eq!(told(NOW), ["1"]);
    assert_eq!(told(NOW + 29 * day), ["1"]);
    assert!(told(NOW + 31 * day).is_empty());
    assert!(standing.told_again(NOW).iter().all(|act| act.shared.is_none()));
    // It is known after a start.
    let kept: Standing = serde_json::from_str(&serde_json::to_string(&standing).unwrap()).unwrap();
    assert!(kept.has_shredded("1"));
    // Who takes up another list tells it, unless it is in that one.
    let agree = || Act::Agree(Agreed { era: "f".into(), lifted: Vec::new(), more: false });
    let mut other = standing.clone();
    other.apply(&record("4", agree()));
    assert!(other.has_shredded("1"));
    assert_eq!(other.unshared.iter().map(|act| &*act.id).collect::<Vec<_>>(), ["1"]);
    other.apply(&shared(1, "1", shred()));
    assert!(other.unshared.is_empty() && other.has_shredded("1"));
    // After that time it is not told, and later not known.
    let later = |id: &str, act: Act| ActRecord { time: "2026-10-25T00:00:00Z".into(), ..record(id, act) };
    let mut other = standing.clone();
    other.apply(&later("5", agree()));
    assert!(other.unshared.is_empty());
    standing.apply(&later("6", shred()));
    assert!(standing.has_shredded("6") && !standing.has_shredded("1"));
}

/// A list that begins anew has the questions in the order in which they were asked, whatever the clocks said that their ids are of.
#[test]
fn what_is_asked_is_told_again_in_its_order() {
    let mut standing = Standing::default();
    let ids = ["9", "1", "5"];
    for id in ids {
        let question = json!({"action": "invokeTool", "approval": id, "asking": [], "call": "c", "chain": [], "digest": id, "endpoint": "",
            "method": "tools/call", "owner": "o", "principal": "Agent/a/bot", "resource": "Tool/a/tools/t", "until": NOW + 1000});
        standing.apply(&record(id, Act::Ask(serde_json::from_value(question).unwrap())));
    }
    let told: Vec<String> = standing.told_again(NOW).iter().map(|act| act.id.to_string()).collect();
    assert_eq!(told, ids);
}

/// Its arguments are where the call was held, whoever tells of it.
#[test]
fn what_is_asked_says_at_which_gateway_the_call_is_held() {
    let question = json!({"action": "invokeTool", "approval": "1", "asking": [], "call": "c", "chain": [], "digest": "d", "endpoint": "",
        "method": "tools/call", "owner": "o", "principal": "Agent/a/bot", "resource": "Tool/a/tools/t", "until": NOW + 1000});
    let ask = Act::Ask(serde_json::from_value(question).unwrap());
    let held_at = |act: &ActRecord<'_>| {
        let mut standing = Standing::default();
        standing.apply(act);
        let text = serde_json::to_string(&standing).unwrap();
        let kept: Standing = serde_json::from_str(&text).unwrap();
        let told: Vec<_> =
            kept.told_again(NOW).into_iter().map(|act| act.shared.and_then(|place| place.from)).collect();
        (kept.approvals.get("1").and_then(|pending| pending.held_at.clone()), told)
    };
    assert_eq!(held_at(&record("1", ask.clone())), (None, vec![None]));
    assert_eq!(held_at(&shared(1, "1", ask.clone())), (None, vec![None]), "it was done here");
    let mut other = shared(1, "1", ask);
    other.shared.as_mut().unwrap().from = Some("log-b".into());
    assert_eq!(held_at(&other), (Some("log-b".into()), vec![Some("log-b".into())]));
}

/// What people do changes no record: a quarantine that was placed, or lifted, is no other object of the name when something cannot be read,
/// neither at once nor after a start by what was kept before.
#[test]
fn what_acts_mark_is_no_other_object_where_something_cannot_be_read() {
    let unread = || Rejection {
        origin: Origin::file("", 0),
        object: About::Source,
        field: String::new(),
        value: String::new(),
        reason: "unreadable".to_owned(),
        fix: String::new(),
    };
    let placed = fold(vec![("1", quarantine("Agent/a/bot")), ("2", quarantine("Service/a/svc"))]);
    let overlay = |standing: &Standing| Arc::new(Overlay::of(standing).unwrap());
    let next = |last: &Snapshot, standing: &Standing, rejected: Vec<Rejection>| {
        let configuration = Configuration {
            objects: objects(),
            rejected,
            standing: overlay(standing),
            ..Configuration::default()
        };
        last.next(configuration)
    };
    for (before, after) in [(&placed, &Standing::default()), (&Standing::default(), &placed)] {
        let (good, _) = next(&Snapshot::default(), before, Vec::new());
        let (first, _) = next(&Snapshot::default(), after, vec![unread()]);
        let remembered = first.remembering(&good.memory()).unwrap();
        assert!(remembered.is_none(), "all of it is there");
        for last in [&good, &first] {
            let (now, rejected) = next(last, after, vec![unread()]);
            assert_eq!(rejected.len(), 1, "{rejected:#?}");
            assert_eq!(now.only_refusing().count(), 0);
            let bot = now.agent("a/bot").unwrap();
            assert_eq!(bot.quarantined, !after.quarantined.is_empty());
        }
    }
}

#[test]
fn the_end_of_each_agents_grants_is_known() {
    let lent = |agent: &str, until_ms: i64| {
        let terms = Terms { agent: agent.parse().unwrap(), ..terms(&["Tool/a/tools/t"], None, Some(2)) };
        Act::Grant(Granted { request: None, terms, until_ms })
    };
    let grants = vec![
        ("1", lent("Agent/a/bot", NOW + 30)),
        ("2", lent("Agent/a/bot", NOW + 10)),
        ("3", lent("Agent/a/other", NOW + 5)),
        ("4", lent("Agent/a/bot", NOW + 10)),
    ];
    let snapshot = under(&fold(grants), Vec::new());
    let next = |agent: &str, after: i64| {
        snapshot.next_grant_end(&agent.parse().unwrap(), UnixMillis(NOW + after)).map(|end| end.0 - NOW)
    };
    for (after, end) in [(-1, Some(10)), (9, Some(10)), (10, Some(30)), (29, Some(30)), (30, None)] {
        assert_eq!(next("Agent/a/bot", after), end, "{after}");
    }
    assert_eq!(
        (next("Agent/a/other", 0), next("Agent/a/svc", 0), next("Service/a/bot", 0)),
        (Some(5), None, None)
    );
    assert_eq!(
        under(&Standing::default(), Vec::new())
            .next_grant_end(&"Agent/a/bot".parse().unwrap(), UnixMillis(0)),
        None
    );
}

/// A grant of which no permit can be made, as one that ends at no time, permits nothing, and holds up nothing else: it stands, and goes by its id.
#[test]
fn a_grant_that_makes_no_permit_permits_nothing_and_stops_nothing() {
    let never = Act::Grant(Granted {
        request: None,
        terms: terms(&["Tool/a/tools/t"], None, Some(2)),
        until_ms: i64::MAX,
    });
    let mut standing = fold(vec![
        ("1", never),
        ("2", quarantine("MCPServer/a/more")),
        ("3", granted(terms(&["Tool/a/tools/u"], None, Some(2)))),
    ]);
    let overlay = Overlay::of(&standing).unwrap();
    let void: Vec<_> = overlay.void_grants().map(|(id, why)| (id, why.contains("no time"))).collect();
    assert_eq!(void, [("1", true)]);
    let world = under(&standing, Vec::new());
    let bot = Facts::of(&world, "a/bot");
    assert_eq!(tool(&world, &bot, "a/tools", "t").0, Some(Code::NoPermit));
    assert_eq!(tool(&world, &bot, "a/tools", "u").0, None);
    assert_eq!(tool(&world, &bot, "a/more", "t").0, Some(Code::ForbiddenByPolicy));
    standing.apply(&record("4", Act::Revoke(OfGrant { of: "1".into() })));
    assert_eq!(overlay.next(&standing).unwrap().void_grants().count(), 0);
}

/// What stands on is made once, and what is made of it is as if it were all made anew.
#[test]
fn what_stands_after_an_act_is_as_if_all_were_made_anew() {
    let mut standing = Standing::default();
    let mut overlay = Overlay::default();
    let used = |of: &str| Act::UseGrant(Used { call: "c".into(), of: of.into() });
    let subject = || "User/https://i#ada".parse().unwrap();
    let acts = [
        ("1", granted(terms(&["Tool/a/tools/t", "MCPServer/a/more"], None, Some(2)))),
        ("2", quarantine("User/https://i#ada")),
        ("3", quarantine("Agent/a/bot")),
        ("4", granted(terms(&["Tool/a/tools/u"], Some("txn-1"), None))),
        ("5", used("1")),
        ("6", used("1")),
        ("7", Act::Lift(Lifted { of: "2".into(), subject: subject() })),
        ("8", quarantine("User/https://i#ada")),
        ("9", Act::Revoke(OfGrant { of: "1".into() })),
    ];
    for (id, act) in acts {
        standing.apply(&record(id, act));
        overlay = overlay.next(&standing).unwrap();
        assert!(overlay.is_as(&Overlay::of(&standing).unwrap()), "{id}");
        let configuration =
            |standing| Configuration { objects: objects(), standing, ..Configuration::default() };
        let (one, _) = Snapshot::default().next(configuration(Arc::new(overlay.clone())));
        let (anew, _) = Snapshot::default().next(configuration(Arc::new(Overlay::of(&standing).unwrap())));
        assert_eq!(one.digest(), anew.digest(), "{id}");
        let policies = |world: &Snapshot| world.policies().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(policies(&one), policies(&anew), "{id}");
        assert_eq!(one.preserved().is_ok(), anew.preserved().is_ok());
        assert_eq!(one.is_spent("1", UnixMillis(NOW)), anew.is_spent("1", UnixMillis(NOW)), "{id}");
    }
}

/// How the run before ended is the fold of its acts: a start finds what a stop left, or that there was none.
#[test]
fn a_run_is_stopped_by_its_own_stop_and_by_nothing_else() {
    let start = || {
        Act::Start(Start {
            configuration: "sha256:01".into(),
            flags: "sha256:02".into(),
            found: LastRun::New,
            since: None,
            version: "0.1.0".into(),
        })
    };
    let stop = |of: &str| Act::Stop(Stop { of: of.into() });
    let run = |acts: Vec<(&str, Act)>| fold(acts).run.map(|run| (run.start, run.is_stopped));
    assert_eq!(run(vec![("q", quarantine("Agent/a/bot"))]), None);
    assert_eq!(run(vec![("1", start())]), Some(("1".into(), false)));
    assert_eq!(run(vec![("1", start()), ("2", stop("1"))]), Some(("1".into(), true)));
    assert_eq!(run(vec![("1", start()), ("2", stop("0"))]), Some(("1".into(), false)), "another's");
    let again = vec![("1", start()), ("2", stop("1")), ("3", start()), ("4", stop("1"))];
    assert_eq!(run(again), Some(("3".into(), false)));
    // They decide nothing, and are nobody else's.
    for act in [start(), stop("1")] {
        assert!(act.is_note() && !act.is_done_alone() && !Standing::default().is_decided_by(&act));
        assert!(!Standing::default().needs(&record("1", act), NOW));
    }
    assert!(!quarantine("Agent/a/bot").is_note());
}
