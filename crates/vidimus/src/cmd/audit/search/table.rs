//! Records as a table.

use jiff::Timestamp;
use vidimus_core::record::Record;
use vidimus_query::audit::Found;

use crate::output;

/// From this width on, a table of one column for everything is worth reading; below, what belongs together is put together.
const WIDE: u16 = 150;

/// One record in one row, whatever its kind. All of it is printable.
#[derive(Debug, Default)]
pub(super) struct Row {
    time: String,
    /// Of several logs the one that it is of.
    log: String,
    kind: String,
    who: String,
    on_behalf: String,
    what: String,
    outcome: String,
    why: String,
    call: String,
}

impl Row {
    pub(super) fn of(found: &Found) -> Self {
        let text = |text: &str| output::printable(text).into_owned();
        let maybe = |part: Option<&str>| part.map(text).unwrap_or_default();
        let person = |user: Option<&str>| maybe(user.and_then(|user| user.rsplit('#').next()));
        let record = &found.record;
        let row = Self {
            kind: record.kind().to_owned(),
            time: text(record.time()),
            call: text(record.id()),
            ..Self::default()
        };
        match record {
            Record::Decision(it) => {
                // Whoever changed the call is asked about as much as who permitted it.
                let changing = it.obligations.iter().map(|demanded| &demanded.policy);
                let mut policies: Vec<String> = Vec::new();
                for policy in it.policies.iter().chain(changing).map(|policy| text(policy)) {
                    if !policies.contains(&policy) {
                        policies.push(policy);
                    }
                }
                Self {
                    who: text(&it.principal),
                    on_behalf: person(it.user.as_deref()),
                    what: text(&format!("{} {}", it.method, it.resource)),
                    outcome: text(&it.outcome),
                    why: if policies.is_empty() { maybe(it.code.as_deref()) } else { policies.join(", ") },
                    ..row
                }
            }
            Record::Refusal(it) => Self {
                who: maybe(it.principal.as_deref()),
                on_behalf: person(it.user.as_deref()),
                what: match &it.asked {
                    Some(asked) => text(&format!("{} {}", asked.method, asked.resource)),
                    None => text(&it.path),
                },
                outcome: text(&it.outcome),
                why: text(&it.code),
                ..row
            },
            Record::Act(it) => Self {
                who: text(&it.actor),
                what: text(&it.act.subject()),
                outcome: text(it.act.as_str()),
                why: text(&it.why),
                ..row
            },
            Record::Effect(it) => {
                // Who asked for what stands in the decision alone.
                let decided = found.decided.as_ref();
                let came = format!("{} bytes, status {}", it.bytes_out, it.status);
                Self {
                    who: maybe(decided.map(|asked| &*asked.principal)),
                    on_behalf: person(decided.and_then(|asked| asked.user.as_deref())),
                    what: match decided {
                        Some(asked) => text(&format!("{} {}: {came}", asked.method, asked.resource)),
                        None => came,
                    },
                    outcome: text(&it.result),
                    why: maybe(it.code.as_deref()),
                    ..row
                }
            }
        }
    }

    /// The same, of one of several logs.
    pub(super) fn in_log(self, log: &str) -> Self {
        Self { log: output::printable(log).into_owned(), ..self }
    }

    /// To the second, in UTC; without the date where it is today's.
    fn when(&self, today: Option<&str>) -> String {
        output::when(&self.time, today)
    }

    fn outcome(&self) -> comfy_table::Cell {
        output::verdict_cell(&self.outcome, matches!(self.outcome.as_str(), "allow" | "ok"))
    }

    /// Who, what, why and which call, below each other.
    fn together(&self) -> String {
        let on_behalf = if self.on_behalf.is_empty() { "" } else { " for " };
        let who = format!("{}{on_behalf}{}", self.who, self.on_behalf);
        let lines = [who.as_str(), &self.what, &self.why, &self.call, &self.log];
        lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

pub(super) fn print(rows: &[Row], width: Option<u16>) {
    if rows.is_empty() {
        output::line("nothing found");
        return;
    }
    let today = Timestamp::now().to_string();
    output::line(&render(rows, width, today.get(..10)));
}

/// The table, as it fits.
pub(super) fn render(rows: &[Row], width: Option<u16>, today: Option<&str>) -> String {
    let lines = |table: comfy_table::Table| {
        // Lines are filled up to the width of their column, which is of no use at their end.
        let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    };
    if width.is_some_and(|width| width < WIDE) {
        // The id of a call is to stand in one piece beside the others.
        let headers = ["TIME, KIND", "OUTCOME", "PRINCIPAL, RESOURCE, POLICIES OR CODE, CALL"];
        let mut table = output::table(&headers, &[0, 1], width);
        for row in rows {
            let time = format!("{}\n{}", row.when(today).replace(' ', "\n"), row.kind);
            table.add_row([output::cell(&time), row.outcome(), output::cell(&row.together())]);
        }
        return lines(table);
    }
    // What is not read on a screen has the date always.
    let today = today.filter(|_| width.is_some());
    let are_several = rows.iter().any(|row| !row.log.is_empty());
    let headers =
        ["TIME", "KIND", "PRINCIPAL", "USER", "RESOURCE", "OUTCOME", "POLICIES OR CODE", "CALL", "LOG"];
    let columns = if are_several { 9 } else { 8 };
    let headers = headers.get(..columns).unwrap_or_default();
    let mut table = output::table(headers, &[0, 1, 5, 7], width);
    for row in rows {
        let cell = output::cell;
        let log = are_several.then(|| cell(&row.log));
        let cells = [
            cell(&row.when(today)),
            cell(&row.kind),
            cell(&row.who),
            cell(&row.on_behalf),
            cell(&row.what),
            row.outcome(),
            cell(&row.why),
            cell(&row.call),
        ];
        table.add_row(cells.into_iter().chain(log));
    }
    lines(table)
}
