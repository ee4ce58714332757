# SPDX-License-Identifier: ISC
"""What can go wrong between a program and its translator: one class a case, one sentence each.

    Nat46Error
      Refused            the command cannot be right; nothing was sent
        DeviceExists     a device of this name is there, ours or another's
        NoDevice         no device of this name
        NoPair           the device has no pair that is exactly this one
        NotVisible       the listing is cut before it could tell this pair from others
      CallFailed         a system call failed; .errno is its own (also an OSError)
        ModuleMissing    no control file: the kernel module is not loaded
        DaemonMissing    nobody listens at siit's socket
        NotPermitted     EACCES or EPERM
      CffiMissing        neither nat46._libc nor cffi is installed
      Unreadable         the listing is not what a translator writes
      Rejected           siit answered `error: ...`; nothing changed
      NotApplied         the command was sent, and what is there now is not what it asked for

The caller's mistakes are Refused. CallFailed, Unreadable, Rejected and NotApplied are the world's.
"""

import itertools
import os


class Nat46Error(Exception):
    """The base of all; str() of it is one sentence for a person. Can be pickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return _remake, (type(self), self.args), self.__dict__


def _remake(kind: type[Nat46Error], arguments: tuple[object, ...]) -> Nat46Error:
    error = kind.__new__(kind)
    (OSError if isinstance(error, OSError) else Exception).__init__(error, *arguments)
    return error


class Refused(Nat46Error):
    """The command was refused before the translator saw it."""


class DeviceExists(Refused):
    def __init__(self, device: str, kind: str) -> None:
        super().__init__(f"{device} is {kind} already, expected a name that is free")
        self.device = device


class NoDevice(Refused):
    def __init__(self, device: str, devices: tuple[str, ...]) -> None:
        shown = device if device and device.isprintable() else ascii(device)
        there = f"one of {', '.join(devices)}" if devices else f"an `add {shown}` first"
        super().__init__(f"there is no device {shown}, expected {there}")
        self.device, self.devices = device, devices


class NoPair(Refused):
    def __init__(self, device: str, wanted: str, found: tuple[str, ...], nearest: str = "") -> None:
        hint = nearest and f"; the nearest has {nearest}"
        is_not = (
            f"that is exactly this one: {wanted}{hint}"
            if wanted
            else "left to configure, expected an insert first"
        )
        super().__init__(f"{device} has no pair {is_not}")
        self.device, self.wanted, self.found = device, wanted, found


class NotVisible(Refused):
    def __init__(self, device: str, wanted: str, keys: tuple[str, ...]) -> None:
        super().__init__(
            f"the module's listing of {device} is cut before {', '.join(keys)}, so a remove may take another "
            "pair than this one: say that you know it (although_cut), or make the device anew"
        )
        self.device, self.wanted, self.keys = device, wanted, keys


class CallFailed(Nat46Error, OSError):
    """A system call failed. .errno is what the call left, .call its name, .path what it was about."""

    def __init__(self, call: str, path: str, number: int, hint: str = "") -> None:
        OSError.__init__(self, number, os.strerror(number))
        self.call, self.path, self.hint = call, path, hint

    def __str__(self) -> str:
        return f"{self.call} {self.path}: {self.strerror}{self.hint and ': ' + self.hint}"


class ModuleMissing(CallFailed):
    pass


class DaemonMissing(CallFailed):
    pass


class NotPermitted(CallFailed):
    pass


class CffiMissing(Nat46Error):
    def __init__(self, why: str) -> None:
        super().__init__(f"system calls need cffi: {why}: install it (Debian, OpenWrt: python3-cffi)")


class Unreadable(Nat46Error):
    def __init__(self, target: str, why: str) -> None:
        super().__init__(f"the listing of {target} cannot be read: {why}")


class Rejected(Nat46Error):
    def __init__(self, command: str, sentence: str) -> None:
        super().__init__(sentence)
        self.command = command


class NotApplied(Nat46Error):
    """wanted and found are lines as the listing has them; None is no device."""

    def __init__(self, command: str, wanted: tuple[str, ...] | None, found: tuple[str, ...] | None) -> None:
        super().__init__(f"`{command}` did not do what it says: {describe(wanted, found)}")
        self.command, self.wanted, self.found = command, wanted, found


def describe(wanted: tuple[str, ...] | None, found: tuple[str, ...] | None) -> str:
    if found is None:
        return "the device is not there"
    if wanted is None:
        return "the device is still there"
    for want, have in itertools.zip_longest(wanted, found, fillvalue="nothing"):
        is_as_far = have.startswith(want) or want.startswith(
            have
        )  # as one is known, or as the other is listed
        if not is_as_far:
            return f"wanted {want!r}, found {have!r}"
    return f"wanted {len(wanted)} pairs, found {len(found)}, which differ behind what is listed"
