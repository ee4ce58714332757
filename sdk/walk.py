# SPDX-License-Identifier: ISC
"""A client of the lab walks while its connections are open, and what became of them.

A handoff is the time from the association with the new node until the first packet that the client sent from there
was let through: when it came back, less the shortest round trip from there. What waits in queues on the way counts.
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
from sdk.patience import SLOWER

SETTLED_S = 0.15  # after an association until round trips are as ever
END_S = 30.0 * SLOWER


@dataclass(frozen=True)
class Handoff:
    """One roam: to which node, when it was associated (monotonic, s), how long until the first packet passed (ms).

    ms is None if nothing passed before the next roam.
    """

    node: str
    at_s: float
    ms: float | None


@dataclass(frozen=True)
class Walked:
    """What a walk's `talk` came to."""

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


class Walker:
    """A program of sdk.walker on a client, as a context: it is under way inside, and tells at the end."""

    def __init__(self, lab: Lab, client: str, *words: str):
        self.lab, self.client, self.words = lab, client, words

    def __enter__(self) -> "Walker":
        self.process = self.lab.popen(
            self.client,
            ["python", "-m", "sdk.walker", *self.words],
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
        """End it and return what it tells. Raises LabError if it tells nothing."""
        try:
            said, errors = self.process.communicate(timeout=END_S)
            return json.loads(said)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.client}: {self.words[0]} did not end") from None
        except ValueError:
            raise LabError(f"{self.client}: {self.words[0]}: {errors.strip() or 'no result'}") from None


def talk(lab: Lab, client: str, connections: int = 1, pause_ms: float = 50, pulse_ms: float = 4) -> Walker:
    options = [f"--connections={connections}", f"--pause-ms={pause_ms:g}", f"--pulse-ms={pulse_ms:g}"]
    return Walker(lab, client, "talk", ECHO, "7", *options)


def walk(lab: Lab, client: str, steps: list[tuple[str, float]], hard: bool = True) -> list[tuple[str, float]]:
    """Go to each node and stay there for so many seconds; return nodes and times of association."""
    roams = []
    for node, stay_s in steps:
        roams.append((node, lab.roam(client, node, hard=hard)))
        time.sleep(stay_s)
    return roams


def walked(result: dict, roams: list[tuple[str, float]]) -> Walked:
    """Return what the result of `talk` says of these roams. Pure."""
    pulse = [(sent_s, back_s) for sent_s, back_s in result["pulse"]]
    echoed = [(sent_s, back_s) for sent_s, back_s in pulse if back_s is not None]
    usual_s = statistics.median(back_s - sent_s for sent_s, back_s in echoed) if echoed else 0.0
    visits = list(visits_of(echoed, roams))
    quiet: dict[str, list[float]] = {}
    for node, at_s, visit in visits:
        times = [back_s - sent_s for sent_s, back_s in visit if sent_s >= at_s + SETTLED_S]
        quiet.setdefault(node, []).extend(times)
    handoffs = []
    for node, at_s, visit in visits:
        rtt_s = min(quiet[node], default=usual_s)
        back_s = min((back_s for _, back_s in visit), default=None)
        ms = None if back_s is None else max(0.0, back_s - at_s - rtt_s) * 1000
        handoffs.append(Handoff(node, at_s, ms))
    return Walked(handoffs, result["connections"], len(pulse), len(pulse) - len(echoed), usual_s * 1000)


def visits_of(
    echoed: list[tuple[float, float]], roams: list[tuple[str, float]]
) -> Iterator[tuple[str, float, list[tuple[float, float]]]]:
    """Yield for each roam what was sent and came back before the next one."""
    for (node, at_s), (_, end_s) in zip(roams, [*roams, ("", math.inf)][1:], strict=True):
        first = bisect_left(echoed, (at_s, 0.0))
        last = bisect_left(echoed, (end_s, 0.0))
        yield node, at_s, [pair for pair in echoed[first:last] if pair[1] < end_s]
