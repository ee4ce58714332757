# SPDX-License-Identifier: ISC
"""The firewall for kernels that have iptables only (NAS systems): files for iptables-restore and ip6tables-restore.

Everything is in chains of our own, which the built-in ones jump to; `--noflush` leaves all others alone. Pure.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from reach.firewall import NUMBERS, Firewall, Match, range_text
from reach.reading import Ports

RULE_PORTS = 15  # of -m multiport
ANSWERS = "-m conntrack --ctstate ESTABLISHED,RELATED"
Written = tuple[str, str, str, Match | None]  # table, built-in chain, rule, and what tells its family
CHAINS = {
    "nat": ("PREROUTING", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD"),
    "mangle": ("PREROUTING", "OUTPUT", "FORWARD"),
}


def own(builtin: str) -> str:
    return f"reach_{builtin.lower()}"


def version(match: Match) -> int | None:
    """The family that a match is about; None for both."""
    for network in (*match.source, match.destination):
        if network is not None:
            return network.version
    return 6 if match.protocol == "ipip" else 4 if match.is_published else None


def fitting(match: Match) -> list[Match]:
    """The match in parts that one rule can have: a range of ports counts as two of a rule's."""
    parts: list[list[Ports]] = [[]]
    room = RULE_PORTS
    for ports in match.ports:
        takes = 1 if ports[0] == ports[1] else 2
        if takes > room:
            parts.append([])
            room = RULE_PORTS
        parts[-1].append(ports)
        room -= takes
    return [replace(match, ports=tuple(part)) for part in parts]


def accepting(chain: str, matches: Iterable[Match]) -> list[Written]:
    return [
        ("filter", chain, f"{words(part)} -j ACCEPT", part) for match in matches for part in fitting(match)
    ]


def words(match: Match) -> str:
    found = []
    found += [f"-i {match.in_device}"] if match.in_device else []
    found += [f"-o {match.out_device}"] if match.out_device else []
    found += [f"! -o {match.not_out_device}"] if match.not_out_device else []
    found += [f"-s {','.join(map(str, match.source))}"] if match.source else []
    found += [f"-d {match.destination}"] if match.destination is not None else []
    found += [f"-p {NUMBERS[match.protocol]}"] if match.protocol == "ipip" else []
    found += [f"-p {match.protocol}"] if match.protocol and match.protocol != "ipip" else []
    if match.ports:
        found.append(
            f"-m multiport --dports {','.join(range_text(p).replace('-', ':') for p in match.ports)}"
        )
    found += ["-m conntrack --ctstate DNAT"] if match.is_published else []
    return " ".join(found)


def rules(firewall: Firewall, family: int) -> list[tuple[str, str, str]]:
    """Table, built-in chain and rule, in order."""
    found = [*(destinations(firewall) if family == 4 else ()), *sources(firewall)]
    found += [*inputs(firewall), *forwards(firewall), *marks_and_sizes(firewall)]
    return [
        (table, chain, rule.strip())
        for table, chain, rule, match in found
        if match is None or version(match) in (None, family)
    ]


def destinations(firewall: Firewall) -> Iterator[Written]:
    for dnat in firewall.dnats:
        match, chain = words(dnat.match), "OUTPUT" if dnat.is_own else "PREROUTING"
        for protocol, port in dict.fromkeys(dnat.excepted):
            returned = f"-p {protocol} --dport {str(port).replace('-', ':')} -j RETURN"
            yield "nat", chain, f"{match} {returned}", None
        target = f"{dnat.to}:{dnat.to_port}" if dnat.to_port else f"{dnat.to}"
        for part in fitting(dnat.match):
            yield "nat", chain, f"{words(part)} -j DNAT --to-destination {target}", part


def sources(firewall: Firewall) -> Iterator[Written]:
    for snat in firewall.snats:
        target = f"SNAT --to-source {snat.to}" if snat.to else "MASQUERADE"
        yield "nat", "POSTROUTING", f"{words(snat.match)} -j {target}", snat.match


def inputs(firewall: Firewall) -> Iterator[Written]:
    yield from accepting("INPUT", firewall.accepts)
    for device in firewall.closed:
        yield "filter", "INPUT", f"-i {device} {ANSWERS} -j ACCEPT", None
    yield from accepting("INPUT", firewall.inputs)
    for device in firewall.closed:
        yield "filter", "INPUT", f"-i {device} -j DROP", None


def forwards(firewall: Firewall) -> Iterator[Written]:
    devices = [f"{way} {device}" for way in ("-i", "-o") for device in firewall.closed]
    for device in devices:
        yield "filter", "FORWARD", f"{device} {ANSWERS} -j ACCEPT", None
    yield from accepting("FORWARD", firewall.forwards)
    for device in devices:
        yield "filter", "FORWARD", f"{device} -j DROP", None


def marks_and_sizes(firewall: Firewall) -> Iterator[Written]:
    for device in firewall.clamps:
        clamp = "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"
        for way in ("-i", "-o"):
            yield "mangle", "FORWARD", f"{way} {device} {clamp}", None
    for reply in firewall.replies:
        mark = f"-m connmark --mark {reply.mark} -j MARK --set-mark {reply.mark}"
        yield "mangle", "PREROUTING", f"-i {reply.device} -j CONNMARK --set-mark {reply.mark}", None
        for chain in ("PREROUTING", "OUTPUT"):
            yield "mangle", chain, mark, None


def restore_text(firewall: Firewall, family: int) -> str:
    """Input for iptables-restore --noflush (ip6tables-restore for 6); a second load replaces the first."""
    found, text = rules(firewall, family), ""
    for table, builtins in CHAINS.items():
        used = [chain for chain in builtins if any(rule[:2] == (table, chain) for rule in found)]
        if used:
            lines = [f"*{table}", *(f":{own(chain)} - [0:0]" for chain in used)]
            lines += [f"-A {own(chain)} {rule}" for where, chain, rule in found if where == table]
            text += "\n".join([*lines, "COMMIT"]) + "\n"
    return text


def jumps(firewall: Firewall, family: int) -> list[tuple[str, str]]:
    """Commands that let the built-in chains jump to ours, and that take this and our chains away."""
    program = "iptables" if family == 4 else "ip6tables"
    found = []
    for table, chain in dict.fromkeys((table, chain) for table, chain, _ in rules(firewall, family)):
        jump, where = f"{chain} -j {own(chain)}", f"{program} -t {table}"
        found.append(
            (
                f"{where} -C {jump} 2>/dev/null || {where} -I {jump}",
                f"{where} -D {jump}; {where} -F {own(chain)}; {where} -X {own(chain)}",
            )
        )
    return found
