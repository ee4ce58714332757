# SPDX-License-Identifier: ISC
"""Other nodes' clients in the kernel: the translator's pair, and then the route that leads into it.

The translator answers later. What it has not taken, or has kept though it should have let go of it, is taken out before
the next pair of that address, or when it answers again.
"""

from l3roamd_py.core.events import PairMade
from l3roamd_py.kernel.netlink import KernelError
from l3roamd_py.kernel.translator import TranslatorError
from l3roamd_py.netfilter.program import Child
from l3roamd_py.netfilter.rules import RulesError
from runtime.ordered import OldestFirst, oldest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from l3roamd_py.core.actions import ForPair
    from l3roamd_py.core.events import Event
    from l3roamd_py.kernel.network import Network
    from l3roamd_py.kernel.translator import Translator

LEFT_MAX = 512


class Pairs:
    """tell: brings an event to the core; complain: says what went wrong, one sentence."""

    def __init__(
        self,
        kernel: "Network",
        translator: "Translator",
        tell: "Callable[[Event], object]",
        complain: "Callable[[str], object]",
    ) -> None:
        self._kernel, self._translator, self._tell, self._complain = kernel, translator, tell, complain
        self._wanted: dict[bytes, bytes] = {}  # IPv4 address -> where its client is
        self._left: "OldestFirst[bytes, bytes]" = OldestFirst()  # the same, perhaps in the translator

    def add(self, pair: "ForPair") -> None:
        self._insert(pair, lambda is_made: self._tell(PairMade(pair.ipv4, pair.at, is_made)))

    def restore(self, pair: "ForPair") -> None:
        """Add it again if it is gone."""
        if pair.ipv4 not in self._kernel.other_routes.pairs():
            self._note_left(pair.ipv4, pair.at)  # or it went with the device
            self._insert(pair, lambda is_made: None)

    def _insert(self, pair: "ForPair", tell: "Callable[[bool], object]") -> None:
        ipv4, at = pair.ipv4, pair.at
        self._wanted[ipv4] = at
        before = self._left.pop(ipv4, None)
        if before is not None:
            self._translator.remove(ipv4, before)

        def done(why_not: str) -> None:
            is_made = not why_not
            if why_not:
                self._complain(why_not)
                self._note_left(ipv4, at)
            elif self._wanted.get(ipv4) == at:
                try:
                    self._kernel.other_routes.add_pair(ipv4, self._translator.device)
                except KernelError as error:
                    self._complain(str(error))
                    self._note_left(ipv4, at)
                    is_made = False
            tell(is_made)

        self._translator.insert(ipv4, at, done)

    def remove(self, pair: "ForPair") -> None:
        ipv4, at = pair.ipv4, pair.at
        self._wanted.pop(ipv4, None)

        def done(why_not: str) -> None:
            if why_not:
                self._complain(why_not)
                self._note_left(ipv4, at)
            elif self._left:
                first = oldest(self._left)
                self._translator.remove(first, self._left.pop(first, b""))

        self._translator.remove(ipv4, at, done)
        self._kernel.other_routes.remove_pair(ipv4, self._translator.device)

    def _note_left(self, ipv4: bytes, at: bytes) -> None:
        if len(self._left) >= LEFT_MAX:
            del self._left[oldest(self._left)]
        self._left[ipv4] = at


def start_script(script: str) -> Child:
    """Have a shell carry a script out. Raises TranslatorError."""
    try:
        return Child(["sh"], script)
    except RulesError as error:
        raise TranslatorError(str(error)) from None


def remove_left(kernel: "Network", translator: "Translator") -> list[str]:
    """Remove what a daemon before us has left; return what could not be done. Who needs a pair finds it again.

    Not for the loop.
    """
    failures: list[str] = []

    def note(why_not: str) -> None:
        if why_not:
            failures.append(why_not)

    try:
        routed = kernel.other_routes.pairs()
        pairs = translator.pairs() if routed else []
        for ipv4 in routed:
            kernel.other_routes.remove_pair(ipv4, translator.device)
        for ipv4, ipv6 in pairs:
            if ipv4 in routed:
                translator.remove(ipv4, ipv6, note)
        translator.finish()
    except (KernelError, TranslatorError, OSError) as error:
        failures.append(str(error))
    return failures
