# SPDX-License-Identifier: ISC
"""The relay's configuration: listeners as lines of text for reach-relay (relay.c), which does the work.

It is a program of its own, not a thread in the interpreter. At 5,000 connections what counts is the memory of one. A
router can have it without Python. When it is reloaded, nothing of ours has to stay alive for its connections.
"""

from collections.abc import Iterable

from reach.plan import Listener


def config_text(listeners: Iterable[Listener]) -> str:
    """One line for each listener: protocol, address, ports, target, its first port, then what is asked for."""
    lines = []
    for each in listeners:
        first, last = each.ports
        words = [each.protocol, str(each.listen), f"{first}-{last}", str(each.target), str(each.target_port)]
        words += [f"idle={each.idle_s}", f"limit={each.limit}"]
        words += [f"proxy={each.proxy}"] if each.proxy else []
        words += [f"from={source}" for source in each.sources]
        lines.append(" ".join(words))
    return "".join(f"{line}\n" for line in lines)
