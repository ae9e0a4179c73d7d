//! The machine that the figures are of, and how fast it is.

use std::fs;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

use anyhow::Context as _;
use serde_json::json;

use crate::figure::{Figure, rounded};
use crate::latency::median;

/// Runs of each calibration; the middle one is printed.
const RUNS: usize = 5;
/// Steps of one run of the loop, each of which needs the one before: a multiplication, an addition, a rotation.
const STEPS: u32 = 20_000_000;
/// Bytes sent and received in one run, each by itself, over a loopback connection, in one thread.
const EXCHANGES: u32 = 10_000;

/// The first line of a run. Its value is the time of a fixed loop on one core, ms; `loopback_us` is the time to write a byte to
/// a loopback connection and read it, which is what most of a proxy's time is made of. Both say how one machine's absolute
/// figures relate to another's.
pub(crate) fn figure() -> anyhow::Result<Figure> {
    let cores = std::thread::available_parallelism()?;
    let parameters = json!({
        "cpu": cpu()?, "cores": cores, "kernel": fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        "steps": STEPS, "loopback_us": rounded(loopback()?),
        // Half-way through something else is a bad moment to measure.
        "load_average": fs::read_to_string("/proc/loadavg")?.split(' ').next(),
    });
    let spent = median((0..RUNS).map(|_| steps())).context("no runs")?;
    Ok(Figure::new("machine", spent, "ms", parameters))
}

fn cpu() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    Ok(match (field("model name"), field("cpu family"), field("model\t")) {
        (Some(name), Some(family), Some(model)) => format!("{name}, family {family}, model {model}"),
        (name, _, _) => name.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
    })
}

/// Milliseconds of the loop.
fn steps() -> f64 {
    let begun = Instant::now();
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..STEPS {
        state = state.wrapping_mul(0xd129_0f5b_24bc_a8a5).wrapping_add(0x2545_f491_4f6c_dd1d).rotate_left(29);
    }
    black_box(state);
    begun.elapsed().as_secs_f64() * 1e3
}

/// Microseconds to send a byte and to receive it.
fn loopback() -> anyhow::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    let mut runs = Vec::new();
    let mut byte = [0_u8];
    for _ in 0..RUNS {
        let begun = Instant::now();
        for _ in 0..EXCHANGES {
            near.write_all(&byte)?;
            far.read_exact(&mut byte)?;
        }
        runs.push(begun.elapsed().as_secs_f64() * 1e6 / f64::from(EXCHANGES));
    }
    median(runs).context("no runs")
}
