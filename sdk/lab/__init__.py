# SPDX-License-Identifier: ISC
"""The mesh in network namespaces: from a topology file and a Gluon site.conf to machines one can look at."""

from sdk.lab.abilities import check_machine
from sdk.lab.lab import Lab
from sdk.lab.machine import CommandError, LabError
from sdk.lab.plan import DNS, ECHO, WEB
from sdk.lab.site import Site, SiteError, load_site
from sdk.lab.topology import Topology
from sdk.lab.topology_reader import TopologyError, load_topology, parse_topology, topology_file

__all__ = [
    "DNS",
    "ECHO",
    "WEB",
    "CommandError",
    "Lab",
    "LabError",
    "Site",
    "SiteError",
    "Topology",
    "TopologyError",
    "check_machine",
    "load_site",
    "load_topology",
    "parse_topology",
    "topology_file",
]
