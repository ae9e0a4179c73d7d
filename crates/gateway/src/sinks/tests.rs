use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use vidimus_core::row::COLUMNS;
use vidimus_ledger::{Config, Durability};
use vidimus_testkit::upstream::{Answer, Received, Upstream};

use super::*;
use crate::vitals::Vitals;
use crate::witnesses::tests::record;

fn open(dir: &Path) -> Ledger {
    let config = Config { dir: dir.join("ledger"), durability: Durability::Sync, ..Config::default() };
    Ledger::open(config).unwrap()
}

fn config(dir: &Path, sinks: &[&str]) -> SinksConfig {
    let quick = Duration::from_millis(5);
    SinksConfig {
        sinks: sinks.iter().map(|sink| sink.parse().unwrap()).collect(),
        directory: dir.join("sinks"),
        from: Some(0),
        secrets: None,
        guard: AddressGuard::default(),
        own: Vec::new(),
        pace: Pace { records: 10, first: quick, longest: quick * 4, look: quick, ..Pace::default() },
    }
}

/// A gateway's part in it, until it is dropped.
struct Following {
    sinks: Vec<Arc<Sink>>,
    meter: Arc<Meter>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Following {
    fn of(ledger: &Ledger, config: &SinksConfig) -> Self {
        let sinks = open_sinks(config, ledger).unwrap();
        let meter = Arc::new(Meter::new(&Vitals::default()));
        let tasks = sinks.iter().map(|sink| {
            let (sink, ledger, meter) = (sink.clone(), ledger.clone(), meter.clone());
            tokio::spawn(async move {
                sink.follow(&ledger, &meter).await;
            })
        });
        let tasks = tasks.collect();
        Self { sinks, meter, tasks }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..4_000 {
            if is_so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not {what}: {:?}", self.sinks);
    }

    async fn until_at(&self, place: usize, next: u64) {
        self.until(&format!("{place} at {next}"), |it| it.sinks[place].position() == next).await;
    }

    fn metrics(&self, ledger: &Ledger) -> String {
        self.meter.text(ledger)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn log_records(received: &Received) -> Vec<LogRecord> {
    let request = ExportLogsServiceRequest::decode(received.body.clone()).unwrap();
    let resources = request.resource_logs.into_iter();
    resources.flat_map(|logs| logs.scope_logs).flat_map(|logs| logs.log_records).collect()
}

/// By which a receiver knows duplicates.
fn index(record: &LogRecord) -> i64 {
    let of = record.attributes.iter().find(|attribute| attribute.key == "vidimus.ledger.index").unwrap();
    match of.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::IntValue(index)) => *index,
        other => panic!("{other:?}"),
    }
}

fn indexes(received: &Received) -> Vec<i64> {
    log_records(received).iter().map(index).collect()
}

fn answer(rejected: i64) -> Answer {
    let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: String::new() };
    let answer = ExportLogsServiceResponse { partial_success: (rejected > 0).then_some(partial) };
    Answer::whole("application/x-protobuf", answer.encode_to_vec())
}

/// A receiver that takes all.
fn collector() -> (Upstream, String) {
    let upstream = Upstream::start();
    upstream.otherwise(|_| answer(0));
    let url = format!("otlp+{}", upstream.url("/v1/logs"));
    (upstream, url)
}

#[tokio::test]
async fn records_go_out_in_order_and_a_start_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, url) = collector();
    let ledger = open(dir.path());
    record(&ledger, 25).await;
    let config = config(dir.path(), &[&url]);
    let following = Following::of(&ledger, &config);
    following.until_at(0, 25).await;
    let received = upstream.received();
    assert_eq!(received.iter().map(|one| log_records(one).len()).collect::<Vec<_>>(), [10, 10, 5]);
    let all: Vec<i64> = received.iter().flat_map(indexes).collect();
    assert_eq!(all, (0..25).collect::<Vec<_>>());
    assert_eq!(received[0].uri.path(), "/v1/logs");
    assert_eq!(received[0].header("content-type"), Some("application/x-protobuf"));
    // Word for word, so that its leaf hash can be computed.
    let kept = ledger.read_from(0).unwrap().next().unwrap().unwrap().record;
    let body = log_records(&received[0]).remove(0).body.unwrap().value.unwrap();
    assert_eq!(body, Value::StringValue(String::from_utf8(kept).unwrap()));
    assert_eq!(least_position(&config.directory).unwrap(), Some(25));
    drop(following);

    record(&ledger, 3).await;
    let following = Following::of(&ledger, &config);
    following.until_at(0, 28).await;
    record(&ledger, 1).await;
    following.until_at(0, 29).await;
    let all: Vec<i64> = upstream.received().iter().flat_map(indexes).collect();
    assert_eq!(all, (0..29).collect::<Vec<_>>(), "what was acknowledged is not sent again");
}

