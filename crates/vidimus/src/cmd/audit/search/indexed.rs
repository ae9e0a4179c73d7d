//! The same search by the index, where there is one that is not far behind: it says which records may fit, and the search's own rules which of
//! these do. What the index cannot answer, the log does.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use vidimus_query::audit::{self, Damage, Found, Judge, SearchQuestion, Unsearched};
use vidimus_readmodel::{Candidate, Model, ModelError, Wanted};

use crate::cmd;
use crate::cmd::audit::index::not_used;
use crate::cmd::progress::Progress;
use crate::output;

/// Records that are looked up at once at most.
pub(super) const PAGE: usize = 1000;

/// Records that are signed for and not sealed, from which on the index is of no use: reading them takes as long as a search.
const FAR_BEHIND: u64 = 1 << 18;

/// How the index is used where nothing may be written, and what is said where it is not.
#[derive(Clone, Copy, Debug)]
pub(in crate::cmd) struct Use {
    /// Records that are signed for and not sealed, from which on it is of no use: they are held in memory.
    most_behind: u64,
    far_behind: fn(),
    not_used: fn(&ModelError),
}

impl Use {
    /// By a command, for who waits for it.
    pub(in crate::cmd) const BY_COMMANDS: Self = Self { most_behind: FAR_BEHIND, far_behind, not_used };

    /// Beside calls: little is held in memory, and what is said stands in the log of the process.
    pub(in crate::cmd) const BESIDE_CALLS: Self = Self {
        most_behind: 1 << 16,
        far_behind: || tracing::debug!("the index is far behind, so the ledger is read"),
        not_used: |error| tracing::warn!(%error, "the index is not used, and the ledger is read instead"),
    };

    /// The index, with all that the log has by now; `None` where there is none that helps.
    pub(in crate::cmd::audit) fn current(
        self,
        ledger: &Path,
        index: &Path,
    ) -> Result<Option<Model>, ModelError> {
        let Some(mut model) = Model::open(index, ledger)? else { return Ok(None) };
        if model.behind() > self.most_behind {
            (self.far_behind)();
            return Ok(None);
        }
        model.refresh()?;
        Ok(Some(model))
    }

    /// The index, once what was found to be damaged has been made again from the log.
    fn repaired(self, ledger: &Path, index: &Path, error: &ModelError) -> Result<Model, ModelError> {
        vidimus_readmodel::repair(index, ledger, error)?;
        let again = self.current(ledger, index)?;
        again.ok_or_else(|| ModelError::Query("it cannot be made again".to_owned()))
    }

    pub(super) fn failed(self, error: &ModelError) {
        // What is wrong with the log, its own search tells.
        if !matches!(error, ModelError::Log(_)) {
            (self.not_used)(error);
        }
    }
}

type Records = Box<dyn Iterator<Item = Result<Found, Damage>>>;

/// The records that fit, one by one; of at most `limit` more than these are not looked up for nothing.
pub(super) fn records(
    ledger: &Path,
    index: Option<&Path>,
    question: &SearchQuestion,
    after: Option<u64>,
    limit: usize,
) -> anyhow::Result<Records> {
    // Whatever is asked wrongly is said before anything is read.
    Judge::of(question, Vec::new()).map_err(|misasked| cmd::misasked(&misasked))?;
    if let (Some(model), Some(index)) = (model(ledger, index)?, index) {
        let page = limit.saturating_add(1).min(PAGE);
        match Indexed::new(Use::BY_COMMANDS, Rc::new(model), (ledger, index), question, after, page) {
            Ok(indexed) => return Ok(Box::new(indexed)),
            Err(error) => Use::BY_COMMANDS.failed(&error),
        }
    }
    of_log(ledger, question, after)
}

/// The log's own search.
pub(super) fn of_log(
    ledger: &Path,
    question: &SearchQuestion,
    after: Option<u64>,
) -> anyhow::Result<Records> {
    let newest_first = !question.oldest_first;
    let found = audit::search(ledger, question).map_err(|error| match error {
        Unsearched::Misasked(misasked) => cmd::misasked(&misasked),
        error @ Unsearched::Log(_) => error.into(),
    })?;
    let is_behind = move |found: &Found| match after {
        Some(after) if newest_first => found.index < after,
        Some(after) => found.index > after,
        None => true,
    };
    Ok(Box::new(found.filter(move |found| found.as_ref().map_or(true, is_behind))))
}

