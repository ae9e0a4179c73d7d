//! `vidimus trace`: calls and the spans of agents as one tree. Works beside a running gateway and without one.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use vidimus_query::audit::Lookup;
use vidimus_query::trace::{self, Claims, Node, Place, ShownTrace, TraceQuestion};

use super::{audit, data_directory, serve};
use crate::output::{self, Format, printable};

/// How many characters show when something was.
const BAR: usize = 20;
/// From so deep on nothing is indented any more.
const DEEPEST: usize = 12;
/// The most characters of a name that somebody chose.
const LONGEST: usize = 72;

/// Shows what led to what: the calls of a trace with what was decided, and the spans that agents sent of themselves.
///
/// A call is on record. A span is what an agent says (`says`); who sent it is proven, and nothing else of it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus trace show 4bf92f3577b34da6a3ce929d0e0e4736 # a W3C trace
  vidimus trace show --data DIR CALL # the trace of a call, or of a transaction
  vidimus trace show --data DIR CALL -o json # with all attributes
  vidimus trace show --data A --data B CALL # over two gateways")]
pub struct Trace {
    /// The data directory, the same as of `vidimus serve`. May be given several times, all before the subcommand or all behind it: what each gateway has
    /// is shown as one tree.
    #[arg(long, env = "VIDIMUS_DATA", global = true, default_value = "vidimus-data")]
    data: Vec<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Show),
}

/// Shows one trace, or those of a transaction, as a tree over time.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus trace show 4bf92f3577b34da6a3ce929d0e0e4736
  vidimus trace show 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10 -o json

Exit codes: 0 shown, 1 something is damaged and what could be read was shown,
2 not shown")]
pub struct Show {
    /// A trace id, the id of a call (header vidimus-call of its answer), or that of a transaction.
    id: String,
}

pub fn run(trace: &Trace, format: Format) -> anyhow::Result<ExitCode> {
    let Command::Show(show) = &trace.command;
    anyhow::ensure!(
        audit::has_all("--data", trace.data.len()),
        "--data: give all of them behind the subcommand, or all before it"
    );
    let mut gateways: Vec<(PathBuf, Box<dyn Lookup>, PathBuf)> = Vec::new();
    for data in &trace.data {
        let ledger = data_directory::ledger(data)?;
        // By whatever path it was named before.
        let place = ledger.canonicalize().unwrap_or_else(|_| ledger.clone());
        if gateways.iter().all(|(known, ..)| *known != place) {
            let lookup = audit::lookup(&ledger, Some(&vidimus_readmodel::directory(data)));
            gateways.push((place, lookup, serve::traces::directory(data)));
        }
    }
    let places: Vec<Place<'_>> =
        gateways.iter().map(|(_, ledger, spans)| Place { ledger: &**ledger, spans }).collect();
    let shown = trace::show_by(&places, &TraceQuestion { id: show.id.clone() })?;
    for damage in &shown.damage {
        output::warning(damage);
    }
    anyhow::ensure!(
        !shown.nodes.is_empty(),
        "no call and no span of a trace, a call or a transaction {} in {}",
        show.id,
        trace.data.iter().map(|data| data.display().to_string()).collect::<Vec<_>>().join(", ")
    );
    match format {
        Format::Json => output::json(&shown)?,
        Format::Table => print(&shown),
    }
    Ok(ExitCode::from(u8::from(!shown.damage.is_empty())))
}

fn print(shown: &ShownTrace) {
    let (from, until) = span_of(&shown.nodes);
    let calls = shown.nodes.iter().filter(|node| node.call.is_some()).count();
    let begins = Timestamp::from_microsecond(from).map(|time| time.to_string()).unwrap_or_default();
    output::line(&format!(
        "trace {}: {}, {}, {} from {}",
        shown.traces.join(", "),
        number(calls, "call"),
        number(shown.nodes.len() - calls, "span"),
        time(until.abs_diff(from)),
        output::when(&begins, None),
    ));
    let headers = ["WHEN", "TOOK", "WHAT", "WHO", "OUTCOME", "ABOUT", "SAYS"];
    let mut table = output::table(&headers, &[0, 1, 4], output::width());
    for node in &shown.nodes {
        table.add_row([
            output::cell(&bar(node, (from, until))),
            output::cell(&node.took_us.map(time).unwrap_or_default()),
            output::cell(&what(node)),
            output::cell(&who(node)),
            outcome(node),
            output::cell(&about(node)),
            output::cell(&node.claims.as_ref().map(says).unwrap_or_default()),
        ]);
    }
    for line in table.lines() {
        output::line(line.trim_end());
    }
    if shown.left_out > 0 {
        output::warning(&format!(
            "{} more spans are not shown, for they are too many: the last ones of who has most",
            shown.left_out
        ));
    }
    if shown.calls_left_out > 0 {
        output::warning(&format!(
            "{} more calls are not shown, for they are too many: `vidimus audit search --trace ID` or `--transaction ID` has all of them, in pages",
            shown.calls_left_out
        ));
    }
    if shown.altered > 0 {
        output::warning(&format!(
            "{} spans came later by ids that their sender had used already, and are not shown: the first stands",
            shown.altered
        ));
    }
}

