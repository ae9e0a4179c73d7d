//! How many bytes of request bodies are held at once, by all callers together. Each body is bounded, and a caller may send many.

use std::sync::atomic::{AtomicUsize, Ordering};

use vidimus_core::refusal::{Code, Refusal};

/// What is left of the limit.
#[derive(Debug)]
pub struct Bodies(AtomicUsize);

/// The room that one body takes. It is given back when this is dropped, on whatever way the call ends.
#[derive(Debug)]
#[must_use = "dropping it gives the room back"]
pub struct Lease<'a> {
    bodies: &'a Bodies,
    bytes: usize,
}

impl Bodies {
    /// Room for `most` bytes.
    pub fn new(most: usize) -> Self {
        Self(AtomicUsize::new(most))
    }

    /// Takes the room before the first byte is read.
    ///
    /// # Errors
    /// `overloaded` where it is not there: nobody waits for it, a caller can try again.
    pub fn lease(&self, bytes: usize) -> Result<Lease<'_>, Refusal> {
        self.0
            .try_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(bytes))
            .map(|_| Lease { bodies: self, bytes })
            .map_err(|_| Refusal::new(Code::Overloaded, "the gateway holds as many request bodies as it can"))
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.bodies.0.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more() {
        let bodies = Bodies::new(10);
        let (first, second) = (bodies.lease(6), bodies.lease(4));
        assert!(first.is_ok() && second.is_ok() && bodies.lease(0).is_ok());
        assert_eq!(bodies.lease(1).map(|_| ()).map_err(|refusal| refusal.code), Err(Code::Overloaded));
        drop(first);
        assert!(bodies.lease(7).is_err() && bodies.lease(6).is_ok() && bodies.lease(usize::MAX).is_err());
        drop(second);
        assert!(bodies.lease(10).is_ok());
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        let (bodies, held) = (Bodies::new(100), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for bytes in [7, 13, 29, 60] {
                let (bodies, held) = (&bodies, &held);
                scope.spawn(move || {
                    for _ in 0..10_000 {
                        let Ok(_lease) = bodies.lease(bytes) else { continue };
                        assert!(held.fetch_add(bytes, Ordering::SeqCst) + bytes <= 100);
                        held.fetch_sub(bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(bodies.lease(100).is_ok());
    }
}
