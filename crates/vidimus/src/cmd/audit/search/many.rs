//! A search of several ledgers.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{bail, ensure};
use vidimus_query::audit::Lookup;
use vidimus_query::audit::logs::{self, Cursor, LogDamage, Logs};

use super::table::{self, Row};
use super::{After, DENIED, Search, follow};
use crate::cmd;
use crate::cmd::progress::Watch;
use crate::output::{self, Format};

/// Shows what fits, in one order, each record with its log.
pub fn run(
    logs: &Logs,
    lookup: &dyn Fn(&Path) -> Box<dyn Lookup>,
    search: &Search,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let question = search.filters.question(search.kind, search.oldest_first);
    if search.follow {
        ensure!(
            search.after.is_none(),
            "--follow: several ledgers are followed from now on; leave --after out"
        );
        cmd::audit::warn_of_repeated(logs);
        return follow::run_logs(logs, &question, format);
    }
    let after = after(search)?;
    let limit = if search.limit == 0 { usize::MAX } else { search.limit };
    cmd::audit::warn_of_repeated(logs);
    let (mut rows, mut last, mut found, mut more) = (Vec::new(), None, 0, false);
    let (mut damaged, mut denied) = (false, false);
    let reading = Watch::begin();
    let hits = logs::search_by(lookup, logs, &question, &after);
    for hit in hits.map_err(|misasked| cmd::misasked(&misasked))? {
        let found_one = match hit {
            Ok(found_one) => found_one,
            // Nothing is known of it, and the others can be shown.
            Err(LogDamage::Of { log, damage }) if damage.is_denied() => {
                output::warning(&format!("{log}: {DENIED}: {damage}"));
                denied = true;
                continue;
            }
            Err(damage) => {
                output::warning(&format!("{damage}; `vidimus audit verify` tells more"));
                damaged = true;
                continue;
            }
        };
        if found == limit {
            more = true;
            break;
        }
        found += 1;
        match format {
            Format::Json => output::json(&found_one)?,
            Format::Table => rows.push(Row::of(&found_one.found).in_log(&found_one.log)),
        }
        last = Some(found_one.cursor);
    }
    drop(reading);
    if format == Format::Table {
        table::print(&rows, output::width());
    }
    if found == 0 && search.after.is_none() {
        for (member, value) in logs::unknown_names(lookup, logs, &question) {
            output::warning(&format!("no record at all of any of the ledgers has the --{member} {value}"));
        }
    }
    if let (true, Some(cursor)) = (more, last) {
        let which = if search.oldest_first { "oldest" } else { "newest" };
        output::warning(&format!(
            "only the {which} {found} are shown, there are more; --after {cursor} shows the next ones, --limit 0 all"
        ));
    }
    if !more || search.oldest_first {
        for log in logs.all() {
            // What went from one directory may be in another one of the same log.
            if let [directory] = log.directories.as_slice() {
                damaged |= !cmd::audit::warned_of_pruned(directory, search.filters.since);
            }
        }
    }
    Ok(match (denied, damaged) {
        (true, _) => ExitCode::from(2),
        (false, true) => ExitCode::from(1),
        (false, false) => ExitCode::SUCCESS,
    })
}

/// Behind which record of each ledger it begins.
fn after(search: &Search) -> anyhow::Result<Cursor> {
    match &search.after {
        None => Ok(Cursor::default()),
        Some(After::Logs(cursor)) => Ok(cursor.clone()),
        Some(After::Record(_)) => {
            bail!(
                "--after: several ledgers have records of this index; give the `cursor` of the last record of the page before"
            )
        }
    }
}