#[tokio::test]
async fn one_that_is_down_delays_itself_alone_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (up, up_url) = collector();
    let (down, down_url) = collector();
    for _ in 0..3 {
        down.next(Answer::json(&serde_json::json!({})).with_status(StatusCode::SERVICE_UNAVAILABLE));
    }
    down.next(Answer::reset());
    down.next(Answer::redirect(&up.url("/elsewhere")));
    // Not of such a receiver.
    down.next(Answer::whole("text/html", "<html>welcome</html>"));
    let ledger = open(dir.path());
    record(&ledger, 12).await;
    let following = Following::of(&ledger, &config(dir.path(), &[&down_url, &up_url]));
    following.until_at(1, 12).await;
    following.until_at(0, 12).await;
    assert_eq!(up.received().len(), 2, "nothing is led there");
    let all: Vec<Vec<i64>> = down.received().iter().map(indexes).collect();
    assert_eq!(all.len(), 8, "six failures");
    for batch in &all[..7] {
        assert_eq!(*batch, (0..10).collect::<Vec<_>>(), "it is the same until it is taken");
    }
    let label = |name: &str, rest: &str, place: usize, value: u64| {
        format!("vidimus_sink_{name}{{sink=\"{}\"{rest}}} {value}\n", following.sinks[place].place())
    };
    for line in [
        label("records_total", ",result=\"sent\"", 0, 12),
        label("requests_total", ",result=\"failed\"", 0, 6),
        label("requests_total", ",result=\"acknowledged\"", 0, 2),
        label("retries_total", "", 0, 6),
        label("lag_records", "", 0, 0),
        label("requests_total", ",result=\"acknowledged\"", 1, 2),
    ] {
        following.until(&line, |it| it.metrics(&ledger).contains(&line)).await;
    }
}

