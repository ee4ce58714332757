# SPDX-License-Identifier: ISC
"""Addresses, routes and rules over netlink. See kernel."""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from reach.kernel_devices import Devices, KernelError, Note
from reach.steps import Step

MAIN = 254  # the routing table
SCOPE_LINK = 253  # a route without a gateway
IFA_F_NODAD = 0x02
FOREVER = 0xFFFFFFFF
FIB_RULE_INVERT = 0x2


@contextlib.contextmanager
def ignoring(*codes: int) -> Iterator[None]:
    """It is so already."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in codes:
            raise


class Routes:
    def __init__(self, devices: Devices) -> None:
        self.devices = devices
        self.route = devices.route

    def address_words(self, step: Step) -> dict[str, Any]:
        interface = ipaddress.ip_interface(step.values["interface"])
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        words = {"family": family, "address": str(interface.ip), "prefixlen": interface.network.prefixlen}
        return {"index": self.devices.need(step.values["device"]), **words}

    def look_address(self, step: Step) -> Note:
        if self.devices.index(step.values["device"]) is None:  # ours, made by an earlier step
            self.devices.need(step.values["device"])
        self.refuse_a_second_place(step)
        return {"was": self.has_address(step)}

    def has_address(self, step: Step) -> bool:
        if self.devices.index(step.values["device"]) is None:
            return False
        words = self.address_words(step)
        there = self.route.get_addr(index=words["index"], family=words["family"])
        return any(
            a.get_attr("IFA_ADDRESS") == words["address"] and a["prefixlen"] == words["prefixlen"]
            for a in there
        )

    def refuse_a_second_place(self, step: Step) -> None:
        """A network that another device of the machine has already; half of what is meant for it would go there."""
        words = self.address_words(step)
        network = ipaddress.ip_interface(step.values["interface"]).network
        for each in self.route.get_addr(family=words["family"]):
            found = ipaddress.ip_interface(f"{each.get_attr('IFA_ADDRESS')}/{each['prefixlen']}").network
            if each["index"] != words["index"] and found == network and network.num_addresses > 1:
                name = self.devices.name(each["index"])
                raise KernelError(f"{network} is at {name} already; networks must not overlap")

    def do_address(self, step: Step, note: Note) -> None:
        words = self.address_words(step)
        if words["family"] == socket.AF_INET6:
            # a fresh address must be usable at once: the tunnel sends from it
            words |= {"flags": IFA_F_NODAD}
        if step.values["deprecated"]:
            words |= {"preferred": 0, "valid": FOREVER}
        try:
            self.route.addr("replace", **words)
        except NetlinkError as error:
            if error.code != errno.EACCES or words["family"] != socket.AF_INET6:
                raise
            device = step.values["device"]
            raise KernelError(
                f"{device} has IPv6 switched off (net.ipv6.conf.{device}.disable_ipv6)"
            ) from None

    def undo_address(self, step: Step, note: Note) -> None:
        if not note.get("was") and self.devices.index(step.values["device"]) is not None:
            with ignoring(errno.EADDRNOTAVAIL):
                self.route.addr("del", **self.address_words(step))

    def route_words(self, step: Step) -> dict[str, Any]:
        network = ipaddress.ip_network(step.values["to"])
        family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        words = {"family": family, "dst": str(network), "table": step.values["table"]}
        words |= {"scope": SCOPE_LINK} if network.version == 4 else {}
        return words if network.prefixlen else words | {"dst": "default"}

    def ways(self, step: Step) -> set[int]:
        """The devices by which routes lead to where a step's does."""
        words, network = self.route_words(step), ipaddress.ip_network(step.values["to"])
        return {
            route.get_attr("RTA_OIF")
            for route in self.route.route("dump", family=words["family"], table=words["table"])
            if route["dst_len"] == network.prefixlen
            and (route.get_attr("RTA_DST") or str(network.network_address)) == str(network.network_address)
        }

    def look_route(self, step: Step) -> Note:
        there = self.ways(step)
        for other in there - {self.devices.index(step.values["device"])}:
            where = f" by {self.devices.name(other)}" if other else ""
            where += f" in table {step.values['table']}" if step.values["table"] != MAIN else ""
            raise KernelError(
                f"there is a route to {step.values['to']}{where} already; networks must not overlap"
            )
        return {"was": bool(there)}

    def has_route(self, step: Step) -> bool:
        device = self.devices.index(step.values["device"])
        return device is not None and device in self.ways(step)

    def do_route(self, step: Step, note: Note) -> None:
        self.route.route("replace", oif=self.devices.need(step.values["device"]), **self.route_words(step))

    def undo_route(self, step: Step, note: Note) -> None:
        device = self.devices.index(step.values["device"])
        if device is not None and not note.get("was"):
            with ignoring(errno.ESRCH):
                self.route.route("del", oif=device, **self.route_words(step))

    def rule_words(self, step: Step) -> dict[str, Any]:
        values = step.values
        words: dict[str, Any] = {"family": socket.AF_INET if values["family"] == 4 else socket.AF_INET6}
        words |= {"priority": values["priority"], "table": values["table"]}
        for side, key in (("src", "source"), ("dst", "destination")):
            if values.get(key):  # not all keys are in older ledgers
                network = ipaddress.ip_network(values[key])
                words |= {side: str(network.network_address), f"{side}_len": network.prefixlen}
        words |= {"iifname": values["device"]} if values.get("device") else {}
        words |= {"fwmark": values["mark"]} if values["mark"] else {}
        words |= {"flags": FIB_RULE_INVERT} if values["inverted"] else {}
        words |= {"FRA_SUPPRESS_PREFIXLEN": 0} if values["suppresses"] else {}
        return words

    def do_rule(self, step: Step, note: Note) -> None:
        with ignoring(errno.EEXIST):
            self.route.rule("add", **self.rule_words(step))

    def has_rule(self, step: Step) -> bool:
        words = self.rule_words(step)
        wanted = [words.get(key) for key in ("priority", "table", "src", "dst", "iifname", "fwmark")]
        names = ("FRA_PRIORITY", "FRA_TABLE", "FRA_SRC", "FRA_DST", "FRA_IIFNAME", "FRA_FWMARK")
        there = self.route.get_rules(family=words["family"])
        return any([each.get_attr(name) or None for name in names] == wanted for each in there)

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
        """By the way that the note tells; when that is gone, for the machine is in another network now, by today's."""
        try:
            self.route.route("replace", **self.pin_words(step, note))
        except NetlinkError:
            note.update(self.way_out(step))
            self.route.route("replace", **self.pin_words(step, note))

    def way_out(self, step: Step) -> Note:
        """The main table's default route: what is asked for a way may lead into the link itself."""
        family = socket.AF_INET6 if ":" in step.key else socket.AF_INET
        routes = self.route.route("dump", family=family, table=MAIN)
        ways = [route for route in routes if not route["dst_len"] and route.get_attr("RTA_OIF")]
        if not ways:
            raise KernelError(f"there is no way to {step.key} but by the link itself")
        best = min(ways, key=lambda route: route.get_attr("RTA_PRIORITY") or 0)
        return {"gateway": best.get_attr("RTA_GATEWAY"), "oif": best.get_attr("RTA_OIF")}

    def undo_pin(self, step: Step, note: Note) -> None:
        with ignoring(errno.ESRCH):
            self.route.route("del", **self.pin_words(step, note))
