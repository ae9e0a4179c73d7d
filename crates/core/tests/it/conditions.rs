//! What a condition comes to, written out by hand at the edges of each operator. `property` holds every decision to Cedar's over
//! conditions that it makes up; here stands what is promised of each, so that it can be read, and where it ends.

use std::net::IpAddr;

use vidimus_core::approval::Approval;
use vidimus_core::call::{Action, Arguments, Ask, Call, Target};
use vidimus_core::caller::{Instance, InstanceKind, UnixMillis, User};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::refusal::Code;
use vidimus_core::snapshot::Snapshot;

use crate::world::{Answer, Facts, agent, cluster, objects, provider, server, snapshot};

/// What a condition comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    True,
    False,
    /// The condition fails, and so the call is denied.
    Error,
}

use Comes::{Error as E, False as F, True as T};

/// A world with one permit, on the calls of tools where `condition` holds.
fn world(condition: &str) -> Snapshot {
    let permit =
        format!(r#"permit (principal, action == Action::"invokeTool", resource) when {{ {condition} }};"#);
    snapshot(objects(vec![agent("a", "x"), agent("a", "y")], vec![server("a", "s")], vec![cluster(&permit)]))
}

fn ask(condition: &str, change: impl Fn(&mut Facts)) -> Answer {
    let world = world(condition);
    let mut facts = Facts::of(&world, "a/x");
    change(&mut facts);
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "t" };
    facts.authorize(&world, Action::InvokeTool, target)
}

fn comes_to(condition: &str, change: impl Fn(&mut Facts)) -> Comes {
    match ask(condition, change).code {
        None => T,
        Some(Code::NoPermit) => F,
        Some(Code::PolicyError) => E,
        Some(other) => panic!("{condition}: {other:?}"),
    }
}

#[track_caller]
fn each(change: impl Fn(&mut Facts), table: &[(&str, Comes)]) {
    for (condition, expected) in table {
        assert_eq!(comes_to(condition, &change), *expected, "{condition}");
    }
}

fn depth(depth: usize) -> impl Fn(&mut Facts) {
    move |facts| {
        let actors = (1..depth).map(|hop| EntityId::new(EntityKind::Agent, format!("earlier/hop{hop}")));
        facts.chain.actors = actors.collect();
    }
}

#[test]
fn numbers() {
    each(
        |_| {},
        &[
            ("context.delegation_depth == 1", T),
            ("context.delegation_depth == 2", F),
            ("context.delegation_depth != 1", F),
            ("context.delegation_depth != 2", T),
            ("context.delegation_depth < 1", F),
            ("context.delegation_depth < 2", T),
            ("context.delegation_depth <= 0", F),
            ("context.delegation_depth <= 1", T),
            ("context.delegation_depth > 0", T),
            ("context.delegation_depth > 1", F),
            ("context.delegation_depth >= 1", T),
            ("context.delegation_depth >= 2", F),
            ("context.delegation_depth + 2 == 3", T),
            ("context.delegation_depth - 3 == -2", T),
            ("3 - context.delegation_depth == 2", T),
            ("context.delegation_depth * 3 == 3", T),
            ("-context.delegation_depth == -1", T),
            // The last numbers that there are, and one further.
            ("context.delegation_depth + 9223372036854775806 > 0", T),
            ("context.delegation_depth + 9223372036854775807 > 0", E),
            ("-9223372036854775807 - context.delegation_depth < 0", T),
            ("-9223372036854775808 - context.delegation_depth < 0", E),
            ("(context.delegation_depth + 1) * 4611686018427387903 > 0", T),
            ("(context.delegation_depth + 1) * 4611686018427387904 > 0", E),
            ("-(-9223372036854775807 - context.delegation_depth) > 0", E),
        ],
    );
}

