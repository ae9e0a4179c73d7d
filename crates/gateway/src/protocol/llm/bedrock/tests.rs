use super::*;

/// What a request is refused by; nothing where it goes on.
fn refused(body: &str) -> Option<Code> {
    let json = Json::parse(body.as_bytes()).expect("valid JSON");
    check(&json).and_then(|()| most(&json)).err().map(|refusal| refusal.code)
}

#[test]
fn a_model_stands_in_the_path_once_and_in_one_spelling() {
    const PROFILE: &str =
        "arn%3Aaws%3Abedrock%3Aeu-central-1%3A111122223333%3Aapplication-inference-profile%2Fa1";
    let operation = |path: &str| -> Result<String, Code> {
        let operation = Bedrock.operation(&Method::POST, path).map_err(|refusal| refusal.code)?;
        Ok(operation.path.into_owned())
    };
    for (path, expected) in [
        ("/model/small/converse", Ok("/model/small/converse")),
        (
            "/model/anthropic.claude-v1%3A0/converse-stream",
            Ok("/model/anthropic.claude-v1%3A0/converse-stream"),
        ),
        // As some write it, and as it goes on.
        ("/model/anthropic.claude-v1:0/converse", Ok("/model/anthropic.claude-v1%3A0/converse")),
        (&format!("/model/{PROFILE}/converse"), Ok(&*format!("/model/{PROFILE}/converse"))),
        // Attacks: what would be another path or another model for some reader.
        ("/model/small%253A0/converse", Err(Code::RouteUnknown)),
        ("/model/a/b/converse", Err(Code::RouteUnknown)),
        ("/model/a%2F..%2Fb/converse", Err(Code::RouteUnknown)),
        ("/model/..%2Fguardrail/converse", Err(Code::RouteUnknown)),
        ("/model/%2E%2E/converse", Err(Code::RouteUnknown)),
        ("/model/small%3Fx/converse", Err(Code::RouteUnknown)),
        ("/model/small%00/converse", Err(Code::RouteUnknown)),
        ("/model/%FF/converse", Err(Code::RouteUnknown)),
        ("/model//converse", Err(Code::RouteUnknown)),
        ("/model/small/converse/", Err(Code::RouteUnknown)),
        ("/model/small/invoke", Err(Code::RouteUnknown)),
        ("/model/small/invoke-with-response-stream", Err(Code::RouteUnknown)),
        ("/guardrail/x/version/1/apply", Err(Code::RouteUnknown)),
    ] {
        let expected = expected.map(str::to_owned);
        assert_eq!(operation(path), expected, "{path}");
    }
    let got = Bedrock.operation(&Method::GET, "/model/small/converse").map_err(|refusal| refusal.code);
    assert_eq!(got, Err(Code::MethodNotAllowed));
}

