//! Whether the policies mean what they say: everything that `check` finds, and beside it policies that can never matter, and those
//! that permit more than their author is likely to mean.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::caller::UnixMillis;
use vidimus_core::reach::NotSurveyed;
use vidimus_core::review::{Dead, Flaw, Found};

use crate::check::{self, Fault};
use crate::state::{State, StateOf};

/// What is found of the policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Review {
    /// What is found of policies that are in force, in the order of their objects.
    pub findings: Vec<Finding>,
    /// What is not in force, or only in part, as in `check`.
    pub rejections: Vec<Fault>,
    /// What is in force and not as it should be, as in `check`.
    pub warnings: Vec<Fault>,
    /// How many policies are in force.
    pub policies: usize,
    /// Kinds of which no object is registered here, so that policies about them are not judged by what is registered.
    pub not_judged: Vec<String>,
    /// Policies of which it was not found out whether something registered satisfies them: they tell more principals and resources apart
    /// than are tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<String>,
    /// What this is the answer of.
    pub state: StateOf,
}

/// The classes of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Nothing that is registered satisfies it.
    Dead,
    /// A permit of which everything is forbidden.
    Contradicted,
    /// Another policy says the same and more.
    Shadowed,
    /// A permit that leaves open two of: who, what is done, to what.
    OverBroad,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Dead, Self::Contradicted, Self::Shadowed, Self::OverBroad];

    /// As it stands in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Contradicted => "contradicted",
            Self::Shadowed => "shadowed",
            Self::OverBroad => "over-broad",
        }
    }
}

/// Something about one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What is the matter.
    pub class: Class,
    /// The policy's id.
    pub policy: String,
    /// Its object, `Policy namespace/name`.
    pub object: String,
    /// The file, the directory or the cluster.
    pub source: String,
    /// The line where the policy begins, 1-based; 0 where it is not known.
    pub line: u32,
    /// The other policies that this is about: the forbids, or the broader policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// What is the matter, in a sentence.
    pub reason: String,
    /// What to do.
    pub fix: String,
}

impl Finding {
    /// `file:line`, or `file` where the line is not known.
    pub fn place(&self) -> String {
        if self.line == 0 { self.source.clone() } else { format!("{}:{}", self.source, self.line) }
    }
}

/// Reviews the policies of a state at a time, after which a window may not open again.
///
/// # Errors
/// See [`NotSurveyed`].
pub fn review(state: &State, now: UnixMillis) -> Result<Review, NotSurveyed> {
    let snapshot = &state.loaded.snapshot;
    let mut report = check::check(state);
    report.warn_of(&check::shut_for_good(state, now));
    let found = snapshot.review()?;
    let (untold, found): (Vec<_>, Vec<_>) =
        found.iter().partition(|one| matches!(one.flaw, Flaw::Untold { .. }));
    let findings = found.into_iter().filter_map(finding).collect();
    let has = |kind: &str| report.objects.iter().any(|object| object.starts_with(&format!("{kind} ")));
    let principals = has("Agent") || has("ServiceIdentity");
    let missing =
        [("principals", principals), ("MCPServer", has("MCPServer")), ("LLMProvider", has("LLMProvider"))];
    Ok(Review {
        findings,
        untold: untold.into_iter().map(|one| one.policy.to_string()).collect(),
        rejections: report.rejections,
        warnings: report.warnings,
        policies: snapshot.policies().filter(|id| !id.starts_with("vidimus/")).count(),
        not_judged: missing.iter().filter(|(_, has)| !has).map(|(kind, _)| (*kind).to_owned()).collect(),
        state: state.described(),
    })
}

