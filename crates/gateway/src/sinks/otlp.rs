//! Records to a receiver of OTLP logs: HTTP, protobuf (OTLP 1.x, "OTLP/HTTP").

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::receiver::{Failed, Taken};
use crate::beside::{Web, chain, retry_after};

/// Of an answer, in bytes. It says how many records were rejected, and why.
const MAX_ANSWER: usize = 64 * 1024;

/// A receiver of OTLP logs.
#[derive(Debug)]
pub(super) struct Otlp {
    uri: Uri,
    web: Web,
}

impl Otlp {
    pub(super) fn new(uri: Uri, web: Web) -> Self {
        Self { uri, web }
    }

    /// The body of a request with these records.
    pub(super) fn encode(records: Vec<LogRecord>) -> Bytes {
        let attribute = |key: &str, value: &str| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
            ..KeyValue::default()
        };
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource {
            attributes: vec![attribute("service.name", "vidimus"), attribute("service.version", version)],
            ..Resource::default()
        };
        let scope = InstrumentationScope {
            name: "vidimus-ledger".to_owned(),
            version: version.to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_logs = ScopeLogs { scope: Some(scope), log_records: records, ..ScopeLogs::default() };
        let resource_logs = ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![scope_logs],
            ..ResourceLogs::default()
        };
        ExportLogsServiceRequest { resource_logs: vec![resource_logs] }.encode_to_vec().into()
    }

    /// Sends a body once. Any 2xx says that it was taken (many receivers answer 204, or 200 with another body than OTLP's): else the
    /// same records would come to them again for ever.
    pub(super) async fn send(&self, body: Bytes) -> Result<Taken, Failed> {
        let answer = self.web.post(self.uri.clone(), "application/x-protobuf", body).await;
        let answer = answer.map_err(Failed::again)?;
        let (head, body) = answer.into_parts();
        match head.status {
            status if status.is_success() => {}
            // "The client MUST NOT retry" what is answered by 400 (OTLP/HTTP, "Failures"): it would be the same again.
            status @ (StatusCode::PAYLOAD_TOO_LARGE | StatusCode::BAD_REQUEST) => {
                return Err(Failed::Unfit(format!("it answered {status}")));
            }
            // A redirect is none either: what is for one receiver is not for another.
            status => {
                return Err(Failed::Again(format!("it answered {status}"), retry_after(&head.headers)));
            }
        }
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| Failed::again(chain(&*error)))?.to_bytes();
        if body.trim_ascii_start().starts_with(b"<") {
            let why =
                "it answered with a page, as a login or a proxy does, and not as a receiver of OTLP logs";
            return Err(Failed::again(why));
        }
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(Taken { rejected: rejected(content_type.unwrap_or_default(), &body) })
    }
}

/// How many records an answer says that it rejects: its partial success, in either form of OTLP (protobuf, or JSON, where a count is a number or a
/// text of one). What is in another form, or not whole, says nothing.
fn rejected(content_type: &str, body: &[u8]) -> u64 {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let count = if essence.eq_ignore_ascii_case("application/x-protobuf") {
        let answer = ExportLogsServiceResponse::decode(body).unwrap_or_default();
        answer.partial_success.map(|partial| partial.rejected_log_records)
    } else if essence.eq_ignore_ascii_case("application/json") {
        let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let count = answer.pointer("/partialSuccess/rejectedLogRecords");
        count.and_then(|count| count.as_i64().or_else(|| count.as_str()?.parse().ok()))
    } else {
        None
    };
    count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;

    use super::*;

    #[test]
    fn a_partial_success_is_read_in_both_forms_and_nothing_else_is() {
        let partial = ExportLogsPartialSuccess { rejected_log_records: 3, error_message: String::new() };
        let whole = ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        for (content_type, body, count) in [
            ("application/x-protobuf", &whole[..], 3),
            ("Application/X-Protobuf; v=1", &whole, 3),
            ("application/x-protobuf", b"", 0),
            ("application/x-protobuf", b"{}", 0),
            ("application/json", br#"{"partialSuccess":{"rejectedLogRecords":"3"}}"#, 3),
            ("application/json; charset=utf-8", br#"{"partialSuccess":{"rejectedLogRecords":3}}"#, 3),
            ("application/json", br#"{"partialSuccess":{"errorMessage":"a warning"}}"#, 0),
            ("application/json", br#"{"partialSuccess":{"rejectedLogRecords":-3}}"#, 0),
            ("application/json", br#"{"partialSuccess":null}"#, 0),
            ("application/json", b"", 0),
            ("text/plain", br#"{"partialSuccess":{"rejectedLogRecords":3}}"#, 0),
            ("", &whole, 0),
        ] {
            assert_eq!(rejected(content_type, body), count, "{content_type} {}", body.escape_ascii());
        }
    }
}
