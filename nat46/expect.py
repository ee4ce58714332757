# SPDX-License-Identifier: ISC
"""What a device has to look like after a command, given how it looked before. Pure.

An expected pair is either as it was (Shown: its text may not change by a letter), or as far as it is known (Known).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from nat46 import checks, language, listing
from nat46.errors import NoPair, NotVisible, Refused
from nat46.language import Command, Config, ControlError, Insert, Pair, Remove, Value
from nat46.listing import EMPTY, Device, Known, Shown

# what a caller may write for a pair or for changes: values, or text as in a command
Changes = Pair | Mapping[str, Value] | str
Expected = Known | Shown
Result = TypeVar("Result")
DEBUG_CHARS = len(str(-language.DEBUG_LEVELS))  # other programs may set one below zero


def after(before: Device, command: Config | Insert, keeps_debug: bool) -> tuple[Expected, ...]:
    """The pairs after a command. Raises NoPair, or Refused if it leaves a pair that no translator could use."""
    is_config = isinstance(command, Config)
    if is_config and not before.pairs:
        raise NoPair(command.device, "", ())
    changes = {key: value for key, value in command.changes if key != "debug" or keeps_debug}
    changed: dict[str, Value] = {**(before.pairs[-1].values if is_config else EMPTY), **changes}
    # the other side may be another program's business
    touched = [key.partition(".")[0] + "." for key in changes]
    refusing(lambda: checks.check({k: v for k, v in changed.items() if k.startswith(tuple(touched))}))
    kept = before.pairs[:-1] if is_config else before.pairs
    if "debug" in changes:  # which is the device's: each pair's line repeats it
        others: tuple[Expected, ...] = tuple({**pair.values, "debug": changes["debug"]} for pair in kept)
    else:
        others = kept
    return (*others, changed) if is_config else (changed, *others)


def after_remove(before: Device, command: Remove, although_cut: bool) -> tuple[Expected, ...]:
    """The pairs after a remove. Raises NoPair, NotVisible."""
    wanted: Known = {**EMPTY, **{key: value for key, value in command.changes if key != "debug"}}
    alike = [i for i, pair in enumerate(before.pairs) if listing.fits(pair, wanted)]
    text = listing.shown_text(wanted)
    if not alike:
        raise NoPair(before.name, text, tuple(pair.text for pair in before.pairs), nearest(before, wanted))
    hidden = listing.indistinct(before.pairs[alike[0]], wanted)
    if hidden and not although_cut:
        raise NotVisible(before.name, text, hidden)
    return tuple(pair for i, pair in enumerate(before.pairs) if i != alike[0])


def nearest(device: Device, wanted: Known) -> str:
    """What a pair has that is nearly the wanted one, as `KEY VALUE`: keys that a table does not show, too."""
    others = [
        {key: value for key, value in pair.values.items() if key != "debug" and value != wanted[key]}
        for pair in device.pairs
    ]
    closest = min(others, key=len, default={})
    return ", ".join(f"{key} {language.format_value(value)}" for key, value in closest.items())


def is_as(found: tuple[Shown, ...], expected: tuple[Expected, ...]) -> bool:
    return len(found) == len(expected) and all(
        pair.text == want.text if isinstance(want, Shown) else listing.fits(pair, want)
        for pair, want in zip(found, expected, strict=True)
    )


def lines(expected: tuple[Expected, ...]) -> tuple[str, ...]:
    """The expected pairs as a listing would have them, as far as they are known."""
    return tuple(want.text if isinstance(want, Shown) else listing.shown_text(want) for want in expected)


def to_make(device: str, pairs: Iterable[Changes] | Changes) -> list[Command]:
    """The commands that make a device with these pairs, in this order, as they are sent. Raises Refused.

    debug is the device's, so at most one level may be named.
    """
    refusing(lambda: language.check_device(device))
    if isinstance(pairs, str | Pair | Mapping):
        pairs = (pairs,)  # a text is iterable, too
    changes = [as_changes(device, pair) for pair in pairs]
    wanted = tuple(language.apply_changes(Pair(), each) for each in changes)
    for pair in wanted:
        refusing(partial(checks.check, dict(language.changes_of(pair))))
    levels = sorted({int(str(value)) for each in changes for key, value in each if key == "debug"})
    if len(levels) > 1:
        raise Refused(f"debug is the device's own, expected one level of {', '.join(map(str, levels))}")
    commands = language.commands_for(device, wanted)
    if wanted and wanted[-1] == Pair():
        del commands[1]  # that is what `add` makes
    commands += [Config(device, (("debug", level),)) for level in levels]
    return [hidden_first(each) for each in commands]


def is_halfway(found: tuple[Shown, ...], commands: Iterable[Command]) -> bool:
    """Whether all that is shown belongs to an empty pair or to one that these commands make."""
    known = [EMPTY, *(dict(getattr(command, "changes", ())) for command in commands)]
    return all(
        key not in EMPTY or any(value == each.get(key) for each in known)
        for pair in found
        for key, value in pair.values.items()
    )


def hidden_first(command: Command, debug: Mapping[str, Value] | None = None) -> Command:
    """The command with those of its keys first that a listing shows last, and with another debug level, if given."""
    if not isinstance(command, Config | Insert | Remove):
        return command
    changes = dict(command.changes)
    if debug is not None:
        changes = {**{key: value for key, value in changes.items() if key != "debug"}, **debug}
    return replace(command, changes=tuple((k, changes[k]) for k in reversed(listing.LISTED) if k in changes))


def debug_guesses(device: Device, keeps_debug: bool) -> list[dict[str, Value]]:
    """The debug levels to name in a remove: the device's, or one of each length where the listing is cut before it.

    A cut listing hides the last digits from the module's comparison as well, but not how many they are.
    """
    if not keeps_debug:
        return [{}]
    for pair in device.pairs:
        if "debug" in pair.values:
            return [{"debug": pair.values["debug"]}]
    seen = max((pair.cut_text for pair in device.pairs if pair.cut_key == "debug"), key=len, default="")
    digits = range(max(len(seen), 1), DEBUG_CHARS + 1)
    guesses = [int(text) for each in digits if seen and (text := seen.ljust(each, "1")) != "-"]
    guesses = guesses or [0, *(10**each for each in range(1, DEBUG_CHARS - 1)), -(10 ** (DEBUG_CHARS - 2))]
    return [{"debug": guess} for guess in guesses if abs(guess) <= language.DEBUG_LEVELS]


def refusing(check: Callable[[], Result]) -> Result:
    """Call the check; ControlError, the language's, becomes Refused, the shim's."""
    try:
        return check()
    except ControlError as error:
        raise Refused(str(error)) from None


def as_changes(device: str, changes: Changes) -> language.Changes:
    """Return changes, however they are written, as the language's. Raises Refused for what it does not have."""
    if isinstance(changes, Pair):
        changes = dict(language.changes_of(changes))
    if not isinstance(changes, str):
        words = [word for key, value in changes.items() for word in (str(key), language.format_value(value))]
        odd = [word for word in words if not word or set(word) & set(" \n")]
        if odd:
            raise Refused(f"{odd[0]!r} is no single word, expected one key and one value each")
        changes = " ".join(words)
    text = f"config {device} {changes}"
    command = refusing(lambda: language.parse(text))
    assert isinstance(command, Config)
    return command.changes
