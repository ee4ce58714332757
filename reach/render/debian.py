# SPDX-License-Identifier: ISC
"""For ifupdown: /etc/network/interfaces.d/reach, the firewall as a file for nft, and units for what stays running."""

from reach.firewall import ruleset_text
from reach.plan import Plan
from reach.render import flows, systemd
from reach.render.commands import Command, File, Place, all_or_nothing, commands, configs, names, undo_file

FIRST = "lo"  # what belongs to no link comes with the loopback device, which is always up


def render(plan: Plan, place: Place) -> list[File]:
    found = commands(plan, place)
    links = [each.name for each in plan.devices if each.name in names(plan)]
    if not links:
        links = ["reach"] if found else []
    of_links = {name: [each for each in found if belongs(each, name, links)] for name in links}
    parts = [stanza(name, mine, place.undo(name)) for name, mine in of_links.items()]
    text = "# SPDX-License-Identifier: ISC\n# rendered by reach for " + plan.end + "\n" + "".join(parts)
    files = [File("/etc/network/interfaces.d/reach", text)] if parts else []
    files += [undo_file(place.undo(name), mine) for name, mine in of_links.items()]
    if plan.firewall:
        files += [File(place.ruleset, ruleset_text(plan.firewall)), *flows.files(plan, place)]
    return files + configs(plan, place) + systemd.service_units(plan, place, "networking.service")


def belongs(command: Command, name: str, links: list[str]) -> bool:
    """What belongs to no link of ours comes with the last one, when all are there; outer addresses with the first."""
    if command.device in links:
        return command.device == name
    is_first = command.up.startswith("ip addr")
    return name == (links[0] if is_first else links[-1])


def stanza(name: str, found: list[Command], undo: str) -> str:
    """One interface. An ifup that fails has taken back what it did: nobody says ifdown after it."""
    lines = ["", f"auto {name}", f"iface {name} inet manual"]
    lines += [f"\tpre-up {line}" for line in all_or_nothing(found, undo)]
    return "\n".join([*lines, f"\tpost-down sh {undo}"]) + "\n"
