# SPDX-License-Identifier: ISC
"""The clatnode's rules in nftables: stateless. What the rules say is in ruleset.py; here is who uses which PLAT.

Elements have the lease as their timeout, so all of it ends without us. What of IPv6 goes on after a walk is in the same
table: onward.py.
"""

from l3roamd_py.netfilter.gate import QUEUE
from l3roamd_py.netfilter.nfnetlink import TransactionError, is_missing, refusal, suppress_missing
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.gate import NftGate
from l3roamd_py.netfilter.nft.hosts import TABLE as HOSTS
from l3roamd_py.netfilter.nft.hosts import NftHosts
from l3roamd_py.netfilter.nft.messages import Element, Table
from l3roamd_py.netfilter.nft.onward import NftOnward
from l3roamd_py.netfilter.nft.ruleset import TABLE6
from l3roamd_py.netfilter.nft.table import (
    add_elements,
    delete_elements,
    list_elements,
    removal,
    remove_table,
    rewrite,
)
from l3roamd_py.netfilter.rules import AGAIN_S, Checks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class NftClatRules(NftGate):
    """ClatRules. The current PLAT is an element of a set, for a restart."""

    def __init__(self, client_device: str, clat_device: str, queue: int = QUEUE):
        super().__init__(client_device, clat_device, queue)
        self.onward = NftOnward(self.netfilter, TABLE6)
        self.plat_of: dict[bytes, bytes] = {}
        self.own: NftHosts | None = None
        self.own_checks = Checks(self._generation)

    def set_up(self) -> None:
        with refusal("cannot read the current PLAT"), suppress_missing():
            found = list_elements(self.netfilter, TABLE6, "current")
            self.ruleset.current = found[0].key if found else None
        super().set_up()
        with refusal("cannot read who uses which PLAT"):
            self.onward.take_over()
            found = list_elements(self.netfilter, TABLE6, "plat_of")
            self.plat_of = {each.key: each.data for each in found if each.data}
            if self.pref64 is None:
                remove_table(self.netfilter, HOSTS)
        if self.pref64 is not None:
            self.own = NftHosts(self.netfilter, self.client_device, self.pref64, self.plat_range)
            self.own.set_up(self.ruleset.current)

    def tear_down(self) -> None:
        super().tear_down()
        with refusal(f"cannot remove table {HOSTS}"):
            remove_table(self.netfilter, HOSTS)
        self.plat_of, self.ruleset.current, self.own = {}, None, None

    def tick(self, now_s: float) -> None:
        super().tick(now_s)
        with refusal("cannot make the rules again"):
            if self.own is not None and self.own_checks.is_due(now_s) and self.own.restore():
                self.notices.append(f"table {HOSTS}: somebody changed rules of ours; they are made again")

    def _restore(self, table: Table) -> None:
        super()._restore(table)
        if table is TABLE6:
            plat_of, self.plat_of = self.plat_of, {}
            self.set_current_plat(self.ruleset.current)
            for client, plat in plat_of.items():
                self.use_plat(client, plat, AGAIN_S)

    def use_plat(self, client: bytes, plat: bytes, lease_s: int) -> None:
        ms = nftables.milliseconds(lease_s)
        messages = [
            add_elements(TABLE6, "plat_of", Element(client, plat, ms)),
            add_elements(TABLE6, "uses", Element(client + plat, None, ms)),
        ]
        old = self.plat_of.get(client)
        with refusal("cannot give a client its PLAT"):
            try:
                self._commit(([] if old is None else deletion(client, old)) + messages)
            except TransactionError as error:
                if old is None or not is_missing(error):
                    raise
                self._commit(self._removal_of(client, old) + messages)  # it expired meanwhile
        self.plat_of[client] = plat

    def use_plats(self, clients: "Iterable[bytes]", plat: bytes) -> None:
        if self.own is not None:
            self.own.use(clients, plat)

    def hosts(self) -> list[bytes] | None:
        return None if self.own is None else self.own.seen()

    def leave_plat(self, client: bytes, plat: bytes) -> None:
        if self.own is not None and client in self.own.plat_of:
            with refusal("cannot take a client's PLAT away"):
                self.own.leave(client)
            return
        if self.plat_of.get(client) == plat:
            with refusal("cannot take a client's PLAT away"):
                self._commit(self._removal_of(client, plat))
            del self.plat_of[client]

    def _removal_of(self, client: bytes, plat: bytes) -> list[bytes]:
        of_client = removal(self.netfilter, TABLE6, "plat_of", client)
        return of_client + removal(self.netfilter, TABLE6, "uses", client + plat)

    def set_current_plat(self, plat: bytes | None) -> None:
        messages = [nftables.flush_set(TABLE6, "current")]
        messages += [add_elements(TABLE6, "current", Element(plat))] if plat else []
        self.ruleset.current = plat  # also if somebody has just flushed the table: it is made again with that
        with refusal("cannot change the current PLAT"):
            self._commit(messages + rewrite(TABLE6, self.ruleset.of(TABLE6)))
            if self.own is not None:
                self.own.set_current(plat)

    def drop_plat(self, plat: bytes) -> None:
        if self.own is not None:
            with refusal("cannot remove a PLAT's clients"):
                self.own.drop(plat)
        for client in [client for client, each in self.plat_of.items() if each == plat]:
            self.leave_plat(client, plat)


def deletion(client: bytes, plat: bytes) -> list[bytes]:
    return [delete_elements(TABLE6, "plat_of", client), delete_elements(TABLE6, "uses", client + plat)]