#[test]
fn both_sides_of_a_connective_are_looked_at_only_where_it_needs_them() {
    let fails = "context.delegation_depth + 9223372036854775807 > 0";
    for (left, right, and, or) in [
        ("context.chain.depth == 1", "context.chain.depth == 1", T, T),
        ("context.chain.depth == 1", "context.chain.depth == 2", F, T),
        ("context.chain.depth == 2", "context.chain.depth == 1", F, T),
        ("context.chain.depth == 2", "context.chain.depth == 2", F, F),
        ("context.chain.depth == 1", fails, E, T),
        ("context.chain.depth == 2", fails, F, E),
        (fails, "context.chain.depth == 1", E, E),
        (fails, "context.chain.depth == 2", E, E),
    ] {
        assert_eq!(comes_to(&format!("{left} && {right}"), |_| {}), and, "{left} && {right}");
        assert_eq!(comes_to(&format!("{left} || {right}"), |_| {}), or, "{left} || {right}");
        let negated = match and {
            T => F,
            F => T,
            E => E,
        };
        assert_eq!(comes_to(&format!("!({left} && {right})"), |_| {}), negated, "!({left} && {right})");
    }
    each(
        depth(2),
        &[
            ("if context.chain.depth == 2 then context.method == \"tools/call\" else false", T),
            ("if context.chain.depth == 1 then context.method == \"tools/call\" else false", F),
            ("if context.chain.depth == 1 then false else context.method == \"tools/call\"", T),
            ("(if context.chain.depth == 1 then 10 else 20) == context.chain.depth * 10", T),
        ],
    );
}

#[test]
fn text() {
    each(
        |_| {},
        &[
            ("context.method == \"tools/call\"", T),
            ("context.method == \"tools/cal\"", F),
            ("context.method == \"Tools/call\"", F),
            ("context.transaction == \"txn-1\"", T),
            ("context.identity == \"spiffe://test/agent\"", T),
            ("[\"tools/list\", context.transaction].contains(context.method)", F),
            ("[\"tools/list\", \"tools/call\"].contains(context.method)", T),
        ],
    );
}

