use std::fs;

use serde_json::json;

use super::*;

const ESTATE: &str = r#"
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot, namespace: a}
spec: {owner: ada.l@example.com, team: t, purpose: p, riskLevel: low, identities: [{oidc: {issuer: "urn:vidimus:local", subject: bot}}], actsFor: [{issuer: "urn:vidimus:local"}]}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {name: bank, namespace: a}
spec: {owner: ada.l@example.com, team: t, riskLevel: low, endpoint: {url: "http://127.0.0.1:1/mcp"}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: small, namespace: a}
spec:
  description: d
  cedar: |
    permit (principal, action == Action::"invokeTool", resource == Tool::"a/bank/transfer")
    when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 100 };
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: office-hours, namespace: a}
spec:
  description: d
  cedar: |
    @reason("come back in the morning")
    forbid (principal, action == Action::"invokeTool", resource)
    when { context.now.toTime() > duration("18h") };
"#;

fn tested(cases: &str) -> TestReport {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a.yaml"), ESTATE).expect("written");
    fs::write(directory.path().join("a.cases.yaml"), cases).expect("written");
    let loaded = vidimus_registry::load(directory.path());
    assert!(loaded.rejections.is_empty(), "{:#?}", loaded.rejections);
    let cases = read(directory.path()).expect("read");
    test(&State::new(loaded, String::new()), cases, UnixMillis(0))
}

fn one(call: &str, expect: &str) -> TestedCase {
    let report = tested(&format!(
        "cases:\n- {{name: x, principal: Agent/a/bot, resource: Tool/a/bank/transfer, {call}, expect: {expect}}}\n"
    ));
    report.cases.into_iter().next().expect("one")
}

#[test]
fn a_case_passes_exactly_where_it_is_decided_as_it_says() {
    use CaseVerdict::{Error, Failed, Passed};
    let small = "args: {amount: 100}";
    for (call, expect, verdict) in [
        (small, "{outcome: allow}", Passed),
        (small, "{outcome: allow, policies: [a/small]}", Passed),
        (small, "{outcome: allow, policies: []}", Failed),
        (small, "{outcome: allow, policies: [a/small, a/other]}", Failed),
        (small, "{outcome: deny}", Failed),
        (small, "{outcome: hold}", Failed),
        (small, "{outcome: allow, code: no_permit}", Failed),
        ("args: '{\"amount\": 1e2}'", "{outcome: allow}", Passed),
        ("args: {amount: 101}", "{outcome: deny, code: no_permit}", Passed),
        ("args: {amount: 101}", "{outcome: deny, code: forbidden_by_policy}", Failed),
        ("depth: 17, args: {amount: 1}", "{outcome: deny, code: delegation_too_deep}", Passed),
        ("user: \"urn:vidimus:local#ada\", args: {amount: 1}", "{outcome: allow}", Passed),
        (
            "user: \"https://other.example#ada\", args: {amount: 1}",
            "{outcome: deny, code: user_not_allowed}",
            Passed,
        ),
        (
            "time: 2026-11-27T18:00:01Z, args: {amount: 1}",
            "{outcome: deny, code: forbidden_by_policy, policies: [a/office-hours]}",
            Passed,
        ),
        ("time: 2026-11-27T17:59:59Z, args: {amount: 1}", "{outcome: allow}", Passed),
        ("action: invokeTool, args: {amount: 1}", "{outcome: allow}", Passed),
        ("action: callModel, args: {amount: 1}", "{outcome: allow}", Error),
        ("args: [1]", "{outcome: allow}", Error),
        ("depth: 0", "{outcome: deny}", Error),
        (small, "{outcome: allowed}", Error),
        (small, "{outcome: deny, code: no_permits}", Error),
    ] {
        let case = one(call, expect);
        assert_eq!(case.verdict, verdict, "{call} {expect}: {case:#?}");
        assert_eq!(case.differences.is_empty(), verdict == Passed, "{case:#?}");
    }
}

