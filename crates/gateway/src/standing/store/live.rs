//! A connection to the store.

use std::fmt;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, FromRedisValue, RedisError, ScriptInvocation};
use tokio::sync::Notify;
use vidimus_core::refusal::Refusal;

use super::address::is_elsewhere;
use super::unavailable;

/// A connection. What waited on an earlier one says nothing of the present one.
pub struct Live {
    connection: MultiplexedConnection,
    broken: Notify,
    born: i64,
}

impl Live {
    pub(super) fn over(connection: MultiplexedConnection, born: i64) -> Self {
        Self { connection, broken: Notify::new(), born }
    }

    /// When the store began that was told over it what this gateway knows, in milliseconds since 1970 by the store's clock. One that began at
    /// another time has lost what it had.
    pub(super) const fn born(&self) -> i64 {
        self.born
    }

    /// The connection, for one who asks.
    pub fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Nothing more is to be expected of it.
    pub fn is_broken(&self) {
        self.broken.notify_one();
    }

    pub(super) async fn until_broken(&self) {
        self.broken.notified().await;
    }

    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Refusal> {
        // What is kept in place is moved with each call, also where there is no store.
        let answered = Box::pin(script.invoke_async(&mut self.connection())).await;
        answered.map_err(|error| self.failed(error))
    }

    pub(super) fn failed(&self, error: RedisError) -> Refusal {
        // What the store itself says came over a connection that is whole, but of what is at another one by now.
        if !matches!(error.kind(), ErrorKind::Server(kind) if !is_elsewhere(kind)) {
            self.is_broken();
        }
        unavailable(error)
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live(…)")
    }
}
