//! Reading the bodies of requests, and how many bytes of them are held at once: by all callers together, and by each of them.
//!
//! Room is taken for what has arrived, never for what is announced: an announcement costs its sender nothing. It is divided as
//! [`fair_share`](crate::fair_share) says, and who sends slowly is the first to go when there is little left.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use vidimus_core::refusal::{Code, Refusal};

use crate::accounts::Holder;
use crate::fair_share::{Denied, Pool};

/// A sender is slow that has sent less than this each second since it began, where it began longer ago than that.
const SLOW: usize = 64 * 1024;
const SECOND: Duration = Duration::from_secs(1);
/// How long nothing comes of what is too much before that is said; and how much of it may come.
const PAUSE: Duration = Duration::from_millis(50);
const DISCARDED: usize = 64 * 1024 * 1024;

/// What is left of the room.
#[derive(Debug)]
pub struct Bodies {
    room: Pool,
    /// How long one body may take.
    time: Duration,
}

/// The room that one body takes. It is given back when this is dropped, on whatever way the call ends.
#[derive(Debug)]
#[must_use = "dropping it gives the room back"]
pub struct Lease<'a> {
    bodies: &'a Bodies,
    holder: Arc<Holder>,
    bytes: usize,
    arriving: Duration,
}

impl Lease<'_> {
    /// How long the body was on its way.
    pub const fn arriving(&self) -> Duration {
        self.arriving
    }
}

impl Bodies {
    /// Room for `most` bytes; each body has `time` to arrive.
    pub fn new(most: usize, time: Duration) -> Self {
        Self { room: Pool::new(most), time }
    }

    /// Reads a body of at most `limit` bytes that `holder` sends.
    ///
    /// # Errors
    /// `body_too_large`, before anything is kept where it says so of itself; `overloaded` where there is no room for it, or not for
    /// this holder; `request_too_slow`; `message_invalid` where it breaks off.
    pub async fn read<B>(
        &self,
        holder: Arc<Holder>,
        limit: usize,
        body: B,
    ) -> Result<(Bytes, Lease<'_>), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let announced = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let size = body.size_hint();
        let (mut body, begun) = (pin!(body), Instant::now());
        if announced(size.lower()) > limit {
            self.discard(body, begun).await;
            return Err(too_large(limit));
        }
        let longest = size.upper().map_or(limit, announced).min(limit);
        let mut arrived = Arrived { lease: self.lease(holder), longest, bytes: Whole::None };
        while let Some(frame) = self.next(body.as_mut(), begun, arrived.bytes.len()).await? {
            let frame = frame.map_err(|error| {
                Refusal::new(Code::MessageInvalid, "the body broke off").with_detail(error.into())
            })?;
            // Trailers are not part of any of the bindings that are served.
            let Ok(data) = frame.into_data() else { continue };
            if arrived.bytes.len() + data.len() > limit {
                drop(arrived);
                self.discard(body, begun).await;
                return Err(too_large(limit));
            }
            arrived.push(data)?;
        }
        arrived.lease.arriving = begun.elapsed();
        Ok((arrived.bytes.whole(), arrived.lease))
    }

