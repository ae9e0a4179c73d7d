//! Whether two may be one person, for what nobody does twice, or for himself (NIST SP 800-53, AC-5).
//!
//! Issuers name people each in its own way: one has addresses for subjects, another has numbers and says the address beside. Two that share
//! any name may be one, whichever of them is looked at first. It only refuses, so what is doubtful counts: an address that its issuer does not
//! vouch for, another case of letters, a dot at the end.

use std::collections::BTreeSet;

/// All names that somebody is known by: subjects and addresses, in one form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// Of who has an id, `issuer#subject`: the subject. An issuer has no fragment, and a subject may have any character.
    pub fn of(id: &str) -> Self {
        let subject = id.split_once('#').map_or(id, |(_, subject)| subject);
        Self([form(subject)].into())
    }

    /// The same, known by an address as well, where there is one. Whoever answers for something is known by that alone.
    #[must_use]
    pub fn and(mut self, address: Option<&str>) -> Self {
        let said = address.filter(|address| !address.trim().is_empty());
        self.0.extend(said.map(form));
        self
    }

    /// Whether two may be one person.
    pub fn may_be(&self, other: &Self) -> bool {
        !self.0.is_disjoint(&other.0)
    }
}

/// What all spellings of a name have in common. A subject that is nothing but dots and blanks is itself.
fn form(name: &str) -> String {
    let bare = name.trim_matches(|one: char| one.is_whitespace() || one == '.');
    if bare.is_empty() { name.to_owned() } else { bare.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_a_name_may_be_one_whoever_is_looked_at() {
        let names = |id: &str, address: Option<&str>| Names::of(id).and(address);
        for (one, other, expected) in [
            (
                names("https://a#carol@example.com", None),
                names("https://b#7731", Some("carol@example.com")),
                true,
            ),
            (
                names("https://a#1", Some("carol@example.com")),
                names("https://b#2", Some("Carol@Example.com.")),
                true,
            ),
            (names("https://a#1", None), names("https://a#1", Some("carol@example.com")), true),
            (
                names("https://b#7", Some("ada@example.com")),
                Names::default().and(Some("ADA@example.com")),
                true,
            ),
            (names("https://a#.", None), names("https://a#.", None), true),
            (
                names("https://a#1", Some("carol@example.com")),
                names("https://b#2", Some("bob@example.com")),
                false,
            ),
            (names("https://a#1", Some("")), names("https://b#2", Some(" ")), false),
            (names("https://a#1", None), names("https://a#2", None), false),
        ] {
            assert_eq!((one.may_be(&other), other.may_be(&one)), (expected, expected), "{one:?} {other:?}");
        }
    }

    /// Property: whoever is looked at first, and however a name is spelt.
    #[test]
    fn nobody_is_two_by_order_or_spelling() {
        let subjects = ["a", "A", "a@x", "A@X.", "b", "b@x", ".", " "];
        let addresses = [None, Some("a@x"), Some("A@X."), Some("b@x"), Some(""), Some(".")];
        let ids = subjects
            .iter()
            .flat_map(|subject| ["https://i", "https://j"].map(|issuer| format!("{issuer}#{subject}")));
        let all: Vec<(String, Names)> = ids
            .flat_map(|id| {
                addresses.map(|address| (format!("{id} {address:?}"), Names::of(&id).and(address)))
            })
            .collect();
        for (text, one) in &all {
            assert!(one.may_be(one), "{text}");
            for (other_text, other) in &all {
                assert_eq!(one.may_be(other), other.may_be(one), "{text} {other_text}");
                // Who has one more name is whoever it was before.
                let more = one.clone().and(Some("c@x"));
                assert!(!one.may_be(other) || more.may_be(other), "{text} {other_text}");
            }
        }
    }
}
