# SPDX-License-Identifier: ISC
"""How fast each sender may send: a token bucket each, for a bounded number of senders. No clock."""

from runtime.ordered import OldestFirst, oldest


class Rate:
    """rate_per_s: what comes in steadily; burst: what may come at once; max_senders: the longest silent gives way."""

    def __init__(self, rate_per_s: float, burst: float, max_senders: int) -> None:
        self.rate_per_s, self.burst, self.max_senders = rate_per_s, burst, max_senders
        self._left: OldestFirst[bytes, tuple[float, float]] = OldestFirst()  # sender -> what is left, when

    def __len__(self) -> int:
        return len(self._left)

    def is_within(self, sender: bytes, now_s: float) -> bool:
        """Count one datagram, and return whether it may be read."""
        left, then_s = self._left.pop(sender, (self.burst, now_s))
        left = min(self.burst, left + (now_s - then_s) * self.rate_per_s)
        if len(self._left) >= self.max_senders:
            del self._left[oldest(self._left)]
        self._left[sender] = (left - 1 if left >= 1 else left, now_s)
        return left >= 1
