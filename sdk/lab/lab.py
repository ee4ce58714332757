# SPDX-License-Identifier: ISC
"""A lab: the machines of a topology, wired, with the programs on them that a router has.

The lab replaces what a laptop lacks (netifd, procd, radios) and nothing else: addresses of bridges, links, starting
programs. `464xlat` sets up the roles; prefixd decides which PLAT is used.

This file has what tests and people call. base.py has the parts of a lab. power.py has the order in which machines come
up and go off, wiring.py the links, programs.py the programs. readiness.py says when all is ready.
"""

from pathlib import Path

from sdk.lab import power, readiness
from sdk.lab.associations import Associations
from sdk.lab.base import LabBase, with_settings
from sdk.lab.machine import SITE, TOPOLOGY, LabError, Machines
from sdk.lab.process_table import find_labs
from sdk.lab.site import load_site
from sdk.lab.topology_reader import load_topology
from sdk.lab.wiring import Wiring


class Lab(LabBase):
    """A lab that is up, or that `with` brings up and takes down.

    log is called with a sentence at each step that may last. from_packages is a folder of .ipk files: the nodes run
    these instead of this repository's files. Without it the environment decides (packaged.CHOSEN), which may also say
    what rules are made of and what roaming daemons run on (base.SETTINGS). Every method that
    asks the kernel may raise LabError.
    """

    @classmethod
    def find(cls, name: str) -> "Lab":
        """Take over a persistent lab. Raises LabError if none of that name is up."""
        machines = Machines.find(name)
        environ = find_labs()[name].environ
        files = environ.get(TOPOLOGY, ""), environ.get(SITE, "")
        if not all(files):
            raise LabError(f"the lab {name!r} belongs to a program that runs it, and takes it down itself")
        saved = machines.saved_files()
        topology = with_settings(load_topology(saved[0]), environ)
        site = load_site(saved[1], topology.settings.pool)
        lab = cls(topology, site, name=name, files=files)
        lab.from_packages = next((Path(folder) for folder in machines.packaged.values()), None)
        lab.attach(machines)
        return lab

    def __enter__(self) -> "Lab":
        self.up()
        return self

    def __exit__(self, *exception) -> None:
        self.down()

    # Up and down

    def up(self, *, persistent: bool = False) -> None:
        """Boot, wire and set up everything; returns when the programs run. See wait_ready for the rest.

        A lab that cannot come up is taken down again. Unless persistent, it ends with this process at the latest.
        """
        files = [str(Path(file).resolve()) if file else "" for file in self.files]
        self.attach(Machines.start(self.name, persistent=persistent, topology=files[0], site=files[1]))
        try:
            power.bring_up(self)
        except BaseException:
            self.down()
            raise

    def attach(self, machines: Machines) -> None:
        self.machines, self._wiring = machines, Wiring(machines, self.plan)
        self._associations = Associations(machines, self.plan, self.lay_cable)

    def down(self) -> None:
        if self._associations:
            self._associations.close()
        if self.machines:
            self.machines.end()
        self.machines = self._wiring = self._associations = None

    def wait_ready(self, deadline_s: float = readiness.READY_S) -> float:
        """Wait until every client has a lease and an answer from the internet; return the seconds it took."""
        return readiness.wait_ready(self, deadline_s)

    def kill(self, name: str) -> None:
        """Power a node off: its links lose all frames, and every process on it ends."""
        power.off(self, self.node(name).name)

    def start(self, name: str) -> None:
        """Power a node on, or off and on: it boots without state, its links are made again, and its programs start.

        Links that were cut work again, except those to a node that is off.
        """
        power.on(self, self.node(name).name)