/// Loki and Grafana Cloud answer 204; others answer 200 with a body of their own. None of them gets a record twice.
#[tokio::test]
async fn any_success_is_one_whatever_it_says_beside() {
    for (status, content_type, body, rejected) in [
        (StatusCode::NO_CONTENT, None, "", 0),
        (StatusCode::ACCEPTED, None, "", 0),
        (StatusCode::OK, Some("application/json"), "{}", 0),
        (StatusCode::OK, Some("application/json"), r#"{"partialSuccess":{"rejectedLogRecords":"2"}}"#, 2),
        (StatusCode::OK, Some("text/plain"), "OK\n", 0),
        (StatusCode::OK, Some("text/html; charset=utf-8"), "ok", 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (upstream, url) = collector();
        upstream
            .otherwise(move |_| Answer::whole(content_type.unwrap_or_default(), body).with_status(status));
        let ledger = open(dir.path());
        record(&ledger, 5).await;
        let following = Following::of(&ledger, &config(dir.path(), &[&url]));
        following.until_at(0, 5).await;
        assert_eq!(upstream.received().len(), 1, "{status} {body}");
        let place = following.sinks[0].place();
        let counted =
            format!("vidimus_sink_records_total{{sink=\"{place}\",result=\"rejected\"}} {rejected}\n");
        assert!(following.metrics(&ledger).contains(&counted), "{status} {body}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_halved_and_what_is_rejected_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, url) = collector();
    upstream.otherwise(|received| match log_records(received).len() {
        0..=3 => answer(1),
        _ => answer(0).with_status(StatusCode::PAYLOAD_TOO_LARGE),
    });
    let ledger = open(dir.path());
    record(&ledger, 10).await;
    let following = Following::of(&ledger, &config(dir.path(), &[&url]));
    following.until_at(0, 10).await;
    let taken = upstream.received().into_iter().filter(|one| log_records(one).len() <= 3);
    let all: Vec<i64> = taken.flat_map(|one| indexes(&one)).collect();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    let place = following.sinks[0].place();
    let metrics = following.metrics(&ledger);
    let rejected = metrics.lines().find_map(|line| {
        line.strip_prefix(&format!("vidimus_sink_records_total{{sink=\"{place}\",result=\"rejected\"}} "))
    });
    assert!(rejected.is_some_and(|count| count.parse::<u64>().unwrap() >= 4), "{metrics}");
}

/// Whatever a receiver has against one record, it has the others, and knows of that one.
#[tokio::test]
async fn one_record_that_is_refused_holds_nothing() {
    let is_stub = |record: &LogRecord| record.attributes.iter().any(|it| it.key == "vidimus.record.stub");
    for status in [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::BAD_REQUEST] {
        let dir = tempfile::tempdir().unwrap();
        let (upstream, url) = collector();
        upstream.otherwise(move |received| {
            let unfit = |record: &LogRecord| matches!(index(record), 4 | 5) && !is_stub(record);
            let is_unfit = log_records(received).iter().any(unfit);
            if is_unfit { answer(0).with_status(status) } else { answer(0) }
        });
        let ledger = open(dir.path());
        record(&ledger, 12).await;
        let config = config(dir.path(), &[&url]);
        let following = Following::of(&ledger, &config);
        following.until_at(0, 12).await;
        let whole =
            |one: &Received| log_records(one).iter().all(|it| is_stub(it) || !matches!(index(it), 4 | 5));
        let taken: Vec<LogRecord> =
            upstream.received().iter().filter(|&one| whole(one)).flat_map(log_records).collect();
        assert_eq!(taken.iter().map(index).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
        assert_eq!(taken.iter().filter(|it| is_stub(it)).map(index).collect::<Vec<_>>(), [4, 5]);
        let counted = format!("vidimus_sink_records_total{{sink=\"{url}\",result=\"stub\"}} 2\n")
            .replace("/v1/logs", "");
        following.until(&counted, |it| it.metrics(&ledger).contains(&counted)).await;
        let mut files = std::fs::read_dir(&config.directory).unwrap();
        let kept = std::fs::read_to_string(files.next().unwrap().unwrap().path()).unwrap();
        assert!(kept.contains("\"stubs\":[[4,5]]"), "{kept}");
    }
}

/// A receiver that takes nothing is set wrong: no record is passed by, and it has them whole once it is mended.
#[tokio::test]
async fn where_a_stub_is_refused_too_nothing_is_passed_by() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, url) = collector();
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    upstream.otherwise(move |_| {
        let status = if is_mended.load(Ordering::Relaxed) { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        answer(0).with_status(status)
    });
    let ledger = open(dir.path());
    record(&ledger, 2).await;
    let config = config(dir.path(), &[&url]);
    // Only a stub that is sent at the very moment may be taken; there is time enough between them.
    let pace = Pace { first: Duration::from_millis(200), longest: Duration::from_millis(200), ..config.pace };
    let following = Following::of(&ledger, &SinksConfig { pace, ..config });
    // Both, one alone, and its stub.
    following.until("refused", |_| upstream.received().len() == 3).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    mended.store(true, Ordering::Relaxed);
    following.until_at(0, 2).await;
    assert!(!following.metrics(&ledger).contains("result=\"stub\""), "{:?}", following.sinks);
}

/// One that needs longer for a batch than there is gets less at once, and not the same for ever.
#[tokio::test]
async fn what_takes_too_long_is_halved_too() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, url) = collector();
    upstream.otherwise(|received| match log_records(received).len() {
        0..=3 => answer(0),
        _ => Answer::hang(),
    });
    let ledger = open(dir.path());
    record(&ledger, 10).await;
    let mut config = config(dir.path(), &[&url]);
    config.pace.deadline = Duration::from_millis(200);
    Following::of(&ledger, &config).until_at(0, 10).await;
}

#[tokio::test]
async fn header_fields_come_from_a_file_and_are_shown_nowhere() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::set_permissions(at.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let write = |text: &str, mode: u32| {
        std::fs::write(at.path().join("fields"), text).unwrap();
        std::fs::set_permissions(at.path().join("fields"), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("Authorization: Bearer hunter2\nx-tenant: a\n", 0o600);
    let (upstream, url) = collector();
    let secrets = SecretDirectory::open(at.path(), None).unwrap();
    let ledger = open(dir.path());
    let config =
        SinksConfig { secrets: Some(secrets), ..config(dir.path(), &[&format!("{url}?headers=fields")]) };
    record(&ledger, 1).await;
    let following = Following::of(&ledger, &config);
    following.until_at(0, 1).await;
    let received = upstream.received();
    assert_eq!(received[0].header("authorization"), Some("Bearer hunter2"));
    assert_eq!(received[0].header("x-tenant"), Some("a"));
    assert!(!format!("{config:?} {:?}", following.sinks).contains("hunter2"));
    // It is read each time: one that everybody may read is none.
    write("Authorization: Bearer hunter3", 0o644);
    record(&ledger, 1).await;
    following.until("failed", |it| it.metrics(&ledger).contains("result=\"failed\"")).await;
    assert_eq!(following.sinks[0].position(), 1);
    write("Authorization: Bearer hunter3", 0o600);
    following.until_at(0, 2).await;
    drop(following);
    for (text, mode) in [("", 0o600), ("hunter2", 0o600), ("a: b\nhunter2", 0o600), ("a: b", 0o644)] {
        write(text, mode);
        let NoSink::Unusable { source, .. } = open_sinks(&config, &ledger).unwrap_err() else {
            panic!("{text}")
        };
        assert!(source.to_string().contains("fields") && !source.to_string().contains("hunter2"), "{source}");
    }
    let without = SinksConfig { secrets: None, ..config };
    assert!(matches!(open_sinks(&without, &ledger), Err(NoSink::NoSecrets { .. })));
}

#[tokio::test]
async fn it_is_nowhere_that_no_call_goes_and_not_this_gateway_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let own = vec!["127.0.0.1:9901".parse().unwrap(), "0.0.0.0:9902".parse().unwrap()];
    for (sinks, says) in [
        (vec!["otlp+http://169.254.169.254/latest"], "never called"),
        (vec!["syslog+tcp://[fd00:ec2::254]"], "never called"),
        (vec!["otlp+http://127.0.0.1:9901/mcp"], "own address"),
        (vec!["syslog+tls://siem.example:9902"], "listens on all addresses"),
        (vec!["syslog+tcp://siem:601", "syslog+tcp://siem?body=ocsf"], "given twice"),
        (vec!["syslog+tls://127.0.0.1?ca=/none"], "cannot be used"),
    ] {
        let config = SinksConfig { own: own.clone(), ..config(dir.path(), &sinks) };
        let error = open_sinks(&config, &ledger).unwrap_err().to_string();
        assert!(error.contains(says), "{sinks:?}: {error}");
    }
    // None of them left a position, which would hold what is pruned.
    assert_eq!(least_position(&dir.path().join("sinks")).unwrap(), None);
}

/// What a syslog receiver does with a connection.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Reads to the end, and ends it.
    Takes,
    /// Reads a part, and is killed: what it did not read is answered by a reset.
    Killed,
    /// Closes it at once, and reads nothing.
    Ends,
    /// Reads all, and never ends it.
    Hangs,
}

/// A syslog receiver that does so with one connection after another, and then takes all; and what it read whole.
async fn siem(mut ways: Vec<Way>) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("syslog+tcp://{}", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let all = taken.clone();
    tokio::spawn(async move {
        ways.reverse();
        let mut hanging: Vec<TcpStream> = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            match ways.pop().unwrap_or(Way::Takes) {
                Way::Takes => {
                    stream.read_to_end(&mut read).await.unwrap();
                    all.lock().unwrap().push(read);
                }
                Way::Killed => {
                    let _ = stream.read(&mut [0; 10]).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Way::Ends => drop(stream),
                Way::Hangs => {
                    stream.read_to_end(&mut read).await.unwrap();
                    hanging.push(stream);
                }
            }
        }
    });
    (url, taken)
}

/// The indexes of counted messages.
fn counted(mut all: &[u8]) -> Vec<u64> {
    let mut indexes = Vec::new();
    while let Some(blank) = all.iter().position(|byte| *byte == b' ') {
        let count: usize = str::from_utf8(&all[..blank]).unwrap().parse().unwrap();
        let message = str::from_utf8(&all[blank + 1..][..count]).unwrap();
        let index = message.split_once("index=\"").unwrap().1.split_once('"').unwrap().0;
        indexes.push(index.parse().unwrap());
        all = &all[blank + 1 + count..];
    }
    indexes
}

#[tokio::test]
async fn a_syslog_receiver_has_what_it_read_to_the_end_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (url, taken) = siem(vec![Way::Killed, Way::Ends, Way::Hangs, Way::Takes, Way::Killed]).await;
    let ledger = open(dir.path());
    record(&ledger, 25).await;
    let mut config = config(dir.path(), &[&url]);
    config.pace.deadline = Duration::from_secs(1);
    let following = Following::of(&ledger, &config);
    following.until_at(0, 25).await;
    let all: Vec<u64> = taken.lock().unwrap().iter().flat_map(|read| counted(read)).collect();
    assert_eq!(all, (0..25).collect::<Vec<_>>());
    let failed = format!("vidimus_sink_requests_total{{sink=\"{url}\",result=\"failed\"}} 4\n");
    following.until(&failed, |it| it.metrics(&ledger).contains(&failed)).await;
}

#[tokio::test]
async fn a_syslog_receiver_that_wants_lines_has_a_record_on_each() {
    let dir = tempfile::tempdir().unwrap();
    let (url, taken) = siem(Vec::new()).await;
    let ledger = open(dir.path());
    record(&ledger, 12).await;
    let config = config(dir.path(), &[&format!("{url}?framing=newline&body=record")]);
    Following::of(&ledger, &config).until_at(0, 12).await;
    let text = String::from_utf8(taken.lock().unwrap().concat()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 12, "{text}");
    for (index, line) in lines.iter().enumerate() {
        assert!(line.starts_with('<') && line.contains(&format!("index=\"{index}\"")), "{line}");
    }
}

#[tokio::test]
async fn nothing_is_sent_that_is_not_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, url) = collector();
    let hour = Duration::from_secs(3_600);
    let config_of = || Config {
        dir: dir.path().join("ledger"),
        fsync_interval: hour,
        checkpoint_interval: hour,
        ..Config::default()
    };
    let ledger = Ledger::open(config_of()).unwrap();
    let following = Following::of(&ledger, &config(dir.path(), &[&url]));
    record(&ledger, 3).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((upstream.received().len(), following.sinks[0].position()), (0, 0));
    ledger.close().await;
    following.until_at(0, 3).await;
}

