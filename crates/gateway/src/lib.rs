//! The request lifecycle.
//!
//! `listener → authenticate → adapter → decide → record → credential → upstream → record`. The files follow it: `listener` takes
//! bytes in, `route` says what they address, `protocol` turns a message into what it asks, `handle` is the whole lifecycle in one
//! function (`admit`, then `carry`), `forward` is the only place that reaches an upstream, and `effect` closes the record when
//! the answer has ended.
//!
//! `ext_authz` is a front door without a way of its own to upstreams: a data plane asks there, and carries the call (`data_plane`).
//!
//! `xds` says where such a data plane carries calls to, and decides nothing.
//!
//! Beside it, and no call: `spans` takes what agents say of themselves.
//!
//! What is public is what the binary composes: a [`Gate`] from its [`Config`], a [`listener`] that serves it, and what watches
//! over it. A front door of another kind that carries nothing (a token endpoint) calls [`admit()`] alone.

mod access_log;
mod accounts;
mod acts;
mod answer;
mod beside;
mod bodies;
mod body_signature;
mod changes;
mod clickhouse;
mod credential;
mod data_plane;
mod described;
mod effect;
mod evaluate;
mod ext_authz;
mod failover;
mod fair_share;
mod first_sight;
mod followed;
mod forward;
mod found;
mod gate;
mod guard_webhooks;
mod handle;
mod held_to;
mod last_calls;
pub mod listener;
mod local_files;
mod meter;
mod news;
mod part;
mod payloads;
#[cfg(not(fuzzing))]
mod protocol;
#[cfg(fuzzing)]
pub mod protocol;
mod provider_credentials;
mod questions;
mod refusal_sampler;
mod registrations;
mod reply;
mod request_context;
mod rollouts;
mod route;
mod runner;
mod said;
mod seal;
mod secrets;
mod sinks;
mod source_state;
mod spans;
mod standing;
mod table;
mod telemetry;
mod trace;
mod unrecorded;
mod vitals;
mod webhook;
mod witnesses;
mod xds;

pub use acts::{Acts, Done, RefusedRequest, Stood};
pub use beside::NeverCalled;
/// With [`EventFilter`], for the measurement of guards.
pub use changes::Demands;
pub use clickhouse::{ClickHouse, ClickHouseError, EventRows};
pub use data_plane::DataPlanes;
pub use described::{DescribedTool, ask_tools, described};
pub use evaluate::{AskedElsewhere, Evaluated};
pub use forward::{AddressGuard, Body, Broken, KeepAlive, Notice, Outbound, Upstream, forward};
pub use gate::{Config, Gate, Limits, Shared, millis, rfc3339};
pub use handle::{Admission, Admitted, Peer, admit, handle};
pub use last_calls::{LastCall, LastCalls};
pub use local_files::unusable;
pub use meter::{Described, Exposition, Kind as MetricKind, LABELS, METRICS, Meter, OF_CONVENTIONS};
pub use payloads::{Aside, KeyFault, PayloadKeyError, PayloadKeys, Place, Plain, Unread};
pub use protocol::sse::{EventFilter, Unchanged};
pub use provider_credentials::ProviderCredentials;
pub use questions::Questions;
pub use refusal_sampler::{Rate, record_count};
pub use reply::{ReplyBody, plain};
pub use request_context::RequestContext;
pub use rollouts::{Passed, Rollouts};
pub use runner::{News, Output, Ran, Run, Runner};
pub use said::{Said, said};
pub use seal::{KEY_LENGTH, Seal, SealFailed};
pub use secrets::{NoSecretDirectory, SecretDirectory, SecretKeys};
pub use sinks::{
    BadSink, NoPosition, NoSink, Pace, Sink, SinkAddress, SinksConfig, has_position, least_position,
    open_sinks, wrong_positions,
};
pub use source_state::{SourceState, Stale};
pub use spans::Spans;
pub use standing::StandingState;
pub use standing::chains::Keeps;
pub use standing::store::{NotAStore, StandingAddress, StandingFiles};
pub use telemetry::{BadEndpoint, Telemetry};
pub use vidimus_guard::definition::{Finding, scan};
pub use vitals::{Pulse, Silent, Vitals};
pub use webhook::{NoWebhook, Persistence, Receiver, Webhook};
pub use witnesses::{Cosigning, CosigningConfig, NoWitness, Patience, WitnessAt};
pub use xds::{
    Gateway, NoGateway, Patience as XdsPatience, Planes, Settings as XdsSettings, Xds, serve as serve_xds,
};

/// The parsers of foreign bytes, for the fuzz targets (`cargo fuzz` sets `--cfg fuzzing`).
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::ext_authz::is_decidable;
    pub use crate::part::Part;
    pub use crate::protocol;
    pub use crate::route::Route;
    pub use crate::spans::fuzzed as otlp;
    pub use crate::trace::TraceContext;

    pub mod seal {
        pub use crate::seal::{Holder, Kind, MAX_SEALED, Opened};
    }
}
