# SPDX-License-Identifier: GPL-2.0-only
"""A gated mail host that faults are made on, and what is looked at after each.

Nothing that judges here is smtpgate's: the store is read from a copy by Python's sqlite3 (so that a
journal that was left is rolled back in the copy, not in the store), what it stands for is worked out
by ipaddress, the tries and settings are read by bpf(2), and whether a source gets through is asked
of the program on the link (BPF_PROG_TEST_RUN). Only healing and `status --check`, whose honesty is
in question, are commands.
"""
import contextlib
import ctypes
import ipaddress
import os
import pathlib
import shutil
import sqlite3
import struct
import sys
import tempfile

sys.dont_write_bytecode = True
TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "e2e")]
# pylint: disable=wrong-import-position
import verdicts
from healing import DATABASE, LISTED, MAIL, MAPS, NEW, RANGE, UNLISTED, calls, make
from lab import BPFFS, BPFTOOL, GUARDED, MNT, PROGRAM, STATE, connect_all, execute, until
from runner import Runner

TEMPORARY = "192.0.2.20"        # listed for some days
ASKED = {"listed": LISTED, "unlisted": UNLISTED, "new": NEW}
SHOWN = ((STATE, "/var/lib/smtpgate"), (BPFFS, "/sys/fs/bpf/smtpgate"), (MNT + "/", ""))


def plain(text):
    """What was said, as on a host with the usual directories."""
    for inner, usual in SHOWN:
        text = text.replace(inner, usual)
    return text


class Wrong(AssertionError):
    """The store cannot be read as it should be."""


