//! What threads meet through. Everything else takes it from here, so that the models of `tests/interleavings` can put `loom` in
//! its place and run the very same code in every order that the memory model allows.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
