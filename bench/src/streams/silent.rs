//! A server whose answers begin and do not end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use crate::upstream::At;

const BEGINNING: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const EVENT: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"begun\"}}\n\n";

/// What it answered is kept, so that no answer ends before this does.
#[derive(Debug)]
pub(super) struct Silent {
    address: SocketAddr,
    answered: Arc<Mutex<Vec<TcpStream>>>,
}

impl Silent {
    /// Serves on a thread of its own until the process ends.
    pub(super) fn serve() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let answered = Arc::new(Mutex::new(Vec::new()));
        let kept = answered.clone();
        std::thread::Builder::new().name("silent".to_owned()).spawn(move || {
            for connection in listener.incoming() {
                match connection.map_err(anyhow::Error::from).and_then(answer) {
                    Ok(connection) => kept.lock().unwrap_or_else(PoisonError::into_inner).push(connection),
                    Err(error) => _ = crate::note(&format!("silent server: {error:#}")),
                }
            }
        })?;
        Ok(Self { address, answered })
    }

    /// It has no gRPC.
    pub(super) const fn at(&self) -> At {
        At { http: self.address, grpc: self.address }
    }

    /// Ends all answers.
    pub(super) fn end_all(&self) {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn answer(connection: TcpStream) -> anyhow::Result<TcpStream> {
    let mut reader = BufReader::new(connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).context("the body")?;
    let mut connection = reader.into_inner();
    write!(connection, "{BEGINNING}{:x}\r\n{EVENT}\r\n", EVENT.len())?;
    Ok(connection)
}
