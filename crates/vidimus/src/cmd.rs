//! The commands, one file each.

pub mod audit;
pub mod check;
pub mod codes;
pub mod data_directory;
pub mod demo;
pub mod identity;
pub mod policy;
pub mod quantity;
mod refusals;
pub mod serve;
