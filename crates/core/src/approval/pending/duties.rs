//! Who has a part in a call that is asked about, and so does not approve it, whatever policies say (NIST SP 800-53, AC-5).

use super::{Approve, Question, Vote};
use crate::act::Subject;
use crate::entity::EntityId;
use crate::person::Names;

impl Approve {
    /// All that is known of who approves, by the actor of the act.
    pub(crate) fn names(&self, actor: &str) -> Names {
        let id = actor.strip_prefix("User/").unwrap_or(actor);
        Names::of(id).and(self.email.as_deref()).and(self.unverified_email.as_deref())
    }
}

impl Vote {
    /// All that is known of who gave it.
    pub fn names(&self) -> Names {
        let id = self.by.strip_prefix("User/").unwrap_or(&self.by);
        Names::of(id).and(self.email.as_deref()).and(self.unverified_email.as_deref())
    }
}

impl Question {
    /// Whether the call is made for this person, or by what it answers for: the caller, or whoever acted before.
    pub(super) fn is_own_of(&self, person: &Names) -> bool {
        let user = self.user.as_deref().map(|user| Names::of(user).and(self.user_email.as_deref()));
        let owners = std::iter::once(&self.owner)
            .chain(&self.chain_owners)
            .map(|owner| Names::default().and(Some(owner.as_str())));
        user.into_iter().chain(owners).any(|one| one.may_be(person))
    }

    /// Whether the call is made by, for or to this, or was asked about by this.
    pub(super) fn is_of(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Object(entity) => {
                let id = entity.to_string();
                let called = self.resource.parse::<EntityId>().ok().and_then(|called| called.registered());
                self.principal == id || self.chain.contains(&id) || called.as_ref() == Some(entity)
            }
            Subject::User(id) => self.user.as_deref() == Some(&**id),
            Subject::Identity(identity) => self.identity.as_deref() == Some(&**identity),
            Subject::Instance(copy) => self.instance.as_deref() == Some(&**copy),
            // Another try of the same call has another transaction.
            Subject::Chain(_) => false,
        }
    }
}
