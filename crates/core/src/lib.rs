//! The nouns of Vidimus and the decision. Pure: no I/O, no async, no clock, no randomness.
//!
//! Read in the order of a call: who ([`caller`]), what exists ([`resource`], [`snapshot`]), what is asked ([`call`]),
//! what is answered ([`decision`], or a [`refusal`] before it came to that), what people are asked ([`approval`]), what is kept ([`record`]), and what a recorded
//! decision opens ([`permit`]).

pub mod act;
pub mod admission;
pub mod approval;
pub mod authorize;
pub mod call;
pub mod caller;
pub mod clock;
pub mod composed;
pub mod decide;
pub mod decision;
pub mod entity;
pub mod exposure;
pub mod guard;
mod interned;
pub mod json;
pub mod json_schema;
pub mod keep;
pub mod obligation;
pub mod permit;
pub mod person;
pub mod quantity;
pub mod reach;
pub mod record;
pub mod recorded;
pub mod refusal;
pub mod resource;
pub mod review;
pub mod row;
mod shards;
pub mod snapshot;
pub mod standing;
pub mod suppose;
