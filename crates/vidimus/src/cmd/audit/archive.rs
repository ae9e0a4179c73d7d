//! `vidimus audit archive`: what went from a ledger, back from where it was copied to.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use vidimus_ledger::{ArchiveAt, fetch_archive};

use crate::cmd::serve::flags;
use crate::output::{self, Format};

/// Brings back what was archived in a store of objects. An archive in a directory needs no bringing back: give it to --ledger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit archive fetch s3://corp-audit/vidimus ./archive")]
pub struct Archive {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Fetch(Fetch),
}

/// Copies an archive from a bucket into a new directory, where every command that takes --ledger reads it.
///
/// What opens the bucket, and where it is, say the variables that every client of S3 takes: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a file
/// of them (AWS_SHARED_CREDENTIALS_FILE), AWS_REGION, AWS_ENDPOINT_URL_S3. Whether it is whole, and of which log, verifying it tells.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit archive fetch s3://corp-audit/vidimus ./archive
  vidimus audit verify --ledger ./archive --key \"$(cat checkpoint.vkey)\"
  vidimus audit search --ledger ./archive --resource transfer

Exit codes: 0 fetched, 2 not fetched, or not whole.")]
struct Fetch {
    /// Where it was archived: s3://BUCKET/PREFIX.
    #[arg(value_name = "s3://BUCKET/PREFIX", value_parser = flags::Unshown(flags::archive))]
    from: ArchiveAt,
    /// The directory to make.
    #[arg(value_name = "DIR")]
    to: PathBuf,
}

pub fn run(archive: &Archive, format: Format) -> anyhow::Result<ExitCode> {
    let Command::Fetch(Fetch { from, to }) = &archive.command;
    let ArchiveAt::Bucket(bucket) = from else {
        bail!("{from} is a directory already: read it with --ledger");
    };
    let fetched = fetch_archive(bucket, to)?;
    if fetched.strangers > 0 {
        output::warning(&format!("{} objects at {from} are of no archive, and were left", fetched.strangers));
    }
    match format {
        Format::Json => output::json(&fetched)?,
        Format::Table => output::line(&output::printable(&format!(
            "{} files, {} bytes; `vidimus audit verify --ledger {}` tells whether it is whole",
            fetched.files,
            fetched.bytes,
            to.display()
        ))),
    }
    Ok(ExitCode::SUCCESS)
}
