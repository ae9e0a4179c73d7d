//! Who has a part in a call that is asked about, and so does not approve it, whatever policies say (NIST SP 800-53, AC-5).

use super::{Question, Vote};
use crate::act::Subject;
use crate::entity::EntityId;

/// Somebody who approves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Approver<'a> {
    /// `issuer#subject`.
    pub(super) id: &'a str,
    /// Verified.
    pub(super) email: Option<&'a str>,
}

impl Approver<'_> {
    /// Whether the call is made for this person, or by what it answers for.
    pub(super) fn has_part_in(&self, question: &Question) -> bool {
        let for_it = question.user.as_deref() == Some(self.id);
        let addresses = [Some(question.owner.as_str()), question.user_email.as_deref()];
        for_it || addresses.into_iter().flatten().any(|address| self.is_at(address))
    }

    /// Whether it is the one who gave this vote.
    pub(super) fn gave(&self, vote: &Vote) -> bool {
        vote.by.strip_prefix("User/") == Some(self.id)
            || vote.email.as_deref().is_some_and(|address| self.is_at(address))
    }

    /// Whether it is known by this address, which some issuers have as the subject. Letter case is taken for the same: it only refuses more.
    fn is_at(&self, address: &str) -> bool {
        let subject = self.id.split_once('#').map(|(_, subject)| subject);
        let known = self.email.into_iter().chain(subject);
        known.into_iter().any(|known| known.eq_ignore_ascii_case(address))
    }
}

impl Question {
    /// Whether the call is made by, for or to this.
    pub(super) fn is_of(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Object(entity) => {
                let id = entity.to_string();
                let called = self.resource.parse::<EntityId>().ok().and_then(|called| called.registered());
                self.principal == id || self.chain.contains(&id) || called.as_ref() == Some(entity)
            }
            Subject::User(id) => self.user.as_deref() == Some(&**id),
            // Another try of the same call has another chain, and may come from another copy.
            Subject::Identity(_) | Subject::Chain(_) => false,
        }
    }
}
