use std::collections::{BTreeMap, BTreeSet};

use std::sync::Arc;

use vidimus_core::resource::limit::Measure;

use super::*;
use crate::protocol::observe::Usage;
use crate::protocol::tests::provider;

/// A call of a tool that took 3 ms, of which 1 ms was the gateway's.
fn ended(protocol: Protocol, trace: Option<u128>) -> Ended {
    let method = method_of(protocol, "tools/call");
    let (duration, own) = (Duration::from_millis(3), Duration::from_millis(1));
    Ended { protocol, method, result: "ok", error: None, duration, own, trace }
}

/// A model of the registry.
fn model() -> OfModel {
    OfModel::of(&provider(), "sim-small", ("chat", &"finance".into())).expect("a model")
}

fn amount(limit: &str, team: Option<&str>, (of, amount): (Measure, i64)) -> Amount {
    Amount { limit: limit.into(), team: team.map(Arc::from), of, amount }
}

/// What came of a call of it.
fn answered() -> Answered {
    let usage = Usage { input: Some(1), output: Some(2), cached: Some(1), ..Usage::default() };
    let pace = Some((Duration::from_millis(3), Some(Duration::from_millis(1))));
    let took = Some(Duration::from_millis(20));
    Answered { usage, spend: 1_250_000, took, error: None, pace, trace: None }
}

/// A meter of which every number was set once.
fn touched() -> Meter {
    let vitals = Vitals::default();
    let meter = Meter::new(&vitals);
    meter.decided(None, Some(Code::NoPermit));
    meter.unrecorded(Code::NoPermit);
    meter.calls().ended(ended(Protocol::Mcp, Some(0xab)));
    meter.calls().ended(ended(Protocol::Llm, None));
    meter.models().answered(&model(), answered());
    meter.headers_dropped(Direction::Request, 1);
    meter.webhook("delivered");
    meter.witness("witness.example/a", "cosigned");
    meter.sinks().records("s", (3, 1));
    meter.sinks().request("s", "failed");
    meter.sinks().retried("s");
    meter.sinks().lag("s", 7, Duration::from_millis(1_500));
    meter.spans().count("stored", 1);
    meter.planes().count("sent", 1);
    meter.would_refuse(Protocol::Mcp);
    meter.limits().refused(&"a/p/calls".into());
    let left = amount("a/p/budget", None, (Measure::Spend, 2_500_000));
    meter.limits().left([amount("a/p/budget", None, (Measure::Spend, 10_000_000))], [left]);
    meter.attempts().asked("a/p", "answered");
    meter.guards().asked("a/p/dlp", "answered");
    meter.pods_unclaimed([("finance", 1)]);
    meter.unfetched_issuers(["https://issuer.example"]);
    meter.source(Duration::ZERO, &SourceState::default());
    vitals.own_spans("sent", 1);
    vitals.restarted("disk");
    meter
}

#[test]
fn every_metric_is_on_the_list_with_its_type_and_its_labels() {
    let text = touched().encoded();
    let mut types = BTreeMap::new();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let listed: BTreeMap<String, &Described> = METRICS.iter().map(|it| (it.full_name(), it)).collect();
    assert_eq!(listed.len(), METRICS.len(), "a name is on the list twice");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            types.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().expect("a name");
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let name = of_histogram.unwrap_or(name);
            // An exemplar is no label.
            let sample = line.split(" # ").next().expect("a sample");
            let inner = sample
                .split_once('{')
                .and_then(|(_, rest)| rest.split_once('}'))
                .map_or("", |(inner, _)| inner);
            let names =
                inner.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned());
            labels.entry(name.to_owned()).or_default().extend(names.filter(|name| name != "le"));
        }
    }
    let exposed: BTreeSet<&String> = labels.keys().collect();
    assert_eq!(exposed, listed.keys().collect::<BTreeSet<_>>(), "{text}");
    for (name, described) in &listed {
        let kind = &types[&described.base_name()];
        assert_eq!(kind, described.kind.as_str(), "{name}");
        let said: BTreeSet<String> = described.labels.iter().map(ToString::to_string).collect();
        assert_eq!(labels[name], said, "{name}");
    }
}