#[test]
fn patterns() {
    for (pattern, fits) in [
        ("*", true),
        ("**", true),
        ("tools/call", true),
        ("tools/call*", true),
        ("*tools/call", true),
        ("tools/*", true),
        ("*call", true),
        ("t*l", true),
        ("t*s/*ll", true),
        ("*o*o*", true),
        ("*l*l*l", true),
        ("", false),
        ("tools/cal", false),
        ("tools/calls", false),
        ("ools/call", false),
        ("*o*o*o*", false),
        ("*l*l*l*l", false),
        ("*lx", false),
        ("t*x", false),
        ("x*l", false),
        // An escaped asterisk is a character.
        (r"tools\*call", false),
    ] {
        let condition = format!("context.method like \"{pattern}\"");
        assert_eq!(comes_to(&condition, |_| {}), if fits { T } else { F }, "{condition}");
    }
    let starred = |facts: &mut Facts| facts.arguments = Some(r#"{"t": "a*ü"}"#);
    let about = |pattern: &str| {
        let has = "context.args.hasTag(\"/t\")";
        comes_to(&format!("{has} && context.args.getTag(\"/t\") like \"{pattern}\""), starred)
    };
    assert_eq!([r"a\*ü", r"*\**", r"a\*\*", "a*ü*", "a*u"].map(about), [T, T, F, T, F]);
}

/// The call is of 2026-09-21T14:13:20.500Z, and its chain began half a second earlier.
#[test]
fn times() {
    each(
        |_| {},
        &[
            ("context.now == datetime(\"2026-09-21T14:13:20.500Z\")", T),
            ("context.now == datetime(\"2026-09-21T14:13:20.501Z\")", F),
            ("context.now < datetime(\"2026-09-21T14:13:20.500Z\")", F),
            ("context.now < datetime(\"2026-09-21T14:13:20.501Z\")", T),
            ("context.now <= datetime(\"2026-09-21T14:13:20.499Z\")", F),
            ("context.now <= datetime(\"2026-09-21T14:13:20.500Z\")", T),
            ("context.now > datetime(\"2026-09-21T14:13:20.500Z\")", F),
            ("context.now >= datetime(\"2026-09-21T14:13:20.500Z\")", T),
            ("context.now.toDate() == datetime(\"2026-09-21\")", T),
            ("context.now.toDate() == datetime(\"2026-09-21T00:00:00.001Z\")", F),
            ("context.now.toTime() == duration(\"14h13m20s500ms\")", T),
            ("context.now.toTime() < duration(\"14h13m20s500ms\")", F),
            ("context.now.toTime() <= duration(\"14h13m20s500ms\")", T),
            ("context.now.toTime() <= duration(\"14h13m20s499ms\")", F),
            ("context.now.toTime() < duration(\"14h13m20s501ms\")", T),
            ("context.now.offset(duration(\"1ms\")) == datetime(\"2026-09-21T14:13:20.501Z\")", T),
            ("context.now.offset(duration(\"-1d\")).toDate() == datetime(\"2026-09-20\")", T),
            ("context.now.offset(duration(\"9223372036854775807ms\")) > context.now", E),
            ("context.now.durationSince(datetime(\"2026-09-21\")) == context.now.toTime()", T),
            ("context.now.durationSince(datetime(\"2026-09-22\")).toHours() == -9", T),
            ("context.now.toTime().toMilliseconds() == 51200500", T),
            ("context.now.toTime().toSeconds() == 51200", T),
            ("context.now.toTime().toMinutes() == 853", T),
            ("context.now.toTime().toHours() == 14", T),
            ("context.now.durationSince(datetime(\"1970-01-01\")).toDays() == 20717", T),
            ("context.chain.age == duration(\"500ms\")", T),
            ("context.chain.age < duration(\"500ms\")", F),
            ("context.chain.age < duration(\"501ms\")", T),
        ],
    );
    // Before 1970 a day begins at its midnight too.
    each(
        |facts| facts.now = UnixMillis(-1),
        &[
            ("context.now.toDate() == datetime(\"1969-12-31\")", T),
            ("context.now.toTime() == duration(\"23h59m59s999ms\")", T),
        ],
    );
    // The clock of the gateway where the chain began may be ahead.
    each(
        |facts| facts.chain.started = UnixMillis(facts.now.0 + 1),
        &[("context.chain.age == duration(\"-1ms\")", T)],
    );
}

#[test]
fn sets() {
    let hops = |names: &str| {
        let named = names.split_whitespace().map(|name| format!("Agent::\"earlier/{name}\""));
        named.collect::<Vec<_>>().join(", ")
    };
    // What is asked of the agents of the chain, and what it comes to at the depths 1, 2 and 3.
    for (condition, expected) in [
        ("context.chain.agents.isEmpty()".to_owned(), [T, F, F]),
        (format!("context.chain.agents.contains({})", hops("hop1")), [F, T, T]),
        (format!("context.chain.agents.contains({})", hops("hop2")), [F, F, T]),
        (format!("context.chain.agents.containsAll([{}])", hops("hop1 hop2")), [F, F, T]),
        (format!("context.chain.agents.containsAny([{}])", hops("hop2 hop9")), [F, F, T]),
        (format!("[{}].containsAll(context.chain.agents)", hops("hop1")), [T, T, F]),
        (format!("[{}].containsAny(context.chain.agents)", hops("hop2 hop9")), [F, F, T]),
        (format!("context.chain.agents == [{}]", hops("hop1")), [F, T, F]),
        (format!("[{}] == context.chain.agents", hops("hop1")), [F, T, F]),
        (format!("context.chain.agents == [{}]", hops("hop2 hop1 hop2")), [F, F, T]),
        (format!("context.chain.agents != [{}]", hops("hop1 hop2")), [T, T, F]),
        (format!("{} in context.chain.agents", hops("hop2")), [F, F, T]),
        ("[context.delegation_depth, 3].contains(2)".to_owned(), [F, T, F]),
        ("[context.delegation_depth, 3].containsAll([2, 3])".to_owned(), [F, T, F]),
        ("[context.delegation_depth, 3] == [3]".to_owned(), [F, F, T]),
        ("[context.delegation_depth, 3].isEmpty()".to_owned(), [F, F, F]),
    ] {
        assert_eq!([1, 2, 3].map(|at| comes_to(&condition, depth(at))), expected, "{condition}");
    }
    // Of those who acted, the agents; and what holds of the caller's own ancestors is not said of the others.
    let others = |facts: &mut Facts| {
        let actors = [(EntityKind::Service, "a/x"), (EntityKind::Agent, "a/y")];
        facts.chain.actors = actors.map(|(kind, id)| EntityId::new(kind, id)).to_vec();
    };
    each(
        others,
        &[
            ("context.chain.agents == [Agent::\"a/y\"]", T),
            ("context.chain.depth == 3", T),
            ("principal in context.chain.agents", F),
            ("principal in [Agent::\"a/x\", Agent::\"a/y\"] && context.chain.depth == 3", T),
        ],
    );
    each(
        |facts| facts.chain.actors = vec![EntityId::new(EntityKind::Agent, "a/x")],
        &[("principal in context.chain.agents", T), ("context.chain.cycle", T)],
    );
    each(depth(3), &[("context.chain.cycle", F), ("(!context.chain.cycle) == true", T)]);
}

#[test]
fn the_person() {
    let anna = |email: Option<&'static str>| {
        move |facts: &mut Facts| {
            let user = User {
                issuer: "https://i".into(),
                subject: "anna".into(),
                email: None,
                groups: std::sync::Arc::default(),
            };
            facts.user = Some(User { email: email.map(Into::into), ..user });
        }
    };
    // Without a person, with one, and with one who has an e-mail address.
    for (condition, expected) in [
        ("context has on_behalf_of", [F, T, T]),
        ("context has on_behalf_of.issuer", [F, T, T]),
        ("context has on_behalf_of.email", [F, F, T]),
        ("context has on_behalf_of && context.on_behalf_of has email", [F, F, T]),
        ("context has on_behalf_of && context.on_behalf_of has subject", [F, T, T]),
        ("context has on_behalf_of && context.on_behalf_of == User::\"https://i#anna\"", [F, T, T]),
        ("context has on_behalf_of && User::\"https://i#anna\" == context.on_behalf_of", [F, T, T]),
        ("context has on_behalf_of && context.on_behalf_of == User::\"https://i#ann\"", [F, F, F]),
        ("context has on_behalf_of && context.on_behalf_of == User::\"https://j#anna\"", [F, F, F]),
        ("context has on_behalf_of && context.on_behalf_of == User::\"https://ianna\"", [F, F, F]),
        ("context has on_behalf_of && context.on_behalf_of == context.on_behalf_of", [F, T, T]),
        (
            "context has on_behalf_of && context.on_behalf_of in [User::\"x#y\", User::\"https://i#anna\"]",
            [F, T, T],
        ),
        ("context has on_behalf_of && context.on_behalf_of in User::\"https://i#anna\"", [F, T, T]),
        ("context has on_behalf_of && context.on_behalf_of in [User::\"x#y\"]", [F, F, F]),
        ("context has on_behalf_of && context.on_behalf_of in UserGroup::\"all\"", [F, F, F]),
        ("context has on_behalf_of && context.on_behalf_of.issuer == \"https://i\"", [F, T, T]),
        ("context has on_behalf_of && context.on_behalf_of.subject == \"anna\"", [F, T, T]),
        ("context has on_behalf_of.email && context.on_behalf_of.email == \"a@example.com\"", [F, F, T]),
        ("!(context has on_behalf_of)", [T, F, F]),
    ] {
        let found = [
            comes_to(condition, |_| {}),
            comes_to(condition, anna(None)),
            comes_to(condition, anna(Some("a@example.com"))),
        ];
        assert_eq!(found, expected, "{condition}");
    }
    // The groups of his token, by ours and as Cedar's own evaluator sees them.
    let in_group = "context has on_behalf_of && context.on_behalf_of in UserGroup::\"https://i#staff\"";
    let by_cedar = "context has on_behalf_of && {in_it: context.on_behalf_of in UserGroup::\"https://i#staff\"} == {in_it: true}";
    for (group, expected) in [("staff", T), ("others", F)] {
        let grouped = |facts: &mut Facts| {
            anna(None)(facts);
            facts.user = facts.user.take().map(|user| User { groups: [group.into()].into(), ..user });
        };
        assert_eq!([in_group, by_cedar].map(|one| comes_to(one, grouped)), [expected; 2], "{group}");
    }
}

