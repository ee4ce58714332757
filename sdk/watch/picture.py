# SPDX-License-Identifier: ISC
"""What the page is told of a lab, and what has changed between two pictures, in sentences. Pure.

A picture is {"name", "nodes", "links", "clients"}, each list's members with a "name":
node    role, alive, missing (programs), exit (a node's name or None), why
link    a, b (nodes), cut, costs (babel's at a and at b; None where it has no neighbour)
client  node (or None), home, served (whether the roaming daemon there does), address, and of its connection to the
        internet: stall_ms (since the oldest question without an answer), longest_ms, breaks (connections that ended)
"""

from collections.abc import Callable, Iterator

STALL_MS = 300  # what is told of, as people notice it
Picture = dict


def stalled_for(before: dict, after: dict) -> str:
    """A sentence about a stall that has ended."""
    is_the_same = before["breaks"] == after["breaks"]
    if is_the_same and before["stall_ms"] > after["stall_ms"] and before["stall_ms"] >= STALL_MS:
        return f"{after['name']}: its connection goes on, after {before['stall_ms'] / 1000:.1f} s"
    return ""


def broken(before: dict, after: dict) -> str:
    return f"{after['name']}: its connection broke" if after["breaks"] > before["breaks"] else ""


def walked(before: dict, after: dict) -> str:
    if before["node"] == after["node"]:
        return ""
    return f"{after['name']} walks from {before['node'] or 'nowhere'} to {after['node'] or 'nowhere'}"


def powered(before: dict, after: dict) -> str:
    if before["alive"] == after["alive"]:
        return ""
    return f"{after['name']} is {'on again' if after['alive'] else 'off'}"


def changed_exit(before: dict, after: dict) -> str:
    if before["exit"] == after["exit"] or not after["alive"]:
        return ""
    return f"{after['name']} uses {after['exit'] or 'no exit'}: {after['why'] or 'prefixd does not answer'}"


def was_cut(before: dict, after: dict) -> str:
    if before["cut"] == after["cut"]:
        return ""
    return f"link {after['name']} is {'cut' if after['cut'] else 'mended'}"


TOLD: dict[str, tuple[Callable[[dict, dict], str], ...]] = {
    "nodes": (powered, changed_exit),
    "links": (was_cut,),
    "clients": (walked, broken, stalled_for),
}


def changes(before: Picture, after: Picture) -> Iterator[str]:
    """Yield a sentence for each thing that has changed."""
    for kind, tellers in TOLD.items():
        known = {each["name"]: each for each in before.get(kind, ())}
        for each in after[kind]:
            if each["name"] in known:
                yield from filter(None, (tell(known[each["name"]], each) for tell in tellers))
