//! A SPIFFE ID (SPIFFE-ID, section 2).

use schemars::{Schema, SchemaGenerator};

use super::text_with_rules;
use crate::resource::problem::Fault;

/// Section 2.3.
const LONGEST: u32 = 2048;
const SYNTAX: &str = "^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+$";
const FIX: &str = "write spiffe://trust-domain/path, as in spiffe://corp.example/ns/finance/sa/invoice-bot";

pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    let syntax = format!("self.matches('{SYNTAX}')");
    text_with_rules(
        1,
        LONGEST,
        &[
            (&syntax, "a SPIFFE ID is spiffe://trust-domain/path, the trust domain in lower case"),
            (r"!self.matches('/[.]{1,2}(/|$)')", "a SPIFFE ID has no '.' or '..' in its path"),
        ],
    )
}

/// The ID of a workload: with a path, since a leaf SVID names more than a trust domain (X509-SVID, section 5.2).
pub(crate) fn check(text: &str) -> Result<(), Fault> {
    let fault = |reason: &str| Err(Fault::new(reason, FIX));
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return fault("a SPIFFE ID begins with spiffe://");
    };
    let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
    let domain_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    if !(1..=255).contains(&domain.len()) || !domain.bytes().all(domain_byte) {
        return fault("the trust domain holds only lower-case letters, digits, '.', '-' and '_'");
    }
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if !path.split('/').all(segment) {
        return fault(
            "the path is one or more segments of letters, digits, '.', '-' and '_', none of them '.', '..' or empty",
        );
    }
    Ok(())
}
