#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Store and kernel: killed in between, edited behind the back, damaged, full, locked.

After whatever happens: nobody gets in who was never listed, `status --check` tells the truth, and
one `sync` makes the kernel equal to the store. The oracle is Python's ipaddress module over what
`list` shows, against what bpftool reads from the kernel.

LONG=1 kills every command at every system call instead of at the telling ones.
"""
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import tap
from lab import BPFFS, BPFTOOL, GUARDED, MNT, PROGRAM, STATE, Lab, connect_all, expect

MAIL = "192.0.2.25"
LISTED, UNLISTED, NEW = "192.0.2.10", "192.0.2.66", "192.0.2.77"
RANGE = "198.51.100.3-198.51.100.97"
SEGMENT6 = "2001:db8:5::/48"
POINTS = 8                      # kills for each command, unless LONG
TRIES = 6                       # attempts of one insertion into a trie
LONG = bool(os.environ.get("LONG"))
DATABASE = STATE + "/smtpgate.db"
MAPS = BPFFS + "/abi1"


def make(attach=True, list_it=True, state_size=None):
    """A gated mail host with some entries; the unlisted source is never added anywhere."""
    lab = Lab()
    try:
        if state_size:
            lab.mail.run("mkdir", "-m", "700", STATE)
            lab.mail.run("mount", "-t", "tmpfs", "-o", f"size={state_size},mode=700", "tmpfs", STATE)
        lab.client = lab.host("client")
        lab.link(lab.mail, "eth0", lab.client, "eth0")
        lab.mail.address("eth0", MAIL + "/24")
        lab.client.address("eth0", *(a + "/24" for a in (LISTED, UNLISTED, NEW)))
        lab.mail.listen(*GUARDED)
        if attach:
            lab.gate("attach", "eth0")
        if list_it:
            lab.gate("add", LISTED)
            lab.gate("add", RANGE)
            lab.gate("add", SEGMENT6)
    except BaseException:
        lab.__exit__()
        raise
    return lab


def closed(lab, listed=LISTED):
    """The listed source gets in, the unlisted does not."""
    expect(lab.client, [(listed, MAIL, 587, "open")]
           + [(UNLISTED, MAIL, port, "timeout") for port in GUARDED])


def unlisted_gets_in(lab, port=587):
    """Is the gate open? Not long waited for: this is asked very often."""
    return connect_all(lab.client, [(UNLISTED, MAIL, port, "timeout")], quiet=0.15) == ["open"]


def in_step(lab):
    """status and the oracle agree that all is well."""
    lab.gate("status", "--check")
    assert lab.json("status")["in_sync"] is True
    equal(lab)


def equal(lab):
    """The kernel holds exactly the prefixes of the list as shown."""
    kernel, store = lab.kernel_prefixes(), lab.stored_prefixes()
    assert kernel == store, f"only in the kernel: {kernel - store}, only listed: {store - kernel}"


def snapshot(lab):
    """All that must not change: the list and the kernel's half."""
    return (lab.json("list")["entries"] and
            [(e["id"], e["who"], e["remark"]) for e in lab.json("list")["entries"]],
            lab.kernel_prefixes(), {k: v for k, v in lab.config().items() if k != "applied"},
            lab.link_pins())


def traced(lab, *args, inject, ok):
    """Runs an smtpgate command with something injected into its system calls."""
    return lab.mail.run("strace", "-f", "-qq", "-o", "/dev/null", "-e",
                        f"trace={inject.partition(':')[0]}", "-e", f"inject={inject}", PROGRAM,
                        *args, env=lab.env, ok=ok)


def calls(lab, *args):
    """The system calls of a command: [(name, how many of that name so far, line)]."""
    log = MNT + "/calls"
    lab.mail.run("strace", "-f", "-qq", "-o", log, PROGRAM, *args, env=lab.env)
    seen, found = {}, []
    for line in lab.mail.path(log).read_text("utf-8", "replace").splitlines():
        text = line.partition(" ")[2].lstrip()
        name = text.partition("(")[0]
        if not name.replace("_", "").isalnum() or "resumed>" in text:
            continue
        seen[name] = seen.get(name, 0) + 1
        found.append((name, seen[name], text))
    return found


TELLING = ("BPF_MAP_UPDATE", "BPF_MAP_DELETE", "BPF_LINK_", "BPF_OBJ_PIN", "fdatasync", "fsync",
           "unlink", "pwrite64", "flock", "munmap")


