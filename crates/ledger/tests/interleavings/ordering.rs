//! Why `dirty` is swapped on both sides: the handshake alone, as it is and as it was.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::thread;

use crate::primitives::{AtomicBool, AtomicU64, Condvar, Mutex};

#[derive(Default)]
struct Handshake {
    written: AtomicU64,
    dirty: AtomicBool,
    requested: Mutex<bool>,
    syncing: Condvar,
}

/// Two records are written one after the other; the syncing thread goes on until it has seen both, or sleeps for ever.
fn both_are_seen(unset: fn(&AtomicBool)) {
    loom::model(move || {
        let shared = Arc::new(Handshake::default());
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || {
                for end in 1..=2 {
                    shared.written.store(end, Ordering::Release);
                    if !shared.dirty.swap(true, Ordering::AcqRel) {
                        *shared.requested.lock().expect("not poisoned") = true;
                        shared.syncing.notify_one();
                    }
                }
            })
        };
        let mut synced = 0;
        while synced < 2 {
            let mut requested = shared.requested.lock().expect("not poisoned");
            while !std::mem::take(&mut *requested) {
                requested = shared.syncing.wait(requested).expect("not poisoned");
            }
            drop(requested);
            unset(&shared.dirty);
            synced = shared.written.load(Ordering::Acquire);
        }
        writer.join().expect("ended");
    });
}

#[test]
fn a_swap_loses_no_wake_up() {
    both_are_seen(|dirty| {
        dirty.swap(false, Ordering::AcqRel);
    });
}

/// What these models are worth: they find the fault that was there.
#[test]
fn a_store_loses_one() {
    let lost = catch_unwind(|| both_are_seen(|dirty| dirty.store(false, Ordering::Release)));
    let story = lost.expect_err("a lost wake-up");
    let story = story.downcast_ref::<String>().map_or("", String::as_str);
    assert!(story.contains("deadlock"), "{story}");
}
