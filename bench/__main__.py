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
    ipv6,
    ipv6_walks,
    mostly_withdraw,
    prefixd,
    reach,
    roam,
    roam_core_instructions,
    roam_instructions,
    roam_rules,
    speed,
)
from bench.roam_interpreters import CPYTHON, MICROPYTHON, RULES
from bench.speed import goals as speed_goals
from bench.speed.cells import GROUPS
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

    def shown(self, figure: float) -> str:
        digits = 2 if self.unit in ("x", "%") else 1 if figure < 10 else 0
        return f"{figure:.{digits}f}"

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
    *(Goal(*row) for row in speed_goals.GOALS),
    Goal("speed.rules_us", "us", "all our firewall rules, added to a client's packet", at_most=2),
    Goal("speed.rules_out_us", "us", "of these on the way to the internet"),
    Goal("speed.rules_back_us", "us", "of these on the way back"),
    Goal(
        "speed.plain_through_node_cpu",
        "x",
        "the mesh's plain IPv6 through a clatnode and a platnode, against no rules",
        at_most=1.1,
    ),
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
    "speed": lambda say: speed.run(say),
    "rules": lambda say: firewall.run(say),
    "failover": lambda say: failover.run(say=say),
    "prefixd": lambda say: prefixd.run(),
    "roam": lambda say: roam.run(say),
    "instructions": lambda say: roam_instructions.run(say),
    "ipv6": lambda say: {**ipv6.run(say), **ipv6_walks.run(say)},
    "mostly": lambda say: mostly_withdraw.run(say),
    "babel": lambda say: babel.run(say),
    "reach": lambda say: reach.run(say=say),
}
OF_SPEED = {f"speed.{group}": group for group in GROUPS}  # parts of that part, measured in one run


def table(figures: dict[str, float], before: dict[str, float]) -> str:
    """Return the figures as lines for people, with their goals, and with those of another run."""
    old = f"{'BEFORE':>10} " if before else ""
    lines = [f"{'FIGURE':32} {old}{'MEDIAN':>10} {'':4} {'GOAL':>8}       MEANING"]
    for goal in GOALS:
        if goal.key in figures:
            figure = figures[goal.key]
            mark = "    " if goal.bound == "-" else "ok  " if goal.is_met(figure) else "MISS"
            other = before.get(goal.key)
            old = f"{'-' if other is None else goal.shown(other):>10} " if before else ""
            words = f"{goal.shown(figure):>10} {goal.unit:4} {goal.bound:>8} {mark}  {goal.meaning}"
            lines.append(f"{goal.key:32} {old}{words}")
    return "\n".join(lines)


def read_figures(path: str) -> dict[str, float]:
    """Of an earlier run. Raises RuntimeError when it is no such file."""
    try:
        figures = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise RuntimeError(f"{path} is no result of this bench: {error}") from error
    if not isinstance(figures, dict) or not all(type(value) in (int, float) for value in figures.values()):
        raise RuntimeError(f"{path} is no result of this bench")
    return figures


def plan(parts: list[str], quick: bool) -> dict[str, Callable[..., dict[str, float]]]:
    """What to run by these names: the parts of speed together, as one."""
    chosen = {part: PARTS[part] for part in parts if part in PARTS}
    groups = [OF_SPEED[part] for part in parts if part in OF_SPEED]
    if groups or "speed" in chosen:
        wanted = list(GROUPS) if "speed" in chosen else groups
        chosen["speed"] = lambda say: speed.run(say, wanted, quick)
    return chosen


def main() -> int:
    parser = Parser(prog="make bench", description=__doc__.split("\n", 1)[0])
    known = [*PARTS, *OF_SPEED]
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(known)}")
    parser.add_argument(
        "--quick", action="store_true", help="of speed: one short round, to see that it works"
    )
    parser.add_argument(
        "--compare", metavar="FILE", help="build/bench.json of an earlier run, to show beside"
    )
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    unknown = [part for part in parts if part not in known]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}, known are {', '.join(known)}")
    before = read_figures(options.compare) if options.compare else {}
    figures: dict[str, float] = {}
    for part, run in plan(parts, options.quick).items():
        begun = time.monotonic()
        print(f"bench: {part}", flush=True)
        figures |= run(lambda line: print(f"  {line}", flush=True))
        print(f"bench: {part} took {time.monotonic() - begun:.0f} s", flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\n{table(figures, before)}\n\n{os.path.relpath(RESULT)}")
    return 0 if all(goal.is_met(figures[goal.key]) for goal in GOALS if goal.key in figures) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (RuntimeError, OSError) as error:
        sys.exit(f"bench: {error}")