fn number(of: usize, what: &str) -> String {
    let end = if of == 1 { "" } else { "s" };
    format!("{of} {what}{end}")
}

/// From the first beginning to the last end, in microseconds.
fn span_of(nodes: &[Node]) -> (i64, i64) {
    let from = nodes.iter().map(|node| node.begins_us).min().unwrap_or_default();
    let until = nodes.iter().map(end).max().unwrap_or(from);
    (from, until)
}

fn end(node: &Node) -> i64 {
    node.begins_us.saturating_add(i64::try_from(node.took_us.unwrap_or_default()).unwrap_or(i64::MAX))
}

/// When it was, as a bar over the time of all.
fn bar(node: &Node, (from, until): (i64, i64)) -> String {
    let all = u128::from(until.abs_diff(from)).max(1);
    let place = |time: i64| {
        let place = u128::from(time.abs_diff(from)) * BAR as u128 / all;
        usize::try_from(place).unwrap_or(BAR).min(BAR)
    };
    let first = place(node.begins_us).min(BAR - 1);
    let length = place(end(node)).saturating_sub(first).clamp(1, BAR - first);
    format!("{}{}{}", "·".repeat(first), "█".repeat(length), "·".repeat(BAR - first - length))
}

/// `12 µs`, `3.4 ms`, `1.20 s`.
fn time(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000),
    }
}

/// What somebody chose, so that it steers nothing and fills no screen.
fn chosen(text: &str) -> String {
    let mut short: String = printable(text).chars().take(LONGEST).collect();
    if short.len() < printable(text).len() {
        short.push('…');
    }
    short
}

/// What a span says: in quotes, which nothing that is on record has, and nothing in it ends them or looks as if it were not there.
fn quoted(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars().take(LONGEST + 1) {
        match c {
            '"' | '\\' => safe.extend(['\\', c]),
            ' ' => safe.push(c),
            _ if c.is_whitespace() => safe.extend(c.escape_default()),
            _ => safe.push(c),
        }
    }
    format!("\"{}\"", chosen(&safe))
}

fn what(node: &Node) -> String {
    let indent = "  ".repeat(node.depth.min(DEEPEST));
    // Leading blanks of a cell are not its own everywhere.
    let branch = if node.depth == 0 { "" } else { "└ " };
    let name = match &node.claims {
        Some(_) => format!("says {}", quoted(&node.name)),
        None => chosen(&node.name),
    };
    format!("{}{branch}{name}", indent.replace("  ", "\u{a0}\u{a0}"))
}

fn who(node: &Node) -> String {
    let person = node.user.as_deref().and_then(|user| user.rsplit('#').next());
    let person = person.map(|person| format!(" for {}", printable(person))).unwrap_or_default();
    let who = node.principal.as_deref().or(node.identity.as_deref()).unwrap_or("nobody proven");
    format!("{}{person}", printable(who))
}

fn outcome(node: &Node) -> comfy_table::Cell {
    // What a span says of how it went is among what it says.
    let Some(call) = &node.call else { return output::cell("") };
    let result = call.result.as_deref().map(|result| format!(", {result}")).unwrap_or_default();
    let good = call.outcome.starts_with("allow") && matches!(call.result.as_deref(), None | Some("ok"));
    output::verdict_cell(&printable(&format!("{}{result}", call.outcome)), good)
}

/// `7 → 9 tokens`, where there is a number of either.
fn tokens(input: Option<u64>, output: Option<u64>) -> Option<String> {
    let number = |tokens: Option<u64>| tokens.map_or("?".to_owned(), |tokens| tokens.to_string());
    (input.is_some() || output.is_some()).then(|| format!("{} → {} tokens", number(input), number(output)))
}

/// What a span says of itself, each with a comma behind it.
fn says(claims: &Claims) -> String {
    let said = [
        ("status", &claims.status),
        ("agent", &claims.agent),
        ("service", &claims.service),
        ("model", &claims.model),
    ];
    let said = said
        .into_iter()
        .filter_map(|(name, value)| Some(format!("says {name} {}", quoted(value.as_deref()?))));
    let tokens = tokens(claims.tokens_input, claims.tokens_output).map(|tokens| format!("says {tokens}"));
    said.chain(tokens).collect::<Vec<_>>().join(", ")
}

