# SPDX-License-Identifier: ISC
"""What daemons say of themselves as Prometheus' text. Pure; cli.py asks them.

Names and units are Prometheus' conventions: a counter ends with _total.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """kind: counter or gauge; labels: name and value."""

    name: str
    kind: str
    about: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def of_version(version: str) -> Iterator[Sample]:
    yield Sample("xlat464_info", "gauge", "the version", 1, (("version", version),))


def of_role(role: str, is_up: bool) -> Iterator[Sample]:
    yield Sample("xlat464_role_up", "gauge", "whether the role is up", int(is_up), (("role", role),))


def of_conntrack(count: int, limit: int) -> Iterator[Sample]:
    yield Sample("xlat464_conntrack_entries", "gauge", "entries of connection tracking", count)
    yield Sample("xlat464_conntrack_entries_limit", "gauge", "how many there may be", limit)


def of_siit(status: Status) -> Iterator[Sample]:
    for device in status["devices"]:
        for event, value in device.get("counters", {}).items():
            labels = (("device", device["name"]), ("event", event))
            yield Sample(
                "xlat464_translator_events_total", "counter", "packets by what became of them", value, labels
            )


def of_prefixd(status: Status) -> Iterator[Sample]:
    yield Sample("xlat464_exits", "gauge", "exits (PLATs) with a route", status["candidates"])
    yield Sample(
        "xlat464_exit_chosen", "gauge", "whether there is an exit in use", int(status["chosen"] is not None)
    )
    for plat in status["plats"]:
        labels = (("plat", plat["prefix"]),)
        yield Sample("xlat464_exit_metric", "gauge", "babel's metric of an exit", plat["metric"], labels)
        yield Sample(
            "xlat464_exit_good", "gauge", "whether an exit answers", int(plat["state"] == "good"), labels
        )
    for event, value in status["probe_counts"].items():
        yield Sample("xlat464_probes_total", "counter", "probes of exits", value, (("event", event),))


def of_roaming(status: Status) -> Iterator[Sample]:
    states = Counter(client["state"].lower() for client in status["clients"])
    for state in ("claiming", "roaming", "served", "absent", "restored"):
        yield Sample("xlat464_clients", "gauge", "clients by state", states[state], (("state", state),))
    if "roams_total" in status:
        yield Sample(
            "xlat464_mapped_homes", "gauge", "homes that this exit maps to elsewhere", status["roams_total"]
        )
    counters = status["counters"]
    yield Sample(
        "xlat464_roams_total", "counter", "clients that walked to this node", counters.get("roams", 0)
    )
    for event, value in counters.items():
        if event != "roams":
            yield Sample(
                "xlat464_roaming_events_total", "counter", "events of roaming", value, (("event", event),)
            )


def text(samples: Iterable[Sample]) -> str:
    """Return the samples in the text format, those of a name together."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    lines = []
    for name, found in by_name.items():
        lines += [f"# HELP {name} {found[0].about}", f"# TYPE {name} {found[0].kind}"]
        for sample in found:
            labels = ",".join(f'{label}="{escape(value)}"' for label, value in sample.labels)
            lines.append(f"{name}{f'{{{labels}}}' if labels else ''} {number(sample.value)}")
    return "".join(f"{line}\n" for line in lines)


def escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """Counters are whole, however large."""
    return str(int(value)) if value == int(value) else repr(value)
