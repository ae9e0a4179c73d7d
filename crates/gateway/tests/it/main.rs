//! The gateway's heart in process: a gate with a real ledger, mint and authenticator, a real listener on loopback, and an upstream
//! that a test scripts.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up fails"
)]

mod acts;
mod admit;
mod agent_tools;
mod agreed;
mod answer;
mod apis;
mod approvals;
mod approved_whole;
mod at_once;
mod bedrock;
mod bindings;
mod broken;
mod browsers;
mod carriers;
mod chains;
mod changes;
mod connections;
mod copies;
mod counts;
mod definitions;
mod delivered;
mod eras;
mod ext_authz;
mod facts;
mod failover;
mod first_sight;
mod forward;
mod grpc;
mod grpc_tools;
mod guarded_answers;
mod guards;
mod handle;
mod header_fields;
mod held_to;
mod http;
mod jobs;
mod keys;
mod limits;
mod lists;
mod logged;
mod members;
mod news;
mod own_guards;
mod parked;
mod payloads;
mod pins;
mod present;
mod providers;
mod questions;
mod redacted;
mod redis;
mod regressions;
mod replicas;
mod rest;
mod rollouts;
mod room;
mod shapes;
mod spans;
mod stale;
mod stop;
mod store_reached;
mod tasks;
mod unseen;
mod versions;
mod windows;
mod workers;
mod world;
mod xds;
