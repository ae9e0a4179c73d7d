//! The report for people: one page that needs nothing else, runs nothing, and prints.
//!
//! Much in it was chosen by agents and their callers. All text goes through [`text`]: nothing is markup that is not written here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_xml::escape::escape;
use vidimus_core::act::LastRun;

use super::{Assessment, Control, Counts, Sample, Together};
use crate::audit::logs::Away;
use crate::printable;

/// How it looks. There are no scripts and no links out, and a browser is told to allow none.
const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff }
h1 { font-size: 1.7rem; margin-bottom: 0 } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid #bbb }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 } th, td { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #e4e4e4 }
td, dd, pre, code { overflow-wrap: anywhere } th { font-weight: 600 } td.n { text-align: right; font-variant-numeric: tabular-nums }
pre, code { font: 12px/1.45 ui-monospace, monospace } pre { white-space: pre-wrap; background: #f5f5f5; padding: .6rem }
.lacks { border-left: 4px solid #a86500; padding-left: .8rem } .wrong { border-left: 4px solid #b00020; padding-left: .8rem }
.good { border-left: 4px solid #1b6e3c; padding-left: .8rem }
@media print { body { margin: 0; max-width: none; font-size: 10pt } h2, h3 { break-after: avoid } tr, pre { break-inside: avoid } a { color: inherit; text-decoration: none } }
@page { margin: 18mm }
</style>
"#;

/// Text of anybody, as text.
fn text(text: &str) -> Cow<'_, str> {
    match printable(text) {
        Cow::Borrowed(text) => escape(text),
        Cow::Owned(text) => Cow::Owned(escape(text.as_str()).into_owned()),
    }
}

/// The page. The same assessment makes the same bytes.
pub fn html(assessment: &Assessment) -> String {
    let mut page = String::from(HEAD);
    // Writing to a string does not fail.
    let _ = write_page(&mut page, assessment);
    page
}

fn write_page(page: &mut String, it: &Assessment) -> fmt::Result {
    let title = text(&it.title);
    let (from, to) = (text(&it.from), text(&it.to));
    writeln!(page, "<title>{title}: evidence from {from} to {to}</title>\n</head>\n<body>")?;
    writeln!(
        page,
        "<h1>{title}: what the record shows</h1>\n<p>From {from} until before {to}. {}.</p>",
        text(&it.source)
    )?;
    let (by, at) = (text(&it.made.by), text(&it.made.at));
    writeln!(page, "<p>Made by {by} at {at}, as they say, from the log {}.</p>", text(&it.log.name))?;
    verdict(page, it)?;
    log(page, it)?;
    counts(page, &it.counts)?;
    gaps(page, it)?;
    writeln!(page, "<h2>What is not covered, of any control</h2>\n<ul class=\"lacks\">")?;
    for lack in &it.lacks {
        writeln!(page, "<li>{}</li>", text(lack))?;
    }
    writeln!(page, "</ul>")?;
    let samples: BTreeMap<u64, &Sample> = it.samples.iter().map(|sample| (sample.index, sample)).collect();
    for one in &it.controls {
        control(page, it, one, &samples)?;
    }
    proofs(page, it)?;
    writeln!(page, "</body>\n</html>")
}

/// The page of several logs added up. The same assessments make the same bytes.
pub fn overview(together: &Together) -> String {
    let mut page = String::from(HEAD);
    // Writing to a string does not fail.
    let _ = write_overview(&mut page, together);
    page
}

fn write_overview(page: &mut String, it: &Together) -> fmt::Result {
    let title = text(&it.title);
    let (from, to) = (text(&it.from), text(&it.to));
    writeln!(page, "<title>{title}: evidence of several logs from {from} to {to}</title>\n</head>\n<body>")?;
    writeln!(page, "<h1>{title}: what {} logs show together</h1>", it.logs.len())?;
    writeln!(page, "<p>From {from} until before {to}. {}.</p>", text(&it.source))?;
    if let Some(made) = &it.made {
        writeln!(page, "<p>Made by {} at {}, as they say.</p>", text(&made.by), text(&made.at))?;
    }
    writeln!(
        page,
        "<p class=\"lacks\">This page adds up and proves nothing: the report of each log proves its samples. A log that was left out is in no sum.</p>"
    )?;
    if !it.findings.is_empty() {
        writeln!(page, "<div class=\"wrong\"><p><strong>Something is wrong.</strong></p>\n<ul>")?;
        for finding in &it.findings {
            writeln!(page, "<li>{}</li>", text(finding))?;
        }
        writeln!(page, "</ul></div>")?;
    }
    writeln!(
        page,
        "<h2>The logs</h2>\n<table>\n<tr><th>Log</th><th>Report</th><th>Records</th><th>Proven</th><th>Gaps</th></tr>"
    )?;
    for log in &it.logs {
        let gaps = &log.gaps;
        let mut told = format!("{} not read, {} not signed for yet", gaps.damaged, gaps.younger);
        told.extend(gaps.pruned.iter().map(|pruned| format!(", {pruned}")));
        told.push_str(if log.copy { "; a copy, counted once" } else { "" });
        let (name, file) = (text(&log.log), text(log.file.as_deref().unwrap_or("none")));
        let (records, proven, told) = (log.records, log.proven, text(&told));
        writeln!(
            page,
            "<tr><td>{name}</td><td>{file}</td><td class=\"n\">{records}</td><td class=\"n\">{proven}</td><td>{told}</td></tr>"
        )?;
    }
    writeln!(page, "</table>")?;
    counts(page, &it.counts)?;
    writeln!(page, "<h2>What is not covered, of any control</h2>\n<ul class=\"lacks\">")?;
    for lack in &it.lacks {
        writeln!(page, "<li>{}</li>", text(lack))?;
    }
    writeln!(page, "</ul>")?;
    for one in &it.controls {
        writeln!(
            page,
            "<section>\n<h2>{} {}</h2>\n<p>{}</p>",
            text(&one.id),
            text(&one.name),
            text(&one.asks)
        )?;
        writeln!(page, "<table>\n<tr><th scope=\"col\">Evidence</th><th scope=\"col\">Records</th></tr>")?;
        for kind in one.evidence.iter().filter_map(|name| it.evidence.get(name)) {
            writeln!(page, "<tr><td>{}</td><td class=\"n\">{}</td></tr>", text(&kind.says), kind.count)?;
        }
        writeln!(
            page,
            "</table>\n<p class=\"lacks\"><strong>Not covered:</strong> {}</p>\n</section>",
            text(&one.lacks)
        )?;
    }
    writeln!(page, "</body>\n</html>")
}

fn verdict(page: &mut String, it: &Assessment) -> fmt::Result {
    if !it.sound {
        writeln!(
            page,
            "<div class=\"wrong\"><p><strong>Something is wrong with the log: this is no evidence until that is explained.</strong></p>\n<ul>"
        )?;
        for finding in &it.findings {
            writeln!(page, "<li>{}</li>", text(finding))?;
        }
        return writeln!(page, "</ul></div>");
    }
    if it.log.records == 0 {
        return writeln!(
            page,
            "<p class=\"wrong\"><strong>The window has no records: nothing is shown, nor that nothing happened.</strong></p>"
        );
    }
    if it.gaps.younger > 0 {
        return writeln!(
            page,
            "<p class=\"wrong\"><strong>{} records of the window are not signed for yet.</strong> Make the report again when they are.</p>",
            it.gaps.younger
        );
    }
    if let Some(pruned) = &it.gaps.pruned {
        return writeln!(
            page,
            "<p class=\"wrong\"><strong>All {} records that are there are proven to be in the log as it was signed, and others of the window may have been \
             pruned.</strong> {}</p>",
            it.log.records,
            text(pruned)
        );
    }
    writeln!(
        page,
        "<p class=\"good\"><strong>All {} records of the window are proven to be in the log as it was signed.</strong></p>",
        it.log.records
    )
}

fn row(page: &mut String, name: &str, value: &dyn fmt::Display) -> fmt::Result {
    writeln!(page, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", text(&value.to_string()))
}

fn log(page: &mut String, it: &Assessment) -> fmt::Result {
    let log = &it.log;
    writeln!(page, "<h2>The log</h2>\n<table>")?;
    row(page, "Public key", &log.key)?;
    let by = if log.key_given {
        "given by who made this"
    } else {
        "the log's own: that it is the right one is to be checked"
    };
    row(page, "That key is", &by)?;
    row(page, "Checkpoint", &format!("of {} records, signed", log.size))?;
    let witnesses = if log.witnesses.is_empty() { "none".to_owned() } else { log.witnesses.join(", ") };
    row(page, "Witnesses on it, as they say", &witnesses)?;
    if let (Some(first), Some(last)) = (log.first, log.last) {
        row(page, "Records of the window", &format!("{}, {first} to {last}", log.records))?;
    }
    row(page, "Proven to the checkpoint", &log.proven)?;
    writeln!(page, "</table>\n<pre>{}</pre>", note(&log.checkpoint))?;
    writeln!(
        page,
        "<p>This report proves its samples, each by itself. The whole log is checked by <code>vidimus audit verify --data DATA --key KEY</code>, the records of the \
         window by <code>vidimus audit export --since {} --until {} --out FILE</code> and <code>vidimus audit verify FILE --key KEY</code>, or by docs/verify-evidence.py without Vidimus.</p>",
        text(&it.from),
        text(&it.to)
    )
}

/// A text of several lines.
fn note(note: &str) -> String {
    note.lines().map(text).collect::<Vec<_>>().join("\n")
}

fn listed(words: &BTreeMap<String, u64>) -> String {
    let each = words.iter().map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", ");
    let sum: u64 = words.values().sum();
    if each.is_empty() { "0".to_owned() } else { format!("{sum}: {each}") }
}

fn counts(page: &mut String, counts: &Counts) -> fmt::Result {
    writeln!(page, "<h2>What happened</h2>\n<table>")?;
    row(
        page,
        "Permitted",
        &format!("{}, of which {} with something changed", counts.allowed, counts.allowed_with_obligations),
    )?;
    row(page, "Denied by policy", &listed(&counts.denied))?;
    row(page, "Refused before policies were asked", &listed(&counts.refused))?;
    row(page, "Held for a person", &counts.held)?;
    row(page, "Approvals by people", &counts.approved)?;
    row(page, "What came of calls", &listed(&counts.ended))?;
    row(page, "Acts", &listed(&counts.acts))?;
    row(page, "Of these by people", &counts.acts_of_people)?;
    row(page, "Configurations that decided", &counts.configurations)?;
    writeln!(page, "</table>")
}

fn gaps(page: &mut String, it: &Assessment) -> fmt::Result {
    let gaps = &it.gaps;
    writeln!(page, "<h2>Gaps</h2>\n<table>")?;
    row(page, "Places that could not be read", &gaps.damaged)?;
    row(page, "Records that are not proven", &gaps.unproven)?;
    row(page, "Records that are not signed for yet", &gaps.younger)?;
    row(page, "Pruned, and not looked at", &gaps.pruned.as_deref().unwrap_or("nothing of this time"))?;
    row(page, "Records between the first and the last that are of another time", &gaps.elsewhere)?;
    row(page, "Records that stand for many refusals", &gaps.refusals_not_recorded)?;
    row(page, "Permitted calls without an end in the window", &gaps.without_end)?;
    let after = gaps.silence_after.map_or(String::new(), |index| format!(", after record {index}"));
    row(page, "Longest time without a record", &format!("{} s{after}", gaps.longest_silence_s))?;
    for away in &gaps.runs.away {
        row(page, "No gateway was running", &told(away))?;
    }
    if gaps.runs.more_away > 0 {
        row(page, "No gateway was running", &format!("{} shorter times more", gaps.runs.more_away))?;
    }
    row(
        page,
        "Starts on record",
        &format!("{}, {} without a stop before", gaps.runs.starts, gaps.runs.unstopped),
    )?;
    row(page, "Furthest that the clock went back", &format!("{} ms", gaps.clock_back_ms))?;
    writeln!(page, "</table>")
}

/// A time in which no gateway was running, in words.
fn told(away: &Away) -> String {
    let to = away.to.as_deref().unwrap_or("no start on record since");
    match away.found {
        LastRun::Stopped | LastRun::New => format!("not running from {} to {to}", away.from),
        LastRun::Unstopped => format!("ended without a stop after {}; started at {to}", away.from),
        LastRun::Unknown => {
            format!("not known from {} to {to}: by a version that recorded no starts", away.from)
        }
    }
}

fn control(
    page: &mut String,
    it: &Assessment,
    one: &Control,
    samples: &BTreeMap<u64, &Sample>,
) -> fmt::Result {
    writeln!(page, "<section>\n<h2>{} {}</h2>\n<p>{}</p>", text(&one.id), text(&one.name), text(&one.asks))?;
    writeln!(page, "<table>\n<tr><th scope=\"col\">Evidence</th><th scope=\"col\">Records</th></tr>")?;
    let evidence: Vec<_> = one.evidence.iter().filter_map(|name| it.evidence.get(name)).collect();
    for kind in &evidence {
        writeln!(
            page,
            "<tr><td>{}<br><code>{}</code></td><td class=\"n\">{}</td></tr>",
            text(&kind.says),
            text(&kind.query),
            kind.count
        )?;
    }
    writeln!(page, "</table>")?;
    let of_control: std::collections::BTreeSet<u64> =
        evidence.iter().flat_map(|kind| kind.samples.iter().copied()).collect();
    if of_control.is_empty() {
        writeln!(
            page,
            "<p>There is no sample: no record of the window is evidence here, or none was asked for.</p>"
        )?;
    } else {
        writeln!(
            page,
            "<h3>Samples</h3>\n<table>\n<tr><th>Record</th><th>Time</th><th>Who</th><th>What</th><th>Outcome</th><th>Policies</th></tr>"
        )?;
        for sample in of_control.iter().filter_map(|index| samples.get(index)) {
            let Sample { index, time, who, what, outcome, policies, .. } = sample;
            writeln!(
                page,
                "<tr><td><a href=\"#record-{index}\">{index}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                text(time),
                text(who),
                text(what),
                text(outcome),
                text(&policies.join(", "))
            )?;
        }
        writeln!(page, "</table>")?;
    }
    writeln!(page, "<p class=\"lacks\"><strong>Not covered:</strong> {}</p>\n</section>", text(&one.lacks))
}

fn proofs(page: &mut String, it: &Assessment) -> fmt::Result {
    writeln!(
        page,
        "<h2>Samples with their proofs</h2>\n<p>To check one: write what <code>base64 -d</code> makes of its bytes to <code>record.json</code>, and its proof, which ends with a \
         newline, to <code>record.tlog-proof</code>; then <code>vidimus audit prove --record record.json --proof record.tlog-proof --key KEY</code>. \
         <code>vidimus audit show ID --evidence DIR</code> writes both from the log.</p>"
    )?;
    for sample in &it.samples {
        let Sample { index, kind, id, record, .. } = sample;
        writeln!(
            page,
            "<section id=\"record-{index}\">\n<h3>Record {index}: {} {}</h3>",
            text(kind),
            text(id)
        )?;
        writeln!(
            page,
            "<pre>{}</pre>\n<p>Its bytes:</p>\n<pre>{}</pre>",
            text(record),
            STANDARD.encode(record)
        )?;
        match (&sample.proof, &sample.unproven) {
            (Some(proof), _) => writeln!(page, "<p>Its proof:</p>\n<pre>{}</pre>", note(proof))?,
            (None, why) => writeln!(
                page,
                "<p class=\"wrong\">Not proven: {}</p>",
                text(why.as_deref().unwrap_or_default())
            )?,
        }
        writeln!(page, "</section>")?;
    }
    Ok(())
}
