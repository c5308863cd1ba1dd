#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Do the tests see mistakes? Makes each mistake of mutants.txt in a copy of the tree and runs tests.

mutants.txt says which mistake, where, and which tests may see it, the cheapest first. Each is made
alone, what is needed is built, and the tests are run until one fails:

    caught           by that test; one that needs a network has to fail twice
    survives         no test failed: a hole in the tests, unless the list says why it cannot matter
    does not build   or the kernel refuses to load it: no mutant, the list has to be mended

Before that, the same tests must pass without any mistake, else nothing would follow from all this.

run.py [NAME...]; MUTANTS_OUT=FILE writes the table as Markdown, JOBS=1 makes one at a time; LEAN=1
builds the unit tests without sanitizers, which is quicker and sees less. Ends with 0 when at least
95 % are caught and each survivor has its reason in the list.
"""
import concurrent.futures
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIST = HERE / "mutants.txt"
JOBS = int(os.environ.get("JOBS", "2"))
LEAN = ["SAN="] if os.environ.get("LEAN") else []
ENOUGH = 95         # per cent that must be caught
BUILD_LIMIT = 300   # seconds
TEST_LIMIT = 400
NOT_LOADED = re.compile(r"failed to load object|BPF program load failed|refused to load the program"
                        r"|refused to make the maps")


class Mutant:
    """One mistake: pieces of a file, each replaced by another."""

    def __init__(self, name, file, tests):
        self.name, self.file, self.tests = name, file, tests
        self.what = self.reason = ""
        self.pieces = []
        self.verdict = self.by = None

    def problems(self):
        """What is wrong with its place in the list."""
        text = (ROOT / self.file).read_text(encoding="utf-8")
        found = [] if self.what else ["says not what it is"]
        if not self.pieces or not self.tests:
            found.append("changes nothing, or has no tests")
        for old, new in self.pieces:
            if text.count(old) != 1:
                found.append(f"{text.count(old)} times in {self.file}, not once: {old!r}")
            if old == new:
                found.append(f"no change: {old!r}")
        return [f"{self.name}: {problem}" for problem in found]

    def made_in(self, text):
        """The text with the mistake in it."""
        for old, new in self.pieces:
            text = text.replace(old, new)
        return text


class Reader:
    """Reads the list; its form is told at its top."""

    def __init__(self):
        self.mutants = []
        self.file, self.usual = None, []
        self.removing = False

    def line(self, number, line):
        """Takes one line."""
        words = line.split()
        if not words or line.startswith("#"):
            self.removing = False
        elif line.startswith("== "):
            self.file, self.usual = words[1], words[2:]
        elif line.startswith("= "):
            self.mutants.append(Mutant(words[1], self.file, self.usual))
            self.mutants[-1].what = line.split(maxsplit=2)[2] if len(words) > 2 else ""
        elif line.startswith("by "):
            self.mutants[-1].tests = words[1:]
        elif line.startswith("survives "):
            self.mutants[-1].reason = line.partition(" ")[2]
        elif line in ("-", "+") or line[:2] in ("- ", "+ "):
            self.piece(line[0] == "-", line[2:])
        else:
            sys.exit(f"{LIST.name}:{number}: what is this? {line}")

    def piece(self, old, text):
        """A line of the text that is replaced, or of what comes in its place."""
        pieces = self.mutants[-1].pieces
        if old and not self.removing:
            pieces.append([text, None])
        elif old:
            pieces[-1][0] += "\n" + text
        elif pieces[-1][1] is None:
            pieces[-1][1] = text
        else:
            pieces[-1][1] += "\n" + text
        self.removing = old


def read_list():
    """All mutants, or the end of the program."""
    reader = Reader()
    for number, line in enumerate(LIST.read_text(encoding="utf-8").splitlines(), 1):
        reader.line(number, line)
    mutants = reader.mutants
    for mutant in mutants:
        for piece in mutant.pieces:
            piece[1] = piece[1] or ""
    names = [m.name for m in mutants]
    problems = [p for m in mutants for p in m.problems()]
    problems += [f"{name} is there twice" for name in set(names) if names.count(name) > 1]
    if problems:
        sys.exit("\n".join(problems))
    return mutants


# Tests: unit/NAME, program/NAME, golden/NAME, e2e/NAME[:FUNCTION].

def targets(test):
    """What make has to build for it."""
    kind, name = test.split("/")
    if kind == "unit":
        return [f"build/unit/test_{name}"]
    if kind == "program":
        return ["build/progrun"]
    return ["build/smtpgate", "build/shift_clock.so"] if kind == "e2e" else ["build/smtpgate"]


def command(test):
    """How it is run."""
    kind, name = test.split("/")
    name, _, function = name.partition(":")
    if kind == "unit":
        return [f"build/unit/test_{name}"]
    if kind == "golden":
        return ["tests/golden/run.py", name]
    where = "bpf" if kind == "program" else kind
    return [f"tests/{where}/test_{name}.py"] + ([function] if function else [])


class Tree:
    """A copy of the tree, in which one mistake at a time is made."""

    def __init__(self, base, number):
        self.root = pathlib.Path(base) / str(number)
        self.root.mkdir()
        for path in ROOT.iterdir():
            if path.name != ".git":
                subprocess.run(["cp", "-a", path, self.root], check=True)
        shutil.rmtree(self.root / "build" / "fuzz", ignore_errors=True)
        self.env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP",
                        SMTPGATE=str(self.root / "build" / "smtpgate"))
        self.env.pop("MAKEFLAGS", None)
        self.env.pop("MAKELEVEL", None)

    def make(self, wanted):
        """True when it builds. A mistake may leave something unused."""
        done = subprocess.run(["make", "-s", "WARN=-w", *LEAN, *wanted], cwd=self.root, env=self.env,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=BUILD_LIMIT,
                              check=False)
        return done.returncode == 0

    def fails(self, test):
        """The first thing that fails in it, or None. It is not let go on from there."""
        with subprocess.Popen(command(test), cwd=self.root, env=self.env, text=True,
                              errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, start_new_session=True) as process:
            late = threading.Timer(TEST_LIMIT, os.killpg, (process.pid, signal.SIGKILL))
            late.start()
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("not ok") and not test.startswith("unit/"):
                    process.send_signal(signal.SIGINT)
            process.wait()
            over_time = not late.is_alive()
            late.cancel()
        if NOT_LOADED.search("".join(said)):
            return "does not load"
        for line in said:
            if match := re.match(r"not ok\s*\d*\s*-?\s*(.*)", line):
                return match.group(1).strip()
        if over_time:
            return f"no end after {TEST_LIMIT} s"
        if process.returncode:
            return f"ended with {process.returncode}"
        return None if any(line.startswith("ok") for line in said) else "no test in it"

    def judge(self, mutant):
        """Makes the mistake, looks who sees it, and unmakes it."""
        file = self.root / mutant.file
        text = file.read_text(encoding="utf-8")
        file.write_text(mutant.made_in(text), encoding="utf-8")
        try:
            for test in mutant.tests:
                if not self.make(targets(test)):
                    return "does not build", test
                why = self.fails(test)
                if why and test.startswith(("e2e/", "golden/")) and why != "does not load":
                    why = self.fails(test)
                if why:
                    return ("does not load" if why == "does not load" else "caught"), \
                        f"{test}: {why}"
            return "survives", None
        finally:
            file.write_text(text, encoding="utf-8")


class Run:
    """All of it."""

    def __init__(self, mutants, base):
        self.mutants = mutants
        self.trees = queue.SimpleQueue()
        self.count = min(JOBS, len(mutants))
        for number in range(self.count):
            self.trees.put(Tree(base, number))

    def with_tree(self, work, item):
        """Calls it with a tree that nobody else uses."""
        tree = self.trees.get()
        try:
            return work(tree, item)
        finally:
            self.trees.put(tree)

    @staticmethod
    def passes(tree, test):
        """Without a mistake: what fails, twice."""
        if not tree.make(targets(test)):
            return f"{test}: does not build"
        why = tree.fails(test) and tree.fails(test)
        return f"{test}: {why}" if why else None

    @staticmethod
    def try_out(tree, mutant):
        """One mutant."""
        mutant.verdict, mutant.by = tree.judge(mutant)
        words = mutant.by or mutant.reason or "NO REASON IS GIVEN"
        print(f"{mutant.verdict:<14} {mutant.name}: {words}", flush=True)

    def run(self):
        """What fails without a mistake; empty, when all was tried."""
        tests = sorted({test for mutant in self.mutants for test in mutant.tests})
        with concurrent.futures.ThreadPoolExecutor(self.count) as pool:
            problems = list(filter(None, pool.map(
                lambda test: self.with_tree(self.passes, test), tests)))
            if problems:
                return problems
            print(f"{len(tests)} tests pass without a mistake", flush=True)
            list(pool.map(lambda mutant: self.with_tree(self.try_out, mutant), self.mutants))
        return []


def summary(mutants):
    """One sentence."""
    caught = sum(m.verdict == "caught" for m in mutants)
    text = f"{len(mutants)} mutants: {caught} caught ({100 * caught / len(mutants):.1f} %)"
    for verdict in ("survives", "does not build", "does not load"):
        found = sum(m.verdict == verdict for m in mutants)
        text += f", {found} {verdict if found == 1 else verdict.replace('oes', 'o')}" if found else ""
    return text.replace(" survives", " survive")


def faults(mutants):
    """Why the run is no success."""
    caught = sum(m.verdict == "caught" for m in mutants)
    found = [f"{m.name} {m.verdict}" for m in mutants if m.verdict.startswith("does not")]
    found += [f"{m.name} survives, and no reason is given" for m in mutants
              if m.verdict == "survives" and not m.reason]
    found += [f"{m.name} is caught: it has no reason to survive" for m in mutants
              if m.verdict == "caught" and m.reason]
    if 100 * caught < ENOUGH * len(mutants) and len(mutants) > 1:
        found.append(f"fewer than {ENOUGH} % are caught")
    return found


def table(mutants):
    """The Markdown page."""
    lines = ["# Mistakes that the tests see", "",
             "Written by `make mutants`: each row is a mistake made in a copy of the program, alone,"
             " and the first", "test that failed because of it. What was changed exactly is in"
             " `tests/mutation/mutants.txt`.", "", f"{summary(mutants)}.", ""]
    for file in dict.fromkeys(m.file for m in mutants):
        lines += [f"## {file}", "", "| mistake | seen by |", "|---|---|"]
        for mutant in (m for m in mutants if m.file == file):
            by = mutant.by or f"**nobody**: {mutant.reason or 'no reason is given'}"
            by = re.sub(r" # .*", "", by).replace("|", "\\|")
            lines.append(f"| {mutant.what.replace('|', chr(92) + '|')} (`{mutant.name}`) | {by} |")
        lines.append("")
    return "\n".join(lines)


def main():
    """Runs those that were named, or all."""
    mutants = read_list()
    unknown = set(sys.argv[1:]) - {m.name for m in mutants} - {m.file for m in mutants}
    if unknown:
        sys.exit("no such mutant: " + " ".join(sorted(unknown)))
    chosen = [m for m in mutants if len(sys.argv) < 2 or {m.name, m.file} & set(sys.argv[1:])]
    with tempfile.TemporaryDirectory(prefix="mutants.") as base:
        problems = Run(chosen, base).run()
    if problems:
        sys.exit("without a mistake: " + "\n".join(problems))
    print(summary(chosen))
    found = faults(chosen)
    if out := os.environ.get("MUTANTS_OUT"):
        pathlib.Path(out).write_text(table(chosen), encoding="utf-8")
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
