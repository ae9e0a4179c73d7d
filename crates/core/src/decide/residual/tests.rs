//! Which conditions are evaluated here, and which are left to Cedar. The decision is the same either way (`tests/it/property.rs`);
//! here it takes a fraction of the time, so this is part of what the benchmark promises.

use cedar_policy::pst::Clause;
use cedar_policy::{Entities, Policy};

use super::*;

/// As partial evaluation leaves it: dates as an offset to the epoch, durations in milliseconds, addresses with their prefix.
fn compiled(condition: &str) -> Option<Expression> {
    let text = format!("permit (principal, action, resource) when {{ {condition} }};");
    let pst = Policy::parse(None, text).unwrap().to_pst().unwrap();
    let [Clause::When(condition)] = pst.body().clauses().as_slice() else { panic!("{condition}") };
    Expression::compile(condition, &Entities::empty())
}

#[test]
fn what_policies_ask_of_a_context_is_evaluated_here() {
    let date = "datetime(\"1970-01-01\").offset(duration(\"5ms\"))";
    for condition in [
        "context.method == \"a\"",
        "context.delegation_depth != 1",
        "context.chain.depth < 1",
        "context.chain.depth <= 1",
        "context.chain.depth > 1",
        "context.chain.depth >= 1",
        "context.chain.depth + 1 == 1",
        "context.chain.depth - 1 == 1",
        "context.chain.depth * 2 == 1",
        "-context.chain.depth == 1",
        "!context.chain.cycle",
        "context.chain.cycle && context.chain.cycle",
        "context.chain.cycle || context.chain.cycle",
        "if context.chain.cycle then true else false",
        "context.chain.age == duration(\"5ms\")",
        "context.chain.age.toMilliseconds() == 1",
        "context.chain.age.toSeconds() == 1",
        "context.chain.age.toMinutes() == 1",
        "context.chain.age.toHours() == 1",
        "context.chain.age.toDays() == 1",
        "context.chain.fan_out < 1",
        "context.chain.calls < 1",
        "context.chain.tokens < 1",
        "context.chain.spend < 1",
        "context.chain.agents.isEmpty()",
        "context.labels.contains(\"a\")",
        "context.weekday == \"monday\"",
        "context.hour < 1",
        "context.chain.agents.contains(Agent::\"a/x\")",
        "context.chain.agents.containsAll([Agent::\"a/x\"])",
        "context.chain.agents.containsAny([Agent::\"a/x\"])",
        "Agent::\"a/x\" in context.chain.agents",
        &format!("context.now == {date}"),
        "context.now.offset(duration(\"5ms\")) == context.now",
        &format!("context.now.durationSince({date}) == duration(\"5ms\")"),
        "context.now.toDate() == context.now",
        "context.now.toTime() == duration(\"5ms\")",
        "context.transaction like \"a*\"",
        "context.identity == \"a\"",
        "context has instance",
        "context has instance.id",
        "context has instance.name",
        "context.instance has node",
        "context.instance.id == \"a\"",
        "context.instance.kind == \"a\"",
        "context.instance.name like \"a*\"",
        "context.instance.node == \"a\"",
        "context has on_behalf_of",
        "context has on_behalf_of.issuer",
        "context has on_behalf_of.email",
        "context.on_behalf_of has email",
        "context.on_behalf_of == User::\"a#b\"",
        "context.on_behalf_of in UserGroup::\"a\"",
        "context.on_behalf_of.issuer == \"a\"",
        "context.on_behalf_of.subject == \"a\"",
        "context.on_behalf_of.email == \"a\"",
        "context has source_ip",
        "context has method",
        "context has chain.depth",
        "context.source_ip == ip(\"10.0.0.0/8\")",
        "context.source_ip.isInRange(ip(\"10.0.0.0/8\"))",
        "context.source_ip.isIpv4()",
        "context.source_ip.isIpv6()",
        "context.source_ip.isLoopback()",
        "context.source_ip.isMulticast()",
        "context.args.hasTag(\"/a\")",
        "context.args.getTag(\"/a\") == \"a\"",
        "context.numbers.hasTag(\"/a\")",
        "context.limits.hasTag(\"a/p/x\") && context.limits.getTag(\"a/p/x\") < 5",
        "context.numbers.getTag(\"/a\") == 1",
        "context.args == Arguments::\"call\"",
        "context.tokens_estimated < 1",
        "context.streaming",
        "context.push_notification_url == \"a\"",
        "context has push_notification_url",
        "context has parts",
        "context has parts.bytes",
        "context.parts.media_types.contains(\"image/png\")",
        "[\"text/plain\"].containsAll(context.parts.media_types)",
        "context.parts.largest < 1 && context.parts.bytes < 1",
        "[\"a\", context.method].contains(\"a\")",
        "context has approval",
        "context has approval.role",
        "context.approval.role == \"a\"",
        "context.approval.by == User::\"a#b\"",
        "context.approval.by.issuer == \"a\"",
        "context.approval.by.subject == \"a\"",
        "context.approval.by.email == \"a\"",
        "context.approval.by has email",
        "context has approval.by.email",
        "context.approval.at < context.now",
        // What does not exist has nothing, and asking for it fails.
        "Agent::\"a/x\".team == \"a\"",
        "Agent::\"a/x\" has version",
        "Agent::\"a/x\".hasTag(\"a\")",
        "Agent::\"a/x\".getTag(\"a\") == \"a\"",
    ] {
        assert!(compiled(condition).is_some(), "{condition}");
    }
}

