# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of `doctor` share: asking it, and looking into its answer."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
from lab import PROGRAM

LONGEST = 20        # seconds, for a command that promises some 15


def doctor(lab, ok=(0, 1), prefix=(), env=None, program=PROGRAM):
    """The checks, as JSON; what must hold of every answer is asserted here."""
    done = lab.mail.run(*prefix, "timeout", LONGEST, program, "-j", "doctor", ok=ok,
                        env=dict(lab.env, **(env or {})))
    answer = done.json
    assert answer["ok"] is True and done.err == "", done
    rows = answer["checks"]
    fails = [row for row in rows if row["status"] in ("FAIL", "unknown")]
    assert answer["healthy"] == (not fails) and done.code == (1 if fails else 0), done
    assert [r["number"] for r in rows] == sorted(r["number"] for r in rows), rows
    for row in rows:
        assert row["status"] in ("ok", "warn", "FAIL", "unknown"), row
        assert bool(row["remedy"]) == (row["status"] != "ok"), row
        assert row["message"].isprintable() and len(row["message"]) < 512, row
    return rows


def find(rows, name, port=None, status=None, interface=None):
    """The rows of a check."""
    return [r for r in rows if r["name"] == name and (port is None or r["port"] == port)
            and (status is None or r["status"] == status)
            and (interface is None or r["interface"] == interface)]


def expect(rows, *wanted):
    """Each (name, port, status) is there and nothing else is other than ok. Returns their rows."""
    found = []
    for name, port, status in wanted:
        some = find(rows, name, port, status)
        assert some, f"no {status} of {name} for port {port} in:\n" + show(rows)
        found.append(some[0])
    rest = [r for r in rows if r["status"] != "ok"
            and (r["name"], r["port"], r["status"]) not in wanted]
    assert not rest, "not expected:\n" + show(rest)
    return found


def show(rows):
    return "\n".join(f"{r['name']} {r['status']}: {r['message']} | {r['remedy']}" for r in rows)
