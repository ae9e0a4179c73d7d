//! What the store is asked and changes what is there, for one who may leave before it answers: a caller that resets its stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

type Asks<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where nobody waits for the answer any more, it goes on by itself, and what came of it is given back. It is over as soon as the store has answered,
/// or has not in time.
#[must_use = "nothing is asked before it is awaited"]
pub(super) struct ToTheEnd<T: Send + 'static> {
    asks: Option<Asks<T>>,
    give_back: fn(T),
}

impl<T: Send + 'static> ToTheEnd<T> {
    pub(super) fn new(asks: impl Future<Output = T> + Send + 'static, give_back: fn(T)) -> Self {
        Self { asks: Some(Box::pin(asks)), give_back }
    }
}

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(asks) = self.asks.as_mut() else { return Poll::Pending };
        let answer = ready!(asks.as_mut().poll(cx));
        self.asks = None;
        Poll::Ready(answer)
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        let (Some(asks), give_back) = (self.asks.take(), self.give_back) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { give_back(asks.await) });
        }
    }
}
