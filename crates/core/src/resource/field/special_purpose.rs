//! Addresses that no call may go to, whoever configured them: IANA's special-purpose registries (RFC 6890) as data, and the
//! metadata services of clouds. This is the one list: for a record's literal address and for what a name resolves to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::network::Network;

const METADATA: &str = "it is the metadata service of a cloud";
/// Linux takes it for this host.
const UNSPECIFIED: &str = "it is unspecified (0.0.0.0/8)";
const LOCAL_NAT64: &str = "it is translated to IPv4 locally (64:ff9b:1::/48)";
const TEREDO: &str = "it is Teredo, which tunnels to an IPv4 address (2001::/32)";
const SIX_TO_FOUR: &str = "it is 6to4, which tunnels to an IPv4 address (2002::/16)";
/// What no installation can allow: the address that is reached is another's to choose, or is not the one that is written.
const NEVER_ALLOWED: [&str; 4] = [UNSPECIFIED, LOCAL_NAT64, TEREDO, SIX_TO_FOUR];
const PROTOCOL: &str = "it is assigned to a protocol, not to a server";
const DOCUMENTATION: &str = "it is for documentation only";

/// A block of one registry: its first address, its length in bits, and why nothing in it is called.
type Block<A> = (A, u8, &'static str);

/// The IANA IPv4 Special-Purpose Address Registry, without loopback (127.0.0.0/8) and private use (RFC 1918), where upstreams
/// live, and without what is globally reachable; multicast; and metadata services outside of those blocks. More specific first.
const V4: [Block<Ipv4Addr>; 18] = [
    (Ipv4Addr::new(169, 254, 169, 254), 32, METADATA), // most clouds
    (Ipv4Addr::new(169, 254, 170, 2), 32, METADATA),   // tasks of Amazon ECS
    (Ipv4Addr::new(169, 254, 170, 23), 32, METADATA),  // pods of Amazon EKS
    (Ipv4Addr::new(100, 100, 100, 200), 32, METADATA), // Alibaba
    (Ipv4Addr::new(168, 63, 129, 16), 32, METADATA),   // Azure
    (Ipv4Addr::new(192, 0, 0, 192), 32, METADATA),     // Oracle
    (Ipv4Addr::new(0, 0, 0, 0), 8, UNSPECIFIED),
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
/// transition mechanisms only those whose IPv4 address is looked at as well ([`reached`]) are not in it.
const V6: [Block<Ipv6Addr>; 19] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, METADATA), // Amazon: ::254, and ::23 of EKS
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, METADATA), // Google
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128, METADATA), // Oracle
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128, METADATA), // Scaleway
    (Ipv6Addr::UNSPECIFIED, 128, "it is unspecified"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, LOCAL_NAT64),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "it is discarded (100::/64)"),
    (Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 0), 64, "it is a dummy prefix (100:0:0:1::/64)"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, TEREDO),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, PROTOCOL),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, DOCUMENTATION),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, SIX_TO_FOUR),
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
///
/// `allowed` are ranges that an installation uses although they are special. Each counts only within the one block that it lies
/// in ([`may_be_allowed`]), so that a wide range allows nothing by accident: `100.64.0.0/10` does not allow the metadata service at
/// `100.100.100.200`, which has a block of its own, and `0.0.0.0/0` allows nothing.
pub fn why_not_called(address: IpAddr, allowed: &[Network]) -> Option<&'static str> {
    let address = address.to_canonical();
    let refused = |address, allowed: &[Network]| {
        let (block, why) = block_of(address)?;
        let is_allowed = |network: &Network| network.contains(address) && allows(network, &block, why);
        (!allowed.iter().any(is_allowed)).then_some(why)
    };
    refused(address, allowed).or_else(|| match reached(address) {
        // RFC 6052 section 3.1: a translator's prefix is for global addresses. A private one behind it is another's, and so is what
        // is allowed here.
        inner @ IpAddr::V4(v4) if inner != address => {
            let hidden = v4.is_private() || v4.is_loopback();
            refused(inner, &[]).or(hidden.then_some("it is a private IPv4 address inside an IPv6 address"))
        }
        _ => None,
    })
}

