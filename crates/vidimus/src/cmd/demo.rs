//! `vidimus demo`.
use std::process::ExitCode;
#[derive(Debug, clap::Args)]
pub struct Demo {
    #[arg(long, default_value = "e2e")]
    components: std::path::PathBuf,
}
pub fn run(demo: &Demo) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet: {}", demo.components.display())
}
