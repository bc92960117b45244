"""Memory limit for peers that run in a process of their own."""

from __future__ import annotations

import resource
from pathlib import Path

MORE = 12 << 30  # bytes beyond what the process has when it starts


def limit_memory() -> None:
    """Let the present process grow by at most 12 GiB of address space, where the system can tell what it has."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        size = int(statm.read_text().split()[0]) * resource.getpagesize() + MORE
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
