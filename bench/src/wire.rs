//! One HTTP/1.1 exchange on a connection of its own: what is asked before and after a measurement.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::load::Answer;

const PATIENCE: Duration = Duration::from_secs(10);

/// An answer, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// An error that shows the answer, unless its status is one of `wanted`.
    pub(crate) fn expect(self, wanted: &[u16]) -> anyhow::Result<Self> {
        match wanted.contains(&self.status) {
            true => Ok(self),
            false => bail!("status {}: {}", self.status, self.text()),
        }
    }
}

/// The bytes of a request. `headers` are whole lines without their ends.
pub(crate) fn request(method: &str, path: &str, host: SocketAddr, headers: &[String], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

/// GETs a path.
pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<Reply> {
    exchange(address, &request("GET", path, address, &[], ""))
}

/// Sends a request and reads its answer.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> anyhow::Result<Reply> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("no connection to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    let mut answer = Answer::default();
    loop {
        let received = stream.read(&mut piece).context("an answer could not be read")?;
        bytes.extend_from_slice(piece.get(..received).unwrap_or_default());
        if let Some(complete) = answer.read(&bytes)? {
            let body = complete.body(&bytes)?.into_owned();
            return Ok(Reply { status: complete.status, headers: headers(&bytes)?, body });
        }
        if received == 0 {
            bail!(
                "the connection was closed in the middle of an answer: {:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}

fn headers(bytes: &[u8]) -> anyhow::Result<Vec<(String, String)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(bytes)?;
    let lines = response.headers.iter();
    Ok(lines.map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into_owned())).collect())
}
