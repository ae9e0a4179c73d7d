//! Models that stand in the path, and other names of models.

use bytes::Bytes;
use http::{HeaderMap, Request};

use crate::protocol::llm::*;
use crate::protocol::tests::{caller, provider, seal};
use crate::seal::Holder;

const GENERATE_PATH: &str = "/v1beta/models/sim-small:generateContent";

/// What a body POSTed to a path asks: method, model, whether it streams, the most tokens; where it goes on, and what is replaced in it.
fn asked(binding: &dyn Binding, path: &str, body: &str) -> Result<String, Code> {
    let mut registered = (*provider()).clone();
    registered.aliases = [("fast".into(), "sim-small".into())].into();
    let destination = Destination::Provider(Arc::new(registered));
    let json = Json::parse(body.as_bytes()).expect("valid JSON");
    let (caller, seal) = (caller(), seal());
    let message = Message {
        destination: &destination,
        method: &Method::POST,
        path,
        headers: &HeaderMap::new(),
        holder: &Holder::new(&seal, &destination, &caller),
        json: Some(&json),
        bytes: 400,
        standing: None,
    };
    let parsed = binding.parse(&message).map_err(|refusal| refusal.code)?;
    let Ask { method, streaming, tokens_most, target, .. } = parsed.ask;
    let Target::Model { name, .. } = target else { panic!("a model") };
    let replaced = parsed.replaced.iter().map(|one| format!(" {}={}", one.path.join("."), one.with));
    let replaced: String = replaced.collect();
    Ok(format!(
        "{method} {name} {streaming} {tokens_most} {}{replaced}",
        parsed.path.as_deref().unwrap_or("-")
    ))
}

#[test]
fn the_model_of_bedrock_is_that_of_the_path() {
    for (path, body, expected) in [
        ("/model/sim-small/converse", "{}", Ok("converse sim-small false 4096 -")),
        (
            "/model/sim-small/converse-stream",
            r#"{"inferenceConfig":{"maxTokens":7}}"#,
            Ok("converse sim-small true 7 -"),
        ),
        ("/model/fast/converse", "{}", Ok("converse sim-small false 4096 /model/sim-small/converse")),
        ("/model/other/converse", "{}", Err(Code::ResourceUnknown)),
    ] {
        assert_eq!(asked(&Bedrock, path, body), expected.map(str::to_owned), "{path} {body}");
    }
}

