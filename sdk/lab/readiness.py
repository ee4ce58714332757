# SPDX-License-Identifier: ISC
"""When a lab is ready: every client has a lease and an answer from the internet, every clatnode a PLAT that answers."""

import time
from pathlib import Path

from sdk.interrupt import raise_missed
from sdk.lab.base import LabBase
from sdk.lab.machine import LabError
from sdk.lab.plan import clatnodes
from sdk.timeouts import TIMEOUT_SCALE

READY_S = 60.0 * TIMEOUT_SCALE


def wait_ready(lab: LabBase, deadline_s: float) -> float:
    """Wait until nothing is missing; return the seconds it took. Raises LabError with what is still missing."""
    begun = told = time.monotonic()
    seen: set[str] = set()
    while lacking := missing(lab, seen):
        now = time.monotonic()
        if now > begun + deadline_s:
            raise LabError(f"not ready after {deadline_s:g} s, still missing: {', '.join(lacking)}")
        if now > told + 2:
            lab.log(f"waiting for {', '.join(lacking)}")
            told = now
        time.sleep(0.1)
        raise_missed()
    return time.monotonic() - begun


def missing(lab: LabBase, seen: set[str]) -> list[str]:
    """Return what clients and clatnodes still lack for IPv4, in words; an empty list if all is ready.

    seen collects what was there; it is not checked again, because on lossy links some ping always fails.
    """
    clients, nodes = list(lab.plan.clients), [node.name for node in clatnodes(lab.topology)]
    leased = [client.name for client in lab.topology.clients if not client.handset]
    for sentence, names, has in (
        ("a lease for {}", leased, lab.lease),
        ("a PLAT for {}", nodes, lab.plat_of),
        ("a way back to {}", nodes, lambda node: has_way_back(lab, node)),
        ("an answer from the internet for {}", clients, lab.is_answered),
    ):
        wanted = {sentence.format(name): name for name in names}
        seen |= {what for what, name in wanted.items() if what not in seen and has(name)}
        if lacking := [what for what in wanted if what not in seen]:
            return lacking
    return []


def has_way_back(lab: LabBase, node: str) -> bool:
    """Whether the platnode that a clatnode uses has babel's route to it: the last one to come."""
    platnode, prefix = lab.plat_of(node), lab.plan.clat_prefix(lab.node(node))
    if platnode is None or platnode == node or platnode not in lab.running.pids:
        return platnode is not None
    routes = Path(f"/proc/{lab.running.pids[platnode]}/net/ipv6_route").read_text()
    return f"{prefix.hex()} 60 " in routes  # a /96
