//! Records to a receiver of OTLP logs: HTTP, protobuf (OTLP 1.x, "OTLP/HTTP").

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use vidimus_identity::read_regular;

use super::{Failed, Taken};
use crate::beside::{chain, retry_after};
use crate::forward::{AddressGuard, Client, MAX_ROOTS, client_beside};
use crate::secrets::SecretDirectory;

/// Of an answer, in bytes. It says how many records were rejected, and why.
const MAX_ANSWER: usize = 64 * 1024;

/// A receiver of OTLP logs.
#[derive(Debug)]
pub(super) struct Otlp {
    uri: Uri,
    client: Connections,
    headers: Option<(SecretDirectory, String)>,
}

/// How its certificate is known.
#[derive(Debug)]
enum Connections {
    /// By the system's roots, on connections that are kept.
    System(Box<Client>),
    /// By roots of its own, read for each request: a file that changes counts at once.
    Own { guard: AddressGuard, roots: PathBuf },
}

impl Otlp {
    /// # Errors
    /// Where roots cannot be read.
    pub(super) fn new(
        uri: Uri,
        guard: AddressGuard,
        roots: Option<PathBuf>,
        headers: Option<(SecretDirectory, String)>,
    ) -> io::Result<Self> {
        let client = match roots {
            None => Connections::System(Box::new(client_beside(guard, None)?)),
            Some(roots) => Connections::Own { guard, roots },
        };
        let receiver = Self { uri, client, headers };
        receiver.client()?;
        receiver.header_fields().map_err(io::Error::other)?;
        Ok(receiver)
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
        let fields = self.header_fields().map_err(Failed::again)?;
        let mut request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("vidimus/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| Failed::again(error.to_string()))?;
        request.headers_mut().extend(fields);
        let client = self.client().map_err(|error| Failed::again(error.to_string()))?;
        let answer = client.request(request).await.map_err(|error| Failed::again(chain(&error)))?;
        let (head, body) = answer.into_parts();
        match head.status {
            StatusCode::OK => {}
            StatusCode::PAYLOAD_TOO_LARGE => return Err(Failed::TooLarge),
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

    fn client(&self) -> io::Result<Client> {
        match &self.client {
            Connections::System(client) => Ok(Client::clone(client)),
            Connections::Own { guard, roots } => {
                let pem = read_regular(roots, MAX_ROOTS);
                let pem = pem.map_err(|error| io::Error::other(format!("{}: {error}", roots.display())))?;
                client_beside(guard.clone(), Some(&pem))
            }
        }
    }

    /// The header fields that the file has now, a line each: `Authorization: Bearer …`.
    fn header_fields(&self) -> Result<HeaderMap, String> {
        let Some((secrets, named)) = &self.headers else { return Ok(HeaderMap::new()) };
        let text = secrets.read(named)?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let fields: Option<HeaderMap> = lines.map(header_field).collect();
        // It says nothing of what is in the file.
        fields.filter(|fields| !fields.is_empty()).ok_or_else(|| {
            format!("{named}: write header fields, a line each, as in Authorization: Bearer TOKEN")
        })
    }
}

fn header_field(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let mut value: HeaderValue = value.trim().parse().ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}
