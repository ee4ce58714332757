# SPDX-License-Identifier: ISC
"""What daemons say of themselves as Prometheus' text. Pure; cli.py asks them.

Names and units are Prometheus' conventions: a counter ends with _total.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Status = Mapping[str, Any]
HANDOFF_MS = (10, 25, 50, 100, 250, 500, 1000)  # as l3roamd_py.core.act counts them
# of siit's counters; every other one that is no packets and no bytes tells of packets that were dropped
NOT_DROPS = {
    "translated",
    "fragmented",
    "translated_in_kernel",
    "reassembled",
    "coalesced",
    "icmp_sent",
    "icmp_suppressed",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """kind: counter, gauge or histogram; labels: name and value; part: of a histogram, behind its name."""

    name: str
    kind: str
    about: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    part: str = ""


def of_version(version: str) -> Iterator[Sample]:
    yield Sample("xlat464_info", "gauge", "the version", 1, (("version", version),))


def of_role(role: str, is_up: bool) -> Iterator[Sample]:
    yield Sample("xlat464_role_up", "gauge", "whether the role is up", int(is_up), (("role", role),))


def of_conntrack(count: int, limit: int) -> Iterator[Sample]:
    yield Sample("xlat464_conntrack_entries", "gauge", "entries of connection tracking", count)
    yield Sample("xlat464_conntrack_entries_limit", "gauge", "how many there may be", limit)


def of_siit(status: Status) -> Iterator[Sample]:
    for device in status["devices"]:
        for name, value in device.get("counters", {}).items():
            yield _of_counter(device["name"], name, value)


def _of_counter(device: str, name: str, value: int) -> Sample:
    """name: as `siit stat` has it; in4_bytes is what came in as IPv4."""
    way, _, unit = name.partition("_")
    if way in ("in4", "in6", "out4", "out6"):
        labels = (("device", device), ("way", way))
        return Sample(
            f"xlat464_translator_{unit}_total", "counter", f"{unit} that came and went", value, labels
        )
    if name in NOT_DROPS:
        labels = (("device", device), ("event", name))
        return Sample("xlat464_translator_events_total", "counter", "what was done", value, labels)
    labels = (("device", device), ("reason", name))
    return Sample("xlat464_translator_dropped_packets_total", "counter", "packets dropped", value, labels)


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
    yield from of_handoffs(counters)
    for event, value in counters.items():
        if event != "roams" and not event.startswith("handoffs_"):
            yield Sample(
                "xlat464_roaming_events_total", "counter", "events of roaming", value, (("event", event),)
            )


def of_handoffs(counters: Mapping[str, int]) -> Iterator[Sample]:
    """How long clients that came from another node waited for their IPv4: counters by upper bounds in ms."""

    def sample(part: str, value: float, *labels: tuple[str, str]) -> Sample:
        about = "from the CLAIM of a client that comes until its connections go on"
        return Sample("xlat464_handoff_seconds", "histogram", about, value, labels, part)

    total = 0
    for bound_ms in HANDOFF_MS:
        total += counters.get(f"handoffs_to_{bound_ms}_ms", 0)
        yield sample("_bucket", total, ("le", number(bound_ms / 1000)))
    total += counters.get("handoffs_longer", 0)
    yield sample("_bucket", total, ("le", "+Inf"))
    yield sample("_sum", counters.get("handoffs_ms", 0) / 1000)
    yield sample("_count", total)


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
            lines.append(f"{name}{sample.part}{f'{{{labels}}}' if labels else ''} {number(sample.value)}")
    return "".join(f"{line}\n" for line in lines)


def escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """Counters are whole, however large."""
    return str(int(value)) if value == int(value) else repr(value)