/// A ClickHouse with tables of that schema; the first insert fails.
fn clickhouse(schema: u32) -> (Upstream, String) {
    let upstream = Upstream::start();
    let has_failed = AtomicBool::new(false);
    upstream.otherwise(move |received| {
        let asks = String::from_utf8_lossy(&received.body).into_owned();
        let rows: String = if asks.contains("system.tables") {
            ["audit_events", "records", "hours"]
                .map(|table| format!("[\"{table}\",\"Vidimus, schema {schema}\"]\n"))
                .concat()
        } else if asks.contains("system.columns") {
            COLUMNS.iter().map(|(name, ..)| format!("[\"{name}\"]\n")).collect()
        } else if !has_failed.swap(true, Ordering::Relaxed) {
            let said = "Code: 252. DB::Exception: Too many parts: hunter2. (TOO_MANY_PARTS) (version 26.9)";
            return Answer::whole("text/plain", said)
                .with_status(StatusCode::INTERNAL_SERVER_ERROR)
                .with_header("x-clickhouse-exception-code", "252");
        } else {
            String::new()
        };
        Answer::whole("text/plain", rows).with_header("x-clickhouse-query-id", "q")
    });
    let url = upstream.url("/vidimus").replacen("http", "clickhouse", 1);
    (upstream, url)
}

