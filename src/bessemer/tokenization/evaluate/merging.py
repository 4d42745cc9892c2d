"""The loop of byte pair encoding: the best pair of neighbours is joined until none is left.

R. Sennrich, B. Haddow, A. Birch: Neural Machine Translation of Rare Words with Subword Units (2016); ties go to the left.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

Cost = Callable[[str, str], float | None]
"""(left, right) -> what joining them costs, the least first; None where they are not joined."""


def merged(symbols: list[str], cost: Cost) -> list[str]:
    """The symbols after all joins; O(n log n) in their number."""
    texts: list[str] = list(symbols)
    before = list(range(-1, len(texts) - 1))
    after = [*range(1, len(texts)), -1]
    queue: list[tuple[float, int, int, int]] = []

    def offer(left: int, right: int) -> None:
        if left < 0 or right < 0:
            return
        price = cost(texts[left], texts[right])
        if price is not None:
            heappush(queue, (price, left, right, len(texts[left]) + len(texts[right])))

    for left in range(len(texts) - 1):
        offer(left, left + 1)
    heapify(queue)
    while queue:
        _, left, right, size = heappop(queue)
        if not texts[left] or not texts[right] or len(texts[left]) + len(texts[right]) != size:
            continue  # one of them grew or went since the pair was offered
        texts[left], texts[right] = texts[left] + texts[right], ""
        after[left] = after[right]
        if after[right] >= 0:
            before[after[right]] = left
        offer(before[left], left)
        offer(left, after[left])
    return [text for text in texts if text]
