"""Ids by the hundred thousand."""

from __future__ import annotations

from collections import Counter

from ..promises import generated  # noqa: F401 - renders the package `promised`

COUNT = 100_000


def test_02_of_100000_ids_no_two_are_the_same_and_no_part_is_fixed() -> None:
    from promised.sessions.cookie import new_token

    ids = [new_token() for _ in range(COUNT)]
    assert len(set(ids)) == COUNT
    assert {len(each) for each in ids} == {43}
    for position in range(42):  # the last of 43 characters carries 4 bits
        counts = Counter(each[position] for each in ids)
        assert len(counts) == 64
        # 1,562 of each are expected; 6 standard deviations are 240
        assert max(abs(count - COUNT / 64) for count in counts.values()) < 240
