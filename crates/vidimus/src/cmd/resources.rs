//! `vidimus resources`: the kinds of resources, as other programs know them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use vidimus_core::resource::{Kind, editor_schema};

use crate::output::{self, Format};

/// The kinds of resources, as editors know them.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vidimus resources schema --out .vidimus")]
pub struct Resources {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Schema(Schema),
}

/// Prints or writes the JSON Schema of a kind, by which an editor completes and checks.
///
/// With --out it writes one of each kind, and vidimus.schema.json for a file of any. The first line of a file of resources leads an editor
/// with a YAML language server to it:
///
///   # yaml-language-server: $schema=.vidimus/vidimus.schema.json
///
/// The path is as seen from the file. What such a schema cannot say, `vidimus check` does.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus resources schema Agent
  vidimus resources schema --out .vidimus
  vidimus resources schema | jq '.definitions | keys'")]
struct Schema {
    /// Agent, MCPServer, LLMProvider, ServiceIdentity or Policy; an object of whichever where it is left out.
    #[arg(value_name = "KIND", value_parser = kind)]
    kind: Option<Kind>,
    /// Directory for a file of each kind; made where it is missing.
    #[arg(long, value_name = "DIR", conflicts_with = "kind")]
    out: Option<PathBuf>,
}

pub fn run(resources: &Resources, format: Format) -> anyhow::Result<ExitCode> {
    let Command::Schema(schema) = &resources.command;
    match (&schema.out, format) {
        (None, Format::Json) => output::json(&editor_schema(schema.kind))?,
        (None, Format::Table) => {
            output::line(&serde_json::to_string_pretty(&editor_schema(schema.kind))?);
        }
        (Some(directory), _) => write(directory).with_context(|| format!("--out {}", directory.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)?;
    for kind in [None].into_iter().chain(Kind::ALL.map(Some)) {
        let name = kind.map_or("vidimus".to_owned(), |kind| kind.as_str().to_ascii_lowercase());
        let path = directory.join(format!("{name}.schema.json"));
        let text = serde_json::to_string_pretty(&editor_schema(kind))? + "\n";
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        output::line(&path.display().to_string());
    }
    Ok(())
}

fn kind(text: &str) -> Result<Kind, String> {
    let named = Kind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text));
    named.ok_or_else(|| format!("write one of {}", Kind::ALL.map(Kind::as_str).join(", ")))
}
