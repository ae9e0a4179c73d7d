//! Attacks on a running gateway, as a program: raw sockets before it, an upstream that does as it is told behind it.
//!
//! A probe is data: what is sent, what the upstream answers, and what has to come of it in three places. *Effect*: what the upstream's
//! own log has of it. *Answer*: the code that the caller is told. *Record*: what `vidimus audit search` finds by the call's id. The
//! three are independent witnesses: a gateway that refuses politely and forwards all the same fails by the first, one that forgets by
//! the third.
//!
//! Nothing here knows how the gateway is made; it starts the binary and speaks its wire.

pub mod crowd;
pub mod estate;
pub mod expect;
pub mod gateway;
pub mod http2;
pub mod issuer;
pub mod known;
pub mod lively;
pub mod probe;
pub mod probes;
pub mod reply;
pub mod report;
pub mod run;
pub mod soak;
pub mod stage;
pub mod upstream;
pub mod wire;
