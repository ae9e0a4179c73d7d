//! An owner: a person, by e-mail address, never a team alias.

use schemars::{Schema, SchemaGenerator};

use super::text_with_rules;
use crate::resource::problem::Fault;

/// RFC 5321 section 4.5.3.1: 64 for the local part, 255 for the domain, less what a path of 256 octets leaves.
const LONGEST: u32 = 254;

/// Mailboxes that belong to a function: RFC 2142, and what else is usual. (In CEL below, too.)
const ROLES: &str = "abuse|admin|administrator|admins|all|everyone|ftp|helpdesk|hostmaster|info|list|marketing|news|no-reply|noc|\
                     noreply|oncall|ops|postmaster|root|sales|security|staff|support|usenet|uucp|webmaster|www";

/// A word that makes a mailbox a group's.
const GROUP_WORDS: &str = "group|groups|team|teams";

const FIX: &str = "write the e-mail address of the person who answers for it, as in first.last@example.com";

pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    let label = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
    let address = format!(r"self.matches(r'^[A-Za-z0-9!#$%&*+/=?^_{{|}}~.-]{{1,64}}@{label}(\.{label})+$')");
    let role = format!(r"!self.matches(r'^(?i)({ROLES})@')");
    let group = format!(r"!self.matches(r'^(?i)([^@]*[._+-])?({GROUP_WORDS})([._+-][^@]*)?@')");
    text_with_rules(
        1,
        LONGEST,
        &[
            (&address, "owner must be the e-mail address of a person"),
            (&role, "owner must be a person, not the mailbox of a role"),
            (&group, "owner must be a person, not the mailbox of a team"),
        ],
    )
}

pub(crate) fn check(text: &str) -> Result<(), Fault> {
    let Some((local, domain)) = text.split_once('@') else {
        return Err(Fault::new("the owner is not an e-mail address; a team alias is not a person", FIX));
    };
    let local_is_valid = (1..=64).contains(&local.len())
        && local.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&*+/=?^_{|}~.-".contains(&b));
    if !local_is_valid || !domain.contains('.') || !domain.split('.').all(is_label) {
        return Err(Fault::new("the owner is not a valid e-mail address", FIX));
    }
    let local = local.to_ascii_lowercase();
    if ROLES.split('|').any(|role| role == local) {
        return Err(Fault::new("the owner is the mailbox of a role, not of a person", FIX));
    }
    if local.split(['.', '_', '+', '-']).any(|word| GROUP_WORDS.split('|').any(|group| group == word)) {
        return Err(Fault::new("the owner is the mailbox of a team, not of a person", FIX));
    }
    Ok(())
}

/// A label of a host name (RFC 1123 section 2.1).
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
