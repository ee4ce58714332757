# SPDX-License-Identifier: ISC
"""All changes to the machine: for each kind of step how things were, how it is done and undone.

`read` says how things are before (the note), `do` makes it so whether or not it is so already, `undo` makes it as the
note says, `has` asks whether it is so still. Anything that the kernel refuses is a KernelError with one sentence.
kernel_devices and kernel_routes are parts of it; nothing else imports pyroute2.
"""

import contextlib
import json
import logging
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from reach import flows, process
from reach.kernel_devices import CommandError, Devices, KernelError, Note, run
from reach.kernel_routes import Routes
from reach.render.commands import outer_addresses, outer_routes
from reach.steps import Step

__all__ = ["Kernel", "KernelError"]

Read = Callable[[Step], Note]
Do = Callable[[Step, Note], None]
log = logging.getLogger("reach")
# what ip says of a kind of device that there is not, old, new, and for tunnels
LACKING = ("Operation not supported", "Unknown device type", "failed: No such device")
DISCARD_PORT = 9  # RFC 863: nobody answers
SYSCTL = Path("/proc/sys")
MISSING = {
    "address": "IPv6, or has it switched off",
    "tunnel": "IPv4 in IPv6 (module ip6_tunnel)",
    "wireguard": "WireGuard; with userspace = true in the link, wireguard-go does it",
    "bridge": "bridges",
    "gretap": "GRETAP (module ip_gre)",
    "fou": "GUE (module fou)",
}


def nothing_to_note(step: Step) -> Note:
    return {}


def addresses() -> set[str]:
    """Those of this machine, and of who is at the other end of a line."""
    names = ("IFA_LOCAL", "IFA_ADDRESS")
    with IPRoute() as route:
        return {each.get_attr(name) for each in route.get_addr() for name in names}


def clear_flows(was: Step | None, now: Step | None) -> None:
    """Flows that began under other rules are asked about anew."""
    before, after = (
        flows.Rules(step.values.get("dnats", ()), step.values.get("snats", ())) if step else flows.Rules()
        for step in (was, now)
    )
    try:
        flows.clear(before, after, addresses())
    except OSError as error:
        log.warning("flows from before go on as they began: %s (module nf_conntrack_netlink)", error.strerror)


def table_of(step: Step) -> str:
    """With its family, as nft wants it named."""
    return step.key if " " in step.key else f"inet {step.key}"


def rules_in(text: str) -> int:
    """How many rules a file for nft has, of those that we write: lines two deep, but each chain's place."""
    inside = [line for line in text.splitlines() if line.startswith("\t\t")]
    return sum(not line.startswith("\t\ttype ") for line in inside)


def goes_with_its_device(step: Step, note: Note) -> None:
    pass


