# SPDX-License-Identifier: ISC
"""What checks ask of a mesh: a clatnode with a client, a node between, a platnode with a line, all with the packages.

A check knows no more of it. The mesh may have OpenWrt's procd or a stand-in. Its abilities say what it has, and checks
that need more are left out.
"""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from sdk.lab.machine import LabError
from sdk.timeouts import TIMEOUT_SCALE

Found = TypeVar("Found")
# abilities
MANAGER = "manager"  # a package manager, and nodes that are without the packages at first
PROCD = "procd"  # OpenWrt's own procd, ubus, logd
NETIFD = "netifd"  # netifd, with a WAN that has a DHCP lease
FIREWALL = "firewall"  # OpenWrt's firewall
DNSMASQ = "dnsmasq"  # OpenWrt's dnsmasq, by its init script
REBOOT = "reboot"
GLUON = "gluon"


class CheckError(LabError):
    """What a check found wrong: one sentence."""


@dataclass(frozen=True, slots=True)
class Options:
    """How long a run may take: seconds without a WAN and left alone, and how often each daemon is killed."""

    wan_down_s: float = 60
    kills: int = 10
    quiet_s: float = 30


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command: its exit status and all that it said."""

    status: int
    said: str


class Mesh(ABC):
    """A mesh that is up. Raises LabError from every method that asks it."""

    clatnode, between, platnode = "a", "b", "c"
    abilities: frozenset[str] = frozenset()
    options = Options()
    share_pids = False  # whether the numbers of processes are one row for all nodes
    # a node's services that have a daemon, of this feed
    services: ClassVar[dict[str, tuple[str, ...]]] = {
        "a": ("siit", "prefixd", "l3roamd-py"),
        "b": (),
        "c": ("siit", "l3roamd-py"),
    }

    @property
    def nodes(self) -> tuple[str, str, str]:
        return self.clatnode, self.between, self.platnode

    @abstractmethod
    def do(self, node: str, line: str, timeout_s: float = 120) -> Done:
        """Run a line of sh on a node."""

    @abstractmethod
    def pids(self, node: str, service: str) -> frozenset[int]:
        """Return the processes of a service's instances that run now, by their numbers on the node."""

    @abstractmethod
    def log(self, node: str) -> list[str]:
        """Return the lines of a node's log."""

    @abstractmethod
    def ping(self, count: int = 1) -> bool:
        """Whether the internet answers the client."""

    def install_lines(self, node: str) -> list[str]:
        """What is typed on a node to install the packages: a line of sh each."""
        raise NotImplementedError

    def settings(self, node: str) -> list[str]:
        """What is typed then."""
        raise NotImplementedError

    def remove_lines(self, node: str) -> list[str]:
        raise NotImplementedError

    @abstractmethod
    def renew(self) -> None:
        """Let the client ask for a lease again, as a device does after its link was down."""

    def pull_wan(self) -> None:
        """Pull the cable of the platnode's WAN."""
        raise NotImplementedError

    def plug_wan(self) -> None:
        raise NotImplementedError

    def reboot(self, node: str) -> None:
        """Reboot a node by its own command; returns when its new procd runs."""
        raise NotImplementedError

    def traces(self, node: str) -> dict[str, str]:
        """Return what there is on a node, by its name: files (a digest of each), and what the kernel holds."""
        raise NotImplementedError

    # What the checks have in common

    def sh(self, node: str, line: str, timeout_s: float = 120) -> str:
        """Run a line of sh on a node; return what it said. Raises CheckError if it fails."""
        done = self.do(node, line, timeout_s)
        if done.status:
            last = (done.said.strip() or "nothing").splitlines()[-1]
            raise CheckError(f"{node}: `{line}` failed ({done.status}): {last}")
        return done.said

    def wait(
        self, is_so: Callable[[], Found], what: str, within_s: float = 60, every_s: float = 0.3
    ) -> Found:
        """Wait until a function returns something true, and return that. Raises CheckError that says what lacked."""
        end = time.monotonic() + within_s * TIMEOUT_SCALE
        while not (found := is_so()):
            if time.monotonic() > end:
                raise CheckError(f"{what}: not within {within_s:g} s")
            time.sleep(every_s)
        return found

    def wait_for_ping(self, within_s: float = 60) -> float:
        """Wait until the internet answers the client; return the seconds that it took."""
        begun = time.monotonic()
        self.wait(self.ping, "an answer from the internet", within_s)
        return time.monotonic() - begun

    def status(self, node: str) -> Done:
        return self.do(node, "/etc/init.d/464xlat status")

    def is_healthy(self, node: str) -> bool:
        """Whether a node's status ends with 0."""
        return self.status(node).status == 0

    def is_failing(self, node: str) -> bool:
        return not self.is_healthy(node)

    def shows(self, node: str, line: str, word: str) -> bool:
        """Whether a line of sh prints a word."""
        return word in self.do(node, line).said

    def role_of(self, node: str) -> str:
        return {self.clatnode: "clat", self.platnode: "plat"}.get(node, "")

    def is_up(self, node: str) -> bool:
        """Whether the role that the node ought to have is up."""
        return bool(re.search(rf"^{self.role_of(node)}\s+up\b", self.status(node).said, re.M))

    def all_pids(self) -> dict[tuple[str, str], frozenset[int]]:
        """Return the processes of every service of the feed's, by node and service."""
        return {
            (node, service): self.pids(node, service)
            for node in self.nodes
            for service in self.services[node]
        }
