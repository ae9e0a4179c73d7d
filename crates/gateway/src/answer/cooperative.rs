//! A body that lets others have their turns.
//!
//! An upstream that always has something ready would keep the thread of whoever reads it, and with it all other calls on that
//! thread. tokio gives each task a budget for one turn; sockets and channels of tokio count against it, and hyper's bodies do not.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use tokio::task::coop;

/// A body whose frames count against the budget of the task that reads it.
#[derive(Debug)]
pub struct Cooperative<B>(B);

impl<B> Cooperative<B> {
    pub fn new(body: B) -> Self {
        Self(body)
    }

    /// The body itself.
    pub fn get_mut(&mut self) -> &mut B {
        &mut self.0
    }
}

impl<B: Body + Unpin> Body for Cooperative<B> {
    type Data = B::Data;
    type Error = B::Error;

    /// Pending, and to be polled again, also where the budget is used up.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let budget = ready!(coop::poll_proceed(cx));
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        budget.made_progress();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;

    use bytes::Bytes;

    use super::*;

    /// Has always another frame.
    struct Endless;

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    /// How many frames, of at most `most`, are there in one turn of a task.
    async fn in_one_turn<B: Body + Unpin>(mut body: B, most: usize) -> usize {
        poll_fn(|cx| {
            let frames = (0..most).take_while(|_| Pin::new(&mut body).poll_frame(cx).is_ready());
            Poll::Ready(frames.count())
        })
        .await
    }

    #[tokio::test]
    async fn what_has_always_more_gives_a_turn_to_others() {
        const MOST: usize = 100_000;
        let alone = tokio::spawn(in_one_turn(Endless, MOST)).await.expect("no panic");
        let cooperative = tokio::spawn(in_one_turn(Cooperative::new(Endless), MOST)).await.expect("no panic");
        assert_eq!(alone, MOST, "it is not the body that stops");
        assert!((1..1_000).contains(&cooperative), "{cooperative}");
        // It goes on in the next turn.
        let mut body = Cooperative::new(Endless);
        let others = tokio::spawn(async {});
        let mut frames = 0;
        while !others.is_finished() {
            poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.expect("a frame").expect("whole");
            frames += 1;
        }
        assert!(frames < MOST);
    }
}