#[test]
fn every_label_is_bounded_and_every_entry_is_one_line() {
    let known: BTreeSet<&str> = LABELS.iter().map(|(name, _)| *name).collect();
    let used: BTreeSet<&str> = METRICS.iter().flat_map(|it| it.labels.iter().copied()).collect();
    assert_eq!(used, known, "each label has its source on the list, and nothing else is there");
    for it in METRICS {
        let said = [it.name, it.unit, it.meaning];
        assert!(said.iter().all(|text| !text.is_empty() && !text.contains(['\n', '\\', '"', '|'])), "{it:?}");
        assert!(!it.name.ends_with("_total") && !it.meaning.ends_with('.'), "{it:?}");
        let in_seconds = it.name.ends_with("_seconds");
        assert_eq!(in_seconds, it.unit == "seconds", "{it:?}");
    }
}

#[test]
fn a_namespace_whose_pods_are_all_claimed_is_not_shown_any_more() {
    let meter = touched();
    meter.pods_unclaimed([("finance", 2), ("ops", 1)]);
    let text = meter.encoded();
    assert!(text.contains("vidimus_pods_unclaimed{namespace=\"finance\"} 2"), "{text}");
    meter.pods_unclaimed([("ops", 1)]);
    let text = meter.encoded();
    assert!(!text.contains("namespace=\"finance\"") && text.contains("namespace=\"ops\"} 1"), "{text}");
}

#[test]
fn a_bucket_has_the_trace_of_its_last_call_and_no_series_of_it() {
    let meter = touched();
    let text = meter.encoded();
    let example = "vidimus_call_duration_seconds_bucket{le=\"0.005\",protocol=\"mcp\"} 1 # {trace_id=\"000000000000000000000000000000ab\"} 0.003";
    assert!(text.contains(example), "{text}");
    assert_eq!(text.matches("{trace_id").count(), 1, "who says that its trace is not kept has none: {text}");
    for id in 0..1_000 {
        meter.calls().ended(ended(Protocol::Mcp, Some(id)));
    }
    let more = meter.encoded();
    assert_eq!(more.lines().count(), text.lines().count(), "{more}");
    assert_eq!(more.matches("{trace_id").count(), 1, "{more}");
}

#[test]
fn calls_of_models_are_measured_by_the_names_of_the_conventions_too() {
    let meter = touched();
    let failed =
        Answered { error: Some("upstream_timeout"), spend: 0, pace: None, trace: Some(0xcd), ..answered() };
    meter.models().answered(&model(), failed);
    let text = meter.encoded();
    let of = r#"gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="sim-small""#;
    for line in [
        r#"vidimus_spend_total{provider="platform/openai",model="sim-small",team="finance"} 1.25"#.to_owned(),
        format!(
            r#"gen_ai_client_token_usage_sum{{{of},gen_ai_token_type="output",provider="platform/openai"}} 4"#
        ),
        format!(
            r#"gen_ai_client_operation_duration_seconds_count{{error_type="",{of},provider="platform/openai"}} 1"#
        ),
        format!(
            r#"gen_ai_client_operation_duration_seconds_bucket{{le="0.02",error_type="upstream_timeout",{of},provider="platform/openai"}} 1 # {{trace_id="000000000000000000000000000000cd"}} 0.02"#
        ),
        format!(r#"gen_ai_server_time_to_first_token_seconds_count{{{of},provider="platform/openai"}} 1"#),
        r#"mcp_server_operation_duration_seconds_count{mcp_method_name="tools/call",error_type=""} 1"#
            .to_owned(),
        r#"vidimus_gateway_duration_seconds_bucket{le="0.0015",protocol="mcp"} 1"#.to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

/// Attack: a server asks its client by a new name each time, and each would be a series.
#[test]
fn a_method_that_nobody_knows_is_no_label() {
    assert_eq!(method_of(Protocol::Mcp, "roots/list"), Some("roots/list"));
    assert_eq!(method_of(Protocol::Mcp, "made/up"), Some("_OTHER"));
    assert_eq!(method_of(Protocol::Rest, "tools/call"), None);
}

#[test]
fn a_limit_is_shown_as_it_counts_and_not_once_it_is_gone() {
    let meter = touched();
    let text = meter.encoded();
    for line in [r#"limit_amount{limit="a/p/budget"} 10.0"#, r#"limit_left{limit="a/p/budget",team=""} 2.5"#]
    {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let left = amount("a/p/calls", Some("t"), (Measure::Requests, -1));
    meter.limits().left([amount("a/p/calls", None, (Measure::Requests, 3))], [left]);
    let text = meter.encoded();
    assert!(text.contains(r#"limit_left{limit="a/p/calls",team="t"} -1.0"#), "{text}");
    assert!(!text.contains("budget"), "{text}");
}
