# SPDX-License-Identifier: ISC
"""Making and removing devices over netlink; WireGuard's keys through `wg`. See kernel."""

import contextlib
import errno
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from reach.steps import Step

Note = dict[str, Any]
IPPROTO_IPIP = 4
IP6_TNL_F_IGN_ENCAP_LIMIT = 1  # linux/ip6_tunnel.h: send without the destination option
FOU_ENCAP_GUE = 2  # linux/if_tunnel.h TUNNEL_ENCAP_GUE
DEVICE_WAIT_S = 5


class KernelError(RuntimeError):
    """The machine does not do what a step asks for; one sentence says what and why."""


def run(*words: str, text: str | None = None, **variables: str) -> str:
    """A command's output. Raises KernelError with what it said."""
    options: dict[str, Any] = {"input": text, "capture_output": True, "text": True, "timeout": 30}
    try:
        done = subprocess.run(words, check=False, env={**os.environ, **variables}, **options)
    except FileNotFoundError:
        raise KernelError(f"the program {words[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise KernelError(f"{words[0]} did not end within 30 s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise KernelError(f"{' '.join(words[:3])}: {said[0] if said else f'failed with {done.returncode}'}")
    return done.stdout


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

    def look_device(self, step: Step) -> Note:
        if self.index(step.key) is not None:
            raise KernelError(
                f"there is a device {step.key} already, and it is not ours: rename the link, or delete it"
            )
        return {}

    def undo_device(self, step: Step, note: Note) -> None:
        found = self.index(step.key)
        if found is not None:
            self.route.link("del", index=found)

    def ensure_link(self, step: Step, **values: Any) -> int:
        if self.index(step.key) is None:
            self.route.link("add", ifname=step.key, **{k: v for k, v in values.items() if v is not None})
        return self.need(step.key)

    def do_tunnel(self, step: Step, note: Note) -> None:
        limit = step.values["encap_limit"]
        index = self.ensure_link(
            step,
            kind="ip6tnl",
            ip6tnl_local=step.values["local"],
            ip6tnl_remote=step.values["remote"],
            ip6tnl_proto=IPPROTO_IPIP,
            ip6tnl_ttl=64,
            ip6tnl_encap_limit=limit,
            ip6tnl_flags=IP6_TNL_F_IGN_ENCAP_LIMIT if limit is None else 0,
        )
        self.route.link("set", index=index, mtu=step.values["mtu"], state="up")

    def do_wireguard(self, step: Step, note: Note) -> None:
        if step.values["userspace"] and self.index(step.key) is None:
            run("wireguard-go", step.key, WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD="1")
            end = time.monotonic() + DEVICE_WAIT_S
            while self.index(step.key) is None and time.monotonic() < end:
                time.sleep(0.05)
            run("wg", "show", step.key)  # it answers when it has set the device up, with an MTU of its own
        self.ensure_link(step, kind="wireguard")
        self.route.link("set", index=self.need(step.key), mtu=step.values["mtu"])

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
        taken = f"{step.key}: UDP port {values['port']} is another program's already"
        try:
            # what is the same goes on with its session; a name that nobody knows is not waited for
            text = "\n".join(lines) + "\n"
            run("wg", "syncconf", step.key, "/dev/stdin", text=text, WG_ENDPOINT_RESOLUTION_RETRIES="0")
        except KernelError as error:
            raise (KernelError(taken) if "Address already in use" in str(error) else error) from None
        try:
            self.route.link("set", index=self.need(step.key), state="up")
        except NetlinkError as error:
            if error.code == errno.EADDRINUSE:
                raise KernelError(taken) from error
            raise

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

    def do_bridge(self, step: Step, note: Note) -> None:
        index = self.ensure_link(step, kind="bridge", address=step.values["mac"])
        self.route.link("set", index=index, state="up")

    def do_gretap(self, step: Step, note: Note) -> None:
        values, gue = step.values, step.values["gue"] or (None, None)
        index = self.ensure_link(
            step,
            kind="gretap",
            address=values["mac"],
            gre_local=values["local"],
            gre_remote=values["remote"],
            gre_ttl=values["ttl"],
            gre_encap_type=FOU_ENCAP_GUE if values["gue"] else None,
            gre_encap_sport=gue[0],
            gre_encap_dport=gue[1],
        )
        master = {"master": self.need(values["bridge"])} if values["bridge"] else {}
        self.route.link("set", index=index, mtu=values["mtu"], state="up", **master)

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