def moments(found):
    """Where to kill: all calls, or some that lie around a change of store or kernel."""
    if LONG:
        return found[1:]        # not the execve
    start = next(i for i, call in enumerate(found) if call[0] == "flock")
    telling = [call for call in found[start:] if any(t in call[2] for t in TELLING)]
    if len(telling) <= POINTS:
        return telling
    return [telling[i * (len(telling) - 1) // (POINTS - 1)] for i in range(POINTS)]


def killed(args, undo, attached=True, list_it=True, may_open=None, watch=587):
    """Kills a command at many points; each time looks, heals, looks again, and starts over.

    `undo`: the commands that bring back the state before. `may_open(lab)`: says whether the gate
    may be open for everyone after this command was killed (by what is stored)."""
    with make(attach=attached, list_it=list_it) as lab:
        found = calls(lab, *args)
        for command in undo:
            lab.gate(*command, ok=(0, 1))
        kills = 0
        for name, number, text in moments(found):
            done = traced(lab, *args, inject=f"{name}:signal=KILL:when={number}", ok=(0, -9))
            kills += done.code == -9
            try:
                after_kill(lab, may_open, watch, attached)
            except Exception as error:
                raise AssertionError(f"{args} killed at {name} number {number} ({text[:100]}):"
                                     f" {error}") from error
            for command in undo:
                lab.gate(*command, ok=(0, 1))
        assert kills >= (POINTS if LONG else POINTS // 2), f"only {kills} kills"


def after_kill(lab, may_open, watch, attached):
    """What has to hold right after a kill, and after sync."""
    status = lab.json("status")
    good = lab.gate("status", "--check", ok=(0, 1)).code == 0
    whole = all(lab.mail.path(f"{MAPS}/{name}").exists() for name in ("allow4", "allow6"))
    same = whole and lab.kernel_prefixes() == lab.stored_prefixes()
    assert same or not status["in_sync"], "status says in sync, and it is not"
    assert same or not good, "status --check says all is well, and it is not"
    if attached and unlisted_gets_in(lab, watch):
        assert may_open and may_open(lab), "an unlisted source gets in"
    lab.gate("sync")
    if attached or whole:
        equal(lab)
    status = lab.json("status")
    if status["interfaces"]:
        assert status["in_sync"], "not in sync after sync"
        lab.gate("status", "--check")
        assert unlisted_gets_in(lab, watch) == (status["mode"] == "off"
                                                or watch not in status["ports"])


@tap.test
def kill_add():
    """add killed anywhere"""
    killed(("add", NEW), [("delete", NEW)])


@tap.test
def kill_add_range():
    """add of a range of many prefixes killed anywhere"""
    killed(("add", "203.0.113.1-203.0.113.254"), [("delete", "203.0.113.1-203.0.113.254")])


@tap.test
def kill_delete():
    """delete killed anywhere"""
    killed(("delete", RANGE), [("add", RANGE)])


@tap.test
def kill_disable():
    """disable killed anywhere: open only if the list is empty by then"""
    killed(("disable", "-y"), [("add", LISTED), ("add", RANGE), ("add", SEGMENT6)],
           may_open=lambda lab: not lab.json("list")["entries"])


@tap.test
def kill_first_add():
    """the first add killed anywhere: closed once it is stored and synced"""
    killed(("add", NEW), [("disable", "-y")], list_it=False, may_open=lambda lab: True)


@tap.test
def kill_attach():
    """attach killed anywhere"""
    killed(("attach", "eth0"), [("detach", "--all")], attached=False)


@tap.test
def kill_reattach():
    """a second attach killed anywhere: closed all along"""
    killed(("attach", "eth0"), [])


@tap.test
def kill_detach():
    """detach killed anywhere: open only if the link is gone"""
    killed(("detach", "eth0"), [("attach", "eth0")], may_open=lambda lab: not lab.link_pins())


@tap.test
def kill_set_ports():
    """set ports killed anywhere"""
    killed(("set", "ports", "465,587"), [("set", "ports", "25,465,587")])


@tap.test
def kill_sync():
    """sync killed anywhere, then sync"""
    with make() as lab:
        def break_it():
            lab.mail.run("rm", MAPS + "/allow4", MAPS + "/config")
        break_it()
        found = calls(lab, "sync")
        in_step(lab)
        for name, number, text in moments(found):
            break_it()
            traced(lab, "sync", inject=f"{name}:signal=KILL:when={number}", ok=(0, -9))
            try:
                after_kill(lab, None, 587, True)
            except Exception as error:
                raise AssertionError(f"killed at {name} number {number} ({text[:100]}):"
                                     f" {error}") from error
        in_step(lab)
        closed(lab)


@tap.test
def next_command_heals():
    """what a killed command left is healed by the next one too"""
    with make() as lab:
        found = [c for c in calls(lab, "delete", RANGE) if "BPF_MAP_DELETE" in c[2]]
        lab.gate("add", RANGE)
        name, number, _ = found[len(found) // 2]
        traced(lab, "delete", RANGE, inject=f"{name}:signal=KILL:when={number}", ok=-9)
        lab.gate("status", "--check", ok=1)
        assert lab.kernel_prefixes() > lab.stored_prefixes()
        lab.gate("add", NEW)
        in_step(lab)
        closed(lab, NEW)


@tap.test
def pins_removed():
    """pins removed: the gate stays closed, status says so, sync mends; the link stays the same"""
    with make() as lab:
        link = lab.link_pins()
        for pins in (("allow4",), ("allow6",), ("config",), ("count_*",), ("allow4", "allow6"),
                     ("config", "count_*"), ("*",)):
            lab.mail.run("sh", "-c", "rm " + " ".join(f"{MAPS}/{pin}" for pin in pins))
            assert not unlisted_gets_in(lab), f"{pins} removed: open"
            lab.gate("status", "--check", ok=1)
            lab.gate("sync")
            in_step(lab)
            closed(lab)
            assert lab.link_pins() == link, "the link was made anew"
        lab.mail.run("rm", "-r", MAPS)
        lab.gate("add", NEW)                        # the next command mends as well
        in_step(lab)
        closed(lab, NEW)
        assert lab.link_pins() == link


@tap.test
def link_removed():
    """the link's pin or all pins removed (which opens the gate): status says so, sync mends"""
    with make() as lab:
        for pins in (BPFFS + "/link_*", BPFFS + "/*"):
            lab.mail.run("sh", "-c", f"rm -r {pins}")
            assert unlisted_gets_in(lab)
            lab.gate("status", "--check", ok=1)
            assert not any(i["attached"] for i in lab.json("status")["interfaces"])
            lab.gate("sync")
            in_step(lab)
            closed(lab)


@tap.test
def edited():
    """prefixes added and removed behind the back: status notices, sync mends"""
    with make() as lab:
        lab.mail.run(BPFTOOL, "map", "delete", "pinned", MAPS + "/allow4",
                     "key", "hex", "20", "0", "0", "0", "c0", "0", "2", "a")
        lab.gate("status", "--check", ok=1)
        assert lab.json("status")["in_sync"] is False
        lab.gate("sync")
        in_step(lab)
        closed(lab)
        lab.mail.run(BPFTOOL, "map", "update", "pinned", MAPS + "/allow4", "key", "hex", "0", "0",
                     "0", "0", "0", "0", "0", "0", "value", "hex", *["0"] * 24)
        assert unlisted_gets_in(lab)
        lab.gate("status", "--check", ok=1)
        assert lab.json("status")["in_sync"] is False
        lab.gate("sync")
        in_step(lab)
        closed(lab)


def write_config(lab, offset, data):
    """Overwrites bytes of the pinned settings with bpftool."""
    row = lab.bpftool("map", "dump", "pinned", MAPS + "/config")[0]
    value = [b.removeprefix("0x") for b in row["value"]]
    value[offset:offset + len(data)] = [f"{b:02x}" for b in data]
    batch = MNT + "/batch"
    lab.mail.path(batch).write_text(f"map update pinned {MAPS}/config key hex 0 0 0 0 value hex "
                                    + " ".join(value) + "\n", encoding="ascii")
    done = lab.mail.run(BPFTOOL, "batch", "file", batch, ok=None)
    if done.code:               # a batch line has a limit; an argument list has another
        lab.mail.run(BPFTOOL, "map", "update", "pinned", MAPS + "/config", "key", "hex", "0", "0",
                     "0", "0", "value", "hex", *value)


@tap.test
def settings_edited():
    """mode, ports or ABI number overwritten behind the back: status notices, sync mends"""
    with make() as lab:
        for offset, data, opens in ((24, b"\1", True),          # mode: off
                                    (24, b"\xfe", False),       # mode: unknown, so enforce
                                    (64 + 587, b"\0", True),    # 587 off guard
                                    (0, b"\0" * 24, False),     # as if never filled
                                    (0, b"\x63", False)):       # another ABI
            write_config(lab, offset, data)
            assert unlisted_gets_in(lab) == opens, (offset, data)
            lab.gate("status", "--check", ok=1)
            lab.gate("sync", *(["-y"] if offset == 0 else []))
            in_step(lab)
            closed(lab)


@tap.test
def tries_emptied():
    """an emptied trie never means open"""
    with make() as lab:
        for row in lab.bpftool("map", "dump", "pinned", MAPS + "/allow4"):
            lab.mail.run(BPFTOOL, "map", "delete", "pinned", MAPS + "/allow4", "key", "hex",
                         *(b.removeprefix("0x") for b in row["key"]))
        expect(lab.client, [(s, MAIL, 25, "timeout") for s in (LISTED, UNLISTED)])
        lab.gate("status", "--check", ok=1)
        lab.gate("sync")
        in_step(lab)
        closed(lab)


@tap.test
def transient_enomem():
    """one ENOMEM of the trie is retried and nobody notices"""
    with make() as lab:
        number = next(c for c in calls(lab, "add", NEW) if "BPF_MAP_UPDATE" in c[2])[1]
        lab.gate("delete", NEW)
        traced(lab, "add", NEW, inject=f"bpf:error=ENOMEM:when={number}", ok=0)
        in_step(lab)
        closed(lab, NEW)


@tap.test
def lasting_enomem():
    """lasting ENOMEM: the whole command is taken back, exit 5, store and kernel as before"""
    with make() as lab:
        whole = "203.0.113.1-203.0.113.254"
        numbers = [c[1] for c in calls(lab, "add", whole) if "BPF_MAP_UPDATE" in c[2]]
        assert len(numbers) == 14
        lab.gate("delete", whole)
        before = snapshot(lab)
        for first in (numbers[0], numbers[5], numbers[-1]):
            done = traced(lab, "add", whole,
                          inject=f"bpf:error=ENOMEM:when={first}..{first + TRIES - 1}", ok=5)
            assert "memory" in done.err and done.err.startswith("smtpgate: "), done
            assert snapshot(lab) == before
            in_step(lab)
            closed(lab)
        # Not even the taking back works: said by status, mended by sync.
        traced(lab, "add", whole, inject=f"bpf:error=ENOMEM:when={numbers[5]}+", ok=5)
        lab.gate("status", "--check", ok=1)
        assert not unlisted_gets_in(lab)
        lab.gate("sync")
        assert snapshot(lab) == before
        in_step(lab)


@tap.test
def disk_errors():
    """every write and sync of the store failing (ENOSPC, EIO): exit 5, nothing changed"""
    with make() as lab:
        found = [c for c in calls(lab, "add", NEW)
                 if c[0] in ("pwrite64", "fdatasync", "fsync", "ftruncate")
                 and "/lock" not in c[2]]
        lab.gate("delete", NEW)
        before = snapshot(lab)
        refusals = 0
        for name, number, text in found:
            for error in ("ENOSPC", "EIO"):
                done = traced(lab, "add", NEW, inject=f"{name}:error={error}:when={number}",
                              ok=(0, 5))
                listed = NEW in [e["who"] for e in lab.json("list")["entries"]]
                assert listed == (done.code == 0), \
                    f"{name} {number} ({text[:80]}) {error}: exit {done.code}, listed: {listed}"
                refusals += done.code == 5
                lab.gate("status", "--check")
                equal(lab)
                if done.code == 0:
                    lab.gate("delete", NEW)
                assert snapshot(lab)[1:] == before[1:], f"{name} {number} {error}"
        assert refusals, "nothing was refused"
        closed(lab)


@tap.test
def full_disk():
    """a full disk: exit 5, nothing changed, the list can still be read"""
    with make(state_size="256k") as lab:
        before = snapshot(lab)
        with open(lab.mail.path(STATE + "/ballast"), "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                pass
        for args in (("add", NEW), ("delete", LISTED), ("disable", "-y"), ("set", "limit", "20"),
                     ("edit", LISTED, "--remark", "x" * 200)):
            done = lab.gate(*args, ok=5)
            assert "full" in done.err, done
            assert lab.json(*args, ok=5)["ok"] is False
            assert snapshot(lab) == before
            lab.gate("status", "--check")
        closed(lab)
        lab.mail.path(STATE + "/ballast").unlink()
        lab.gate("add", NEW)
        in_step(lab)


@tap.test
def read_only():
    """a read-only store: exit 5, nothing changed, what only reads still works"""
    with make(state_size="1m") as lab:
        before = snapshot(lab)
        lab.mail.run("mount", "-o", "remount,ro", STATE)
        for args in (("add", NEW), ("delete", LISTED), ("disable", "-y"), ("set", "ports", "25")):
            done = lab.gate(*args, ok=5)
            assert "read-only" in done.err.lower(), done
            assert snapshot(lab) == before
        lab.gate("check", LISTED)
        lab.gate("check", UNLISTED, ok=1)
        lab.gate("stats")
        lab.gate("status", "--check")
        closed(lab)
        lab.mail.run("mount", "-o", "remount,rw", STATE)
        lab.gate("add", NEW)
        in_step(lab)


MUTATING = (("add", NEW), ("delete", LISTED), ("disable", "-y"), ("set", "ports", "25"),
            ("set", "limit", "none"), ("edit", LISTED, "--remark", "x"), ("sync",),
            ("attach", "eth0"))


def store_broken(lab, spoil, words, commands=(*MUTATING, ("list",)), seen=True):
    """With the store spoilt every command is refused, nothing changes; put back, all is well.

    `seen`: status, which reads no entries, must see it too."""
    path, copy = lab.mail.path(DATABASE), lab.mail.path(MNT + "/copy.db")
    shutil.copy(path, copy)
    kernel = (lab.kernel_prefixes(), lab.config(), lab.link_pins())
    spoil(path)
    wrong = []
    for args in commands:
        # An empty store looks like another one: sync then asks before it takes over.
        code = (3, 5) if args == ("sync",) and "another store" in words else (5,)
        plain, machine = lab.gate(*args, ok=None), lab.gate("-j", *args, ok=None)
        if plain.code not in code or not plain.err.startswith("smtpgate: ") \
                or (plain.out and args != ("list",)) \
                or not any(word in plain.err for word in words):
            wrong.append(f"not a refusal with one of {words}:\n{plain}")
        if machine.code not in code or '"ok":false' not in machine.out \
                or machine.out.count("\n") > 1:
            wrong.append(f"not one JSON error:\n{machine}")
        if (lab.kernel_prefixes(), lab.config(), lab.link_pins()) != kernel:
            wrong.append(f"{args} changed the kernel")
    if seen and lab.gate("status", "--check", ok=None).code not in (1, 5):
        wrong.append("status --check says that all is well")
    if unlisted_gets_in(lab):
        wrong.append("the gate is open")
    shutil.copy(copy, path)
    assert not wrong, "\n".join(wrong)
    in_step(lab)
    closed(lab)


@tap.test
def corrupt():
    """a damaged store: exit 5, the gate stays as it is"""
    def overwrite(offset, data):
        def spoil(path):
            with open(path, "r+b") as file:
                file.seek(offset)
                file.write(data)
        return spoil
    words = ("damaged",)
    with make() as lab:
        size = lab.mail.path(DATABASE).stat().st_size
        store_broken(lab, overwrite(0, b"not a database at all"), words)
        store_broken(lab, overwrite(4096, os.urandom(size - 4096)), words)
        store_broken(lab, overwrite(100, b"\xff" * 900), words)


@tap.test
def truncated():
    """a truncated or emptied store: exit 5, the gate stays as it is"""
    with make() as lab:
        size = lab.mail.path(DATABASE).stat().st_size
        for length in (0, 1, 50, 4096, size - 4096):
            store_broken(lab, lambda path, n=length: os.truncate(path, n), ("damaged", "another store"))


@tap.test
def foreign_rows():
    """rows that make no sense: exit 5, never a wrong list"""
    with make() as lab:
        wrong = []
        for statement, commands in (
                ("UPDATE entry SET first = x'00' WHERE id = 1", [("list",), ("delete", "#1")]),
                ("UPDATE entry SET family = 9 WHERE id = 1", [("list",), ("delete", "#1")]),
                ("UPDATE entry SET first = last, last = first WHERE id = 2", [("list",)]),
                ("UPDATE prefix SET len = 33 WHERE family = 4", [("sync",)]),
                ("UPDATE prefix SET addr = x'0102' WHERE entry = 1", [("sync",)]),
                ("UPDATE port SET port = 70000 WHERE port = 25", MUTATING),
                ("UPDATE setting SET mode = 77", MUTATING),
                ("DELETE FROM setting", MUTATING),
                ("DROP TABLE prefix", [("add", NEW), ("delete", RANGE), ("sync",)])):
            def spoil(_, sql=statement):
                lab.mail.run("sqlite3", DATABASE, "PRAGMA ignore_check_constraints = ON;" + sql)
            try:
                store_broken(lab, spoil, ("damaged",), commands,
                             seen="UPDATE entry" not in statement)
            except AssertionError as error:
                wrong.append(f"{statement}: {error}")
        assert not wrong, "\n".join(wrong)


@tap.test
def newer():
    """a store written by a newer version: exit 5, says so"""
    with make() as lab:
        store_broken(lab, lambda _: lab.mail.run("sqlite3", DATABASE, "PRAGMA user_version = 999"),
                     ("newer",))


@tap.test
def store_deleted():
    """the store deleted under a gate: exit 5, the gate stays closed"""
    with make() as lab:
        store_broken(lab, lambda path: path.unlink(), ("missing", "another store"))
        copy = lab.mail.path(MNT + "/state.copy")
        shutil.copytree(lab.mail.path(STATE), copy)
        shutil.rmtree(lab.mail.path(STATE))
        lab.gate("add", UNLISTED, ok=5)
        lab.gate("sync", ok=(3, 5))
        assert not unlisted_gets_in(lab)


@tap.test
def other_store():
    """a gate made from another store is not taken over by accident"""
    with make() as lab:
        kernel = (lab.kernel_prefixes(), lab.config())
        lab.env["SMTPGATE_STATE"] = MNT + "/other"
        lab.gate("add", UNLISTED, ok=5)
        lab.gate("sync", ok=(3, 5))
        lab.gate("status", "--check", ok=(1, 5))
        assert (lab.kernel_prefixes(), lab.config()) == kernel
        assert not unlisted_gets_in(lab)


@tap.test
def two_at_once():
    """the lock held by another: exit 6 and nothing changed; what only reads does not wait"""
    with make() as lab:
        before = snapshot(lab)
        with open(lab.mail.path(STATE + "/lock"), "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            running = [(args, subprocess.Popen(lab.command(*args), env=lab.env, text=True,
                                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                               stderr=subprocess.PIPE))
                       for args in (*MUTATING, ("detach", "eth0"), ("-j", "add", NEW))]
            for args in (("list",), ("check", LISTED), ("stats",)):
                lab.gate(*args)
            for args, process in running:
                out, err = process.communicate(timeout=30)
                assert process.returncode == 6, (args, process.returncode, out, err)
                assert '"ok":false' in out.replace(" ", "") if "-j" in args \
                    else err.startswith("smtpgate: "), (args, out, err)
        assert snapshot(lab) == before
        in_step(lab)


@tap.test
def parallel():
    """eight adds and deletes at once: each succeeds or is busy, and the list is consistent"""
    with make() as lab:
        lab.gate("set", "limit", "none")
        for word, code in (("add", 0), ("delete", 0)):
            running = {f"203.0.113.{n}": subprocess.Popen(
                lab.command(word, f"203.0.113.{n}"), env=lab.env, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for n in range(8)}
            done = {}
            for who, process in running.items():
                process.communicate(timeout=30)
                done[who] = process.returncode
            assert set(done.values()) <= {code, 6}, done
            listed = {e["who"] for e in lab.json("list")["entries"]} - {LISTED, RANGE, SEGMENT6}
            if word == "add":
                assert listed == {who for who, got in done.items() if got == 0}
            in_step(lab)
        closed(lab)


@tap.test
def overlapping():
    """nested and overlapping entries: deleting one never removes what another still allows"""
    with make() as lab:
        lab.gate("set", "limit", "none")
        entries = ("192.0.2.76-192.0.2.78", "192.0.2.64/27", NEW, "192.0.2.77-192.0.2.77",
                   "192.0.2.77/32", "192.0.2.0/24")
        lab.gate("delete", LISTED)
        for who in entries:
            lab.gate("add", who)
            equal(lab)
        for number, who in enumerate(entries):
            assert connect_all(lab.client, [(NEW, MAIL, 25, "open")]) == ["open"]
            lab.gate("delete", who)
            equal(lab)
            if number < len(entries) - 1:
                assert connect_all(lab.client, [(NEW, MAIL, 25, "open")]) == ["open"], who
        expect(lab.client, [(NEW, MAIL, 25, "timeout")])
        in_step(lab)


if __name__ == "__main__":
    tap.main()
