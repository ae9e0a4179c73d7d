//! The messages of the API: what a question says, and what is wrong where it says nothing that can be decided. Members that nobody knows
//! are passed over, as the API has it; so is what is said of a subject or a resource beside its name, for its record says that.

use std::fmt;
use std::net::IpAddr;

use vidimus_core::caller::{MAX_DEPTH, User};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

/// A member that is missing, or not what it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(String);

impl Malformed {
    pub(super) fn new(member: impl fmt::Display, what: &str) -> Self {
        Self(format!("{member} {what}"))
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::new(Code::MessageInvalid, malformed.0)
    }
}

/// A subject or a resource. `id` is what is searched for where it is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entity<'j> {
    pub(super) kind: &'j str,
    pub(super) id: Option<&'j str>,
}

impl Entity<'_> {
    /// As it is written here: `Kind/id`.
    pub(super) fn text(&self) -> String {
        format!("{}/{}", self.kind, self.id.unwrap_or_default())
    }
}

/// Where the members of a question are: in itself, or else in what is said once for several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Members<'j> {
    pub(super) own: &'j Json<'j>,
    pub(super) defaults: Option<&'j Json<'j>>,
}

impl<'j> Members<'j> {
    pub(super) const fn of(own: &'j Json<'j>) -> Self {
        Self { own, defaults: None }
    }

    fn get(&self, name: &str) -> Option<&'j Json<'j>> {
        self.own.get(name).or_else(|| self.defaults.and_then(|defaults| defaults.get(name)))
    }

    fn object(&self, name: &str) -> Result<&'j Json<'j>, Malformed> {
        let found = self.get(name).ok_or_else(|| Malformed::new(name, "is missing"))?;
        object(found, name)
    }

    /// A subject or a resource with its id.
    pub(super) fn entity(&self, name: &str) -> Result<Entity<'j>, Malformed> {
        let found = self.object(name)?;
        let id = text(found, name, "id")?;
        Ok(Entity { id: Some(id), ..self.kind(name)? })
    }

    /// One that is searched for: an id is passed over.
    pub(super) fn kind(&self, name: &str) -> Result<Entity<'j>, Malformed> {
        let found = self.object(name)?;
        properties(found, name)?;
        Ok(Entity { kind: text(found, name, "type")?, id: None })
    }

    /// The name of the action.
    pub(super) fn action(&self) -> Result<&'j str, Malformed> {
        let found = self.object("action")?;
        properties(found, "action")?;
        text(found, "action", "name")
    }

    /// What is stated of the circumstances.
    pub(super) fn stated(&self) -> Result<Stated<'j>, Malformed> {
        match self.get("context") {
            None => Ok(Stated::default()),
            Some(context) => Stated::of(object(context, "context")?),
        }
    }

    /// All that it says, to compare it with what it said before.
    pub(super) fn said(&self, names: &[&str]) -> String {
        names.iter().map(|name| format!("{name}={:?};", self.get(name))).collect()
    }
}

/// What whoever makes the call says, and Vidimus cannot know of it here. Whatever else policies look at is never taken from a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stated<'j> {
    /// Of a tool, and nothing else.
    pub(super) arguments: Option<&'j Json<'j>>,
    /// The person for whom it is made.
    pub(super) user: Option<User>,
    /// The number of its hop.
    pub(super) depth: usize,
    /// The caller's address, as the asker sees it.
    pub(super) source_ip: Option<IpAddr>,
    /// Of a call of a model.
    pub(super) tokens_estimated: i64,
    pub(super) streaming: bool,
    /// Of a message to an agent.
    pub(super) push_url: Option<&'j str>,
}

impl Default for Stated<'_> {
    fn default() -> Self {
        Self {
            arguments: None,
            user: None,
            depth: 1,
            source_ip: None,
            tokens_estimated: 0,
            streaming: false,
            push_url: None,
        }
    }
}

