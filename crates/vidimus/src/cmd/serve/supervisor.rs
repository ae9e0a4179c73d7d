//! Everything that runs beside the calls, watched: what can begin anew does, and the end of anything else ends the process.
//!
//! A gateway in which a part has died in silence goes on by what that part did last: it decides by an old configuration, or presents
//! an old certificate. So a step that panics is counted and followed by the next one, and a task without which the present is not
//! known any more takes the process with it; whoever started it starts it again.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use vidimus_gateway::Vitals;

/// The tasks of one process.
#[derive(Debug)]
pub(in crate::cmd) struct Supervisor {
    on: Handle,
    tasks: JoinSet<Ended>,
    vitals: Vitals,
}

/// A task that was not to end, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cmd) struct Ended {
    pub(in crate::cmd) task: String,
    pub(in crate::cmd) panicked: bool,
}

impl Supervisor {
    /// Its tasks run `on` this runtime.
    pub(in crate::cmd) fn new(on: Handle, vitals: Vitals) -> Self {
        Self { on, tasks: JoinSet::new(), vitals }
    }

    /// Runs `task`, whose end is the end of the process.
    pub(in crate::cmd) fn essential(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let task_name = name.into();
        let task = async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            Ended { task: task_name, panicked: ended.is_err() }
        };
        self.tasks.spawn_on(task, &self.on);
    }

    /// Runs `body` on a thread of this name, whose end is the end of the process.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(in crate::cmd) fn thread(
        &mut self,
        name: String,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let (lives, ended) = oneshot::channel::<()>();
        self.essential(name.clone(), async move { drop(ended.await) });
        std::thread::Builder::new().name(name).spawn(move || {
            let _lives = lives;
            body();
        })
    }

    /// Does `step` again and again, first after the interval. One that panics is over; the next one is due as ever.
    pub(in crate::cmd) fn repeated<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: &'static str,
        interval: Duration,
        mut step: impl FnMut() -> F + Send + 'static,
    ) {
        let vitals = self.vitals.clone();
        self.essential(name, async move {
            loop {
                tokio::time::sleep(interval).await;
                let done = AssertUnwindSafe(async {
                    vitals.fault_point(name);
                    step().await;
                });
                if done.catch_unwind().await.is_err() {
                    vitals.restarted(name);
                }
            }
        });
    }

    /// As [`Supervisor::repeated`], of what looks at files: it may wait for a disk, and nothing else waits for it.
    pub(in crate::cmd) fn repeated_beside(
        &mut self,
        name: &'static str,
        interval: Duration,
        step: impl FnMut() + Send + 'static,
    ) {
        let step = Arc::new(Mutex::new(step));
        self.repeated(name, interval, move || {
            let step = step.clone();
            // One that panicked is over, and the next one finds what it left.
            let step = move || (step.lock().unwrap_or_else(PoisonError::into_inner))();
            async move {
                if let Err(error) = tokio::task::spawn_blocking(step).await
                    && error.is_panic()
                {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        });
    }

    /// The first that ended. It waits for ever where nothing does.
    pub(in crate::cmd) async fn ended(&mut self) -> Ended {
        match self.tasks.join_next().await {
            Some(Ok(ended)) => ended,
            // Panics are caught inside, so it was aborted: the runtime is ending.
            Some(Err(error)) => Ended { task: error.to_string(), panicked: error.is_panic() },
            None => std::future::pending().await,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = if self.panicked { "by a panic" } else { "although it was not to" };
        write!(f, "the task '{}' ended {how}", self.task)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_step_that_panics_is_followed_by_the_next_and_an_essential_end_is_told() {
        let vitals = Vitals::default();
        let mut supervisor = Supervisor::new(Handle::current(), vitals.clone());
        let steps = Arc::new(AtomicUsize::new(0));
        let counted = steps.clone();
        supervisor.repeated_beside("steps", Duration::from_millis(1), move || {
            assert!(counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2), "every second one");
        });
        tokio::select! {
            ended = supervisor.ended() => panic!("{ended}"),
            () = async { while steps.load(Ordering::SeqCst) < 7 { tokio::time::sleep(Duration::from_millis(1)).await } } => {}
        }
        supervisor.essential("one", async { panic!("at once") });
        let ended = supervisor.ended().await;
        assert_eq!(ended, Ended { task: "one".to_owned(), panicked: true });
        assert_eq!(ended.to_string(), "the task 'one' ended by a panic");
        supervisor.essential("two", async {});
        assert!(!supervisor.ended().await.panicked);
    }
}
