"""Check everything: `python -m tests`. With `--fix` files are formatted and corrected first.

It runs formatter and linter, then type checker and tests side by side, because the type checker has one thread; what
it says comes last. All of them run, and the exit status is 1 if one failed. Other arguments go to pytest:
`python -m tests -k nms`. Tests run in one process per core with one thread each: small networks gain nothing from more
threads, and threads of several processes wait for each other. A process keeps neighbouring tests, which share what was
made for them, until the other one has nothing left to do.

`--fuzz MINUTES` runs only the fuzz tests, with new inputs for that many minutes per reader.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(arguments: list[str]) -> int:
    """Run all checks and return the exit status."""
    environment = {"OMP_NUM_THREADS": "1"} | os.environ
    if arguments[:1] == ["--fuzz"]:
        command = [sys.executable, "-m", "pytest", "--numprocesses=auto", "--dist=worksteal", "-rA", "tests/fuzz"]
        return subprocess.run(
            [*command, *arguments[2:]], cwd=ROOT, env=environment | {"FUZZ_MINUTES": arguments[1]}
        ).returncode
    fix = "--fix" in arguments
    pytest_arguments = [argument for argument in arguments if argument != "--fix"]
    commands = [
        ["ruff", "format", *([] if fix else ["--check"]), "."],
        ["ruff", "check", *(["--fix"] if fix else []), "."],
        ["pytest", "--numprocesses=auto", "--dist=worksteal", *pytest_arguments],
    ]
    failed = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        for command in commands:
            if command[0] == "pytest":
                types = subprocess.Popen(
                    [sys.executable, "-m", "mypy"], cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT
                )
            print(f"== {' '.join(command)}", flush=True)
            if subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment).returncode:
                failed.append(command[0] if command[0] != "ruff" else " ".join(command[:2]))
        if types.wait():
            failed.append("mypy")
        said.seek(0)
        print(f"== mypy\n{said.read()}", end="", flush=True)
    if failed:
        print(f"== failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