/// The index, with all that the log has by now; `None` where there is none that helps. It is extended where that can be done.
pub(super) fn model(ledger: &Path, index: Option<&Path>) -> anyhow::Result<Option<Model>> {
    let Some(index) = index.filter(|index| index.is_dir()) else { return Ok(None) };
    // Nobody waits for it to be made: a gateway does that (`vidimus serve`), or who is asked to.
    match vidimus_readmodel::to_seal(index, ledger) {
        Ok(records) if records > FAR_BEHIND => {
            far_behind();
            return Ok(None);
        }
        Ok(_) => {}
        Err(error) => {
            Use::BY_COMMANDS.failed(&error);
            return Ok(None);
        }
    }
    let mut progress = Progress::begin("indexed");
    let opened = vidimus_readmodel::extend(index, ledger, &mut |sealed, all| progress.of(sealed, all));
    progress.end();
    let opened = opened.map(|_| ());
    // Who may only read it can use it as it is.
    let opened = opened.or_else(|error| if is_denied(&error) { Ok(()) } else { Err(error) });
    let how = Use::BY_COMMANDS;
    let model = match opened.and_then(|()| how.current(ledger, index)) {
        // An effect that is newer than the files has its decision in one of them.
        Err(error) if error.damaged().is_some() => how.repaired(ledger, index, &error).map(Some),
        model => model,
    };
    match model {
        Ok(model) => Ok(model),
        Err(error) => {
            how.failed(&error);
            Ok(None)
        }
    }
}

fn far_behind() {
    output::warning(
        "the index is far behind, so the ledger is read: a gateway extends it by and by, `vidimus audit index` at once",
    );
}

/// Whether this user may not write there.
pub(in crate::cmd::audit) fn is_denied(error: &ModelError) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error, ModelError::Io { source, .. } if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem))
}

/// What an index finds, in the order asked for.
pub(super) struct Indexed {
    how: Use,
    model: Rc<Model>,
    judge: Judge,
    wanted: Wanted,
    page: usize,
    /// Looked up, and not yet given.
    ready: std::vec::IntoIter<Candidate>,
    is_last: bool,
    /// What reads on where the index failed.
    instead: Option<Records>,
    places: (PathBuf, PathBuf),
    question: SearchQuestion,
}

impl Indexed {
    pub(super) fn new(
        how: Use,
        mut model: Rc<Model>,
        (ledger, index): (&Path, &Path),
        question: &SearchQuestion,
        after: Option<u64>,
        page: usize,
    ) -> Result<Self, ModelError> {
        let approvals = match approvals(&model, question) {
            Err(error) if error.damaged().is_some() => {
                model = Rc::new(how.repaired(ledger, index, &error)?);
                approvals(&model, question)?
            }
            approvals => approvals?,
        };
        let judge = Judge::of(question, approvals).map_err(|error| ModelError::Query(error.to_string()))?;
        let (kinds, query) = judge.wants();
        Ok(Self {
            how,
            model,
            judge,
            wanted: Wanted { kinds, query, after },
            page,
            ready: Vec::new().into_iter(),
            is_last: false,
            instead: None,
            places: (ledger.to_owned(), index.to_owned()),
            question: question.clone(),
        })
    }

    /// Looks up one page more.
    fn look_up(&mut self) {
        let (ledger, index) = &self.places;
        let found = match self.model.find(&self.wanted, self.page) {
            Err(error) if error.damaged().is_some() => {
                self.how.repaired(ledger, index, &error).and_then(|model| {
                    self.model = Rc::new(model);
                    self.model.find(&self.wanted, self.page)
                })
            }
            found => found,
        };
        match found {
            Ok(found) => {
                self.is_last = found.len() < self.page;
                self.wanted.after = found.last().map(|candidate| candidate.hit.index).or(self.wanted.after);
                // A page that had few that fit is followed by a larger one.
                self.page = self.page.saturating_mul(2).min(PAGE);
                self.ready = found.into_iter();
            }
            Err(error) => {
                self.how.failed(&error);
                self.is_last = true;
                self.instead = of_log(ledger, &self.question, self.wanted.after).ok();
            }
        }
    }
}

/// The approvals that the policy of a question asked for.
pub(super) fn approvals(model: &Model, question: &SearchQuestion) -> Result<Vec<String>, ModelError> {
    let Some(asks) = Judge::asks_of_approvals(question) else { return Ok(Vec::new()) };
    let judge = Judge::of(&asks, Vec::new()).map_err(|error| ModelError::Query(error.to_string()))?;
    let (kinds, query) = judge.wants();
    let acts = model.find(&Wanted { kinds, query, after: None }, usize::MAX)?;
    let acts = acts.into_iter().filter_map(|act| judge.judge(act.hit, None)?.ok());
    Ok(Judge::approvals(acts))
}

impl Iterator for Indexed {
    type Item = Result<Found, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(instead) = &mut self.instead {
                return instead.next();
            }
            match self.ready.next() {
                Some(Candidate { hit, decision }) => {
                    if let Some(found) = self.judge.judge(hit, decision.as_ref()) {
                        return Some(found);
                    }
                }
                None if self.is_last => return None,
                None => self.look_up(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
