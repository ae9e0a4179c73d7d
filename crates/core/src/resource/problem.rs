//! What is wrong with a document, field by field.

use std::fmt;

use super::{Origin, Rejection, Subject};

/// Where in a document: `spec.identities[1].oidc.issuer`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At<'a> {
    Root,
    Key(&'a At<'a>, &'a str),
    Index(&'a At<'a>, usize),
}

impl<'a> At<'a> {
    pub(crate) fn key(&'a self, key: &'a str) -> At<'a> {
        At::Key(self, key)
    }

    pub(crate) fn index(&'a self, index: usize) -> At<'a> {
        At::Index(self, index)
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Root => Ok(()),
            At::Key(At::Root, key) => f.write_str(key),
            // A map key may hold anything; only one that cannot be misread as a path stands without quotes.
            At::Key(parent, key)
                if key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') =>
            {
                write!(f, "{parent}.{key}")
            }
            At::Key(parent, key) => write!(f, "{parent}[{:?}]", shortened(key)),
            At::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// What is wrong with one value, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: String,
    pub(crate) fix: String,
}

impl Fault {
    pub(crate) fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { reason: reason.into(), fix: fix.into() }
    }
}

#[derive(Debug)]
struct Problem {
    field: String,
    value: String,
    fault: Fault,
}

/// The problems of one document, in the order they were found.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    /// Fields whose shape is wrong: what is found below them later is a consequence.
    broken: Vec<String>,
}

impl Problems {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Reports a fault of `value` at `at`, unless it only follows from a wrong shape reported before.
    pub(crate) fn report(&mut self, at: At<'_>, value: &str, fault: Fault) {
        self.report_in(at.to_string(), value, fault);
    }

    /// The same, of a path that was written before.
    pub(crate) fn report_in(&mut self, field: String, value: &str, fault: Fault) {
        if !self.broken.iter().any(|broken| is_at_or_below(&field, broken)) {
            self.list.push(Problem { value: shown(&field, value), field, fault });
        }
    }

    /// Reports a wrong shape. `consequences` are the fields about which nothing more is to be said.
    pub(crate) fn report_shape(&mut self, at: At<'_>, value: &str, fault: Fault, consequences: &[String]) {
        self.report(at, value, fault);
        self.broken.extend_from_slice(consequences);
    }

    /// The checked value, or its fault reported.
    pub(crate) fn take<T>(&mut self, at: At<'_>, value: &str, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.report(at, value, fault)).ok()
    }

    pub(crate) fn into_rejections(self, origin: &Origin, object: &Subject) -> Vec<Rejection> {
        let rejection = |problem: Problem| Rejection {
            origin: origin.clone(),
            object: object.clone(),
            field: problem.field,
            value: problem.value,
            reason: problem.fault.reason,
            fix: problem.fault.fix,
        };
        self.list.into_iter().map(rejection).collect()
    }
}

fn is_at_or_below(field: &str, ancestor: &str) -> bool {
    field.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The value as it may be printed: shortened, and nothing of what people put where a secret is configured.
fn shown(field: &str, value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else if ["spec.credential", "spec.endpoint.credential", "spec.openapi.credential", "spec.card.keys"]
        .iter()
        .any(|secret| is_at_or_below(field, secret))
    {
        "(not shown)".to_owned()
    } else {
        shortened(&without_user_info(value))
    }
}

/// A password in a URL is a secret too (RFC 3986 section 3.2.1), also where the URL is not quite one.
fn without_user_info(value: &str) -> String {
    let start = match (value.find("//"), value.find(':')) {
        (Some(slashes), _) => slashes + 2,
        (None, Some(colon)) => colon + 1,
        (None, None) => return value.to_owned(),
    };
    let (before, rest) = value.split_at_checked(start).unwrap_or((value, ""));
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    match authority.rfind('@').and_then(|at| rest.get(at..)) {
        Some(rest) => format!("{before}…{rest}"),
        None => value.to_owned(),
    }
}

/// The beginning, without control characters; the maximum is 120 characters.
pub(crate) fn shortened(value: &str) -> String {
    const MAX: usize = 120;
    let mut text: String = value.chars().take(MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if value.chars().nth(MAX).is_some() {
        text.pop();
        text.push('…');
    }
    text
}
