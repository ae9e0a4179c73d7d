//! Whom a token is meant for (RFC 7519 section 4.1.3): the gateway, or some of its routes. MCP clients ask for tokens of the
//! second kind: the resource indicator of RFC 8707 is the address of the server that they call.

use std::sync::Arc;

use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use super::token::malformed;

/// What the `aud` of a verified token admits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Every route.
    Gateway,
    /// Paths of routes, without a slash at the end: `/mcp/finance/ledger`.
    Routes(Box<[Box<str>]>),
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
        Ok(Self::Routes(names.iter().filter_map(route).collect()))
    }

    /// Whether a call of `route` may use the token.
    pub(crate) fn admits(&self, route: &str) -> Result<(), Refusal> {
        let refuse = |message| Err(Refusal::new(Code::TokenAudience, message));
        match self {
            Self::Gateway => Ok(()),
            Self::Routes(routes) if routes.iter().any(|admitted| **admitted == *route) => Ok(()),
            Self::Routes(routes) if routes.is_empty() => refuse("the token is not meant for this gateway"),
            Self::Routes(_) => refuse("the token is meant for another route of this gateway"),
        }
    }
}
