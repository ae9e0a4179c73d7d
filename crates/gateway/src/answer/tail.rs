//! How what was passed on ends.

/// The last bytes that were passed on.
#[derive(Debug, Default)]
pub(super) struct Tail([u8; 4]);

impl Tail {
    pub(super) fn push(&mut self, data: &[u8]) {
        let new = data.get(data.len().saturating_sub(self.0.len())..).unwrap_or_default();
        self.0.rotate_left(new.len());
        let kept = self.0.len() - new.len();
        if let Some(last) = self.0.get_mut(kept..) {
            last.copy_from_slice(new);
        }
    }

    /// Whether an empty line was the last that passed, or nothing has: the next line begins an event.
    pub(super) fn ends_event(&self) -> bool {
        self.0 == [0; 4] || [&b"\n\n"[..], b"\r\r", b"\n\r\n"].iter().any(|end| self.0.ends_with(end))
    }
}
