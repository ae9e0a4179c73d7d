//! The read model.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use vidimus_core::record::Kept;
use vidimus_ledger::{Config, Ledger, Query};
use vidimus_readmodel::{By, Model, Order, StatsQuestion, Wanted};

use crate::estate::{AGENTS, POLICIES, RARE, text, window};
use crate::figures::{Figures, OURS};
use crate::{Anything, Question};

const ALL: [&str; 4] = ["decision", "effect", "refusal", "act"];

pub(crate) fn measure(figures: &mut Figures, log: &Path, index: &Path) -> Anything<()> {
    let begun = Instant::now();
    let made = vidimus_readmodel::extend(index, log, &mut |_, _| {})?;
    figures.rate("audit_build", OURS, made.added, begun);
    figures.size(OURS, crate::size(index)?);
    let sieves = std::fs::read_dir(index)?.flatten();
    let sieves = sieves.filter(|file| file.path().extension().is_some_and(|extension| extension == "sieve"));
    figures.size("sieve", sieves.filter_map(|file| file.metadata().ok()).map(|it| it.len()).sum());
    figures.size("log", crate::size(&log.join("segments"))?);
    let begun = Instant::now();
    let mut model = Model::open(index, log)?.ok_or("no model")?;
    model.refresh()?;
    let (sealed, end) = model.extent();
    figures.say(
        "audit_index_open",
        begun.elapsed().as_secs_f64() * 1000.0,
        "ms",
        None,
        json!({ "in_memory": end - sealed }),
    );
    search(figures, &model)?;
    sums(figures, &model)?;
    found_after(figures, log, index)
}

fn search(figures: &mut Figures, model: &Model) -> Anything<()> {
    let records = figures.records;
    let find = |kinds: &[&'static str], query: Query| -> Anything<usize> {
        let query = Query { newest_first: true, ..query };
        Ok(model.find(&Wanted { kinds: kinds.to_vec(), query, after: None }, 100)?.len())
    };
    let decided = ["decision", "refusal"];
    let agent = |random: u64| Some(format!("estate/agent-{}", random % AGENTS));
    figures.times(OURS, Question::AgentAndTime, 51, |random| {
        let (since, until) = window(random, records);
        find(&ALL, Query { agent: agent(random), since: Some(since), until: Some(until), ..Query::default() })
    })?;
    figures.times(OURS, Question::PolicyAndOutcome, 51, |random| {
        let policy = Some(format!("estate/policy-{}", random % POLICIES));
        let outcome = Some(if random.is_multiple_of(2) { "allow" } else { "deny" }.to_owned());
        find(&decided, Query { policy, outcome, ..Query::default() })
    })?;
    figures.times(OURS, Question::Latest, 51, |_| find(&decided, Query::default()))?;
    figures.times(OURS, Question::LatestOfAgent, 51, |random| {
        find(&ALL, Query { agent: agent(random), ..Query::default() })
    })?;
    figures.times(OURS, Question::Trace, 21, |random| {
        let record: Value = serde_json::from_str(&text(random % records / 10 * 10, records))?;
        let trace = record["trace"].as_str().map(str::to_owned);
        find(&ALL, Query { trace, ..Query::default() })
    })?;
    let of_text = |text: &str| Query { text: Some(text.to_owned()), ..Query::default() };
    figures.times(OURS, Question::TextRare, 7, |_| find(&ALL, of_text(RARE)))?;
    figures.times(OURS, Question::TextNowhere, 7, |_| find(&ALL, of_text("such a thing is nowhere")))
}

fn sums(figures: &mut Figures, model: &Model) -> Anything<()> {
    for (question, by) in [(Question::ByAgentPerHour, By::AgentHour), (Question::ByAgent, By::Agent)] {
        figures.times(OURS, question, 21, |_| {
            let asked = StatsQuestion { by, order: Order::Usual, since: None, until: None, limit: 1000 };
            Ok(model.stats(&asked)?.rows.len())
        })?;
    }
    Ok(())
}

/// From the record being kept to its being found.
fn found_after(figures: &mut Figures, log: &Path, index: &Path) -> Anything<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let ledger = Ledger::open(Config { dir: log.to_owned(), ..Config::default() })?;
    let mut model = Model::open(index, log)?.ok_or("no model")?;
    model.refresh()?;
    let records = figures.records;
    figures.times(OURS, Question::FoundAfterAppend, 21, |random| {
        let mut record: Value = serde_json::from_str(&text(4, records))?;
        let id = format!("{random:032x}");
        record["transaction"] = id.clone().into();
        runtime.block_on(ledger.record(&Kept::read(record.to_string().as_bytes())?))?;
        model.refresh()?;
        let query = Query { transaction: Some(id), newest_first: true, ..Query::default() };
        let found = model.find(&Wanted { kinds: ALL.to_vec(), query, after: None }, 1)?;
        if found.len() == 1 { Ok(1) } else { Err("not found".into()) }
    })?;
    runtime.block_on(ledger.close());
    Ok(())
}
