# SPDX-License-Identifier: ISC
"""Devices as text and as JSON, and how they differ from what was wanted. Pure."""

from collections.abc import Iterable, Mapping

from nat46 import checks, expect, language, listing, state
from nat46.language import ControlError, Pair
from nat46.listing import Device, Shown
from nat46.target import Statistics
from runtime.text import table

HIDDEN = "?"
MODULE_MTU_BYTES = 16384  # nat46_netdev_setup
Wanted = Mapping[str, tuple[Pair | Shown, ...]]  # Shown: of a listing that was kept, and cut
HEADINGS = ("DEVICE", "PAIR", "SIDE", "IPV4", "IPV6", "STYLE", "BITS")


def show(devices: Iterable[Device], target: str) -> list[str]:
    """Devices and pairs, one line a side, and the target; `?` where a listing is cut off."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for device in devices:
        if not device.pairs:
            rows.append((device.name, "-", "", "", "", "", ""))
        for number, pair in enumerate(device.pairs, 1):
            rows += _sides(device.name if number == 1 else "", str(number), pair)
    if len(rows) == 1:
        return [f"no device at {target}"]
    lines = [*table(rows), f"at {target}"]
    if any(HIDDEN in row for row in rows):
        lines.append(
            f"{HIDDEN}: the module's listing is cut before it, after {listing.LINE_CHARS} characters a pair"
        )
    return lines


def _sides(device: str, number: str, pair: Shown) -> list[tuple[str, ...]]:
    def cell(key: str) -> str:
        return HIDDEN if key not in pair.values else language.format_value(pair.values[key])

    rows: list[tuple[str, ...]] = []
    for side in language.SIDES:
        style = cell(f"{side}.style")
        has_bits = style in (*listing.MAP_STYLES, HIDDEN)
        bits = f"{cell(f'{side}.ea-len')}+{cell(f'{side}.psid-offset')}" if has_bits else ""
        v4, v6 = cell(f"{side}.v4"), cell(f"{side}.v6")
        rows.append((device, number, side, v4, v6, style, HIDDEN if HIDDEN in bits else bits))
        device = number = ""
    return rows


def as_json(device: Device) -> dict[str, object]:
    """A device for programs: hidden values are null, and named in `hidden`."""
    pairs: list[dict[str, object]] = []
    for pair in device.pairs:
        sides = {
            side: {name: _plain(pair, f"{side}.{name}") for name in language.RULE_KEYS}
            for side in language.SIDES
        }
        pairs.append({**sides, "hidden": [key for key in pair.hidden if key != "debug"]})
    return {"name": device.name, "debug": device.debug, "pairs": pairs}


def _plain(pair: Shown, key: str) -> str | int | None:
    value = pair.values.get(key)
    return value if value is None or isinstance(value, int) else language.format_value(value)


def statistics(device: str, counted: Statistics) -> list[str]:
    """A device's counters, those that are not zero."""
    rows = [
        ("in", f"{counted.in_packets} packets", f"{counted.in_bytes} bytes"),
        ("out", f"{counted.out_packets} packets", f"{counted.out_bytes} bytes"),
        *(
            (name, str(value), "")
            for name, value in counted.counters.items()
            if value and not name.startswith(("in", "out"))
        ),
    ]
    return [f"{device}:", *(f"  {line}" for line in table(rows))]


def read_devices(text: str) -> dict[str, tuple[Pair | Shown, ...]]:
    """The devices of a listing, or those that a text of commands makes (# is a comment).

    Raises ControlError, which names the line.
    """
    listed = _read_listing("\n".join(line for line in text.split("\n") if not line.startswith("#")))
    return dict(state.parse(text)) if listed is None else listed


def _read_listing(text: str) -> dict[str, tuple[Pair | Shown, ...]] | None:
    """The devices of a listing as a translator prints it, or None if this is not one.

    Its lines are commands as well, but those would put the pairs of a device in another order (language.show).
    """
    try:
        devices = listing.parse(text.strip("\n") + "\n\n") if text.strip() else ()
    except listing.ListingError:
        return None
    pairs = [pair for device in devices for pair in device.pairs]
    is_half = any(pair.hidden and len(pair.text) < listing.LINE_CHARS for pair in pairs)
    if is_half or not devices or not all(device.pairs for device in devices):
        return None  # `add` alone is a command, too, and makes a pair
    return {device.name: tuple(pair.pair or pair for pair in device.pairs) for device in devices}


def differences(wanted: Wanted, found: Iterable[Device]) -> list[str]:
    """What there is too little (-) and too much (+), a pair a line; empty if all is as wanted.

    What a listing hides differs from nothing.
    """
    lines: list[str] = []
    there = {device.name: device for device in found}
    for name, pairs in wanted.items():
        expected = tuple(pair if isinstance(pair, Shown) else _known(pair) for pair in pairs)
        if name not in there:
            lines += [f"-add {name}", *(f"-  {text}" for text in expect.lines(expected))]
        elif not expect.is_as(there[name].pairs, expected):
            lines += [f" add {name}", *(f"-  {text}" for text in expect.lines(expected))]
            lines += [f"+  {pair.text}" for pair in there[name].pairs]
    return lines + [f"+add {name}" for name in there if name not in wanted]


def faults_of_pairs(wanted: Wanted) -> list[str]:
    """What no translator could use in the pairs of these devices."""
    return [
        f"{name}: pair {number}: {fault}"
        for name, pairs in wanted.items()
        for number, pair in enumerate(pairs, 1)
        for fault in _faults(pair.values if isinstance(pair, Shown) else _known(pair))
    ]


def _known(pair: Pair) -> listing.Known:
    return dict(language.changes_of(pair))


def faults_of_device(device: Device, mtu_bytes: int) -> list[str]:
    """What is wrong with a device that there is."""
    faults = []
    if mtu_bytes == MODULE_MTU_BYTES:
        faults.append(
            f"its MTU is the module's own, {mtu_bytes}: set the mesh's (ip link set {device.name} mtu 1280)"
        )
    if all(pair.pair == Pair() for pair in device.pairs):
        faults.append("it has no pair but empty ones, so it translates nothing")
    for number, pair in enumerate(device.pairs, 1):
        foreign = [key for key, value in pair.values.items() if isinstance(value, listing.Foreign)]
        faults += [f"pair {number}: {key} is {pair.values[key]}" for key in foreign]
        faults += [f"pair {number}: {fault}" for fault in _faults(pair.values)]
    return [f"{device.name}: {fault}" for fault in faults]


def _faults(known: listing.Known) -> list[str]:
    try:
        checks.check(known)
    except ControlError as error:
        return [str(error)]
    return []