#[test]
fn the_model_of_gemini_is_that_of_the_path_and_no_other() {
    const UNDECIDED: Result<&str, Code> = Err(Code::MemberUndecided);
    const INVALID: Result<&str, Code> = Err(Code::MessageInvalid);
    let plain = Ok("models.generate_content sim-small false 4096 -");
    for (body, expected) in [
        ("{}", plain),
        (
            r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"systemInstruction":{},"toolConfig":{},"safetySettings":[]}"#,
            plain,
        ),
        (r#"{"model":"models/sim-small"}"#, plain),
        (r#"{"model":"sim-small","generationConfig":null,"cachedContent":null}"#, plain),
        (
            r#"{"generationConfig":{"maxOutputTokens":10,"candidateCount":3,"thinkingConfig":{"thinkingBudget":5}}}"#,
            Ok("models.generate_content sim-small false 30 -"),
        ),
        (
            r#"{"tools":[{"googleSearch":{}},{"functionDeclarations":[{"name":"f","parameters":{"model":{}}}]}]}"#,
            plain,
        ),
        // Attack: a body that says of another model than its path.
        (r#"{"model":"models/sim-large"}"#, INVALID),
        (r#"{"model":7}"#, INVALID),
        (r#"{"Model":"models/sim-large"}"#, INVALID),
        (r#"{"generateContentRequest":{"model":"models/sim-large"}}"#, INVALID),
        (r#"{"requests":[{"model":"models/sim-small"},{"model":"models/sim-large"}]}"#, INVALID),
        ("[]", INVALID),
        // Another spelling, which protobuf's JSON takes for the same.
        (r#"{"generation_config":{}}"#, INVALID),
        (r#"{"generationConfig":{"max_output_tokens":9}}"#, INVALID),
        (r#"{"generationConfig":{"maxOutputTokens":"900000"}}"#, INVALID),
        (r#"{"generationConfig":{"maxOutputTokens":1.5}}"#, INVALID),
        (r#"{"cached_content":"cachedContents/x"}"#, INVALID),
        // Other models, what others keep at the provider, and servers that it is to call.
        (r#"{"generationConfig":{"modelConfig":{}}}"#, UNDECIDED),
        (r#"{"generationConfig":{"routingConfig":{"manualMode":{"modelName":"sim-large"}}}}"#, UNDECIDED),
        (r#"{"cachedContent":"cachedContents/x"}"#, UNDECIDED),
        (r#"{"modelArmorConfig":{"promptTemplateName":"x"}}"#, UNDECIDED),
        (r#"{"fallbacks":["sim-large"]}"#, UNDECIDED),
        (r#"{"tools":[{"mcpServers":[{"streamableHttpTransport":{"url":"http://elsewhere"}}]}]}"#, UNDECIDED),
        (r#"{"tools":[{"retrieval":{"externalApi":{"endpoint":"http://elsewhere"}}}]}"#, UNDECIDED),
        (r#"{"tools":[{"exaAiSearch":{"apiKey":"k"}}]}"#, UNDECIDED),
        (r#"{"tools":{"googleSearch":{}}}"#, INVALID),
    ] {
        assert_eq!(asked(&Gemini, GENERATE_PATH, body), expected.map(str::to_owned), "{body}");
    }
    for (path, expected) in [
        ("/v1/models/sim-small:streamGenerateContent", Ok("models.generate_content sim-small true 4096 -")),
        ("/v1/models/sim-small:countTokens", Ok("models.count_tokens sim-small false 0 -")),
        ("/v1/models/sim-small:batchEmbedContents", Ok("models.embed_content sim-small false 0 -")),
        ("/v1/models/sim-large:generateContent", Err(Code::ResourceUnknown)),
    ] {
        assert_eq!(asked(&Gemini, path, "{}"), expected.map(str::to_owned), "{path}");
    }
}

#[test]
fn a_deployment_is_the_model_and_the_body_names_no_other() {
    let chat = "/openai/deployments/sim-small/chat/completions";
    for (path, body, expected) in [
        (chat, r#"{"model":"sim-small"}"#, Ok("chat.completions sim-small false 4096 -")),
        (chat, r#"{"messages":[]}"#, Ok("chat.completions sim-small false 4096 -")),
        (chat, r#"{"model":"sim-large"}"#, Err(Code::MessageInvalid)),
        (chat, r#"{"model":7}"#, Err(Code::MessageInvalid)),
        (chat, "[]", Err(Code::MessageInvalid)),
        ("/openai/deployments/sim-large/chat/completions", "{}", Err(Code::ResourceUnknown)),
        (
            "/openai/v1/chat/completions",
            r#"{"model":"sim-small"}"#,
            Ok("chat.completions sim-small false 4096 -"),
        ),
        ("/openai/v1/chat/completions", "{}", Err(Code::MessageInvalid)),
        (
            "/openai/deployments/sim-small/embeddings",
            r#"{"input":"x"}"#,
            Ok("embeddings sim-small false 0 -"),
        ),
        ("/openai/responses", r#"{"model":"sim-small"}"#, Ok("responses sim-small false 4096 -")),
        // As OpenAI's own clients ask.
        (
            "/v1/responses",
            r#"{"model":"sim-small"}"#,
            Ok("responses sim-small false 4096 /openai/v1/responses"),
        ),
        (
            "/v1/completions",
            r#"{"model":"sim-small","prompt":"x"}"#,
            Ok("completions sim-small false 4096 /openai/v1/completions"),
        ),
        (
            "/openai/deployments/sim-small/completions",
            r#"{"prompt":"x"}"#,
            Ok("completions sim-small false 4096 -"),
        ),
        (
            "/v1/embeddings",
            r#"{"model":"sim-small","input":"x"}"#,
            Ok("embeddings sim-small false 0 /openai/v1/embeddings"),
        ),
    ] {
        assert_eq!(asked(&Azure, path, body), expected.map(str::to_owned), "{path} {body}");
    }
}

#[test]
fn an_alias_is_decided_and_goes_on_as_its_model() {
    for (binding, path, body, expected) in [
        (
            &OpenAi as &dyn Binding,
            "/v1/chat/completions",
            r#"{"model":"fast"}"#,
            Ok(r#"chat.completions sim-small false 4096 - model="sim-small""#),
        ),
        (
            &Anthropic,
            "/v1/messages",
            r#"{"model":"fast"}"#,
            Ok(r#"messages sim-small false 4096 - model="sim-small""#),
        ),
        (
            &Gemini,
            "/v1/models/fast:generateContent",
            "{}",
            Ok("models.generate_content sim-small false 4096 /v1/models/sim-small:generateContent"),
        ),
        (
            &Gemini,
            "/v1/models/fast:countTokens",
            r#"{"generateContentRequest":{"model":"models/fast"}}"#,
            Ok(
                r#"models.count_tokens sim-small false 0 /v1/models/sim-small:countTokens generateContentRequest.model="models/sim-small""#,
            ),
        ),
        (
            &Gemini,
            "/v1/models/fast:batchEmbedContents",
            r#"{"requests":[{"model":"models/fast"}]}"#,
            Err(Code::MessageInvalid),
        ),
        (
            &Azure,
            "/openai/deployments/fast/chat/completions",
            r#"{"model":"fast"}"#,
            Ok(
                r#"chat.completions sim-small false 4096 /openai/deployments/sim-small/chat/completions model="sim-small""#,
            ),
        ),
        // Attack: the alias in the path, the model that it stands for in the body: two names, of which one could be another's.
        (
            &Azure,
            "/openai/deployments/fast/chat/completions",
            r#"{"model":"sim-small"}"#,
            Err(Code::MessageInvalid),
        ),
        (&OpenAi, "/v1/chat/completions", r#"{"model":"Fast"}"#, Err(Code::ResourceUnknown)),
    ] {
        assert_eq!(asked(binding, path, body), expected.map(str::to_owned), "{path} {body}");
    }
}

#[test]
fn a_response_goes_on_from_nothing_that_is_kept_at_the_provider() {
    let plain = Ok("responses sim-small false 4096 -");
    for (members, expected) in [
        (r#""input":"x""#, plain),
        (r#""input":"x","max_output_tokens":7,"store":false"#, Ok("responses sim-small false 7 -")),
        (
            r#""input":[{"role":"user","content":"x"},{"type":"function_call_output","call_id":"c","output":"x"}]"#,
            plain,
        ),
        (r#""input":"x","previous_response_id":null"#, plain),
        (r#""input":"x","previous_response_id":"resp_of_another""#, Err(Code::MemberUndecided)),
        (r#""input":"x","conversation":"conv_of_another""#, Err(Code::MemberUndecided)),
        (r#""prompt":{"id":"pmpt_1"}"#, Err(Code::MemberUndecided)),
        (r#""input":"x","background":true"#, Err(Code::MemberUndecided)),
        (r#""input":[{"type":"item_reference","id":"msg_of_another"}]"#, Err(Code::MemberUndecided)),
        (r#""input":[{"id":"msg_of_another"}]"#, Err(Code::MemberUndecided)),
    ] {
        let body = format!(r#"{{"model":"sim-small",{members}}}"#);
        assert_eq!(asked(&OpenAi, "/v1/responses", &body), expected.map(str::to_owned), "{body}");
    }
}

#[test]
fn a_query_has_no_credential_and_asks_for_no_other_form() {
    for (binding, path, query, expected) in [
        (&Gemini as &dyn Binding, GENERATE_PATH, "", None),
        (&Gemini, GENERATE_PATH, "alt=sse", None),
        (&Gemini, GENERATE_PATH, "alt=json&x=y", None),
        (&Gemini, GENERATE_PATH, "key=secret", Some(Code::CredentialAmbiguous)),
        (&Gemini, GENERATE_PATH, "alt=sse&%6bey=secret", Some(Code::CredentialAmbiguous)),
        (&Gemini, GENERATE_PATH, "access_token=secret", Some(Code::CredentialAmbiguous)),
        (&Gemini, GENERATE_PATH, "alt=proto", Some(Code::MessageInvalid)),
        (&Gemini, GENERATE_PATH, "%24alt=json%3Benum-encoding%3Dint", Some(Code::MessageInvalid)),
        (&Gemini, GENERATE_PATH, "alt=sse&alt=json", Some(Code::MessageInvalid)),
        (&Azure, "/openai/responses", "api-version=2024-10-21", None),
        (&Azure, "/openai/responses", "", None),
        (&Azure, "/openai/responses", "api-version=2099-01-01", Some(Code::ProtocolVersionUnsupported)),
        (
            &Azure,
            "/openai/responses",
            "api-version=2024-10-21&api-version=2025-04-01-preview",
            Some(Code::ProtocolVersionUnsupported),
        ),
    ] {
        let uri = format!("{path}?{query}");
        let (parts, ()) = Request::post(&uri).body(()).expect("a request").into_parts();
        let lifted =
            binding.lifted(&Destination::Provider(provider()), &parts, path, &Bytes::from_static(b"{}"));
        assert_eq!(lifted.err().map(|refusal| refusal.code), expected, "{uri}");
    }
}

#[test]
fn who_is_answered_in_whose_words_is_told_by_the_path() {
    for (path, key) in [
        ("/v1/messages", "x-api-key"),
        ("/v1/chat/completions", "x-api-key"),
        ("/v1/models", "x-goog-api-key"),
        ("/v1/models/sim-small:generateContent", "x-goog-api-key"),
        ("/v1beta/models", "x-goog-api-key"),
        ("/openai/models", "api-key"),
        ("/openai/deployments/sim-small/chat/completions", "api-key"),
    ] {
        assert!(binding_by_path(path).key_headers(path).contains(&key), "{path} {key}");
    }
    let refused = Gemini.refused(&Refusal::new(Code::NoPermit, "because"), "call-1", None);
    let body: serde_json::Value = serde_json::from_str(refused.body()).expect("JSON");
    assert_eq!(
        (&body["error"]["code"], &body["error"]["status"]),
        (&json!(403), &json!("PERMISSION_DENIED"))
    );
}