#[test]
fn nothing_runs_beside_the_model_and_nothing_of_the_account_is_read() {
    const UNDECIDED: Option<Code> = Some(Code::MemberUndecided);
    const INVALID: Option<Code> = Some(Code::MessageInvalid);
    for (body, code) in [
        (
            r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}],"system":[{"text":"x"},{"cachePoint":{"type":"default"}}]}"#,
            None,
        ),
        (r#"{"inferenceConfig":{"maxTokens":5,"temperature":0.5,"topP":1,"stopSequences":["x"]}}"#, None),
        (
            r#"{"inferenceConfig":null,"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{}}}}],"toolChoice":{"auto":{}}}}"#,
            None,
        ),
        (
            r#"{"guardrailConfig":{"guardrailIdentifier":"g","guardrailVersion":"1"},"requestMetadata":{"model":"x"},"performanceConfig":{"latency":"optimized"}}"#,
            None,
        ),
        (
            r#"{"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":1024},"top_k":5,"inferenceConfig":{"topK":5}}}"#,
            None,
        ),
        (r#"{"additionalModelResponseFieldPaths":["/stop_sequence"]}"#, None),
        // A tool's own words may be any.
        (
            r#"{"messages":[{"role":"assistant","content":[{"toolUse":{"toolUseId":"1","name":"f","input":{"s3Location":{}}}}]},
            {"role":"user","content":[{"toolResult":{"toolUseId":"1","content":[{"json":{"s3Location":{"uri":"x"}}}]}}]}]}"#,
            None,
        ),
        // Another model, or something of another's.
        (r#"{"modelId":"large"}"#, UNDECIDED),
        (r#"{"model":"large"}"#, UNDECIDED),
        (r#"{"fallbackModels":["large"]}"#, UNDECIDED),
        (r#"{"additionalModelRequestFields":{"model":"large"}}"#, UNDECIDED),
        (r#"{"additionalModelRequestFields":{"mcp_servers":[{"url":"https://elsewhere"}]}}"#, UNDECIDED),
        (r#"{"additionalModelRequestFields":{"tools":[{"type":"advisor","model":"large"}]}}"#, UNDECIDED),
        (r#"{"additionalModelRequestFields":{"Tools":[{"type":"advisor","model":"large"}]}}"#, INVALID),
        (r#"{"Messages":[]}"#, INVALID),
        (r#"{"inference_config":{"maxTokens":5}}"#, INVALID),
        (r#"{"additional_model_request_fields":{}}"#, INVALID),
        // A limit once more, wherever the model's maker has it.
        (r#"{"additionalModelRequestFields":{"max_tokens":900000}}"#, UNDECIDED),
        (r#"{"additionalModelRequestFields":{"inferenceConfig":{"maxTokens":900000}}}"#, UNDECIDED),
        (r#"{"additionalModelRequestFields":{"a":[{"max_gen_len":900000}]}}"#, UNDECIDED),
        (r#"{"inferenceConfig":{"maxTokens":"900000"}}"#, INVALID),
        (r#"{"inferenceConfig":{"maxTokens":0}}"#, INVALID),
        (r#"{"inferenceConfig":{"max_tokens":5}}"#, INVALID),
        (r#"{"inferenceConfig":[]}"#, INVALID),
        (r"[]", INVALID),
        // What only the account of the gateway may read.
        (r#"{"additionalModelRequestFields":{"mediaSource":{"s3Location":{"uri":"s3://b/k"}}}}"#, UNDECIDED),
        (
            r#"{"messages":[{"role":"user","content":[{"image":{"format":"png","source":{"s3Location":{"uri":"s3://b/k"}}}}]}]}"#,
            UNDECIDED,
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"document":{"name":"d","source":{"s3Location":{"uri":"s3://b/k"}}}}]}]}"#,
            UNDECIDED,
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"toolResult":{"toolUseId":"1","content":[{"video":{"source":{"S3Location":{}}}}]}}]}]}"#,
            UNDECIDED,
        ),
    ] {
        assert_eq!(refused(body), code, "{body}");
    }
    let deep = format!(
        r#"{{"additionalModelRequestFields":{}1{}}}"#,
        r#"{"a":"#.repeat(DEEPEST + 2),
        "}".repeat(DEEPEST + 2)
    );
    assert_eq!(refused(&deep), INVALID);
    let json = Json::parse(br#"{"inferenceConfig":{"maxTokens":7}}"#).expect("valid JSON");
    assert_eq!(most(&json).expect("a limit"), 7);
    assert_eq!(most(&Json::parse(b"{}").expect("valid JSON")).expect("no limit"), UNSAID);
}

/// Its SDKs know an error by a header.
#[test]
fn a_refusal_is_an_error_of_bedrocks() {
    for (code, kind) in [
        (Code::NoPermit, "AccessDeniedException"),
        (Code::MessageInvalid, "ValidationException"),
        (Code::ResourceUnknown, "ResourceNotFoundException"),
    ] {
        let response = Bedrock.refused(&Refusal::new(code, "because"), "call-1", None);
        assert_eq!(response.headers()["x-amzn-errortype"], kind);
        assert!(response.body().contains("because"));
        // In a stream it is an exception, and in a document the same.
        let event = Bedrock.last_event(response.body());
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
        assert_eq!(error_in(data), Some(response.body().as_str()));
    }
    assert_eq!(Bedrock.answered(br#"{"output":{}}"#).expect("read"), None);
    let error = Bedrock.answered(br#"{"error":{"message":"no"}}"#).expect("read");
    assert_eq!(error.as_deref(), Some(&br#"{"message":"no"}"#[..]));
}

/// Attack: an address that somebody signed, which authenticates whoever has it.
#[test]
fn a_signed_address_is_a_credential_too_many() {
    for (query, code) in [
        ("", None),
        ("a=b", None),
        ("X-Amz-Signature=0&X-Amz-Credential=AKID", Some(Code::CredentialAmbiguous)),
    ] {
        let request = http::Request::builder().uri(format!("/llm/t/x/model/m/converse?{query}")).body(());
        let (parts, ()) = request.expect("a request").into_parts();
        let to = Destination::Provider(crate::protocol::tests::provider());
        let lifted = Bedrock.lifted(&to, &parts, "", &Bytes::from_static(b"{}"));
        assert_eq!(lifted.as_ref().err().map(|refusal| refusal.code), code, "{query}");
        assert!(lifted.is_err() || lifted.is_ok_and(|body| body == "{}"));
    }
}