/// What else is known, each with a comma behind it.
fn about(node: &Node) -> String {
    let mut all = Vec::new();
    if node.parent_missing {
        all.push(format!("below {}, which is not here", node.parent.as_deref().unwrap_or("nothing")));
    }
    if let Some(call) = &node.call {
        all.extend(call.code.as_deref().map(chosen));
        all.extend(call.policies.iter().map(|policy| chosen(policy)));
        all.extend(tokens(call.tokens_input, call.tokens_output));
        all.extend(call.time_to_first_token_us.map(|first| format!("first token {}", time(first))));
        all.extend(call.time_per_output_token_us.map(|each| format!("{} each", time(each))));
        let spend = call.charged_spend.filter(|spend| *spend > 0);
        all.extend(spend.map(|spend| format!("cost {}.{:06}", spend / 1_000_000, spend % 1_000_000)));
        all.push(format!("call {}", printable(&call.id)));
    }
    if node.claims.as_ref().is_some_and(|claims| claims.stranger) {
        all.push("of nobody who took part in a call that was let pass".to_owned());
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use vidimus_query::trace::Recorded;

    use super::*;

    fn node(begins_us: i64, took_us: Option<u64>) -> Node {
        Node { begins_us, took_us, ..Node::default() }
    }

    #[test]
    fn a_bar_is_where_its_time_is_and_never_longer_than_all() {
        let all = (1_000, 3_000);
        let filled = |node: &Node| {
            let bar = bar(node, all);
            assert_eq!(bar.chars().count(), BAR, "{bar}");
            let first = bar.chars().take_while(|c| *c == '·').count();
            (first, bar.chars().filter(|c| *c == '█').count())
        };
        assert_eq!(filled(&node(1_000, Some(2_000))), (0, 20));
        assert_eq!(filled(&node(2_000, Some(500))), (10, 5));
        assert_eq!(filled(&node(3_000, None)), (19, 1));
        assert_eq!(filled(&node(2_000, None)), (10, 1));
        assert_eq!(filled(&node(1_000, Some(u64::MAX))), (0, 20));
        assert_eq!(bar(&node(5, None), (5, 5)).chars().count(), BAR);
    }

    #[test]
    fn times_are_said_in_their_unit() {
        for (micros, said) in [(7, "7 µs"), (3_456, "3.4 ms"), (1_204_000, "1.20 s"), (61_000_000, "61.00 s")]
        {
            assert_eq!(time(micros), said);
        }
    }

    #[test]
    fn what_is_proven_and_what_is_said_are_told_apart() {
        let span = Node {
            name: format!("chat\u{1b}[31m{}", "x".repeat(200)),
            principal: Some("Agent/finance/bot".to_owned()),
            parent: Some("00f067aa0ba902b7".to_owned()),
            parent_missing: true,
            claims: Some(Claims {
                agent: Some("Agent/finance/boss\n".to_owned()),
                tokens_output: Some(7),
                stranger: true,
                ..Claims::default()
            }),
            ..Node::default()
        };
        assert_eq!(who(&span), "Agent/finance/bot");
        let (what, about) = (what(&span), about(&span));
        assert!(what.starts_with(r#"says "chat\u{1b}[31m"#) && what.ends_with("…\""), "{what}");
        assert_eq!(
            about,
            "below 00f067aa0ba902b7, which is not here, of nobody who took part in a call that was let pass"
        );
        let claims = span.claims.as_ref().expect("a span");
        assert_eq!(says(claims), r#"says agent "Agent/finance/boss\n", says ? → 7 tokens"#);
        let recorded = Recorded {
            id: "call-1".to_owned(),
            code: Some("no_permit".to_owned()),
            charged_spend: Some(1_250_000),
            ..Recorded::default()
        };
        let call = Node { call: Some(recorded), identity: Some("oidc:x#y".to_owned()), ..Node::default() };
        assert_eq!(
            (who(&call), about_of(&call)),
            ("oidc:x#y".to_owned(), "no_permit, cost 1.250000, call call-1".to_owned())
        );
    }

    #[test]
    fn a_span_that_is_called_as_a_decision_is_shown_does_not_look_like_one() {
        let claims = Claims {
            status: Some("ok".to_owned()),
            model: Some("x\", finance/read, call 019aa3b0".to_owned()),
            ..Claims::default()
        };
        let name = "tools/call Tool/finance/ledger/get".to_owned();
        let span = Node { name, claims: Some(claims.clone()), ..Node::default() };
        assert_eq!(what(&span), r#"says "tools/call Tool/finance/ledger/get""#);
        assert_eq!((outcome(&span).content(), about(&span)), ("-".to_owned(), String::new()));
        assert_eq!(says(&claims), r#"says status "ok", says model "x\", finance/read, call 019aa3b0""#);
        for blank in ["\u{2800}", "\u{3000}", "\u{a0}", "\u{200b}", "\u{2003}\u{2800}"] {
            let shown = quoted(blank);
            assert!(shown.is_ascii() && shown.starts_with(r#""\u{"#), "{shown}");
        }
        assert_eq!(quoted("  "), r#""  ""#);
    }

    fn about_of(node: &Node) -> String {
        about(node)
    }
}
