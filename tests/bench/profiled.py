"""Runs a command under a sampling profiler of CPU time: `python -m tests.bench.profiled OUT module:function ARG…`.

Every 4 ms of CPU that the process uses, the stack of its main thread is noted. OUT gets the functions by share, OUT
with `.folded` behind it the stacks in the form that flame graph tools read. What runs in other threads shows up as
whatever the main thread stood at; time inside of C code counts for the Python function that called it.
"""

from __future__ import annotations

import importlib
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.004  # less is often not to be had: the kernel's tick
DEPTH = 80


def _name(frame: FrameType) -> str:
    file = frame.f_code.co_filename.replace("\\", "/")
    for root in ("/site-packages/", "/lib/python3."):
        if root in file:
            file = file.rsplit(root, 1)[1]
            break
    else:
        file = "/".join(file.rsplit("/", 3)[-3:])
    return f"{file}:{frame.f_code.co_qualname}"


class Sampler:
    """Counts stacks, one per interval of CPU time."""

    def __init__(self) -> None:
        self._codes: dict[object, str] = {}
        self.stacks: Counter[tuple[str, ...]] = Counter()

    def take(self, _: int, frame: FrameType | None) -> None:
        """Note the interrupted stack; installed as the handler of SIGPROF."""
        stack: list[str] = []
        while frame is not None and len(stack) < DEPTH:
            name = self._codes.get(frame.f_code)
            if name is None:
                name = self._codes[frame.f_code] = _name(frame)
            stack.append(name)
            frame = frame.f_back
        self.stacks[tuple(reversed(stack))] += 1

    def report(self, lines: int = 60) -> str:
        """Return two tables: where the CPU was, and below which functions it was."""
        total = sum(self.stacks.values()) or 1
        own: Counter[str] = Counter()
        below: Counter[str] = Counter()
        for stack, count in self.stacks.items():
            own[stack[-1] if stack else "(no Python)"] += count
            for name in set(stack):
                below[name] += count
        text = [f"{total} samples in {time.process_time():.2f} s of CPU"]
        for heading, counts in (("in the function itself", own), ("in it and below", below)):
            text += ["", heading]
            text += [f"{100 * count / total:6.2f} %  {name}" for name, count in counts.most_common(lines)]
        return "\n".join(text) + "\n"

    def folded(self) -> str:
        """Return one line per stack: frames, outermost first, and the count."""
        return "".join(f"{';'.join(stack)} {count}\n" for stack, count in self.stacks.most_common())


def main() -> None:
    """Run the command, and write the profile however it ends."""
    out, entry = Path(sys.argv[1]), sys.argv[2]
    module, _, function = entry.partition(":")
    sys.argv = [module, *sys.argv[3:]]
    sampler = Sampler()
    # Servers raise the signal that stopped them once more when they are done; that must not skip the writing.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        command = getattr(importlib.import_module(module), function)
        signal.signal(signal.SIGPROF, sampler.take)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
        command()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write_text(sampler.report())
        out.with_name(out.name + ".folded").write_text(sampler.folded())


if __name__ == "__main__":
    main()
