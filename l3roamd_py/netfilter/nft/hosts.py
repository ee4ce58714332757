# SPDX-License-Identifier: ISC
"""Hosts that translate themselves: what they send to pref64 goes to a PLAT, and comes back. Table `ip6 l3roamd_hosts`.

  prerouting -340   from_hosts  before connection tracking, for which a packet is one to the PLAT
  postrouting 300   to_hosts    behind it; what comes from any PLAT comes from pref64

Stateless: the map `plat_of` has the addresses whose PLAT is not the node's (core/own_plats.py), whatever their number.
What an ICMPv6 error quotes is rewritten too, since a host believes only what is about the packet that it has sent. The
checksum of what is quoted stays as it is: nobody looks at it.

Clients may not send to a PLAT by themselves, so the firewall drops what they send there (464xlat). A bit of the mark
tells it that it was us. `hosts` has who has sent something in the last HOSTS_MS, to be counted.
"""

import sys

from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_NFTABLES, TransactionError, is_missing, refusal
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.expressions import (
    ACCEPT,
    DROP,
    META_IIF_NAME,
    META_MARK,
    META_OIF_NAME,
    NETWORK,
    TRANSPORT,
    bitwise,
    compare,
    device,
    goto,
    in_prefix,
    load,
    meta,
    set_mark,
    store,
    translate,
    update,
    verdict,
)
from l3roamd_py.netfilter.nft.messages import POSTROUTING, PREROUTING, TYPE_IPV6, Chain, Element, Set
from l3roamd_py.netfilter.nft.rewrite import (
    ADDRESS_BYTES,
    DESTINATION,
    ICMPV6_CHECKSUM,
    ICMPV6_ERROR,
    QUOTED,
    SOURCE,
    put,
    put_quoted,
)
from l3roamd_py.netfilter.nft.table import (
    ELEMENTS_A_MESSAGE,
    add_elements,
    delete_elements,
    find_element,
    is_whole,
    layout,
    list_elements,
    raise_table,
    remove_table,
    rewrite,
)
from l3roamd_py.netfilter.rules import HOST_MARK, NODES_IPV4, PREFIX_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from l3roamd_py.netfilter.nfnetlink import NetfilterSocket

RANGE_BYTES = 6  # of a plat_range
HOSTS_MS = 600 * 1000
HOSTS_MAX = 4096  # a client may send from as many addresses as it likes; all of them are listed to be counted
ELEMENTS_AT_ONCE = 10 * ELEMENTS_A_MESSAGE  # in one transaction, which the socket must have room for
TABLE = layout(
    nftables.IPV6,
    "l3roamd_hosts",
    [Chain("from_hosts", PREROUTING, -340), Chain("sent"), Chain("to_hosts", POSTROUTING, 300)],
    [
        Set("plat_of", TYPE_IPV6, ADDRESS_BYTES, TYPE_IPV6, ADDRESS_BYTES, has_timeout=False),
        Set("hosts", TYPE_IPV6, ADDRESS_BYTES, dynamic_size=HOSTS_MAX),
    ],
)