#[test]
fn a_failure_says_what_comes_nearest() {
    let said = |call: &str, expect: &str| one(call, expect).nearest.join("\n");
    let closest = said("args: {amount: 101}", "{outcome: allow}");
    assert!(
        closest.contains("a/small") && closest.contains("context.numbers[\"/amount\"] = 101"),
        "{closest}"
    );
    let permitted = said("args: {amount: 1}", "{outcome: deny}");
    assert!(permitted.contains("permitted by a/small"), "{permitted}");
    let renamed = said("args: {amount: 1}", "{outcome: allow, policies: [a/smal]}");
    assert!(renamed.contains("did you mean a/small?"), "{renamed}");
    let late = said("time: 2026-11-27T19:00:00Z, args: {amount: 1}", "{outcome: allow}");
    assert!(late.contains("decided by a/office-hours"), "{late}");
}

#[test]
fn the_counts_and_places_are_those_of_the_cases() {
    let report = tested(
        "cases:\n  - name: a\n    principal: Agent/a/bot\n    resource: Tool/a/bank/x\n    expect: {outcome: deny}\n  - name: b\n    \
         principal: Agent/a/bot\n    resource: Tool/a/bank/x\n    expect: {outcome: allow}\n  - name: c\n    principal: Agent/a/bat\n    \
         resource: Tool/a/bank/x\n    expect: {outcome: deny}\n",
    );
    assert_eq!((report.passed, report.failed, report.errors), (1, 1, 1), "{report:#?}");
    assert_eq!(report.cases.iter().map(|case| case.line).collect::<Vec<_>>(), [2, 6, 10]);
    assert!(!report.holds());
    let xml = junit(&report).expect("XML");
    for part in [
        "<testsuites name=\"vidimus policy test\" tests=\"3\" failures=\"1\" errors=\"1\">",
        "<failure message=\"outcome is deny, not allow\">no policy comes close</failure>",
        "<error message=\"principal Agent/a/bat: ",
    ] {
        assert!(xml.contains(part), "{part}\n{xml}");
    }
}

#[test]
fn xml_has_no_way_out_of_its_text() {
    let mut report = tested(
        "cases:\n- {name: x, principal: Agent/a/bot, resource: Tool/a/bank/x, expect: {outcome: allow}}\n",
    );
    for case in &mut report.cases {
        case.name = "\"><failure/>\u{1b}[31m&\u{ffff}".to_owned();
        case.nearest = vec!["]]></failure><script>".to_owned()];
    }
    let xml = junit(&report).expect("XML");
    assert!(!xml.contains("\u{1b}") && !xml.contains("<script>") && !xml.contains("\"><failure/>"), "{xml}");
    assert_eq!(xml.matches("<failure").count(), 1, "{xml}");
}

#[test]
fn a_file_that_cannot_be_read_is_said_and_nothing_passes() {
    let directory = tempfile::tempdir().expect("a directory");
    for (text, says) in [
        ("cases: [", "line"),
        ("case: []", "unknown field"),
        ("cases: {name: x}", "line"),
        ("apiVersion: vidimus.dev/v1alpha1\nkind: Policy\n", "unknown field"),
    ] {
        fs::write(directory.path().join("x.cases.yaml"), text).expect("written");
        let faults = read(directory.path()).expect_err("refused");
        assert_eq!(faults.len(), 1, "{faults:?}");
        let said = faults.iter().map(ToString::to_string).collect::<String>();
        assert!(said.contains("x.cases.yaml") && said.contains(says), "{text}: {said}");
    }
}

