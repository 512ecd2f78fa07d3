"""Mutation tests: ``python .ci/mutants.py PATTERN...``. Run by ``tox -e mutants``.

mutmut makes the mutants, in the folder ``mutants``, and shows one with ``mutmut show NAME``. This
runs the tests on them. mutmut's own runner collects all tests again for each mutant, or else forks
a process whose tests left threads behind. Here one process collects the tests once and runs none.
A fork of it notes which test runs which line, and one fork for each mutant runs the tests of the
lines that the mutant changes, until one fails.
"""

import ast
import json
import os
import re
import select
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

import coverage
import pytest
from mutmut import __main__ as mutmut
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, walk_mutatable_files

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "mutants"

TESTS = {
    "tokenkeeper/_renewal": [
        *("tests/_renewal", "tests/_runtime", "tests/events"),
        "tests/config/test_config_taken_over.py",
        *("tests/test_clock.py", "tests/test_health.py", "tests/test_misuse.py"),
        *("tests/test_keeper.py", "tests/test_keeper_endings.py", "tests/test_keeper_inline.py"),
        *("tests/test_manager.py", "tests/test_manager_inline.py", "tests/test_retry.py"),
    ],
    "tokenkeeper/oauth": ["tests/oauth", "tests/providers"],
}
"""The tests of each package."""

OPTIONS = ["-q", "-m", "not slow", "--tb=no", "--disable-warnings", "--timeout=0"]
OPTIONS += ["-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist"]


def main(patterns):
    os.chdir(ROOT)
    paths = [path for path in walk_mutatable_files() if may_match(path, patterns)]
    if not paths:
        sys.exit("error: name mutants, for instance 'tokenkeeper._renewal.need*'")
    shutil.rmtree(FOLDER, ignore_errors=True)
    copy_src_dir()
    copy_also_copy_files()
    for path in paths:
        if error := mutmut.create_file_mutants(path).error:
            raise error
    os.chdir(FOLDER)
    sys.path.insert(0, str(FOLDER))  # before the package that is installed
    shorten_guards()
    os.environ["CI"] = "true"  # Hypothesis then tries the same examples each time
    set_mutant_under_test("")
    tests = {test: None for path in paths for test in TESTS[path.parent.as_posix()]}
    return pytest.main([*OPTIONS, *tests], plugins=[Driver(paths, patterns)])


def shorten_guards():
    """Let a test fail soon where a mutant lets it wait in vain."""
    sys.path.insert(0, str(FOLDER / "tests"))
    from kit import guards  # the only module of the tests that is imported before pytest is

    guards.GUARD_SECONDS = 2.0


def may_match(path, patterns):
    module = ".".join(path.with_suffix("").parts)
    starts = [re.split(r"[*?[]", pattern)[0] for pattern in patterns]
    return any(f"{module}.".startswith(start) or start.startswith(f"{module}.") for start in starts)


