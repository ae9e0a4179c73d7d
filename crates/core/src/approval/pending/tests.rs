use std::collections::{BTreeMap, BTreeSet};

use super::*;

const HOUR: i64 = 3_600_000;

fn question(approval: &str, digest: &str) -> Question {
    Question {
        action: "invokeTool".into(),
        approval: approval.into(),
        arguments: None,
        asking: vec![wants("payers", 1)],
        before: None,
        call: "call-1".into(),
        chain: Vec::new(),
        chain_owners: Vec::new(),
        definition: None,
        digest: digest.into(),
        endpoint: "http://bank/".into(),
        identity: None,
        instance: None,
        method: "tools/call".into(),
        owner: "o@example.com".into(),
        principal: "Agent/a/x".into(),
        redacted: Vec::new(),
        resource: "Tool/a/s/pay".into(),
        same: None,
        until: HOUR,
        user: Some("https://i#alice".into()),
        user_email: Some("alice@example.com".into()),
        window: None,
    }
}

fn approve(approval: &str, role: &str) -> Approve {
    Approve {
        approval: approval.into(),
        email: None,
        escalation: None,
        role: role.into(),
        shown: "s".into(),
        unverified_email: None,
    }
}

fn wants(role: &str, quorum: u32) -> Wanted {
    Wanted {
        digest: None,
        escalation: None,
        policy: format!("t/{role}"),
        quorum,
        reason: None,
        role: role.to_owned(),
    }
}

fn wanting(wanted: &[(&str, u32)]) -> Question {
    let wanted = wanted.iter().map(|(role, quorum)| wants(role, *quorum));
    Question { asking: wanted.collect(), ..question("1", "d") }
}

/// Each step with whether it may be done.
/// What is done, by whom, in which role or with which call, when, and whether it may be.
type Step<'a> = (&'a str, &'a str, &'a str, i64, Result<(), Unfit>);

