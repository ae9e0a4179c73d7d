//! How each protocol says a refusal, for documentation: read from the answers that callers get.

use serde_json::Value;
use vidimus_core::refusal::{Code, Refusal};

use crate::protocol::{Binding, a2a, llm, mcp};

/// How one protocol says a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The HTTP status in answer to a whole request: MCP and A2A say most refusals in an answer of their own.
    pub status: u16,
    /// The number of the JSON-RPC error, or the `type` of the model API's error.
    pub error: String,
}

/// In MCP, A2A, and the APIs of OpenAI and Anthropic.
pub fn said(code: Code) -> [Said; 4] {
    let bindings: [&dyn Binding; 4] =
        [&mcp::StreamableHttp, &a2a::JsonRpc::OLD, &llm::OpenAi, &llm::Anthropic];
    bindings.map(|binding| {
        let answer = binding.refused(&Refusal::new(code, ""), "", Some("1"));
        let body: Value = serde_json::from_str(answer.body()).unwrap_or_default();
        let member = |name: &str| body.pointer(name).filter(|value| !value.is_null());
        // The numbers of JSON-RPC stand where OpenAI has our code.
        let error = match member("/error/type") {
            Some(Value::String(kind)) => kind.clone(),
            _ => member("/error/code").map(ToString::to_string).unwrap_or_default(),
        };
        Said { status: answer.status().as_u16(), error }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_said_in_every_protocol() {
        for code in Code::ALL {
            for Said { status, error } in said(*code) {
                assert!(status == 200 || status == code.class().http_status(), "{code:?}: {status}");
                assert!(!error.is_empty(), "{code:?}");
            }
        }
        let [mcp, a2a, openai, anthropic] = said(Code::NoPermit).map(|said| (said.status, said.error));
        assert_eq!(mcp, (200, "-31403".to_owned()));
        assert_eq!(a2a, (200, "-31403".to_owned()));
        assert_eq!(openai, (403, "permission_error".to_owned()));
        assert_eq!(anthropic, (403, "permission_error".to_owned()));
    }
}
