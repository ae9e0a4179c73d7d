//! An upstream that writes bytes, whatever they are: for answers that no HTTP library would write.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// How a connection ends after what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order (FIN).
    Close,
    /// Reset (RST).
    Reset,
    /// Not until the other side closes it.
    Stay,
}

/// What is written to a connection whose request has come.
#[derive(Debug)]
enum Step {
    Write(Vec<u8>),
    /// Until the test says so, or is gone.
    Wait(mpsc::Receiver<()>),
}

/// One connection's answer.
#[derive(Debug)]
pub struct RawAnswer {
    steps: Vec<Step>,
    end: End,
}

impl RawAnswer {
    /// Writes these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>, end: End) -> Self {
        Self { steps: vec![Step::Write(bytes.into())], end }
    }

    /// Then waits until something is sent to the sender, or it is dropped, and writes these.
    #[must_use]
    pub fn then(mut self, bytes: impl Into<Vec<u8>>) -> (Self, mpsc::Sender<()>) {
        let (sender, receiver) = mpsc::channel();
        self.steps.extend([Step::Wait(receiver), Step::Write(bytes.into())]);
        (self, sender)
    }
}

/// The upstream: each connection has one request, and gets the next answer that was given. Without one it is closed.
#[derive(Debug)]
pub struct RawUpstream {
    address: SocketAddr,
    next: mpsc::Sender<RawAnswer>,
    received: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
}

impl RawUpstream {
    /// Starts it, in threads of its own.
    #[expect(clippy::expect_used, reason = "test support: no loopback means no test")]
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let address = listener.local_addr().expect("the bound address");
        let (next, answers) = mpsc::channel::<RawAnswer>();
        let (received, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, stop) = (received.clone(), stopped.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(answer) = answers.try_recv() else { continue };
                let seen = seen.clone();
                thread::spawn(move || serve(stream, answer, &seen));
            }
        });
        Self { address, next, received, stopped }
    }

    /// The address of `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers the next connection with this.
    pub fn next(&self, answer: RawAnswer) {
        // The thread lives as long as this.
        let _ = self.next.send(answer);
    }

    /// The heads and bodies of the requests so far.
    pub fn received(&self) -> Vec<String> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // So that the thread looks.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, answer: RawAnswer, seen: &Mutex<Vec<String>>) {
    let Some(request) = request(&mut stream) else { return };
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    for step in answer.steps {
        match step {
            Step::Write(bytes) if stream.write_all(&bytes).is_err() => return,
            Step::Write(_) => {}
            // A sender that is gone says so too.
            Step::Wait(told) => drop(told.recv()),
        }
    }
    match answer.end {
        End::Close => drop(stream.shutdown(Shutdown::Both)),
        // Closing with this option set sends RST.
        End::Reset => drop(rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))),
        End::Stay => while stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {},
    }
}

/// Head and body of one request; `None` where the connection ended before.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lengths = head.lines().filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= lengths.next().unwrap_or_default() {
                return Some(text);
            }
        }
        match stream.read(&mut chunk) {
            Ok(length) if length > 0 => read.extend_from_slice(chunk.get(..length)?),
            _ => return None,
        }
    }
}
