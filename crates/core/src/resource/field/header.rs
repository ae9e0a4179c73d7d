//! Header fields that a record lets pass, or sets.

use schemars::{Schema, SchemaGenerator};
use serde_json::json;

use crate::resource::problem::Fault;

/// Most entries of either.
const MOST: u32 = 64;
/// The longest name, in bytes.
const LONGEST: usize = 128;
/// The longest value, in bytes.
const LONGEST_VALUE: usize = 1024;
/// What is said of a text that is no name.
const NO_NAME: &str = "not the name of a header field";
/// A name as records write it: fewer characters than HTTP's tokens have (RFC 9110 section 5.6.2), and all that are used.
const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]*([-][*])?$";

/// Names of header fields that never pass on the word of a record, each with why. One that ends in `-` stands for all that begin so.
const NEVER: [(&str, &[&str]); 6] = [
    (
        "it is about one connection, or frames the message (RFC 9110 section 7.6.1)",
        &[
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
            "host",
            "content-",
            "accept-encoding",
            "expect",
            "max-forwards",
            "date",
            "server",
            "traceparent",
        ],
    ),
    (
        "it is a credential; each hop has its own",
        &[
            "authorization",
            "proxy-",
            "www-authenticate",
            "authentication-info",
            "cookie",
            "cookie2",
            "set-cookie",
            "set-cookie2",
            "x-api-key",
            "api-key",
            "apikey",
            "x-goog-api-key",
            "x-goog-iam-authorization-token",
            "x-auth-token",
            "x-access-token",
            "x-amz-security-token",
            "x-serverless-authorization",
            "x-vault-token",
            "private-token",
        ],
    ),
    (
        "it says who is in front of the gateway, which a server would believe",
        &[
            "forwarded",
            "via",
            "x-forwarded-",
            "x-forwarded",
            "x-real-ip",
            "x-client-",
            "x-cluster-client-ip",
            "true-client-ip",
            "client-ip",
            "cf-connecting-",
            "fastly-client-ip",
            "x-envoy-",
            "x-ssl-",
            "remote-",
            "x-remote-",
            "x-authenticated-",
            "x-auth-request-",
        ],
    ),
    (
        "by it a server may read another request than the one that was decided",
        &[
            "x-http-method",
            "x-http-method-",
            "x-method-override",
            "x-original-",
            "x-rewrite-",
            "x-host",
            "x-middleware-",
            "range",
            "if-",
        ],
    ),
    (
        "an upstream would speak for the gateway by it",
        &[
            "vidimus-",
            "access-control-",
            "origin",
            "alt-svc",
            "strict-transport-security",
            "expect-ct",
            "public-key-pins",
            "content-security-policy",
            "clear-site-data",
            "service-worker-",
            "location",
            "refresh",
            "nel",
            "report-to",
            "reporting-endpoints",
            "x-accel-",
            "x-sendfile",
            "sec-",
        ],
    ),
    ("it is the protocol's, and the gateway reads it", &["mcp-", "a2a-", "x-a2a-", "last-event-id", "vary"]),
];

/// Whether a header of this name is `listed`: by its name, or by a prefix, which ends in `-`. Both are in lower case.
pub fn is_listed(name: &str, listed: &str) -> bool {
    if listed.ends_with('-') { name.starts_with(listed) } else { name == listed }
}

/// Why a header of this name, in lower case, never passes on the word of a record; `None` for one that may.
pub fn why_never(name: &str) -> Option<&'static str> {
    let is_one = |listed: &&str| is_listed(name, listed);
    NEVER.iter().find(|(_, names)| names.iter().any(&is_one)).map(|(why, _)| *why)
}

/// A list of names and prefixes.
pub(crate) fn pass_schema(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "type": "array", "maxItems": MOST,
        "items": {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": NAME},
    })
}

/// Name → value.
pub(crate) fn set_schema(_: &mut SchemaGenerator) -> Schema {
    let value = json!({"type": "string", "minLength": 1, "maxLength": LONGEST_VALUE, "pattern": "^[!-~]([ -~]*[!-~])?$"});
    schemars::json_schema!({"type": "object", "maxProperties": MOST, "additionalProperties": value})
}