/// Whether an installation can allow a range: it lies in one block of those that are else never called.
pub fn may_be_allowed(network: &Network) -> bool {
    block_of(network.first()).is_some_and(|(block, why)| allows(network, &block, why))
}

/// Whether what is said of a network counts within a block. A metadata service is allowed by its own address only.
fn allows(network: &Network, block: &Network, why: &str) -> bool {
    block.covers(network) && !NEVER_ALLOWED.contains(&why) && (why != METADATA || network.is_one())
}

/// The most specific block that an address lies in, and why nothing in it is called.
fn block_of(address: IpAddr) -> Option<(Network, &'static str)> {
    // It lies in a block whose first bits it has.
    match address {
        IpAddr::V4(v4) => V4
            .iter()
            .find(|(first, bits, _)| (first.to_bits() ^ v4.to_bits()).leading_zeros() >= u32::from(*bits))
            .map(|(first, bits, why)| (Network::new(IpAddr::V4(*first), *bits), *why)),
        IpAddr::V6(v6) => V6
            .iter()
            .find(|(first, bits, _)| (first.to_bits() ^ v6.to_bits()).leading_zeros() >= u32::from(*bits))
            .map(|(first, bits, why)| (Network::new(IpAddr::V6(*first), *bits), *why)),
    }
}