class Driver:
    """A plugin of pytest that runs the tests that it collected, in forks."""

    def __init__(self, paths, patterns):
        self.paths = paths
        self.patterns = patterns
        self.has_failed = False
        self.kills = Counter()  # (mutated function or module, test) -> number of mutants
        self.lines = {}  # test -> the lines that it runs, each with its file
        self.seconds = {}  # test -> how long it takes without a mutant

    def pytest_runtest_logreport(self, report):
        """Note a failure."""
        self.has_failed = self.has_failed or report.failed

    def pytest_runtestloop(self, session):
        """Run the tests on each mutant, instead of once."""
        if session.testsfailed:
            raise session.Interrupted("a test can't be collected")
        self.config = session.config
        self.items = {item.nodeid: item for item in session.items}
        self.measure()
        say("| code | mutants | killed | not killed |\n| --- | ---: | ---: | ---: |")
        counts = Counter()
        for path in self.paths:
            of_path = Counter()
            for name, lines in changed_lines(path).items():
                if any(fnmatchcase(name, pattern) for pattern in self.patterns):
                    result = self.outcome(name, {(path.as_posix(), line) for line in lines})
                    of_path[result] += 1
                    if result not in ("killed", "timeout"):
                        say(f"{result}: {name}")
            counts += of_path
            say(row(f"`{'/'.join(path.parts[-2:])}`", of_path))
        say(row("all", counts), f"{counts['timeout']} of them killed by a timeout", "")
        return True

    def measure(self):
        """Run all tests without a mutant, and note how long they take and which lines they run."""
        results = FOLDER / "tests.json"

        def note(send):
            results.write_text(json.dumps(self.measured()), "utf-8")
            send(b"done")

        fork = Fork(note)
        if fork.read(None) != b"done":
            sys.exit("error: the tests ended the process that ran them")
        fork.end()
        for test, (passed, seconds, lines) in json.loads(results.read_text("utf-8")).items():
            if passed:
                self.seconds[test] = seconds
                self.lines[test] = {tuple(line) for line in lines}
            else:
                say(f"left out, as it fails without a mutant: {test}")

    def measured(self):
        """Return for each test whether it passes, its seconds, and the lines that it runs."""
        results = {}
        files = [str(FOLDER / path) for path in self.paths]
        measuring = coverage.Coverage(data_file=None, config_file=False, include=files)
        measuring.start()
        for test, passes in self.each(list(self.items)):
            measuring.switch_context(test)
            began = time.monotonic()
            results[test] = (passes(), time.monotonic() - began, [])
        measuring.stop()
        for path, file in zip(self.paths, files, strict=True):
            for line, tests in measuring.get_data().contexts_by_lineno(file).items():
                for test in set(tests) & results.keys():
                    results[test][2].append((path.as_posix(), line))
        return results

    def each(self, tests):
        """Yield each test, and a function that runs it and says whether it passes."""
        for test, following in zip(tests, [*tests[1:], None], strict=True):
            item = self.items[test]

            def passes(item=item, following=following):
                self.has_failed = False
                item.config.hook.pytest_runtest_protocol(
                    item=item, nextitem=self.items.get(following)
                )
                return not self.has_failed

            yield test, passes

    def outcome(self, name, lines):
        """Return "killed", "timeout", "survived" or "no tests"."""
        function = name.rpartition("__mutmut_")[0]
        module = function.rpartition(".")[0]
        own = f"/test_{module.rpartition('.')[2]}.py"

        def likely_first(test):
            kills = self.kills
            return -kills[function, test], -kills[module, test], own not in test, self.seconds[test]

        tests = sorted((test for test in self.lines if self.lines[test] & lines), key=likely_first)
        if not tests:
            return "no tests"
        result, test = self.run(name, tests, patience=1)
        if result == "timeout":  # perhaps the machine was busy
            result, test = self.run(name, tests[tests.index(test) :], patience=3)
        if result == "killed":
            self.kills.update([(function, test), (module, test)])
        return result

    def run(self, name, tests, patience):
        """Run the tests on a mutant until one fails. Return the result and the last test."""

        def run_all(send):
            set_mutant_under_test(name)
            self.config.pluginmanager.unregister(name="terminalreporter")
            for _, passes in self.each(tests):
                send(b"next")
                if not passes():
                    return send(b"fail")
            return send(b"done")

        fork = Fork(run_all)
        waiting = iter(tests)
        current, limit = tests[0], 30
        try:
            while (message := fork.read(limit)) == b"next":
                current = next(waiting)
                limit = patience * (5 + 10 * self.seconds[current])
        finally:
            fork.end()
        return {b"done": "survived", None: "timeout"}.get(message, "killed"), current


class Fork:
    """A fork of this process, which calls a function and sends messages of four bytes."""

    def __init__(self, function):
        self.reader, writer = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setpgid(0, 0)
                function(lambda message: os.write(writer, message))
            finally:
                os._exit(1)
        os.close(writer)

    def read(self, seconds):
        """Return the next message, b"" if the fork ended, or None if nothing came in time."""
        is_there = select.select([self.reader], [], [], seconds)[0]
        return os.read(self.reader, 4) if is_there else None

    def end(self):
        """End the fork and the processes that its tests started."""
        os.close(self.reader)
        with suppress(ProcessLookupError):  # where it ended before it had a group
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def changed_lines(path):
    """Return the mutants of a file, and the lines of the original function that each changes."""
    source = path.read_text("utf-8")
    lines = source.splitlines()
    functions = {
        node.name: node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "__mutmut_" in node.name
    }
    names = json.loads(Path(f"{path}.meta").read_text("utf-8"))["exit_code_by_key"]
    changed = {}
    for name in names:
        mutant = functions[name.rpartition(".")[2]]
        original = functions[mutant.name.rpartition("__mutmut_")[0] + "__mutmut_orig"]
        before, after = (
            [line.replace(each.name, "") for line in lines[each.lineno - 1 : each.end_lineno]]
            for each in (original, mutant)
        )
        alike = [a == b for a, b in zip(before, after, strict=False)]
        alike_at_the_end = [a == b for a, b in zip(before[::-1], after[::-1], strict=False)]
        first = original.lineno + [*alike, False].index(False)
        last = original.end_lineno - [*alike_at_the_end, False].index(False)
        changed[name] = run_with(original, first, max(first, last))
    return changed


def run_with(function, first, last):
    """Return the lines that run if these lines of a function do: those of their statement."""
    smallest = function
    for node in ast.walk(function):
        if isinstance(node, ast.stmt) and node.lineno <= first and last <= node.end_lineno:
            smallest = node  # a statement comes after the one that contains it
    body = getattr(smallest, "body", None)
    if smallest is function:
        return set(range(function.lineno, function.end_lineno + 1))
    return set(range(smallest.lineno, body[0].lineno if body else smallest.end_lineno + 1))


def row(name, results):
    killed = results["killed"] + results["timeout"]
    return f"| {name} | {results.total():,} | {killed:,} | {results.total() - killed:,} |"


def say(*lines):
    sys.stdout.write("\n" + "\n".join(lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