#[test]
fn an_entity_that_does_not_exist_has_nothing() {
    for condition in ["Agent::\"a/x\" has version", "Agent::\"a/x\".hasTag(\"a\")"] {
        let found = compiled(condition);
        assert!(matches!(found, Some(Expression::Constant(Constant::Bool(false)))), "{condition}: {found:?}");
    }
    let Some(Expression::Binary(_, both)) = compiled("Agent::\"a/x\".getTag(\"a\") == \"a\"") else {
        panic!()
    };
    assert!(matches!(*both, [Expression::Failure, _]), "{both:?}");
    assert!(matches!(compiled("Agent::\"a/x\".quarantined"), Some(Expression::Failure)));
}

#[test]
fn what_is_known_is_known_once() {
    // A set of constants is a constant, not a set that is made again with each call.
    let Some(Expression::Binary(Operator::Contains, both)) =
        compiled("[\"a\", \"b\"].contains(context.method)")
    else {
        panic!()
    };
    assert!(matches!(&*both, [Expression::Constant(Constant::Set(set)), _] if set.len() == 2), "{both:?}");
    let failed = Expression::compile(&Expr::ResidualError, &Entities::empty());
    assert!(matches!(failed, Some(Expression::Failure)), "{failed:?}");
}

#[test]
fn the_rest_is_left_to_cedar() {
    for condition in [
        "{a: context.method} == {a: \"a\"}",
        "ip(context.method).isLoopback()",
        "datetime(context.method) == context.now",
        "duration(context.method) == context.chain.age",
        "decimal(\"1.0\").lessThan(decimal(context.method))",
        "context.args in UserGroup::\"a\"",
        "context.other == 1",
        "context has other",
        "context has tokens_estimated",
        "context has args",
        "context.chain has depth",
        // Only the call knows who that is.
        "User::\"a#b\".subject == \"b\"",
        "Arguments::\"call\".hasTag(\"/a\")",
        "Numbers::\"call\".getTag(\"/a\") == 1",
        // The key may fail by itself.
        "Agent::\"a/x\".hasTag(context.method)",
        // Not as partial evaluation writes them.
        "context.now == datetime(\"1970-01-02\").offset(duration(\"5ms\")).offset(duration(\"1s\"))",
        "context.now == datetime(\"1970-01-02\").offset(duration(\"5ms\"))",
        "context.chain.age == duration(\"5s\")",
        "context.source_ip == ip(\"10.0.0.1\")",
        "context.source_ip == ip(\"10.0.0.0/33\")",
    ] {
        assert!(compiled(condition).is_none(), "{condition}");
    }
}

#[test]
fn nothing_but_tags_depends_on_the_arguments() {
    for (condition, depends) in [
        ("context.method == \"a\"", false),
        ("context.args == Arguments::\"call\"", false),
        ("context has on_behalf_of", false),
        ("Agent::\"a/x\".team == \"a\"", false),
        ("context.args.hasTag(\"/a\")", true),
        ("context.numbers.hasTag(\"/a\")", true),
        ("!context.args.hasTag(\"/a\")", true),
        ("context.chain.cycle && context.args.hasTag(\"/a\")", true),
        ("context.args.hasTag(\"/a\") || context.chain.cycle", true),
        ("if context.chain.cycle then true else context.args.hasTag(\"/a\")", true),
        ("context.args.getTag(\"/a\") like \"a*\"", true),
        ("[context.args.getTag(\"/a\"), context.method].contains(\"a\")", true),
        ("context.numbers.getTag(\"/a\") < 1", true),
        ("Agent::\"a/x\" in context.chain.agents", false),
        ("context.guarded.contains(\"secrets\")", true),
    ] {
        assert_eq!(compiled(condition).unwrap().on_arguments(), depends, "{condition}");
    }
}
