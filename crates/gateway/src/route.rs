//! What a path addresses: `/mcp/{namespace}/{name}`, `/a2a/{namespace}/{name}[/…]`, `/llm/{namespace}/{name}/…`, `/rest/{namespace}/{name}/…`.

/// The governed protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Mcp,
    A2a,
    Llm,
    /// The tools of an MCP server that is an API, by the requests of that API.
    Rest,
}

impl Protocol {
    pub const ALL: [Self; 4] = [Self::Mcp, Self::A2a, Self::Llm, Self::Rest];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
            Self::A2a => "a2a",
            Self::Llm => "llm",
            Self::Rest => "rest",
        }
    }
}

/// A governed route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    pub protocol: Protocol,
    /// `namespace/name` of the registered object.
    pub key: &'a str,
    /// What follows, with its leading slash; empty when nothing does.
    pub rest: &'a str,
}

impl<'a> Route<'a> {
    /// The path of the object itself, which tokens and their metadata name: without what follows, and without a slash at the end.
    pub fn address(&self) -> String {
        format!("/{}/{}", self.protocol.as_str(), self.key)
    }

    /// Parses a request path. Names are compared byte for byte: a percent-encoded or dotted spelling is no route.
    pub fn parse(path: &'a str) -> Option<Self> {
        let (protocol, object) = Protocol::ALL.into_iter().find_map(|protocol| {
            let rest = path.strip_prefix('/')?.strip_prefix(protocol.as_str())?.strip_prefix('/')?;
            Some((protocol, rest))
        })?;
        let (namespace, after) = object.split_once('/')?;
        let name = after.split('/').next()?;
        if !is_name(namespace) || !is_name(name) {
            return None;
        }
        let (key, rest) = object.split_at_checked(namespace.len() + 1 + name.len())?;
        let clean = !rest.contains("//") && !rest.split('/').any(|segment| segment == "." || segment == "..");
        clean.then_some(Self { protocol, key, rest })
    }
}

/// A Kubernetes object name as far as a path can carry it (RFC 1123 label or subdomain).
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_route_is_that_of_its_object() {
        for (path, expected) in [
            ("/llm/p/openai/v1/chat/completions", "/llm/p/openai"),
            ("/a2a/f/b/.well-known/agent-card.json", "/a2a/f/b"),
            ("/mcp/finance/ledger/", "/mcp/finance/ledger"),
            ("/mcp/finance/ledger", "/mcp/finance/ledger"),
        ] {
            assert_eq!(Route::parse(path).map(|route| route.address()).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn only_the_documented_paths_are_routes() {
        let route = |protocol, key, rest| Some(Route { protocol, key, rest });
        for (path, expected) in [
            ("/mcp/finance/ledger", route(Protocol::Mcp, "finance/ledger", "")),
            (
                "/a2a/f/b/.well-known/agent-card.json",
                route(Protocol::A2a, "f/b", "/.well-known/agent-card.json"),
            ),
            ("/llm/p/openai/v1/chat/completions", route(Protocol::Llm, "p/openai", "/v1/chat/completions")),
            ("/mcp/finance/ledger/", route(Protocol::Mcp, "finance/ledger", "/")),
            ("/rest/finance/pets/pets/7", route(Protocol::Rest, "finance/pets", "/pets/7")),
            ("/rest/finance/pets/../x", None),
            ("/mcp/finance", None),
            ("/mcp//ledger", None),
            ("/mcp/finance/", None),
            ("/mcp/finance/../x/y", None),
            ("/mcp/finance/%6cedger", None),
            ("/mcp/Finance/ledger", None),
            ("/llm/p/openai/v1/../../x", None),
            ("/llm/p/openai//v1", None),
            ("/mcpx/finance/ledger", None),
            ("mcp/finance/ledger", None),
            ("", None),
        ] {
            assert_eq!(Route::parse(path), expected, "{path}");
        }
    }
}