/// A name that passes, or a prefix of names, which ends in `-`: in lower case. A `*` may be written behind a prefix.
pub(crate) fn check_passed(text: &str) -> Result<String, Fault> {
    let plain = text.strip_suffix('*').filter(|prefix| prefix.ends_with('-'));
    let name = check_name(plain.unwrap_or(text))?;
    if name == "x-" {
        let fix = "name the headers, or a longer prefix, as in X-Tenant-";
        return Err(Fault::new("the prefix X- is that of nearly every header", fix));
    }
    Ok(name)
}

/// The name of a header that is set, in lower case.
pub(crate) fn check_set(text: &str) -> Result<String, Fault> {
    let name = check_name(text)?;
    if name.ends_with('-') {
        return Err(Fault::new("a prefix cannot be set", "write the whole name of the header"));
    }
    Ok(name)
}

fn check_name(text: &str) -> Result<String, Fault> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let begins_well = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    if !begins_well || text.len() > LONGEST || !text.bytes().all(is_part) {
        let fix = "write a name as in X-Tenant, or a prefix that ends in '-' as in X-Tenant-";
        return Err(Fault::new(NO_NAME, fix));
    }
    let name = text.to_ascii_lowercase();
    match why_never(&name) {
        Some(why) => Err(Fault::new(
            format!("this header never passes on the word of a record: {why}"),
            "remove it; a key is said by spec.credential, spec.openapi.credential or spec.grpc.credential, and what has none gets a token for each call",
        )),
        None => Ok(name),
    }
}

/// The name of a header field by which a key is presented, in lower case. Credentials may be; what else never passes is not.
pub(crate) fn check_credential(text: &str) -> Result<String, Fault> {
    const NO_KEYS: [&str; 8] = [
        "proxy-",
        "www-authenticate",
        "authentication-info",
        "cookie",
        "cookie2",
        "set-cookie",
        "set-cookie2",
        "x-amz-security-token",
    ];
    if check_name(text).is_err_and(|fault| fault.reason == NO_NAME) {
        return Err(Fault::new(NO_NAME, "write the whole name of one header field, as in X-API-Key"));
    }
    let name = text.to_ascii_lowercase();
    let is_key = || {
        let among = |names: &[&str]| names.iter().any(|listed| is_listed(&name, listed));
        NEVER.iter().any(|(_, names)| names.contains(&"authorization") && among(names)) && !among(&NO_KEYS)
    };
    if is_key() { Ok(name) } else { check_set(text) }
}

/// The value of a header that is set: visible ASCII, with spaces within.
pub(crate) fn check_value(text: &str) -> Result<(), Fault> {
    let visible = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if (1..=LONGEST_VALUE).contains(&text.len()) && visible && text.trim() == text {
        return Ok(());
    }
    Err(Fault::new(
        "not a value that a header can have",
        format!("write 1 to {LONGEST_VALUE} visible ASCII characters; spaces may stand within"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_pass_and_names_that_never_do() {
        for name in ["x-tenant", "x-tenant-", "openai-organization", "x_y.z", "x-request-id", "xy"] {
            assert_eq!(check_passed(name), Ok(name.to_owned()));
        }
        for prefix in ["X-Tenant-", "x-tenant-*"] {
            assert_eq!(check_passed(prefix), Ok("x-tenant-".to_owned()));
        }
        for name in ["", "-", "x-", "x:y", "x y", "*", "\u{e9}", "x-tenant*", &"x".repeat(129)] {
            assert!(check_passed(name).is_err(), "{name}");
        }
        for name in [
            "Authorization",
            "Connection",
            "Content-Type",
            "X-Forwarded-For",
            "x-forwarded-",
            "Cookie",
            "X-API-Key",
            "Vidimus-Call",
            "Access-Control-Allow-Origin",
            "Alt-Svc",
            "Strict-Transport-Security",
            "X-HTTP-Method-Override",
            "Mcp-Session-Id",
            "Range",
            "Host",
        ] {
            assert!(check_passed(name).is_err() && check_set(name).is_err(), "{name}");
        }
        assert!(check_set("X-Tenant-").is_err() && check_set("X-Tenant").is_ok());
    }

    #[test]
    fn values_are_visible_text() {
        assert!(check_value("a b").is_ok() && check_value(&"x".repeat(1024)).is_ok());
        for value in ["", " a", "a ", "a\r\nb: c", "a\tb", "\u{e9}", &"x".repeat(1025)] {
            assert!(check_value(value).is_err(), "{value:?}");
        }
    }
}
