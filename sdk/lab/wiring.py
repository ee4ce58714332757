# SPDX-License-Identifier: ISC
"""How a lab's links are laid and cut: plain veth, netem where the kernel has it, or our own wire in user space.

The plan says which links there are, and which device is at which end.
"""

import contextlib
import shlex
import subprocess
import threading
from collections.abc import Sequence
from functools import cached_property

from sdk.lab.machine import DAEMON_S, REPOSITORY, CommandError, LabError, Machines
from sdk.lab.plan import Cable, End, Plan, netem
from sdk.lab.side_by_side import side_by_side
from sdk.lab.topology import INTERNET

WIRE = REPOSITORY / "build/bin/wire"
NETEM_TRIAL = "tc qdisc add dev lo root netem delay 1ms && tc qdisc del dev lo root"
TALK = (
    "while ! [ -p /run/wire.out ]; do sleep 0.01; done; "
    'printf "%s\\n" "$0" >/run/wire.in; read -r line </run/wire.out; echo "$line"'
)


class Wiring:
    """The links between the machines of one lab. Raises LabError from every method that asks the kernel."""

    def __init__(self, machines: Machines, plan: Plan):
        self.machines, self.plan = machines, plan
        self.wire_turn = threading.Lock()

    @cached_property
    def has_netem(self) -> bool:
        """Whether links with impairments use netem."""
        wanted = self.plan.topology.settings.links
        if wanted != "auto":
            return wanted == "netem"
        return self.machines.exec(INTERNET, ["sh", "-c", NETEM_TRIAL], check=False).returncode == 0

    def is_wire(self, cable: Cable) -> bool:
        return not cable.impairments.is_plain and not self.has_netem

    def lay(self, *cables: Cable) -> None:
        """Make the two devices of each link, up and with MACs and addresses: one script for all of a machine's."""
        lines: dict[str, list[str]] = {}
        for cable in cables:
            self.connect(cable)
            for end in (cable.a, cable.b):
                more = lines.setdefault(end.machine, [])
                if self.is_wire(cable):
                    more.append(f"ip link set {end.device} address {self.plan.mac_of(end)} mtu {cable.mtu}")
                elif not cable.impairments.is_plain:
                    more.append(f"tc qdisc add dev {end.device} root netem {netem(cable.impairments)}")
                more += self.plan.end_lines(end)
        side_by_side(lambda machine: self.machines.script(machine, lines[machine]), lines)

    def connect(self, cable: Cable) -> None:
        """Make a link's two devices; a wire's as they come."""
        if self.is_wire(cable):
            self.connect_wire(cable)
            return
        one, other = (
            f"name {end.device} netns {self.machines.pids[end.machine]} address {self.plan.mac_of(end)} mtu {cable.mtu}"
            for end in (cable.a, cable.b)
        )
        command = ["ip", "link", "add", *one.split(), "type", "veth", "peer", *other.split()]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"link {cable.name}: {done.stderr.strip()}")

    # Cut and heal

    def cut(self, cable: Cable) -> None:
        """Drop every frame of a link, both ways and without loss of carrier, as when a radio link fails."""
        for end in (cable.a, cable.b):
            rule = f"type filter hook ingress device {end.device} priority -500; drop"
            table = f"table netdev cut-{end.device} {{\n chain c {{\n {rule}\n }}\n}}\n"
            self.machines.exec(end.machine, ["nft", "-f", "-"], stdin=table)

    def heal(self, *ends: End) -> None:
        """Take frames at these ends again, cut or not."""
        for end in ends:
            with contextlib.suppress(CommandError):  # it is not cut
                self.machines.exec(end.machine, ["nft", "delete", "table", "netdev", f"cut-{end.device}"])

    def is_cut(self, cable: Cable) -> bool:
        tables = self.machines.exec(cable.a.machine, ["nft", "list", "tables"], check=False).stdout
        return f"netdev cut-{cable.a.device}" in tables.replace('"', "")

    # The wire: one process for all links with impairments, beside the lab's first one

    def start_wire(self) -> None:
        """Start the process that carries links with impairments, if there are such and the kernel has no netem."""
        if not any(self.is_wire(cable) for cable in self.plan.cables.values()):
            return
        if not WIRE.exists():
            raise LabError(f"{WIRE} is not built: run `make demo`, which builds it")
        # the pipes are opened for both directions, so that neither end ever sees an end of file
        command = f"exec {shlex.quote(str(WIRE))} {self.plan.topology.settings.seed}"
        pipes = "<>/run/wire.in >/dev/null 1<>/run/wire.out"
        subprocess.run(
            self.at_init(["sh", "-c", f"{{ mkfifo /run/wire.in /run/wire.out; {command} {pipes}; }} & "]),
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def connect_wire(self, cable: Cable) -> None:
        a, b, w = cable.a, cable.b, cable.impairments
        pid_a, pid_b = self.machines.pids[a.machine], self.machines.pids[b.machine]
        self.tell_wire(
            f"wire {cable.name}@{b.machine} {pid_a} {a.device} {pid_b} {b.device} {round(w.delay_ms * 1000)} "
            f"{round(w.jitter_ms * 1000)} {round(w.loss_percent * 10_000)} {round(w.reorder_percent * 10_000)} "
            f"{round(w.rate_mbit * 1_000_000)}"
        )

    def tell_wire(self, command: str) -> None:
        with self.wire_turn:  # an answer has no address
            done = subprocess.run(
                self.at_init(["timeout", str(DAEMON_S), "sh", "-c", TALK, command]),
                capture_output=True,
                text=True,
            )
        if done.stdout.strip() != "ok":
            raise LabError(f"wire: {done.stdout.strip() or done.stderr.strip() or 'no answer'}")

    def at_init(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs argv beside the lab's first process, with its private /run."""
        return ["nsenter", f"--target={self.machines.init_pid}", "--pid", "--mount", "--", *argv]
