//! What the gateway counts (docs/metrics.md), read for what is wrong.

use std::collections::BTreeMap;
use std::path::Path;

use super::check;
use super::{Report, word};

/// A receiver that is so far behind, or a checkpoint that is so long without cosignatures, is seen to. Seconds; as the alerts of deploy/prometheus.
const LONG: f64 = 300.0;

/// The text of `/metrics`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metrics<'t>(&'t str);

/// A count for each result.
type Results<'t> = BTreeMap<&'t str, f64>;

impl<'t> Metrics<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self(text)
    }

    /// The value of a metric without labels; `None` where it is not there.
    pub(super) fn value(self, name: &str) -> Option<f64> {
        self.samples(name).next().map(|(_, value)| value)
    }

    /// The labels and values of a metric.
    fn samples(self, name: &str) -> impl Iterator<Item = (&'t str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.split_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels, value.split(' ').next()?.parse().ok()?))
        })
    }

    /// The counts of a metric by its label `result`, for each value of another label.
    fn results(self, name: &str, of: &str) -> BTreeMap<&'t str, Results<'t>> {
        let mut found: BTreeMap<&str, Results<'_>> = BTreeMap::new();
        for (labels, value) in self.samples(name) {
            let (of, result) = (label(labels, of), label(labels, "result"));
            found.entry(of).or_default().insert(result, value);
        }
        found
    }

    /// Says what is wrong by it; `resources` is the directory of them, where the gateway has one.
    pub(super) fn look(self, resources: Option<&Path>, report: &mut Report) {
        self.source(resources, report);
        self.sinks(report);
        self.witnesses(report);
        let webhook = self.results("vidimus_webhooks_total", "none");
        if let Some(webhook) = webhook.get("").filter(|webhook| only(webhook, "failed", "delivered")) {
            let what =
                format!("the webhook has failed {} times, and taken nothing", count(webhook, "failed"));
            report.find(
                check::WEBHOOK_DOWN,
                what,
                "journalctl -u vidimus | grep webhook; is --webhook there, and its secret the same?",
            );
        }
        self.guards(report);
        for (labels, _) in self.samples("vidimus_issuer_keys_failed").filter(|(_, failed)| *failed > 0.0) {
            let what = format!("the keys of issuer {} could not be fetched", label(labels, "issuer"));
            let fix = "journalctl -u vidimus (in a cluster kubectl logs) | grep \"cannot fetch the issuer's keys\" says why: a right at the API server, a CA \
                       (--issuer-ca), or a name that is written otherwise";
            report.find(check::ISSUER_UNREACHABLE, what, fix);
        }
        let would_refuse: f64 = self.samples("vidimus_would_refuse_total").map(|(_, calls)| calls).sum();
        if would_refuse > 0.0 {
            let fix = "vidimus audit search --text would_refuse finds them; permit what is meant before the window of the rollout ends";
            let what = format!("{would_refuse} calls have passed since the start that would be refused");
            report.find(check::WOULD_REFUSE, what, fix);
        }
        for (name, check, what, fix) in [
            (
                "vidimus_panics_total",
                check::PANICKED,
                "threads have panicked since the start",
                "journalctl -u vidimus | grep panicked, and report it",
            ),
            (
                "vidimus_log_lines_lost_total",
                check::LOG_LOST,
                "lines of the log were lost",
                "see who reads standard error, and whether its disk is full",
            ),
        ] {
            if let Some(value) = self.value(name).filter(|value| *value > 0.0) {
                report.find(check, format!("{value} {what}"), fix);
            }
        }
    }

    /// Where the resources come from, and what of them is not in force. A cluster that is not heard is no object, and counted as one that is rejected.
    fn source(self, resources: Option<&Path>, report: &mut Report) {
        let age = self.value("vidimus_source_age_seconds").unwrap_or_default();
        let is_kept = self.value("vidimus_source_kept") == Some(1.0);
        if is_kept || age > LONG {
            let by =
                if is_kept { "it serves by what was kept on disk" } else { "what it heard last is in force" };
            let what = format!("the API server has not been heard for {age:.0} s; {by}");
            let fix = "/readyz says why: see that it answers, and that the gateway may list and watch it (docs/kubernetes.md)";
            report.find(check::SOURCE_AWAY, what, fix);
        }
        let of_source = f64::from(u8::from(is_kept || age > 0.0));
        let rejected = self.value("vidimus_registry_rejected").unwrap_or_default() - of_source;
        if rejected > 0.0 {
            let fix = match resources {
                Some(resources) => format!("vidimus check {} names each, with what to write", word(resources)),
                None => "of a cluster kubectl get vidimus -A names each, and vidimus doctor --cluster what to write; of a directory vidimus check DIR"
                    .to_owned(),
            };
            let what = format!("{rejected} objects are rejected, or in force in part");
            report.find(check::OBJECTS_REJECTED, what, fix);
        }
    }

    fn sinks(self, report: &mut Report) {
        for (sink, requests) in self.results("vidimus_sink_requests_total", "sink") {
            if only(&requests, "failed", "acknowledged") {
                let what =
                    format!("{sink} has failed {} times, and taken nothing", count(&requests, "failed"));
                report.find(
                    check::SINK_DOWN,
                    what,
                    "journalctl -u vidimus | grep sink says why; start the receiver, or correct --sink",
                );
            }
        }
        for (labels, behind) in self.samples("vidimus_sink_lag_seconds").filter(|(_, lag)| *lag > LONG) {
            let what = format!("{} is {behind:.0} s behind", label(labels, "sink"));
            report.find(
                check::SINK_BEHIND,
                what,
                "journalctl -u vidimus | grep sink says why; the receiver is slow, or refuses",
            );
        }
        for (sink, records) in self.results("vidimus_sink_records_total", "sink") {
            let refused = count(&records, "rejected") + count(&records, "stub");
            if refused > 0.0 {
                let what = format!("{sink} has refused {refused} records, or taken stubs of them");
                report.find(
                    check::SINK_REFUSES,
                    what,
                    "raise its limit of a request, or look at its mapping of fields",
                );
            }
        }
    }

    fn guards(self, report: &mut Report) {
        for (guard, results) in self.results("vidimus_guard_requests_total", "guard") {
            if only(&results, "failed", "answered") {
                let failed = count(&results, "failed");
                let what =
                    format!("the webhook of the guard {guard} has failed {failed} times, and never answered");
                let fix = "journalctl -u vidimus | grep guard says why; start what it asks, or correct its url (spec.guards of the policy)";
                report.find(check::GUARD_DOWN, what, fix);
            }
        }
    }

    fn witnesses(self, report: &mut Report) {
        for (witness, results) in self.results("vidimus_witness_requests_total", "witness") {
            let cosigned = count(&results, "cosigned");
            if count(&results, "inconsistent") > 0.0 {
                let fix = "stop the gateway, keep its data and a copy, and compare with a checkpoint from elsewhere (vidimus audit verify)";
                report.find(
                    check::ANOTHER_PAST,
                    format!("{witness} has seen another past of the ledger"),
                    fix,
                );
            } else if count(&results, "refused") > 0.0 && cosigned == 0.0 {
                let fix = "have the key added there that DATA/ledger/keys/checkpoint.vkey has";
                report.find(check::WITNESS_REFUSES, format!("{witness} does not know the log"), fix);
            } else if count(&results, "failed") > 0.0 && cosigned == 0.0 {
                let fix = "journalctl -u vidimus | grep witness says why; ask whoever runs it";
                report.find(
                    check::WITNESS_DOWN,
                    format!("{witness} has cosigned nothing since the start"),
                    fix,
                );
            }
        }
        if let Some(late) = self.value("vidimus_ledger_uncosigned_seconds").filter(|late| *late > LONG) {
            let fix = "journalctl -u vidimus | grep witness names who fails, and why";
            report.find(check::WITNESS_DOWN, format!("too few have cosigned for {late:.0} s"), fix);
        }
    }
}

