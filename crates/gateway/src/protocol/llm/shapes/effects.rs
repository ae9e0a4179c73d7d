//! Whether a call of a model does anything but answer. Who asks again another provider has it done twice.

use bytes::Bytes;
use serde_json::Value;

/// Where tools stand, in the words of all APIs.
const TOOLS: [&str; 3] = ["/tools", "/toolConfig/tools", "/additionalModelRequestFields/tools"];

/// The lists of functions that stand for a tool in Gemini's and in Bedrock's words.
const OF_CALLER: [&str; 4] = ["functionDeclarations", "function_declarations", "toolSpec", "cachePoint"];

/// Whether a request has a model say something and nothing else: every tool that it has is run by who asks, and not by the provider.
pub fn has_none(body: &Bytes) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return false };
    let tools = TOOLS.iter().filter_map(|at| body.pointer(at)).filter(|tools| !tools.is_null());
    tools.map(Value::as_array).all(|tools| tools.is_some_and(|tools| tools.iter().all(is_run_by_caller)))
}

fn is_run_by_caller(tool: &Value) -> bool {
    match tool.get("type").filter(|kind| !kind.is_null()) {
        Some(kind) => matches!(kind.as_str(), Some("function" | "custom")),
        // Anthropic's may leave it out.
        None if tool.get("input_schema").is_some() => true,
        None => {
            tool.as_object().is_some_and(|members| members.keys().all(|name| OF_CALLER.contains(&&**name)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack: a call that a provider has carried out, and the next one carries out again.
    #[test]
    fn what_a_provider_runs_is_an_effect() {
        for (request, expected) in [
            (r#"{"messages":[]}"#, true),
            (r#"{"tools":null}"#, true),
            (r#"{"tools":[{"type":"function","function":{"name":"f"}}]}"#, true),
            (r#"{"tools":[{"name":"f","input_schema":{}},{"type":"custom","name":"g"}]}"#, true),
            (r#"{"tools":[{"functionDeclarations":[]}]}"#, true),
            (r#"{"toolConfig":{"tools":[{"toolSpec":{}}]}}"#, true),
            (r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}"#, false),
            (r#"{"tools":[{"type":"function"},{"type":"web_search"}]}"#, false),
            (r#"{"tools":[{"type":"code_execution_20250825","name":"code_execution"}]}"#, false),
            (r#"{"tools":[{"functionDeclarations":[],"codeExecution":{}}]}"#, false),
            (r#"{"toolConfig":{"tools":[{"systemTool":{}}]}}"#, false),
            (r#"{"tools":{}}"#, false),
            ("[", false),
        ] {
            assert_eq!(has_none(&Bytes::from(request)), expected, "{request}");
        }
    }
}
