//! The ids in an upstream's answer, sealed to who gets it, and what of a list of tasks is the caller's own.

use std::sync::{Arc, OnceLock};

use vidimus_core::call::{Action, Arguments, Ask, Call, Destination};
use vidimus_core::caller::Caller;
use vidimus_core::decision::Outcome;
use vidimus_core::refusal::{Code, Refusal};

use crate::answer::{Asked, found, rebound};
use crate::gate::{Shared, millis};
use crate::part::Part;
use crate::seal::{self, Kind, MAX_ID, MAX_PAGE};
use crate::standing::TaskKey;

/// The first task that an answer names, by the upstream's id: what the record of the effect says.
pub type FirstTask = Arc<OnceLock<Box<str>>>;

/// Who gets an answer, and what was asked, owned: for streams that outlive the handling of their call.
#[derive(Clone, Debug)]
pub struct Handles {
    shared: Arc<Shared>,
    destination: Destination,
    caller: Caller,
    asked: Asked,
    /// To whom ids are sealed.
    holder: String,
    first: FirstTask,
}

impl Handles {
    pub fn new(shared: Arc<Shared>, destination: Destination, caller: Caller, asked: Asked) -> Self {
        let holder = seal::binding(&destination, &caller);
        Self { shared, destination, caller, asked, holder, first: FirstTask::default() }
    }

    /// Where the first task that is named will stand.
    pub fn first_task(&self) -> FirstTask {
        self.first.clone()
    }

    /// What the caller gets for the id of a task; `None` where it is not known whose the task is, or the id is too long. `made`:
    /// the answer says that the call has made the task, where nothing else is known of it.
    ///
    /// # Errors
    /// `internal` where it cannot be sealed.
    pub fn task(&self, id: &str, made: bool) -> Result<Option<String>, Refusal> {
        if id.is_empty() || id.len() > MAX_ID {
            return Ok(None);
        }
        let Some(part) = self.part_of(id, made) else { return Ok(None) };
        self.first.get_or_init(|| id.into());
        self.sealed(Kind::Task, &part, id).map(Some)
    }

    /// What the call was about that made a task, as far as is known; what was asked now, where that is about it or `made` it.
    fn part_of(&self, id: &str, made: bool) -> Option<Arc<Part>> {
        let asked = || Arc::new(self.asked.part.clone());
        let asked_for = self.asks_of(id);
        if asked_for && !made {
            return Some(asked());
        }
        let key = TaskKey::of(&self.holder, id);
        let known = self.shared.standing.maker_of(&key);
        if made && known.is_none() {
            self.shared.standing.task_made(key, asked());
        }
        if asked_for { Some(asked()) } else { known.or_else(|| made.then(asked)) }
    }

    /// What the call was about that made a task of the caller's own, where the caller may read it now.
    pub fn lists(&self, id: &str) -> Option<Arc<Part>> {
        let part = self.shared.standing.maker_of(&TaskKey::of(&self.holder, id))?;
        self.may_read(&part).then_some(part)
    }

    /// What the caller gets for a task of a list; `None` for one that is not the caller's own, and for one that the caller may not
    /// read now.
    ///
    /// # Errors
    /// `internal` where it cannot be sealed.
    pub fn listed(&self, id: &str) -> Result<Option<String>, Refusal> {
        self.lists(id).map(|part| self.sealed(Kind::Task, &part, id)).transpose()
    }

    /// What the caller gets for the id of a task that there is news of; `None` for one that is not the caller's own, and for one
    /// that the caller may not read now.
    ///
    /// # Errors
    /// `internal` where it cannot be sealed.
    pub fn news_of(&self, id: &str) -> Result<Option<String>, Refusal> {
        // Whether the task that was asked for may be read still, is looked after with the stream.
        if self.asks_of(id) { self.task(id, false) } else { self.listed(id) }
    }

    /// What the caller gets for the id of a context: its own word for it, or the agent's, sealed.
    ///
    /// # Errors
    /// `internal` where it cannot be sealed.
    pub fn context(&self, id: &str) -> Result<Option<String>, Refusal> {
        if id.is_empty() || id.len() > seal::MAX_SEALED {
            return Ok(None);
        }
        if let Some(chosen) = self.shared.seal.open(Kind::ChosenContext, &self.holder, id) {
            return Ok(Some(chosen.id));
        }
        if id.len() > MAX_ID {
            return Ok(None);
        }
        self.sealed(Kind::Context, &Part::Whole, id).map(Some)
    }

    /// What the caller gets for the id of an event of the stream that answers this call.
    ///
    /// # Errors
    /// `upstream_invalid` for one that is too long, `internal` where it cannot be sealed.
    pub fn event(&self, id: &str) -> Result<String, Refusal> {
        if id.len() > MAX_ID {
            let message = format!("the id of an event of the upstream's has more than {MAX_ID} bytes");
            return Err(Refusal::new(Code::UpstreamInvalid, message));
        }
        self.sealed(Kind::Event, &self.asked.part, id)
    }

    /// What the caller gets for the token of the next page of a list.
    ///
    /// # Errors
    /// `upstream_invalid` for one that is too long, `internal` where it cannot be sealed.
    pub fn page(&self, token: &str) -> Result<String, Refusal> {
        if token.len() > MAX_PAGE {
            let message = format!("the token of the upstream's next page has more than {MAX_PAGE} bytes");
            return Err(Refusal::new(Code::UpstreamInvalid, message));
        }
        self.sealed(Kind::Page, &Part::Whole, token)
    }

    /// Whether the call was about this task.
    pub fn asks_of(&self, id: &str) -> bool {
        self.asked.task.as_deref() == Some(id)
    }

    fn sealed(&self, kind: Kind, part: &Part, id: &str) -> Result<String, Refusal> {
        let sealed = self.shared.seal.seal(kind, &self.holder, part, id);
        sealed.map_err(|error| Refusal::new(Code::Internal, "an id could not be sealed").with_detail(error))
    }

    /// Whether the caller may read, by the configuration in force, what became of a call about `part`.
    pub fn may_read(&self, part: &Part) -> bool {
        let world = self.shared.snapshot();
        let Some(caller) = rebound(&world, &self.caller) else { return false };
        let Some(destination) = found(&world, &self.destination) else { return false };
        let Some(target) = part.of(&destination) else { return false };
        let ask = match part {
            Part::Tool(_) => {
                Ask { arguments: Arguments::Unknown, ..Ask::about("tasks/get", Action::InvokeTool, target) }
            }
            Part::Whole | Part::Skill(_) if matches!(destination, Destination::Agent(_)) => {
                Ask::about("GetTask", Action::CallAgent, target)
            }
            _ => return false,
        };
        let call = Call {
            caller: &caller,
            ask,
            now: millis(self.shared.clock.now().wall),
            source_ip: self.asked.source_ip,
            so_far: self.asked.so_far(),
            approvals: &[],
        };
        match world.authorize(&call).outcome() {
            Outcome::Allow | Outcome::AllowWithObligations => true,
            Outcome::Hold | Outcome::Deny => false,
        }
    }

    /// Whether the answer is to a request for a list of tasks.
    pub fn lists_tasks(&self) -> bool {
        self.asked.method() == "tasks/list"
    }

    /// Whether the answer is to a call that may make tasks, which are then the caller's.
    pub fn makes_tasks(&self) -> bool {
        self.asked.task.is_none() && matches!(self.asked.part, Part::Tool(_))
    }
}