/// The address that is reached by another: the IPv4 address inside an IPv6 one that is mapped or compatible (RFC 4291 section
/// 2.5.5), translated (NAT64, RFC 6052 section 2.1; SIIT, RFC 2765 section 2.1), or of ISATAP, whatever its prefix (RFC 5214
/// section 6.1); else the same.
pub fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => {}
        (_, _, _, _, 0 | 0x200, 0x5efe) => {}
        // ::1 and :: are addresses of their own.
        (0, 0, 0, 0, 0, 0) if g != 0 => {}
        _ => return address,
    }
    Ipv4Addr::from((u32::from(g) << 16) | u32::from(h)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::job::NEVER_REACHED;

    /// Attack: a job whose record names the metadata service of another cloud than the first two, which hands out what the node has.
    #[test]
    fn no_job_reaches_a_metadata_service_that_no_call_reaches() {
        let v4 = V4.iter().map(|(first, length, why)| (IpAddr::V4(*first), *length, *why));
        let v6 = V6.iter().map(|(first, length, why)| (IpAddr::V6(*first), *length, *why));
        for (first, length, _) in v4.chain(v6).filter(|(.., why)| *why == METADATA) {
            let service: Network = format!("{first}/{length}").parse().unwrap();
            let covers = |never: &&str| never.parse::<Network>().unwrap().covers(&service);
            assert!(NEVER_REACHED.iter().any(covers), "{service}");
            if let IpAddr::V4(inner) = first {
                let [a, b, c, d] = inner.octets();
                let behind: Network = format!("64:ff9b::{a:x}{b:02x}:{c:x}{d:02x}/128").parse().unwrap();
                let covers = |never: &&str| never.parse::<Network>().unwrap().covers(&behind);
                assert!(NEVER_REACHED.iter().any(covers), "{behind}");
            }
        }
    }

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
            ("169.254.169.254", Some("metadata")),
            ("169.254.0.1", Some("link-local")),
            ("169.254.170.2", Some("metadata")),
            ("169.254.170.23", Some("metadata")),
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
            ("::ffff:169.254.169.254", Some("metadata")),
            ("::169.254.169.254", Some("metadata")),
            ("::ffff:0:169.254.169.254", Some("metadata")),
            ("::ffff:0:10.0.0.1", Some("private")),
            ("::ffff:0:127.0.0.1", Some("private")),
            ("::ffff:0:100.64.0.1", Some("shared")),
            ("::ffff:0:8.8.8.8", None),
            ("2606:4700::5efe:169.254.169.254", Some("metadata")),
            ("2606:4700::200:5efe:169.254.169.254", Some("metadata")),
            ("2606:4700::5efe:10.0.0.1", Some("private")),
            ("fd13::5efe:127.0.0.1", Some("private")),
            ("fd13::200:5efe:100.64.0.1", Some("shared")),
            ("2606:4700::200:5efe:8.8.8.8", None),
            ("fe80::5efe:8.8.8.8", Some("link-local")),
            ("2606:4700::300:5efe:10.0.0.1", None),
            ("::10.0.0.1", Some("private")),
            ("64:ff9b::808:808", None),
            ("64:ff9b::a9fe:a9fe", Some("metadata")),
            ("64:ff9b::6440:1", Some("shared")),
            ("64:ff9b::a00:1", Some("private")),
            ("64:ff9b::7f00:1", Some("private")),
            ("64:ff9b:1::1", Some("locally")),
            ("64:ff9b:1:fffe::a00:1", Some("locally")),
            ("64:ff9b:2::a00:1", None),
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
            let found = why_not_called(address.parse().expect("an address"), &[]);
            match why {
                None => assert_eq!(found, None, "{address}"),
                Some(why) => assert!(found.is_some_and(|found| found.contains(why)), "{address}: {found:?}"),
            }
        }
    }

    #[test]
    fn what_is_allowed_is_called_as_far_as_it_was_said() {
        for (allowed, address, called) in [
            ("100.64.0.0/10", "100.64.0.0", true),
            ("100.64.0.0/10", "100.127.255.255", true),
            ("100.64.0.0/10", "::ffff:100.64.0.1", true),
            ("100.64.0.0/16", "100.64.255.255", true),
            ("100.64.0.0/16", "100.65.0.0", false),
            ("100.64.0.1", "100.64.0.1", true),
            ("198.18.0.0/15", "198.19.0.1", true),
            // Metadata services have blocks of their own.
            ("100.64.0.0/10", "100.100.100.200", false),
            ("100.100.100.200", "100.100.100.200", true),
            ("169.254.0.0/16", "169.254.1.1", true),
            ("169.254.0.0/16", "169.254.169.254", false),
            ("169.254.169.254/32", "169.254.169.254", true),
            ("fd00:ec2::254", "fd00:ec2::254", true),
            ("fd00:ec2::254", "fd00:ec2::23", false),
            ("fe80::/10", "fe80::1", true),
            // What is wider than a block allows nothing.
            ("0.0.0.0/0", "100.64.0.1", false),
            ("100.0.0.0/8", "100.64.0.1", false),
            ("0.0.0.0/0", "169.254.169.254", false),
            ("::/0", "fe80::1", false),
            // What is hidden is not what was allowed, and tunnels lead elsewhere.
            ("100.64.0.0/10", "64:ff9b::6440:1", false),
            ("100.64.0.0/10", "::ffff:0:100.64.0.1", false),
            ("64:ff9b:1::/48", "64:ff9b:1::6440:1", false),
            ("2001::/32", "2001::1", false),
            ("2002::/16", "2002:808:808::1", false),
        ] {
            let network: Network = allowed.parse().expect("a network");
            let found = why_not_called(address.parse().expect("an address"), &[network]);
            assert_eq!(found.is_none(), called, "{allowed} {address}: {found:?}");
            assert!(!called || may_be_allowed(&network), "{allowed}");
        }
        for nothing in
            ["0.0.0.0/0", "100.0.0.0/8", "10.0.0.0/8", "::1", "2001::/32", "2002::/16", "64:ff9b:1::/48"]
        {
            assert!(!may_be_allowed(&nothing.parse().expect("a network")), "{nothing}");
        }
    }

    #[test]
    fn a_block_begins_where_it_says() {
        for (first, bits, _) in V4 {
            assert_eq!(
                u32::from(first) & 1_u32.checked_shl(32 - u32::from(bits)).map_or(u32::MAX, |size| size - 1),
                0,
                "{first}"
            );
        }
        for (first, bits, _) in V6 {
            assert_eq!(
                u128::from(first)
                    & 1_u128.checked_shl(128 - u32::from(bits)).map_or(u128::MAX, |size| size - 1),
                0,
                "{first}"
            );
        }
    }
}
