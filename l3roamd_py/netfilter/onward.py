# SPDX-License-Identifier: ISC
"""What comes for a client that left goes on to another node, by a care-of address (core/onward.py): for both backends.

CareOf is a table of addresses with their care-of addresses. Of those that are turned back here each stays for as long
as its client's address is routed.
"""

from runtime.ordered import OldestFirst, oldest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from typing import Protocol

    Pairs = tuple[tuple[bytes, bytes], ...]  # IPv6 address of a client, its care-of address

    class Onward(Protocol):
        """Raises RulesError from everything. for_s: seconds, after which the kernel ends it by itself."""

        def send_on(self, pairs: Pairs, for_s: float) -> None:
            """Send what comes for an address on to its care-of address."""
            ...

        def stop_sending_on(self, address: bytes) -> None: ...
        def add_care_of(self, pairs: Pairs, for_s: float) -> None:
            """Take what comes for a care-of address for its client's."""
            ...

        def drop_care_of(self, address: bytes) -> None:
            """End it, if there is one."""
            ...

        def drop_other_care_of(self, addresses: Container[bytes]) -> None:
            """End those of all other addresses, after a restart."""
            ...


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
