//! A range of addresses.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// A range of addresses in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// `bits` is at most 32, or 128.
    pub(super) const fn new(address: IpAddr, bits: u8) -> Self {
        Self(IpNet::new_assert(address, bits))
    }

    /// An address in the range: the first.
    pub(super) fn first(&self) -> IpAddr {
        self.0.addr()
    }

    /// Whether it is one address.
    pub(super) fn is_one(&self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// Whether `address` lies in the range. An IPv4-mapped IPv6 address counts as the IPv4 address it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether all of `other` lies in the range.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical().into())
    }
}

/// Why a text is not an address or a network in CIDR notation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotANetwork {
    /// It is something else.
    #[error("'{0}' is not a network such as 10.0.0.0/8 or fd00::/8")]
    Malformed(String),
    /// Its address is not the first of the range: what was meant, the address or the range, cannot be told.
    #[error(
        "'{text}' has an address with bits beyond its prefix; write {range} for the range, or the address alone"
    )]
    HostBits {
        /// As it was given.
        text: String,
        /// The range that it lies in.
        range: String,
    },
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotANetwork::Malformed(text.to_owned());
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        // One spelling: others than this parser take a zero in front for octal, or the text for no number. `ipnet`'s own takes it.
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let Some(bits) = bits else { return Ok(address.into()) };
        let length: u8 = bits.parse().map_err(|_| wrong())?;
        if *bits != length.to_string() {
            return Err(wrong());
        }
        let given = IpNet::new(address, length).map_err(|_| wrong())?;
        let range = given.trunc();
        if range != given {
            return Err(NotANetwork::HostBits { text: text.to_owned(), range: range.to_string() });
        }
        // A range of IPv4-mapped addresses is the range of IPv4 addresses that they are.
        match given.addr().to_canonical() {
            IpAddr::V4(address) if given.addr().is_ipv6() => {
                let bits = given.prefix_len().checked_sub(96).ok_or_else(wrong)?;
                Ipv4Net::new(address, bits).map(|net| Self(net.into())).map_err(|_| wrong())
            }
            _ => Ok(Self(given)),
        }
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
            "10.0.0.0/08",
            "10.0.0.0/008",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "010.0.0.0/8",
            "10.0.0.0 /8",
            "fd00::/08",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_inside_a_range_is_not_taken_for_the_range() {
        for (text, range) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("192.168.1.1/31", "192.168.1.0/31"),
            ("fd00::1/8", "fd00::/8"),
            ("0.0.0.1/0", "0.0.0.0/0"),
        ] {
            let said = text.parse::<Network>().expect_err(text).to_string();
            assert!(said.contains(range), "{said}");
        }
        assert_eq!("10.1.2.3/32".parse::<Network>(), "10.1.2.3".parse());
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
