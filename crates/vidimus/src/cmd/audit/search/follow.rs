//! Records as they come.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use vidimus_query::audit::{Judge, SearchQuestion};
use vidimus_readmodel::{Model, Wanted};

use super::indexed;
use super::table::{self, Row};
use crate::cmd;
use crate::output::{self, Format};

/// How often the log is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Records before the first that is shown which are read too: among them are the decisions of calls under way.
const BEFORE: u64 = 1 << 14;

/// Shows what fits from `after` on, or from now on, until nobody reads it any more.
pub(super) fn run(
    ledger: &Path,
    index: Option<&Path>,
    question: &SearchQuestion,
    after: Option<u64>,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let question = SearchQuestion { oldest_first: true, ..question.clone() };
    Judge::of(&question, Vec::new()).map_err(|misasked| cmd::misasked(&misasked))?;
    let mut model = match indexed::model(ledger, index)? {
        Some(model) => model,
        None => {
            let from = after.unwrap_or_else(|| vidimus_readmodel::signed(ledger));
            let mut model = Model::in_memory(ledger, from.saturating_sub(BEFORE))?;
            model.refresh()?;
            model
        }
    };
    let (_, end) = model.extent();
    let mut after = after.or(end.checked_sub(1));
    while !output::is_gone() {
        let (_, end) = model.extent();
        let judge = Judge::of(&question, indexed::approvals(&model, &question)?)
            .map_err(|misasked| cmd::misasked(&misasked))?;
        let (kinds, query) = judge.wants();
        let found = model.find(&Wanted { kinds, query, after }, usize::MAX)?;
        let mut rows = Vec::new();
        for candidate in found {
            match judge.judge(candidate.hit, candidate.decision.as_ref()) {
                Some(Ok(found)) if format == Format::Json => output::json(&found)?,
                Some(Ok(found)) => rows.push(Row::of(&found)),
                Some(Err(damage)) => output::warning(&damage.to_string()),
                None => {}
            }
        }
        if !rows.is_empty() {
            table::print(&rows, output::width());
        }
        after = end.checked_sub(1).or(after);
        model.forget_before(end.saturating_sub(BEFORE));
        while model.refresh()? == 0 {
            std::thread::sleep(EVERY);
        }
    }
    Ok(ExitCode::SUCCESS)
}