#[test]
fn an_approval() {
    let email = "context has approval.by.email && context.approval.by.email like \"*@example.com\"";
    let approved = |email: Option<&'static str>| {
        move |facts: &mut Facts| {
            let by = User {
                issuer: "https://i".into(),
                subject: "b0".into(),
                email: email.map(Into::into),
                groups: std::sync::Arc::default(),
            };
            facts.approvals = vec![Approval { role: "boss".into(), by, at: UnixMillis(1_790_000_000_000) }];
        }
    };
    for (condition, none, without, with) in [
        ("context has approval", F, T, T),
        ("context has approval.role && context.approval.role == \"boss\"", F, T, T),
        ("context has approval && context.approval.role == \"owner\"", F, F, F),
        ("context has approval && context.approval.by == User::\"https://i#b0\"", F, T, T),
        ("context has approval && context.approval.by == User::\"https://i#b1\"", F, F, F),
        ("context has approval && context.approval.by.issuer == \"https://i\"", F, T, T),
        ("context has approval && context.approval.by.subject == \"b0\"", F, T, T),
        ("context has approval && context.approval.by has email", F, F, T),
        ("context has approval && context.approval.by in UserGroup::\"g\"", F, F, F),
        (
            "context has approval && context.now.durationSince(context.approval.at) == duration(\"500ms\")",
            F,
            T,
            T,
        ),
        ("context has approval && context.approval == context.approval", F, T, T),
        (email, F, F, T),
    ] {
        let found = [
            comes_to(condition, |_| {}),
            comes_to(condition, approved(None)),
            comes_to(condition, approved(Some("a@example.com"))),
        ];
        assert_eq!(found, [none, without, with], "{condition}");
    }
    // Who acts and who approves, as Cedar's own evaluator sees them: two, or one where it is so all the same.
    let by_cedar = "context has approval && {by: context.approval.by.subject} == {by: \"b0\"}";
    for subject in ["anna", "b0"] {
        let acts = |facts: &mut Facts| {
            approved(None)(facts);
            facts.user =
                facts.approvals.first().map(|one| User { subject: subject.into(), ..one.by.clone() });
        };
        assert_eq!(comes_to(by_cedar, acts), T, "{subject}");
    }
}

