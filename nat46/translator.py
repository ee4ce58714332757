# SPDX-License-Identifier: ISC
"""Devices and pairs of a translator, changed so that a success means something.

The kernel module reports success for everything (nat46_proc_write returns the count). So each command is checked before
(checks.py), sent in one write, and read back. What the listing shows has to be what the command asks for. Everything
else has to be as it was. Otherwise NotApplied says what was wanted and what was found.

The listing may be cut (listing.py), so keys are sent in the reverse order of a listing. The module stops at the first
one that it does not take (nat46_set_ipair_config). So if a visible key has changed, the hidden keys sent before it have
changed too.

A device that this process sees exists already, a device or pair that is not there, is refused and nothing is sent.
Another program may still change the device between two steps: flock keeps out those that use this shim, the rest
shows as NotApplied.
"""

import contextlib
import os
import stat
from collections.abc import Iterable

from nat46 import expect, language, listing
from nat46.errors import DeviceExists, Nat46Error, NoDevice, NotApplied, Refused, Unreadable
from nat46.expect import Changes, Expected
from nat46.kernel import CONTROL, KernelTarget
from nat46.language import Add, Command, Config, Del, Insert, Remove
from nat46.listing import EMPTY, Device
from nat46.target import Session, Statistics, Target
from nat46.userspace import SOCKETS, SiitTarget


def find_target(path: str | None = None, namespace: str | int | None = None) -> Target:
    """The target at a path, or the one that is there: siit's socket before the module's file.

    With a namespace it is the module's, since a socket has its place in the file system. A path where nothing is
    counts as a control file: using it raises ModuleMissing. Raises Refused for a namespace beside a socket, and for
    what is neither a socket nor a file: a FIFO would be waited for, and some devices have no end.
    """
    if path == "" or namespace == "":
        raise Refused(f"an empty text names no {'translator' if path == '' else 'network namespace'}")
    candidates = [path] if path else [] if namespace is not None else list(SOCKETS)
    for candidate in candidates:
        with contextlib.suppress(OSError):
            mode = os.stat(candidate).st_mode
            if stat.S_ISSOCK(mode):
                if namespace is not None:
                    raise Refused(f"{candidate} is siit's socket, expected no network namespace beside it")
                return SiitTarget(candidate)
            if path and not stat.S_ISREG(mode):
                raise Refused(
                    f"{candidate} is no translator, expected siit's socket or the control file of nat46"
                )
    return KernelTarget(path or CONTROL, namespace)