fn count(results: &Results<'_>, result: &str) -> f64 {
    results.get(result).copied().unwrap_or_default()
}

/// Whether there was this result, and never the other.
fn only(results: &Results<'_>, bad: &str, good: &str) -> bool {
    count(results, bad) > 0.0 && count(results, good) == 0.0
}

/// The value of a label; empty where it is not there.
fn label<'l>(labels: &'l str, name: &str) -> &'l str {
    let value = labels.split("\",").find_map(|label| label.strip_prefix(name)?.strip_prefix("=\""));
    value.unwrap_or_default().trim_end_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes that a text of metrics leads to.
    fn found(text: &str) -> Vec<&'static str> {
        let mut report = Report::default();
        Metrics::new(text).look(None, &mut report);
        report.findings.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn what_others_do_not_take_is_found() {
        for (text, codes) in [
            ("", &[][..]),
            ("# HELP vidimus_panics_total x\nvidimus_panics_total 0\nvidimus_registry_rejected 0", &[]),
            ("vidimus_panics_total 1", &["panicked"]),
            (r#"vidimus_issuer_keys_failed{issuer="https://a"} 1"#, &["issuer_unreachable"]),
            (
                "vidimus_would_refuse_total{protocol=\"mcp\"} 2\nvidimus_would_refuse_total{protocol=\"a2a\"} 1",
                &["would_refuse"],
            ),
            ("vidimus_log_lines_lost_total 3", &["log_lost"]),
            ("vidimus_registry_rejected 1", &["objects_rejected"]),
            ("vidimus_registry_rejected 1\nvidimus_source_age_seconds 2.5", &[]),
            ("vidimus_registry_rejected 1\nvidimus_source_age_seconds 900", &["source_away"]),
            ("vidimus_registry_rejected 1\nvidimus_source_kept 1", &["source_away"]),
            ("vidimus_registry_rejected 2\nvidimus_source_kept 1", &["source_away", "objects_rejected"]),
            (r#"vidimus_sink_requests_total{sink="otlp+http://a:1",result="failed"} 2"#, &["sink_down"]),
            (
                "vidimus_sink_requests_total{sink=\"a\",result=\"failed\"} 2\nvidimus_sink_requests_total{sink=\"a\",result=\"acknowledged\"} 1",
                &[],
            ),
            (
                "vidimus_sink_requests_total{sink=\"a\",result=\"acknowledged\"} 2\nvidimus_sink_requests_total{result=\"failed\",sink=\"b\"} 1",
                &["sink_down"],
            ),
            (r#"vidimus_sink_lag_seconds{sink="a"} 301.5"#, &["sink_behind"]),
            (r#"vidimus_sink_lag_seconds{sink="a"} 3"#, &[]),
            (r#"vidimus_sink_records_total{sink="a",result="stub"} 1"#, &["sink_refuses"]),
            (r#"vidimus_witness_requests_total{witness="w",result="failed"} 1"#, &["witness_down"]),
            (r#"vidimus_witness_requests_total{witness="w",result="refused"} 1"#, &["witness_refuses"]),
            (r#"vidimus_witness_requests_total{witness="w",result="inconsistent"} 1"#, &["another_past"]),
            (
                "vidimus_witness_requests_total{witness=\"w\",result=\"failed\"} 1\nvidimus_witness_requests_total{witness=\"w\",result=\"cosigned\"} 1",
                &[],
            ),
            ("vidimus_ledger_uncosigned_seconds 900.25", &["witness_down"]),
            (r#"vidimus_webhooks_total{result="failed"} 1"#, &["webhook_down"]),
            (r#"vidimus_guard_requests_total{guard="a/p/dlp",result="failed"} 3"#, &["guard_down"]),
            (
                "vidimus_guard_requests_total{guard=\"a\",result=\"failed\"} 2\nvidimus_guard_requests_total{guard=\"a\",result=\"answered\"} 1",
                &[],
            ),
        ] {
            assert_eq!(found(text), codes, "{text}");
        }
    }

    #[test]
    fn what_is_rejected_is_looked_for_where_it_is_registered() {
        let fix = |resources: Option<&str>| {
            let mut report = Report::default();
            Metrics::new("vidimus_registry_rejected 1").look(resources.map(Path::new), &mut report);
            report.findings.remove(0).fix
        };
        assert!(fix(Some("/etc/x")).starts_with("vidimus check /etc/x "));
        assert!(
            fix(None).contains("kubectl get vidimus -A") && fix(None).contains("vidimus doctor --cluster")
        );
    }

    #[test]
    fn a_label_is_read_by_its_name() {
        let labels = r#"sink="otlp+https://a:4318",result="sent""#;
        assert_eq!(
            (label(labels, "sink"), label(labels, "result"), label(labels, "in")),
            ("otlp+https://a:4318", "sent", "")
        );
        assert_eq!(
            Metrics::new("a_total{x=\"1\"} 2 # {trace_id=\"0\"} 1").samples("a_total").next(),
            Some(("x=\"1\"", 2.0))
        );
        assert_eq!(Metrics::new("a_total_b 2").value("a_total"), None);
    }
}