    /// Of nothing yet.
    fn lease(&self, holder: Arc<Holder>) -> Lease<'_> {
        Lease { bodies: self, holder, bytes: 0, arriving: Duration::ZERO }
    }

    /// Lets a sender that is under way with too much say more of it, as long as it does: one that is hung up on while it sends sees a
    /// broken connection, and not the answer (RFC 9112 section 9.6). Nothing of it is kept.
    async fn discard<B: Body<Data = Bytes>>(&self, mut body: Pin<&mut B>, begun: Instant) {
        let mut left = DISCARDED;
        while begun.elapsed() < self.time
            && let Ok(Some(Ok(frame))) = tokio::time::timeout(PAUSE, body.frame()).await
        {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }

    /// The next frame. It is waited for as long as a body may take, or, where there is little room, as long as it comes fast enough.
    async fn next<B: Body>(
        &self,
        mut body: Pin<&mut B>,
        begun: Instant,
        arrived: usize,
    ) -> Result<Option<Result<http_body::Frame<B::Data>, B::Error>>, Refusal> {
        loop {
            let wait = self.time.saturating_sub(begun.elapsed()).min(SECOND);
            // A frame that is there is taken, whatever the time.
            if let Ok(frame) = tokio::time::timeout(wait, body.frame()).await {
                if self.room.is_short() && is_slow(arrived, begun.elapsed()) && !body.is_end_stream() {
                    return Err(first_to_go());
                }
                return Ok(frame);
            }
            if begun.elapsed() >= self.time {
                let message = format!("the body did not arrive within {:?}", self.time);
                return Err(Refusal::new(Code::RequestTooSlow, message));
            }
            if self.room.is_short() && is_slow(arrived, begun.elapsed()) {
                return Err(first_to_go());
            }
        }
    }
}

fn is_slow(bytes: usize, since: Duration) -> bool {
    let seconds = usize::try_from(since.as_secs()).unwrap_or(usize::MAX);
    seconds > 0 && bytes / seconds < SLOW
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(Code::BodyTooLarge, format!("the body is larger than {limit} bytes"))
}

fn first_to_go() -> Refusal {
    Refusal::new(
        Code::RequestTooSlow,
        "the gateway is short of room for bodies, and slow ones are the first to go",
    )
}

impl Lease<'_> {
    /// Takes the room for `bytes` in all.
    fn cover(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.bytes);
        let taken = self.bodies.room.take(&self.holder.bytes, more);
        taken.map_err(|denied| {
            let message = match denied {
                Denied::Empty => "the gateway holds as many request bodies as it can",
                Denied::Share => {
                    "the gateway holds as many request bodies of this caller as is fair to the others"
                }
            };
            Refusal::new(Code::Overloaded, message)
        })?;
        self.bytes += more;
        Ok(())
    }

    /// Takes the room for a body of which `length` is there, and gives how much that is: twice the length where there is so much, so
    /// that it is not moved for each piece.
    fn cover_ahead(&mut self, length: usize, longest: usize) -> Result<usize, Refusal> {
        let ahead = (2 * length).min(longest).max(length);
        match self.cover(ahead) {
            Ok(()) => Ok(ahead),
            Err(_) => self.cover(length).map(|()| length),
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.bodies.room.give_back(&self.holder.bytes, self.bytes);
    }
}

/// What has arrived of a body, with the room for it.
struct Arrived<'a> {
    lease: Lease<'a>,
    /// It can become no longer than this.
    longest: usize,
    bytes: Whole,
}

/// One piece, as nearly every message comes, or a copy. A list of pieces would hold the whole buffer that each was read into: a
/// sender of single bytes would have thousandfold what it sent.
enum Whole {
    None,
    Piece(Bytes),
    Copy(Vec<u8>),
}

impl Arrived<'_> {
    fn push(&mut self, data: Bytes) -> Result<(), Refusal> {
        let length = self.bytes.len() + data.len();
        match &mut self.bytes {
            Whole::None => {
                self.lease.cover(length)?;
                self.bytes = Whole::Piece(data);
            }
            Whole::Piece(first) => {
                let room = self.lease.cover_ahead(length, self.longest)?;
                let mut copy = Vec::with_capacity(room);
                copy.extend_from_slice(first);
                copy.extend_from_slice(&data);
                self.bytes = Whole::Copy(copy);
            }
            Whole::Copy(copy) => {
                if length > copy.capacity() {
                    let room = self.lease.cover_ahead(length, self.longest)?;
                    copy.reserve_exact(room - copy.len());
                }
                copy.extend_from_slice(&data);
            }
        }
        Ok(())
    }
}

impl Whole {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Piece(piece) => piece.len(),
            Self::Copy(copy) => copy.len(),
        }
    }

    fn whole(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::Piece(piece) => piece,
            Self::Copy(copy) => copy.into(),
        }
    }
}

#[cfg(test)]
mod tests;