class Translator:
    """A target's devices. May be used by several threads at a time; holds nothing open between calls.

    Every method may raise CallFailed (ModuleMissing, DaemonMissing, NotPermitted) and Unreadable. Those that change
    something may also raise Refused before they send a command, and NotApplied or Rejected after it.
    """

    def __init__(
        self,
        target: Target | str | os.PathLike[str] | None = None,
        namespace: str | os.PathLike[str] | int | None = None,
    ) -> None:
        """target: a path, a Target, or None for the one that is there. namespace: a name of `ip netns`, a path, or
        the number of a process; None is the caller's own."""
        target = os.fspath(target) if isinstance(target, os.PathLike) else target
        namespace = os.fspath(namespace) if isinstance(namespace, os.PathLike) else namespace
        if target is None or isinstance(target, str):
            self.target: Target = find_target(target, namespace)
        elif namespace is not None:
            raise Refused(f"{target.name} is a target already, expected no network namespace beside it")
        else:
            self.target = target

    def list(self) -> tuple[Device, ...]:
        """All devices, in the target's order."""
        return self.target.perform(self._read)

    def show(self, device: str) -> Device:
        """One device. Raises NoDevice."""
        return self.target.perform(lambda session: self._find(session, device))

    def statistics(self, device: str) -> Statistics:
        """Packets and bytes of a device since it was made. Raises NoDevice."""

        def ask(session: Session) -> Statistics:
            self._find(session, device)
            return session.statistics(device)

        return self.target.perform(ask)

    def mtu_bytes(self, device: str) -> int:
        """The MTU of a device, bytes. The module's own is 16384, which is nobody's mesh's. Raises NoDevice."""

        def ask(session: Session) -> int:
            self._find(session, device)
            return session.mtu_bytes(device)

        return self.target.perform(ask)

    def create(self, device: str, pairs: Iterable[Changes] | Changes = "") -> Device:
        """Make a device with these pairs, or this one; it is down. If a step fails it is taken away again.

        Raises DeviceExists, also for a network device of another kind.
        """
        first, *others = commands = expect.to_make(device, pairs)

        def make(session: Session) -> Device:
            self._need_free(session, device)
            try:
                made = self._add(session, first)
                for command in others:
                    made = self._apply(session, command, before=made)
            except BaseException:  # also when somebody interrupts us
                self._roll_back(session, device, commands)
                raise
            return made

        return self.target.perform(make)

    def configure(self, device: str, changes: Changes) -> Device:
        """Change these keys of the device's last pair. Raises NoDevice."""
        return self._carry_out(Config(device, expect.as_changes(device, changes)))

    def insert(self, device: str, pair: Changes) -> Device:
        """Put a pair before all others: an empty one with these keys. Raises NoDevice."""
        return self._carry_out(Insert(device, expect.as_changes(device, pair)))

    def remove(self, device: str, pair: Changes, although_cut: bool = False) -> Device:
        """Take away the pair that an insert of these keys made. Raises NoDevice, NoPair.

        Raises NotVisible when the module's listing is cut before the keys that matter: the module compares what it
        lists (nat46_remove), and takes the first pair that looks the same. although_cut=True does it all the same.
        """
        return self._carry_out(Remove(device, expect.as_changes(device, pair)), although_cut)

    def delete(self, device: str) -> None:
        """Take a device away, with its routes and addresses. Raises NoDevice."""
        expect.refusing(lambda: language.check_device(device))
        self.target.perform(lambda session: self._delete(session, device))

    def apply(self, command: Command | str, although_cut: bool = False) -> Device | None:
        """Carry out one command of the language; return the device as it is then, None after `del`."""
        if isinstance(command, str):
            text = command
            command = expect.refusing(lambda: language.parse(text))
        if isinstance(command, Del):
            self.delete(command.device)
            return None
        if isinstance(command, Add):
            return self.create(command.device)
        return self._carry_out(command, although_cut)

    def _carry_out(self, command: Command, although_cut: bool = False) -> Device:
        expect.refusing(lambda: language.check_device(command.device))
        return self.target.perform(lambda session: self._apply(session, command, although_cut))

    def _read(self, session: Session, before: Device | None = None) -> tuple[Device, ...]:
        seen = {pair.text: pair for pair in before.pairs} if before else None
        try:
            return listing.parse(session.read(), seen)
        except listing.ListingError as error:
            raise Unreadable(self.target.name, str(error)) from None

    def _find(self, session: Session, name: str) -> Device:
        devices = self._read(session)
        found = named(devices, name)
        if found is None:
            raise NoDevice(name, tuple(device.name for device in devices))
        return found

    def _apply(
        self, session: Session, command: Command, although_cut: bool = False, before: Device | None = None
    ) -> Device:
        """Check one change of a device, send it, read back. before: the device as it was just read."""
        before = before or self._find(session, command.device)
        if isinstance(command, Remove):
            return self._remove(session, before, command, although_cut)
        assert isinstance(command, Config | Insert)
        expected = expect.after(before, command, self.target.keeps_debug)
        text = language.format(expect.hidden_first(command))
        session.send(text)
        return self._confirm(session, command.device, text, expected, before)

    def _need_free(self, session: Session, device: str) -> None:
        if named(self._read(session), device):
            raise DeviceExists(device, "a device of this translator")
        if session.has_interface(device):
            raise DeviceExists(device, "a network device of another kind")

    def _add(self, session: Session, command: Command) -> Device:
        text = language.format(command)
        session.send(text)
        return self._confirm(session, command.device, text, (EMPTY,))

    def _remove(self, session: Session, before: Device, command: Remove, although_cut: bool) -> Device:
        expected = expect.after_remove(before, command, although_cut)
        for debug in expect.debug_guesses(before, self.target.keeps_debug):
            # debug is part of what the module compares, though of no pair
            text = language.format(expect.hidden_first(command, debug))
            session.send(text)
            after = named(self._read(session), before.name)
            if after is None or after.pairs != before.pairs:
                break
        return self._confirm(session, before.name, text, expected)

    def _delete(self, session: Session, device: str) -> None:
        self._find(session, device)
        # the module frees the pairs of a device, and then stops its packets (nat46_netdev_destroy)
        session.take_down(device)
        text = language.format(Del(device))
        session.send(text)
        after = named(self._read(session), device)
        if after is not None:
            raise NotApplied(text, None, tuple(pair.text for pair in after.pairs))

    def _confirm(
        self,
        session: Session,
        name: str,
        text: str,
        expected: tuple[Expected, ...],
        before: Device | None = None,
    ) -> Device:
        """Read back; return the device if it is as expected, else raise NotApplied."""
        after = named(self._read(session, before), name)
        if after is not None and expect.is_as(after.pairs, expected):
            return after
        found = None if after is None else tuple(pair.text for pair in after.pairs)
        raise NotApplied(text, expect.lines(expected), found)

    def _roll_back(self, session: Session, device: str, commands: Iterable[Command]) -> None:
        """Take away a device that we have made halfway, unless another program has put something into it."""
        with contextlib.suppress(Nat46Error):
            found = named(self._read(session), device)
            if found is not None and expect.is_halfway(found.pairs, commands):
                session.take_down(device)  # something may have found it and brought it up
                session.send(language.format(Del(device)))


def named(devices: Iterable[Device], name: str) -> Device | None:
    return next((device for device in devices if device.name == name), None)
