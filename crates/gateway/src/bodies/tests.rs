use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll};

use std::future::Future as _;

use futures_util::FutureExt as _;
use http_body::{Frame, SizeHint};

use super::*;

/// A body that comes in these pieces, each after a while; `None` for ever pending.
struct Pieces {
    pieces: VecDeque<Option<Vec<u8>>>,
    announced: Option<u64>,
    pause: Duration,
    waits: Option<Pin<Box<tokio::time::Sleep>>>,
}

fn pieces(pieces: &[usize], pause: Duration) -> Pieces {
    let pieces = pieces.iter().map(|length| Some(vec![b'x'; *length])).collect();
    Pieces { pieces, announced: None, pause, waits: None }
}

/// Its head announces `announced` bytes, and nothing comes.
fn silent(announced: u64) -> Pieces {
    Pieces { pieces: [None].into(), announced: Some(announced), pause: Duration::ZERO, waits: None }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.pause.is_zero() {
            let pause = self.pause;
            let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            std::task::ready!(waits.as_mut().poll(cx));
            self.waits = None;
        }
        match self.pieces.pop_front() {
            None => Poll::Ready(None),
            Some(Some(piece)) => Poll::Ready(Some(Ok(Frame::data(piece.into())))),
            Some(None) => {
                self.pieces.push_front(None);
                Poll::Pending
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

fn holder() -> Arc<Holder> {
    Arc::new(Holder::new())
}

const MINUTE: Duration = Duration::from_secs(60);

fn code<T>(read: Result<T, Refusal>) -> Result<T, Code> {
    read.map_err(|refusal| refusal.code)
}

#[tokio::test]
async fn room_is_taken_for_what_arrived_and_never_for_what_is_announced() {
    let (bodies, greedy, other) = (Bodies::new(1000, MINUTE), holder(), holder());
    let mut held: Vec<_> =
        (0..100).map(|_| Box::pin(bodies.read(greedy.clone(), 500, silent(500)))).collect();
    for waiting in &mut held {
        assert!(waiting.as_mut().now_or_never().is_none());
    }
    assert!(code(bodies.read(greedy.clone(), 500, pieces(&[400], Duration::ZERO)).await).is_ok());
    let one = bodies.read(greedy.clone(), 500, pieces(&[400], Duration::ZERO)).await.expect("room");
    assert_eq!(
        code(bodies.read(greedy.clone(), 500, pieces(&[101], Duration::ZERO)).await).map(drop),
        Err(Code::Overloaded),
        "more than is left for the others"
    );
    let two =
        bodies.read(other.clone(), 500, pieces(&[200, 50], Duration::ZERO)).await.expect("another has room");
    assert_eq!((one.0.len(), two.0.len()), (400, 250));
    drop((one, two));
    assert!(bodies.read(other, 500, pieces(&[500], Duration::ZERO)).await.is_ok(), "all is given back");
}

#[tokio::test]
async fn what_announces_too_much_is_refused_at_once_and_what_becomes_too_much_then() {
    let (bodies, holder) = (Bodies::new(100_000, MINUTE), holder());
    // Not after the minute that a body has.
    let read = tokio::time::timeout(MINUTE / 2, bodies.read(holder.clone(), 500, silent(501))).await;
    assert_eq!(code(read.expect("at once")).map(drop), Err(Code::BodyTooLarge));
    for (given, is) in [
        (vec![500], Ok(500)),
        (vec![250, 250], Ok(500)),
        (vec![1; 500], Ok(500)),
        (vec![], Ok(0)),
        (vec![501], Err(Code::BodyTooLarge)),
        (vec![499, 2], Err(Code::BodyTooLarge)),
        (vec![501; 1000], Err(Code::BodyTooLarge)),
    ] {
        let read = bodies.read(holder.clone(), 500, pieces(&given, Duration::ZERO)).await;
        assert_eq!(code(read.map(|(bytes, _)| bytes.len())), is, "{given:?}");
    }
}

#[tokio::test]
async fn the_slow_are_the_first_to_go_when_there_is_little_room() {
    let drip = |count| pieces(&vec![1; count], Duration::from_millis(300));
    let why = |read: Result<(Bytes, Lease<'_>), Refusal>| {
        read.map(drop).map_err(|refusal| refusal.message.into_owned())
    };
    let patient = Bodies::new(1_000_000, Duration::from_secs(2));
    let late = "the body did not arrive within 2s".to_owned();
    assert_eq!(
        why(patient.read(holder(), 500, drip(5)).await),
        Ok(()),
        "there is room: it may take its time"
    );
    assert_eq!(why(patient.read(holder(), 500, silent(500)).await), Err(late), "but not for ever");
    let bodies = Bodies::new(1_000_000, MINUTE);
    let mut held = Vec::new();
    for bytes in [480_000, 240_000, 120_000] {
        held.push(bodies.read(holder(), 1_000_000, pieces(&[bytes], Duration::ZERO)).await.expect("room"));
    }
    for slow in [drip(200), silent(500)] {
        assert_eq!(why(bodies.read(holder(), 500, slow).await), Err(first_to_go().message.into_owned()));
    }
    let fast = pieces(&[10_000; 12], Duration::from_millis(100));
    assert_eq!(
        why(bodies.read(holder(), 200_000, fast).await),
        Err("the gateway holds as many request bodies of this caller as is fair to the others".into())
    );
    let fast = pieces(&[10_000; 4], Duration::from_millis(350));
    assert_eq!(
        why(bodies.read(holder(), 40_000, fast).await),
        Err(first_to_go().message.into_owned()),
        "28 kB a second"
    );
    let fast = pieces(&[10_000; 7], Duration::from_millis(10));
    assert_eq!(why(bodies.read(holder(), 70_000, fast).await), Ok(()));
}
