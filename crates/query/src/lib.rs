//! The questions that people and programs ask of what exists, of what is decided and of what happened: one place for the command
//! line, and for every other door that asks them.
//!
//! | module | question | answer |
//! |---|---|---|
//! | [`check`] | a [`State`](state::State) | [`CheckReport`](check::CheckReport): is everything in order? |
//! | [`explain`] | [`ExplainQuestion`](explain::ExplainQuestion) | [`Explanation`](explain::Explanation): what would be decided, and why? |
//! | [`elsewhere`] | names | [`Named`](elsewhere::Named): which call does another enforcement point ask about? |
//! | [`reach`] | [`ReachQuestion`](reach::ReachQuestion) | [`ReachAnswer`](reach::ReachAnswer): who can call what? |
//! | [`review`] | a [`State`](state::State) | [`Review`](review::Review): do the policies mean what they say? |
//! | [`cases`] | [`Case`](cases::Case)s | [`TestReport`](cases::TestReport): is each decided as it is expected? |
//! | [`replay`] | [`ReplayQuestion`](replay::ReplayQuestion) | [`ReplayAnswer`](replay::ReplayAnswer): what would others have decided? |
//! | [`suggest`] | [`SuggestQuestion`](suggest::SuggestQuestion) | [`SuggestAnswer`](suggest::SuggestAnswer): what would permit what was used? |
//! | [`diff`] | [`DiffQuestion`](diff::DiffQuestion) | [`DiffAnswer`](diff::DiffAnswer): what changes between two sets? |
//! | [`prove`] | two configurations | [`Proof`](prove::Proof): do their policies let the same pass, whatever is registered? |
//! | [`format`](mod@format) | files of resources | [`FormatAnswer`](format::FormatAnswer): is the Cedar in them in the one form? |
//! | [`starters`] | a name | [`Starter`](starters::Starter): policies to begin with |
//! | [`audit`] | [`SearchQuestion`](audit::SearchQuestion) | [`Found`](audit::Found), one by one: who did what? |
//! | [`audit`] | [`ShowQuestion`](audit::ShowQuestion) | [`ShownCall`](audit::ShownCall): everything about one call |
//! | [`audit::logs`] | the same, of several logs | [`FoundIn`](audit::logs::FoundIn), [`ShownInLogs`](audit::logs::ShownInLogs): in whichever log? |
//! | [`audit::logs`] | several logs | [`LogsReport`](audit::logs::LogsReport), [`Times`](audit::logs::Times): are they what they were, and do their clocks agree? |
//! | [`audit`] | [`ExportQuestion`](audit::ExportQuestion) | [`ExportAnswer`](audit::ExportAnswer), and a file: prove it |
//! | [`audit`] | a file of evidence | [`EvidenceReport`](audit::EvidenceReport): is all in it proven? |
//! | [`audit`] | [`AssessmentQuestion`](audit::AssessmentQuestion) | [`Assessment`](audit::Assessment): what shows what a framework asks for? |
//! | [`trace`] | [`TraceQuestion`](trace::TraceQuestion) | [`ShownTrace`](trace::ShownTrace): what led to what, and how long did it take? |
//! | [`tools`] | what a server says of its tools | [`Drift`](tools::Drift): what is not what is pinned? |
//! | [`approvals`] | what waits for people | [`Approvals`](approvals::Approvals): which call, who is asked, what became of it? |
//! | [`admission`] | [`Asked`](admission::Asked) | [`Answer`](admission::Answer): may it be registered, may this pod run? |
//! | [`acts`] | what stands by acts of people | [`Quarantines`](acts::Quarantines): what is out of use, by whom and why? |
//! | [`acts`] | what agents are lent | [`Grants`](acts::Grants): to whom, until when, and what is asked for? |
//! | [`acts`] | who is asking | [`Me`](acts::Me): who am I, and what may I do? |
//!
//! Questions and answers are plain data, and their JSON Schema is `docs/query.schema.json` ([`schema()`]). What is asked wrongly is
//! [`Misasked`]. Nothing here prints, reads flags, or speaks a protocol, and nothing decides: that is `core`'s, in the same way as for a
//! call.

pub mod acts;
pub mod admission;
pub mod approvals;
pub mod audit;
pub mod cases;
pub mod check;
pub mod diff;
mod document;
pub mod elsewhere;
pub mod explain;
pub mod format;
pub mod plan;
mod printable;
pub mod prove;
pub mod reach;
#[cfg(test)]
mod recordings;
pub mod replay;
pub mod review;
mod schema;
pub mod starters;
pub mod state;
pub mod suggest;
mod text;
pub mod tools;
pub mod trace;

pub use printable::printable;
pub use schema::schema;

/// A question that has no answer as it is put.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{member} {value}: {reason}")]
pub struct Misasked {
    /// The member of the question.
    pub member: &'static str,
    /// What it says.
    pub value: String,
    /// What is wrong with it, with what to write where that is known.
    pub reason: String,
}

impl Misasked {
    fn new(member: &'static str, value: &impl ToString, reason: impl Into<String>) -> Self {
        Self { member, value: value.to_string(), reason: reason.into() }
    }
}
