"""The account of a game day is true: what went wrong is in the verdict, and the picture shows it."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from .chaos import LOSSES, plan, verdict
from .crowd import BUSY, OK, Ledger, per_second
from .game_day_picture import svg


@pytest.fixture
def ledger() -> Ledger:
    """A good day: the fail-over alone was noticed."""
    ledger = Ledger()
    ledger.requests += [(0.5, OK), (12.0, BUSY), (14.0, OK), (16.0, OK)]
    ledger.outages.append((11.5, 7.0))
    return ledger


def reached(ledger: Ledger) -> bool:
    events = plan()
    for event in events:
        event.at = event.part * 100
    return verdict(ledger, events)[1]


def test_an_outage_of_the_fail_over_is_part_of_a_good_day(ledger: Ledger) -> None:
    assert reached(ledger)


@pytest.mark.parametrize("kind", ["502", "500", "HTTPStreamClosedError"])
def test_one_lost_request_spoils_the_day(ledger: Ledger, kind: str) -> None:
    ledger.requests.append((50.0, kind))
    assert not reached(ledger)


def test_what_a_killed_process_was_answering_is_no_surprise(ledger: Ledger) -> None:
    ledger.requests.append((86.5, "502"))
    assert reached(ledger)
    ledger.requests.append((88.0, "502"))
    assert not reached(ledger)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_broken_promise_spoils_the_day(ledger: Ledger, loss: str) -> None:
    ledger.lose(loss)
    assert not reached(ledger)


def test_a_long_outage_at_another_time_spoils_the_day(ledger: Ledger) -> None:
    ledger.outages.append((60.0, 7.0))
    assert not reached(ledger)


def test_the_picture_shows_each_second_with_what_failed_in_it(ledger: Ledger) -> None:
    ledger.began -= 20
    picture = ElementTree.fromstring(svg(list(per_second(ledger)), [(11.0, "master <killed>")]))
    bars = [each.get("class") for each in picture.iter() if each.tag.endswith("rect")]
    assert bars == ["good", "bad", "good", "good"]
    assert "master <killed>" in "".join(picture.itertext())
