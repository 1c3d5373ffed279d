"""``python -m nfsnitch.lab.bench lists``: what large lists cost, against their bars.

Lists are made up here, as large as the largest that are in use. Each is compiled as the daemon has
it done, and then mapped and asked by a process that has nothing else in it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from statistics import median
from typing import BinaryIO

from nfsnitch.adapters.lists.helper_process import messages, started
from nfsnitch.adapters.lists.messages import Done, Job, Progress
from nfsnitch.commands.progress_bar import ProgressBar

DOMAINS, NETWORKS, LOOKUPS = 1_000_000, 100_000, 100_000
MOST_MB, MOST_US, MOST_START_S = 60.0, 2.0, 2.0
_SEED = 7
_BATCH = 10
_MOST_DOTS = 4
_SYLLABLES = [
    "ad",
    "al",
    "an",
    "ba",
    "be",
    "bo",
    "ca",
    "co",
    "da",
    "de",
    "do",
    "el",
    "en",
    "fa",
    "fi",
    "ga",
    "go",
    "ha",
    "in",
    "ka",
    "lo",
    "ma",
    "me",
    "mo",
    "na",
    "no",
    "pa",
]
_BEFORE = ("ads", "cdn", "click", "log", "metrics", "pixel", "s", "stats", "t", "track", "www")
_TOP = (*("com",) * 10, *("net", "org", "io", "ru", "de", "co.uk", "info", "xyz"))


def main() -> int:
    """Measure, and say what came of it; return the exit status."""
    kept = True
    with tempfile.TemporaryDirectory(prefix="nfsnitch-bench-") as folder:
        for what, count, lines, asked in (
            ("domains", DOMAINS, _domains, _asked_names),
            ("networks", NETWORKS, _networks, _asked_addresses),
        ):
            some = list(lines(random.Random(_SEED), count))  # noqa: S311  the same each time
            kept &= _measured(Path(folder), what, some, asked(some))
    return 0 if kept else 1


def _measured(folder: Path, what: str, lines: list[str], asked: list[str]) -> bool:
    text, questions = folder / what, folder / f"{what}.asked"
    text.write_text("\n".join(lines), "ascii")
    questions.write_text("\n".join(asked), "ascii")
    compiled = folder / f"{what}.list"
    began_s = time.monotonic()
    with text.open("rb") as source, compiled.open("w+b") as out:
        found = _compile(what, source, out)
    took_s = time.monotonic() - began_s
    argv = [sys.executable, "-m", "nfsnitch.lab.bench_lists", str(compiled), str(questions)]
    told = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    size_mb = compiled.stat().st_size / 1e6
    _say(f"{found:,} {what}, compiled in {took_s:.1f} s to {size_mb:.1f} MB:")
    kept = all(
        [
            _row("start from the compiled form", told["start_s"], MOST_START_S, "s"),
            _row("memory added", told["added_mb"], MOST_MB, "MB"),
            _row("look-up of what is listed", told["listed_us"], MOST_US, "µs"),
            _row("look-up of what is not", told["not_listed_us"], MOST_US, "µs"),
        ]
    )
    _say(f"  {'and line and text, for a record':<32} {told['entry_us']:5.2f} µs")
    return kept


def _compile(what: str, source: BinaryIO, out: BinaryIO) -> int:
    bar = ProgressBar(sys.stderr)
    for message in messages(started(Job(source.fileno(), out.fileno()))):
        if isinstance(message, Progress):
            bar.show(what, message.phase, message.done, message.total)
        elif isinstance(message, Done) and message.report is not None:
            bar.clear()
            return message.report.entries
    raise RuntimeError(f"the list of {what} could not be compiled")


def _row(what: str, value: float, most: float, unit: str) -> bool:
    is_kept = value <= most
    word = "kept" if is_kept else "MISSED"
    _say(f"  {what:<30} {value:7.2f} {unit:<3} the bar is {most:g} {unit}: {word}")
    return is_kept


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _domains(chance: random.Random, count: int) -> Iterator[str]:
    seen: set[str] = set()
    while len(seen) < count:
        words = "".join(chance.choices(_SYLLABLES, k=chance.randint(2, 5)))
        name = f"{words}{chance.choice(('', '', '-', chance.randint(1, 99)))}".strip("-")
        name = f"{name}.{chance.choice(_TOP)}"
        for _ in range(chance.randint(1, 3)):
            name = f"{chance.choice(_BEFORE)}{chance.choice(('', chance.randint(1, 99)))}.{name}"
        if name not in seen:
            seen.add(name)
            yield name


def _asked_names(listed: Sequence[str]) -> list[str]:
    """Return names of 3 to 5 labels: first those that are listed, then as many that are not."""
    chance = random.Random(_SEED + 1)  # noqa: S311
    some = [name for name in chance.sample(listed, LOOKUPS) if name.count(".") <= _MOST_DOTS]
    known = set(listed)
    others = [
        name
        for name in _domains(chance, 2 * LOOKUPS)
        if name.count(".") <= _MOST_DOTS and not any(name[at:] in known for at in _begins(name))
    ]
    half = min(len(some), len(others), LOOKUPS // 2)
    return some[:half] + others[:half]


def _begins(name: str) -> Iterator[int]:
    return (
        at + 1 for at, character in enumerate(f".{name}") if character == "." and at < len(name)
    )


def _networks(chance: random.Random, count: int) -> Iterator[str]:
    seen: set[str] = set()
    while len(seen) < count:
        if chance.random() < 0.7:  # noqa: PLR2004
            bits = chance.choice((16, 20, 22, 24, 24, 24, 28, 32, 32, 32))
            first = chance.randrange(1 << 24, 224 << 24) >> (32 - bits) << (32 - bits)
            text = f"{IPv4Address(first)}/{bits}"
        else:
            bits = chance.choice((32, 40, 48, 56, 64, 128))
            high = (0x2001 << 112) + chance.randrange(1 << 112)
            text = f"{IPv6Address(high >> (128 - bits) << (128 - bits))}/{bits}"
        if text not in seen:
            seen.add(text)
            yield text


def _asked_addresses(listed: Sequence[str]) -> list[str]:
    chance = random.Random(_SEED + 1)  # noqa: S311
    some = [text.partition("/")[0] for text in chance.choices(listed, k=LOOKUPS // 2)]
    others = [
        str(IPv4Address(chance.randrange(240 << 24, 255 << 24)))
        if chance.random() < 0.5  # noqa: PLR2004
        else str(IPv6Address((0x3FFE << 112) + chance.randrange(1 << 112)))
        for _ in range(LOOKUPS // 2)
    ]
    return some + others


def _ask(compiled: str, questions: str) -> None:
    """Map a list, ask it, and write what that took; in a process of its own."""
    asked = Path(questions).read_text("ascii").splitlines()
    before = _memory_bytes()
    began_s = time.monotonic()
    # What is imported counts, too.
    import mmap  # noqa: PLC0415
    from ipaddress import ip_address  # noqa: PLC0415

    from nfsnitch.lists.compiled import CompiledContent, Content  # noqa: PLC0415

    with Path(compiled).open("rb") as file:
        whole = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    content = CompiledContent("bench", Content(memoryview(whole)))
    start_s = time.monotonic() - began_s
    half = len(asked) // 2
    if content.names:
        listed, others = asked[:half], asked[half:]
        times = [_each_us(content.has_name, each) for each in (listed, others)]
        times.append(_each_us(content.find_name, listed))
    else:
        packed = [ip_address(each).packed for each in asked]
        times = [_each_us(content.has_address, each) for each in (packed[:half], packed[half:])]
        times.append(_each_us(content.find_address, packed[:half]))
    added = _memory_bytes() - before
    told = {"start_s": start_s, "added_mb": added / 1e6}
    told |= {"listed_us": times[0], "not_listed_us": times[1], "entry_us": times[2]}
    sys.stdout.write(json.dumps(told))


def _each_us(find: Callable[..., object], asked: Sequence[object]) -> float:
    """Return the median of what a look-up takes, measured in tens."""
    times = []
    for first in range(0, len(asked) - _BATCH, _BATCH):
        some = asked[first : first + _BATCH]
        began_ns = time.perf_counter_ns()
        for each in some:
            find(each)
        times.append((time.perf_counter_ns() - began_ns) / _BATCH / 1e3)
    return median(times)


def _memory_bytes() -> int:
    resident = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return resident * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    _ask(*sys.argv[1:])
