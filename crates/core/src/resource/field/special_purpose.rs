//! Addresses that no call may go to, whoever configured them: IANA's special-purpose registries (RFC 6890) as data, and the
//! metadata services of clouds. This is the one list: for a record's literal address and for what a name resolves to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const METADATA: &str = "it is the metadata service of a cloud";
const PROTOCOL: &str = "it is assigned to a protocol, not to a server";
const DOCUMENTATION: &str = "it is for documentation only";

/// A block of one registry: its first address, its length in bits, and why nothing in it is called.
type Block<A> = (A, u32, &'static str);

/// The IANA IPv4 Special-Purpose Address Registry, without loopback (127.0.0.0/8) and private use (RFC 1918), where upstreams
/// live, and without what is globally reachable; multicast; and metadata services outside of those blocks. More specific first.
const V4: [Block<Ipv4Addr>; 15] = [
    (Ipv4Addr::new(100, 100, 100, 200), 32, METADATA), // Alibaba
    (Ipv4Addr::new(168, 63, 129, 16), 32, METADATA),   // Azure
    (Ipv4Addr::new(192, 0, 0, 192), 32, METADATA),     // Oracle
    (Ipv4Addr::new(0, 0, 0, 0), 8, "it is unspecified (0.0.0.0/8)"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "it is shared between a provider and its customers (100.64.0.0/10)"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "it is link-local (169.254.0.0/16), where clouds serve metadata"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, PROTOCOL),
    (Ipv4Addr::new(192, 0, 2, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "it relays 6to4"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "it is for benchmarks of networks (198.18.0.0/15)"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(203, 0, 113, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "it is multicast"),
    (Ipv4Addr::BROADCAST, 32, "it is broadcast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "it is reserved"),
];

/// The IANA IPv6 Special-Purpose Address Registry, without loopback and unique-local addresses, where upstreams live. Of the
/// transition mechanisms only those whose IPv4 address is looked at instead ([`reached`]) are not in it.
const V6: [Block<Ipv6Addr>; 19] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, METADATA), // Amazon: ::254, and ::23 of EKS
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, METADATA), // Google
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128, METADATA), // Oracle
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128, METADATA), // Scaleway
    (Ipv6Addr::UNSPECIFIED, 128, "it is unspecified"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "it is translated to IPv4 locally (64:ff9b:1::/48)"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "it is discarded (100::/64)"),
    (Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 0), 64, "it is a dummy prefix (100:0:0:1::/64)"),
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        32,
        "it is Teredo, which tunnels to an IPv4 address (2001::/32)",
    ),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, PROTOCOL),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, DOCUMENTATION),
    (
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        16,
        "it is 6to4, which tunnels to an IPv4 address (2002::/16)",
    ),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, PROTOCOL),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, "it was given back (3ffe::/16)"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, DOCUMENTATION),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "it is a segment of a route (5f00::/16)"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "it is link-local (fe80::/10)"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "it is site-local, which was given up (fec0::/10)"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "it is multicast"),
];

/// Why an address must never be called, whoever configured it; `None` when it may be. What a name resolves to has to
/// pass this too. Loopback and private addresses may be called: upstreams live there.
pub fn why_not_called(address: IpAddr) -> Option<&'static str> {
    match (address, reached(address)) {
        (_, IpAddr::V6(address)) => {
            let number = u128::from(address);
            let block = V6.iter().find(|(first, bits, _)| (number ^ u128::from(*first)) >> (128 - bits) == 0);
            block.map(|(_, _, why)| *why)
        }
        (written, IpAddr::V4(address)) => {
            let number = u32::from(address);
            let block = V4.iter().find(|(first, bits, _)| (number ^ u32::from(*first)) >> (32 - bits) == 0);
            // RFC 6052 section 3.1: a translator's prefix is for global addresses. A private one behind it is another's.
            let translated = written.is_ipv6() && !is_mapped(written);
            let hidden = translated && (address.is_private() || address.is_loopback());
            let hidden = hidden.then_some("it is a private IPv4 address inside an IPv6 address");
            block.map(|(_, _, why)| *why).or(hidden)
        }
    }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// The address that is reached by another: the IPv4 address inside an IPv6 one that is mapped or compatible (RFC 4291 section
