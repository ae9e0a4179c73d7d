//! Who has a part in a call that is asked about, and so does not approve it, whatever policies say (NIST SP 800-53, AC-5).

use super::{Question, Vote};
use crate::act::Subject;
use crate::entity::{EntityId, EntityKind};

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
                let entity = entity.to_string();
                self.principal == entity
                    || self.chain.contains(&entity)
                    || is_part_of(&self.resource, &entity)
            }
            Subject::User(id) => self.user.as_deref() == Some(&**id),
            // Another try of the same call has another chain, and may come from another copy.
            Subject::Identity(_) | Subject::Chain(_) => false,
        }
    }
}

/// Whether a resource is this object, or a tool or the like of it.
fn is_part_of(resource: &str, object: &str) -> bool {
    let Ok(EntityId { kind, id }) = resource.parse::<EntityId>() else { return false };
    let of = match kind {
        EntityKind::Tool | EntityKind::Resource | EntityKind::Prompt => EntityKind::McpServer,
        EntityKind::Skill => EntityKind::Agent,
        EntityKind::Model => EntityKind::LlmProvider,
        kind
        @ (EntityKind::Agent | EntityKind::Service | EntityKind::McpServer | EntityKind::LlmProvider) => kind,
    };
    let name: Vec<&str> = id.splitn(3, '/').take(2).collect();
    object == EntityId::new(of, name.join("/")).to_string()
}
