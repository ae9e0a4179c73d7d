//! One call of several ledgers, and its chain.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use vidimus_query::audit::logs::{self, Logs, ShownIn};
use vidimus_query::audit::{Lookup, ShowQuestion};

use super::{Show, print, write};
use crate::cmd;
use crate::output::{self, Format, printable};

/// Shows what all of them have, by time, each record with its log.
pub fn run(
    logs: &Logs,
    lookup: &dyn Fn(&Path) -> Box<dyn Lookup>,
    show: &Show,
    format: Format,
) -> anyhow::Result<ExitCode> {
    cmd::audit::warn_of_repeated(logs);
    let question = ShowQuestion { id: show.id.clone() };
    let mut call = logs::show_by(lookup, logs, &question, show.chain);
    // As of one.
    if call.records.is_empty() || call.records.iter().any(|one| one.shown.proof.is_none()) {
        call = logs::show(logs, &question, show.chain);
    }
    for damage in &call.damage {
        output::warning(&format!("{damage}; `vidimus audit verify` tells more"));
    }
    for ShownIn { log, shown } in &call.records {
        if let Some(evidence) = &show.evidence {
            // Each log has a record of the same index.
            let of_log = logs.all().iter().find(|one| one.name == *log).map(logs::Log::file_name);
            let evidence = evidence.join(of_log.unwrap_or_default());
            fs::create_dir_all(&evidence).with_context(|| evidence.display().to_string())?;
            write(&evidence, shown)?;
        }
        if format == Format::Table {
            print(shown, &format!(" of {log}"));
        }
    }
    if format == Format::Json {
        call.records.iter().try_for_each(output::json)?;
    }
    if call.more {
        output::warning("the chain has more records: vidimus audit search --kind all --transaction");
    }
    if !show.chain && format == Format::Table {
        for transaction in &call.transactions {
            output::line(&format!("the other hops, of transaction {}: --chain", printable(transaction)));
        }
    }
    if call.records.is_empty() {
        for directory in logs.all().iter().flat_map(|log| &log.directories) {
            cmd::audit::warned_of_pruned(directory, None);
        }
        let which =
            if call.damage.is_empty() { "any of the ledgers" } else { "what can be read of the ledgers" };
        bail!("no record of call, approval or act {} in {which}", show.id);
    }
    Ok(if call.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
