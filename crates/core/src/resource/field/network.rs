//! A range of addresses.

use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// The length of the prefix: at most 32, or 128.
    bits: u8,
}

impl Network {
    pub(super) const fn new(address: IpAddr, bits: u8) -> Self {
        Self { address, bits }
    }

    /// An address in the range: the one that it was written with.
    pub(super) const fn first(&self) -> IpAddr {
        self.address
    }

    /// Whether it is one address.
    pub(super) fn is_one(&self) -> bool {
        self.bits == number(self.address).1
    }

    /// Whether `address` lies in the range. An IPv4-mapped IPv6 address counts as the IPv4 address it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, width) = number(self.address);
        let (other, other_width) = number(address.to_canonical());
        let shift = u32::from(width.saturating_sub(self.bits));
        let cut = |n: u128| n.checked_shr(shift).unwrap_or(0);
        width == other_width && cut(own) == cut(other)
    }

    /// Whether all of `other` lies in the range.
    pub fn covers(&self, other: &Self) -> bool {
        other.bits >= self.bits && self.contains(other.address)
    }
}

/// The address as a number, and its length in bits.
fn number(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

/// The text is not an address or a network in CIDR notation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a network such as 10.0.0.0/8 or fd00::/8")]
pub struct NotANetwork(String);

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = number(address).1;
        let bits = bits.map_or(Ok(width), |bits| bits.parse().map_err(|_| wrong()))?;
        // A range of IPv4-mapped addresses is the range of IPv4 addresses that they are.
        let canonical = address.to_canonical();
        let mapped = width - number(canonical).1;
        let bits = bits.checked_sub(mapped).filter(|_| bits <= width).ok_or_else(wrong)?;
        Ok(Self { address: canonical, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_has_its_prefix() {
        for (network, address, contained) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("::ffff:10.0.0.0/104", "11.9.9.9", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::/0", "fe00::1", true),
        ] {
            let of: Network = network.parse().expect("a network");
            assert_eq!(of.contains(address.parse().expect("an address")), contained, "{network} {address}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "x/8",
            "10.0.0.0/x",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "::/129",
            "::ffff:0.0.0.0/95",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_covers_those_that_lie_in_it() {
        for (outer, inner, covers) in [
            ("10.0.0.0/8", "10.0.0.0/8", true),
            ("10.0.0.0/8", "10.9.0.0/16", true),
            ("10.9.0.0/16", "10.0.0.0/8", false),
            ("10.0.0.0/8", "11.0.0.0/16", false),
            ("0.0.0.0/0", "fd00::/8", false),
        ] {
            let [outer, inner] = [outer, inner].map(|text| text.parse::<Network>().expect("a network"));
            assert_eq!(outer.covers(&inner), covers, "{outer:?} {inner:?}");
        }
    }
}