class Scene:
    """The host, and what is seen of it."""

    def __init__(self, **options):
        self.lab = make(**options)
        for listener in self.lab.mail.sockets:      # who gets in is told that nobody listens
            listener.close()
        self.lab.mail.sockets.clear()
        self.run = Runner(self.lab, "env")
        self.scratch = pathlib.Path(tempfile.mkdtemp())
        self.judge = None
        self.marks = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.judge:
            self.judge.close()
        shutil.rmtree(self.scratch)
        with contextlib.suppress(OSError):
            self.run.close()
        self.lab.__exit__()

    def path(self, inner):
        """A file of the host as it is seen here."""
        return self.lab.mail.path(inner)

    def shell(self, script):
        """Runs a line of shell on the host; it has to succeed."""
        done = self.run("sh", "-c", script)
        assert done.code == 0, str(done)
        return done

    def gate(self, *args, ok=0):
        """Runs smtpgate there."""
        done = self.run(PROGRAM, *args)
        if ok is not None and done.code not in (ok if isinstance(ok, tuple) else (ok,)):
            raise Wrong(f"expected exit {ok}: {done}")
        return done

    def mark(self):
        """A change that has nothing to do with what is looked at: it heals what it finds."""
        self.marks += 1
        return ("set", "realm", f"mark{self.marks}.example", "-y")

    # The store.

    def database(self):
        """A copy of the store, opened."""
        for name in ("smtpgate.db", "smtpgate.db-journal"):
            copy = self.scratch / name
            copy.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(self.path(f"{STATE}/{name}"), copy)
        if not (self.scratch / "smtpgate.db").exists():
            raise Wrong("no store")
        return contextlib.closing(sqlite3.connect(self.scratch / "smtpgate.db"))

    def store(self, whole=True):
        """What is stored, without what every change counts up: times, numbers, history.

        `whole`: no page of the file may be damaged, not even one that this does not need."""
        try:
            return self.read_store(whole)
        except sqlite3.DatabaseError as error:
            raise Wrong(f"the store cannot be read: {error}") from error

    def read_store(self, whole):
        """store()"""
        with self.database() as db:
            if whole and db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                raise Wrong("the store is damaged")
            entries = db.execute("SELECT account, family, first, last, remark, expires > 0"
                                 " FROM entry ORDER BY 1, 2, 3, 4").fetchall()
            prefixes = db.execute("SELECT DISTINCT family, addr, len FROM prefix").fetchall()
            found = {
                "revision": db.execute("SELECT revision FROM setting").fetchone()[0],
                "entries": entries,
                "settings": db.execute("SELECT list_limit, others, is_on, mode, mode_then,"
                                       " mode_until > 0 FROM setting").fetchall(),
                "ports": {r[0] for r in db.execute("SELECT port FROM port WHERE guarded")},
                "interfaces": db.execute("SELECT name, wanted FROM interface WHERE wanted"
                                         " ORDER BY 1").fetchall(),
            }
        found["prefixes"] = {p for _, f, x, y, _, _ in found["entries"]
                             for p in ipaddress.summarize_address_range(
                                 ipaddress.ip_address(x), ipaddress.ip_address(y))}
        if {ipaddress.ip_network((a, n)) for _, a, n in prefixes} != found["prefixes"]:
            raise Wrong("the store's prefixes are not those of its entries")
        return found

    # The kernel.

    def pins(self):
        """The pinned links."""
        folder = self.path(BPFFS)
        return sorted(folder.glob("link_*")) if folder.is_dir() else []

    def prefixes(self):
        """Those in the kernel, or None where a trie is missing."""
        try:
            return {ipaddress.ip_network((first.to_bytes(4 if v == 4 else 16, "big"),
                                          (32 if v == 4 else 128)
                                          - (last - first + 1).bit_length() + 1))
                    for v in (4, 6)
                    for v, first, last in verdicts.trie(self.path(f"{MAPS}/allow{v}"), v)}
        except OSError:
            return None

    def applied(self):
        """(revision that is in force, guarded ports), or None."""
        try:
            data = verdicts.value(self.path(f"{MAPS}/config"))
        except OSError:
            return None
        return (struct.unpack_from("=QQQ", data)[2],
                {p for p in range(65536) if data[64 + p]})

    def device(self, pin):
        """The number of the device a pinned link is on; 0: none any more."""
        link = verdicts.opened(pin)
        try:
            info = ctypes.create_string_buffer(64)
            verdicts.bpf(verdicts.INFO, verdicts.attributes(
                "=IIQ", link, len(info), verdicts.address_of(info)))
            return struct.unpack_from("=I", info, 16)[0]
        finally:
            os.close(link)

    def verdicts(self, port=587):
        """"in" or "out" for each of ASKED, by the program on the link; no link: all are in."""
        live = [p for p in self.pins() if self.device(p)]
        if not live:
            return dict.fromkeys(ASKED, "in")
        if not self.judge or self.judge.pin != live[0]:
            if self.judge:
                self.judge.close()
            self.judge = verdicts.Verdicts(live[0])
        self.judge.refresh()
        return {name: "in" if self.judge.passes(4, int(ipaddress.ip_address(who)), port) else "out"
                for name, who in ASKED.items()}

    def seen(self):
        """Verdicts on two ports, as one comparable value."""
        return tuple((port, *self.verdicts(port).items()) for port in (25, 587))

    def attached(self):
        """The gate is on a device."""
        return any(self.device(p) for p in self.pins())

    def differences(self, store):
        """How the kernel is not what the store says; empty: it is."""
        found, kernel, applied = [], self.prefixes(), self.applied()
        if bool(store["interfaces"]) != self.attached():
            found.append("attached" if self.attached() else "not attached")
        if not self.pins() and not store["interfaces"]:
            return found
        if kernel != store["prefixes"]:
            found.append("maps missing" if kernel is None else
                         f"{len(kernel - store['prefixes'])} prefixes too many, "
                         f"{len(store['prefixes'] - kernel)} missing")
        if not applied or applied[0] != store["revision"]:
            found.append("another revision")
        if applied and applied[1] != store["ports"]:
            found.append("other ports")
        return found


def same(one, other):
    """The same list and settings; the revision is counted on for every change."""
    return all(one[key] == other[key] for key in one if key != "revision")


def says(result):
    """The first line of what a command said, as a host with the usual directories would."""
    lines = (result.err.strip() or result.out.strip()).splitlines()
    return plain(lines[0]) if lines else ""


__all__ = ["BPFFS", "BPFTOOL", "DATABASE", "GUARDED", "LISTED", "MAIL", "MAPS", "MNT",
           "NEW",
           "PROGRAM", "RANGE", "STATE", "Scene", "TEMPORARY", "UNLISTED", "Wrong", "calls",
           "connect_all", "execute", "plain", "same", "says", "until", "verdicts"]
