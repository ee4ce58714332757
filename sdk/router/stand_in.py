# SPDX-License-Identifier: ISC
"""A lab of sdk/lab as a mesh for checks: its nodes run the packages under what stands in for OpenWrt.

What netifd does on a router is played here: a line that is lost takes its route along, and procd's triggers are told.
"""

import os
import signal

from sdk.lab import WEB, Lab
from sdk.lab.topology import INTERNET
from sdk.router.mesh import Done, Mesh, Options

CLIENT = "phone"
TOPOLOGY = f"""\
[nodes.a]
role = "clat"
[nodes.b]
role = "plain"
[nodes.c]
role = "plat"
[[links]]
between = ["a", "b"]
[[links]]
between = ["b", "c"]
[clients.{CLIENT}]
node = "a"
"""
# A supervisor's child is the daemon, or a sleep before it is started again. (They share the lab's process ids.)
PIDS = """
for file in /run/procd/{service}/*/pid; do
	[ -s "$file" ] && read -r supervisor <"$file" || continue
	for pid in $(cat "/proc/$supervisor/task/$supervisor/children" 2>/dev/null); do
		read -r name <"/proc/$pid/comm" && [ "$name" = sleep ] || echo "$pid"
	done
done
"""


class StandInMesh(Mesh):
    """The nodes of a lab of TOPOLOGY that is up, with packages."""

    share_pids = True

    def __init__(self, lab: Lab, options: Options):
        self.lab, self.options = lab, options

    def do(self, node: str, line: str, timeout_s: float = 120) -> Done:
        done = self.lab.exec(node, ["sh", "-c", f"exec 2>&1\n{line}"], check=False, timeout_s=timeout_s)
        return Done(done.returncode, done.stdout)

    def pids(self, node: str, service: str) -> frozenset[int]:
        return frozenset(map(int, self.do(node, PIDS.format(service=service)).said.split()))

    def log(self, node: str) -> list[str]:
        return self.lab.running.read(node, "/run/procd.log").splitlines()

    def ping(self, count: int = 1) -> bool:
        ping = ["ping", "-c", str(count), "-i", "0.2", "-W", "1", WEB]
        return self.lab.exec(CLIENT, ping, check=False).returncode == 0

    def renew(self) -> None:
        for pid in self.lab.running.daemons()[CLIENT].get("udhcpc", []):
            os.kill(pid, signal.SIGUSR1)

    def pull_wan(self) -> None:
        [cable] = [each for each in self.lab.cables.values() if each.has_end_at(INTERNET)]
        self.cable = cable.name
        self.route = self.sh(self.platnode, "ip -4 route show default").strip()
        self.lab.cut(self.cable)
        self.sh(self.platnode, "ip -4 route del default && /etc/init.d/464xlat reload")

    def plug_wan(self) -> None:
        self.lab.heal(self.cable)
        self.sh(self.platnode, f"ip -4 route add {self.route} && /etc/init.d/464xlat reload")
