# SPDX-License-Identifier: ISC
"""Clients of before a restart that answer no ARP: did they walk away while nobody was there to let them go?

Who claimed such a client had no answer from us and serves it as a new one, and both of us announce its node-client
address. So it is withdrawn for a moment: if babel then knows another way to it, another node has the client, and here
it is forgotten. If not, it only sleeps, and its lease is kept for whoever claims it.
"""

import logging

from l3roamd_py.clients import State, Table
from l3roamd_py.events import ClientGone, Event, LeaseEnded
from l3roamd_py.kernel import KernelError
from l3roamd_py.network import Network

ASKED_S = 6.0  # after the restart, all of them have been asked by ARP
CONVERGED_S = (
    20.0  # babel has told of another way by then: babeld takes it at its neighbour's next update, all 16 s
)
LOOK_S = 1.0
log = logging.getLogger("l3roamd_py")


class Doubt:
    """Looks once after a restart, in two steps."""

    def __init__(self, network: Network, table: Table, now_s: float) -> None:
        self._network, self._table = network, table
        self._withdrawn: list[bytes] | None = None
        self._until_s = 0.0
        self.next_deadline_s: float | None = now_s + ASKED_S if table.clients else None

    def tick(self, now_s: float) -> list[Event]:
        """Do what is due; return what the core is to hear."""
        if self.next_deadline_s is None or now_s < self.next_deadline_s:
            return []
        if self._withdrawn is None:
            self._withdrawn = self._withdraw()
            self._until_s = now_s + CONVERGED_S
        events: list[Event] = []
        for mac in list(self._withdrawn):
            if found := self._judge(mac, is_last=now_s >= self._until_s):
                self._withdrawn.remove(mac)
                events += found
        is_over = not self._withdrawn or now_s >= self._until_s
        self.next_deadline_s = None if is_over else now_s + LOOK_S
        return events

    def _withdraw(self) -> list[bytes]:
        absent = [mac for mac, client in self._table.clients.items() if client.state is State.ABSENT]
        for mac in absent:
            try:
                self._network.remove_address(self._table.node_client(mac))
            except KernelError as error:
                log.warning("%s", error)
        return absent

    def _judge(self, mac: bytes, is_last: bool) -> list[Event]:
        client, address = self._table.clients.get(mac), self._table.node_client(mac)
        if client is None:
            return []  # let go meanwhile
        try:
            if client.state is State.ABSENT and client.ipv4 and self._network.leads_elsewhere(address):
                log.info("%s walked away while we were not there", mac.hex(":"))
                return [LeaseEnded(mac, client.ipv4), ClientGone(mac)]
            if is_last or client.state is not State.ABSENT:
                self._network.add_address(address)
        except KernelError as error:
            log.warning("%s", error)
        return []
