//! Why an act does not fit what stands, and what to do instead.

use std::sync::Arc;

use super::ended::{EndedGrant, GrantEnd};
use crate::act::{BadTerms, Subject};
use crate::approval::pending;
use crate::refusal::{Code, Refusal};

/// Why an act does not fit what stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// What it would undo does not stand.
    #[error("{what} is not quarantined by an act")]
    Nothing { what: String },
    /// Another act stands there.
    #[error("{what} is quarantined by the act {act}, which is another one than this would undo")]
    Other { what: String, act: String },
    /// What is asked of people, or was, is not as it would have to be.
    #[error(transparent)]
    Approval(#[from] pending::Unfit),
    #[error(transparent)]
    Terms(#[from] BadTerms),
    /// Nothing is known of it: it never stood, or that it did is forgotten.
    #[error("no grant or request {id} stands")]
    NoGrant { id: String },
    /// It stood, and is over.
    #[error("{0}")]
    Ended(Arc<EndedGrant>),
    /// All of its uses were taken.
    #[error("the grant {id} has no uses left")]
    Spent { id: String },
    #[error("this grant is asked for already: {id}")]
    Requested { id: String },
    #[error(
        "the grant is not within what {id} asks for: the same agent and transaction, and none but its resources"
    )]
    Wider { id: String },
    /// It was first seen before.
    #[error("the tool {tool} of {server} was seen before, and is held to what it was then")]
    Pinned { server: Subject, tool: String },
    /// There is no room for more tools that are pinned at first sight.
    #[error(
        "as many tools of {server}, or of the servers of its namespace, are pinned at first sight as may"
    )]
    ManyPinned { server: Subject },
    #[error("as many grants, or requests for them, stand as may")]
    Full,
}

impl Unfit {
    /// As it is answered: `id_unknown` of what does not exist, `overloaded` where there is no room for a question, `act_unfit` of all else;
    /// with what to do next by the rule that it is about.
    pub fn refusal(&self) -> Refusal {
        let code = match self {
            Self::NoGrant { .. } | Self::Approval(pending::Unfit::Unknown) => Code::IdUnknown,
            Self::Approval(pending::Unfit::TooMany) => Code::Overloaded,
            _ => Code::ActUnfit,
        };
        let refusal = Refusal::new(code, self.to_string());
        match self.next() {
            Some(next) => refusal.with_next(next),
            None => refusal,
        }
    }

    /// What to do next, where more is known than the code says.
    fn next(&self) -> Option<&'static str> {
        Some(match self {
            Self::Nothing { .. } => {
                "There is nothing to lift; `vidimus quarantine list` shows what is quarantined, and by which acts."
            }
            Self::Other { .. } => {
                "Look at the act that stands (`vidimus quarantine list`), and lift that one by its id if it is meant."
            }
            Self::Approval(why) => return next_of_approval(*why),
            Self::Terms(_) => return None,
            Self::NoGrant { .. } => "`vidimus grant list` shows the grants and requests that stand.",
            Self::Ended(ended) => match ended.how {
                GrantEnd::Granted => "There is nothing more to decide; `vidimus grant list` shows the grant.",
                GrantEnd::Declined
                | GrantEnd::Lapsed
                | GrantEnd::Revoked
                | GrantEnd::Spent
                | GrantEnd::Expired => {
                    "There is nothing more to end or to decide; give another grant if one is needed (`vidimus grant give`)."
                }
            },
            Self::Spent { .. } => "Give another grant if more uses are needed (`vidimus grant give`).",
            Self::Requested { .. } => {
                "Wait until somebody decides about the one that is asked for (`vidimus grant list`)."
            }
            Self::Wider { .. } => {
                "Grant what was asked for or less, or give a grant of its own (`vidimus grant give`)."
            }
            Self::Pinned { .. } => {
                "Pin it as it is in the server's record (`vidimus pin`), if that is what it is to be."
            }
            Self::ManyPinned { .. } => {
                "Pin the server's tools in its record (`vidimus pin`, spec.integrity.pins), which has room of its own."
            }
            Self::Full => {
                "Lift, revoke or decide what is not needed any more, or wait until some of it is over."
            }
        })
    }
}

/// The same of approvals.
fn next_of_approval(why: pending::Unfit) -> Option<&'static str> {
    use pending::Unfit as Why;
    Some(match why {
        Why::Unknown => "`vidimus approvals list` shows those that stand, with their ids.",
        Why::Standing => "Look at the one that stands (`vidimus approvals list`).",
        Why::Over => {
            "There is nothing more to answer; `vidimus approvals show` says who answered it, and what became of it."
        }
        Why::TooLate | Why::NotUsable => "When the caller makes the call again, people are asked anew.",
        Why::NotAsked => {
            "`vidimus approvals show` says which roles are asked, and from when on; approve in one that still lacks somebody."
        }
        Why::Again => "Have another person approve it as well.",
        Why::NoPerson => "A person has to do it, with a token of its own: `vidimus approvals`.",
        Why::OwnCall => {
            "Have somebody else approve it: a person for whom the call is not made, and who answers for nothing that makes it."
        }
        Why::Quarantined => {
            "Have somebody else approve it, or have the quarantine of this person lifted first."
        }
        Why::TooMany | Why::TooEarly => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Class;

    /// What does not exist is not found; a rule that forbids it is a conflict, and says what to do instead.
    #[test]
    fn a_rule_is_a_conflict_and_only_what_is_not_there_is_not_found() {
        let (id, what) = (|| "x".to_owned(), || "Agent/a/b".to_owned());
        for (why, status, next) in [
            (Unfit::NoGrant { id: id() }, 404, "vidimus grant list"),
            (Unfit::Approval(pending::Unfit::Unknown), 404, "vidimus approvals list"),
            (Unfit::Approval(pending::Unfit::TooMany), 503, ""),
            (Unfit::Approval(pending::Unfit::OwnCall), 409, "somebody else"),
            (Unfit::Approval(pending::Unfit::Again), 409, "another person"),
            (Unfit::Approval(pending::Unfit::Over), 409, "nothing more to answer"),
            (Unfit::Approval(pending::Unfit::TooLate), 409, "asked anew"),
            (Unfit::Approval(pending::Unfit::NotAsked), 409, "which roles"),
            (Unfit::Nothing { what: what() }, 409, "nothing to lift"),
            (Unfit::Other { what: what(), act: id() }, 409, "lift that one"),
            (Unfit::Spent { id: id() }, 409, "grant give"),
            (Unfit::Requested { id: id() }, 409, "Wait"),
            (Unfit::Wider { id: id() }, 409, "asked for or less"),
            (Unfit::ManyPinned { server: what().parse().expect("a subject") }, 409, "vidimus pin"),
            (Unfit::Full, 409, "not needed any more"),
        ] {
            let refusal = why.refusal();
            assert_eq!(refusal.http_status(), status, "{why:?}");
            assert!(refusal.next().contains(next), "{why:?}: {}", refusal.next());
            assert_eq!(refusal.message, why.to_string());
        }
        assert_eq!(Code::ActUnfit.class(), Class::Conflict);
    }
}
