"""Damaged files for a reader: each gives a value, or an error that names the file.

A few thousand inputs per reader in the tests, the same ones each time. `python -m tests --fuzz MINUTES` takes new ones
for that long (`FUZZ_INPUTS=100000` at most so many), and ends at an input that takes more than `SLOW` seconds of the
processor or `MEMORY` bytes.
"""

from __future__ import annotations

import copy
import faulthandler
import json
import math
import os
import re
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from random import Random
from typing import Any

SLOW = 5.0
"""Seconds for one input, when inputs are timed."""
MEMORY = 1_500_000_000
"""Bytes of the process at most, when inputs are timed."""

NUMBERS = [
    *(b"0", b"-1", b"1", b"-0", b"255", b"65536", b"2147483648", b"-9223372036854775809", b"18446744073709551616"),
    *(b"1e308", b"1e309", b"-1e999", b"1e-400", b"NaN", b"Infinity", b"nan", b"inf", b"0x10", b"1_000", b"0.1"),
    *(b"9" * 400, b"\xd9\xa3"),
]
"""Replace a number of the file."""

WORDS = [
    *(b"", b"\0", b"\n", b"\r\n", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[31m", b"\x80", b"\xed\xa0\x80", b"\\ud800"),
    *(b"{", b"}", b"[", b"]", b'"', b"'", b"<", b">", b"&", b"=", b",", b":", b"-", b" ", b"\t", b"%", b"/", b"\\"),
    *(b"null", b"true", b"../", b"\xe2\x80\xa8"),
]
"""Put anywhere."""


VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 255, 2**31, 2**63, -(2**63) - 1, 10**30, 10**400, 0.5, -0.0, 1e-320, 1e39, 1e308),
    *(
        -1e308,
        math.nan,
        math.inf,
        "",
        "0",
        "1",
        "-1",
        "1.0",
        "1e308",
        "true",
        "nan",
        " ",
        "\0",
        "\ud800",
        "\udc80",
        "\x1b[2J",
    ),
    *(
        "..",
        "/",
        "a/../../b",
        "x" * 5000,
        "9" * 5000,
        "\n",
        [],
        {},
        [[]],
        [None],
        [0] * 4,
        [1e308] * 4,
        {"0": 0},
        {"": []},
    ),
    *(["a", 1, None], [-1e308, 0, 1e308, 0], [[0.5, 0.5, 1e308, 3, 4, 5]], eval("[" * 90 + "]" * 90)),
]
"""Replace a value of a json file."""


