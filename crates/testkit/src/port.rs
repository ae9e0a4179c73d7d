//! Ports for processes that a test starts.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Below those that the kernel gives to whoever asks for any, and to each connection (`net.ipv4.ip_local_port_range`).
const FIRST: u16 = 10_000;
const END: u16 = 32_768;

static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port on which nothing listens, and that nobody gets by chance until something does: one that the kernel names may be somebody else's a moment
/// later. No test of a process is given one twice.
pub fn unused() -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let drawn = RandomState::new().hash_one(given.len()) % u64::from(END - FIRST);
        let port = FIRST + u16::try_from(drawn).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && given.insert(port) {
            return port;
        }
    }
}
