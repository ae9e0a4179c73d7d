//! The commands, one file each.

mod admin_client;
pub mod admission;
pub mod approvals;
mod as_of;
pub mod audit;
pub mod check;
pub mod client_config;
pub mod codes;
pub mod data_directory;
pub mod declassify;
pub mod demo;
pub mod doctor;
pub mod grant;
pub mod identity;
pub mod install;
pub mod keys;
mod kubernetes;
pub mod pin;
pub mod pods;
pub mod policy;
mod progress;
pub mod quantity;
pub mod quarantine;
mod refusals;
pub mod register;
mod registrars;
pub mod registry;
pub mod resources;
pub mod serve;
pub mod shell;
pub mod trace;
pub mod wrap;

/// What is asked wrongly, by its flag: flags have the names of the members of a question.
fn misasked(misasked: &vidimus_query::Misasked) -> anyhow::Error {
    anyhow::anyhow!("--{misasked}")
}
