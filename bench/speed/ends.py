# SPDX-License-Identifier: ISC
"""What the loads need of a topology: a client, a server, and what has to be switched before a variant is measured."""

import json
import subprocess
from dataclasses import dataclass
from typing import Any, Protocol


class Machine(Protocol):
    """Where programs run: a network namespace, or a machine of a lab."""

    def run(self, *words: str) -> str:
        """Run a command to its end and return its output. Raises BenchError or LabError when it fails."""

    def start(self, *words: str, **options: Any) -> subprocess.Popen:
        """Start a command that ends with this process; options: Popen's."""


@dataclass(frozen=True)
class Ends:
    """Between whom packets go. source: what the client binds ("-": any), to: what it sends to, at: the server's own."""

    client: Machine
    server: Machine
    source: str
    to: str
    at: str


class Topology(Protocol):
    """A path that is up, with all its variants."""

    name: str
    program: str  # net_load, compiled
    variants: tuple[str, ...]

    def use(self, variant: str, links: str) -> Ends:
        """Have the path as the variant needs it; links is a key of LINKS."""

    def daemons(self, variant: str) -> list[int]:
        """The translators' processes, whose CPU time counts."""


# What links do, in ethtool's words. veth hands on super-packets and unfinished checksums, which no Ethernet does:
# a router gets packets that a link has cut, with real checksums.
WHOLE = ("gro", "off", "rx-gro-list", "off", "tx", "on", "tso", "on", "gso", "on")
CUT = ("tx", "off", "tso", "off", "gso", "off", "tx-udp-segmentation", "off")
LINKS = {
    "whole": WHOLE,
    "single": ("gro", "off", "rx-gro-list", "off", *CUT),
    "gro": ("gro", "on", "rx-gro-list", "off", *CUT),
    "list": ("gro", "on", "rx-gro-list", "on", *CUT),
}


def set_links(machine: Machine, kind: str) -> None:
    """Have all links of a machine be of a kind of LINKS."""
    for device in json.loads(machine.run("ip", "-json", "link", "show", "type", "veth")):
        machine.run("ethtool", "-K", device["ifname"], *LINKS[kind])
