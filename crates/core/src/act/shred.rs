//! That the keys of a person's kept payloads are destroyed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{NoSubject, Subject};
use crate::entity::EntityKind;

/// The most keys that one act names; all are destroyed.
pub const MOST_KEYS: usize = 1024;

/// The keys under which payloads of the subject are sealed are destroyed: nobody reads those any more, and the log is what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shred {
    /// The ids of the keys, at the gateway at which it was done: at most 1,024 of them.
    #[serde(default)]
    pub keys: Vec<String>,
    /// How many payloads were sealed under them, at most.
    #[serde(default)]
    pub records: u64,
    /// A person; or an agent or a service, for what it called on nobody's behalf.
    pub subject: Subject,
}

/// No payload is kept under a key of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "payloads are kept for people and for those who call on nobody's behalf, not for {0}: write User/issuer#subject, Agent/namespace/name or \
     Service/namespace/name"
)]
pub struct KeepsNone(pub String);

impl Subject {
    /// What a text names, where payloads may be kept under a key of it.
    ///
    /// # Errors
    /// What to write instead.
    pub fn that_keeps(text: &str) -> Result<Self, KeepsNone> {
        let subject: Self = text.parse().map_err(|NoSubject(text)| KeepsNone(text))?;
        subject.check_keeps()?;
        Ok(subject)
    }

    /// That payloads may be kept under a key of it.
    ///
    /// # Errors
    /// What to write instead.
    pub fn check_keeps(&self) -> Result<(), KeepsNone> {
        match self {
            Self::User(_) => Ok(()),
            Self::Object(entity) if matches!(entity.kind, EntityKind::Agent | EntityKind::Service) => Ok(()),
            Self::Object(_) | Self::Identity(_) | Self::Instance(_) | Self::Chain(_) => {
                Err(KeepsNone(self.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_of_who_a_call_is_made_for() {
        for (text, keeps) in [
            ("User/https://login.example#ada", true),
            ("Agent/finance/bot", true),
            ("Service/finance/nightly", true),
            ("MCPServer/finance/ledger", false),
            ("LLMProvider/finance/models", false),
            ("Identity/spiffe://corp.example/a", false),
            ("Instance/6d1f", false),
            ("Chain/ext-6f", false),
        ] {
            assert_eq!(text.parse::<Subject>().expect(text).check_keeps().is_ok(), keeps, "{text}");
        }
        // What is no subject at all is told in the same words.
        for text in ["User/ada@example.com", "ada", "MCPServer/finance/ledger", ""] {
            let told = Subject::that_keeps(text).expect_err(text).to_string();
            assert!(told.contains("User/issuer#subject") && !told.contains("Chain/"), "{told}");
            assert!(!told.contains("quarantined"), "{told}");
        }
    }
}
