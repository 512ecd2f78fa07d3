"""Prints the mutation score: ``python .ci/mutants.py [PATTERN]...``. Run by `tox -e mutants`.

One line for each module with the mutants that were tested so far, then the ones that survived.
``mutmut show NAME`` shows the change that a mutant makes.
"""

import json
import sys
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "mutants"

SURVIVED = {0: "survived", 5: "no tests", 33: "no tests"}
"""What pytest's exit status means, as mutmut records it. Any other status, a timeout's for
instance, is that of a mutant that the tests noticed."""


def main(patterns):
    statuses = defaultdict(dict)  # module -> mutant -> exit status
    for path in sorted(FOLDER.rglob("*.meta")):
        for name, status in json.loads(path.read_text("utf-8"))["exit_code_by_key"].items():
            is_chosen = not patterns or any(fnmatchcase(name, each) for each in patterns)
            if is_chosen and status is not None:
                statuses[name.rpartition(".")[0]][name] = status
    if not statuses:
        sys.exit("error: no mutant was tested")
    sys.stdout.write(f"{'module':44} mutants  killed  survived\n")
    for module, of_module in statuses.items():
        sys.stdout.write(line(module, of_module.values()))
    everything = {name: each for of_module in statuses.values() for name, each in of_module.items()}
    sys.stdout.write(line("all", everything.values()))
    for name, status in everything.items():
        if status in SURVIVED:
            sys.stdout.write(f"{SURVIVED[status]}: {name}\n")


def line(name, statuses):
    survived = sum(status in SURVIVED for status in statuses)
    killed = len(statuses) - survived
    return f"{name:44} {len(statuses):7} {killed:7} {survived:9}  {killed / len(statuses):.1%}\n"


if __name__ == "__main__":
    main(sys.argv[1:])
