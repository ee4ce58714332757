# SPDX-License-Identifier: ISC
"""The control protocol: bytes in, requests out, and what a request makes of the devices' rules. No I/O.

A client sends lines, each a command of nat46's language or one of ours:

    show [DEVICE]     the configuration, as nat46's control file shows it
    stat [DEVICE]     devices and counters, as one line of JSON

and gets for each line zero or more lines, then `ok` or `error: SENTENCE`. A command that is refused changes
nothing.
"""

from dataclasses import dataclass

from nat46 import language, state
from nat46.language import ControlError, Pair, Rule
from nat46.state import Devices
from siit.translator import NOTHING, Side

LINE_BYTES = 4096  # of one command; the longest that makes sense has about 400


@dataclass(frozen=True, slots=True)
class Question:
    """show or stat, of these devices."""

    word: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """From now on a device, which may be a new one, translates by these rules; None: there shall be no such device."""

    device: str
    pairs: tuple[Pair, ...] | None


QUESTIONS = ("show", "stat")


def understand(line: str, devices: Devices) -> Question | Change:
    """Return what a line asks for, given the devices there are; ControlError and nothing else."""
    words = [word for word in line.split(" ") if word]
    if words and words[0] in QUESTIONS:
        return Question(words[0], _asked_for(words, devices))
    command = language.parse(line)
    pairs = state.after(devices, command).get(command.device)
    make_sides(pairs or ())
    return Change(command.device, pairs)


def _asked_for(words: list[str], devices: Devices) -> tuple[str, ...]:
    if len(words) > 2:
        raise ControlError(f"{words[0]} takes one device name at most, not {len(words) - 1}")
    for name in words[1:]:
        language.check_device(name)
        state.need_device(name, devices)
    return tuple(words[1:] or devices)


def make_sides(pairs: tuple[Pair, ...]) -> list[tuple[Side, Side]]:
    """The translator's form of a device's rules; ControlError for rules that siit does not translate by."""
    return [(_make_side("local", pair.local), _make_side("remote", pair.remote)) for pair in pairs]


def _make_side(name: str, rule: Rule) -> Side:
    if rule.style in ("MAP", "MAP0"):
        raise ControlError(
            f"{name}.style {rule.style} is for the kernel module only, expected NONE or RFC6052 with siit"
        )
    is_rfc6052 = rule.style == "RFC6052"
    if is_rfc6052 and rule.v6 == language.ANY6:
        return NOTHING  # half configured: the keys may come one by one, in any order
    if is_rfc6052 and rule.v6.prefixlen not in language.RFC6052_LENGTHS:
        lengths = ", ".join(map(str, language.RFC6052_LENGTHS[:-1]))
        raise ControlError(
            f"{name}.v6 {rule.v6} does not fit RFC6052, "
            f"expected a length of {lengths} or {language.RFC6052_LENGTHS[-1]}"
        )
    v4, v6 = rule.v4.network_address.packed, rule.v6.network_address.packed
    return Side(is_rfc6052, v4, rule.v4.prefixlen, v6, rule.v6.prefixlen)


def show(devices: Devices, names: tuple[str, ...]) -> list[str]:
    """The lines of `show`: per device `add`, `insert`, `config`, and an empty line, as in nat46's file."""
    lines: list[str] = []
    for name in names:
        lines += [*language.show(name, devices[name]), ""]
    return lines


def format_state(devices: Devices) -> str:
    """A text of commands that makes these devices again."""
    commands = (each for name, pairs in devices.items() for each in language.commands_for(name, pairs))
    return "".join(language.format(command) + "\n" for command in commands)


def parse_state(text: str) -> dict[str, tuple[Pair, ...]]:
    """The devices that a text of commands makes (# is a comment); ControlError names the line."""
    return state.parse(text, make_sides)
