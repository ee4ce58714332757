# SPDX-License-Identifier: ISC
"""The figures that are promised, of all that was measured. A key is there if what it needs was."""

import statistics
from collections.abc import Callable, Iterator

from bench.speed.cells import PLAIN, ROAMED, Cell, Found, Ratio, cost, pairs, quartiles, rate
from bench.speed.loads import Sample

Figure = Callable[[Sample], float]

# key, group, load, variant, against, of what: all of the same round
RATIOS: tuple[tuple[str, str, str, str, str, Figure], ...] = (
    ("tcp_one_vs_plain", "one", "tcp1", "fast", PLAIN, rate),
    ("tcp_one_vs_plain_cpu", "one", "tcp1", "fast", PLAIN, cost),
    ("tcp_two_vs_plain", "two", "tcp1", "fast", PLAIN, rate),
    ("tcp_two_vs_plain_cpu", "two", "tcp1", "fast", PLAIN, cost),
    ("tcp_lab_vs_plain", "lab", "tcp1", "fast", PLAIN, rate),
    ("tcp_lab_vs_plain_cpu", "lab", "tcp1", "fast", PLAIN, cost),
    ("udp_mixed_vs_plain", "two", "udp64_mixed", "fast", PLAIN, rate),
    ("udp_mixed_vs_plain_cpu", "two", "udp64_mixed", "fast", PLAIN, cost),
    ("udp64_lab_vs_plain", "lab", "udp64", "fast", PLAIN, rate),
    ("connect_two_vs_plain", "two", "connect", "fast", PLAIN, rate),
    ("connect_lab_vs_plain_cpu", "lab", "connect", "fast", PLAIN, cost),  # an exit limits how many there are
    ("tcp_vs_tayga", "two", "tcp1", "fast", "tayga", rate),
    ("tcp_vs_new_tayga", "two", "tcp1", "fast", "tayga_new", rate),
    ("user_tcp_vs_tayga", "two", "tcp1", "siit", "tayga", rate),
    ("user_udp_mixed_vs_tayga", "two", "udp64_mixed", "siit", "tayga", rate),
    ("user_tcp1_vs_plain", "two", "tcp1", "siit", PLAIN, rate),
    ("user_tcp1_vs_plain_cpu", "two", "tcp1", "siit", PLAIN, cost),
    ("user_tcp8_vs_plain", "two", "tcp8", "siit", PLAIN, rate),
    ("user_udp_mixed_vs_plain", "two", "udp64_mixed", "siit", PLAIN, rate),
)
FRAGMENTED = ("lab", "udp1400")  # no order is promised of what a mesh's MTU cuts
# key, variant and links, against plain IPv6 over links that merge packets into lists
MERGED = (
    ("fraglist_cpu", "fast", "list"),
    ("fraglist_user_cpu", "siit", "gro"),  # `rx-gro-list off`, as the roles of a node have it
    ("fraglist_listed_cpu", "siit", "list"),  # as it would be without the roles
)


def against_plain(found: Found, roamed: int) -> list[float]:
    """What a small packet costs against a plain one while so many have roamed; in each round."""
    fast, plain = (Cell("roamed", "udp64_mixed", variant, roamed=roamed) for variant in ("fast", PLAIN))
    return pairs(found, fast, plain, cost)


def ratios(found: Found) -> dict[str, Ratio]:
    """By key, without "speed."."""
    made: dict[str, list[float]] = {}
    for key, group, load, variant, other, figure in RATIOS:
        made[key] = pairs(found, Cell(group, load, variant), Cell(group, load, other), figure)
    plain = Cell("gro", "tcp1", PLAIN, "list")
    for key, variant, links in MERGED:
        made[key] = pairs(found, Cell("gro", "tcp1", variant, links), plain, cost)
    few = against_plain(found, ROAMED[0])
    for count in ROAMED[1:]:
        both = zip(against_plain(found, count), few, strict=False)
        made[f"roamed_{count}_cpu"] = [many / one for many, one in both]
    return {key: quartiles(values) for key, values in made.items() if values}


def added_us(found: Found) -> Iterator[tuple[str, float]]:
    """What translations add to a round trip: its median, and its 99th percentile."""
    for group in ("one", "two", "lab"):
        plain = found.get(Cell(group, "trips", PLAIN))
        for name, variant in (("rtt", "fast"), ("user_rtt", "siit")):
            mine = found.get(Cell(group, "trips", variant))
            if plain and mine:
                both = list(zip(mine, plain, strict=True))
                yield f"{name}_{group}_us", statistics.median(a.rate - b.rate for a, b in both)
                yield f"{name}_{group}_p99_us", statistics.median(a.worst - b.worst for a, b in both)


def figures(found: Found) -> dict[str, float]:
    made = {key: round(ratio.median, 3) for key, ratio in ratios(found).items()}
    made |= {key: round(us, 1) for key, us in added_us(found)}
    whole = [
        cell for cell in found if cell.variant in ("siit", "fast") and (cell.group, cell.load) != FRAGMENTED
    ]
    ours = [each for cell in whole for each in found[cell]]
    made["reordered"] = sum(each.reordered for each in ours)
    made["damaged"] = sum(each.damaged for each in ours)
    return {f"speed.{key}": figure for key, figure in made.items()}
