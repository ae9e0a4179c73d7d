//! The session of a client at a server with members: those that its members gave, in one id.
//!
//! The id says all, and is sealed to its caller as every session's is (ADR 20); so nothing is kept here, and any replica goes on with it (ADR 67).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Member;

use super::super::{HANDSHAKE, versions};
use crate::seal::MAX_PAGE;

/// The longest id, in bytes: as long as a seal can be, for it is of many.
pub const MAX_ID: usize = MAX_PAGE;

/// A member that a session is with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The version of the protocol that it speaks in it.
    pub version: &'static str,
    /// What it calls the session, where it keeps one.
    pub id: Option<String>,
}

/// The servers that a session is with, by `namespace/name`: what one has given is for no other, whatever a member of that name is by now. One that did
/// not answer when it began is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions(pub BTreeMap<String, Joined>);

/// As it is written: the number of the version among those with a handshake, and the member's own id.
#[derive(Deserialize, Serialize)]
struct Written(usize, #[serde(default)] Option<String>);

/// What to do where a member is in no session of the caller's.
const NOT_JOINED: &str = "The session is yours and goes on with the other members; to use this one, initialize a new session when it answers.";

impl Sessions {
    /// What an id says that was opened.
    ///
    /// # Errors
    /// `session_foreign` for what is no such id.
    pub fn read(id: &str) -> Result<Self, Refusal> {
        let foreign = || Refusal::new(Code::SessionForeign, "the session is none of this server's");
        let written: BTreeMap<String, Written> = serde_json::from_str(id).map_err(|_| foreign())?;
        let joined = written.into_iter().map(|(server, Written(version, id))| {
            let version = HANDSHAKE.get(version).copied().ok_or_else(foreign)?;
            Ok((server, Joined { version, id }))
        });
        joined.collect::<Result<_, Refusal>>().map(Self)
    }

    /// The id that says it.
    ///
    /// # Errors
    /// `upstream_invalid` where the members' own ids are too long together to be one, or are no text that a header can have.
    pub fn written(&self) -> Result<String, Refusal> {
        let number = |version| HANDSHAKE.iter().position(|known| *known == version).unwrap_or_default();
        let all: BTreeMap<&str, Written> = self
            .0
            .iter()
            .map(|(server, joined)| (&**server, Written(number(joined.version), joined.id.clone())))
            .collect();
        let text = serde_json::to_string(&all).unwrap_or_default();
        if text.len() <= MAX_ID && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Ok(text);
        }
        let message = format!("the ids of the members' sessions do not fit one of {MAX_ID} bytes");
        Err(Refusal::new(Code::UpstreamInvalid, message))
    }

    /// The member's part.
    ///
    /// # Errors
    /// `session_foreign` where it was not there when the session began, or was another server: a client begins another one then.
    pub fn of(&self, member: &Member) -> Result<&Joined, Refusal> {
        self.0.get(&*member.server).ok_or_else(|| {
            let message = format!(
                "the member {:?} is not in this session: it did not answer when that began, or was another server; begin another one (initialize)",
                &*member.name
            );
            Refusal::new(Code::SessionForeign, message).with_next(NOT_JOINED)
        })
    }

    /// The version that the client speaks: the oldest that a member does. Who offers 2025-06-18 or a later one is not led behind that, since not every
    /// client of now speaks what was before, and what a member of before says is said as well in 2025-06-18.
    pub fn version(&self, offered: Option<&str>) -> &'static str {
        let number = |version: &str| HANDSHAKE.iter().position(|known| *known == version);
        let oldest = self.0.values().filter_map(|joined| number(joined.version)).max().unwrap_or_default();
        let is_early = offered.is_some_and(|offered| versions::EARLY.contains(&offered));
        let oldest = if is_early { oldest } else { oldest.min(1) };
        HANDSHAKE.get(oldest).copied().unwrap_or(HANDSHAKE[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(joined: &[(&str, &'static str, Option<&str>)]) -> Sessions {
        let one = |(name, version, id): &(&str, &'static str, Option<&str>)| {
            ((*name).to_owned(), Joined { version, id: id.map(str::to_owned) })
        };
        Sessions(joined.iter().map(one).collect())
    }

    #[test]
    fn an_id_says_which_members_are_in_it_and_how() {
        let sessions = with(&[("f/a", "2025-11-25", Some("s-1")), ("f/b", "2025-06-18", None)]);
        let member = |server: &str| Member { name: "b".into(), server: server.into() };
        let id = sessions.written().expect("short");
        assert_eq!(id, r#"{"f/a":[0,"s-1"],"f/b":[1,null]}"#);
        assert_eq!(Sessions::read(&id).as_ref(), Ok(&sessions));
        assert_eq!(sessions.version(Some("2025-11-25")), "2025-06-18");
        let missing = sessions.of(&member("f/c")).expect_err("it is in no session");
        assert!(missing.next().contains("yours") && missing.code == Code::SessionForeign, "{missing}");
        assert_eq!(sessions.of(&member("f/b")).map(|joined| joined.version), Ok("2025-06-18"));
        assert_eq!(sessions.of(&member("f/c")).map_err(|refusal| refusal.code), Err(Code::SessionForeign));
    }

    /// A member of before 2025-06-18 costs the others nothing: a client that does not know its version would end the session.
    #[test]
    fn a_member_of_before_leads_no_client_behind_what_it_may_not_speak() {
        let sessions = with(&[("f/a", "2025-11-25", None), ("f/b", "2024-11-05", None)]);
        for (offered, version) in [
            (Some("2025-11-25"), "2025-06-18"),
            (Some("2025-06-18"), "2025-06-18"),
            (Some("2025-03-26"), "2024-11-05"),
            (Some("2024-11-05"), "2024-11-05"),
            (Some("1999-01-01"), "2025-06-18"),
            (None, "2025-06-18"),
        ] {
            assert_eq!(sessions.version(offered), version, "{offered:?}");
        }
        assert_eq!(with(&[("f/a", "2025-11-25", None)]).version(Some("2024-11-05")), "2025-11-25");
        assert_eq!(Sessions::read(&sessions.written().expect("short")), Ok(sessions));
    }

    #[test]
    fn what_is_no_such_id_is_nobodys() {
        for bad in ["", "s-1", "[]", r#"{"a":"s"}"#, r#"{"a":[7,"s"]}"#, r#"{"a":[0,1]}"#] {
            assert_eq!(
                Sessions::read(bad).map_err(|refusal| refusal.code),
                Err(Code::SessionForeign),
                "{bad}"
            );
        }
        let long = "x".repeat(MAX_ID);
        for bad in [&*long, "\u{e9}"] {
            let written = with(&[("a", "2025-11-25", Some(bad))]).written();
            assert_eq!(written.map_err(|refusal| refusal.code), Err(Code::UpstreamInvalid), "{bad:.9}");
        }
    }
}
