//! Who else may read a secret: one rule for every key, secret file and directory of them, whatever part of the gateway reads it.

/// What the file system says of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its permissions (`st_mode`, of which the lowest 10 bits are looked at).
    pub mode: u32,
    /// Whether this process runs as its owner.
    pub own: bool,
    /// Whether it is a directory.
    pub directory: bool,
}

const STICKY: u32 = 0o1000;

impl Access {
    /// Why it is not for this process alone; `None` where it is.
    ///
    /// What this process owns is wider than its owner when anybody else may do anything with it. What somebody else owns, as root
    /// owns the volumes that Kubernetes mounts, this process can only read by its group: that may read, and nobody else. A directory
    /// with the sticky bit is one of those: its entries stay who they are of, and are looked at by themselves.
    pub fn exposed(self) -> Option<String> {
        let Self { mode, own, directory } = self;
        let wider = match (own, directory) {
            (_, true) if mode & STICKY != 0 => 0,
            (true, _) => 0o077,
            (false, true) => 0o022,
            (false, false) => 0o027,
        };
        let (what, better) = if directory { ("directory", "0700") } else { ("file", "0600") };
        let found = mode & 0o777;
        (found & wider != 0).then(|| {
            format!("mode {found:o} opens this {what} to others than its owner; make it {better}, and consider what is in it stolen")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wider_than_its_owner() {
        for (mode, own, directory, exposed) in [
            (0o600, true, false, false),
            (0o400, true, false, false),
            (0o640, true, false, true),
            (0o604, true, false, true),
            (0o610, true, false, true),
            (0o644, true, false, true),
            (0o10_0600, true, false, false),
            // As Kubernetes mounts a Secret with fsGroup.
            (0o440, false, false, false),
            (0o444, false, false, true),
            (0o460, false, false, true),
            (0o700, true, true, false),
            (0o750, true, true, true),
            (0o755, true, true, true),
            (0o755, false, true, false),
            (0o775, false, true, true),
            (0o777, false, true, true),
            (0o1777, true, true, false),
            (0o1777, false, true, false),
        ] {
            let access = Access { mode, own, directory };
            assert_eq!(access.exposed().is_some(), exposed, "{mode:o} {own} {directory}");
        }
        let said = Access { mode: 0o10_0644, own: true, directory: false }.exposed().unwrap();
        assert!(said.contains("mode 644") && said.contains("0600"), "{said}");
    }
}
