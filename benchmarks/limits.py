"""Peers in a process of their own, with limits of time and memory."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MORE = 12 << 30  # bytes beyond what the process has when it starts


def limit_memory() -> None:
    """Let the present process grow by at most 12 GiB of address space, where the system can tell what it has."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        size = int(statm.read_text().split()[0]) * resource.getpagesize() + MORE
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def trial(function: Callable[[], Any], limit: float) -> tuple[float, Any] | str:
    """Seconds and answer from a process of its own, or how that ended."""
    receive, send = multiprocessing.Pipe(duplex=False)

    def run() -> None:
        limit_memory()
        start = time.perf_counter()
        answer = function()
        send.send((time.perf_counter() - start, answer))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    send.close()
    try:
        return receive.recv() if receive.poll(limit) else f"stopped after {limit:.0f} s"
    except EOFError:
        return "gave up"
    finally:
        process.kill()
        process.join()
