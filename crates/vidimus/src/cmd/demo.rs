//! `vidimus demo`: a complete governed system on this machine, with real servers, agents and clients, walked through step by step.

mod guard;
mod scene;
mod stage;
mod told;
mod tour;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use self::guard::{Group, Guard};
use self::scene::{Play, Scene};
use self::stage::{Setting, Stage};
use crate::output;

/// Stands up a complete governed system and walks through it: allowed, refused, filtered, delegated, forged, replayed, verified.
///
/// The MCP servers, A2A agents and SDK clients are the official ones, from npm and PyPI; the model is a simulator and says so.
/// Everything runs on loopback addresses and ends with the demo.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus demo                 from the repository
  vidimus demo --keep          leave it running, with commands to try next
  vidimus demo --scene hold    one part of it; --help names the others")]
pub struct Demo {
    /// Folder with the real servers and clients (`e2e` of the repository).
    #[arg(long, default_value = "e2e", env = "VIDIMUS_COMPONENTS")]
    components: PathBuf,
    /// Play one scene, which needs less than the whole.
    #[arg(long, value_enum, value_name = "NAME")]
    scene: Option<Scene>,
    /// Leave everything running until Ctrl-C, and print commands to try.
    #[arg(long)]
    keep: bool,
}

pub fn run(demo: &Demo) -> anyhow::Result<ExitCode> {
    let root = std::env::temp_dir().join(format!("vidimus-demo-{}", std::process::id()));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // Before anything is started, so that no signal finds something left to clean up and nobody who does it.
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let guard = Guard::new(&root)?;
    let (group, components) = (guard.group, demo.components.clone());
    let (keep, scene) = (demo.keep, demo.scene);
    let (ended, mut end) = oneshot::channel();
    std::thread::Builder::new().name("demo".to_owned()).spawn(move || {
        // Nobody waits any more when a signal came first.
        let _ = ended.send(play(group, root, &components, (keep, scene)));
    })?;
    let stopped = || output::line("\nEnding the demo: its processes and its directory go.");
    let code = runtime.block_on(async {
        tokio::select! {
            played = &mut end => match played? {
                Ok(()) if keep => {
                    signals.any().await;
                    stopped();
                    Ok(ExitCode::SUCCESS)
                }
                done => done.map(|()| ExitCode::SUCCESS),
            },
            signal = signals.any() => {
                stopped();
                Ok(ExitCode::from(128 + signal))
            }
        }
    });
    drop(guard);
    code
}

fn play(
    group: Group,
    root: PathBuf,
    components: &Path,
    (keep, scene): (bool, Option<Scene>),
) -> anyhow::Result<()> {
    output::line("Setting up: official MCP servers, A2A agents and SDK clients (once, from npm and PyPI) …");
    let (setting, play) = match scene {
        Some(scene) => scene.open()?,
        None => (Setting::everything(), Play::Acted(tour::play)),
    };
    let mut stage = Stage::start(group, root, components, &setting)?;
    output::line(&format!(
        "The gateway is {}; its resources are in {}\n",
        stage.url,
        stage.resources.display()
    ));
    match play {
        Play::Acted(play) => play(&mut stage)?,
        Play::Told(steps) => told::play(&steps, &mut stage)?,
    }
    if scene.is_none() {
        output::line(&format!(
            "\nMore of it, one scene at a time: vidimus demo --scene NAME ({})",
            Scene::names()
        ));
    }
    if keep {
        stage.invite();
    }
    Ok(())
}

/// The signals by which a demo is ended.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The number of the one that comes first.
    async fn any(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
            _ = self.hang_up.recv() => 1,
        }
    }
}
