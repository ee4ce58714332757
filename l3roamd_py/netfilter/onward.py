# SPDX-License-Identifier: ISC
"""What comes for a client that left goes on to another node, by a care-of address (core/onward.py): for both backends.

CareOf is a table of addresses with their care-of addresses. Of those that are turned back here each stays for as long
as its client's address is routed.
"""

from l3roamd_py.netfilter.nfnetlink import refusal
from runtime.ordered import OldestFirst, oldest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from l3roamd_py.netfilter.rules import Pairs

CARE_OF_MAX = 1024


class CareOf:
    """Addresses and care-of addresses, both ways; the oldest gives way."""

    def __init__(self, pairs: "Iterable[tuple[bytes, bytes]]" = ()) -> None:
        self._care_of: "OldestFirst[bytes, bytes]" = OldestFirst()
        self._address: dict[bytes, bytes] = {}
        self.note(pairs)

    def note(self, pairs: "Iterable[tuple[bytes, bytes]]") -> None:
        for address, care_of in pairs:
            self.pop(address)
            if len(self._care_of) >= CARE_OF_MAX:
                self.pop(oldest(self._care_of))
            self._care_of[address], self._address[care_of] = care_of, address

    def pop(self, address: bytes) -> bytes | None:
        """Take an address out; return its care-of address."""
        care_of = self._care_of.pop(address, None)
        if care_of is not None:
            self._address.pop(care_of, None)
        return care_of

    def get(self, address: bytes) -> bytes | None:
        return self._care_of.get(address)

    def address_of(self, care_of: bytes) -> bytes | None:
        return self._address.get(care_of)

    def others(self, addresses: "Container[bytes]") -> list[bytes]:
        """Return those of it that are none of these addresses."""
        return [address for address in self._care_of if address not in addresses]


class OnwardMaps:
    """Onward by two maps of a backend: LEFT from who left to its care-of address, HERE from one to whose it is."""

    LEFT: str
    HERE: str

    def __init__(self) -> None:
        self.turned_back = CareOf()

    def send_on(self, pairs: "Pairs", for_s: float) -> None:
        with refusal("cannot send on what comes for a client"):
            self._put(self.LEFT, pairs, for_s)

    def stop_sending_on(self, address: bytes) -> None:
        with refusal("cannot end sending on"):
            self._remove(self.LEFT, address)

    def add_care_of(self, pairs: "Pairs", for_s: float) -> None:
        with refusal("cannot turn care-of addresses back"):
            self._put(self.HERE, [(care_of, address) for address, care_of in pairs], for_s)
        self.turned_back.note(pairs)

    def drop_care_of(self, address: bytes) -> None:
        care_of = self.turned_back.pop(address)
        if care_of is not None:
            with refusal("cannot end a care-of address"):
                self._remove(self.HERE, care_of)

    def drop_other_care_of(self, addresses: "Container[bytes]") -> None:
        for address in self.turned_back.others(addresses):
            self.drop_care_of(address)

    def _put(self, name: str, pairs: "Iterable[tuple[bytes, bytes]]", for_s: float) -> None:
        """Put keys with their data into a map of the kernel, in the place of what is there."""
        raise NotImplementedError

    def _remove(self, name: str, key: bytes) -> None:
        """Take a key out, if it is there."""
        raise NotImplementedError
