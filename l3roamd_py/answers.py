# SPDX-License-Identifier: ISC
"""What the daemon does and answers for each command of the control socket."""

from l3roamd_py import control
from l3roamd_py.control import MAPPED, Command, CommandError, line_bytes, parse
from l3roamd_py.core.events import AddressGone, AddressSeen, LeaseEnded, PlatChosen, PlatLost, PlatsTold
from l3roamd_py.kernel.netlink import KernelError
from l3roamd_py.netfilter.rules import RulesError
from runtime.log import DEBUG, INFO, WARNING
from runtime.rows import encode
from runtime.sockets import error_text
from xlat464.address import contains, format_ipv6, format_mac
from xlat464.node import RANGE_LENGTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from l3roamd_py.core.events import Event
    from l3roamd_py.daemon import Daemon

LEVELS = {"none": WARNING, "verbose": INFO, "debug": DEBUG}
DEVICES_MAX = 256
PREFIXES_MAX = 64
INACTIVE, ACTIVE, TENTATIVE = 0, 1, 2  # of an address in get_clients


class Answers:
    """The language of the control socket: what a line is answered. CommandError refuses it."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self._doers: "dict[str, Callable[[Command], str]]" = {
            "get_clients": lambda _: control.clients_answer(self._clients()),
            "get_prefixes": lambda _: control.prefixes_answer(self._daemon.core.node.prefixes),
            "get_meshifs": lambda _: control.meshifs_answer(self._daemon.inputs.mesh_devices),
            "add_prefix": self._change_prefixes,
            "del_prefix": self._change_prefixes,
            "add_meshif": self._change_meshifs,
            "del_meshif": self._change_meshifs,
            "probe": self._probe,
            "add_address": self._add_address,
            "del_address": self._del_address,
            "has_route": self._has_route,
            "verbosity": self._verbosity,
            "set_platprefix": self._set_plat,
            "del_platprefix": lambda command: self._tell(PlatLost(*command.values)),
            control.PLATS: lambda command: self._tell(PlatsTold(*command.values)),
            "lease": self._lease,
            "get_roams": self._roams,
            "get_status": lambda _: encode(self._daemon.describe()) + "\n",
        }

    def line_bytes(self, data: bytes) -> int:
        return line_bytes(data)

    def answer(self, line: bytes) -> tuple[str, ...]:
        return (self.carry_out(parse(line)),)

    def carry_out(self, command: Command) -> str:
        try:
            return self._doers[command.name](command)
        except (KernelError, RulesError) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{command.name}: {error_text(error)}") from None

    def _tell(self, *events: "Event") -> str:
        self._daemon.handle(events)
        return ""

    def _clients(self) -> "Iterator[tuple[str, str, dict[bytes, int]]]":
        daemon = self._daemon
        for client in daemon.core.node.clients.values():
            port = daemon.inputs.finder.place_of(client.mac) or daemon.inputs.finder.client_index
            own = [] if client.ipv4 is None else [MAPPED + client.ipv4]
            state = INACTIVE if client.state.name == "absent" else ACTIVE
            addresses = dict.fromkeys(own + list(client.addresses), state)
            for address in client.addresses:
                if address in daemon.core.node.verifications or not client.presence.is_routed:
                    addresses[address] = TENTATIVE
            for address, _ in client.presence.silent:
                addresses[address] = INACTIVE
            yield format_mac(client.mac), daemon.inputs.finder.links.name_of(port), addresses

    def _set_plat(self, command: Command) -> str:
        plat = command.values[0]
        around = self._daemon.core.options.plat_range
        if not contains(around, RANGE_LENGTH, plat):
            expected = f"expected one in {format_ipv6(around)}/{RANGE_LENGTH}"
            raise CommandError(f"{command.name}: {command.words[0]} is no PLAT of this domain, {expected}")
        return self._tell(PlatChosen(*command.values))

    # Prefixes and devices

    def _change_prefixes(self, command: Command) -> str:
        if self._change(self._daemon.core.node.prefixes, PREFIXES_MAX, "prefixes", command):
            self._daemon.follow_prefixes()
        return f"{'Added' if command.name == 'add_prefix' else 'Deleted'} prefix: {command.words[0]}"

    def _change_meshifs(self, command: Command) -> str:
        if self._change(self._daemon.inputs.mesh_devices, DEVICES_MAX, "mesh devices", command):
            self._daemon.inputs.follow()
        return ""

    def _change(self, known: "list[Any]", most: int, what: str, command: Command) -> bool:
        """Add a value to a list, or delete it, as the command's name says; return whether the list is another one."""
        verb, _, kind = command.name.partition("_")
        (value,) = command.values
        if (value in known) == (verb == "add"):
            return False
        if verb == "del":
            known.remove(value)
        elif len(known) < most:
            known.append(value)
        else:
            raise CommandError(f"there are {most} {what} already, expected del_{kind} first")
        return True

    # Clients

    def _probe(self, command: Command) -> str:
        address, mac = command.values
        if self._daemon.inputs.arp.socket() is None:
            device = self._daemon.settings.client_device
            raise CommandError(f"probe: {device} is not there, or down, so nobody can be asked")
        if address[:12] == MAPPED:
            self._daemon.inputs.arp.probe(mac, address[12:], self._daemon.now_s())
        else:
            self._daemon.inputs.kernel.probe(mac, address)
        return ""

    def _add_address(self, command: Command) -> str:
        address, mac = command.values
        self._daemon.handle([AddressSeen(mac, address)])
        return "OK"

    def _del_address(self, command: Command) -> str:
        address, mac = command.values
        if mac not in self._daemon.core.node.clients:
            return ""  # as the C daemon says nothing of a client that it does not know
        self._daemon.handle([AddressGone(mac, address)])
        return "OK"

    def _lease(self, command: Command) -> str:
        action, mac, ipv4 = command.values[:3]
        if action == "del":
            return self._tell(LeaseEnded(mac, ipv4))
        lease_s = command.values[3] if command.values[3:] else self._daemon.settings.options.max_lease_s
        self._daemon.hear_lease(action, mac, ipv4, lease_s)
        return ""

    # The rest

    def _roams(self, _: Command) -> str:
        status = self._daemon.core.status(self._daemon.now_s(), iter)
        return encode({"roams": status.get("roams", []), "total": status.get("roams_total", 0)}) + "\n"

    def _has_route(self, command: Command) -> str:
        return control.has_route_answer(
            command.words[0], self._daemon.inputs.kernel.ways.leads_elsewhere(command.values[0])
        )

    def _verbosity(self, command: Command) -> str:
        self._daemon.log.level = LEVELS[command.values[0]]
        return ""
