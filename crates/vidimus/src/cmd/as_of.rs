//! Whether resources in a directory are read as a gateway with --resources reads them, or as those of a cluster.

use std::path::Path;

use clap::Args;
use vidimus_registry::{Loaded, load, load_of_cluster};

/// How a directory is read.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct AsOf {
    /// Read the resources as those of a cluster, as `kubectl get vidimus -A -o yaml`
    /// prints them: a provider's key comes from a Secret, and from nothing of a
    /// machine.
    #[arg(long)]
    cluster: bool,
}

impl AsOf {
    /// What the directory says.
    pub(super) fn load(self, directory: &Path) -> Loaded {
        if self.cluster { load_of_cluster(directory) } else { load(directory) }
    }
}
