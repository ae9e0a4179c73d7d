//! The members of an object, each taken once: whoever reads a request says what became of every member, or the request is refused.

use serde_json::{Map, Number, Value};
use vidimus_core::refusal::{Code, Refusal};

/// An object whose members are being read.
#[derive(Debug)]
pub(super) struct Taken {
    members: Map<String, Value>,
    /// What it is, for whoever wrote it.
    what: &'static str,
}

impl Taken {
    /// `what` it is in words: "a message". A member that is null says nothing.
    ///
    /// # Errors
    /// `message_invalid` for what is no object.
    pub(super) fn of(value: Value, what: &'static str) -> Result<Self, Refusal> {
        let Value::Object(mut members) = value else { return Err(invalid(what, "must be an object")) };
        members.retain(|_, value| !value.is_null());
        Ok(Self { members, what })
    }

    /// A member, which is read now.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name)
    }

    /// # Errors
    /// `message_invalid` for what is no text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    /// A text that has to be there.
    ///
    /// # Errors
    /// `message_invalid` where it is not.
    pub(super) fn needed(&mut self, name: &str) -> Result<String, Refusal> {
        self.text(name)?.ok_or_else(|| self.wrong(name, "a text"))
    }

    /// # Errors
    /// `message_invalid` for what is no list.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>, Refusal> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(self.wrong(name, "a list")),
        }
    }

    /// # Errors
    /// `message_invalid` for what is no boolean.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(name, "a boolean")),
        }
    }

    /// # Errors
    /// `message_invalid` for what is no number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<Number>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(_) => Err(self.wrong(name, "a number")),
        }
    }

    /// # Errors
    /// `message_invalid` for what is no whole number, or less than nothing.
    pub(super) fn whole(&mut self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| self.wrong(name, "a whole number")),
        }
    }

    /// # Errors
    /// `message_invalid` for what is no object.
    pub(super) fn object(&mut self, name: &str, what: &'static str) -> Result<Option<Self>, Refusal> {
        self.take(name).map(|value| Self::of(value, what)).transpose()
    }

    /// A member that may say only what is so without it: nothing is lost where it does not go on.
    ///
    /// # Errors
    /// `no_equivalent` where it says something else.
    pub(super) fn says_nothing(&mut self, name: &str, unsaid: &[Value]) -> Result<(), Refusal> {
        match self.take(name) {
            None => Ok(()),
            Some(value) if unsaid.contains(&value) => Ok(()),
            Some(_) => Err(no_equivalent(self.what, name)),
        }
    }

    /// A member that is a hint: by it neither the model is told anything else, nor has the caller's answer anything else in it. It is cheaper, sooner
    /// or better known to the provider alone, each of which has its own way to that.
    pub(super) fn pass_over(&mut self, name: &str) {
        self.take(name);
    }

    /// Whether it has this member, which is not read by that.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// That every member was read.
    ///
    /// # Errors
    /// `no_equivalent` where one was not: one that the API has and the other has not, or one that nobody here knows.
    pub(super) fn done(self) -> Result<(), Refusal> {
        self.members.keys().next().map_or(Ok(()), |name| Err(no_equivalent(self.what, name)))
    }

    fn wrong(&self, name: &str, kind: &str) -> Refusal {
        let message = format!("{}: member {name:?} must be {kind}", self.what);
        Refusal::new(Code::MessageInvalid, message)
    }
}

/// What a caller of a model is told to do about that: the code's own words are of agents too.
const NEXT: &str = "The model is of a provider that speaks another API than the request. Leave out the member that is named, or call a model of a provider of \
    the API that you speak; docs/clients.md has what is translated.";

/// The refusal of what the other API has no words for.
pub(super) fn no_equivalent(what: &str, name: &str) -> Refusal {
    let shown: String = name.chars().take(64).collect();
    let message = format!("{what}: {shown:?} has no equivalent in the API of the model's provider");
    Refusal::new(Code::NoEquivalent, message).with_next(NEXT)
}

/// The refusal of a request that is none of its own API.
pub(super) fn invalid(what: &str, why: &str) -> Refusal {
    Refusal::new(Code::MessageInvalid, format!("{what} {why}"))
}

/// The refusal of an answer that is none of the provider's API, or that says what cannot be said in the caller's.
pub(super) fn unreadable(why: impl std::fmt::Display) -> Refusal {
    const MESSAGE: &str = "the provider's answer cannot be said in the API that was called";
    Refusal::new(Code::UpstreamInvalid, MESSAGE).with_detail(why)
}
