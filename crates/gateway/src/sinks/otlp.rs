//! Records to a receiver of OTLP logs: HTTP, protobuf (OTLP 1.x, "OTLP/HTTP").

use bytes::Bytes;
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

    /// Sends a body once.
    pub(super) async fn send(&self, body: Bytes) -> Result<Taken, Failed> {
        let answer = self.web.post(self.uri.clone(), "application/x-protobuf", body).await;
        let answer = answer.map_err(Failed::again)?;
        let (head, body) = answer.into_parts();
        match head.status {
            StatusCode::OK => {}
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
        let answer = ExportLogsServiceResponse::decode(body)
            .map_err(|_| Failed::again("it answered 200, and not as a receiver of OTLP logs does"))?;
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_log_records);
        Ok(Taken { rejected: u64::try_from(rejected).unwrap_or_default() })
    }
}
