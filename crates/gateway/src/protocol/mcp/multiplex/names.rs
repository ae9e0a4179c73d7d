//! The names of what a member has, at the server that it is a member of.
//!
//! A member's name has neither `_` nor `+` nor `/` (`spec.members[].name`), so the first of these in a full name is where the member's ends, whatever
//! the member calls its own: two names that are not the same stay so. Two `_`, of which one would do, are for who reads it: `pay_roll_run` looks as
//! if it were of `payroll`.

use vidimus_core::resource::members::IN_NAMES;
pub use vidimus_core::resource::members::full_uri;

use crate::protocol::MAX_NAME;

/// Between a member and the id of what it asks.
const TAG: char = '/';
/// The longest id of a question that is passed on, in bytes.
const LONGEST_ID: usize = 1_024;

/// What a tool or a prompt is called by; `None` where that is longer than a name may be.
pub fn full_name(member: &str, own: &str) -> Option<String> {
    let full = [member, IN_NAMES, own].concat();
    (full.len() <= MAX_NAME).then_some(full)
}

/// What a client answers a member's question by: the member, and its own id, which is JSON. `None` where that is too long.
pub fn tag(member: &str, id: &str) -> Option<String> {
    let tagged = format!("{member}{TAG}{id}");
    (tagged.len() <= LONGEST_ID).then_some(tagged)
}

/// The member, and its own id, as JSON.
pub fn tagged(text: &str) -> Option<(&str, &str)> {
    let (member, id) = text.split_once(TAG)?;
    let value: serde_json::Value = serde_json::from_str(id).ok()?;
    (value.is_string() || value.is_number()).then_some((member, id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vidimus_core::resource::members::{split_name, split_uri};

    use super::*;

    #[test]
    fn a_full_name_is_of_one_member_and_one_tool() {
        for (full, expected) in [
            ("ledger__get", Some(("ledger", "get"))),
            ("a__b__x", Some(("a", "b__x"))),
            ("a___x", Some(("a", "_x"))),
            ("a_b__x", Some(("a_b", "x"))),
            ("a__", None),
            ("get", None),
            ("__get", Some(("", "get"))),
        ] {
            assert_eq!(split_name(full), expected, "{full}");
        }
        for (full, expected) in [
            ("crm+file:///x", Some(("crm", "file:///x"))),
            ("crm+git+ssh://h", Some(("crm", "git+ssh://h"))),
            ("file:///a+b", Some(("file:///a", "b"))),
            ("file:///x", None),
            ("ui://crm+board/a+b", Some(("crm", "ui://board/a+b"))),
            ("crm+UI://board", Some(("crm", "UI://board"))),
            ("ui://board", None),
        ] {
            let found = split_uri(full);
            assert_eq!(found.as_ref().map(|(member, own)| (*member, &**own)), expected, "{full}");
        }
        for (tag, expected) in [
            ("a/1", Some(("a", "1"))),
            (r#"a/"x/y""#, Some(("a", r#""x/y""#))),
            ("a/null", None),
            ("a/{}", None),
            ("a/1,\"id\":2", None),
            ("1", None),
        ] {
            assert_eq!(tagged(tag), expected, "{tag}");
        }
    }

    proptest! {
        /// Attack: two tools, of whatever names, that would be called by one.
        #[test]
        fn what_has_two_names_is_two(
            members in [r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?"],
            owns in [r"(ui://)?[_a-z+/:.]{1,12}", r"(ui://)?[_a-z+/:.]{1,12}"],
        ) {
            for (member, own) in members.iter().zip(&owns) {
                let full = full_name(member, own).expect("short");
                prop_assert_eq!(split_name(&full), Some((&**member, &**own)));
                let uri = full_uri(member, own);
                prop_assert_eq!(split_uri(&uri), Some((&**member, own.into())));
            }
            let uri = |at: usize| full_uri(&members[at], &owns[at]);
            prop_assert_eq!(uri(0) == uri(1), members[0] == members[1] && owns[0] == owns[1]);
            let full = |at: usize| full_name(&members[at], &owns[at]);
            prop_assert_eq!(full(0) == full(1), members[0] == members[1] && owns[0] == owns[1]);
        }
    }
}
