use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

/// A server on a thread that answers the requests of one connection with `answers`, one after the other, then closes.
fn server(answers: Vec<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for answer in answers {
            let mut request = [0; 64];
            let received = stream.read(&mut request).unwrap();
            assert!(received > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

fn load(answers: Vec<&'static str>, check: Check) -> anyhow::Result<Load> {
    let request = Request { bytes: b"GET / HTTP/1.1\r\n\r\n"[..].into(), check, varies: false };
    let mut generator = Generator::connect(server(answers), vec![vec![request]])?;
    generator.run(Duration::ZERO)?;
    generator.run(Duration::ZERO)
}

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";

#[test]
fn good_answers_are_counted() {
    let load = load(vec![GOOD, GOOD], |_| Ok(())).unwrap();
    assert_eq!(load.requests, 1);
    assert!(load.latency.quantile_us(0.5) > 0.0);
}

#[test]
fn refusals_are_errors_not_figures() {
    let good: Check = |_| Ok(());
    let refused = "HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnope";
    let error = load(vec![GOOD, refused], good).unwrap_err().to_string();
    assert!(error.contains("403") && error.contains("nope"), "{error}");
    let longer = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nrefused";
    let error = load(vec![GOOD, longer], good).unwrap_err().to_string();
    assert!(error.contains("7 bytes where it was 4"), "{error}");
    assert!(load(vec![GOOD], |_| bail!("not this")).is_err());
    assert!(load(vec![GOOD], good).is_err(), "closed instead of a second answer");
}

#[test]
fn a_connection_that_was_closed_while_idle_is_opened_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 64]).unwrap() > 0);
            stream.write_all(GOOD.as_bytes()).unwrap();
        }
    });
    let request = Request { bytes: b"GET / HTTP/1.1\r\n\r\n"[..].into(), check: |_| Ok(()), varies: false };
    let mut generator = Generator::connect(address, vec![vec![request]]).unwrap();
    generator.run(Duration::ZERO).unwrap();
    while !generator.connections.iter().all(Connection::is_closed) {
        std::thread::yield_now();
    }
    assert_eq!(generator.run(Duration::ZERO).unwrap().requests, 1);
}
