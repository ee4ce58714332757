# SPDX-License-Identifier: ISC
"""The devices with their rules, and the state file that has them for the next daemon: carries requests out.

The devices are persistent: when the daemon ends, they and their routes stay. The next daemon reads from its state file
which devices are its own, and their rules.
"""

import json
from pathlib import Path

from nat46.language import ControlError, Pair
from runtime import files
from runtime.log import Log
from siit import control
from siit.device import Device, DeviceError
from siit.translator import DEFAULT_POLICY, Policy

log = Log("siit")


class DaemonError(Exception):
    """The daemon cannot start; one sentence says why and what would be right. Nothing was changed."""


class Translators:
    """The devices and their rules: carries requests out and keeps the state file."""

    def __init__(
        self, state: Path, queues: int, wake, policy: Policy = DEFAULT_POLICY, no_fast: str | None = "off"
    ) -> None:
        self._state = state
        self._queues = queues
        self._wake = wake
        self._policy = policy
        self._no_fast = no_fast
        self.rules: dict[str, tuple[Pair, ...]] = {}
        self.devices: dict[str, Device] = {}
        self.unwritten = ""  # why the state file is not as the rules are

    def restore(self) -> None:
        """Take over what the daemon before left; a device that we do not get stays in the state file."""
        try:
            self.rules = control.parse_state(self._state.read_text("ascii"))
        except FileNotFoundError:
            return
        except (ControlError, OSError, UnicodeDecodeError) as error:
            raise DaemonError(f"{self._state}: {error}: correct the file or delete it") from error
        for name, pairs in self.rules.items():
            try:
                self.devices[name] = self._make(name, pairs)
                self.devices[name].persist(True)
            except DeviceError as error:
                log.warning(f"{error}; its rules are kept")

    def _make(self, name: str, pairs: tuple[Pair, ...]) -> Device:
        return Device(name, pairs, self._queues, self._wake, self._policy, self._no_fast)

    def answer(self, line: str) -> list[str]:
        """Carry out one line; return the reply. ControlError, DeviceError: refused, nothing changed."""
        request = control.understand(line, self.rules)
        if isinstance(request, control.Change):
            self._change(request.device, request.pairs)
            return []
        if request.word == "show":
            return control.show(self.rules, request.devices)
        described = [self._describe(name) for name in request.devices]
        return [json.dumps({"devices": described, "unwritten": self.unwritten})]

    def _change(self, name: str, pairs: tuple[Pair, ...] | None) -> None:
        if pairs is None:
            self._delete(name)
        elif name not in self.rules:
            self._create(name, pairs)
        else:
            if name in self.devices:
                self.devices[name].use(pairs)
            self._use({**self.rules, name: pairs})

    def _create(self, name: str, pairs: tuple[Pair, ...]) -> None:
        device = self._make(name, pairs)
        self._use({**self.rules, name: pairs})
        self.devices[name] = device
        device.persist(True)  # only now: killed before, we leave no device that no state file knows
        log.info(f"{name} added")

    def _delete(self, name: str) -> None:
        gone = self.devices.pop(name, None)
        if gone:
            gone.persist(False)  # so that it goes with us if we are killed on the way
        self._use({other: pairs for other, pairs in self.rules.items() if other != name})
        if gone:
            gone.leave()
        log.info(f"{name} deleted")

    def _describe(self, name: str) -> dict:
        device = self.devices.get(name)
        if device is None:
            return {"name": name, "attached": False, "pairs": len(self.rules[name])}
        return {
            "name": name,
            "attached": True,
            "mtu_bytes": device.mtu_bytes,
            "pairs": len(self.rules[name]),
            "queues": device.queues,
            "coalesces_udp": device.coalesces,
            "fast": device.fast_state,
            "takes_lists": device.takes_lists,
            "counters": device.counters(),
        }

    def _use(self, rules: dict[str, tuple[Pair, ...]]) -> None:
        self.rules = rules
        self.write()

    def write(self) -> None:
        """Write the state file, in one step. If that fails, the rules still apply, since a full file system must not
        stop a failover. The failure is logged once, and `unwritten` is the reason until a later call succeeds."""
        try:
            text = control.format_state(self.rules)
            files.replace(str(self._state), [text.encode("ascii")], is_synced=True)
        except OSError as error:
            reason = f"{self._state} cannot be written: {error.strerror}"
            if not self.unwritten:
                log.warning(f"{reason}; the rules hold, but a daemon that starts now would not know them")
            self.unwritten = reason
            return
        if self.unwritten:
            log.info(f"{self._state} is written again")
        self.unwritten = ""

    def follow(self) -> None:
        """Something about links has changed: take over MTUs and limits, forget devices that others have deleted."""
        for name, device in list(self.devices.items()):
            if device.is_alive:
                device.follow()
                continue
            log.warning(f"{name} was deleted by somebody else, its rules are gone with it")
            del self.devices[name]
            device.leave()
            self._use({each: pairs for each, pairs in self.rules.items() if each != name})

    def leave(self) -> None:
        for device in self.devices.values():
            device.leave()