class NftHosts:
    """pref64: the domain's /96; plat_range: its PLATs' /48."""

    def __init__(
        self, netfilter: "NetfilterSocket", client_device: str, pref64: bytes, plat_range: bytes
    ) -> None:
        self.netfilter, self.client_device = netfilter, client_device
        self.pref64, self.plat_range = pref64[:PREFIX_BYTES], plat_range[:RANGE_BYTES]
        self.current: bytes | None = None
        self.plat_of: dict[bytes, bytes] = {}

    def set_up(self, current: bytes | None) -> None:
        self.current = current
        with refusal(f"cannot make table {TABLE.name}"):
            raise_table(self.netfilter, TABLE, self.rules())
            found = list_elements(self.netfilter, TABLE, "plat_of")
            self.plat_of = {each.key: each.data for each in found if each.data is not None}

    def restore(self) -> bool:
        """Make it again if somebody took parts of it away; return whether that was so."""
        if is_whole(self.netfilter, TABLE, len(self.rules())):
            return False
        plat_of = self.plat_of
        remove_table(self.netfilter, TABLE)
        self.set_up(self.current)
        self._add(plat_of.items())
        return True

    def set_current(self, plat: bytes | None) -> None:
        self.current = plat
        try:
            self._commit(rewrite(TABLE, self.rules()))
        except TransactionError as error:
            if not is_missing(error):
                raise
            self.restore()  # somebody flushed what is not theirs

    def use(self, clients: "Iterable[bytes]", plat: bytes) -> None:
        with refusal("cannot give clients their PLAT"):
            self._add([(client, plat) for client in clients if self.plat_of.get(client) != plat])

    def leave(self, client: bytes) -> None:
        if self.plat_of.pop(client, None) is not None:
            self._delete([client])

    def drop(self, plat: bytes) -> None:
        self._delete([client for client, each in self.plat_of.items() if each == plat])
        self.plat_of = {client: each for client, each in self.plat_of.items() if each != plat}

    def seen(self) -> list[bytes]:
        """The addresses that translate themselves."""
        with refusal("cannot read who translates"):
            return [each.key for each in list_elements(self.netfilter, TABLE, "hosts")]

    def _add(self, pairs: "Iterable[tuple[bytes, bytes]]") -> None:
        """No packet of a client sees it without a PLAT when it had another."""
        for some in parts(list(pairs), ELEMENTS_AT_ONCE):
            messages = self._deletion([client for client, _ in some if client in self.plat_of])
            for few in parts([Element(*pair) for pair in some], ELEMENTS_A_MESSAGE):
                messages.append(add_elements(TABLE, "plat_of", *few))
            self._commit(messages)
            self.plat_of.update(some)

    def _delete(self, clients: "Sequence[bytes]") -> None:
        for message in self._deletion(clients):
            self._commit([message])

    def _deletion(self, clients: "Sequence[bytes]") -> list[bytes]:
        there = [each for each in clients if find_element(self.netfilter, TABLE, "plat_of", each)]
        return [delete_elements(TABLE, "plat_of", *some) for some in parts(there, ELEMENTS_A_MESSAGE)]

    def _commit(self, messages: "Sequence[bytes]") -> None:
        self.netfilter.commit(SUBSYSTEM_NFTABLES, messages)

    def rules(self) -> list[bytes]:
        source, plat = load(NETWORK, SOURCE, ADDRESS_BYTES), translate("plat_of")
        of_client = device(META_IIF_NAME, self.client_device)
        to_client = device(META_OIF_NAME, self.client_device)
        to_node = load(NETWORK, DESTINATION, 15) + compare(self.pref64 + NODES_IPV4)
        bit, others = (
            HOST_MARK.to_bytes(4, sys.byteorder),
            (HOST_MARK ^ 0xFFFFFFFF).to_bytes(4, sys.byteorder),
        )
        sent = [
            to_node + verdict(DROP),
            source + update("hosts", HOSTS_MS),
            meta(META_MARK) + bitwise(others, bit) + set_mark(),
            ICMPV6_ERROR + source + plat + _store_quoted(SOURCE),
            source + plat + store(NETWORK, DESTINATION, PREFIX_BYTES) + verdict(ACCEPT),
        ]
        if self.current is not None:
            current = self.current[:PREFIX_BYTES]
            sent += [ICMPV6_ERROR + put_quoted(SOURCE, current), put(DESTINATION, current)]
        of_plat = in_prefix(NETWORK, SOURCE, self.plat_range, 8 * RANGE_BYTES)
        quotes_plat = load(TRANSPORT, QUOTED + DESTINATION, RANGE_BYTES) + compare(self.plat_range)
        to_pref64 = in_prefix(NETWORK, DESTINATION, self.pref64, 8 * PREFIX_BYTES)
        rules = [("sent", each) for each in sent] + [
            ("from_hosts", to_pref64 + of_client + goto("sent")),
            ("to_hosts", of_plat + to_client + put(SOURCE, self.pref64)),
            ("to_hosts", ICMPV6_ERROR + quotes_plat + to_client + put_quoted(DESTINATION, self.pref64)),
        ]
        return [nftables.add_rule(TABLE, chain, rule) for chain, rule in rules]


def _store_quoted(field: int) -> bytes:
    return store(TRANSPORT, QUOTED + field, PREFIX_BYTES, ICMPV6_CHECKSUM)


def parts(values: "list", most: int) -> "Iterator[list]":
    for start in range(0, len(values), most):
        yield values[start : start + most]
