//! What the gateway has on this machine: its data directory with keys and ledger, room, and the clock.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::Access;
use vidimus_identity::{LocalError, LocalIdentity, Mint};

use super::check;
use super::{Doctor, Report, word};
use crate::cmd::data_directory;
use crate::cmd::serve::disk;

/// By so much a file may be of the future: clocks are corrected.
const SKEW: Duration = Duration::from_secs(60);
/// How many of the files of a directory are looked at for their time.
const FILES: usize = 10_000;

pub(super) fn look(doctor: &Doctor, runs: bool, report: &mut Report) {
    report.looked_at("the data directory");
    let data = &doctor.data;
    let owner = || format!("chown -R \"$(id -u vidimus)\" {0} && chmod 700 {0}", word(data));
    match fs::metadata(data) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let (check, fix) = if runs {
                (check::LEDGER_ELSEWHERE, "give the doctor the gateway's own --data".to_owned())
            } else {
                (
                    check::DATA_MISSING,
                    format!("nothing, before a first start; else put {} back from a copy", word(data)),
                )
            };
            report.find(check, format!("--data {}: it is not there", data.display()), fix);
            return;
        }
        Err(error) => {
            report.find(check::DATA_UNUSABLE, format!("--data {}: {error}", data.display()), owner());
            return;
        }
        Ok(found) if !found.is_dir() => {
            let fix = format!("rm {}, or name a directory by --data", word(data));
            report.find(check::DATA_UNUSABLE, format!("--data {}: it is a file", data.display()), fix);
            return;
        }
        Ok(_) => {}
    }
    if let Err(error) = rustix::fs::access(data, Access::WRITE_OK | Access::READ_OK | Access::EXEC_OK) {
        let what = format!("--data {}: this user may not write there: {error}", data.display());
        report.find(check::DATA_UNUSABLE, what, owner());
    }
    if let Some(Err(error)) =
        doctor.resources.as_deref().map(|resources| data_directory::apart(data, resources))
    {
        report.find(check::DATA_NESTED, error.to_string(), "mv the one out of the other");
    }
    keys(data, report);
    lock(data, runs, report);
    room(doctor, report);
    clock(data, report);
}

fn keys(data: &Path, report: &mut Report) {
    let mut named: Vec<PathBuf> = Vec::new();
    for (path, error) in data_directory::exposed(data) {
        if is_denied(&error) {
            report.left_out("keys", format!("{error:#}; run the doctor as the gateway's user"));
        } else {
            let fix = format!(
                "chmod go-rwx {}; who else could read it may have it, so think of another key",
                word(&path)
            );
            report.find(check::KEY_EXPOSED, error.to_string(), fix);
        }
        named.push(path);
    }
    let identity = data.join("identity");
    if !identity.is_dir() {
        return;
    }
    let from_copy = || format!("put {} back from a copy", word(&identity));
    if let Err(error) = LocalIdentity::look(&identity) {
        let is_lost = matches!(error, LocalError::KeyLost { .. } | LocalError::CertificateLost { .. });
        let fix = match is_lost {
            true => format!(
                "{}; or vidimus identity init --data {} --replace-lost-keys, and issue anew",
                from_copy(),
                word(data)
            ),
            false => from_copy(),
        };
        let path = error.path().map(Path::to_owned);
        of_key(path, &error.into(), fix, &mut named, report);
    }
    if let Err(error) = Mint::look(&identity) {
        let path = error.path().map(Path::to_owned);
        of_key(path, &error.into(), from_copy(), &mut named, report);
    }
    let ledger = data.join("ledger");
    let has_records =
        fs::read_dir(ledger.join("segments")).is_ok_and(|mut segments| segments.next().is_some());
    let key = ledger.join("keys").join("checkpoint.key");
    if has_records && key.try_exists().is_ok_and(|is_there| !is_there) {
        let what = format!("{}: the ledger's own key is not there", key.display());
        report.find(
            check::KEY_LOST,
            what,
            format!("put {} back from a copy; nothing else can sign on", word(&key)),
        );
    }
}

/// A key that cannot be used, once for each file.
fn of_key(
    path: Option<PathBuf>,
    error: &anyhow::Error,
    fix: String,
    named: &mut Vec<PathBuf>,
    report: &mut Report,
) {
    if path.as_ref().is_some_and(|path| named.contains(path)) {
        return;
    }
    if is_denied(error) {
        report.left_out("keys", format!("{error:#}; run the doctor as the gateway's user"));
    } else {
        report.find(check::KEY_LOST, format!("{error:#}"), fix);
    }
    named.extend(path);
}

/// Whether this user may not look.
pub(super) fn is_denied(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|cause| cause.kind() == ErrorKind::PermissionDenied)
}

/// Who writes the ledger has it locked. The lock is asked for as a reader does, for a moment: a gateway that starts just then is started again.
fn lock(data: &Path, runs: bool, report: &mut Report) {
    let path = data.join("ledger").join("lock");
    let Ok(file) = File::open(&path) else { return };
    let is_held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    if is_held && !runs {
        let what = format!("{}: a process has the ledger open, and no gateway answers", path.display());
        report.find(
            check::LEDGER_IN_USE,
            what,
            format!("fuser -v {} names it; end it, or ask it by its own --admin", word(&path)),
        );
    } else if runs && !is_held {
        let what = format!("{}: the gateway that answers does not write this ledger", path.display());
        report.find(
            check::LEDGER_ELSEWHERE,
            what,
            "give the doctor the gateway's own --data, or its own --admin",
        );
    }
}

fn room(doctor: &Doctor, report: &mut Report) {
    const MIB: u64 = 1 << 20;
    report.looked_at("room on its disk");
    match disk::room(&doctor.data, doctor.disk_reserve) {
        Ok((free, reserve)) if free < reserve => {
            let what = format!("{} MiB are free, and {} are the reserve", free / MIB, reserve / MIB);
            let fix = "make room on it; --keep-records lets records go that were kept long enough (vidimus audit prune)";
            report.find(check::DISK_LOW, what, fix);
        }
        Ok(_) => {}
        Err(error) => report.left_out("room on its disk", error.to_string()),
    }
}

/// What was written cannot be of the future.
fn clock(data: &Path, report: &mut Report) {
    report.looked_at("the clock");
    let directories = ["ledger", "ledger/segments", "registry"].map(|name| data.join(name));
    let files = directories
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flat_map(|entries| entries.take(FILES))
        .flatten();
    let newest = files.filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path()))).max();
    let Some((written, path)) = newest else { return };
    let ahead = written.duration_since(SystemTime::now()).unwrap_or_default();
    if ahead > SKEW {
        let what = format!("{} was written {} s from now", path.display(), ahead.as_secs());
        report.find(
            check::CLOCK_BEHIND,
            what,
            "timedatectl set-ntp true, and chronyc tracking; restart the gateway then",
        );
    }
}