/// One case that says something wrong fails, with its file, its name, the field and the value; the others are asked.
#[test]
fn a_case_that_cannot_be_read_fails_alone() {
    let good = "{name: good, principal: Agent/a/bot, resource: Tool/a/bank/x, expect: {outcome: deny}}";
    for (bad, name, says) in [
        ("{name: x}", "x", "missing field `principal`"),
        (
            "{name: x, principal: bot, resource: Tool/a/b/c, expect: {outcome: deny}}",
            "x",
            "principal \"bot\": write Kind/namespace/name",
        ),
        (
            "{name: x, principal: Agent/a/bot, resource: Tool/a/b/c, depht: 2, expect: {outcome: deny}}",
            "x",
            "unknown field `depht`",
        ),
        (
            "{name: x, principal: Agent/a/bot, resource: Tool/a/b/c, depth: 300, expect: {outcome: deny}}",
            "x",
            "depth 300: ",
        ),
        (
            "{name: x, principal: Agent/a/bot, resource: Tool/a/b/c, time: yesterday, expect: {outcome: deny}}",
            "x",
            "time \"yesterday\": not a time: write RFC 3339 with a time zone, 2026-11-27T09:00:00Z",
        ),
        (
            "{name: x, principal: Agent/a/bot, resource: Tool/a/b/c, time: 2026-11-27T09:00:00, expect: {outcome: deny}}",
            "x",
            "time \"2026-11-27T09:00:00\": a time zone is missing: write 2026-11-27T09:00:00Z, ",
        ),
        (
            "{name: x, principal: Agent/a/bot, resource: Tool/a/b/c, time: 2026-11-27 09:00, expect: {outcome: deny}}",
            "x",
            "time \"2026-11-27 09:00\": a time zone is missing: write 2026-11-27T09:00:00Z, ",
        ),
        (
            "{name: x, principal: Agent/a/bot, resource: Tool/a/b/c, expect: {outcom: deny}}",
            "x",
            "expect {\"outcom\":\"deny\"}: unknown field `outcom`",
        ),
        ("7", "", "a case is a mapping"),
    ] {
        let report = tested(&format!("cases:\n- {good}\n- {bad}\n- {good}\n"));
        assert_eq!((report.passed, report.failed, report.errors), (2, 0, 1), "{bad}: {report:#?}");
        assert!(!report.holds());
        let [first, wrong, last] = &*report.cases else { panic!("{report:#?}") };
        assert_eq!((first.line, wrong.line, last.line), (2, 3, 4));
        assert_eq!((&*wrong.name, &wrong.case), (name, &None));
        assert!(wrong.file.ends_with("a.cases.yaml"));
        assert!(wrong.differences.join("").contains(says), "{bad}: {wrong:#?}");
        let xml = junit(&report).expect("XML");
        assert_eq!((xml.matches("<error").count(), xml.matches("<testcase").count()), (1, 3), "{xml}");
    }
}

/// A plan is tested before it goes live: the digest of a described call is that of the call.
#[test]
fn what_a_plan_permits_is_permitted_in_a_case() {
    let steps = json!({"steps": [{"tool": "a/bank/pay", "arguments": {"to": "acme", "amount": 5}}]});
    let plan = crate::plan::plan(&serde_json::from_value(steps).expect("a plan")).expect("digests");
    let policy = format!(
        "---\napiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: planned, namespace: a}}\nspec:\n  description: d\n  \
         plan: ['{}']\n  cedar: permit (principal, action == Action::\"invokeTool\", resource);\n",
        plan.steps[0].digest
    );
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a.yaml"), format!("{ESTATE}{policy}")).expect("written");
    let loaded = vidimus_registry::load(directory.path());
    assert!(loaded.rejections.is_empty(), "{:#?}", loaded.rejections);
    let case = |args: &str, outcome: &str| {
        format!(
            "- {{name: x, principal: Agent/a/bot, resource: Tool/a/bank/pay, args: {args}, expect: {{outcome: {outcome}}}}}\n"
        )
    };
    let cases =
        [case("{amount: 5.0, to: acme}", "allow"), case("{amount: 6, to: acme}", "deny"), case("{}", "deny")];
    fs::write(directory.path().join("a.cases.yaml"), format!("cases:\n{}", cases.concat())).expect("written");
    let read = read(directory.path()).expect("read");
    let report = test(&State::new(loaded, String::new()), read, UnixMillis(0));
    for case in report.cases {
        assert_eq!(case.verdict, CaseVerdict::Passed, "{case:#?}");
    }
}

