//! URIs of resources. Policies decide them by their text, so one that a server resolves to another is refused, as paths are that are not
//! what they seem.

use vidimus_core::refusal::{Code, Refusal};

/// A URI as it is, where its path has one spelling only (RFC 3986 section 6.2.2): no dot segments, nothing percent-encoded that need not
/// be or that parts a path, the scheme in lower case, and no character that parsers drop or take for another one.
///
/// What servers may make of a host in upper case, of user information or of a fragment is not known here.
///
/// # Errors
/// `message_invalid`.
pub fn normal(uri: &str) -> Result<&str, Refusal> {
    match not_normal(uri) {
        None => Ok(uri),
        Some(what) => {
            let message = format!(
                "the URI of the resource {what}; write it in its normal form (RFC 3986 section 6.2.2)"
            );
            Err(Refusal::new(Code::MessageInvalid, message))
        }
    }
}

fn not_normal(uri: &str) -> Option<&'static str> {
    if uri.chars().any(|c| c.is_control() || c == '\\') || uri.trim() != uri {
        return Some("has a character that no URI has");
    }
    let scheme = uri.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    if scheme.bytes().any(|b| b.is_ascii_uppercase()) {
        return Some("has a scheme in upper case");
    }
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Some("has a dot segment");
    }
    let mut encoded =
        uri.split('%').skip(1).map(|rest| rest.get(..2).and_then(|two| u8::from_str_radix(two, 16).ok()));
    let needless = |byte: Option<u8>| {
        byte.is_none_or(|b| b.is_ascii_alphanumeric() || b.is_ascii_control() || b"-._~/\\".contains(&b))
    };
    // A template has no such octets, but in what it is filled with.
    encoded.any(needless).then_some("encodes what need not be encoded, or parts a path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_has_one_spelling() {
        for good in [
            "file:///a%20b/c.txt",
            "db://main/salaries?x=%C3%A4#y",
            "docs://{topic}/{page}",
            "urn:isbn:0451450523",
            "test://dots.in.names/..a/b..",
            "https://Example.com/x",
            "git://a/b?ref=../c",
            "file:///ä",
        ] {
            assert!(normal(good).is_ok(), "{good}");
        }
        for bad in [
            "file:///pub/../secret",
            "file:///pub/%2e%2e/secret",
            "file:///pub/%2E./secret",
            "db://main/./salaries",
            "db://main/%73alaries",
            "db://main%2fsalaries",
            "db://main%5csalaries",
            "db:\\\\main",
            "db://main/\u{0}salaries",
            "db://main/sal\taries",
            " db://main/x",
            "DB://main/x",
            "db://main/%",
            "db://main/%zz",
            "db://main/x/..",
        ] {
            assert!(normal(bad).is_err(), "{bad}");
        }
    }
}
