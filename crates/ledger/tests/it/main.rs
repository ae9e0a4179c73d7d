//! The ledger from outside: through its API and its files.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, also in its helpers"
)]
#![expect(clippy::print_stdout, reason = "the child of the kill tests acknowledges on its standard output")]

mod append;
mod kill;
mod proof;
mod reopen;
mod search;
mod support;
mod tamper;