/// What was to be inserted: its token, and the indexes of its rows.
fn inserts(upstream: &Upstream) -> Vec<(String, Vec<u64>)> {
    let insert = |received: Received| {
        let query = received.uri.query()?.to_owned();
        let pairs: HashMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert_eq!(pairs["database"], "vidimus");
        let lines = str::from_utf8(&received.body).ok()?.lines();
        let index =
            |line: &str| serde_json::from_str::<Vec<serde_json::Value>>(line).unwrap()[1].as_u64().unwrap();
        pairs.get("query").filter(|sql| sql.starts_with("INSERT INTO audit_events (`origin`, `index`, "))?;
        Some((pairs["insert_deduplication_token"].clone(), lines.map(index).collect()))
    };
    upstream.received().into_iter().filter_map(insert).collect()
}

#[tokio::test]
async fn a_table_gets_a_batch_by_one_token_until_it_has_it_and_by_another_from_another_run() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, url) = clickhouse(1);
    // Before it says what tables there are.
    upstream.next(Answer::json(&serde_json::json!({})).with_status(StatusCode::SERVICE_UNAVAILABLE));
    let ledger = open(dir.path());
    record(&ledger, 12).await;
    let config = config(dir.path(), &[&url]);
    let following = Following::of(&ledger, &config);
    following.until_at(0, 12).await;
    let all = inserts(&upstream);
    assert_eq!(all.iter().map(|(_, rows)| rows.len()).collect::<Vec<_>>(), [10, 10, 2]);
    assert_eq!(all[0], all[1], "it is the same until it is taken");
    assert_eq!((all[1].1[0], all[2].1[1]), (0, 11));
    let (first, run) = all[0].0.rsplit_once('/').unwrap();
    assert_eq!(first, format!("{}/0-10", ledger.origin()));
    assert!(all[2].0.ends_with(run));
    let failed = format!("vidimus_sink_requests_total{{sink=\"{url}\",result=\"failed\"}} 2\n");
    following.until(&failed, |it| it.metrics(&ledger).contains(&failed)).await;
    drop(following);
    record(&ledger, 1).await;
    Following::of(&ledger, &config).until_at(0, 13).await;
    let last = inserts(&upstream).pop().unwrap();
    assert_eq!(last.1, [12]);
    // Rows that were deleted meanwhile have to be added again.
    assert!(!last.0.ends_with(run), "{last:?}");
}

#[tokio::test]
async fn a_table_of_a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, url) = clickhouse(2);
    let ledger = open(dir.path());
    record(&ledger, 1).await;
    let following = Following::of(&ledger, &config(dir.path(), &[&url]));
    following.until("failed", |it| it.metrics(&ledger).contains("result=\"failed\"")).await;
    assert_eq!(following.sinks[0].position(), 0);
    assert!(upstream.received().iter().all(|it| it.body.starts_with(b"SELECT")), "nothing is changed");
}

/// A receiver that keeps its side open takes all of it, and would be sent it for ever.
#[tokio::test]
async fn of_a_receiver_that_only_reads_it_is_said_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let config = config(dir.path(), &["syslog+tcp://127.0.0.1:601", "otlp+http://127.0.0.1:4318/v1/logs"]);
    let sinks = open_sinks(&config, &ledger).unwrap();
    let said: Vec<String> = sinks.iter().map(|sink| sink.receiver.silent(Duration::from_secs(30))).collect();
    assert!(said[0].contains("30000 ms") && said[0].contains("ending its side"), "{said:?}");
    assert_eq!(said[1], "no answer within 30000 ms");
}
