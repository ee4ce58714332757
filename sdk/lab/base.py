# SPDX-License-Identifier: ISC
"""What a lab that is up consists of, and the questions that one can ask it.

power.py, readiness.py and lab.py build on this: it starts and ends nothing.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from sdk.lab.associations import Associations
from sdk.lab.machine import LabError, Machines
from sdk.lab.packaged import CLIENT_DEVICE, Packages, chosen
from sdk.lab.plan import PREFIXD_SOCKET, WEB, Cable, Plan, platnodes, text
from sdk.lab.process_table import INTERPRETER, RULES
from sdk.lab.programs import Programs
from sdk.lab.site import EXAMPLE, Site, load_site, read_table
from sdk.lab.topology import Client, Node, Topology
from sdk.lab.wiring import Wiring
from xlat464.address import format_mac

Part = TypeVar("Part")


SETTINGS = {RULES: "rules", INTERPRETER: "interpreter"}  # that an environment may say otherwise


def with_settings(topology: Topology, environment: Mapping[str, str]) -> Topology:
    """Return the topology with what an environment says of SETTINGS. Raises LabError."""
    for variable, name in SETTINGS.items():
        if said := environment.get(variable):
            changes: dict[str, Any] = {name: said}
            try:
                topology = replace(topology, settings=replace(topology.settings, **changes))
            except ValueError as error:
                raise LabError(f"{variable}: {error}") from None
    return topology


class LabBase:
    """The machines, links and programs of a lab. Every method that asks the kernel may raise LabError."""

    def __init__(
        self,
        topology: Topology,
        site: Site | None = None,
        *,
        name: str = "lab",
        log: Callable[[str], None] = lambda sentence: None,
        files: tuple[str, str] = ("", ""),
        from_packages: Path | None = None,
    ):
        self.topology = topology = with_settings(topology, os.environ)
        self.site = site or load_site(EXAMPLE, topology.settings.pool)
        self.name, self.log = name, log
        self.files = files  # topology and site file, for a later command on a persistent lab
        self.plan = Plan(topology, self.site)
        self.from_packages = from_packages or chosen()
        self.machines: Machines | None = None
        self._associations: Associations | None = None
        self._wiring: Wiring | None = None

    # What it is made of, once it is up

    def need(self, part: Part | None) -> Part:
        if part is None:
            raise LabError(f"the lab {self.name!r} is not up")
        return part

    @property
    def running(self) -> Machines:
        return self.need(self.machines)

    @property
    def associations(self) -> Associations:
        return self.need(self._associations)

    @property
    def wiring(self) -> Wiring:
        return self.need(self._wiring)

    @property
    def programs(self) -> Programs:
        return Programs(self.running, self.plan, self.packages)

    @cached_property
    def packages(self) -> Packages | None:
        """What the nodes run where it is packages."""
        if self.from_packages is None:
            return None
        saved = self.running.saved_files()[1]
        file = saved if saved.exists() else EXAMPLE
        return Packages(self.plan, file.read_text(), read_table(file), self.from_packages)

    @property
    def gateway_device(self) -> str:
        """A clatnode's device that has the next-node address."""
        return CLIENT_DEVICE if self.from_packages else "br-client"

    # Commands on machines

    def exec(self, machine: str, argv: Sequence[str], **options) -> subprocess.CompletedProcess:
        """Run a command on a machine; options as in Machines.exec: check, stdin, timeout_s."""
        return self.running.exec(machine, argv, **options)

    def popen(self, machine: str, argv: Sequence[str], **options) -> subprocess.Popen:
        """Start a command on a machine that ends with this process; options as of subprocess.Popen."""
        return self.running.popen(machine, argv, **options)

    def script(self, machine: str, lines: Sequence[str]) -> None:
        """Run lines of sh on a machine, as one; the first that fails ends it."""
        self.running.script(machine, lines)

    # Links

    @property
    def cables(self) -> dict[str, Cable]:
        """The links as they are now, by name: clients walk."""
        return self._associations.cables() if self._associations else self.plan.cables

    def cable(self, name: str) -> Cable:
        """Return a link by its name, or by its ends in any order with a hyphen between."""
        cables = self.cables
        if name in cables:
            return cables[name]
        for cable in cables.values():
            ends = cable.a.machine, cable.b.machine
            if name in ("-".join(ends), "-".join(reversed(ends))):
                return cable
        raise LabError(f"there is no link {name!r}, known are {', '.join(sorted(cables))}")

    def cut(self, name: str) -> None:
        """Drop every frame of a link, both ways and without loss of carrier, as when a radio link fails."""
        self.wiring.cut(self.cable(name))

    def heal(self, name: str) -> None:
        """Carry frames again. A link that is not cut stays as it is."""
        cable = self.cable(name)
        self.wiring.heal(cable.a, cable.b)

    def lay_cable(self, cable: Cable) -> None:
        """Make a client's cable to a node that it was not at before. Raises LabError if the node is off."""
        if not self.alive()[cable.b.machine]:
            raise LabError(f"the node {cable.b.machine!r} is off: `lab start {cable.b.machine}` powers it on")
        self.wiring.lay(cable)

    # Nodes

    def node(self, name: str) -> Node:
        for node in self.topology.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.topology.nodes)
        raise LabError(f"there is no node {name!r}, known are {known}")

    def alive(self) -> dict[str, bool]:
        """Return for every node whether it is powered on."""
        return self.programs.alive()

    # Clients

    def client(self, name: str) -> Client:
        if name not in self.plan.clients:
            raise LabError(
                f"there is no client {name!r}, known are {', '.join(sorted(self.plan.clients)) or 'none'}"
            )
        return self.plan.clients[name]

    def node_of(self, client: str) -> str | None:
        """Return the node that a client is associated with now, None while it is with none."""
        return self.associations.node_of(self.client(client).name)

    def roam(self, client: str, node: str, *, hard: bool = False, renew: bool = False) -> float:
        """Move a client to another node; return when it was associated there (monotonic clock, seconds).

        hard: the old node is not told. renew: the client renews its lease, as phones do after a new association.
        """
        walker, target = self.client(client), self.node(node)
        if not target.role.is_clat:
            raise LabError(
                f"the node {node!r} has the role {target.role}, expected clat or both: it takes no clients"
            )
        at_s = self.associations.roam(walker, node, hard=hard)
        if renew:
            for pid in self.running.daemons()[client].get("udhcpc", []):
                os.kill(pid, signal.SIGUSR1)
        return at_s

    # Questions

    def leases(self) -> dict[str, str]:
        """Return each client's IPv4 address, "" where it has none yet."""
        return {client.name: self.lease(client.name) for client in self.topology.clients}

    def lease(self, client: str) -> str:
        return self.associations.kernel(client).ipv4_address("eth0")

    def ipv6_addresses(self, client: str) -> list[str]:
        """Return the IPv6 addresses that a client has made itself and may use, the one for privacy first."""
        words = ["ip", "-j", "-6", "addr", "show", "dev", "eth0", "scope", "global"]
        known = [
            each
            for device in json.loads(self.exec(client, words).stdout)
            for each in device.get("addr_info", [])
        ]
        found = [each for each in known if "local" in each and not each.get("tentative")]
        return [each["local"] for each in sorted(found, key=lambda each: not each.get("temporary"))]

    def prefixd_status(self, node: str) -> dict:
        """Return what prefixd on a node says of itself, or {} while it does not answer."""
        return self.running.ask(node, PREFIXD_SOCKET, "status")

    def roaming_status(self, node: str) -> dict:
        """Return what the roaming daemon on a node says of itself, or {} while it does not answer."""
        return self.programs.roaming_status(node)

    def plat_of(self, node: str) -> str | None:
        """Return the name of the platnode that a clatnode uses, None if it uses none."""
        return self.plat_name(self.prefixd_status(node).get("chosen"))

    def plat_of_client(self, client: str) -> str | None:
        """Return the name of the platnode that a client uses, None if no roaming daemon serves it.

        Its node may have changed to another by now: a client keeps the one of its lease.
        """
        served = self.serving(client)
        return self.plat_name(f"{served['plat']}/96") if served and served.get("plat") else None

    def serving(self, client: str) -> dict | None:
        """Return what the roaming daemon says of a client at the node where it is; None until it serves it."""
        node, mac = self.node_of(client), format_mac(self.client(client).mac)
        for served in self.roaming_status(node).get("clients", []) if node else []:
            if served["mac"] == mac and served["state"] == "served":
                return served
        return None

    def plat_name(self, chosen: str | None) -> str | None:
        """Return the name of the platnode that has a /96, the /96 itself if that is none of ours."""
        names = {text(self.plan.plat_prefix(plat)): plat.name for plat in platnodes(self.topology)}
        return names.get(chosen, chosen) if chosen else None

    def is_answered(self, client: str) -> bool:
        """Whether the internet answers a client's ping."""
        ping = ["ping", "-c", "1", "-W", "3", WEB]
        return self.exec(client, ping, check=False).returncode == 0