/// What is left of a limit is the case's to say.
#[test]
fn a_case_says_what_is_left_of_a_limit() {
    let policy = "---\napiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: limited, namespace: a}\nspec:\n  description: d\n  \
        limits: [{name: calls, requests: 9, window: {fixed: 1h}}]\n  cedar: |\n    permit (principal, action, resource);\n    \
        @limit(\"calls\") forbid (principal, action == Action::\"invokeTool\", resource);\n";
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a.yaml"), format!("{ESTATE}{policy}")).expect("written");
    let loaded = vidimus_registry::load(directory.path());
    assert!(loaded.rejections.is_empty(), "{:#?}", loaded.rejections);
    let case = |limits: &str, expect: &str| {
        format!(
            "- {{name: x, principal: Agent/a/bot, resource: Tool/a/bank/pay, limits: {limits}, expect: {expect}}}\n"
        )
    };
    let cases = [
        "cases:\n".to_owned(),
        case("{}", "{outcome: allow}"),
        case("{a/limited/calls: 0}", "{outcome: allow}"),
        case("{a/limited/calls: -1}", "{outcome: deny, code: limit_exceeded}"),
    ];
    fs::write(directory.path().join("a.cases.yaml"), cases.concat()).expect("written");
    let read = read(directory.path()).expect("read");
    let report = test(&State::new(loaded, String::new()), read, UnixMillis(0));
    assert!(report.holds(), "{report:#?}");
    let counts =
        report.cases.iter().map(|case| case.found.as_ref().map_or(0, |found| found.counts_for.len()));
    assert_eq!(counts.collect::<Vec<_>>(), [1, 1, 0]);
}

/// What guards come to is the case's to say, and which of them look is the policies': one that nothing waits for is in no fact.
#[test]
fn a_case_says_which_guards_find_nothing() {
    let policy = "---\napiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {name: looks, namespace: a}\nspec:\n  description: d\n  \
        guards: [{name: ours, regex: [{kind: host, pattern: 'corp[.]example'}]}]\n  cedar: |\n    permit (principal, action, resource);\n    \
        @guard(\"secrets\") forbid (principal, action == Action::\"invokeTool\", resource) unless { context.guarded.contains(\"secrets\") };\n    \
        @guard(\"ours\") forbid (principal, action == Action::\"invokeTool\", resource) unless { context.guarded.contains(\"a/looks/ours\") };\n";
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a.yaml"), format!("{ESTATE}{policy}")).expect("written");
    let loaded = vidimus_registry::load(directory.path());
    assert!(loaded.rejections.is_empty(), "{:#?}", loaded.rejections);
    let case = |guarded: &str, expect: &str| {
        format!(
            "- {{name: x, principal: Agent/a/bot, resource: Tool/a/bank/pay, guarded: {guarded}, expect: {expect}}}\n"
        )
    };
    let cases = [
        "cases:\n".to_owned(),
        case("[]", "{outcome: deny, code: forbidden_by_policy}"),
        case("[secrets]", "{outcome: deny, code: forbidden_by_policy}"),
        case("[a/looks/ours]", "{outcome: deny, code: forbidden_by_policy}"),
        case("[secrets, a/looks/ours, injection]", "{outcome: allow}"),
    ];
    fs::write(directory.path().join("a.cases.yaml"), cases.concat()).expect("written");
    let read = read(directory.path()).expect("read");
    let state = State::new(loaded, String::new());
    let report = test(&state, read, UnixMillis(0));
    assert!(report.holds(), "{report:#?}");
    let found: Vec<&Explanation> = report.cases.iter().filter_map(|case| case.found.as_ref()).collect();
    let [nothing, secrets, _, all] = &*found else { panic!("{report:#?}") };
    assert!(nothing.not_looked_at.join("").contains("secrets"), "{nothing:#?}");
    let left = secrets.not_looked_at.join("");
    assert!(left.contains("(a/looks/ours)"), "{secrets:#?}");
    assert!(all.not_looked_at.is_empty() && !all.facts.contains_key("guard.injection"), "{all:#?}");
    // What is misspelled would hold for the wrong reason.
    for case in
        [case("[ours]", "{outcome: deny}"), case("[secrets], limits: {a/looks/calls: 1}", "{outcome: deny}")]
    {
        fs::write(directory.path().join("a.cases.yaml"), format!("cases:\n{case}")).expect("written");
        let report = test(&state, super::read(directory.path()).expect("read"), UnixMillis(0));
        assert!(!report.holds(), "{report:#?}");
        let told = format!("{:?}", report.cases);
        assert!(told.contains("is in force"), "{told}");
    }
}
