# SPDX-License-Identifier: GPL-2.0-only
"""Named tests that print TAP. Knows nothing of smtpgate."""
import sys
import time
import traceback

TESTS = []


def test(function):
    """Registers a function; its docstring's first line, else its name, is the test's name."""
    TESTS.append(function)
    return function


def main(setup=None, teardown=None):
    """Runs all (or those whose name holds one of the arguments) and exits."""
    chosen = [t for t in TESTS if len(sys.argv) < 2 or any(a in t.__name__ for a in sys.argv[1:])]
    failed = 0
    print(f"1..{len(chosen)}", flush=True)
    for number, function in enumerate(chosen, 1):
        name = (function.__doc__ or function.__name__).strip().splitlines()[0]
        start = time.monotonic()
        try:
            if setup:
                setup()
            try:
                function()
            finally:
                if teardown:
                    teardown()
            print(f"ok {number} - {name} # {time.monotonic() - start:.2f} s", flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f"not ok {number} - {name}", flush=True)
            for line in traceback.format_exc().splitlines():
                print("# " + line, flush=True)
    sys.exit(1 if failed else 0)
