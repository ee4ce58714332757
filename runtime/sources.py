# SPDX-License-Identifier: ISC
"""What one part of a daemon waits for, which comes and goes."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.loop import HasDescriptor, Poller


class Sources:
    """Sockets, queues and programs: a poller hears of them from `attend` on."""

    def __init__(self) -> None:
        self._sources: "dict[int, HasDescriptor]" = {}
        self._poller: "Poller | None" = None
        self._callback: "Callable[[], object] | None" = None

    def attend(self, poller: "Poller", callback: "Callable[[], object]") -> None:
        """Have the callback called when any of them is ready."""
        self._poller, self._callback = poller, callback
        for source in self._sources.values():
            poller.add(source, callback)

    def add(self, source: "HasDescriptor") -> None:
        self._sources[source.fileno()] = source
        if self._poller is not None and self._callback is not None:
            self._poller.add(source, self._callback)

    def forget(self, source: "HasDescriptor") -> None:
        """Do not wait for it any more: before it is closed."""
        if self._sources.pop(source.fileno(), None) is not None and self._poller is not None:
            self._poller.forget(source)
