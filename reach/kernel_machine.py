# SPDX-License-Identifier: ISC
"""How a machine is beside what we do to it: its addresses, and everybody's firewall rules. Changes nothing."""

import os
from pathlib import Path

from reach.host import Machine
from reach.kernel import addresses
from reach.kernel_rules import read_tables

BRIDGES = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def read_machine() -> Machine:
    filters_bridges = BRIDGES.exists() and BRIDGES.read_text().strip() == "1"
    is_root = os.geteuid() == 0
    tables = read_tables() if is_root else []
    return Machine(tuple(tables), frozenset(addresses()), filters_bridges, is_root)
