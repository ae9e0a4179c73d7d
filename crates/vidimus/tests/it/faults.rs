//! Faults injected into the real binary: whatever becomes of its log, its tasks and its descriptors, the newest configuration decides,
//! readiness tells the truth, and who calls is answered or the process ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use super::gateway::{Gateway, upstream_that_hangs_up};
use super::{policy, write};

/// The value of a metric; 0 where it is not there.
fn metric(gateway: &Gateway, name: &str) -> u64 {
    let metrics = gateway.get("/metrics").unwrap_or_default();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.map_or(0, |value| value.parse().unwrap())
}

fn is_ready(gateway: &Gateway) -> bool {
    gateway.get("/readyz").is_some_and(|answer| answer.contains(" 200 ") && answer.contains("ready"))
}

/// Forbids everything, and waits until that decides.
fn a_forbid_counts(gateway: &Gateway, token: &str) {
    write(
        gateway.path("resources").as_ref(),
        "d.yaml",
        &policy("closed", "forbid (principal, action, resource);"),
    );
    gateway.wait("forbidden", |gateway| gateway.call(Some(token)).contains("forbidden_by_policy"));
    assert!(is_ready(gateway), "{:?}", gateway.get("/readyz"));
    let registry = gateway.get("/registry").unwrap();
    let registry: serde_json::Value =
        serde_json::from_str(registry.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(registry["snapshot"], registry["decides"], "{registry}");
    assert_eq!(registry["accepting"].as_array().map(Vec::len), Some(1), "{registry}");
}

/// The recipe of the issue: `(head -2 f >/dev/null) & vidimus serve … 2>f`.
#[test]
fn a_log_reader_that_has_gone_takes_nothing_with_it() {
    let (reader, writer) = std::io::pipe().unwrap();
    let read = std::thread::spawn(move || {
        let mut lines = BufReader::new(reader);
        let mut line = String::new();
        for _ in 0..2 {
            lines.read_line(&mut line).unwrap();
        }
        line
    });
    let gateway = Gateway::start_with(upstream_that_hangs_up(), |command| {
        command.stderr(writer);
    });
    assert!(read.join().unwrap().contains("resources loaded"));
    let token = gateway.token();
    assert!(gateway.call(Some(&token)).contains("upstream_interrupted"), "it is allowed");
    a_forbid_counts(&gateway, &token);
    assert!(metric(&gateway, "vidimus_log_lines_lost_total") > 0);
    assert_eq!(metric(&gateway, "vidimus_panics_total"), 0);
    assert_eq!(gateway.stop().1, Some(0));
}

#[test]
fn a_log_that_nobody_reads_keeps_nobody_waiting() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let gateway = Gateway::start_with(upstream_that_hangs_up(), |command| {
        command.args(["--log", "trace"]).stderr(writer);
    });
    // A pipe takes 64 KiB.
    let token = gateway.token();
    for _ in 0..100 {
        assert!(gateway.call(Some(&token)).contains("upstream_interrupted"));
    }
    a_forbid_counts(&gateway, &token);
    assert_eq!(gateway.stop().1, Some(0));
}

#[test]
fn a_log_on_a_full_disk_is_lost_and_counted() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let gateway = Gateway::start_with(upstream_that_hangs_up(), |command| {
        command.stderr(full);
    });
    a_forbid_counts(&gateway, &gateway.token());
    assert!(metric(&gateway, "vidimus_log_lines_lost_total") > 0);
    assert_eq!(gateway.stop().1, Some(0));
}

#[test]
fn a_task_that_panics_begins_anew() {
    let faults = tempfile::tempdir().unwrap();
    let inject = |task: &str| fs::write(faults.path().join(task), "").unwrap();
    // It happens as the worker begins.
    inject("arrivals");
    let gateway = Gateway::start_with(upstream_that_hangs_up(), |command| {
        command.env("VIDIMUS_TEST_FAULTS", faults.path());
    });
    let token = gateway.token();
    let restarted = |task: &str| {
        let of = format!("vidimus_task_restarts_total{{task=\"{task}\"}}");
        gateway.wait(task, |gateway| metric(gateway, &of) == 1);
    };
    restarted("arrivals");
    for task in ["accept", "disk", "admin", "counts"] {
        inject(task);
        restarted(task);
        assert!(gateway.call(Some(&token)).contains("upstream_interrupted"), "{task}");
        assert!(is_ready(&gateway), "{task}");
    }
    // One connection, and no other.
    inject("connection");
    assert_eq!(gateway.call(Some(&token)), "");
    assert!(gateway.call(Some(&token)).contains("upstream_interrupted"));
    inject("snapshots");
    a_forbid_counts(&gateway, &token);
    restarted("snapshots");
    assert_eq!(metric(&gateway, "vidimus_panics_total"), 7);
    let log = fs::read_to_string(gateway.path("log")).unwrap();
    assert!(log.contains("a test wants accept to panic") && log.contains("begins anew"), "{log}");
    assert_eq!(gateway.stop().1, Some(0));
}

/// What cannot begin anew takes the process with it.
#[test]
fn a_worker_that_ends_ends_the_process() {
    let faults = tempfile::tempdir().unwrap();
    fs::write(faults.path().join("worker"), "").unwrap();
    let (code, log) = Gateway::ends(|command| {
        command.env("VIDIMUS_TEST_FAULTS", faults.path());
    });
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("the task 'vidimus-worker-0' ended"), "{log}");
}

/// A connection that comes from `from`.
fn connect(from: Ipv4Addr, to: &str) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((from, 0)))?;
    connect(&socket, &to.parse::<SocketAddr>().unwrap())?;
    Ok(TcpStream::from(socket))
}

/// Neither who connects to the gateway nor who connects to the admin address takes the descriptors of the other.
#[test]
fn connections_never_take_the_last_descriptor() {
    let gateway = Gateway::start_limited(upstream_that_hangs_up(), 300);
    let token = gateway.token();
    // They come from one source, and say nothing.
    let held: Vec<_> = [&gateway.listen, &gateway.admin]
        .into_iter()
        .flat_map(|to| (0..400).filter_map(|_| connect(Ipv4Addr::LOCALHOST, to).ok()))
        .collect();
    assert!(held.len() > 500, "{}", held.len());
    assert!(is_ready(&gateway), "{:?}", gateway.get("/readyz"));
    let mut stream = connect(Ipv4Addr::new(127, 0, 0, 2), &gateway.listen).unwrap();
    stream.write_all(gateway.request(Some(&token)).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("upstream_interrupted"), "{answer}");
    assert!(metric(&gateway, "vidimus_connections_refused_total") > 300);
    // And the registry still finds what changes.
    write(
        gateway.path("resources").as_ref(),
        "d.yaml",
        &policy("closed", "forbid (principal, action, resource);"),
    );
    gateway.wait("forbidden", |gateway| {
        gateway.get("/registry").is_some_and(|answer| answer.contains("Policy a/closed"))
    });
    let log = fs::read_to_string(gateway.path("log")).unwrap();
    assert!(!log.contains("accept failed") && log.contains("the limit of open files is low"), "{log}");
    drop(held);
    assert_eq!(gateway.stop().1, Some(0));
}

/// No call can be served with so few; that is said at the start.
#[test]
fn too_few_descriptors_are_said_at_the_start() {
    let (code, log) = Gateway::ends_limited(64);
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("ulimit -n"), "{log}");
}
