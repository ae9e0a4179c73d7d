//! Durations, sizes, addresses and switches of flags: as in resources, with what to write in what is wrong.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{anyhow, ensure};
use vidimus_core::quantity::{self, Wrong};

/// `90s`, `1h30m`, `7d`.
pub fn duration(text: &str) -> anyhow::Result<Duration> {
    quantity::duration(text).map_err(|wrong| match wrong {
        Wrong::NoUnit => {
            anyhow!("a duration has a unit; write {text}s for seconds, or {text}m, {text}h, {text}d")
        }
        Wrong::Malformed => anyhow!("'{text}' is not a duration such as 90s, 15m, 1h30m or 7d"),
    })
}

/// A duration that something can happen in.
pub fn time_limit(text: &str) -> anyhow::Result<Duration> {
    let limit = duration(text)?;
    ensure!(!limit.is_zero(), "a time limit of 0 would refuse every call");
    Ok(limit)
}

/// Records are kept for so long at least: a start takes up from them what chains of calls have come to.
pub const LEAST_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long spans are kept.
pub fn trace_retention(text: &str) -> anyhow::Result<Duration> {
    let kept = duration(text)?;
    ensure!(kept >= Duration::from_secs(3600), "write 1h or more: a trace is looked at after it has ended");
    Ok(kept)
}

/// How long records are kept.
pub fn retention(text: &str) -> anyhow::Result<Duration> {
    let kept = duration(text)?;
    ensure!(
        kept >= LEAST_KEPT,
        "write 1d or more: a start takes up chains of calls from the records of a day"
    );
    Ok(kept)
}

/// The size of a body: `4MB`, `512KiB`, or bytes.
pub fn body_size(text: &str) -> anyhow::Result<usize> {
    const MIN: u64 = 1 << 10;
    const MAX: u64 = 1 << 30;
    let size = quantity::size(text);
    let size = size.map_err(|_| anyhow!("'{text}' is not a size such as 4MB, 512KiB or 65536 (bytes)"))?;
    ensure!((MIN..=MAX).contains(&size), "write a size from 1KiB to 1GiB");
    Ok(usize::try_from(size)?)
}

/// The size of a part of a disk: `2GiB`, or bytes. 0 is none.
pub fn disk_size(text: &str) -> anyhow::Result<u64> {
    quantity::size(text).map_err(|_| anyhow!("'{text}' is not a size such as 2GiB, 500MB or 0"))
}

/// How much of spans is kept.
pub fn trace_bytes(text: &str) -> anyhow::Result<u64> {
    let bytes = disk_size(text)?;
    ensure!(bytes >= 16 << 20, "write 16MiB or more: what is dropped goes in files of 8 MiB");
    Ok(bytes)
}

/// An address to listen on: `127.0.0.1:8080`, `[::]:8080`, `localhost:8080`. Other names are not looked up: what they are may change.
pub fn socket(text: &str) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let port =
        port.ok_or_else(|| anyhow!("write ADDRESS:PORT, as in 127.0.0.1:8080, [::]:8080 or localhost:8080"))?;
    Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_taken_and_what_is_wrong_says_what_to_write() {
        assert_eq!(duration("1h30m").ok(), Some(Duration::from_secs(5400)));
        assert_eq!(body_size("4MB").ok(), Some(4_000_000));
        assert_eq!(body_size("4194304").ok(), Some(4 << 20));
        for (text, address) in
            [("localhost:8080", "127.0.0.1:8080"), ("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:9", "[::1]:9")]
        {
            assert_eq!(socket(text).ok().map(|found| found.to_string()).as_deref(), Some(address), "{text}");
        }
        for (error, says) in [
            (duration("30").err(), "write 30s"),
            (duration("ten").err(), "such as 90s"),
            (time_limit("0s").err(), "refuse every call"),
            (retention("23h").err(), "write 1d or more"),
            (retention("365").err(), "write 365s"),
            (body_size("1").err(), "from 1KiB to 1GiB"),
            (body_size("2GiB").err(), "from 1KiB to 1GiB"),
            (body_size("4 megabytes").err(), "such as 4MB"),
            (socket("8080").err(), "127.0.0.1:8080"),
            (socket(":8080").err(), "127.0.0.1:8080"),
            (socket("gateway:8080").err(), "127.0.0.1:8080"),
            (socket("localhost:99999").err(), "127.0.0.1:8080"),
        ] {
            let error = error.expect("refused").to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
