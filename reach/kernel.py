# SPDX-License-Identifier: ISC
"""The one module that changes the machine: each kind of step, how things were, how it is done and taken back.

`look` says how things are before (the note), `do` makes it so whether or not it is so already, `undo` makes it as the
note says. Anything that the kernel refuses is a KernelError with one sentence.
"""

import contextlib
import errno
import ipaddress
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from reach import process
from reach.steps import Step

Note = dict[str, Any]
Look = Callable[[Step], Note]
Do = Callable[[Step, Note], None]
SYSCTL = Path("/proc/sys")
IPPROTO_IPIP = 4
SCOPE_LINK = 253  # a route without a gateway
IP6_TNL_F_IGN_ENCAP_LIMIT = 1  # linux/ip6_tunnel.h: send without the destination option
FOU_ENCAP_GUE = 2  # linux/if_tunnel.h TUNNEL_ENCAP_GUE
DEVICE_WAIT_S = 5
MISSING = {
    "tunnel": "IPv4 in IPv6 (module ip6_tunnel)",
    "wireguard": "WireGuard; with userspace = true in the link, wireguard-go does it",
    "bridge": "bridges",
    "gretap": "GRETAP (module ip_gre)",
    "fou": "GUE (module fou)",
}


class KernelError(RuntimeError):
    """The machine does not do what a step asks for; one sentence says what and why."""


