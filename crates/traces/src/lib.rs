//! The spans that agents send of themselves (OpenTelemetry), kept beside the ledger and apart from it.
//!
//! A span is no record: it is what somebody says, and nothing proves that it is so. What is proven is who said it. So each is kept with the
//! principal that its sender's credential proved ([`KeptSpan`]), in files of that principal alone: nobody's flood takes what others sent within
//! an equal share, and nobody writes where another's spans are. The first that comes with a trace id and a span id of its principal's is the
//! span; what comes later by those ids and says something else is not ([`Store::append`], [`read`]).
//!
//! `DATA/traces/PRINCIPAL/NUMBER.spans` are frames (length, CRC-32C, protobuf), `NUMBER.index` has trace id and place of each, so that one trace
//! is found without reading the spans of the others (ADR 53).

mod cut;
mod files;
mod kept;
pub mod names;
mod read;
mod recent;
mod sent;
mod store;

pub use cut::cut_resource;
pub use kept::{Ids, KeptSpan, MOST_ATTRIBUTES, MOST_BYTES, Unfit, ids};
pub use read::{Spans, read, read_part};
pub use sent::{Beside, MOST_PARTS, Sent, Weight};
pub use store::{Dropped, Limits, Store, Taken, Whose};
