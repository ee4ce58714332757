# SPDX-License-Identifier: ISC
"""Let a client of the lab roam while its connections are open, and evaluate what they measured.

A handoff begins with the association with the new node. It ends when the first packet that the client sent there has
passed: that is when its echo came back, less the shortest round trip. Time in queues counts.
"""

import json
import math
import statistics
import subprocess
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from sdk.lab import ECHO, Lab, LabError
from sdk.timeouts import TIMEOUT_SCALE

STABLE_S = 0.15  # after an association until round trips are as ever
END_S = 30.0 * TIMEOUT_SCALE


@dataclass(frozen=True)
class Handoff:
    """One roam: to which node, when it was associated (monotonic, s), how long until the first packet passed (ms).

    ms is None if nothing passed before the next roam.
    """

    node: str
    at_s: float
    ms: float | None


@dataclass(frozen=True)
class RoamingResult:
    """What `echo_traffic` measured during a series of roams."""

    handoffs: list[Handoff]
    connections: list[dict]
    sent: int
    lost: int
    rtt_ms: float

    @property
    def broken(self) -> list[str]:
        return [each["error"] for each in self.connections if each["error"]]

    @property
    def longest_stall_ms(self) -> float:
        return max((each["stall_s"] for each in self.connections), default=0.0) * 1000


class TrafficProgram:
    """A program of sdk.traffic on a client: it runs as long as the context."""

    def __init__(self, lab: Lab, client: str, *words: str):
        self.lab, self.client, self.words = lab, client, words

    def __enter__(self) -> "TrafficProgram":
        self.process = self.lab.popen(
            self.client,
            ["python", "-m", "sdk.traffic", *self.words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline() if self.process.stdout else ""
        if line != "ready\n":
            said = line or self.process.communicate()[1].strip()
            self.__exit__()
            raise LabError(f"{self.client}: {' '.join(self.words)}: {said.strip() or 'did not start'}")
        return self

    def __exit__(self, *exception) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def end(self) -> dict:
        """End it and return its result. Raises LabError if there is none."""
        try:
            said, errors = self.process.communicate(timeout=END_S)
            return json.loads(said)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.client}: {self.words[0]} did not end") from None
        except ValueError:
            raise LabError(f"{self.client}: {self.words[0]}: {errors.strip() or 'no result'}") from None


def echo_traffic(
    lab: Lab, client: str, connections: int = 1, pause_ms: float = 50, datagram_ms: float = 4
) -> TrafficProgram:
    options = [f"--connections={connections}", f"--pause-ms={pause_ms:g}", f"--datagram-ms={datagram_ms:g}"]
    return TrafficProgram(lab, client, "echo", ECHO, "7", *options)


def roam_through(
    lab: Lab, client: str, steps: list[tuple[str, float]], hard: bool = True
) -> list[tuple[str, float]]:
    """Go to each node and stay there for so many seconds; return nodes and times of association."""
    roams = []
    for node, stay_s in steps:
        roams.append((node, lab.roam(client, node, hard=hard)))
        time.sleep(stay_s)
    return roams


def evaluate(result: dict, roams: list[tuple[str, float]]) -> RoamingResult:
    """Return what the result of `echo_traffic` says of these roams. Pure."""
    datagrams = [(sent_s, back_s) for sent_s, back_s in result["datagrams"]]
    echoed = [(sent_s, back_s) for sent_s, back_s in datagrams if back_s is not None]
    usual_s = statistics.median(back_s - sent_s for sent_s, back_s in echoed) if echoed else 0.0
    stays = list(stays_of(echoed, roams))
    stable: dict[str, list[float]] = {}
    for node, at_s, stay in stays:
        times = [back_s - sent_s for sent_s, back_s in stay if sent_s >= at_s + STABLE_S]
        stable.setdefault(node, []).extend(times)
    handoffs = []
    for node, at_s, stay in stays:
        rtt_s = min(stable[node], default=usual_s)
        back_s = min((back_s for _, back_s in stay), default=None)
        ms = None if back_s is None else max(0.0, back_s - at_s - rtt_s) * 1000
        handoffs.append(Handoff(node, at_s, ms))
    return RoamingResult(
        handoffs, result["connections"], len(datagrams), len(datagrams) - len(echoed), usual_s * 1000
    )


def stays_of(
    echoed: list[tuple[float, float]], roams: list[tuple[str, float]]
) -> Iterator[tuple[str, float, list[tuple[float, float]]]]:
    """Yield for each roam what was sent and came back before the next one."""
    for (node, at_s), (_, end_s) in zip(roams, [*roams, ("", math.inf)][1:], strict=True):
        first = bisect_left(echoed, (at_s, 0.0))
        last = bisect_left(echoed, (end_s, 0.0))
        yield node, at_s, [pair for pair in echoed[first:last] if pair[1] < end_s]
