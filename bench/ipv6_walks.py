# SPDX-License-Identifier: ISC
"""IPv6 of clients that walk: the longest time without an answer, of 100 echoes a second, from one walk to the next.

The mesh are the twelve nodes that ship. Each client asks another node, and walks to any clatnode, next door or not. The
same with nothing sent on: what babel alone takes.
"""

import itertools
import math
import os
import random
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Callable

from sdk.lab import Lab
from sdk.lab.plan import clatnodes
from sdk.lab.topology_reader import load_topology

ASKED = {  # who asks which node
    "ada": "n04",
    "bob": "n10",
    "cem": "n08",
    "dora": "n02",
    "emil": "n12",
    "fritz": "n01",
    "gina": "n06",
    "hans": "n08",
}
WALKS, STAY_S = 3, 40.0  # of each; longer than its old node sends on what comes for it
PLAIN_WALKS, PLAIN_STAY_S = 2, 16.0
ECHO_S = 0.01
CONVERGED_S = 20.0  # babel, once all is up
REPLY = re.compile(r"^\[(\d+\.\d+)\] .*icmp_seq=")


class Echoes:
    """When a client's echoes were answered, by time.time()."""

    def __init__(self, lab: Lab, client: str, node: str):
        words = ["ping", "-6", "-n", "-D", "-i", str(ECHO_S), lab.plan.node_address(lab.node(node))]
        self.answered_s: list[float] = []
        self.process = lab.popen(client, words, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := REPLY.match(line):
                self.answered_s.append(float(found[1]))

    def longest_gap_ms(self, begin_s: float, end_s: float) -> float:
        """Return the longest time without an answer; what was answered last before begins it."""
        before = [at_s for at_s in self.answered_s if at_s <= begin_s][-1:]
        times = [*before, *(at_s for at_s in self.answered_s if begin_s < at_s < end_s), end_s]
        return 1000 * max(later_s - at_s for at_s, later_s in itertools.pairwise(times))


def run(say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
    """Return what the module's text lists. Raises LabError when the lab does not do as it should."""
    gaps, plain = walk(WALKS, STAY_S, say), walk(PLAIN_WALKS, PLAIN_STAY_S, say, "off")
    return {
        "ipv6.walk_gap_p50_ms": round(statistics.median(gaps)),
        "ipv6.walk_gap_p95_ms": round(p95(gaps)),
        "ipv6.walk_gap_plain_p95_ms": round(p95(plain)),
    }


def p95(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def walk(walks: int, stay_s: float, say: Callable[[str], None], send_on: str = "on") -> list[float]:
    """Return the gap of each walk in ms."""
    with Lab(load_topology("mesh12"), name=f"bench-{os.getpid()}", log=say) as lab:
        lab.wait_ready()
        nodes = clatnodes(lab.topology)
        for node in nodes if send_on == "off" else []:
            command = lab.plan.l3roamd(node)
            command[command.index("--send-on") + 1] = send_on
            lab.running.stop(node.name, "l3roamd")
            lab.programs.start_l3roamd(node, command)
        time.sleep(CONVERGED_S)
        echoes = {client: Echoes(lab, client, node) for client, node in ASKED.items()}
        time.sleep(stay_s / len(ASKED))
        walked, chance = [], random.Random(1)
        for turn in range(walks * len(ASKED)):
            client = list(ASKED)[turn % len(ASKED)]
            places = [node.name for node in nodes if node.name != lab.node_of(client)]
            walked.append((client, time.time()))
            lab.roam(client, chance.choice(places), hard=True)
            time.sleep(stay_s / len(ASKED))
        time.sleep(stay_s)
        gaps = [echoes[client].longest_gap_ms(begun_s, begun_s + stay_s) for client, begun_s in walked]
        shown = " ".join(str(round(gap)) for gap in sorted(gaps))
        say(f"ipv6: {len(gaps)} walks with --send-on {send_on}: {shown} ms")
        return gaps