#[test]
fn what_a_context_has() {
    each(
        |_| {},
        &[
            ("context has method && context.chain.depth == 1", T),
            ("context has chain && context.chain.depth == 1", T),
            ("context has chain.depth && context.chain.depth == 1", T),
            ("context has approval", F),
            ("context has approval && context.approval.role == \"boss\"", F),
            ("context has source_ip", F),
            ("context has instance", F),
            ("context has instance.name", F),
            ("context has args && context.chain.depth == 1", T),
            ("context.args == Arguments::\"call\"", T),
            ("context.args == Arguments::\"other\"", F),
            ("context.numbers == Numbers::\"call\"", T),
            ("context.numbers == Numbers::\"other\"", F),
            ("context has limits && context.chain.depth == 1", T),
            ("context.limits == Limits::\"call\"", T),
            ("context.limits == Limits::\"other\"", F),
            ("context.limits.hasTag(\"a/p/x\")", F),
            ("context.args == context.args", T),
        ],
    );
}

/// Which copy calls.
#[test]
fn copies() {
    let pod = Instance {
        id: "6d1f".into(),
        kind: InstanceKind::Pod,
        name: Some("finance/bot-0".into()),
        node: None,
    };
    each(
        |facts: &mut Facts| facts.instance = Some(pod.clone()),
        &[
            ("context has instance", T),
            ("context has instance && context.instance.id == \"6d1f\"", T),
            ("context has instance && context.instance.id == \"6d20\"", F),
            ("context has instance && context.instance.kind == \"pod\"", T),
            ("context has instance.name && context.instance.name like \"finance/*\"", T),
            ("context has instance.node", F),
            ("context has instance && context.instance has node", F),
            // By Cedar itself.
            ("context has instance && {of: context.instance.id} == {of: \"6d1f\"}", T),
        ],
    );
}

