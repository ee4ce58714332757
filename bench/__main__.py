# SPDX-License-Identifier: ISC
"""`make bench`: every figure that we promise something about, to build/bench.json and as a table.

Speeds are ratios against peers in the same run on the same path, medians of several rounds: machines differ, and this
one is noisy. A goal that is missed is said in the table and by the exit status.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import (
    babel,
    failover,
    firewall,
    gro,
    ipv6,
    ipv6_walks,
    mostly_withdraw,
    prefixd,
    reach,
    roam,
    roam_core_instructions,
    roam_instructions,
    roam_rules,
    siit,
)
from bench.roam_interpreters import CPYTHON, MICROPYTHON, RULES
from runtime.usage import Parser

RESULT = Path(__file__).resolve().parent.parent / "build/bench.json"


@dataclass(frozen=True)
class Goal:
    """What a figure should be: at least or at most a bound; no bound, no promise."""

    key: str
    unit: str
    meaning: str
    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, figure: float) -> bool:
        return (self.at_least is None or figure >= self.at_least) and (
            self.at_most is None or figure <= self.at_most
        )

    @property
    def bound(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else "-"


def roam_goals() -> list[Goal]:
    """Of the roaming daemon on either Python, with either kind of rules."""
    goals: list[Goal] = []
    ways = [(python, rules) for python in (CPYTHON, MICROPYTHON) for rules in RULES]
    for python, rules in ways:
        on, keys = f"{'MicroPython' if python.prefix else 'CPython'}, {rules}", python.keys(rules)
        if (python, rules) != (CPYTHON, "nft"):  # whose handoffs are told above, with more
            p99_ms = 60 if python == CPYTHON else 50
            per_s = 1000 if python == CPYTHON else 500
            goals += [
                Goal(keys + "handoff_p50_ms", "ms", f"{on}: handoffs of a stroll, median"),
                Goal(keys + "handoff_p99_ms", "ms", "the same, 99th percentile", at_most=p99_ms),
                Goal(keys + "storm_handoff_p99_ms", "ms", f"{on}: a storm's handoffs, 99th percentile"),
                Goal(keys + "roams", "", "of that storm"),
                Goal(keys + "connections_lost", "", "TCP connections lost in all of both", at_most=0),
                Goal(keys + "roam_us", "us", f"{on}: one ROAM, 1,000 clients have roamed"),
                Goal(keys + "roams_per_s", "", "ROAMs a second on one core, in batches", at_least=per_s),
            ]
        rss_mib = 8 if python == MICROPYTHON else 18
        goals += [
            Goal(
                keys + "rss_kib",
                "KiB",
                f"{on}: the daemon with 1,000 clients, resident",
                at_most=rss_mib * 1024,
            ),
            Goal(
                keys + "idle_cpu_percent", "%", "of a CPU that it takes then while nothing happens", at_most=1
            ),
        ]
        goals += [
            Goal(key, unit, meaning, at_most=most)
            for key, unit, meaning, most in roam_instructions.goals(python, rules, on)
        ]
    for python, name, flash_kb in ((CPYTHON, "CPython", 250), (MICROPYTHON, "MicroPython", 200)):
        keys = python.keys("nft")
        goals += [
            Goal(
                keys + "flash_bytes",
                "B",
                f"{name}: the daemon's package, compressed",
                at_most=flash_kb * 1000,
            ),
            Goal(keys + "installed_bytes", "B", "the same, unpacked"),
            *(Goal(keys + key, unit, f"{name}: {what}") for key, unit, what in roam_core_instructions.KEYS),
        ]
    return [
        *goals,
        Goal(MICROPYTHON.keys("nft") + "gc_longest_ms", "ms", "the longest collection with 1,000 clients"),
    ]


GOALS = (
    Goal("siit.tcp_vs_plain", "x", "one TCP stream through CLAT and PLAT, against plain IPv6 forwarding"),
    Goal("siit.tcp_vs_tayga", "x", "the same, against tayga", at_least=3),
    Goal("siit.udp64_vs_plain", "x", "packets of 64 bytes a second, against plain IPv6 forwarding"),
    Goal("siit.udp64_vs_tayga", "x", "the same, against tayga", at_least=1.5),
    Goal("siit.rtt_added_us", "us", "what two translations add to a round trip"),
    Goal("siit.fast_tcp_vs_plain", "x", "with the BPF fast path: one TCP stream, against plain IPv6"),
    Goal("siit.fast_tcp_vs_siit", "x", "the same, against siit without it"),
    Goal("siit.fast_udp64_vs_plain", "x", "the same, packets of 64 bytes a second"),
    Goal("siit.fast_rtt_added_us", "us", "the same, added to a round trip", at_most=8),
    Goal("speed.rules_us", "us", "all our firewall rules, added to a client's packet", at_most=2),
    Goal("speed.rules_out_us", "us", "of these on the way to the internet"),
    Goal("speed.rules_back_us", "us", "of these on the way back"),
    Goal(
        "speed.plain_through_node_cpu",
        "x",
        "the mesh's plain IPv6 through a clatnode and a platnode, against no rules",
        at_most=1.1,
    ),
    Goal(
        "speed.fraglist_cpu", "x", "CPU of a gigabyte of TCP, fraglist GRO, BPF, against plain", at_most=1.15
    ),
    Goal("speed.fraglist_user_cpu", "x", "the same, siit in user space as the roles have it", at_most=1.3),
    Goal("speed.fraglist_listed_cpu", "x", "the same, as it would be without the roles"),
    Goal("speed.plain_rules_us", "us", "what our rules add to it"),
    Goal(
        "prefixd.failover_silent_ms",
        "ms",
        "exit lost without a word, until new connections work",
        at_most=3000,
    ),
    Goal("prefixd.failover_withdrawn_ms", "ms", "exit withdrawn, until new connections work", at_most=1000),
    Goal("prefixd.rss_kib", "KiB", "prefixd on MicroPython with 500 PLATs, resident", at_most=3.5 * 1024),
    Goal("prefixd.anon_kib", "KiB", "of that anonymous", at_most=1024),
    Goal("prefixd.read_10000_routes_ms", "ms", "prefixd on MicroPython reads 10,000 routes"),
    Goal("roam.handoffs", "", "of a stroll: some seconds at a node, 5 ms a link, 4 nodes"),
    Goal("roam.handoff_p50_ms", "ms", "association until the first packet passed, median"),
    Goal("roam.handoff_p99_ms", "ms", "the same, 99th percentile", at_most=50),
    Goal("roam.handoff_network_ms", "ms", "of a handoff: round trips of CLAIM and ROAM"),
    Goal(
        "roam.handoff_ours_p50_ms", "ms", "of the median: what is ours, the wait for the ARP answer included"
    ),
    Goal(
        "roam.roams", "", "of a storm: a quarter of a second at a node, 20 TCP connections and a UDP stream"
    ),
    Goal("roam.storm_handoff_p50_ms", "ms", "its handoffs, median"),
    Goal("roam.storm_handoff_p99_ms", "ms", "the same, 99th percentile", at_most=50),
    Goal("roam.handoffs_without_packet", "", "roams on which no packet passed before the next", at_most=0),
    Goal("roam.connections_lost", "", "TCP connections lost in all the roams", at_most=0),
    Goal("roam.gate_dropped", "", "packets that a gate dropped", at_most=0),
    Goal("roam.air_lost", "", "datagrams lost on the air: sent to where the client had just been"),
    Goal("roam.longest_stall_ms", "ms", "the longest that a TCP connection waited for its echo"),
    *(
        Goal(f"roam.roam_us_{roamed}", "us", f"one ROAM at the platnode, {roamed:,} clients have roamed")
        for roamed in roam_rules.ROAMED
    ),
    Goal("roam.roams_per_s", "", "ROAMs a second on one core, 100,000 clients have roamed", at_least=10_000),
    *roam_goals(),
    *(
        Goal(f"roam.{rules}_{what}_{count}", unit, f"{count:,} clatnodes, {whose}: {meaning}")
        for what, unit, meaning in (
            ("setup_ms", "ms", "setting the rules up"),
            ("one_more_ms", "ms", "one more clatnode"),
            ("pps", "", "first packets of flows a second"),
        )
        for count in roam_rules.CLATNODES
        for rules, whose in (("maps", "our maps"), ("seed", "the seed's pairs"))
    ),
    Goal(
        "ipv6.first_packet_ms", "ms", "a silent newcomer's first packet, until it is answered", at_most=1000
    ),
    Goal(
        "ipv6.walk_gap_p50_ms",
        "ms",
        "a walk's longest time without an answer, of 100 echoes a second",
        at_most=200,
    ),
    Goal("ipv6.walk_gap_p95_ms", "ms", "the same", at_most=200),
    Goal("ipv6.walk_gap_plain_p95_ms", "ms", "the same, with nothing sent on: what babel takes"),
    Goal("ipv6.events_cpu_percent", "%", "of a CPU: 500 solicitations a second of 1,000 MACs", at_most=10),
    Goal("ipv6.events_rss_kib", "KiB", "the daemon after them, resident", at_most=18 * 1024),
    Goal(
        "mostly.withdraw_ms",
        "ms",
        "exit lost without a word, until hosts are told that it is gone",
        at_most=3000,
    ),
    *(
        Goal(
            f"babel.routes_{count}_{what}",
            unit,
            f"babeld in a mesh of twelve, {count:,} host routes: {meaning}",
        )
        for count in babel.COUNTS
        for what, unit, meaning in (
            ("converge_s", "s", "until all have all"),
            ("cpu_s", "s", "of the busiest for it"),
            ("cpu_percent", "%", "of a CPU, the busiest, while nothing changes"),
            ("rss_kib", "KiB", "resident, the largest"),
            ("change_ms", "ms", "one more route, until the farthest has it"),
        )
    ),
    Goal(
        "reach.relay_connections_vs_socat",
        "x",
        "connections a second through the relay, against socat",
        at_least=5,
    ),
    Goal(
        "reach.relay_connections_per_cpu_s_vs_socat",
        "x",
        "the same for each second of CPU that the relay itself takes",
        at_least=5,
    ),
    Goal("reach.relay_tcp1_vs_socat", "x", "one TCP stream, the same", at_least=1),
    Goal("reach.relay_tcp100_vs_socat", "x", "a hundred TCP streams, the same", at_least=1),
    Goal("reach.relay_udp_vs_socat", "x", "datagrams of 1,400 bytes a second, the same", at_least=3),
    Goal("reach.relay_connections_per_s", "/s", "connections a second through the relay"),
    Goal("reach.relay_rtt_added_us", "us", "what the relay adds to a round trip"),
    Goal("reach.relay_kib_per_connection", "KiB", "memory of one of 5,000 open connections", at_most=20),
    Goal("reach.socat_kib_per_connection", "KiB", "what socat takes for one"),
)

PARTS: dict[str, Callable[..., dict[str, float]]] = {
    "siit": lambda say: siit.run(say=say),
    "rules": lambda say: firewall.run(say),
    "gro": lambda say: gro.run(say),
    "failover": lambda say: failover.run(say=say),
    "prefixd": lambda say: prefixd.run(),
    "roam": lambda say: roam.run(say),
    "instructions": lambda say: roam_instructions.run(say),
    "ipv6": lambda say: {**ipv6.run(say), **ipv6_walks.run(say)},
    "mostly": lambda say: mostly_withdraw.run(say),
    "babel": lambda say: babel.run(say),
    "reach": lambda say: reach.run(say=say),
}


def table(figures: dict[str, float]) -> str:
    """Return the figures as lines for people, with their goals."""
    lines = [f"{'FIGURE':32} {'MEDIAN':>10} {'':4} {'GOAL':>8}       MEANING"]
    for goal in GOALS:
        if goal.key in figures:
            figure = figures[goal.key]
            digits = 2 if goal.unit in ("x", "%") else 1 if figure < 10 else 0
            shown = f"{figure:.{digits}f}"
            mark = "    " if goal.bound == "-" else "ok  " if goal.is_met(figure) else "MISS"
            lines.append(f"{goal.key:32} {shown:>10} {goal.unit:4} {goal.bound:>8} {mark}  {goal.meaning}")
    return "\n".join(lines)


def main() -> int:
    parser = Parser(prog="make bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(PARTS)}")
    parts = parser.parse_args().parts or list(PARTS)
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}, known are {', '.join(PARTS)}")
    figures: dict[str, float] = {}
    for part in parts:
        begun = time.monotonic()
        print(f"bench: {part}", flush=True)
        figures |= PARTS[part](lambda line: print(f"  {line}", flush=True))
        print(f"bench: {part} took {time.monotonic() - begun:.0f} s", flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\n{table(figures)}\n\n{os.path.relpath(RESULT)}")
    return 0 if all(goal.is_met(figures[goal.key]) for goal in GOALS if goal.key in figures) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (RuntimeError, OSError) as error:
        sys.exit(f"bench: {error}")
