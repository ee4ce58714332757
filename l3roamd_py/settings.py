# SPDX-License-Identifier: ISC
"""The daemon's command line as checked values. No I/O."""

from l3roamd_py.core.options import Options
from l3roamd_py.question import SOCKET
from runtime.record import record

STATE = "/var/run/l3roamd.state"
BACKENDS = ("auto", "nft", "xtables")


@record("options client_device clat_device plat_device mesh_devices lease_file socket state rules is_verbose")
class Settings:
    """options: what the core is told; the rest is of the daemon around it."""

    options: Options
    client_device: str = "br-client"
    clat_device: str = "clat"
    plat_device: str = "plat"
    mesh_devices: tuple[str, ...] = ()
    lease_file: str | None = None
    socket: str = SOCKET
    state: str = STATE
    rules: str = "auto"
    is_verbose: bool = False
