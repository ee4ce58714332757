# SPDX-License-Identifier: ISC
"""The wires of a mesh of routers: each device is plugged into a switch of its own machine, a bridge for each segment.

So a neighbour's device stays when a node goes, as with real cables and radios, and a cable can be pulled.
"""

import subprocess
from dataclasses import dataclass

from sdk.lab.machine import LabError, Machines

SWITCH = "switch"


@dataclass(frozen=True, slots=True)
class Plug:
    """A device of a machine, its MAC (text), and the segment that it is plugged into."""

    machine: str
    device: str
    mac: str
    segment: str

    @property
    def port(self) -> str:
        return f"{self.machine}-{self.device}"[-15:]


def set_up(machines: Machines, segments: set[str]) -> None:
    """Boot the switch, with a bridge for each segment. Raises LabError."""
    machines.boot(SWITCH)
    lines = [f"ip link add {name} up type bridge mcast_snooping 0" for name in sorted(segments)]
    machines.script(SWITCH, lines)


def lay(machines: Machines, plugs: list[Plug]) -> None:
    """Make the devices of a machine that has none yet, and plug them in; for several side by side. Raises LabError."""
    for plug in plugs:
        machines.exec(SWITCH, ["ip", "link", "del", plug.port], check=False)  # of before a loss of power
        words = f"{plug.device} netns {machines.pids[plug.machine]} address {plug.mac} type veth".split()
        peer = f"peer name {plug.port} netns {machines.pids[SWITCH]}".split()
        done = subprocess.run(["ip", "link", "add", *words, *peer], capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"{plug.machine}: the device {plug.device}: {done.stderr.strip()}")
        machines.exec(SWITCH, ["ip", "link", "set", plug.port, "master", plug.segment, "up"])


def pull(machines: Machines, plug: Plug) -> None:
    """Pull a cable: both ends lose their carrier."""
    machines.exec(SWITCH, ["ip", "link", "set", plug.port, "down"])


def put(machines: Machines, plug: Plug) -> None:
    machines.exec(SWITCH, ["ip", "link", "set", plug.port, "up"])