#[test]
fn addresses() {
    for (address, condition, expected) in [
        ("10.0.0.0", "isInRange(ip(\"10.0.0.0/8\"))", T),
        ("10.255.255.255", "isInRange(ip(\"10.0.0.0/8\"))", T),
        ("9.255.255.255", "isInRange(ip(\"10.0.0.0/8\"))", F),
        ("11.0.0.0", "isInRange(ip(\"10.0.0.0/8\"))", F),
        ("255.255.255.255", "isInRange(ip(\"0.0.0.0/0\"))", T),
        ("10.0.0.1", "isInRange(ip(\"10.0.0.1\"))", T),
        ("10.0.0.1", "isInRange(ip(\"10.0.0.1/32\"))", T),
        ("10.0.0.2", "isInRange(ip(\"10.0.0.1/32\"))", F),
        ("::1", "isInRange(ip(\"::/0\"))", T),
        ("2001:db8:ffff::", "isInRange(ip(\"2001:db8::/32\"))", T),
        ("2001:db9::", "isInRange(ip(\"2001:db8::/32\"))", F),
        ("2001:db8::1", "isInRange(ip(\"2001:db8::1/128\"))", T),
        ("2001:db8::2", "isInRange(ip(\"2001:db8::1/128\"))", F),
        // Never across the two.
        ("10.0.0.1", "isInRange(ip(\"::/0\"))", F),
        ("::1", "isInRange(ip(\"0.0.0.0/0\"))", F),
        // But IPv4 in IPv6 is IPv4.
        ("::ffff:10.0.0.1", "isInRange(ip(\"10.0.0.0/8\"))", T),
        ("::ffff:10.0.0.1", "isIpv4()", T),
        ("10.0.0.1", "isIpv4()", T),
        ("10.0.0.1", "isIpv6()", F),
        ("::1", "isIpv4()", F),
        ("::1", "isIpv6()", T),
        ("127.0.0.0", "isLoopback()", T),
        ("127.255.255.255", "isLoopback()", T),
        ("126.255.255.255", "isLoopback()", F),
        ("128.0.0.0", "isLoopback()", F),
        ("::1", "isLoopback()", T),
        ("::2", "isLoopback()", F),
        ("224.0.0.0", "isMulticast()", T),
        ("239.255.255.255", "isMulticast()", T),
        ("223.255.255.255", "isMulticast()", F),
        ("240.0.0.0", "isMulticast()", F),
        ("ff00::", "isMulticast()", T),
        ("feff::", "isMulticast()", F),
    ] {
        let condition = format!("context has source_ip && context.source_ip.{condition}");
        let from = |facts: &mut Facts| facts.source_ip = Some(address.parse::<IpAddr>().unwrap());
        assert_eq!(comes_to(&condition, from), expected, "{condition} from {address}");
        assert_eq!(comes_to(&condition, |_| {}), F, "{condition} from nowhere");
    }
    let from = |facts: &mut Facts| facts.source_ip = Some("::ffff:10.0.0.1".parse::<IpAddr>().unwrap());
    each(
        from,
        &[
            ("context has source_ip", T),
            ("context has source_ip && context.source_ip == ip(\"10.0.0.1\")", T),
            ("context has source_ip && context.source_ip == ip(\"10.0.0.1/32\")", T),
            ("context has source_ip && context.source_ip == ip(\"10.0.0.1/31\")", F),
            ("context has source_ip && context.source_ip == ip(\"10.0.0.2\")", F),
        ],
    );
    // A range is what all of its addresses are. Which range it is depends on the call, or it would be known before.
    for (inside, beyond, is) in [
        ("10.1.0.0/16", "8.0.0.0/7", "isInRange(ip(\"10.0.0.0/8\"))"),
        ("10.0.0.0/8", "10.0.0.0/7", "isInRange(ip(\"10.0.0.0/8\"))"),
        ("127.0.0.0/8", "127.0.0.0/7", "isLoopback()"),
        ("::1/128", "::1/127", "isLoopback()"),
        ("224.0.0.0/4", "224.0.0.0/3", "isMulticast()"),
        ("ff00::/8", "ff00::/7", "isMulticast()"),
    ] {
        let condition =
            format!(r#"(if context.chain.depth == 1 then ip("{inside}") else ip("{beyond}")).{is}"#);
        assert_eq!([1, 2].map(|at| comes_to(&condition, depth(at))), [T, F], "{condition}");
    }
}

#[test]
fn models_have_an_estimate_and_may_stream() {
    let models: [(&str, &[&str]); 1] = [("big", &[])];
    let comes_to = |condition: &str| {
        let permit =
            format!(r#"permit (principal, action == Action::"callModel", resource) when {{ {condition} }};"#);
        let provider = vidimus_core::resource::Object::LlmProvider(provider("p", "llm", &models).into());
        let world = snapshot(objects(vec![agent("a", "x")], vec![], vec![cluster(&permit), provider]));
        let target = Target::Model { provider: world.llm_provider("p/llm").unwrap(), name: "big" };
        Facts::of(&world, "a/x").ask(Action::CallModel, target, |call| {
            let ask = Ask { tokens_estimated: 100, streaming: true, ..call.ask };
            world.authorize(&Call { ask, ..*call }).code().is_none()
        })
    };
    for (condition, holds) in [
        ("context.tokens_estimated <= 100", true),
        ("context.tokens_estimated < 100", false),
        ("context.streaming", true),
        ("!context.streaming", false),
        ("context has tokens_estimated && context.streaming", true),
    ] {
        assert_eq!(comes_to(condition), holds, "{condition}");
    }
}

/// Whether some arguments could be allowed, where they are not known: by a permit with this condition, and in spite of a forbid with
/// it. `a` stands for what depends on the arguments, `t`, `f` and `e` for what holds, does not, and fails whatever they are.
#[test]
fn what_some_arguments_could_lead_to() {
    for (condition, permitted, not_forbidden) in [
        ("t", true, false),
        ("f", false, true),
        ("e", false, false),
        ("a", true, true),
        ("a && t", true, true),
        ("a && f", false, true),
        ("a && e", false, true),
        ("t && a", true, true),
        ("f && a", false, true),
        ("e && a", false, false),
        ("a || t", true, false),
        ("a || f", true, true),
        ("a || e", true, false),
        ("t || a", true, false),
        ("f || a", true, true),
        ("e || a", false, false),
        ("!a", true, true),
        ("!(a && f)", true, false),
        ("!(a || t)", false, true),
        ("!(a || e)", false, true),
        ("!(a && e)", true, false),
        ("(a && f) || (a && f)", false, true),
        ("(a || t) && (a || t)", true, false),
        ("(a && f) && e", false, true),
        ("(a || t) || e", true, false),
        ("(a || t) && e", false, false),
        ("if a then t else f", true, true),
        ("if a then t else t", true, false),
        ("if a then f else f", false, true),
        ("if a then t else e", true, false),
        ("if a then e else t", true, false),
        ("if a then f else e", false, true),
        ("if a then e else f", false, true),
        ("if a then e else e", false, false),
        ("if t then a else f", true, true),
        ("if f then a else f", false, true),
        ("if f then t else a", true, true),
        ("if t then f else a", false, true),
        ("if e then a else a", false, false),
        ("if a && f then t else f", false, true),
        ("if a || t then f else t", false, true),
        // What is compared, tested or matched depends on the arguments as well.
        ("a && context.args.getTag(\"/a\") == \"x\"", true, true),
        ("a && context.args.getTag(\"/a\") like \"x*\"", true, true),
        ("a && [\"x\", context.args.getTag(\"/a\")].contains(\"y\")", true, true),
        ("b && context.numbers.getTag(\"/b\") > 5", true, true),
        ("b && -context.numbers.getTag(\"/b\") > 5", true, true),
        // Left to Cedar.
        ("a && {d: context.args.getTag(\"/a\")} == {d: \"x\"}", true, true),
        ("{d: context.chain.depth} == {d: 1}", true, false),
        ("{d: context.chain.depth} == {d: 2}", false, true),
    ] {
        let written: String = condition
            .split_inclusive(|c: char| !c.is_alphanumeric())
            .map(|word| {
                let name = word.trim_end_matches(|c: char| !c.is_alphanumeric());
                let rest = &word[name.len()..];
                match name {
                    "t" => format!("(context.delegation_depth == 1){rest}"),
                    "f" if rest != ":" => format!("(context.delegation_depth == 2){rest}"),
                    "e" => format!("(context.delegation_depth + 9223372036854775807 > 0){rest}"),
                    "a" if rest != "\"" => format!("context.args.hasTag(\"/a\"){rest}"),
                    "b" if rest != "\"" => format!("context.numbers.hasTag(\"/b\"){rest}"),
                    _ => word.to_owned(),
                }
            })
            .collect();
        let scope = "(principal, action == Action::\"invokeTool\", resource)";
        let permit = format!("permit {scope} when {{ {written} }};");
        let forbid = format!("permit {scope}; forbid {scope} when {{ {written} }};");
        for (policies, possible) in [(permit, permitted), (forbid, not_forbidden)] {
            let world =
                snapshot(objects(vec![agent("a", "x")], vec![server("a", "s")], vec![cluster(&policies)]));
            let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "t" };
            let facts = Facts::of(&world, "a/x");
            let could = facts.ask(Action::InvokeTool, target, |call| {
                let ask = Ask { arguments: Arguments::Unknown, ..call.ask };
                world.could_allow(&Call { ask, ..*call })
            });
            assert_eq!(could, possible, "{condition}: {policies}");
            // Who may use a tool may connect to its server, and nobody else.
            let target = Target::Server(world.mcp_server("a/s").unwrap());
            let connects = facts.authorize(&world, Action::ConnectServer, target);
            assert_eq!(connects.allowed(), possible, "{condition}: {policies}");
        }
    }
}
