//! Whom a token is meant for (RFC 7519 section 4.1.3): the gateway, or some of its routes. MCP clients ask for tokens of the
//! second kind: the resource indicator of RFC 8707 is the address of the server that they call.

use std::sync::Arc;

use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use super::token::{malformed, shown};

/// What the `aud` of a verified token admits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Every route.
    Gateway,
    /// Some routes, or none.
    Routes {
        /// Their paths, without a slash at the end: `/mcp/finance/ledger`.
        paths: Box<[Box<str>]>,
        /// What the token names and what is accepted, for whom it is not good.
        said: Box<str>,
    },
}

impl Audience {
    /// Reads `aud`, a string or an array of strings. `accepted` are the gateway's own names, `base` is the address that its
    /// routes are below.
    pub(crate) fn read(json: &Json<'_>, accepted: &[Arc<str>], base: &str) -> Result<Self, Refusal> {
        let no_text = || malformed("'aud' is neither a string nor an array of strings");
        let names: Vec<&str> = match json.get("aud") {
            Some(Json::Array(items)) => {
                items.iter().map(|item| item.as_str().ok_or_else(no_text)).collect::<Result<_, _>>()?
            }
            Some(Json::String(name)) => vec![name],
            Some(_) => return Err(no_text()),
            None => Vec::new(),
        };
        if names.iter().any(|name| accepted.iter().any(|own| **own == **name)) {
            return Ok(Self::Gateway);
        }
        let route = |name: &&str| {
            let path = name.strip_prefix(base)?.trim_end_matches('/');
            path.starts_with('/').then(|| path.into())
        };
        let received = if names.is_empty() { "missing".to_owned() } else { shown(&names.join(", ")) };
        let said = format!("its 'aud' is {received}, and accepted are {}", accepted.join(", "));
        Ok(Self::Routes { paths: names.iter().filter_map(route).collect(), said: said.into() })
    }

    /// Whether a call of `route` may use the token.
    pub(crate) fn admits(&self, route: &str) -> Result<(), Refusal> {
        let refuse = |whom: &str, said: &str| {
            let message = format!("the token is meant for {whom}: {said}");
            Err(Refusal::new(Code::TokenAudience, message))
        };
        match self {
            Self::Gateway => Ok(()),
            Self::Routes { paths, .. } if paths.iter().any(|admitted| **admitted == *route) => Ok(()),
            Self::Routes { paths, said } if paths.is_empty() => refuse("somebody else", said),
            Self::Routes { said, .. } => refuse("another route of this gateway", said),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_audience_says_what_was_received_and_what_is_accepted() {
        let accepted: [Arc<str>; 2] = ["vidimus".into(), "https://gateway.example".into()];
        let read = |aud: &str| {
            let token = format!("{{\"aud\": {aud}}}");
            let json = Json::parse(token.as_bytes()).expect("JSON");
            Audience::read(&json, &accepted, "https://gateway.example").expect("an audience")
        };
        assert_eq!(read("[\"x\", \"vidimus\"]").admits("/mcp/a/b"), Ok(()));
        assert_eq!(read("\"https://gateway.example/mcp/a/b/\"").admits("/mcp/a/b"), Ok(()));
        for (aud, says) in [
            (
                "\"other\"",
                "for somebody else: its 'aud' is \"other\", and accepted are vidimus, https://gateway.example",
            ),
            ("[\"one\", \"two\"]", "its 'aud' is \"one, two\", and"),
            ("[]", "its 'aud' is missing, and"),
            (
                "\"https://gateway.example/mcp/a/c\"",
                "another route of this gateway: its 'aud' is \"https://gateway.example/mcp/a/c\"",
            ),
        ] {
            let refusal = read(aud).admits("/mcp/a/b").expect_err(aud);
            assert!(refusal.message.contains(says), "{aud}: {}", refusal.message);
        }
        let long = format!("\"{}\"", "x".repeat(5000));
        assert!(read(&long).admits("/mcp/a/b").expect_err("refused").message.len() < 500);
    }
}
