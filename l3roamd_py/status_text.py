# SPDX-License-Identifier: ISC
"""`l3roamd_py status`: what the daemon says about itself, for people. No I/O."""

from runtime.text import duration, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

ROWS = 40  # of each table; all of them are in --json


def render(status: "Mapping[str, Any]") -> list[str]:
    """The lines for a status as get_status gives it."""
    lines = [
        f"node      {status['address']}",
        f"CLAT      {status['clat'] or 'none'}",
        f"PLAT      {status['plat'] or 'none'}",
        "uses      " + (status["current_plat"] or "no PLAT yet: prefixd has chosen none"),
        "mesh      " + (", ".join(status["mesh"]) or "no device"),
        f"rules     {status['rules']}",
    ]
    lines += [f"          {sentence}" for sentence in status.get("rules_behind", [])]
    if status.get("translating") is not None:
        lines.append(f"hosts     {status['translating']} clients translate themselves")
    for title, head, rows in (
        (
            "clients",
            ("MAC", "STATE", "IPV4", "LEASE", "HOME", "PLAT", "TOKEN", "SEEN"),
            map(_client, status["clients"]),
        ),
        ("gone", ("MAC", "IS NOW AT", "KNOWN FOR"), map(_departed, status["departed"])),
        ("roams", ("HOME", "IS AT", "LEASE"), map(_roam, status["roams"])),
    ):
        found = list(rows)
        total = status.get(f"{title}_total", len(found))
        lines += ["", f"{title}: {total}"]
        if found:
            lines += ["  " + line for line in table([head] + found[:ROWS])]
        if total > min(ROWS, len(found)):
            lines.append(f"... and {total - min(ROWS, len(found))} more")
    counted = [(name, value) for name, value in sorted(status["counters"].items()) if value]
    lines += ["", "counters:" if counted else "counters: all zero"]
    return lines + ["  " + line for line in table([(name, f"{value:>10}") for name, value in counted])]


def _client(client: "Mapping[str, Any]") -> "Sequence[str]":
    lease = "-" if client["lease_s"] is None else duration(client["lease_s"])
    rest = (client["home"] or "-", client["plat"] or "-", "yes" if client["has_token"] else "no")
    return (
        (client["mac"], client["state"], client["ipv4"] or "-", lease) + rest + (duration(client["seen_s"]),)
    )


def _departed(departed: "Mapping[str, Any]") -> "Sequence[str]":
    return (departed["mac"], departed["place"], duration(departed["left_s"]))


def _roam(roam: "Mapping[str, Any]") -> "Sequence[str]":
    return (roam["home"], roam["at"], duration(roam["lease_s"]))