/// `None` of what was not found out.
pub(crate) fn finding(found: &Found<'_>) -> Option<Finding> {
    let meta = &found.object.meta;
    let texts = |ids: &[std::sync::Arc<str>]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (class, by, reason, fix) = match &found.flaw {
        Flaw::Dead(dead) => {
            let (reason, fix) = said_of_dead(*dead);
            (Class::Dead, Vec::new(), reason.to_owned(), fix.to_owned())
        }
        Flaw::Contradicted { by } => (
            Class::Contradicted,
            vec![by.to_string()],
            format!("whatever it permits, {by} forbids"),
            "narrow the forbid, or delete the permit".to_owned(),
        ),
        Flaw::Forbidden { by } => (
            Class::Contradicted,
            texts(by),
            format!("as things are registered, all that it permits is forbidden by {}", texts(by).join(", ")),
            "narrow what forbids it, or delete the permit".to_owned(),
        ),
        Flaw::Implied { by } => (
            Class::Shadowed,
            vec![by.to_string()],
            format!("{by} says the same and more, so this adds nothing"),
            "delete one of the two: this one if the broader is meant, else the broader".to_owned(),
        ),
        Flaw::Untold { .. } => return None,
        Flaw::Broad { anybody, any_action, anything } => {
            let open =
                [(*anybody, "who asks"), (*any_action, "what is done"), (*anything, "what it is done to")];
            let open: Vec<&str> = open.into_iter().filter(|(open, _)| *open).map(|(_, what)| what).collect();
            (
                Class::OverBroad,
                Vec::new(),
                format!("it permits and says nothing of {}", open.join(" and of ")),
                "say it in the scope, as in principal in Group::\"…\" (of people: UserGroup::\"…\"), action == Action::\"…\", resource in ToolSet::\"…\"".to_owned(),
            )
        }
    };
    let line = line(found).unwrap_or_else(|| meta.origin.line());
    Some(Finding {
        class,
        policy: found.policy.to_string(),
        object: format!("Policy {}", meta.key()),
        source: meta.origin.source().into_owned(),
        line,
        by,
        reason,
        fix,
    })
}

const fn said_of_dead(dead: Dead) -> (&'static str, &'static str) {
    match dead {
        Dead::NoPrincipal => (
            "no registered principal is one that it is about",
            "correct the group, team or name in it, register who is meant, or delete the policy",
        ),
        Dead::NoResource => (
            "nothing that is registered is what it is about",
            "correct the set, server or name in it, register what is meant, or delete the policy",
        ),
        Dead::NoPair => (
            "no registered principal and resource satisfy its conditions together",
            "correct the conditions or the records, or delete the policy",
        ),
    }
}

/// The line of a policy in the file of its object.
fn line(found: &Found<'_>) -> Option<u32> {
    let meta = &found.object.meta;
    let file = meta.origin.path()?;
    let begins = vidimus_registry::field_line(file, meta.origin.line(), "spec.cedar")?;
    let cedar = &*found.object.cedar;
    let at = beginnings(cedar).get(found.number).copied()?;
    let wanted = cedar.get(at..)?.lines().next()?.trim();
    // Several may begin alike.
    let before = cedar.get(..at)?.rsplit_once('\n').map_or("", |(before, _)| before);
    let alike = before.lines().filter(|line| line.contains(wanted)).count();
    line_of(file, begins, (wanted, alike)).or(Some(begins))
}

/// The first line from `begins` on that has a text, after so many others that have it.
fn line_of(file: &Path, begins: u32, (wanted, alike): (&str, usize)) -> Option<u32> {
    let text = std::fs::read_to_string(file).ok()?;
    let lines = text.lines().zip(1_u32..).skip(usize::try_from(begins.checked_sub(1)?).ok()?);
    lines.filter(|(line, _)| line.contains(wanted)).nth(alike).map(|(_, number)| number)
}

/// Where each policy of a text begins, annotations included.
fn beginnings(cedar: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let (mut in_text, mut in_comment, mut escaped, mut begun) = (false, false, false, false);
    let mut characters = cedar.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if in_comment {
            in_comment = character != '\n';
        } else if in_text {
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if character == '/' && characters.peek().is_some_and(|(_, next)| *next == '/') {
            in_comment = true;
        } else if !character.is_whitespace() {
            if !begun {
                found.push(at);
                begun = true;
            }
            in_text = character == '"';
            begun &= character != ';';
        }
    }
    found
}

#[cfg(test)]
mod tests;
