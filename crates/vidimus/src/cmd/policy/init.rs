//! `vidimus policy init`: policies to begin with.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use vidimus_core::clock::Clock as _;
use vidimus_core::resource::{check::DEFAULT_NAMESPACE, nearest};
use vidimus_gateway::millis;
use vidimus_query::cases::{self, CaseFault, ReadCase};
use vidimus_query::starters::{self, StarterAnswer};
use vidimus_registry::Loaded;

use crate::clock::SystemClock;
use crate::output::{self, Format};

/// Writes policies to begin with, with objects to see them work and cases that say what they are to decide.
///
/// Without a name it lists the sets that there are. What is written passes `vidimus check` and `vidimus policy test`. Several sets in one
/// directory have a namespace each; what would stand in the way of what is there is not written, nor what the policies that are there would
/// decide otherwise than its cases say, and nothing is written over. Exits 0 when it was written or listed, 2 when not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy init                                   # which are there?
  vidimus policy init finance-limits --dir resources/ --namespace payments
  vidimus check resources/ && vidimus policy test resources/

Exit codes: 0 written, 2 not written")]
pub(super) struct Init {
    /// Which set.
    name: Option<String>,
    /// Directory to write to. Created if missing.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The namespace of the objects.
    #[arg(long, default_value = DEFAULT_NAMESPACE, value_parser = namespace)]
    namespace: String,
}

/// As in `metadata.namespace`, and nothing that would be something else in YAML.
fn namespace(text: &str) -> anyhow::Result<String> {
    let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-');
    if !letters
        || !begins
        || text.len() > 63
        || matches!(text, "vidimus" | "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null")
    {
        bail!("write at most 63 lower case letters, digits and '-', beginning with a letter");
    }
    Ok(text.to_owned())
}

pub(super) fn run(init: &Init, format: Format) -> anyhow::Result<ExitCode> {
    let Some(name) = &init.name else {
        let answer = StarterAnswer { starters: starters::described(), files: Vec::new() };
        match format {
            Format::Json => output::json(&answer)?,
            Format::Table => {
                let mut table = output::table(&["NAME", "WHAT IT DOES"], &[0], output::width());
                for starter in &answer.starters {
                    table.add_row([&starter.name, &starter.description].map(|text| output::cell(text)));
                }
                output::line(table.to_string().trim_end());
            }
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(starter) = starters::starter(name) else {
        match nearest(starters::ALL.iter().map(|starter| starter.name), name) {
            Some(near) => bail!("there is no set '{name}'; did you mean {near}?"),
            None => bail!("there is no set '{name}'; `vidimus policy init` lists those that there are"),
        }
    };
    fs::create_dir_all(&init.dir).with_context(|| format!("--dir {}", init.dir.display()))?;
    let files = starter.files(&init.namespace);
    if let Some((there, _)) = files.iter().find(|(name, _)| init.dir.join(name).exists()) {
        bail!("{} is there already, and nothing was written", init.dir.join(there).display());
    }
    let (staged, cases) = staged(&files).context("what would be written could not be looked at")?;
    let there = vidimus_registry::load(&init.dir);
    if let Some(both) = starters::in_the_way(&there, &staged) {
        bail!(
            "{both}, and nothing was written: of two of one name, or with one identity, neither is in force; give another --namespace, or another --dir"
        );
    }
    let disturbed = starters::disturbed(&there, &staged, cases, millis(SystemClock.now().wall));
    if !disturbed.is_empty() {
        bail!(
            "beside the policies of {}, cases of the set would be decided otherwise: {}; nothing was written. Give another --namespace, which \
             policies of this one do not reach (a cluster-wide one does), or another --dir",
            init.dir.display(),
            disturbed.join(", ")
        );
    }
    let mut answer = StarterAnswer::default();
    for (name, text) in files {
        let path = init.dir.join(name);
        write(&path, &text).with_context(|| path.display().to_string())?;
        answer.files.push(path.display().to_string());
    }
    match format {
        Format::Json => output::json(&answer)?,
        Format::Table => {
            answer.files.iter().for_each(|file| output::line(&format!("written {file}")));
            output::line(&format!("Next: vidimus policy test {}", init.dir.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the files say, as a gateway would read them by themselves, and their cases.
fn staged(files: &[(String, String)]) -> std::io::Result<(Loaded, Vec<ReadCase>)> {
    let directory = std::env::temp_dir().join(format!("vidimus-init-{}", uuid::Uuid::new_v4()));
    fs::create_dir(&directory)?;
    let written = files.iter().try_for_each(|(name, text)| write(&directory.join(name), text));
    let read = written.and_then(|()| {
        let faults = |faults: Vec<CaseFault>| {
            let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
            std::io::Error::other(said.join("; "))
        };
        Ok((vidimus_registry::load(&directory), cases::read(&directory).map_err(faults)?))
    });
    fs::remove_dir_all(&directory)?;
    read
}

/// Never over what is there.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    fs::File::create_new(path)?.write_all(text.as_bytes())
}
