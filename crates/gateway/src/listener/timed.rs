//! The waits on a connection that hyper does not limit itself. One is for the first bytes, by which it tells HTTP/1.1 from
//! HTTP/2: a client that says nothing, or half of HTTP/2's preface, would keep its connection for ever. The other is for room to
//! write: so would a client that asks and never reads the answers.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// RFC 9113 section 3.4. What differs from it is HTTP/1.1, and hyper's own limits count from there.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that fails when it has not said within a time which protocol it speaks, or takes nothing of what is written to it.
#[derive(Debug)]
pub(super) struct Timed<S> {
    stream: S,
    /// The part of the preface that did not come yet; `None` when it is known what is spoken.
    waiting: Option<(&'static [u8], Pin<Box<Sleep>>)>,
    /// How long the peer may take nothing of what is written.
    stuck_time: Duration,
    /// Since a write made no progress.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, within: Duration, stuck_time: Duration) -> Self {
        let waiting = Some((PREFACE, Box::pin(tokio::time::sleep(within))));
        Self { stream, waiting, stuck_time, stuck: None }
    }

    /// What came of writing; an error when nothing came of it for too long.
    fn progress<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let limit = self.stuck_time;
        let deadline = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn heard(&mut self, bytes: &[u8]) {
        let Some((missing, _)) = &mut self.waiting else { return };
        match missing.strip_prefix(bytes) {
            // Nothing at all is the end of the stream.
            Some(rest) if !rest.is_empty() && !bytes.is_empty() => *missing = rest,
            _ => self.waiting = None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Some((_, deadline)) = &mut this.waiting {
            if read.is_ready() {
                this.heard(buf.filled().get(before..).unwrap_or_default());
            } else if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.progress(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.progress(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.stream).poll_flush(cx);
        self.progress(cx, written)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.progress(cx, written)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What comes of reading on, after `said`, when nothing more comes.
    async fn after(said: &[&[u8]]) -> io::Result<usize> {
        let (mut client, server) = tokio::io::duplex(1024);
        let mut timed = Timed::new(server, Duration::from_millis(20), Duration::from_secs(60));
        let mut buffer = [0; 64];
        for part in said {
            client.write_all(part).await?;
            assert_eq!(timed.read(&mut buffer).await?, part.len());
        }
        tokio::select! {
            read = timed.read(&mut buffer) => read,
            // The stream is open for longer than the limit: another one, hyper's, applies.
            () = tokio::time::sleep(Duration::from_millis(200)) => Ok(usize::MAX),
        }
    }

    #[tokio::test]
    async fn only_a_stream_that_does_not_say_what_it_speaks_is_given_up() {
        let timed_out =
            |result: io::Result<usize>| result.is_err_and(|e| e.kind() == io::ErrorKind::TimedOut);
        assert!(timed_out(after(&[]).await), "nothing");
        assert!(timed_out(after(&[b"P"]).await), "the P of PRI, or of POST");
        assert!(timed_out(after(&[b"PRI * ", b"HTTP/2.0\r\n"]).await), "half of the preface");
        assert_eq!(after(&[PREFACE]).await.ok(), Some(usize::MAX));
        assert_eq!(after(&[b"P", b"OST"]).await.ok(), Some(usize::MAX));
        assert_eq!(after(&[PREFACE, b"more"]).await.ok(), Some(usize::MAX));
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let limit = Duration::from_millis(300);
        let (mut client, server) = tokio::io::duplex(16);
        let mut timed = Timed::new(server, limit, limit);
        let slow = tokio::spawn(async move {
            let mut taken = [0; 16];
            for _ in 0..4 {
                tokio::time::sleep(limit / 3).await;
                client.read_exact(&mut taken).await.expect("read");
            }
            client
        });
        timed.write_all(&[b'x'; 80]).await.expect("it takes a little at a time");
        let _client = slow.await.expect("its end");
        let begun = tokio::time::Instant::now();
        let failed = timed.write_all(b"x").await.expect_err("nothing is taken any more");
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());
    }
}
