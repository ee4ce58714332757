# SPDX-License-Identifier: ISC
"""Devices: asked for over netlink, made by the rendered commands; WireGuard's keys through `wg`. See kernel."""

import contextlib
import json
import re
import shlex
import time
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from reach.command import CommandError, KernelError, run
from reach.steps import Step

Note = dict[str, Any]
DEVICE_WAIT_S = 5


def run_line(line: str, so_already: str | None = None) -> None:
    """Run a command of a rendered plan. so_already: what it says where there is nothing to do."""
    try:
        run(*shlex.split(line))
    except CommandError as error:
        if error.reason != so_already:
            raise


class Devices:
    def __init__(self, route: IPRoute, memory: Path) -> None:
        self.route, self.memory = route, memory

    def state(self, name: str) -> Note | None:
        """A device's MTU and bytes; None when it is not there."""
        index = self.index(name)
        if index is None:
            return None
        (link,) = self.route.get_links(index)
        counted = link.get_attr("IFLA_STATS64")
        return {
            "mtu_bytes": link.get_attr("IFLA_MTU"),
            "received_bytes": counted["rx_bytes"],
            "sent_bytes": counted["tx_bytes"],
        }

    def index(self, name: str) -> int | None:
        found = self.route.link_lookup(ifname=name)
        return found[0] if found else None

    def name(self, index: int) -> str:
        return self.route.get_links(index)[0].get_attr("IFLA_IFNAME")

    def master(self, name: str) -> int | None:
        """The bridge that it is a port of, when both are there."""
        index = self.index(name)
        return self.route.get_links(index)[0].get_attr("IFLA_MASTER") if index is not None else None

    def need(self, name: str) -> int:
        found = self.index(name)
        if found is None:
            there = ", ".join(link.get_attr("IFLA_IFNAME") for link in self.route.get_links())
            raise KernelError(f"there is no device {name}; there is {there}")
        return found

    def read_device(self, step: Step) -> Note:
        if self.index(step.key) is not None:
            raise KernelError(
                f"there is a device {step.key} already, and it is not ours: rename the link, or delete it"
            )
        return {}

    def undo_device(self, step: Step, note: Note) -> None:
        if self.index(step.key) is not None:
            run("ip", "link", "del", "dev", step.key)

    def do_device(self, step: Step, note: Note) -> None:
        if self.index(step.key) is None:
            run_line(step.values["add"])
        run_line(step.values["set"])

    def do_wireguard(self, step: Step, note: Note) -> None:
        if step.values["userspace"] and self.index(step.key) is None:
            run("wireguard-go", step.key, WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD="1")
            end = time.monotonic() + DEVICE_WAIT_S
            while self.index(step.key) is None and time.monotonic() < end:
                time.sleep(0.05)
            run("wg", "show", step.key)  # it answers when it has set the device up, with an MTU of its own
        if self.index(step.key) is None:
            run("ip", "link", "add", "dev", step.key, "type", "wireguard")
        run("ip", "link", "set", "dev", step.key, "mtu", str(step.values["mtu"]))

    def do_peers(self, step: Step, note: Note) -> None:
        values = step.values
        lines = ["[Interface]", f"PrivateKey = {Path(values['private_key']).read_text('ascii').strip()}"]
        lines += [f"ListenPort = {values['port']}"] if values["port"] else []
        lines += [f"FwMark = {values['mark']}"] if values["mark"] else []
        found = self.endpoints(step.key)
        for peer in values["peers"]:
            endpoint = peer["endpoint"]
            if peer["public_key"] not in found:
                endpoint = endpoint or self.remembered(step.key).get(peer["public_key"])
            lines += [
                "[Peer]",
                f"PublicKey = {peer['public_key']}",
                f"AllowedIPs = {', '.join(peer['allowed'])}",
            ]
            lines += [f"Endpoint = {endpoint}"] if endpoint else []
            lines += [f"PersistentKeepalive = {peer['keepalive_s']}"] if peer["keepalive_s"] else []
        in_use = f"{step.key}: UDP port {values['port']} is another program's already"
        try:
            # what is the same goes on with its session; a name that nobody knows is not waited for
            text = "\n".join(lines) + "\n"
            run("wg", "syncconf", step.key, "/dev/stdin", text=text, WG_ENDPOINT_RESOLUTION_RETRIES="0")
            run("ip", "link", "set", "dev", step.key, "up")
        except KernelError as error:
            raise (KernelError(in_use) if "Address already in use" in str(error) else error) from None

    def undo_peers(self, step: Step, note: Note) -> None:
        """The device goes, and with it the peers; where they were is remembered.

        A hub that has restarted would wait for them otherwise, and a peer that sends nothing but keepalives notices
        after two minutes only that its session is gone.
        """
        with contextlib.suppress(OSError):
            self.memory.mkdir(parents=True, exist_ok=True)
            (self.memory / f"{step.key}.endpoints").write_text(json.dumps(self.endpoints(step.key)))

    def remembered(self, name: str) -> dict[str, str]:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self.memory / f"{name}.endpoints").read_text())
            if isinstance(found, dict):
                return {str(key): str(endpoint) for key, endpoint in found.items()}
        return {}

    def endpoints(self, name: str) -> dict[str, str]:
        """Where each peer of a device was heard of last, by public key."""
        with contextlib.suppress(KernelError):
            pairs = [line.split("\t") for line in run("wg", "show", name, "endpoints").splitlines()]
            return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[1] != "(none)"}
        return {}

    def do_fou(self, step: Step, note: Note) -> None:
        with contextlib.suppress(KernelError):  # it may be built in
            run("modprobe", "fou")  # asking for it does not load it
        try:
            there = run("ip", "fou", "show")
        except KernelError:
            raise KernelError(f"UDP port {step.key}: this kernel lacks GUE (module fou)") from None
        if not re.search(rf"port {step.key}\b", there):
            run("ip", "fou", "add", "port", step.key, "gue")

    def undo_fou(self, step: Step, note: Note) -> None:
        with contextlib.suppress(KernelError):  # gone with the module
            run("ip", "fou", "del", "port", step.key)

    def do_offload(self, step: Step, note: Note) -> None:
        run("ethtool", "--offload", step.key, "tx", "off")
