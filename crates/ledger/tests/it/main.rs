//! The ledger from outside: through its API and its files.

mod append;
mod kill;
mod proof;
mod reopen;
mod search;
mod support;
mod tamper;