/// 2.5.5) or translated (NAT64, RFC 6052 section 2.1); else the same.
pub fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => {}
        // ::1 and :: are addresses of their own.
        (0, 0, 0, 0, 0, 0) if g != 0 => {}
        _ => return address,
    }
    Ipv4Addr::from((u32::from(g) << 16) | u32::from(h)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_called_and_what_is() {
        for (address, why) in [
            ("127.0.0.1", None),
            ("10.1.2.3", None),
            ("172.16.0.1", None),
            ("192.168.0.1", None),
            ("8.8.8.8", None),
            ("192.0.1.0", None),
            ("192.52.193.1", None),
            ("100.63.255.255", None),
            ("100.128.0.0", None),
            ("0.0.0.0", Some("unspecified")),
            ("0.1.2.3", Some("unspecified")),
            ("100.64.0.0", Some("shared")),
            ("100.127.255.255", Some("shared")),
            ("100.100.100.200", Some("metadata")),
            ("168.63.129.16", Some("metadata")),
            ("169.254.169.254", Some("link-local")),
            ("169.254.170.23", Some("link-local")),
            ("192.0.0.8", Some("protocol")),
            ("192.0.0.192", Some("metadata")),
            ("192.0.2.1", Some("documentation")),
            ("192.88.99.1", Some("6to4")),
            ("198.18.0.1", Some("benchmarks")),
            ("198.19.255.255", Some("benchmarks")),
            ("198.51.100.1", Some("documentation")),
            ("203.0.113.1", Some("documentation")),
            ("224.0.0.1", Some("multicast")),
            ("240.0.0.1", Some("reserved")),
            ("255.255.255.255", Some("broadcast")),
            ("::1", None),
            ("fd13::1", None),
            ("2606:4700::1111", None),
            ("2001:4860:4860::8888", None),
            ("::", Some("unspecified")),
            ("::ffff:127.0.0.1", None),
            ("::ffff:169.254.169.254", Some("link-local")),
            ("::169.254.169.254", Some("link-local")),
            ("::10.0.0.1", Some("private")),
            ("64:ff9b::808:808", None),
            ("64:ff9b::a9fe:a9fe", Some("link-local")),
            ("64:ff9b::a00:1", Some("private")),
            ("64:ff9b::7f00:1", Some("private")),
            ("64:ff9b:1::1", Some("locally")),
            ("100::1", Some("discarded")),
            ("100:0:0:1::1", Some("dummy")),
            ("2001::1", Some("Teredo")),
            ("2001:20::1", Some("protocol")),
            ("2001:1ff:ffff::1", Some("protocol")),
            ("2001:db8::1", Some("documentation")),
            ("2002:a9fe:a9fe::1", Some("6to4")),
            ("2002:808:808::1", Some("6to4")),
            ("3fff::1", Some("documentation")),
            ("5f00::1", Some("segment")),
            ("fd00:ec2::254", Some("metadata")),
            ("fd00:ec2::23", Some("metadata")),
            ("fd20:ce::254", Some("metadata")),
            ("fd00:c1::a9fe:a9fe", Some("metadata")),
            ("fd00:42::42", Some("metadata")),
            ("fe80::1", Some("link-local")),
            ("fec0::1", Some("site-local")),
            ("ff02::1", Some("multicast")),
        ] {
            let found = why_not_called(address.parse().expect("an address"));
            match why {
                None => assert_eq!(found, None, "{address}"),
                Some(why) => assert!(found.is_some_and(|found| found.contains(why)), "{address}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_block_begins_where_it_says() {
        for (first, bits, _) in V4 {
            assert_eq!(
                u32::from(first) & 1_u32.checked_shl(32 - bits).map_or(u32::MAX, |size| size - 1),
                0,
                "{first}"
            );
        }
        for (first, bits, _) in V6 {
            assert_eq!(
                u128::from(first) & 1_u128.checked_shl(128 - bits).map_or(u128::MAX, |size| size - 1),
                0,
                "{first}"
            );
        }
    }
}
