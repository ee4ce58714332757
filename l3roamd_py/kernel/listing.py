# SPDX-License-Identifier: ISC
"""What the kernel has, listed anew after it could not tell us of all that happened: in slices, and not all the time.

A flood, of MACs on a bridge for example, makes the kernel drop messages for us again and again, and to list what is
there takes seconds then. So the loop goes on between two slices. The next listing begins no sooner than after PAUSES
times what the last one took. One comes after the flood, too, although nobody tells us that it is over.
"""

from l3roamd_py.kernel.listener import READS_MAX
from l3roamd_py.kernel.netlink import KernelError
from runtime import IS_MICRO
from runtime.loop import Poller
from runtime.netlink_socket import drain
from runtime.sockets import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from l3roamd_py.core.events import Event

STEPS_MAX = 16 if IS_MICRO else 64  # of a listing in one round
PAUSES = 4
PAUSE_S = 0.2  # the least
AGAIN_S = 5.0  # after one that failed
EVERYTHING = 1 << 28  # steps


class Listing:
    """steps: begins a listing; what it yields is the events of one step, and it may raise KernelError.

    pending: the listings that have something to do. next_s: when to call go_on. now_s: when that was done last.
    """

    def __init__(self, steps: "Callable[[], Iterator[list[Event]]]", pending: "list[Listing]") -> None:
        self._steps, self._pending = steps, pending
        self._rest: "Iterator[list[Event]] | None" = None
        self._has_missed = self._is_wanted = False
        self._begun_s = self.next_s = self.now_s = 0.0
        self.overruns = 0
        self.failure = ""  # a sentence, until somebody has read it

    def told(self, opened: "socket.socket", packs: int = READS_MAX) -> "Iterator[bytes]":
        """Yield what a socket was told, some of it if there is much; if something was dropped, all is to be listed.

        Not before what waits is read: it is older, and until then the kernel drops what comes.
        """
        for received in drain(opened, packs, True):
            if received is None:
                self.overruns += 1
                self._has_missed = True
            else:
                yield received
        if self._has_missed and _is_empty(opened):
            self._has_missed = False
            self.want()

    def want(self) -> None:
        """Have all listed, as soon as that may be."""
        self._is_wanted = True
        if self not in self._pending:
            self._pending.append(self)

    def go_on(self, now_s: float, most: int = STEPS_MAX) -> "list[Event]":
        """Go on with a listing, or begin one: so many steps at most."""
        events: "list[Event]" = []
        self.now_s = now_s
        try:
            if self._rest is None:
                self._is_wanted, self._begun_s, self.next_s = False, now_s, 0.0
                self._rest = self._steps()
            for some in self._rest:
                events += some
                most -= 1
                if most <= 0:
                    return events
        except KernelError as error:
            self._is_wanted, self.failure = True, str(error)
        except OSError as error:  # no descriptor for it, say
            self._is_wanted, self.failure = True, "to list anew: " + error_text(error)
        self._rest = None
        pause_s = AGAIN_S if self.failure else PAUSE_S
        self.next_s = now_s + max(pause_s, PAUSES * (now_s - self._begun_s))
        if not self._is_wanted:
            self._pending.remove(self)
        return events

    def all(self, now_s: float, most: int = EVERYTHING) -> "list[Event]":
        """List all, or so much of it now and the rest in slices."""
        self.want()
        return self.go_on(now_s, most)


def _is_empty(opened: "socket.socket") -> bool:
    poller = Poller()
    poller.add(opened, lambda: None)
    return not poller.ready(0)
