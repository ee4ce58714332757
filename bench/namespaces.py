# SPDX-License-Identifier: ISC
"""Network namespaces that a bench joins to a path."""

import subprocess
from dataclasses import dataclass

MTU_BYTES = 1500  # of every link; an IPv4 packet that is translated may have 20 less


class BenchError(RuntimeError):
    """The bench cannot run here; one sentence says why."""


@dataclass(frozen=True)
class Node:
    """A network namespace of the path."""

    netns: str

    def command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.netns, *words]

    def run(self, *words: str, timeout_s: float = 60) -> str:
        """Run a command here and return its output. Raises BenchError when it fails."""
        try:
            done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=timeout_s)
        except FileNotFoundError as error:
            raise BenchError(f"{error.filename} is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{' '.join(words)}: no end after {timeout_s} s") from error
        if done.returncode:
            raise BenchError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def start(self, *words: str, **options) -> subprocess.Popen:
        return subprocess.Popen(self.command(*words), **{"text": True, **options})


def join(a: Node, name_a: str, b: Node, name_b: str) -> None:
    words = ["ip", "link", "add", name_a, "netns", a.netns, "type", "veth", "peer", "name", name_b]
    subprocess.run([*words, "netns", b.netns], check=True)
    for node, name in ((a, name_a), (b, name_b)):
        node.run("ip", "link", "set", name, "up", "mtu", str(MTU_BYTES))


def address(node: Node, device: str, *addresses: str) -> None:
    for each in addresses:
        node.run("ip", "address", "add", each, "dev", device, *(["nodad"] if ":" in each else []))
