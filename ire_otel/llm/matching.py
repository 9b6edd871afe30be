"""Match the members of two groups one to one, as many as can be, the better edges first."""

from collections import deque
from collections.abc import Iterable

Edge = tuple[int, int]


def matched(edges: Iterable[Edge]) -> list[Edge]:
    """Give a largest set of edges (left, right) of which no two share an end; earlier edges are preferred.

    Greedy at first; then every left end that is left over looks for a path along which others can give way
    (augmenting paths, breadth first, so without recursion).
    """
    rights: dict[int, list[int]] = {}
    right_of: dict[int, int] = {}
    left_of: dict[int, int] = {}
    for left, right in edges:
        rights.setdefault(left, []).append(right)
        if left not in right_of and right not in left_of:
            right_of[left], left_of[right] = right, left
    for left in rights:
        if left not in right_of:
            _augment(left, rights, right_of, left_of)
    return sorted(right_of.items())


def _augment(start: int, rights: dict[int, list[int]], right_of: dict[int, int], left_of: dict[int, int]) -> None:
    came_from: dict[int, int] = {}
    waiting = deque([start])
    while waiting:
        left = waiting.popleft()
        for right in rights[left]:
            if right in came_from:
                continue
            came_from[right] = left
            if right in left_of:
                waiting.append(left_of[right])
                continue
            _give_way(right, came_from, right_of, left_of)
            return


def _give_way(free: int, came_from: dict[int, int], right_of: dict[int, int], left_of: dict[int, int]) -> None:
    """Move every left end on the path to `free` one right end further."""
    end: int | None = free
    while end is not None:
        giver = came_from[end]
        given_up = right_of.get(giver)
        right_of[giver], left_of[end] = end, giver
        end = given_up
