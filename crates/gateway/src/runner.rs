//! The seam to what runs jobs: an upstream that is not there until a call is permitted ([`vidimus_core::resource::Job`], ADR 69).
//!
//! As [`crate::Outbound`], a [`Run`] has the permit of its call and cannot be made without one, so what runs is what was decided and recorded.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc;
use vidimus_core::permit::Permit;
use vidimus_core::record::JobRun;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Job;

use crate::accounts::Place;

/// The longest name of an image in a record, in bytes.
const LONGEST_IMAGE: usize = 300;
/// The longest id in a record, in bytes.
const LONGEST_ID: usize = 64;

/// Runs jobs.
pub trait Runner: Debug + Send + Sync {
    /// Begins to carry out one permitted call, and tells what comes of it. The last that is told is how it ended. Where nobody hears that any
    /// more, it is ended and taken away. `run` is dropped when nothing of it is left: until then it counts among the caller's.
    fn run(&self, run: Run) -> mpsc::Receiver<News>;
}

/// One call of a tool that is a job.
///
/// Nobody else makes one:
///
/// ```compile_fail,E0451
/// # use vidimus_gateway::Run;
/// fn other(run: Run) -> Run {
///     Run { tool: "another".into(), ..run }
/// }
/// ```
///
/// ```compile_fail,E0599
/// # use vidimus_gateway::Run;
/// fn twice(run: Run) -> (Run, Run) {
///     (run.clone(), run)
/// }
/// ```
#[derive(Debug)]
pub struct Run {
    permit: Permit,
    job: Arc<Job>,
    tool: Box<str>,
    arguments: Box<str>,
    is_followed: bool,
    ran: Ran,
    /// Among all jobs: whoever runs this keeps it until nothing of it is left.
    #[expect(dead_code, reason = "held for its drop")]
    place: Place,
}

impl Run {
    pub(crate) fn new(
        permit: Permit,
        (tool, arguments): (&str, &str),
        is_followed: bool,
        (ran, place): (Ran, Place),
    ) -> Result<Self, Refusal> {
        let no_job = || Refusal::new(Code::Internal, "the destination is no job");
        let job = permit.endpoint()?.job.clone().ok_or_else(no_job)?;
        Ok(Self { permit, job, tool: tool.into(), arguments: arguments.into(), is_followed, ran, place })
    }

    /// By what right it runs.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// What runs.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Which of its tools is called.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// The arguments as the caller wrote them and policies saw them: JSON.
    pub fn arguments(&self) -> &str {
        &self.arguments
    }

    /// Whether somebody wants to know how far it is.
    pub fn is_followed(&self) -> bool {
        self.is_followed
    }

    /// Where it is noted what ran.
    pub fn ran(&self) -> &Ran {
        &self.ran
    }
}

/// What is told of a run.
#[derive(Debug)]
pub enum News {
    /// It goes on, and there is nothing to say.
    Alive,
    /// How far it is, in words: those of the tool, or of where it runs.
    Progress(Box<str>),
    /// It has ended.
    Ended(Result<Output, Refusal>),
    /// It has ended with this result, as MCP has it.
    Result(Box<Value>),
}

/// What came of a run that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// All that it wrote, but for what it said of its progress.
    pub text: String,
    /// What it exited with.
    pub exit: u32,
}

/// What ran, noted while it becomes known: whenever the call ends, its record has what was known then.
#[derive(Clone, Debug, Default)]
pub struct Ran(Arc<Mutex<Option<JobRun>>>);

impl Ran {
    /// Notes something.
    pub fn note(&self, change: impl FnOnce(&mut JobRun)) {
        let mut ran = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ran = ran.get_or_insert_default();
        change(ran);
        // A record has a bounded place, and these are somebody else's words.
        for (text, most) in [(&mut ran.image, LONGEST_IMAGE), (&mut ran.uid, LONGEST_ID)] {
            if let Some(text) = text {
                text.retain(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\'));
                text.truncate(most);
            }
        }
    }

    /// What is known; `None` where nothing ran.
    pub fn known(&self) -> Option<JobRun> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_is_known_as_far_as_it_was_noted_and_has_its_place() {
        let ran = Ran::default();
        assert_eq!(ran.known(), None);
        ran.note(|run| run.uid = Some("6f0c\"\n".to_owned()));
        let of_effect = ran.clone();
        ran.note(|run| run.image = Some(format!("é{}", "x".repeat(1000))));
        let known = of_effect.known().expect("noted");
        assert_eq!((known.uid.as_deref(), known.image.map(|image| image.len())), (Some("6f0c"), Some(300)));
        assert_eq!((known.exit, known.output), (None, None));
    }
}
