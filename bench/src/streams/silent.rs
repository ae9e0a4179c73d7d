//! A server whose answers begin and do not end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::Context as _;

const BEGINNING: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const EVENT: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"begun\"}}\n\n";

/// Serves on a thread of its own until the process ends.
pub(super) fn serve() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("silent".to_owned()).spawn(move || {
        // Kept, so that no answer ends.
        let mut answered = Vec::new();
        for connection in listener.incoming() {
            match connection.map_err(anyhow::Error::from).and_then(answer) {
                Ok(connection) => answered.push(connection),
                Err(error) => _ = crate::note(&format!("silent server: {error:#}")),
            }
        }
    })?;
    Ok(address)
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
