use std::time::Duration;

use super::*;
use crate::protocol::tests::provider;

/// AWS's own example of a key.
const PAIR: &str = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SESSION: &str = "AQoDYXdzEJr//session==";

fn bedrock() -> LlmProvider {
    LlmProvider { region: Some("eu-central-1".into()), ..(*provider()).clone() }
}

/// The headers of a request that is made at 2026-11-28T23:31:00Z.
fn made(key: &str, uri: &'static str) -> Result<HeaderMap, Code> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_908_660);
    let mut given = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("traceparent", "00-1-2-01"),
        ("x-amz-security-token", "the caller's"),
        ("authorization", "AWS4-HMAC-SHA256 the caller's"),
    ] {
        given.insert(name, HeaderValue::from_static(value));
    }
    strip(&mut given);
    let uri = Uri::from_static(uri);
    let request = Signed { method: &Method::POST, uri: &uri, headers: &given, body: br#"{"messages":[]}"# };
    let key = HeaderValue::try_from(key).expect("a value");
    let added = headers(&bedrock(), &key, &request, now).map_err(|refusal| refusal.code)?;
    assert!(added.iter().all(|(_, value)| value.is_sensitive()));
    given.extend(added);
    Ok(given)
}

/// As botocore 1.44 signs the same requests (`SigV4Auth`).
#[test]
fn a_request_is_signed_as_amazons_sdk_signs_it() {
    const MODEL: &str = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/eu.anthropic.claude-3-haiku-20240307-v1%3A0/converse";
    const ARN: &str = "http://127.0.0.1:8080/at/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A111122223333%3Aapplication-inference-profile%2Fa1/converse-stream";
    for (session, uri, signature) in [
        (None, MODEL, "2980ecf961b5c6b1946bc77a76b3b97ab909af9711ebb5c5fc40d61c3f2f1c4c"),
        (None, ARN, "be0f732d9b54d697a83eccd400daa3845e848c33c1f4be56036c768d9b66d20f"),
        (Some(SESSION), MODEL, "03cb43deffcd2705e1311ece15b0288a74279de356ba58bf92f0ad2662e31c65"),
        (Some(SESSION), ARN, "a87f9ba476f2fa97d28947e187dc0a8c7f125f2ead871d016709204c2c053bed"),
    ] {
        let key = session.map_or(PAIR.to_owned(), |session| format!("{PAIR}:{session}"));
        let sent = made(&key, uri).expect("signed");
        let fields = match session {
            None => "content-type;host;x-amz-date",
            Some(_) => "content-type;host;x-amz-date;x-amz-security-token",
        };
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261128/eu-central-1/bedrock/aws4_request, SignedHeaders={fields}, Signature={signature}"
        );
        assert_eq!(sent.get("authorization").map(HeaderValue::as_bytes), Some(expected.as_bytes()), "{uri}");
        assert_eq!(sent["x-amz-date"], "20261128T233100Z");
        let token = sent.get("x-amz-security-token").map(HeaderValue::as_bytes);
        assert_eq!(token, session.map(str::as_bytes));
        assert_eq!(sent.get_all("authorization").iter().count(), 1);
    }
}

#[test]
fn an_api_key_is_a_bearer_and_anything_else_is_no_credential() {
    const AT: &str = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/m/converse";
    let sent = made("bedrock-api-key-YWJj", AT).expect("a key");
    assert_eq!(sent["authorization"], "Bearer bedrock-api-key-YWJj");
    assert!(!sent.contains_key("x-amz-date") && !sent.contains_key("x-amz-security-token"));
    for key in ["AKID:", ":secret", "AKID:secret:", "AKID:secret:token:more", "AK/ID:secret", ":"] {
        assert_eq!(made(key, AT).map(|_| ()), Err(Code::CredentialUnavailable), "{key}");
    }
    // Nothing of a key is in what is told.
    let key = HeaderValue::from_static("AKID:hunter2:");
    let (method, uri, none) = (Method::POST, Uri::from_static(AT), HeaderMap::new());
    let request = Signed { method: &method, uri: &uri, headers: &none, body: b"" };
    let refused = headers(&bedrock(), &key, &request, SystemTime::UNIX_EPOCH).expect_err("refused");
    assert!(!format!("{refused:?}").contains("hunter2"));
}
