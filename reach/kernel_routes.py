# SPDX-License-Identifier: ISC
"""Addresses, routes and rules: asked for over netlink, changed by the rendered commands. See kernel."""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from reach.kernel_devices import Devices, KernelError, Note, run_line
from reach.steps import Step

MAIN = 254  # the routing table
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@contextlib.contextmanager
def ignoring(*codes: int) -> Iterator[None]:
    """It is so already."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in codes:
            raise


def interface_of(step: Step) -> Any:
    return ipaddress.ip_interface(step.values["interface"])


class Routes:
    def __init__(self, devices: Devices) -> None:
        self.devices = devices
        self.route = devices.route

    def read_address(self, step: Step) -> Note:
        self.devices.need(step.values["device"])
        self.refuse_a_second_place(step)
        return {"was": self.has_address(step)}

    def has_address(self, step: Step) -> bool:
        """Of an address alone the kernel has one at a device, with whatever prefix."""
        index, own = self.devices.index(step.values["device"]), interface_of(step)
        is_alone = own.network.num_addresses == 1
        return index is not None and any(
            where == index and (found == own or (is_alone and found.ip == own.ip))
            for where, found in self.addresses(own.version)
        )

    def addresses(self, version: int) -> Iterator[tuple[int, Any]]:
        """Device index and address of everything that this machine has of a family."""
        for each in self.route.get_addr(family=FAMILIES[version]):
            yield each["index"], ipaddress.ip_interface(f"{each.get_attr('IFA_ADDRESS')}/{each['prefixlen']}")

    def refuse_a_second_place(self, step: Step) -> None:
        """A network that another device of the machine has already; half of what is meant for it would go there."""
        own = interface_of(step)
        for index, found in self.addresses(own.version):
            is_other = index != self.devices.need(step.values["device"])
            if is_other and found.network == own.network and own.network.num_addresses > 1:
                there = self.devices.name(index)
                raise KernelError(f"{own.network} is at {there} already; networks must not overlap")

    def do_address(self, step: Step, note: Note) -> None:
        device = step.values["device"]
        self.devices.need(device)
        if note.get("was") and self.has_address(step):
            return  # it keeps its lifetimes, which we could not give back
        switch = Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6")
        if interface_of(step).version == 6 and switch.exists() and switch.read_text() != "0\n":
            raise KernelError(f"{device} has IPv6 switched off (net.ipv6.conf.{device}.disable_ipv6)")
        run_line(step.values["up"])

    def undo_address(self, step: Step, note: Note) -> None:
        if not note.get("was") and self.has_address(step):
            run_line(step.values["down"])

    def ways(self, step: Step) -> set[int]:
        """The devices by which routes lead to where a step's does."""
        network = ipaddress.ip_network(step.values["to"])
        there = self.route.route("dump", family=FAMILIES[network.version], table=step.values["table"])
        own = str(network.network_address)
        return {
            route.get_attr("RTA_OIF")
            for route in there
            if route["dst_len"] == network.prefixlen and (route.get_attr("RTA_DST") or own) == own
        }

    def read_route(self, step: Step) -> Note:
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
        self.devices.need(step.values["device"])
        run_line(step.values["up"])

    def undo_route(self, step: Step, note: Note) -> None:
        if not note.get("was") and self.has_route(step):
            run_line(step.values["down"])

    def do_rule(self, step: Step, note: Note) -> None:
        run_line(step.values["up"], "File exists")

    def has_rule(self, step: Step) -> bool:
        names = ("FRA_PRIORITY", "FRA_TABLE", "FRA_SRC", "FRA_DST", "FRA_IIFNAME", "FRA_FWMARK")
        there = self.route.get_rules(family=FAMILIES[step.values["family"]])
        return any([each.get_attr(name) or None for name in names] == step.values["seen"] for each in there)

    def undo_rule(self, step: Step, note: Note) -> None:
        run_line(step.values["down"], "No such file or directory")

    def read_pin(self, step: Step) -> Note:
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