fn steps(question: &Question, steps: &[Step<'_>]) -> Approvals {
    let mut approvals = Approvals::default();
    approvals.apply(Deed::Ask(question), "vidimus", 0);
    for (number, (what, by, role, now, expected)) in steps.iter().enumerate() {
        let of = OfApproval { approval: "1".into() };
        // `asked<other` is of the other role, for the one that is asked.
        let (role, escalation) =
            role.split_once('<').map_or((*role, None), |(role, other)| (role, Some(other)));
        let escalation = escalation.map(str::to_owned);
        let approve = Approve { escalation, ..approve("1", role) };
        let void = Voided { approval: "1".into(), changed: "Tool/a/s/pay".into() };
        let used = Use { approval: "1".into(), call: role.into() };
        let came = Came { approval: "1".into(), call: role.into(), result: "ok".into() };
        let deed = match *what {
            "approve" => Deed::Approve(&approve),
            "deny" => Deed::Deny(&of),
            "expire" => Deed::Expire(&of),
            "void" => Deed::Void(&void),
            "use" => Deed::Use(&used),
            _ => Deed::Came(&came),
        };
        assert_eq!(approvals.check(deed, by, *now), *expected, "{number} {what}");
        let before = approvals.clone();
        approvals.apply(deed, by, *now);
        assert_eq!(approvals != before, expected.is_ok(), "{number} {what}");
    }
    approvals
}

#[test]
fn an_approval_is_given_by_another_person_and_used_once() {
    let approvals = steps(
        &question("1", "d"),
        &[
            ("use", "vidimus", "c1", 1, Err(Unfit::NotUsable)),
            ("approve", "Agent/a/y", "payers", 1, Err(Unfit::NoPerson)),
            ("approve", "User/https://i#alice", "payers", 1, Err(Unfit::OwnCall)),
            ("approve", "User/https://i#bob", "others", 1, Err(Unfit::NotAsked)),
            ("expire", "vidimus", "", 1, Err(Unfit::TooEarly)),
            ("approve", "User/https://i#bob", "payers", 2, Ok(())),
            ("approve", "User/https://i#carol", "payers", 3, Err(Unfit::Over)),
            ("use", "vidimus", "c1", 4, Ok(())),
            ("use", "vidimus", "c1", 5, Err(Unfit::NotUsable)),
            ("use", "vidimus", "c2", 5, Err(Unfit::NotUsable)),
            ("deny", "User/https://i#bob", "", 5, Err(Unfit::Over)),
            ("came", "vidimus", "c2", 6, Err(Unfit::Over)),
            ("came", "vidimus", "c1", 6, Ok(())),
            ("came", "vidimus", "c1", 7, Err(Unfit::Over)),
        ],
    );
    let made = &approvals.get("1").unwrap().uses;
    assert_eq!(*made, [Made { call: "c1".into(), result: Some("ok".into()) }]);
}

#[test]
fn what_is_void_is_good_for_nothing_and_the_same_call_is_a_new_question() {
    let windowed = Question { window: Some(100), ..question("1", "d") };
    let approvals = steps(
        &windowed,
        &[
            ("approve", "User/https://i#bob", "payers", 2, Ok(())),
            ("use", "vidimus", "c1", 3, Ok(())),
            ("void", "vidimus", "", 4, Ok(())),
            ("use", "vidimus", "c2", 5, Err(Unfit::NotUsable)),
            ("void", "vidimus", "", 5, Err(Unfit::Over)),
            ("deny", "User/https://i#bob", "", 5, Err(Unfit::TooLate)),
            ("approve", "User/https://i#carol", "payers", 5, Err(Unfit::Over)),
            ("came", "vidimus", "c1", 6, Ok(())),
        ],
    );
    let void = approvals.get("1").unwrap();
    assert_eq!((void.state_at(7), void.changed.as_deref()), (State::Expired, Some("Tool/a/s/pay")));
    assert_eq!(approvals.check(Deed::Ask(&question("2", "d")), "vidimus", 7), Ok(()));
    steps(
        &question("1", "d"),
        &[("void", "vidimus", "", 1, Ok(())), ("use", "vidimus", "c", 2, Err(Unfit::NotUsable))],
    );
}

#[test]
fn two_of_a_role_are_two_people_and_each_role_has_its_own() {
    let approvals = steps(
        &wanting(&[("payers", 2), ("owners", 1)]),
        &[
            ("approve", "User/i#b", "payers", 1, Ok(())),
            ("approve", "User/i#b", "payers", 2, Err(Unfit::Again)),
            ("approve", "User/i#b", "owners", 2, Err(Unfit::Again)),
            ("approve", "User/i#c", "payers", 3, Ok(())),
            ("use", "vidimus", "c1", 4, Err(Unfit::NotUsable)),
            ("approve", "User/i#d", "payers", 4, Err(Unfit::NotAsked)),
            ("approve", "User/i#d", "owners", 5, Ok(())),
            ("use", "vidimus", "c1", 6, Ok(())),
        ],
    );
    let given: Vec<_> = approvals.get("1").unwrap().given().map(|vote| (&*vote.role, &*vote.by)).collect();
    assert_eq!(given, [("payers", "User/i#c"), ("owners", "User/i#d")]);
}

#[test]
fn who_is_asked_later_answers_later_and_only_what_went_on_to_him() {
    let goes_on = |mut wanted: Wanted| {
        wanted.escalation = Some(Escalates { at: 10, role: "managers".into() });
        wanted
    };
    let mut question = question("1", "d");
    question.asking =
        vec![goes_on(wants("payers", 2)), Wanted { policy: "t/q".into(), ..wants("payers", 1) }];
    let approvals = steps(
        &question,
        &[
            ("approve", "User/i#m", "payers<managers", 9, Err(Unfit::NotAsked)),
            ("approve", "User/i#m", "managers", 11, Err(Unfit::NotAsked)),
            ("approve", "User/i#m", "managers<payers", 11, Err(Unfit::NotAsked)),
            ("approve", "User/i#m", "payers<others", 11, Err(Unfit::NotAsked)),
            ("approve", "Agent/a/y", "payers<managers", 11, Err(Unfit::NoPerson)),
            ("approve", "User/https://i#alice", "payers<managers", 11, Err(Unfit::OwnCall)),
            ("approve", "User/i#m", "payers<managers", 11, Ok(())),
            ("approve", "User/i#m", "payers", 12, Err(Unfit::Again)),
            ("approve", "User/i#n", "payers<managers", 12, Ok(())),
            // The other policy asks in the same role, and did not go on to anybody.
            ("use", "vidimus", "c1", 13, Err(Unfit::NotUsable)),
            ("approve", "User/i#o", "payers<managers", 13, Err(Unfit::NotAsked)),
            ("approve", "User/i#p", "payers", 14, Ok(())),
            ("use", "vidimus", "c1", 15, Ok(())),
        ],
    );
    let pending = approvals.get("1").unwrap();
    let given: Vec<_> = pending.given().map(|vote| (&*vote.role, &*vote.by)).collect();
    assert_eq!(given, [("payers", "User/i#p")]);
    assert_eq!((pending.escalated(9), pending.escalated(10)), (vec![], vec!["managers"]));
    // Of a role itself, also where others came later.
    question.asking.truncate(1);
    let approvals = steps(
        &question,
        &[
            ("approve", "User/i#p", "payers", 11, Ok(())),
            ("approve", "User/i#m", "payers<managers", 12, Ok(())),
        ],
    );
    let given: Vec<_> = approvals.get("1").unwrap().given().map(|vote| &*vote.by).collect();
    assert_eq!(given, ["User/i#p"]);
}

#[test]
fn what_is_denied_or_late_is_not_used() {
    steps(
        &question("1", "d"),
        &[
            ("approve", "User/i#b", "payers", 1, Ok(())),
            ("deny", "User/i#c", "", 2, Ok(())),
            ("use", "vidimus", "c1", 3, Err(Unfit::NotUsable)),
            ("approve", "User/i#d", "payers", 3, Err(Unfit::Over)),
        ],
    );
    steps(
        &question("1", "d"),
        &[
            ("approve", "User/i#b", "payers", HOUR, Err(Unfit::TooLate)),
            ("deny", "User/i#b", "", HOUR, Err(Unfit::TooLate)),
            ("expire", "vidimus", "", HOUR, Ok(())),
            ("approve", "User/i#b", "payers", HOUR + 1, Err(Unfit::Over)),
        ],
    );
    steps(
        &question("1", "d"),
        &[
            ("approve", "User/i#b", "payers", HOUR - 1, Ok(())),
            ("use", "vidimus", "c1", HOUR, Err(Unfit::NotUsable)),
        ],
    );
}

#[test]
fn in_a_window_the_call_is_made_again() {
    steps(
        &Question { window: Some(10), ..question("1", "d") },
        &[
            ("approve", "User/i#b", "payers", 5, Ok(())),
            ("use", "vidimus", "c1", 6, Ok(())),
            ("use", "vidimus", "c2", 14, Ok(())),
            ("use", "vidimus", "c3", 15, Err(Unfit::NotUsable)),
        ],
    );
}

#[test]
fn a_window_outlasts_the_question_where_its_first_call_does_not() {
    let windowed = Question { window: Some(HOUR), ..question("1", "d") };
    let approve = ("approve", "User/i#b", "payers", HOUR - 2, Ok(()));
    let uses = [
        approve,
        ("use", "vidimus", "c1", HOUR - 1, Ok(())),
        ("use", "vidimus", "c2", HOUR, Ok(())),
        ("use", "vidimus", "c3", 2 * HOUR - 2, Err(Unfit::NotUsable)),
    ];
    let mut approvals = steps(&windowed, &uses);
    let other = Question { until: 3 * HOUR, ..question("2", "e") };
    approvals.apply(Deed::Ask(&other), "vidimus", HOUR + 1);
    assert!(approvals.get("1").unwrap().is_usable(HOUR + 1), "what others ask does not end it");
    approvals.apply(Deed::Ask(&Question { until: 3 * HOUR, ..question("3", "f") }), "vidimus", 2 * HOUR);
    assert!(approvals.get("1").is_none(), "what is over is forgotten");
    steps(&windowed, &[approve, ("use", "vidimus", "c1", HOUR, Err(Unfit::NotUsable))]);
}

#[test]
fn the_newest_calls_of_a_window_are_kept() {
    let mut approvals = Approvals::default();
    let asked = Question { window: Some(HOUR), ..question("1", "d") };
    approvals.apply(Deed::Ask(&asked), "vidimus", 0);
    let approve = approve("1", "payers");
    approvals.apply(Deed::Approve(&approve), "User/i#b", 1);
    // The ids are of clocks, of which one is behind the others.
    for number in 0..100 {
        let used = Use { approval: "1".into(), call: format!("{:03}", 100 - number) };
        approvals.apply(Deed::Use(&used), "vidimus", 2);
    }
    let uses: Vec<&str> = approvals.get("1").unwrap().uses.iter().map(|made| &*made.call).collect();
    assert_eq!((uses.len(), uses.first(), uses.last()), (MOST_USES, Some(&"064"), Some(&"001")));
    let came = Came { approval: "1".into(), call: "100".into(), result: "ok".into() };
    assert_eq!(approvals.check(Deed::Came(&came), "vidimus", 3), Err(Unfit::Over), "it is not kept any more");
}

#[test]
fn one_question_stands_for_each_call_and_so_many_for_each_caller() {
    let mut approvals = Approvals::default();
    approvals.apply(Deed::Ask(&question("1", "d")), "vidimus", 0);
    let check = |approvals: &Approvals, question: &Question, now| {
        approvals.check(Deed::Ask(question), "vidimus", now)
    };
    assert_eq!(check(&approvals, &question("2", "d"), 1), Err(Unfit::Standing));
    assert_eq!(check(&approvals, &question("1", "e"), 1), Err(Unfit::Standing));
    assert_eq!(check(&approvals, &question("2", "d"), HOUR), Ok(()));
    for number in 2..=MOST_OF_ONE {
        approvals.apply(Deed::Ask(&question(&number.to_string(), &number.to_string())), "vidimus", 0);
    }
    assert_eq!(check(&approvals, &question("x", "x"), 1), Err(Unfit::TooMany));
    let another = Question { principal: "Agent/a/z".into(), ..question("x", "x") };
    assert_eq!(check(&approvals, &another, 1), Ok(()));
    approvals.apply(Deed::Ask(&Question { until: 2 * HOUR, ..question("x", "x") }), "vidimus", HOUR);
    assert_eq!(approvals.all().count(), 1, "what is over is forgotten");
}

#[test]
fn what_was_answered_takes_no_room_of_what_is_asked() {
    let mut approvals = Approvals::default();
    for number in 0..2 * MOST_OVER {
        let id = format!("{number:04}");
        let ask = question(&id, &id);
        assert_eq!(approvals.check(Deed::Ask(&ask), "vidimus", 1), Ok(()), "{number}");
        approvals.apply(Deed::Ask(&ask), "vidimus", 1);
        approvals.apply(Deed::Deny(&OfApproval { approval: id }), "User/i#b", 2);
    }
    assert_eq!(approvals.all().count(), MOST_OVER, "the oldest are forgotten");
    // One person does not take the questions of all others whom a shared agent acts for.
    for number in 0..MOST_OF_ONE {
        let id = format!("open-{number}");
        approvals.apply(Deed::Ask(&question(&id, &id)), "vidimus", 3);
    }
    assert_eq!(approvals.check(Deed::Ask(&question("x", "x")), "vidimus", 4), Err(Unfit::TooMany));
    let of_bob = Question { user: Some("https://i#bob".into()), ..question("x", "x") };
    assert_eq!(approvals.check(Deed::Ask(&of_bob), "vidimus", 4), Ok(()));
}

#[test]
fn the_newest_question_is_the_last_one_asked_whatever_the_clock_said() {
    let mut approvals = Approvals::default();
    for id in ["9", "1"] {
        approvals.apply(Deed::Ask(&question(id, "d")), "vidimus", 1);
        assert_eq!(approvals.about("d").map(|pending| &*pending.question.approval), Some(id));
        approvals.apply(Deed::Deny(&OfApproval { approval: id.into() }), "User/i#b", 2);
        approvals.change(id, |pending| pending.state = State::Used);
    }
}

#[test]
fn nobody_approves_what_he_has_a_part_in_and_nobody_is_two() {
    let asked = Question { asking: vec![wants("payers", 2)], ..question("1", "d") };
    let mut approvals = Approvals::default();
    approvals.apply(Deed::Ask(&asked), "vidimus", 0);
    let by = |id: &str, email: Option<&str>| {
        let approve = Approve { email: email.map(str::to_owned), ..approve("1", "payers") };
        (format!("User/{id}"), approve)
    };
    for (id, email, expected) in [
        // For whom it is, by id, and by address at another issuer.
        ("https://i#alice", None, Err(Unfit::OwnCall)),
        ("https://j#a-7", Some("Alice@Example.com"), Err(Unfit::OwnCall)),
        // Whoever answers for the agent, by address, and as an issuer that has addresses for subjects.
        ("https://i#owner", Some("o@example.com"), Err(Unfit::OwnCall)),
        ("urn:vidimus:local#o@example.com", None, Err(Unfit::OwnCall)),
        ("https://i#bob", Some("bob@example.com"), Ok(())),
        ("https://i#bob", None, Err(Unfit::Again)),
        ("https://j#b-8", Some("bob@example.com"), Err(Unfit::Again)),
        ("https://j#b-8", Some("other@example.com"), Ok(())),
    ] {
        let (actor, approve) = by(id, email);
        assert_eq!(approvals.check(Deed::Approve(&approve), &actor, 1), expected, "{id} {email:?}");
        approvals.apply(Deed::Approve(&approve), &actor, 1);
    }
    assert_eq!(approvals.get("1").map(|pending| pending.state), Some(State::Approved));
}

/// Attack: one person by two issuers, of which one has the address for the subject, whichever comes first.
#[test]
fn one_person_is_one_in_whatever_order_and_by_whatever_address() {
    let by = |(id, email, unverified): (&str, Option<&str>, Option<&str>)| {
        let (email, unverified_email) = (email.map(str::to_owned), unverified.map(str::to_owned));
        (format!("User/{id}"), Approve { email, unverified_email, ..approve("1", "payers") })
    };
    let carol = [
        ("https://a#carol@example.com", None, None),
        ("https://b#7731", Some("carol@example.com"), None),
        ("https://c#c", None, Some("Carol@example.com.")),
    ];
    for first in carol {
        for second in carol {
            let mut approvals = Approvals::default();
            approvals.apply(Deed::Ask(&wanting(&[("payers", 2)])), "vidimus", 0);
            let (actor, approve) = by(first);
            approvals.apply(Deed::Approve(&approve), &actor, 1);
            let (actor, approve) = by(second);
            let again = approvals.check(Deed::Approve(&approve), &actor, 2);
            assert_eq!(again, Err(Unfit::Again), "{first:?} {second:?}");
        }
    }
    let mut approvals = Approvals::default();
    let asked = Question {
        chain: vec!["Agent/a/front".into()],
        chain_owners: vec!["mallory@example.com".into()],
        user: Some("urn:vidimus:local#dave@example.com".into()),
        user_email: None,
        ..question("1", "d")
    };
    approvals.apply(Deed::Ask(&asked), "vidimus", 0);
    for own in [
        ("https://b#99", Some("dave@example.com"), None),
        ("https://b#99", None, Some("dave@example.com")),
        // Whoever answers for an agent earlier in the chain, and for the caller.
        ("https://b#m-7", Some("Mallory@example.com"), None),
        ("urn:vidimus:local#mallory@example.com", None, None),
        ("https://b#100", Some("o@example.com."), None),
        ("https://b#101", None, Some("O@example.com")),
    ] {
        let (actor, approve) = by(own);
        assert_eq!(approvals.check(Deed::Approve(&approve), &actor, 1), Err(Unfit::OwnCall), "{own:?}");
    }
    let (actor, approve) = by(("https://b#102", Some("bob@example.com"), None));
    assert_eq!(approvals.check(Deed::Approve(&approve), &actor, 1), Ok(()));
}

/// A question that an earlier version recorded is read, and has no owners but one.
#[test]
fn what_was_asked_before_owners_of_chains_were_known_is_read() {
    let mut old = serde_json::to_value(question("1", "d")).unwrap();
    assert!(old.get("chainOwners").is_none(), "{old}");
    old["chain"] = serde_json::json!(["Agent/a/front"]);
    assert!(serde_json::from_value::<Question>(old).unwrap().chain_owners.is_empty());
}

#[test]
fn what_is_asked_of_something_is_known_by_all_its_parts() {
    let asked = Question {
        chain: vec!["Agent/a/first".into()],
        identity: Some("spiffe://t/x".into()),
        instance: Some("6d1f".into()),
        ..question("1", "d")
    };
    let approvals = steps(&asked, &[]);
    for (subject, expected) in [
        ("Agent/a/x", 1),
        ("Agent/a/first", 1),
        ("MCPServer/a/s", 1),
        ("User/https://i#alice", 1),
        ("MCPServer/a/s2", 0),
        ("Agent/a/s", 0),
        ("User/https://i#bob", 0),
        ("Chain/t", 0),
        ("Identity/spiffe://t/x", 1),
        ("Identity/spiffe://t/y", 0),
        ("Instance/6d1f", 1),
        ("Instance/6d10", 0),
    ] {
        assert_eq!(approvals.of_subject(&subject.parse().unwrap(), 1).count(), expected, "{subject}");
    }
    assert_eq!(approvals.of_subject(&"Agent/a/x".parse().unwrap(), HOUR).count(), 0, "it is over");
}

/// SplitMix64 (Steele et al., 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Whatever acts come, in whatever order: no call is made that not enough people approved, none twice, and none too late.
#[test]
fn whatever_comes_nothing_is_used_that_was_not_approved_for_it() {
    let (mut uses_seen, mut escalated_seen) = (0, 0);
    for seed in 0..2_000 {
        let mut dice = Dice(seed);
        let mut approvals = Approvals::default();
        let mut now = 0;
        let mut votes: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
        let mut uses: BTreeMap<String, u32> = BTreeMap::new();
        for step in 0..60 {
            now += i64::try_from(dice.below(200_000)).unwrap();
            let approval = dice.below(3).to_string();
            let actor = format!("User/https://i#{}", ["alice", "b", "c", "d"][dice.below(4) as usize]);
            let role = ["payers", "owners"][dice.below(2) as usize].to_owned();
            let of = OfApproval { approval: approval.clone() };
            match dice.below(8) {
                0 | 1 => {
                    let mut asked = wanting(&[("payers", 1 + dice.below(2) as u32), ("owners", 1)]);
                    asked.user = Some("https://i#alice".into());
                    (asked.approval, asked.digest) = (approval.clone(), dice.below(2).to_string());
                    asked.until = now + HOUR;
                    asked.asking[1].escalation =
                        Some(Escalates { at: now + HOUR / 4, role: "managers".into() });
                    if approvals.check(Deed::Ask(&asked), "vidimus", now).is_ok() {
                        votes.remove(&approval);
                        uses.remove(&approval);
                    }
                    approvals.apply(Deed::Ask(&asked), "vidimus", now);
                }
                2..5 => {
                    let escalation = (dice.below(3) == 0).then(|| "managers".to_owned());
                    let escalates = escalation.is_some();
                    let approve = Approve { escalation, ..approve(&approval, &role) };
                    if approvals.check(Deed::Approve(&approve), &actor, now).is_ok() {
                        assert!(!actor.ends_with("alice"));
                        let until = approvals.get(&approval).unwrap().question.until;
                        let is_open = role == "owners" && now >= until - HOUR + HOUR / 4;
                        assert!(!escalates || is_open, "seed {seed} step {step}");
                        escalated_seen += u32::from(escalates);
                        let fresh = votes.entry(approval).or_default().insert((actor.clone(), role));
                        assert!(fresh, "seed {seed} step {step}");
                    }
                    approvals.apply(Deed::Approve(&approve), &actor, now);
                }
                5 if dice.below(4) == 0 => approvals.apply(Deed::Deny(&of), &actor, now),
                6 if dice.below(4) == 0 => approvals.apply(Deed::Expire(&of), "vidimus", now),
                _ => {
                    let used = Use { approval: approval.clone(), call: step.to_string() };
                    if approvals.check(Deed::Use(&used), "vidimus", now).is_ok() {
                        let pending = approvals.get(&approval).unwrap();
                        assert!(now < pending.question.until);
                        for wanted in &pending.question.asking {
                            let given =
                                votes[&approval].iter().filter(|(_, role)| *role == wanted.role).count();
                            assert!(given as u32 >= wanted.quorum, "seed {seed} step {step}");
                        }
                        let all: BTreeSet<_> = votes[&approval].iter().map(|(by, _)| by).collect();
                        assert_eq!(all.len(), votes[&approval].len());
                        *uses.entry(approval.clone()).or_default() += 1;
                        assert_eq!(uses[&approval], 1, "seed {seed} step {step}");
                        uses_seen += 1;
                    }
                    approvals.apply(Deed::Use(&used), "vidimus", now);
                }
            }
        }
    }
    assert!(uses_seen > 200 && escalated_seen > 200, "{uses_seen} {escalated_seen}");
}

/// Attack: what asks is changed, and changed back once it was approved.
#[test]
fn what_is_void_stays_so_and_is_asked_anew() {
    let void = |changed: &str| Voided { approval: "1".into(), changed: changed.into() };
    let approved = || {
        let mut approvals = Approvals::default();
        approvals.apply(Deed::Ask(&Question { window: Some(HOUR), ..question("1", "d") }), "vidimus", 0);
        approvals.apply(Deed::Approve(&approve("1", "payers")), "User/i#b", 1);
        approvals
    };
    for used in [false, true] {
        let mut approvals = approved();
        let call = Use { approval: "1".into(), call: "c1".into() };
        if used {
            approvals.apply(Deed::Use(&call), "vidimus", 2);
        }
        assert_eq!(approvals.check(Deed::Void(&void("t/p")), "vidimus", 3), Ok(()));
        approvals.apply(Deed::Void(&void("t/p")), "vidimus", 3);
        assert_eq!(approvals.check(Deed::Use(&call), "vidimus", 4), Err(Unfit::NotUsable));
        assert_eq!(approvals.check(Deed::Void(&void("t/q")), "vidimus", 4), Err(Unfit::Over));
        let pending = approvals.get("1").unwrap();
        assert_eq!((pending.state_at(4), pending.changed.as_deref()), (State::Expired, Some("t/p")));
        // What comes of a call that is under way is known all the same.
        let came = Came { approval: "1".into(), call: "c1".into(), result: "ok".into() };
        assert_eq!(approvals.check(Deed::Came(&came), "vidimus", 4).is_ok(), used);
        assert_eq!(approvals.check(Deed::Ask(&question("2", "d")), "vidimus", 4), Ok(()));
    }
    // What was answered no, or is over by itself, is so for that.
    let mut approvals = approved();
    approvals.apply(Deed::Deny(&OfApproval { approval: "1".into() }), "User/i#b", 2);
    assert_eq!(approvals.check(Deed::Void(&void("t/p")), "vidimus", 3), Err(Unfit::Over));
    assert_eq!(approved().check(Deed::Void(&void("t/p")), "vidimus", HOUR), Err(Unfit::Over));
}

/// The same call before is known by what it does, whatever policies held it then, and by the last call that was made.
#[test]
fn what_the_same_call_came_to_before_is_told_whatever_held_it() {
    let mut approvals = Approvals::default();
    let of = |id: &str, digest: &str| Question { same: Some("call".into()), ..question(id, digest) };
    assert_eq!(approvals.made_before("call"), None);
    for (id, digest, call) in [("9", "d", Some("c9")), ("1", "e", Some("c1")), ("5", "f", None)] {
        approvals.apply(Deed::Ask(&of(id, digest)), "vidimus", 1);
        approvals.apply(Deed::Approve(&approve(id, "payers")), "User/i#b", 2);
        if let Some(call) = call {
            approvals.apply(Deed::Use(&Use { approval: id.into(), call: call.into() }), "vidimus", 3);
        }
    }
    let before = approvals.made_before("call").unwrap();
    assert_eq!((&*before.approval, &*before.call, before.result), ("1", "c1", None));
    assert_eq!(approvals.made_before("another"), None);
}
