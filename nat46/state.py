# SPDX-License-Identifier: ISC
"""What commands make of the devices that there are; a text of them, as a state file is one. Pure."""

from collections.abc import Callable, Iterable, Mapping

from nat46 import language
from nat46.language import Command, ControlError, Pair

Devices = Mapping[str, tuple[Pair, ...]]


def need_device(name: str, devices: Iterable[str]) -> None:
    """ControlError: there is no such device."""
    if name not in devices:
        known = ", ".join(sorted(devices))
        expected = f"one of {known}" if known else "an `add` first"
        raise ControlError(f"there is no device {name}, expected {expected}")


def after(devices: Devices, command: Command) -> dict[str, tuple[Pair, ...]]:
    """The devices when a command is carried out. ControlError: it cannot be."""
    name, changed = command.device, dict(devices)
    if isinstance(command, language.Add):
        if name in devices:
            raise ControlError(f"{name} exists already, expected a name that is free")
        changed[name] = (Pair(),)
        return changed
    need_device(name, devices)
    if isinstance(command, language.Del):
        del changed[name]
    else:
        changed[name] = language.apply(devices[name], command)
    return changed


def parse(
    text: str, check: Callable[[tuple[Pair, ...]], object] = lambda pairs: None
) -> dict[str, tuple[Pair, ...]]:
    """The devices that a text of commands makes (# is a comment). ControlError names the line.

    check: raises ControlError for pairs that a device shall not have.
    """
    devices: dict[str, tuple[Pair, ...]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            command = language.parse(line)
            devices = after(devices, command)
            check(devices.get(command.device, ()))
        except ControlError as error:
            raise ControlError(f"line {number}: {error}") from None
    return devices
