# SPDX-License-Identifier: ISC
"""What is measured, as a table of cells, and the one loop that measures them: all in turn, round after round.

A machine's speed changes from one minute to the next, and less within a round. So a variant is compared with another
of the same round, and the median of the rounds' ratios counts; the spread is half the distance of their quartiles.
"""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from bench.speed.ends import Topology
from bench.speed.loads import LOADS, Load, Sample, carry

PLAIN = "plain"
GROUPS = ("one", "two", "gro", "lab", "roamed")
ROAMED = (1, 1000, 100_000)
WARM_S = 0.05
Say = Callable[[str], None]


@dataclass(frozen=True)
class Cell:
    """One load on one variant of a topology; links: a key of LINKS; roamed: clients that have roamed."""

    group: str
    load: str
    variant: str
    links: str = "whole"
    roamed: int = 0

    def title(self) -> str:
        links = "" if self.links == "whole" else f", links {self.links}"
        return f"{self.load}{links}" + (f", {self.roamed:,} roamed" if self.roamed else "")


@dataclass(frozen=True)
class Ratio:
    """The median of rounds, and half the distance of their quartiles."""

    median: float
    spread: float


Found = dict[Cell, list[Sample]]


def cells(group: str, variants: Iterable[str]) -> list[Cell]:
    """Of a group, in the order in which a round measures them."""
    every = list(variants)
    if group == "gro":
        return [Cell(group, "tcp1", v, links) for links in ("single", "gro", "list") for v in every]
    if group == "roamed":
        loads, both = ("tcp1", "udp64_mixed", "trips"), (PLAIN, "fast")
        return [Cell(group, load, v, roamed=count) for count in ROAMED for load in loads for v in both]
    if group == "lab":  # to change the variant there takes longer than to measure it
        return [Cell(group, load, variant) for variant in every for load in LOADS]
    return [Cell(group, load, variant) for load in LOADS for variant in every]


def measure(topology: Topology, table: list[Cell], rounds: int, seconds: float, say: Say) -> Found:
    """Measure every cell in each round. Raises BenchError, and LabError of a lab."""
    found: Found = {cell: [] for cell in table}
    for variant in dict.fromkeys(
        cell.variant for cell in table
    ):  # neighbours are found, programs are in memory
        ends = topology.use(variant, table[0].links)
        carry(LOADS["connect"], ends, topology.program, WARM_S, [])
    for number in range(rounds):
        for cell in table:
            load = LOADS[cell.load]
            ends = topology.use(cell.variant, cell.links)
            found[cell].append(carry(load, ends, topology.program, seconds, topology.daemons(cell.variant)))
            say(
                f"round {number + 1} of {rounds}, {cell.group} {cell.title()}, {cell.variant}: "
                + told(load, found[cell][-1])
            )
    return found


def told(load: Load, sample: Sample) -> str:
    lost = f", {sample.lost:.0%} lost" if sample.lost > 0.005 else ""
    worst = f" (p99 {sample.worst:.0f})" if sample.worst else ""
    return f"{sample.rate / load.scale:.2f} {load.unit}{worst}{lost}, {sample.cost:.2f} {load.cost_unit}"


def quartiles(values: list[float]) -> Ratio:
    if len(values) < 2:
        return Ratio(values[0], 0)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Ratio(middle, (high - low) / 2)


def pairs(found: Found, cell: Cell, other: Cell, figure: Callable[[Sample], float]) -> list[float]:
    """The rounds' ratios of a figure; empty where one was not measured."""
    both = zip(found.get(cell, []), found.get(other, []), strict=False)
    return [figure(one) / figure(peer) for one, peer in both if figure(one) and figure(peer)]


def rate(sample: Sample) -> float:
    return sample.rate


def cost(sample: Sample) -> float:
    return sample.cost


def against(found: Found, cell: Cell, other: str, figure: Callable[[Sample], float]) -> Ratio | None:
    """A cell against the same of another variant; None where there is no such."""
    ratios = pairs(found, cell, replace(cell, variant=other), figure)
    return quartiles(ratios) if ratios else None
