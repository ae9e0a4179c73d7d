//! Records of a ledger by its index, for who wants a few of them: where there is one that is not far behind. Else, and where it fails, in the log. Nothing
//! is written, so it may be somebody else's.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use vidimus_ledger::{Matcher, Query, SearchError};
use vidimus_query::audit::{Fitting, Hits, InLog, Judge, Lookup, SearchQuestion, Unsearched};
use vidimus_readmodel::{Model, Wanted};

use super::indexed::{Indexed, PAGE, current, told};

/// All kinds of records.
const KINDS: [&str; 4] = ["decision", "effect", "refusal", "act"];

/// Looks records up in a ledger, by the index where there is one.
pub(in crate::cmd) fn lookup(ledger: &Path, index: Option<&Path>) -> Box<dyn Lookup> {
    let Some(index) = index.filter(|index| index.is_dir()) else { return InLog::of(ledger) };
    match current(ledger, index) {
        Ok(Some(model)) => Box::new(ByIndex {
            log: InLog(ledger.to_owned()),
            index: index.to_owned(),
            model: Rc::new(model),
        }),
        Ok(None) => InLog::of(ledger),
        Err(error) => {
            told(&error);
            InLog::of(ledger)
        }
    }
}

#[derive(Debug)]
struct ByIndex {
    log: InLog,
    index: PathBuf,
    model: Rc<Model>,
}

impl Lookup for ByIndex {
    fn hits(&self, query: &Query) -> Result<Hits, SearchError> {
        let is_wanted = |kind: &&str| query.kind.as_deref().is_none_or(|wanted| wanted == *kind);
        let kinds = KINDS.into_iter().filter(is_wanted).collect();
        match self.model.find(&Wanted { kinds, query: query.clone(), after: None }, usize::MAX) {
            Ok(found) => {
                let fits = Matcher::new(query);
                let hits = found.into_iter().map(|candidate| candidate.hit);
                let hits = hits.filter(move |hit| fits.matches(&hit.record));
                Ok(Box::new(hits.take(query.limit.unwrap_or(usize::MAX)).map(Ok)))
            }
            Err(error) => {
                told(&error);
                self.log.hits(query)
            }
        }
    }

    fn fitting(&self, others: &[PathBuf], question: &SearchQuestion) -> Result<Fitting, Unsearched> {
        Judge::of(question, Vec::new())?;
        // The decision of an effect may be in another directory, of which this index has nothing.
        if !others.is_empty() {
            return self.log.fitting(others, question);
        }
        match Indexed::new(self.model.clone(), &self.log.0, &self.index, question, None, PAGE) {
            Ok(found) => Ok(Box::new(found)),
            Err(error) => {
                told(&error);
                self.log.fitting(others, question)
            }
        }
    }
}
