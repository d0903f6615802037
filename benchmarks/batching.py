"""What it could save to decide in batches on requests that arrive together.

    python -m benchmarks.batching
    python -m benchmarks.batching --seconds 1     a quick look

In processor time: a whole request of ``POST /act`` while several clients ask at once; the network's
share of it, for one observation and for several at a time; and an idle event loop's handing work
to a thread and back, which a batch would do once.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import tyro
import uvloop

from benchmarks.act import ask, observation_body
from benchmarks.network import forward_ms
from benchmarks.running import OURS, running


@dataclass(frozen=True)
class Options:
    """What is measured."""

    batches: tuple[int, ...] = (2, 4, 8, 16)
    """Observations at a time."""
    clients: int = 16
    """Clients that ask again at once."""
    seconds: float = 5.0
    """How long each thing is measured."""
    cores: int = 2
    """Cores for the service and its clients together."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if min(self.clients, self.cores, *self.batches) < 1 or self.seconds <= 0:
            raise ValueError(
                "--seconds, --clients, --cores and every one of --batches must be above 0"
            )


def handover_ms(seconds: float) -> float:
    """Milliseconds of processor time in which an event loop has a thread do nothing."""

    async def hand_over() -> float:
        loop, times = asyncio.get_running_loop(), 0
        begin, end = time.process_time(), time.perf_counter() + seconds
        with ThreadPoolExecutor(1) as thread:
            while times == 0 or time.perf_counter() < end:
                await loop.run_in_executor(thread, int)
                times += 1
        return 1000 * (time.process_time() - begin) / times

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(hand_over())


def table(request_ms: float, hand_over_ms: float, forwards_ms: dict[int, float]) -> str:
    """Markdown.

    Args:
        request_ms: Processor time of a whole request.
        hand_over_ms: Of handing work to a thread and back.
        forwards_ms: Of the network by observations at a time, among them 1.
    """
    lines = [
        "| observations at a time | network, ms for each | in all, ms | a request would save |",
        "|---" * 4 + "|",
    ]
    for batch, whole_ms in forwards_ms.items():
        saved = forwards_ms[1] - whole_ms / batch + hand_over_ms * (1 - 1 / batch)
        lines.append(
            f"| {batch} | {whole_ms / batch:.3f} | {whole_ms:.2f} "
            f"| {saved:.3f} ms, {saved / request_ms:.0%} |"
        )
    lines.append(
        f"\na request takes {request_ms:.2f} ms: {forwards_ms[1] / request_ms:.0%} of it are the "
        f"network's, and {hand_over_ms / request_ms:.0%} handing it to a thread and back"
    )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    options = tyro.cli(Options, description=__doc__)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    hand_over = handover_ms(options.seconds)
    forwards = {batch: forward_ms(batch, options.seconds) for batch in (1, *options.batches)}
    with running(OURS) as server:
        body = observation_body()
        ask(server, body, options.clients, 1.0)
        asked = ask(server, body, options.clients, options.seconds)
    print(f"\nprocessor time; {options.clients} clients, {asked.result.rate:,.0f} requests/s\n")
    print(table(asked.server_ms, hand_over, forwards))


if __name__ == "__main__":
    main()
