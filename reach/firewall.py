# SPDX-License-Identifier: ISC
"""What one end's firewall has to do, as values, and as one nftables table of our own. Pure.

The table is loaded in one transaction and deleted by name, so nothing of the host's own rules is touched. It opens
nothing that another table closes: an accept ends only this table's chain, a drop ends the packet. What it closes are
our links: what is neither published nor from our own networks does not pass them, however open forwarding is. What a
bridge passes between its ports is not routed, and has a table of its own.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from reach.reading import Address, Network, Ports

TABLE = "reach"
TCP_BYTES = {"ip": 20 + 20, "ip6": 40 + 20}  # the headers of a TCP packet
NUMBERS = {"tcp": 6, "udp": 17, "ipip": 4, "gre": 47}  # names that not every system knows


@dataclass(frozen=True, slots=True)
class Match:
    """The packets that a rule is about; what is empty matches all."""

    in_device: str | None = None
    out_device: str | None = None
    not_out_device: str | None = None
    source: tuple[Network, ...] = ()  # all of one family
    destination: Address | Network | None = None
    protocol: str | None = None  # tcp, udp, or ipip: protocol 4, IPv4 in IPv6
    ports: tuple[Ports, ...] = ()
    is_published: bool = False  # its destination was rewritten by a Dnat


@dataclass(frozen=True, slots=True)
class Dnat:
    match: Match
    to: IPv4Address
    to_port: int | None = None
    excepted: tuple[tuple[str, int | str], ...] = ()  # a range is text
    is_own: bool = False  # of what this machine sends itself, not of what comes in


@dataclass(frozen=True, slots=True)
class Snat:
    match: Match
    to: IPv4Address | None = None  # None: masquerade, the address of the device it leaves by


@dataclass(frozen=True, slots=True)
class Reply:
    """Answers to what came in by a device go out by it: connections are marked, the mark selects the table."""

    device: str
    mark: int


@dataclass(frozen=True, slots=True)
class Firewall:
    dnats: tuple[Dnat, ...] = ()
    snats: tuple[Snat, ...] = ()
    accepts: tuple[Match, ...] = ()  # for this machine itself, from outside
    inputs: tuple[Match, ...] = ()  # for this machine itself by the closed devices, beside answers
    forwards: tuple[Match, ...] = ()  # what passes the closed devices, beside answers
    closed: tuple[str, ...] = ()
    clamps: tuple[str, ...] = ()  # devices whose TCP MSS follows the path MTU
    replies: tuple[Reply, ...] = ()
    bridge_ports: tuple[
        tuple[str, int], ...
    ] = ()  # and how many bytes fit there, which no host behind it knows

    def __bool__(self) -> bool:
        return bool(self.dnats or self.snats or self.accepts or self.closed or self.clamps or self.replies)


def one_or_set(words: list[str]) -> str:
    return words[0] if len(words) == 1 else "{ " + ", ".join(words) + " }"


def range_text(ports: Ports) -> str:
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"


def match_text(match: Match) -> str:
    """The match in nftables' language."""
    words = []
    if match.in_device:
        words.append(f'iifname "{match.in_device}"')
    if match.out_device:
        words.append(f'oifname "{match.out_device}"')
    if match.not_out_device:
        words.append(f'oifname != "{match.not_out_device}"')
    if match.source:
        family = "ip" if match.source[0].version == 4 else "ip6"
        words.append(f"{family} saddr {one_or_set([str(each) for each in match.source])}")
    if match.destination is not None:
        words.append(f"{'ip' if match.destination.version == 4 else 'ip6'} daddr {match.destination}")
    if match.protocol and match.ports:
        words.append(f"{match.protocol} dport {one_or_set([range_text(each) for each in match.ports])}")
    elif match.protocol:
        words.append(f"meta l4proto {NUMBERS[match.protocol]}")
    if match.is_published:
        words.append("ct status dnat")
    return " ".join(words)


def dnat_lines(dnat: Dnat) -> list[str]:
    match = match_text(dnat.match)
    lines = [f"{match} {protocol} dport {port} return" for protocol, port in dict.fromkeys(dnat.excepted)]
    return [*lines, f"{match} dnat ip to {dnat.to}{f':{dnat.to_port}' if dnat.to_port else ''}"]


def snat_line(snat: Snat) -> str:
    return f"{match_text(snat.match)} {f'snat ip to {snat.to}' if snat.to else 'masquerade'}"


