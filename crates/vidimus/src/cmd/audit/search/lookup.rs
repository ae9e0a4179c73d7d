//! Records of a ledger by its index, for who wants a few of them: where there is one that is not far behind. Else, and where it fails, in the log. Nothing
//! is written, so it may be somebody else's.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use vidimus_ledger::{Hit, Matcher, Query, SearchError};
use vidimus_query::audit::{Fitting, Hits, InLog, Judge, Lookup, SearchQuestion, Unsearched};
use vidimus_readmodel::{Model, ModelError, Wanted};

use super::indexed::{Indexed, PAGE, Use};

/// All kinds of records.
const KINDS: [&str; 4] = ["decision", "effect", "refusal", "act"];

/// Records that are looked up at first, of a few that are wanted.
const FEW: usize = 16;

/// Looks records up in a ledger, by the index where there is one.
pub(in crate::cmd) fn lookup(ledger: &Path, index: Option<&Path>) -> Box<dyn Lookup> {
    lookup_by(Use::BY_COMMANDS, ledger, index)
}

/// As [`lookup`], and whoever asks says how the index is used.
pub(in crate::cmd) fn lookup_by(how: Use, ledger: &Path, index: Option<&Path>) -> Box<dyn Lookup> {
    let Some(index) = index.filter(|index| index.is_dir()) else { return InLog::of(ledger) };
    match how.current(ledger, index) {
        Ok(Some(model)) => Box::new(ByIndex {
            how,
            log: InLog(ledger.to_owned()),
            index: index.to_owned(),
            model: Rc::new(model),
        }),
        Ok(None) => InLog::of(ledger),
        Err(error) => {
            how.failed(&error);
            InLog::of(ledger)
        }
    }
}

#[derive(Debug)]
struct ByIndex {
    how: Use,
    log: InLog,
    index: PathBuf,
    model: Rc<Model>,
}

impl ByIndex {
    /// Those that fit. A few are looked up at first where few are wanted: a name may be in most records.
    fn found(&self, query: &Query) -> Result<Vec<Hit>, ModelError> {
        let is_wanted = |kind: &&str| query.kind.as_deref().is_none_or(|wanted| wanted == *kind);
        let kinds = KINDS.into_iter().filter(is_wanted).collect();
        let mut wanted = Wanted { kinds, query: query.clone(), after: None };
        let (fits, most) = (Matcher::new(query), query.limit.unwrap_or(usize::MAX));
        let mut page = if query.limit.is_some() { most.clamp(FEW, PAGE) } else { usize::MAX };
        let mut hits: Vec<Hit> = Vec::new();
        loop {
            let found = self.model.find(&wanted, page)?;
            let is_last = found.len() < page;
            wanted.after = found.last().map(|candidate| candidate.hit.index).or(wanted.after);
            let these = found.into_iter().map(|candidate| candidate.hit);
            hits.extend(these.filter(|hit| fits.matches(&hit.record)));
            if is_last || hits.len() >= most {
                hits.truncate(most);
                return Ok(hits);
            }
            page = page.saturating_mul(4).min(PAGE);
        }
    }
}

impl Lookup for ByIndex {
    fn hits(&self, query: &Query) -> Result<Hits, SearchError> {
        match self.found(query) {
            Ok(hits) => Ok(Box::new(hits.into_iter().map(Ok))),
            Err(error) => {
                self.how.failed(&error);
                self.log.hits(query)
            }
        }
    }

    fn fitting(&self, others: &[PathBuf], question: &SearchQuestion) -> Result<Fitting, Unsearched> {
        Judge::of(question, Vec::new())?;
        // The decision of an effect may be in another directory, of which this index has nothing; and what most records fit is read at once.
        if !others.is_empty() || !question.is_narrow() {
            return self.log.fitting(others, question);
        }
        let places = (self.log.0.as_path(), self.index.as_path());
        match Indexed::new(self.how, self.model.clone(), places, question, None, PAGE) {
            Ok(found) => Ok(Box::new(found)),
            Err(error) => {
                self.how.failed(&error);
                self.log.fitting(others, question)
            }
        }
    }
}
