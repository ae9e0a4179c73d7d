//! Where requests come in, until a signal ends it.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fs::Mode;
use rustix::process::umask;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::wrapped::Wrapped;
use crate::{At, Config, endpoint};

/// Connections at once; others wait.
const CONNECTIONS: usize = 1024;
/// From the connection, or the last answer, to complete headers; also how long a connection idles.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// Of one request's headers, in bytes.
const HEADERS: usize = 64 * 1024;
/// When connections cannot be accepted.
const PAUSE: Duration = Duration::from_millis(10);
/// How often is looked for what nobody uses.
const ROUND: Duration = Duration::from_secs(1);

/// Where a server is served, once it is.
#[derive(Debug)]
pub struct Listener {
    listens: Listens,
}

#[derive(Debug)]
enum Listens {
    Tcp(TcpListener),
    Socket(UnixListener, PathBuf),
}

impl Listener {
    /// Listens. A socket of Unix that a former process has left is replaced; one at which somebody listens is not.
    ///
    /// # Errors
    /// When that is not possible.
    pub async fn bind(at: &At) -> io::Result<Self> {
        let listens = match at {
            At::Tcp(address) => Listens::Tcp(TcpListener::bind(address).await?),
            At::Socket(path) => {
                take_away(path)?;
                // Nobody but this user, from the moment that it is there.
                let before = umask(Mode::from_raw_mode(0o177));
                let bound = UnixListener::bind(path);
                umask(before);
                Listens::Socket(bound?, path.clone())
            }
        };
        Ok(Self { listens })
    }

    /// The address as clients have it.
    ///
    /// # Errors
    /// When the system does not say it.
    pub fn url(&self) -> io::Result<String> {
        Ok(match &self.listens {
            Listens::Tcp(listener) => format!("http://{}/mcp", listener.local_addr()?),
            Listens::Socket(_, path) => format!("unix:{}:/mcp", path.display()),
        })
    }
}

/// Removes a socket that nobody listens at.
fn take_away(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there")),
        Err(_) => fs::remove_file(path),
    }
}

/// Serves until SIGTERM or SIGINT, and ends what was started. Gives the status of the server's process where all sessions share one.
///
/// # Errors
/// When signals cannot be waited for.
pub async fn serve(config: Config, listener: &Listener) -> io::Result<Option<ExitStatus>> {
    let wrapped = Arc::new(Wrapped::new(config));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let looking = wrapped.clone();
    let round = tokio::spawn(async move {
        loop {
            tokio::time::sleep(ROUND).await;
            looking.end_idle().await;
        }
    });
    tokio::select! {
        () = accept(&wrapped, listener) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: the server's processes end");
    round.abort();
    let status = wrapped.end().await;
    if let Listens::Socket(_, path) = &listener.listens {
        // Whoever starts next takes it away otherwise.
        let _ = fs::remove_file(path);
    }
    Ok(status)
}

async fn accept(wrapped: &Arc<Wrapped>, listener: &Listener) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let wrapped = wrapped.clone();
        let accepted = match &listener.listens {
            Listens::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    connection(wrapped, stream).await;
                    drop(place);
                })
            }),
            Listens::Socket(listener, _) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(async move {
                    connection(wrapped, stream).await;
                    drop(place);
                })
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn connection(wrapped: Arc<Wrapped>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(HEADERS);
    let service = service_fn(|request| endpoint::answer(wrapped.clone(), request));
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended");
    }
}
