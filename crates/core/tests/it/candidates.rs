//! Who may answer a call of a model in place of the one that is called (`spec.failover`): on the one decision of that call.

use std::sync::Arc;

use vidimus_core::approval::Approval;
use vidimus_core::call::{Action, Ask, Call, Target};
use vidimus_core::caller::{UnixMillis, User};
use vidimus_core::permit::{Permit, Verdict};
use vidimus_core::resource::llm_provider::{Alternative, Failover, Price};
use vidimus_core::resource::{DelegationLimits, Labels, LlmProvider, Object};
use vidimus_core::snapshot::Snapshot;

use super::world::{Answer, Facts, agent, cluster, names, objects, provider, snapshot};

const ALL: &str = r#"permit (principal, action == Action::"callModel", resource);"#;

/// `first` fails over to `second` and `third`, which `change` changes. The model is `m` everywhere; `second` has it as an alias of `n`.
fn world(cedar: &str, change: impl Fn(&mut LlmProvider)) -> Snapshot {
    let mut caller = agent("a", "caller");
    caller.delegation = DelegationLimits::default();
    let mut all = objects(vec![caller], Vec::new(), vec![cluster(cedar)]);
    let to = |name: &str, weight| Alternative { provider: format!("t/{name}").into(), weight };
    for (name, model) in [("first", "m"), ("second", "n"), ("third", "m")] {
        let mut provider = provider("t", name, &[(model, &[])]);
        if name == "second" {
            provider.aliases = [("m".into(), "n".into())].into();
        }
        provider.failover = (name == "first")
            .then(|| Failover { weight: 1, to: vec![to("second", 2), to("third", 0), to("absent", 0)] });
        provider.models[0].price = Some(Price::plain(1_000_000, 1_000_000));
        change(&mut provider);
        all.push(Object::LlmProvider(Arc::new(provider)));
    }
    snapshot(all)
}

/// The candidates of a call of `t/first/m`, as the permit has them; none where there is no permit.
fn candidates(world: &Snapshot, facts: &Facts) -> Vec<String> {
    asked(world, facts).0
}

/// What becomes of a call of `t/first/m`.
fn verdict(world: &Snapshot, facts: &Facts) -> Verdict {
    let first = world.llm_provider("t/first").unwrap();
    let target = Target::Model { provider: first, name: "m" };
    let answer = facts.ask(Action::CallModel, target, |call| {
        let ask = Ask { tokens_estimated: 10, tokens_most: 10, ..call.ask };
        Answer::of(world.with_candidates(world.authorize(&Call { ask, ..*call })))
    });
    answer.verdict
}

/// The same, with those that are none.
fn asked(world: &Snapshot, facts: &Facts) -> (Vec<String>, Vec<String>) {
    let shown = |permit: &Permit| {
        let candidates = permit.candidates().iter();
        let candidates = candidates.map(|one| format!("{} {}", one.entity().id, one.weight)).collect();
        (candidates, permit.passed_over().iter().map(ToString::to_string).collect())
    };
    match &verdict(world, facts) {
        Verdict::Permitted(permit) => shown(permit),
        Verdict::Held(_) | Verdict::Refused(_) => Default::default(),
    }
}

