//! The ids in an upstream's answer, sealed to who gets it, and what of a list of tasks is the caller's own.

use std::sync::{Arc, OnceLock};

use vidimus_core::call::{Action, Arguments, Ask, Call, Destination};
use vidimus_core::caller::Caller;
use vidimus_core::decision::Outcome;
use vidimus_core::guard::{Came, Guarded, Kinds, Looked, Wanted};
use vidimus_core::obligation::{Change, Obligation};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use crate::answer::{Asked, found, rebound};
use crate::gate::{Shared, millis};
use crate::news;
use crate::part::Part;
use crate::protocol::a2a::webhook::Proof;
use crate::seal::{self, Kind, MAX_ID, MAX_PAGE};
use crate::standing::TaskKey;

/// The first task that an answer names, by the upstream's id: what the record of the effect says.
pub type FirstTask = Arc<OnceLock<Box<str>>>;

/// What a caller may read of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// All that is said of it.
    All,
    /// How it is, and none of the server's words: something is redacted of what its tool answers.
    Redacted,
}

/// A task of the caller's own, where a server says something of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its id, as the caller gets it.
    pub id: String,
    pub reads: Reads,
}

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

    /// The resource that was asked for.
    pub fn resource(&self) -> Option<&str> {
        match &self.asked.part {
            Part::Resource(uri) => Some(uri),
            _ => None,
        }
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
            self.shared.standing.news().made(self.destination.id(), &self.holder, id);
        }
        if asked_for { Some(asked()) } else { known.or_else(|| made.then(asked)) }
    }

    /// What the call was about that made a task of the caller's own, where the caller may read it now.
    fn readable(&self, id: &str) -> Option<(Arc<Part>, Reads)> {
        let part = self.shared.standing.maker_of(&TaskKey::of(&self.holder, id))?;
        let reads = self.reads(&part)?;
        Some((part, reads))
    }

    /// Whether a task is the caller's own, and may be read by it now.
    pub fn lists(&self, id: &str) -> bool {
        self.readable(id).is_some()
    }

    /// What the caller gets for a task of a list; `None` for one that is not the caller's own, and for one that the caller may not
    /// read now.
    ///
    /// # Errors
    /// `internal` where it cannot be sealed.
    pub fn listed(&self, id: &str) -> Result<Option<Told>, Refusal> {
        let Some((part, reads)) = self.readable(id) else { return Ok(None) };
        Ok(Some(Told { id: self.sealed(Kind::Task, &part, id)?, reads }))
    }

    /// What the caller gets for the id of a task that there is news of; `None` for one that is not the caller's own, and for one
    /// that the caller may not read now.
    ///
    /// # Errors
    /// `internal` where it cannot be sealed.
    pub fn news_of(&self, id: &str) -> Result<Option<Told>, Refusal> {
        if !self.asks_of(id) {
            return self.listed(id);
        }
        // Whether the task that was asked for may be read still, is looked after with the stream.
        let reads = self.reads(&self.asked.part).unwrap_or(Reads::Redacted);
        Ok(self.task(id, false)?.map(|id| Told { id, reads }))
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

    /// What the caller had named where an address for news of its tasks stands: its webhook, and how news prove themselves there.
    pub fn webhook(&self, url: &str) -> Option<(Box<str>, Proof)> {
        let (agent, sealed) = news::address_below(url, &self.shared.public_url)?;
        let own = self.destination.id();
        let (_, address) = news::Address::opened(&self.shared.seal, own, sealed)?;
        let is_own = agent == &*own.id && address.is_of(&self.caller);
        is_own.then(|| (address.webhook().into(), address.proof().clone()))
    }

    /// Whether the call was about this task.
    pub fn asks_of(&self, id: &str) -> bool {
        self.asked.task.as_deref() == Some(id)
    }

    fn sealed(&self, kind: Kind, part: &Part, id: &str) -> Result<String, Refusal> {
        let sealed = self.shared.seal.seal(kind, &self.holder, part, id);
        sealed.map_err(|error| Refusal::new(Code::Internal, "an id could not be sealed").with_detail(error))
    }

    /// What the caller may read, by the configuration in force, of what became of a call about `part`; `None` where nothing.
    fn reads(&self, part: &Part) -> Option<Reads> {
        let world = self.shared.snapshot();
        let (caller, destination) = (rebound(&world, &self.caller)?, found(&world, &self.destination)?);
        let target = part.of(&destination)?;
        let ask = match part {
            Part::Tool(_) => {
                Ask { arguments: Arguments::Unknown, ..Ask::about("tasks/get", Action::InvokeTool, target) }
            }
            Part::Whole | Part::Skill(_) if matches!(destination, Destination::Agent(_)) => {
                Ask::about("GetTask", Action::CallAgent, target)
            }
            _ => return None,
        };
        let call = Call {
            caller: &caller,
            ask,
            now: millis(self.shared.clock.now().wall),
            source_ip: self.asked.source_ip,
            so_far: self.asked.so_far(),
            approvals: &[],
        };
        let guarded = self.guarded(&world, &call);
        let ask = Ask { guarded: &guarded, ..call.ask };
        let call = Call { ask, ..call };
        let decision = world.authorize(&call);
        let redacts = |one: &Obligation| matches!(one.change, Change::RedactAnswer(_));
        match decision.outcome() {
            Outcome::Allow | Outcome::AllowWithObligations if decision.obligations().iter().any(redacts) => {
                Some(Reads::Redacted)
            }
            Outcome::Allow | Outcome::AllowWithObligations => Some(Reads::All),
            Outcome::Hold | Outcome::Deny => None,
        }
    }

    /// What guards come to at a read. Who asks for one task says an id, in which a guard that looks by itself finds nothing. A webhook finds what it says:
    /// it lets be read what it let be asked now, and where it was not asked, what waits for it stands.
    fn guarded(&self, world: &Snapshot, call: &Call<'_>) -> Guarded {
        let mut guarded = Guarded::default();
        for looked in self.asked.guarded().looked().iter().filter(|looked| looked.guard.webhook().is_some()) {
            guarded.add(looked.clone(), []);
        }
        loop {
            let ask = Ask { guarded: &guarded, ..call.ask };
            let mut wanted = world.guards_wanted(&world.authorize(&Call { ask, ..*call }));
            wanted.retain(|one| one.guard.webhook().is_none());
            if wanted.is_empty() {
                return guarded;
            }
            for Wanted { guard, .. } in wanted {
                guarded.add(Looked { guard, came: Came::Passed, kinds: Kinds::new() }, []);
            }
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
