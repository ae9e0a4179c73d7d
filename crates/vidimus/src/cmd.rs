//! The commands, one file each.

pub mod audit;
pub mod check;
pub mod demo;
pub mod identity;
pub mod policy;
pub mod serve;