class Kernel:
    """This network namespace. `folder` is for the configuration files and messages of what stays running.

    What helps after a reboot is in STATE_DIRECTORY, where systemd says that there is one.
    """

    def __init__(self, folder: Path) -> None:
        self.route = IPRoute()
        self.devices = devices = Devices(self.route, Path(os.environ.get("STATE_DIRECTORY", folder)))
        self.routes = routes = Routes(devices)
        self.folder = folder
        self.kinds: dict[str, tuple[Read, Do, Do]] = {
            "device": (self.read_relied, goes_with_its_device, goes_with_its_device),
            "address": (routes.read_address, routes.do_address, routes.undo_address),
            "tunnel": (devices.read_device, devices.do_device, devices.undo_device),
            "wireguard": (devices.read_device, devices.do_wireguard, devices.undo_device),
            "bridge": (devices.read_device, devices.do_device, devices.undo_device),
            "gretap": (devices.read_device, devices.do_device, devices.undo_device),
            "uplink": (self.read_uplink, self.do_shell, self.undo_uplink),
            "fou": (nothing_to_note, devices.do_fou, devices.undo_fou),
            "peers": (nothing_to_note, devices.do_peers, devices.undo_peers),
            "greeting": (nothing_to_note, self.do_greeting, goes_with_its_device),
            "offload": (nothing_to_note, devices.do_offload, goes_with_its_device),
            "pin": (routes.read_pin, routes.do_pin, routes.undo_pin),
            "route": (routes.read_route, routes.do_route, routes.undo_route),
            "rule": (nothing_to_note, routes.do_rule, routes.undo_rule),
            "sysctl": (self.read_sysctl, self.do_sysctl, self.undo_sysctl),
            "nft": (self.read_nft, self.do_nft, self.undo_nft),
            "shell": (nothing_to_note, self.do_shell, self.undo_shell),
            "process": (nothing_to_note, self.do_process, self.undo_process),
        }
        self.asks: dict[str, Callable[[Step], bool]] = {
            **dict.fromkeys(("device", "tunnel", "wireguard", "bridge", "gretap"), self.has_device),
            "address": routes.has_address,
            "route": routes.has_route,
            "rule": routes.has_rule,
            "sysctl": self.has_sysctl,
            "nft": self.has_nft,
            "process": self.has_process,
            "uplink": self.has_uplink,
        }

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *_: object) -> None:
        self.route.close()

    def read(self, step: Step) -> Note:
        with self.in_words(step):
            return self.kinds[step.kind][0](step)

    def do(self, step: Step, note: Note, was: Step | None = None) -> None:
        """was: how the step had been done before, if it had."""
        with self.in_words(step):
            self.kinds[step.kind][1](step, note)
            if step.kind == "nft":
                clear_flows(was, step)

    def undo(self, step: Step, note: Note) -> None:
        with self.in_words(step):
            self.kinds[step.kind][2](step, note)
            if step.kind == "nft":
                clear_flows(step, None)

    def has(self, step: Step) -> bool:
        """Whether what a step made is there; True for what cannot be asked."""
        with self.in_words(step):
            return step.kind not in self.asks or self.asks[step.kind](step)

    @contextlib.contextmanager
    def in_words(self, step: Step) -> Iterator[None]:
        try:
            yield
        except CommandError as error:
            if step.kind in MISSING and error.reason.endswith(LACKING):
                raise KernelError(f"{step.key}: this kernel lacks {MISSING[step.kind]}") from error
            raise
        except NetlinkError as error:
            raise KernelError(f"{step.kind} {step.key}: {os.strerror(error.code)}") from error
        except OSError as error:
            raise KernelError(f"{step.kind} {step.key}: {error.strerror}") from error

    def read_relied(self, step: Step) -> Note:
        """A device that is not ours, without which the rest would be set up for nothing."""
        self.devices.need(step.key)
        return {}

    def has_device(self, step: Step) -> bool:
        return self.devices.index(step.key) is not None

    def read_sysctl(self, step: Step) -> Note:
        if step.key.startswith("net/ipv6/") and not (SYSCTL / "net/ipv6").exists():
            raise KernelError(f"{step.key}: this kernel lacks IPv6, or has it switched off")
        return {"was": (SYSCTL / step.key).read_text().strip()}

    def do_sysctl(self, step: Step, note: Note) -> None:
        if (SYSCTL / step.key).read_text().strip() != step.values["value"]:
            (SYSCTL / step.key).write_text(step.values["value"])

    def undo_sysctl(self, step: Step, note: Note) -> None:
        path = SYSCTL / step.key
        # what somebody else has set meanwhile is theirs; a device's values go with it
        if path.exists() and "was" in note and path.read_text().strip() == step.values["value"]:
            path.write_text(note["was"])

    def has_sysctl(self, step: Step) -> bool:
        path = SYSCTL / step.key
        # networkd hears advertisements itself, and tells the kernel not to
        return path.name == "accept_ra" or (
            path.exists() and path.read_text().strip() == step.values["value"]
        )

    def read_nft(self, step: Step) -> Note:
        if self.is_listed(table_of(step)):
            raise KernelError(
                f"there is a table {table_of(step)} already, and it is not ours: take back what made it, or"
                f" `nft delete table {table_of(step)}`"
            )
        return {}

    def has_nft(self, step: Step) -> bool:
        """Others may flush the whole ruleset, as a reload of /etc/nftables.conf does, or a table or chain."""
        if os.geteuid() != 0:
            return True
        if not self.is_listed(table_of(step)):
            return False
        said = json.loads(run("nft", "-j", "list", "table", *table_of(step).split()))
        return sum("rule" in each for each in said["nftables"]) == rules_in(step.values["text"])

    def is_listed(self, table: str) -> bool:
        return f"table {table}" in run("nft", "list", "tables").splitlines()

    def do_nft(self, step: Step, note: Note) -> None:
        run("nft", "-f", "-", text=step.values["text"])

    def undo_nft(self, step: Step, note: Note) -> None:
        table = table_of(step)
        run("nft", "-f", "-", text=f"table {table}\ndelete table {table}\n")

    def do_greeting(self, step: Step, note: Note) -> None:
        """Send each peer a packet: one whose place is remembered, and whose session is not, makes a new session now."""
        for address in step.values["addresses"]:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as greeting, contextlib.suppress(OSError):
                greeting.sendto(b"", (address, DISCARD_PORT))

    def read_uplink(self, step: Step) -> Note:
        """What the device has, for the bridge may be gone when it is to have it again."""
        self.devices.need(step.key)
        if self.devices.master(step.key) is not None:
            raise KernelError(f"{step.key} is a port of another bridge already")
        listings = {"addr": outer_addresses, "route": outer_routes}
        return {
            f"{family} {what}": run("sh", "-c", listing(family, step.key)).splitlines()
            for what, listing in listings.items()
            for family in (4, 6)
        }

    def undo_uplink(self, step: Step, note: Note) -> None:
        if self.devices.index(step.key) is None:
            return
        if self.devices.index(step.values["bridge"]) is not None:
            run("sh", "-c", step.values["down"])
            return
        for key, lines in note.items():
            family, what = key.split()
            nodad = ("nodad",) if key == "6 addr" else ()
            for line in lines:
                run("ip", f"-{family}", what, "replace", *line.split(), "dev", step.key, *nodad)

    def has_uplink(self, step: Step) -> bool:
        bridge = self.devices.index(step.values["bridge"])
        return bridge is not None and self.devices.master(step.key) == bridge

    def do_shell(self, step: Step, note: Note) -> None:
        done = subprocess.run(["sh", "-c", step.values["up"]], capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise KernelError(said[0] if said else f"{step.key}: failed with {done.returncode}")

    def undo_shell(self, step: Step, note: Note) -> None:
        with contextlib.suppress(KernelError):
            run("sh", "-c", step.values["down"])

    def do_process(self, step: Step, note: Note) -> None:
        try:
            process.ensure(self.folder, step.key, step.values["command"], step.values["config"])
        except process.ProcessError as error:
            raise KernelError(str(error)) from None

    def has_process(self, step: Step) -> bool:
        return process.running(self.folder, step.key) is not None

    def undo_process(self, step: Step, note: Note) -> None:
        process.end(self.folder, step.key)
