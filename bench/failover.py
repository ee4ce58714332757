# SPDX-License-Identifier: ISC
"""How long clients are without new connections when the exit in use is lost, in the diamond with stock babeld.

silent every link of the platnode loses all frames, as when its power fails withdrawn `464xlat plat down` on it: its
route goes, and it says so

From the moment it is done until a new TCP connection of a client has echoed a byte. Each round waits until the
better exit is in use again.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from sdk.demo import all_chosen
from sdk.lab import Lab, load_topology
from sdk.phone import Phone

ROUNDS = 5
WITHIN_S = 30.0


def run(rounds: int = ROUNDS, say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
    """Return the medians in milliseconds. Raises LabError or DemoError when the lab does not do as it should."""
    diamond = load_topology("diamond")
    # a client keeps the exit of its lease while its node changes: here it is to use the one that is lost
    diamond = replace(diamond, settings=replace(diamond.settings, roaming=False))
    with Lab(diamond, name=f"bench-{os.getpid()}", log=say) as lab:
        lab.wait_ready()
        phone = Phone(lab, "phone")
        results: dict[str, list[float]] = {"silent": [], "withdrawn": []}
        for i in range(rounds):
            for way, (lose, restore) in WAYS.items():
                all_chosen(lab)
                plat = phone.plat()
                assert plat, "all have chosen"
                begun = time.monotonic()
                lose(lab, plat)
                results[way].append(phone.connect_anew(begun, WITHIN_S) * 1000)
                say(
                    f"{way} {i + 1} of {rounds}: {plat} lost, connections again after {results[way][-1]:.0f} ms"
                )
                restore(lab, plat)
    return {f"prefixd.failover_{way}_ms": round(statistics.median(ms)) for way, ms in results.items()}


def links_of(lab: Lab, node: str) -> list[str]:
    return [cable.name for cable in lab.cables.values() if cable.has_end_at(node)]


def cut_off(lab: Lab, node: str) -> None:
    for link in links_of(lab, node):
        lab.cut(link)


def join(lab: Lab, node: str) -> None:
    for link in links_of(lab, node):
        lab.heal(link)


def plat_down(lab: Lab, node: str) -> None:
    lab.exec(node, ["464xlat", "plat", "down"])


def plat_up(lab: Lab, node: str) -> None:
    lab.exec(
        node, ["464xlat", "plat", "up", *lab.plan.role_options(lab.node(node)), *lab.plan.plat_options()]
    )


WAYS = {"silent": (cut_off, join), "withdrawn": (plat_down, plat_up)}

if __name__ == "__main__":
    print(json.dumps(run(say=lambda line: print(line, flush=True)), indent=1))
