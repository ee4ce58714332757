# SPDX-License-Identifier: ISC
"""The daemon's command line as checked values. No I/O."""

from dataclasses import dataclass
from pathlib import Path

from l3roamd_py.core.options import Options

SOCKET = Path("/var/run/l3roamd.sock")
STATE = Path("/var/run/l3roamd.state")
BACKENDS = ("auto", "nft", "xtables")


@dataclass(frozen=True, slots=True)
class Settings:
    """options: what the core is told; the rest is of the daemon around it."""

    options: Options
    client_device: str = "br-client"
    clat_device: str = "clat"
    plat_device: str = "plat"
    mesh_devices: tuple[str, ...] = ()
    lease_file: Path | None = None
    socket: Path = SOCKET
    state: Path = STATE
    rules: str = "auto"
    is_verbose: bool = False
