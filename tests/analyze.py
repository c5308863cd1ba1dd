#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""gcc -fanalyzer over user/*.c: nothing but what is known to be wrong.

gcc 12 understands neither the cleanup attribute together with handing a value on (TAKE_PTR) nor a
pointer that is only read when something was counted. Each such place is named in FALSE with why it
is one, so that the analyzer stays on everywhere else. Run by "make analyze", which sets CC, FLAGS.
"""
import concurrent.futures
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
CC = shlex.split(os.environ.get("CC", "gcc"))
FLAGS = shlex.split(os.environ["FLAGS"])
JOBS = 2

# (file, function, kind of warning) -> why it is none.
UNINIT, LEAK, NULL = ("analyzer-use-of-uninitialized-value", "analyzer-malloc-leak",
                      "analyzer-null-dereference")
CURL = "the functions are filled in one by one by name, through their places in the struct"
FALSE = {
    ("user/cmd.c", "distance", UNINIT): "row[0..n] is filled right above",
    ("user/gate.c", "gate_list_links", LEAK): "belongs to ids, which cleanup frees",
    ("user/iface.c", "iface_port_is_open", NULL): "count is 0 where there is no array",
    ("user/iface.c", "is_reserved", UNINIT): "line is NULL from the start, and getline()'s then",
    ("user/journal.c", "print_field", NULL): "each field has a = behind its name",
    ("user/lint.c", "grow", LEAK): "handed on through items, a pointer to the caller's pointer",
    ("user/probe.c", "attempt_begin", UNINIT): CURL,
    ("user/probe.c", "probe_ports", UNINIT): CURL,
    ("user/probe.c", "run_session", UNINIT): CURL,
    ("user/probe.c", "set_options", UNINIT): CURL,
    ("user/probe.c", "speaks_smtp", UNINIT): CURL,
    ("user/probe.c", "take_finished", UNINIT): CURL,
    ("user/scrape.c", "scrape", LEAK): "handed on in ret_metrics",
    ("user/span.c", "append", NULL): "merge() has made room for as many as it appends",
    ("user/span.c", "merge", LEAK): "handed on: set->large is both",
}

FUNCTION = re.compile(r"In function ‘(\w+)’|In function '(\w+)'")
INLINED = re.compile(r"inlined from [‘'](\w+)[’'] at (\S+?):")
WARNING = re.compile(r"^(\S+?):\d+:\d+: (?:warning|error): (.*) \[.*-W(?:error=)?(analyzer-[\w-]+)\]$")


def analyze(file):
    """[(file, function, kind, text)] of what it says about one."""
    argv = CC + FLAGS + ["-fanalyzer", "-Wno-error", "-fdiagnostics-path-format=none",
                         "-c", "-o", "/dev/null", str(file)]
    done = subprocess.run(argv, cwd=ROOT, env=dict(os.environ, LC_ALL="C"), capture_output=True,
                          text=True, errors="replace", check=False)
    found, function = [], "?"
    for line in done.stderr.splitlines():
        if match := FUNCTION.search(line):
            function = match.group(1) or match.group(2)
        elif match := INLINED.search(line):
            function = match.group(1)       # who calls it, not the helper
        elif match := WARNING.match(line):
            found.append((str(file), function, match.group(3), match.group(2)))
    if done.returncode and not found:
        found.append((str(file), "?", "failed", done.stderr))
    return found


def main():
    """All files; 1 when something is not known."""
    files = sorted(path.relative_to(ROOT) for path in (ROOT / "user").glob("*.c"))
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        found = {row for rows in pool.map(analyze, files) for row in rows}
    new = sorted(row for row in found if row[:3] not in FALSE)
    for file, function, kind, text in new:
        print(f"{file}: {function}(): {text} [-W{kind}]")
    print(f"{len(files)} files, {len(found) - len(new)} known false alarms, {len(new)} new")
    sys.exit(1 if new else 0)


if __name__ == "__main__":
    main()
