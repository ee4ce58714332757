# SPDX-License-Identifier: ISC
"""Which address ranges may be used inside a link, and who is met there otherwise (RFC 6890 and experience).

A range that cannot work is an error; one in which others are often met is a warning, because two networks with the
same addresses cannot be joined, and one notices only away from home, in the other network.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

from reach.reading import Address, Network

# the first that overlaps speaks; True: cannot be used at all
TABLE: tuple[tuple[Network, bool, str], ...] = tuple(
    (ip_network(network), is_error, reason)
    for network, is_error, reason in (
        ("0.0.0.0/8", True, 'means "this network" (RFC 791) and is not routed'),
        ("127.0.0.0/8", True, "is the loopback's"),
        ("169.254.0.0/16", True, "is link-local and not routed (RFC 3927)"),
        ("224.0.0.0/4", True, "is for multicast"),
        ("240.0.0.0/4", True, "is reserved, most systems drop it"),
        ("192.0.0.0/24", True, "is DS-Lite's and 464XLAT's own, between home routers and providers (RFC 7335)"),
        ("100.64.0.0/10", False, "is carrier-grade NAT's (RFC 6598): a provider that uses DS-Lite or CGNAT may"
            " route it to its own machines"),
        ("192.168.178.0/24", False, "is every FRITZ!Box's network"),
        ("192.168.0.0/23", False, "is most home routers' network"),
        ("192.168.2.0/24", False, "is the network of Speedport and other routers"),
        ("172.17.0.0/16", False, "is Docker's default bridge"),
        ("10.0.0.0/8", False, "is used by companies, hotels and Freifunk communities"),
        ("25.0.0.0/8", False, "belongs to the UK Ministry of Defence, however quiet it looks"),
        ("198.18.0.0/15", False, ""),  # for benchmarks (RFC 2544): hardly ever met, the best choice
        ("172.16.0.0/12", False, ""),
        ("192.168.0.0/16", False, ""),
        ("fe80::/10", True, "is link-local and not routed; take one that begins with fd"),
        ("fec0::/10", True, "was withdrawn (RFC 3879); take one that begins with fd"),
        ("ff00::/8", True, "is for multicast"),
        ("fc00::/8", True, "is not defined yet; take one that begins with fd (RFC 4193)"),
        ("fd00::/8", False, ""),
    )
)  # fmt: skip

DOCUMENTATION = tuple(
    ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
)


def overlap(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.overlaps(other)
    return isinstance(one, IPv6Network) and isinstance(other, IPv6Network) and one.overlaps(other)


def advice(network: Network) -> tuple[bool, str] | None:
    """Whether that network inside a link is an error, and why; None when nothing speaks against it."""
    for known, is_error, reason in TABLE:
        if overlap(network, known):
            meets = f"{known} " if network == known else f"meets {known}, which "
            return (is_error, meets + reason) if reason else None
    if isinstance(network, IPv6Network) or any(overlap(network, each) for each in DOCUMENTATION):
        return None
    return False, "it is public and belongs to somebody, whose machines cannot be reached any more"


def is_nobodys(address: Address) -> bool:
    """Whether no other machine can have it: unspecified, loopback, multicast, link-local or IPv4's reserved."""
    reserved = isinstance(address, IPv4Address) and address.is_reserved
    multicast = address.is_multicast or address.is_link_local
    return reserved or multicast or address.is_loopback or address.is_unspecified
