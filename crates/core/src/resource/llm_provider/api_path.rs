//! Where a server that speaks as OpenAI does has that API.

use std::sync::Arc;

use schemars::{Schema, SchemaGenerator};

use super::super::problem::{At, Fault, Problems};
use super::{LlmProviderSpec, ProviderType, is_path_segment};

/// Where OpenAI has it.
pub const OPENAI: &str = "/v1";

/// The longest, in bytes.
const LONGEST: usize = 128;

pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "type": "string",
        "maxLength": LONGEST,
        "pattern": r"^(/|(/[A-Za-z0-9][A-Za-z0-9._-]*)+)$",
    })
}

/// Nothing of it has to be escaped, and nothing leads out of it.
fn is_api_path(path: &str) -> bool {
    let below = path.strip_prefix('/').filter(|_| path.len() <= LONGEST);
    below.is_some_and(|below| below.is_empty() || below.split('/').all(is_path_segment))
}

impl LlmProviderSpec {
    /// What it says, without a slash at its end; `Some(None)` where it says nothing.
    pub(super) fn check_api_path(&self, at: At<'_>, problems: &mut Problems) -> Option<Option<Arc<str>>> {
        let Some(path) = &self.api_path else { return Some(None) };
        if self.type_ != ProviderType::OpenAiCompatible {
            let fault = Fault::new(
                format!("a provider of type {} has its API where it is", self.type_.as_str()),
                "leave it out; what stands before all of its paths is the path of endpoint.url",
            );
            problems.report(at, path, fault);
            return None;
        }
        if !is_api_path(path) {
            let fault = Fault::new(
                "not a path that an API can have",
                "write it as in /v1beta/openai or /api/paas/v4, of letters, digits, '-', '_' and '.'; / for none",
            );
            problems.report(at, path, fault);
            return None;
        }
        Some(Some(path.trim_end_matches('/').into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_path_stands_in_an_address() {
        for (path, is) in [
            ("/", true),
            ("/v1", true),
            ("/v1beta/openai", true),
            ("/api/paas/v4", true),
            ("", false),
            ("v1", false),
            ("/v1/", false),
            ("//v1", false),
            ("/v1/../admin", false),
            ("/v1?key=x", false),
            ("/v1%2F", false),
            ("/v 1", false),
        ] {
            assert_eq!(is_api_path(path), is, "{path}");
        }
    }
}