def forward_lines(firewall: Firewall) -> list[str]:
    if not firewall.closed:
        return []
    devices = one_or_set([f'"{device}"' for device in firewall.closed])
    return [
        f"iifname {devices} ct state established,related accept",
        f"oifname {devices} ct state established,related accept",
        *(f"{match_text(match)} accept" for match in firewall.forwards),
        f"iifname {devices} drop",
        f"oifname {devices} drop",
    ]


def input_lines(firewall: Firewall) -> list[str]:
    lines = [f"{match_text(match)} accept" for match in firewall.accepts]
    if firewall.closed:
        devices = one_or_set([f'"{device}"' for device in firewall.closed])
        lines.append(f"iifname {devices} ct state established,related accept")
        lines += [f"{match_text(match)} accept" for match in firewall.inputs]
        # neighbour discovery and router advertisements are between the two ends
        lines.append(f"iifname {devices} ip6 saddr fe80::/10 meta l4proto ipv6-icmp accept")
        lines.append(f"iifname {devices} drop")
    return lines


def clamp_lines(firewall: Firewall) -> list[str]:
    return [
        f'{way} "{device}" tcp flags syn / syn,rst tcp option maxseg size set rt mtu'
        for device in firewall.clamps
        for way in ("iifname", "oifname")
    ]


def reply_lines(firewall: Firewall) -> list[str]:
    return [
        line
        for reply in firewall.replies
        for line in (
            # not only new ones: after a restart the inner host may have spoken first
            f'iifname "{reply.device}" ct mark set {reply.mark}',
            # the incoming way too: the source's way back is looked up by it, even where rp_filter is strict
            f"ct mark {reply.mark} meta mark set {reply.mark}",
        )
    ]


def chains(firewall: Firewall) -> list[tuple[str, str, list[str]]]:
    """Name, place and rules of each chain that has rules; ours come just before others of the same place."""
    found = [
        (
            "publish",
            "type nat hook prerouting priority dstnat - 5",
            [r for d in firewall.dnats if not d.is_own for r in dnat_lines(d)],
        ),
        (
            "publish_own",
            "type nat hook output priority -105",  # dstnat - 5, which nft has no name for here
            [r for d in firewall.dnats if d.is_own for r in dnat_lines(d)],
        ),
        (
            "leave",
            "type nat hook postrouting priority srcnat - 5",
            [snat_line(each) for each in firewall.snats],
        ),
        (
            "input",
            "type filter hook input priority filter - 5",
            input_lines(firewall),
        ),
        ("forward", "type filter hook forward priority filter - 5", forward_lines(firewall)),
        ("clamp", "type filter hook forward priority mangle", clamp_lines(firewall)),
        ("replies", "type filter hook prerouting priority mangle", reply_lines(firewall)),
        (
            "own_replies",
            "type route hook output priority mangle",
            [f"ct mark {reply.mark} meta mark set {reply.mark}" for reply in firewall.replies],
        ),
    ]
    return [chain for chain in found if chain[2]]


def nft_text(firewall: Firewall) -> str:
    """The table as a file for `nft -f`: loading it again replaces it, in one step."""
    lines = [f"table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    for name, place, rules in chains(firewall):
        lines += [
            f"\tchain {name} {{",
            f"\t\t{place}; policy accept;",
            *(f"\t\t{rule}" for rule in rules),
            "\t}",
        ]
    return "\n".join([*lines, "}"]) + "\n"


def bridge_text(firewall: Firewall) -> str:
    """The same for the frames of a bridge; empty when there is none."""
    if not firewall.bridge_ports:
        return ""
    lines = [f"table bridge {TABLE}", f"delete table bridge {TABLE}", f"table bridge {TABLE} {{"]
    lines += ["\tchain clamp {", "\t\ttype filter hook forward priority 0; policy accept;"]
    lines += [
        f'\t\toifname "{port}" meta protocol {family} tcp flags syn / syn,rst tcp option maxseg size set'
        f" {mtu_bytes - headers}"
        for port, mtu_bytes in firewall.bridge_ports
        for family, headers in TCP_BYTES.items()
    ]
    return "\n".join([*lines, "\t}", "}"]) + "\n"


def ruleset_text(firewall: Firewall) -> str:
    return nft_text(firewall) + bridge_text(firewall)