def damaged_json(draw: Random, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """Return a file of json in which one to four values are others, or are not there; at times as `damaged`.

    Json is YAML too, so readers of YAML get such files as well.
    """
    if draw.randrange(3) == 0:
        return damaged(draw, seeds, words)
    top = [json.loads(draw.choice(seeds))]
    for _ in range(draw.choice((1, 1, 2, 4))):
        # Every value is as likely as any other, whatever its depth.
        places: list[tuple[Any, Any]] = []
        waiting: list[Any] = [top]
        while waiting:
            place = waiting.pop()
            keys = list(place) if isinstance(place, dict) else range(len(place)) if isinstance(place, list) else ()
            places += [(place, key) for key in keys]
            waiting += [place[key] for key in keys]
        place, key = draw.choice(places)
        match draw.randrange(5):
            case 0 if place is not top:
                del place[key]
            case 1 if isinstance(place, dict):
                place[str(draw.choice(VALUES))] = place.pop(key)
            case 2 if isinstance(place, list) and place is not top:
                place += [copy.deepcopy(place[key])] * draw.choice((1, 2, 10, 100))
            case _:
                place[key] = copy.deepcopy(draw.choice(VALUES))
    return json.dumps(top[0], ensure_ascii=draw.random() < 0.7).encode("utf-8", "surrogatepass")[: 1 << 20]


def damaged(draw: Random, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """Return one of the files with one to four damages; `words` are put in as well, such as keys of the format."""
    data = draw.choice(seeds)
    for _ in range(draw.choice((1, 1, 2, 4))):
        data = _one_damage(draw, data, seeds, [*WORDS, *words])[: 1 << 20]
    return data


def _one_damage(draw: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    at = draw.randrange(len(data) + 1)
    end = min(len(data), at + draw.choice((1, 1, 2, 4, 8, 64, 1000)))
    match draw.randrange(10):
        case 0:
            return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + draw.randbytes(draw.randrange(9)) + data[end:]
        case 2:
            return data[:at]
        case 3:
            return data[:at] + data[end:]
        case 4:  # nested or long
            return data[:end] + data[at:end] * _times(draw) + data[end:]
        case 5:
            other = draw.choice(seeds)
            return data[:at] + other[draw.randrange(len(other) + 1) :]
        case 6 | 7:
            numbers = list(re.finditer(rb"-?\d[\d.]*", data))
            if not numbers:
                return data[:at] + draw.choice(NUMBERS) + data[end:]
            number = draw.choice(numbers)
            return data[: number.start()] + draw.choice(NUMBERS) + data[number.end() :]
        case 8:
            return data[:at] + draw.choice(words) * _times(draw) + data[at:]
        case _:
            return data[:at] + draw.choice(words) + data[end:]


def _times(draw: Random) -> int:
    """Return how often something is repeated. Long files are rare, since they take most of the time."""
    return draw.choice((1000, 20_000)) if draw.randrange(40) == 0 else draw.choice((1, 1, 1, 2, 10, 100))


def survives(
    read: Callable[[Path], object],
    seeds: Sequence[bytes],
    file: Path,
    *,
    inputs: int = 2000,
    words: Sequence[bytes] = (),
    named: bool = True,
    damage: Callable[[Random, Sequence[bytes], Sequence[bytes]], bytes] = damaged,
) -> None:
    """Check that a reader gives a value or a ValueError or OSError, whatever is in the file.

    Args:
        read: the reader; gets `file`.
        seeds: contents that it accepts. They are read first, undamaged.
        file: where the contents are written.
        inputs: how many in the tests.
        words: put into the contents, besides `WORDS`.
        named: whether each message has the name of the file.
        damage: makes a content.
    """
    for seed in seeds:
        file.write_bytes(seed)
        read(file)
    counts = Counter[str]()
    minutes, count = os.environ.get("FUZZ_MINUTES"), int(os.environ.get("FUZZ_INPUTS", "0"))
    by_hand = bool(minutes or count)
    first = time.time_ns() if minutes else 0
    end = time.monotonic() + 60 * float(minutes or "inf")
    last = first + (count or (inf if minutes else inputs))
    number = first
    while number < last and time.monotonic() < end:
        data = damage(Random(number), seeds, words)
        file.write_bytes(data)
        before = time.process_time()
        if by_hand:
            faulthandler.dump_traceback_later(60, exit=True)  # an input that never ends
        refusal: Exception | None = None
        try:
            read(file)
        except (ValueError, OSError) as problem:
            refusal = problem
        except Exception as problem:
            raise AssertionError(f"input {number}: {problem!r}: {data[:300]!r}") from problem
        finally:
            if by_hand:
                faulthandler.cancel_dump_traceback_later()
        counts["refused" if refusal else "accepted"] += 1
        text = str(refusal or file.name)
        assert not named or file.name in text, f"input {number}: {refusal!r} does not name the file: {data[:300]!r}"
        assert len(text) < 20_000, f"input {number}: a message of {len(text)} characters: {data[:300]!r}"
        if by_hand:
            seconds, peak = time.process_time() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            assert seconds < SLOW, f"input {number}: {seconds:.1f} s: {data[:300]!r}"
            assert peak < MEMORY, f"input {number}: {peak / 1e9:.1f} GB: {data[:300]!r}"
        number += 1
    print(f"{file.name}: {dict(counts)}")
    assert min(counts["accepted"], counts["refused"]) > 0, "the damage is harmless or total"
