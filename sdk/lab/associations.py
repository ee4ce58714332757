# SPDX-License-Identifier: ISC
"""Which client is associated with which node, and how it walks on. How a radio is stood in for: radio.py.

Where a client is, the kernel knows: the port that its eth0 has now. So every process that asks gets the same answer.
A cable to a node is laid when a client first goes there, before it leaves the old one, and then stays.
"""

import contextlib
import threading
import time
from collections.abc import Callable

from sdk.lab.machine import LabError, Machines
from sdk.lab.plan import Cable, Plan, client_cable
from sdk.lab.radio import Device, Kernel, station_frame
from sdk.lab.topology import Client
from sdk.timeouts import TIMEOUT_SCALE

CARRIER_S = 20.0 * TIMEOUT_SCALE  # for the kernel to find that a new cable has a carrier


class Associations:
    """The associations of a lab's clients. lay makes a cable; raises LabError as the Lab does."""

    def __init__(self, machines: Machines, plan: Plan, lay: Callable[[Cable], None]):
        self.machines, self.plan, self.lay = machines, plan, lay
        self.kernels: dict[str, Kernel] = {}
        self.turn = threading.Lock()

    def kernel(self, machine: str) -> Kernel:
        """Return a way to a machine's kernel; a machine that was booted again has a new one."""
        with self.turn:
            pid, known = self.machines.pids[machine], self.kernels.get(machine)
            if known is None or known.pid != pid:
                if known:
                    known.close()
                self.kernels[machine] = known = Kernel(machine, pid)
            return known

    def close(self) -> None:
        for kernel in self.kernels.values():
            kernel.close()
        self.kernels.clear()

    # Where everybody is

    def node_of(self, client: str) -> str | None:
        """Return the node that a client is associated with, None while it is with none."""
        devices = self.kernel(client).devices()
        master = devices["eth0"].index if "eth0" in devices else -1
        for node in self.plan.topology.nodes:
            radio = devices.get(self.cable(client, node.name).a.device)
            if radio and radio.master == master:
                return node.name
        return None

    def cable(self, client: str, node: str) -> Cable:
        return client_cable(self.plan.clients[client], node)

    def cables(self) -> dict[str, Cable]:
        """Return the links of the lab as they are now: a client's leads to where it is, or was to begin with."""
        cables = dict(self.plan.cables)
        for client in self.plan.topology.clients:
            cable = self.cable(client.name, self.node_of(client.name) or client.node)
            cables[cable.name] = cable
        return cables

    # Walking

    def join(self, client: Client, node: str) -> float:
        """Associate a client that is with no node; return when that was (monotonic clock, seconds)."""
        kernel, cable = self.kernel(client.name), self.cable(client.name, node)
        return self.associate(kernel, client, kernel.device("eth0"), self.with_carrier(kernel, cable))

    def roam(self, client: Client, node: str, *, hard: bool) -> float:
        """Move a client to another node; return when it was associated there (monotonic clock, seconds)."""
        kernel, old, new = self.kernel(client.name), self.node_of(client.name), self.cable(client.name, node)
        if old == node:
            raise LabError(f"{client.name} is at {node} already")
        devices = kernel.devices()
        if new.a.device not in devices:
            self.lay(new)
            devices = kernel.devices()
        radio = self.with_carrier(kernel, new)
        if old:
            self.leave(kernel, client, devices, self.cable(client.name, old), hard)
        return self.associate(kernel, client, devices["eth0"], radio)

    def leave(
        self, kernel: Kernel, client: Client, devices: dict[str, Device], cable: Cable, hard: bool
    ) -> None:
        kernel.set_master(devices[cable.a.device], 0)
        if hard:
            return
        node = self.kernel(cable.b.machine)
        port = node.device(cable.b.device)
        impairments = client.impairments
        if arrives_s := (impairments.delay_ms + impairments.jitter_ms) / 1000:
            # the goodbye comes behind what the client sent before it
            threading.Timer(arrives_s, forget_station_later, (node, port, client.mac)).start()
        else:
            node.forget(port, client.mac)

    def associate(self, kernel: Kernel, client: Client, eth0: Device, radio: Device) -> float:
        kernel.set_master(radio, eth0.index)
        kernel.send(radio, station_frame(client.mac))
        return time.monotonic()

    def with_carrier(self, kernel: Kernel, cable: Cable) -> Device:
        deadline = time.monotonic() + CARRIER_S
        while not (radio := kernel.device(cable.a.device)).is_up:
            if time.monotonic() > deadline:
                raise LabError(f"{cable.name}: no carrier at {cable.a.machine}")
            time.sleep(0.001)
        return radio


def forget_station_later(node: Kernel, port: Device, mac: bytes) -> None:
    with contextlib.suppress(LabError, OSError):  # the lab, or the node, is gone by now
        node.forget(port, mac)