/// Of each that is passed over it is said why: a failover that never works is else found when it is needed.
#[test]
fn who_is_passed_over_is_told_of_with_the_reason() {
    const ABSENT: &str = "t/absent: no LLMProvider of this name is registered";
    let second = r#"(principal, action == Action::"callModel", resource == Model::"t/second/n")"#;
    let hold = r#"unless { context has approval && context.approval.role == "ops" }"#;
    let refused = |code: &str| format!("t/second: policies do not let the caller call it ({code})");
    let plain: fn(&mut LlmProvider) = |_| {};
    let without: fn(&mut LlmProvider) = |provider| provider.aliases.clear();
    let dearer: fn(&mut LlmProvider) = |provider| {
        if provider.id.id.ends_with("second") {
            provider.models[0].price = Some(Price::plain(1_000_000, 2_000_000));
        }
    };
    for (cedar, change, why) in [
        (ALL.to_owned(), without, "t/second: it has no model or alias \"m\"".to_owned()),
        (format!("{ALL} forbid {second};"), plain, refused("forbidden_by_policy")),
        (format!(r#"{ALL} @approval("ops") forbid {second} {hold};"#), plain, refused("approval_required")),
        (
            r#"permit (principal, action == Action::"callModel", resource) when { resource.name == "m" };"#
                .to_owned(),
            plain,
            refused("no_permit"),
        ),
        (
            format!(r#"{ALL} @cap_tokens("10") forbid {second};"#),
            plain,
            "t/second: policies demand something else of a call of it".to_owned(),
        ),
        (
            format!("{ALL} {COUNTS}"),
            dearer,
            "t/second: it may cost more than was reserved, and spending is counted".to_owned(),
        ),
        // Its name is not told, so that is why.
        (format!("{ALL} {COUNTS} forbid {second};"), dearer, refused("forbidden_by_policy")),
    ] {
        let world = world(&cedar, change);
        let (candidates, passed_over) = asked(&world, &Facts::of(&world, "a/caller"));
        assert_eq!(candidates, ["t/first/m 1", "t/third/m 0"], "{cedar}");
        assert_eq!(passed_over, [why.as_str(), ABSENT], "{cedar}");
    }
    let world = world(ALL, plain);
    assert_eq!(asked(&world, &Facts::of(&world, "a/caller")).1, [ABSENT]);
}

/// Attack: asks a provider for one model after another, to hear of others which of them these have.
#[test]
fn of_a_provider_of_which_the_caller_may_call_nothing_it_is_not_told_which_models_it_has() {
    let only = |resource: &str| {
        format!(r#"permit (principal, action == Action::"callModel", resource == {resource});"#)
    };
    let first = only(r#"Model::"t/first/m""#);
    for (cedar, is_told) in [
        (ALL.to_owned(), true),
        (format!("{first} {}", only(r#"Model::"t/second/n""#)), true),
        (first.clone(), false),
        (format!(r#"{first} permit (principal, action == Action::"listModels", resource);"#), false),
    ] {
        let world = world(&cedar, |provider| provider.aliases.clear());
        let verdict = verdict(&world, &Facts::of(&world, "a/caller"));
        let Verdict::Permitted(permit) = verdict else { panic!("permitted") };
        let second = permit.passed_over().iter().find(|one| &*one.provider == "t/second").expect("named");
        assert_eq!(second.is_told(), is_told, "{cedar}");
        // Who operates reads what is wrong in the record.
        assert!(second.to_string().starts_with("t/second: it has no model or alias \"m\""), "{second}");
    }
}

const COUNTS: &str =
    r#"forbid (principal, action == Action::"callModel", resource) when { context.chain.spend > 1000 };"#;

const EACH: [&str; 3] = ["t/first/m 1", "t/second/n 2", "t/third/m 0"];

#[test]
fn who_is_permitted_may_answer_by_the_name_that_it_has_for_the_model() {
    let world = world(ALL, |_| {});
    assert_eq!(candidates(&world, &Facts::of(&world, "a/caller")), EACH);
    // Who was named and is not registered, or has no such model, is passed over.
    let world = self::world(ALL, |provider| provider.aliases.clear());
    assert_eq!(candidates(&world, &Facts::of(&world, "a/caller")), ["t/first/m 1", "t/third/m 0"]);
    // A permit goes to its candidates and nowhere else.
    let first = world.llm_provider("t/first").expect("registered");
    let target = Target::Model { provider: first, name: "m" };
    let answer = Facts::of(&world, "a/caller")
        .ask(Action::CallModel, target, |call| Answer::of(world.with_candidates(world.authorize(call))));
    let Verdict::Permitted(mut permit) = answer.verdict else { panic!("permitted") };
    assert!(permit.turn_to(1));
    assert_eq!(&*permit.destination().id().id, "t/third");
    assert!(!permit.turn_to(2));
    assert_eq!(&*permit.destination().id().id, "t/third");
}

/// Attacks: whoever may not be called, or only otherwise, is reached by calling another one.
#[test]
fn who_would_be_decided_otherwise_may_not_answer() {
    let forbid = r#"forbid (principal, action == Action::"callModel", resource == Model::"t/second/n")"#;
    for cedar in [
        format!("{ALL} {forbid};"),
        format!(
            r#"{ALL} @approval("ops") {forbid} unless {{ context has approval && context.approval.role == "ops" }};"#
        ),
        format!(r#"{ALL} @cap_tokens("10") {forbid};"#),
        format!(r#"{ALL} {forbid} when {{ context.tokens_estimated > 5 }};"#),
        r#"permit (principal, action == Action::"callModel", resource) when { resource.name == "m" };"#
            .to_owned(),
    ] {
        let world = world(&cedar, |_| {});
        let found = candidates(&world, &Facts::of(&world, "a/caller"));
        assert_eq!(found, ["t/first/m 1", "t/third/m 0"], "{cedar}");
    }
    // What people approved is a call of the one that they were asked about.
    let held = r#"@approval("ops") forbid (principal, action == Action::"callModel", resource) unless { context has approval && context.approval.role == "ops" };"#;
    let world = world(&format!("{ALL} {held}"), |_| {});
    let mut facts = Facts::of(&world, "a/caller");
    assert!(candidates(&world, &facts).is_empty());
    let by = User { issuer: "https://i".into(), subject: "bob".into(), email: None, groups: Arc::default() };
    facts.approvals = vec![Approval { role: "ops".into(), by, at: UnixMillis(1_790_000_000_400) }];
    assert!(candidates(&world, &facts).is_empty());
}

/// What is counted or said of the one that is called is not so of another.
#[test]
fn who_would_be_counted_otherwise_may_not_answer() {
    let labelled = |provider: &mut LlmProvider| {
        if provider.id.id.ends_with("second") {
            provider.labels = Labels { sends: names(&["external"]), ..Labels::default() };
        }
    };
    let world = world(ALL, labelled);
    assert_eq!(candidates(&world, &Facts::of(&world, "a/caller")), ["t/first/m 1", "t/third/m 0"]);

    // A dearer one is tried, unless something is counted of which less was reserved than it may come to.
    let dearer = |provider: &mut LlmProvider| {
        if provider.id.id.ends_with("second") {
            provider.models[0].price = Some(Price::plain(1_000_000, 2_000_000));
        }
    };
    let world = self::world(ALL, dearer);
    assert_eq!(candidates(&world, &Facts::of(&world, "a/caller")), EACH);
    let world = self::world(&format!("{ALL} {COUNTS}"), dearer);
    assert_eq!(candidates(&world, &Facts::of(&world, "a/caller")), ["t/first/m 1", "t/third/m 0"]);
}

/// Attack: a chain that may reach one destination more reaches three.
#[test]
fn who_may_reach_only_so_many_destinations_reaches_the_one_that_is_called() {
    let mut caller = agent("a", "caller");
    caller.delegation.max_fan_out = Some(5);
    let world = world(ALL, |_| {});
    let first = world.llm_provider("t/first").expect("registered").clone();
    let second = world.llm_provider("t/second").expect("registered").clone();
    let mut all = objects(vec![caller], Vec::new(), vec![cluster(ALL)]);
    all.extend([Object::LlmProvider(first), Object::LlmProvider(second)]);
    let world = snapshot(all);
    assert_eq!(candidates(&world, &Facts::of(&world, "a/caller")).len(), 2);
    let later = Facts::of(&world, "a/caller").at_depth(2);
    assert!(candidates(&world, &later).is_empty());
}

/// Attack: a caller that reads in the refusal of its call who else there is, where something other than policies keeps that one from answering too.
#[test]
fn whom_policies_keep_from_the_caller_is_not_named_for_another_reason() {
    let forbid = r#"forbid (principal, action == Action::"callModel", resource == Model::"t/second/n");"#;
    let counts =
        r#"forbid (principal, action == Action::"callModel", resource) when { context.chain.spend > 1000 };"#;
    let other = |provider: &mut LlmProvider| {
        if provider.id.id.ends_with("second") {
            provider.models[0].price = Some(Price::plain(1_000_000, 2_000_000));
            provider.labels = Labels { sends: names(&["external"]), ..Labels::default() };
        }
    };
    let told = |world: &Snapshot, facts: &Facts| -> Vec<(String, bool)> {
        let Verdict::Permitted(permit) = verdict(world, facts) else { panic!("permitted") };
        permit.passed_over().iter().map(|one| (one.to_string(), one.is_told())).collect()
    };
    let kept = "t/second: policies do not let the caller call it (forbidden_by_policy)";
    for cedar in [format!("{ALL} {forbid}"), format!("{ALL} {forbid} {counts}")] {
        let world = world(&cedar, other);
        assert_eq!(told(&world, &Facts::of(&world, "a/caller"))[0], (kept.to_owned(), false), "{cedar}");
    }
    // Who may reach only so many destinations is told of those alone that it may reach.
    let mut caller = agent("a", "caller");
    caller.delegation.max_fan_out = Some(5);
    let plain = world(ALL, |_| {});
    let mut all = objects(vec![caller], Vec::new(), vec![cluster(&format!("{ALL} {forbid}"))]);
    let registered = |name: &str| plain.llm_provider(name).expect("registered").clone();
    all.extend(["t/first", "t/second", "t/third"].map(|name| Object::LlmProvider(registered(name))));
    let world = snapshot(all);
    let later = told(&world, &Facts::of(&world, "a/caller").at_depth(2));
    assert_eq!(later[0], (kept.to_owned(), false));
    assert!(later[1].0.starts_with("t/third: the caller may reach only so many") && later[1].1, "{later:?}");
}