impl<'j> Stated<'j> {
    fn of(context: &'j Json<'j>) -> Result<Self, Malformed> {
        let wrong = |name: &str, what: &str| Malformed::new(format_args!("context.{name}"), what);
        let mut stated = Self::default();
        if let Some(arguments) = context.get("arguments") {
            stated.arguments = Some(object(arguments, "context.arguments")?);
        }
        if let Some(user) = context.get("on_behalf_of") {
            let user = user.as_str().and_then(User::of_id);
            stated.user = Some(user.ok_or_else(|| wrong("on_behalf_of", "is not issuer#subject"))?);
        }
        if let Some(depth) = context.get("delegation_depth") {
            let hop = depth.as_integer().and_then(|depth| usize::try_from(depth).ok());
            let hop = hop.filter(|hop| (1..=MAX_DEPTH + 1).contains(hop));
            stated.depth = hop.ok_or_else(|| wrong("delegation_depth", "is not the number of a hop"))?;
        }
        if let Some(address) = context.get("source_ip") {
            let address = address.as_str().and_then(|address| address.parse().ok());
            stated.source_ip = Some(address.ok_or_else(|| wrong("source_ip", "is not an IP address"))?);
        }
        if let Some(tokens) = context.get("tokens_estimated") {
            let tokens = tokens.as_integer().filter(|tokens| *tokens >= 0);
            stated.tokens_estimated = tokens.ok_or_else(|| wrong("tokens_estimated", "is not a number"))?;
        }
        if let Some(streaming) = context.get("streaming") {
            stated.streaming =
                streaming.as_bool().ok_or_else(|| wrong("streaming", "is not true or false"))?;
        }
        if let Some(url) = context.get("push_notification_url") {
            stated.push_url =
                Some(url.as_str().ok_or_else(|| wrong("push_notification_url", "is not a string"))?);
        }
        Ok(stated)
    }
}

/// What becomes of the rest of several questions when one is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Semantic {
    All,
    /// None is asked behind one that is not permitted.
    FirstDeny,
    /// None is asked behind one that is permitted.
    FirstPermit,
}

impl Semantic {
    pub(super) fn of(question: &Json<'_>) -> Result<Self, Malformed> {
        let Some(options) = question.get("options") else { return Ok(Self::All) };
        let Some(named) = object(options, "options")?.get("evaluations_semantic") else {
            return Ok(Self::All);
        };
        match named.as_str() {
            Some("execute_all") => Ok(Self::All),
            Some("deny_on_first_deny") => Ok(Self::FirstDeny),
            Some("permit_on_first_permit") => Ok(Self::FirstPermit),
            _ => Err(Malformed::new(
                "options.evaluations_semantic",
                "is none of execute_all, deny_on_first_deny and permit_on_first_permit",
            )),
        }
    }

    /// Whether nothing is asked behind one with this answer.
    pub(super) const fn ends_with(self, permitted: bool) -> bool {
        match self {
            Self::All => false,
            Self::FirstDeny => !permitted,
            Self::FirstPermit => permitted,
        }
    }
}

/// Which part of what is found is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Page<'j> {
    pub(super) token: Option<&'j str>,
    pub(super) limit: Option<usize>,
}

impl<'j> Page<'j> {
    pub(super) fn of(question: &'j Json<'j>) -> Result<Self, Malformed> {
        let Some(page) = question.get("page") else { return Ok(Self::default()) };
        let page = object(page, "page")?;
        properties(page, "page")?;
        let token = page
            .get("token")
            .map(|token| token.as_str().ok_or_else(|| Malformed::new("page.token", "is not a string")));
        let limit = page.get("limit").map(|limit| {
            let limit = limit.as_integer().and_then(|limit| usize::try_from(limit).ok());
            limit.ok_or_else(|| Malformed::new("page.limit", "is not a number of results"))
        });
        // An empty token is that of the last page, behind which there is nothing; as none it would begin anew.
        Ok(Self { token: token.transpose()?, limit: limit.transpose()? })
    }
}

pub(super) fn object<'j>(of: &'j Json<'j>, member: &str) -> Result<&'j Json<'j>, Malformed> {
    match of {
        Json::Object(_) => Ok(of),
        _ => Err(Malformed::new(member, "is not an object")),
    }
}

fn text<'j>(of: &'j Json<'j>, path: &str, name: &str) -> Result<&'j str, Malformed> {
    let member = || format!("{path}.{name}");
    match of.get(name) {
        None => Err(Malformed::new(member(), "is missing")),
        Some(found) => found
            .as_str()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Malformed::new(member(), "is not a string with something in it")),
    }
}

fn properties(of: &Json<'_>, path: &str) -> Result<(), Malformed> {
    match of.get("properties") {
        None | Some(Json::Object(_)) => Ok(()),
        Some(_) => Err(Malformed::new(format_args!("{path}.properties"), "is not an object")),
    }
}

#[cfg(test)]
mod tests;
