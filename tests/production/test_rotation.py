"""COOKIE_SECRET is changed in a rolling restart, as the generated README describes it."""

from __future__ import annotations

from ..promises.servers import started
from ..security.process import COOKIE_SECRET, Start, Visitor

OLD, NEW = COOKIE_SECRET, "the-new-secret-" * 3
STEPS = (f"0:{OLD},1:{NEW}", f"1:{NEW},0:{OLD}")


def test_nobody_is_logged_out_while_processes_with_either_secret_serve(start: Start) -> None:
    with started("redis") as server:
        processes = [start(**server.environment) for _ in range(2)]
        visitors: list[Visitor] = []

        def come_back() -> None:
            """Each process logs somebody in, and knows everybody that any of them logged in."""
            for process in processes:
                visitor = Visitor(process)
                assert visitor.register(f"visitor{len(visitors)}").status == 303
                visitors.append(visitor)
            for process in processes:
                for visitor in visitors:
                    other = Visitor(process)
                    other.jar = visitor.jar
                    assert other.logged_in

        come_back()
        for secret in STEPS:
            for number in range(2):
                processes[number].stop()
                processes[number] = start(**server.environment, COOKIE_SECRET=secret)
                come_back()
        # Without the old secret, those whom the new one has signed stay.
        signed_by_new = visitors[-2:]
        last = start(**server.environment, COOKIE_SECRET=f"1:{NEW}")
        for visitor in signed_by_new + visitors[:1]:
            other = Visitor(last)
            other.jar = dict(visitor.jar)
            assert other.logged_in == (visitor in signed_by_new)


def test_a_secret_that_signs_before_every_process_knows_it_logs_people_out(start: Start) -> None:
    """Why there are two steps: this is what the first one is for."""
    with started("redis") as server:
        old = start(**server.environment)
        hasty = start(**server.environment, COOKIE_SECRET=STEPS[1])
        visitor = Visitor(hasty)
        assert visitor.register().status == 303
        other = Visitor(old)
        other.jar = dict(visitor.jar)
        assert not other.logged_in
