# SPDX-License-Identifier: ISC
"""The daemon's command line as checked values. No I/O."""

from l3roamd_py.core.options import Options
from xlat464.address import parse_decimal, quote
from xlat464.node import check_ranges, node_prefix, parse_pref64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATE = "/var/run/l3roamd.state"
BACKENDS = ("auto", "nft", "xtables")
MAIN_TABLE, TABLE_MOST = 254, 0xFFFFFFFF


def parse_table(text: str) -> int:
    """Return the number of a routing table. Raises ValueError."""
    number: int | None = parse_decimal(text, TABLE_MOST)
    if not number:
        raise ValueError(f"{quote(text)} is no routing table, expected a number from 1 to {TABLE_MOST}")
    return number


class Settings:
    """given: the options of `daemon`, by their names. limits: of what is remembered, as options of the core.

    Raises ValueError for options that do not fit together.
    """

    def __init__(self, given: "dict[str, Any]", limits: dict[str, int]) -> None:
        own = given.get("--own")  # the address of a node that serves IPv6 alone
        if own is None:
            if not given["--clat"] and not given["--plat"]:
                raise ValueError("this node has no role: expected --clat, --plat or both")
            check_ranges(given["--clat-range"], given["--plat-range"])
        self.options = Options(
            clat_range=given["--clat-range"],
            plat_range=given["--plat-range"],
            node_client_prefix=given["--node-client-prefix"],
            clat=node_prefix(given["--clat-range"], given["--mac"]) if given["--clat"] else None,
            plat=node_prefix(given["--plat-range"], given["--mac"]) if given["--plat"] else None,
            prefixes=tuple(given["--prefix"]),
            is_roam_auth_required=given["--roam-auth"] == "required",
            sends_on=given["--send-on"] == "on",
            max_lease_s=given["--max-lease"],
            own=own,
            pref64=None if own is not None else self._pref64(given),
            told_plat=given.get("--told-plat"),
            partners=tuple(given["--prepare"] or ()),
            max_port_clients=given["--max-port-clients"],
            **limits,  # type: ignore[arg-type]
        )
        self.client_device: str = given["--client-device"]
        self.clat_device: str = given["--clat-device"]
        self.plat_device: str = given["--plat-device"]
        self.translator: str | None = given["--translator"]
        self.mesh_devices: list[str] = []
        for device in given["--mesh"]:
            if device not in self.mesh_devices:
                self.mesh_devices.append(device)
        self.table: int = given["--table"]
        self.without: tuple[str, ...] = given.get("--without", ())  # ways to learn clients that are not used
        self.lease_file: str | None = given["--lease-file"]
        self.socket: str = given["--socket"]
        self.state: str = given["--state"]
        self.rules: str = given["--rules"]
        self.is_verbose: bool = given["--verbose"]

    @staticmethod
    def _pref64(given: "dict[str, Any]") -> bytes | None:
        found: bytes | None = parse_pref64(
            given["--pref64"], given["--clat-range"], given["--plat-range"], given["--prefix"]
        )
        return found