def run(*words: str, text: str | None = None) -> str:
    """A command's output. Raises KernelError with what it said."""
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        raise KernelError(f"the program {words[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise KernelError(f"{words[0]} did not end within 30 s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise KernelError(f"{' '.join(words[:3])}: {said[0] if said else f'failed with {done.returncode}'}")
    return done.stdout


class Kernel:
    """This network namespace. `folder` is for the configuration files and messages of what stays running."""

    def __init__(self, folder: Path) -> None:
        self.route = IPRoute()
        self.folder = folder
        self.kinds: dict[str, tuple[Look, Do, Do]] = {
            "address": (self.look_address, self.do_address, self.undo_address),
            "tunnel": (self.look_device, self.do_tunnel, self.undo_device),
            "wireguard": (self.look_device, self.do_wireguard, self.undo_device),
            "bridge": (self.look_device, self.do_bridge, self.undo_device),
            "gretap": (self.look_device, self.do_gretap, self.undo_device),
            "fou": (lambda step: {}, self.do_fou, self.undo_fou),
            "peers": (lambda step: {}, self.do_peers, lambda step, note: None),
            "sysctl": (self.look_sysctl, self.do_sysctl, self.undo_sysctl),
            "pin": (self.look_pin, self.do_pin, self.undo_pin),
            "route": (self.look_route, self.do_route, self.undo_route),
            "rule": (self.look_rule, self.do_rule, self.undo_rule),
            "offload": (lambda step: {}, self.do_offload, lambda step, note: None),
            "nft": (lambda step: {}, self.do_nft, self.undo_nft),
            "shell": (lambda step: {}, self.do_shell, self.undo_shell),
            "process": (lambda step: {}, self.do_process, self.undo_process),
        }

    def close(self) -> None:
        self.route.close()

    def look(self, step: Step) -> Note:
        with self.in_words(step):
            return self.kinds[step.kind][0](step)

    def do(self, step: Step, note: Note) -> None:
        with self.in_words(step):
            self.kinds[step.kind][1](step, note)

    def undo(self, step: Step, note: Note) -> None:
        with self.in_words(step):
            self.kinds[step.kind][2](step, note)

    @contextlib.contextmanager
    def in_words(self, step: Step) -> Iterator[None]:
        try:
            yield
        except NetlinkError as error:
            if error.code == errno.EOPNOTSUPP and step.kind in MISSING:
                raise KernelError(f"{step.key}: this kernel lacks {MISSING[step.kind]}") from error
            raise KernelError(f"{step.kind} {step.key}: {os.strerror(error.code)}") from error
        except OSError as error:
            raise KernelError(f"{step.kind} {step.key}: {error.strerror}") from error

    # --- devices ---

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
            run("env", "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1", "wireguard-go", step.key)
            end = time.monotonic() + DEVICE_WAIT_S
            while self.index(step.key) is None and time.monotonic() < end:
                time.sleep(0.05)
        self.ensure_link(step, kind="wireguard")
        self.route.link("set", index=self.need(step.key), mtu=step.values["mtu"])

    def do_peers(self, step: Step, note: Note) -> None:
        values = step.values
        lines = ["[Interface]", f"PrivateKey = {Path(values['private_key']).read_text('ascii').strip()}"]
        lines += [f"ListenPort = {values['port']}"] if values["port"] else []
        lines += [f"FwMark = {values['mark']}"] if values["mark"] else []
        for peer in values["peers"]:
            lines += [
                "[Peer]",
                f"PublicKey = {peer['public_key']}",
                f"AllowedIPs = {', '.join(peer['allowed'])}",
            ]
            lines += [f"Endpoint = {peer['endpoint']}"] if peer["endpoint"] else []
            lines += [f"PersistentKeepalive = {peer['keepalive_s']}"] if peer["keepalive_s"] else []
        taken = f"{step.key}: UDP port {values['port']} is another program's already"
        try:
            # what is the same goes on with its session
            run("wg", "syncconf", step.key, "/dev/stdin", text="\n".join(lines) + "\n")
        except KernelError as error:
            raise (KernelError(taken) if "Address already in use" in str(error) else error) from None
        try:
            self.route.link("set", index=self.need(step.key), state="up")
        except NetlinkError as error:
            if error.code == errno.EADDRINUSE:
                raise KernelError(taken) from error
            raise

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
        if f"port {step.key} " not in run("ip", "fou", "show"):
            run("ip", "fou", "add", "port", step.key, "gue")

    def undo_fou(self, step: Step, note: Note) -> None:
        with contextlib.suppress(KernelError):  # gone with the module
            run("ip", "fou", "del", "port", step.key)

    def do_offload(self, step: Step, note: Note) -> None:
        run("ethtool", "--offload", step.key, "tx", "off")

    # --- addresses and routes ---

    def address_words(self, step: Step) -> dict[str, Any]:
        interface = ipaddress.ip_interface(step.values["interface"])
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        words = {"family": family, "address": str(interface.ip), "prefixlen": interface.network.prefixlen}
        return {"index": self.need(step.values["device"]), **words}

    def look_address(self, step: Step) -> Note:
        if self.index(step.values["device"]) is None:  # ours, made by an earlier step
            self.need(step.values["device"])
        words = self.address_words(step)
        there = self.route.get_addr(index=words["index"], family=words["family"])
        mine = [
            a
            for a in there
            if a.get_attr("IFA_ADDRESS") == words["address"] and a["prefixlen"] == words["prefixlen"]
        ]
        return {"was": bool(mine)}

    def do_address(self, step: Step, note: Note) -> None:
        words = self.address_words(step)
        if words["family"] == socket.AF_INET6:
            # a fresh address must be usable at once: the tunnel sends from it
            words |= {"flags": 0x02}  # IFA_F_NODAD
        if step.values["deprecated"]:
            words |= {"preferred": 0, "valid": 0xFFFFFFFF}
        self.route.addr("replace", **words)

    def undo_address(self, step: Step, note: Note) -> None:
        if not note.get("was") and self.index(step.values["device"]) is not None:
            with ignoring(errno.EADDRNOTAVAIL):
                self.route.addr("del", **self.address_words(step))

    def route_words(self, step: Step) -> dict[str, Any]:
        network = ipaddress.ip_network(step.values["to"])
        family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        words = {"family": family, "dst": str(network), "table": step.values["table"]}
        words |= {"scope": SCOPE_LINK} if network.version == 4 else {}
        return words if network.prefixlen else words | {"dst": "default"}

    def look_route(self, step: Step) -> Note:
        words, network = self.route_words(step), ipaddress.ip_network(step.values["to"])
        there = {
            route.get_attr("RTA_OIF")
            for route in self.route.route("dump", family=words["family"], table=words["table"])
            if route["dst_len"] == network.prefixlen
            and (route.get_attr("RTA_DST") or str(network.network_address)) == str(network.network_address)
        }
        if there - {self.index(step.values["device"])}:
            raise KernelError(f"there is another route to {step.key} already; networks must not overlap")
        return {"was": bool(there)}

    def do_route(self, step: Step, note: Note) -> None:
        self.route.route("replace", oif=self.need(step.values["device"]), **self.route_words(step))

    def undo_route(self, step: Step, note: Note) -> None:
        device = self.index(step.values["device"])
        if device is not None and not note.get("was"):
            with ignoring(errno.ESRCH):
                self.route.route("del", oif=device, **self.route_words(step))

    def rule_words(self, step: Step) -> dict[str, Any]:
        values = step.values
        words: dict[str, Any] = {"family": socket.AF_INET if values["family"] == 4 else socket.AF_INET6}
        words |= {"priority": values["priority"], "table": values["table"]}
        if values["source"]:
            network = ipaddress.ip_network(values["source"])
            words |= {"src": str(network.network_address), "src_len": network.prefixlen}
        words |= {"fwmark": values["mark"]} if values["mark"] else {}
        words |= {"flags": 0x2} if values["inverted"] else {}  # FIB_RULE_INVERT
        words |= {"FRA_SUPPRESS_PREFIXLEN": 0} if values["suppresses"] else {}
        return words

    def look_rule(self, step: Step) -> Note:
        return {}

    def do_rule(self, step: Step, note: Note) -> None:
        with ignoring(errno.EEXIST):
            self.route.rule("add", **self.rule_words(step))

    def undo_rule(self, step: Step, note: Note) -> None:
        with ignoring(errno.ENOENT):
            self.route.rule("del", **self.rule_words(step))

    def look_pin(self, step: Step) -> Note:
        family = socket.AF_INET6 if ":" in step.key else socket.AF_INET
        (found,) = self.route.route("get", family=family, dst=step.key)[:1]
        return {"gateway": found.get_attr("RTA_GATEWAY"), "oif": found.get_attr("RTA_OIF")}

    def pin_words(self, step: Step, note: Note) -> dict[str, Any]:
        words = {"dst": f"{step.key}/{128 if ':' in step.key else 32}", "oif": note["oif"]}
        words |= {"family": socket.AF_INET6 if ":" in step.key else socket.AF_INET}
        return words | ({"gateway": note["gateway"]} if note["gateway"] else {})

    def do_pin(self, step: Step, note: Note) -> None:
        self.route.route("replace", **self.pin_words(step, note))

    def undo_pin(self, step: Step, note: Note) -> None:
        with ignoring(errno.ESRCH):
            self.route.route("del", **self.pin_words(step, note))

    # --- the rest ---

    def look_sysctl(self, step: Step) -> Note:
        return {"was": (SYSCTL / step.key).read_text().strip()}

    def do_sysctl(self, step: Step, note: Note) -> None:
        if (SYSCTL / step.key).read_text().strip() != step.values["value"]:
            (SYSCTL / step.key).write_text(step.values["value"])

    def undo_sysctl(self, step: Step, note: Note) -> None:
        path = SYSCTL / step.key
        # what somebody else has set meanwhile is theirs; a device's values go with it
        if path.exists() and "was" in note and path.read_text().strip() == step.values["value"]:
            path.write_text(note["was"])

    def do_nft(self, step: Step, note: Note) -> None:
        run("nft", "-f", "-", text=step.values["text"])

    def undo_nft(self, step: Step, note: Note) -> None:
        run("nft", "-f", "-", text=f"table inet {step.key}\ndelete table inet {step.key}\n")

    def do_shell(self, step: Step, note: Note) -> None:
        run("sh", "-c", step.values["up"])

    def undo_shell(self, step: Step, note: Note) -> None:
        with contextlib.suppress(KernelError):
            run("sh", "-c", step.values["down"])

    def do_process(self, step: Step, note: Note) -> None:
        try:
            process.ensure(self.folder, step.key, step.values["command"], step.values["config"])
        except process.ProcessError as error:
            raise KernelError(str(error)) from None

    def undo_process(self, step: Step, note: Note) -> None:
        process.end(self.folder, step.key)


@contextlib.contextmanager
def ignoring(*codes: int) -> Iterator[None]:
    """It is so already."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in codes:
            raise
