//! The way of one call.
//!
//! `listener → authenticate → adapter → decide → record → mint → upstream → record`. The files follow it: [`door`] takes bytes
//! in, [`route`] says what they address, [`protocol`] turns a message into a call, [`handle`] is the whole way in one function,
//! [`forward`] is the only place that reaches an upstream, and [`effect`] closes the record when the answer has ended.

pub mod bodies;
pub mod door;
pub mod effect;
pub mod flood;
pub mod forward;
pub mod gate;
pub mod handle;
pub mod lend;
pub mod meter;
pub mod protocol;
pub mod reach;
pub mod reply;
pub mod route;
pub mod session;
pub mod telemetry;
pub mod trace;
