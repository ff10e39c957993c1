"""Measure sessions side by side: python tests/benchmarks/run.py --help, or `make bench`.

All applications run at once and take turns, so that whatever else the machine does hits them alike;
what counts are medians over rounds, and ratios within one run.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import environment
import generated
import plot
import probes
import report
from lab import VISITORS, VISITORS_QUICK, Lab
from load import LoadFailed
from results import Results, Sample
from servers import Servers
from workloads import PAGES, Case, Plan, throughput

APPS = ("ours", environment.UVLOOP, "nosession", *environment.PEERS)
ENGINES = ("redis", "memcached")

PLOT = environment.ROOT / "docs" / "benchmark.svg"
SPEED = environment.ROOT / "docs" / "speed.md"
README = environment.ROOT / "README.md"
PICTURE = "![Requests per second, side by side](benchmark.svg)"


def main() -> None:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers end with the run
    quick = arguments.quick
    plan = Plan(
        arguments.engines,
        arguments.apps or [app for app in APPS if not (quick and app in environment.REDIS_ONLY)],
        arguments.connections or ([32] if quick else [1, 32, 256]),
        arguments.rounds or (1 if quick else 5),
        arguments.seconds or 1,
        quick,
    )
    if arguments.write:
        try:
            for document in (SPEED, README):  # now, and not after a quarter of an hour
                report.check(document)
        except report.MarkersMissing as error:
            sys.exit(str(error))
    environment.need_programs()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65_536), most))  # peers hang up late
    environment.BUILD.mkdir(parents=True, exist_ok=True)
    if arguments.report:
        _finish(Results.load(arguments.report), write=arguments.write)
        return
    size = (100_000, VISITORS_QUICK) if quick else (1_000_000, VISITORS)
    with Servers() as servers:
        lab = Lab(servers, *size)
        lab.prepare(plan.engines, plan.apps)
        results = Results(_about(plan, lab))
        run(lab, cases(plan, arguments.only), plan.rounds, results)
    kept = environment.BUILD / ("results.json" if arguments.write else "last.json")
    results.save(kept)
    print(f"Figures kept in {kept}\n")
    _finish(results, write=arguments.write)
    if results.failures:
        sys.exit("\n".join(["Not everything could be measured:", *results.failures]))


def _finish(results: Results, *, write: bool) -> None:
    content, picture = report.markdown(results), plot.svg(results)
    print(content)
    print(report.processor_time(results))
    if write:
        PLOT.write_text(picture)
        report.write(SPEED, f"{PICTURE}\n\n{content}")
        report.write(README, report.summary(results))
        print(f"Written: {SPEED}, {PLOT} and a line of {README}")


def cases(plan: Plan, only: Sequence[str]) -> list[Case]:
    """Return what is to be done in each round."""
    chosen = throughput(plan, [page for page in PAGES if page in only], "direct")
    for name, group in GROUPS.items():
        if name in only:
            chosen += group(plan)
    return chosen


def latency(plan: Plan) -> list[Case]:
    """The same pages with a store that is further away."""
    left_out = (*environment.REDIS_ONLY, environment.UVLOOP)
    today = replace(plan, apps=[app for app in plan.apps if app not in left_out])
    pages = ("write",) if plan.quick else PAGES
    # What the proxy itself costs is no latency: so there is one that adds nothing, to compare with.
    ours = replace(plan, apps=["ours"], connections=[256])
    return [
        *throughput(ours, pages, "proxy", " near"),
        *throughput(ours if plan.quick else today, pages, "delayed", " far"),
    ]


GROUPS: dict[str, Callable[[Plan], list[Case]]] = {
    "latency": latency,
    "large": probes.large,
    "grown": probes.grown,
    "stall": probes.stall,
    "trips": probes.trips,
    "storm": generated.storm,
    "birth": generated.birth,
}


def run(lab: Lab, cases: Sequence[Case], rounds: int, results: Results) -> None:
    """Do all cases in each round, beginning with another one each time."""
    started = time.monotonic()
    steps = [
        (round_, case)
        for round_ in range(rounds)
        for case in _rotated(cases, round_)
        if round_ < case.rounds_at_most
    ]
    for done, (round_, case) in enumerate(steps):
        _progress(case, done, len(steps), started)
        place = (case.workload, case.engine, case.app, case.connections)
        try:
            figures = case.measure(lab)
        except LoadFailed as error:
            results.failures.append(f"{case}: {error}")
            continue
        for metric, value in figures.items():
            results.add(Sample(*place, metric, round_, value))
    _progress(None, len(steps), len(steps), started)


def _rotated(cases: Sequence[Case], round_: int) -> list[Case]:
    start = round_ * 7 % len(cases) if cases else 0
    return [*cases[start:], *cases[:start]]


def _progress(case: Case | None, done: int, total: int, started: float) -> None:
    spent = time.monotonic() - started
    left = f"{spent / done * (total - done):4.0f} s left" if done else ""
    what = f"{case.workload} {case.engine} {case.app} {case.connections or ''}" if case else "done"
    line = f"[{done:{len(str(total))}}/{total}] {left:12} {what:50}"
    if sys.stderr.isatty():
        print(f"\r{line}", end="" if case else "\n", file=sys.stderr, flush=True)
    elif not case or done * 20 // total != (done - 1) * 20 // total:
        print(line.rstrip(), file=sys.stderr, flush=True)


def _about(plan: Plan, lab: Lab) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": ", ".join(lab.versions()),
        "cores": len(os.sched_getaffinity(0)),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "many": lab.many,
    }


def _arguments() -> argparse.Namespace:
    def names(known: Sequence[str]) -> Any:
        def parse(text: str) -> list[str]:
            given = text.split(",")
            if unknown := set(given) - set(known):
                raise argparse.ArgumentTypeError(
                    f"{', '.join(sorted(unknown))}: known are {', '.join(known)}"
                )
            return [name for name in known if name in given]

        return parse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", type=names([*PAGES, *GROUPS]), default=[*PAGES, *GROUPS], metavar="WORKLOAD,..."
    )
    parser.add_argument("--engines", type=names(ENGINES), default=list(ENGINES))
    parser.add_argument("--apps", type=names(APPS))
    parser.add_argument(
        "--connections",
        type=lambda text: [int(n) for n in text.split(",")],
        help="default 1,32,256; --quick 32",
    )
    parser.add_argument("--rounds", type=int, help="default 5, for peers 3 at most; --quick 1")
    parser.add_argument("--seconds", type=int, help="of a throughput; default 1")
    parser.add_argument("--quick", action="store_true", help="everything once, in two minutes")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write docs/speed.md, its plot and the README's line; keep the figures",
    )
    parser.add_argument(
        "--report", type=Path, metavar="JSON", help="measure nothing: show figures that were kept"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
