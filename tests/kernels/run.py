#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Does it all work on other kernels? "make check-kernels".

Boots each kernel that fetch.sh left in build/kernels, and there

- loads the program and replays what the decision table (tests/bpf/test_packets.py) and the tests of
  the sources (test_sources.py) asked and were answered on this kernel, which they judge here;
- runs smtpgate itself, on a network card with native and on one with generic XDP, with real
  connections of a client in a network namespace of its own;
- runs the commands that read and mend.

Prints TAP, and writes the table docs/KERNELS.md when asked to by --table FILE. Further arguments
choose kernels: those of whose "amd64 5.10" all are a part; the table also has what earlier runs in
this build directory found on the others, each row with its day. --brief replays only the beginning
of the recordings, which takes the longest; the table tells how many answers there were. A kernel
that could not be had is skipped by name; if none was run, that is a failure.
"""
import argparse
import collections
import datetime
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))
from guest import CARDS, Failed, Guest, needed_libraries  # pylint: disable=wrong-import-position

PLACE = ROOT / "build" / "kernels"
MODULES = ("virtio_pci", "virtio_net", "e1000", "tcp_diag", "inet_diag")
# (card, what attach is asked for): "auto" takes what the kernel gives, and the table shows it.
STANDS = {
    "amd64": (("virtio_net", "native"), ("e1000", "generic"), ("virtio_net, one queue", "auto")),
    "arm64": (("virtio_net", "native"), ("virtio_net", "generic"),
              ("virtio_net, one queue", "auto")),
}
GUARDED, OTHER = 25, 22
LISTED = ("192.0.2.10", "2001:db8::10")
UNLISTED = ("192.0.2.66", "2001:db8::66")
BRIEF = 2000        # answers
PATIENCE = 60.0     # for what has to come; software emulation on a busy machine is slow

Kernel = collections.namedtuple("Kernel", "arch wanted package version place")


# ---- what is run ----

def index():
    """The kernels that fetch.sh names."""
    file = PLACE / "index"
    if not file.exists():
        sys.exit(f"{file} is missing: make check-kernels makes it")
    return [Kernel(*line.split()) for line in file.read_text("utf-8").splitlines()]


@functools.lru_cache(maxsize=None)
def recordings(brief):
    """{path in the guest: file}: what was asked here, where the tests themselves judge it."""
    place = PLACE / "recordings"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name, test in (("table", "test_packets.py"), ("sources", "test_sources.py")):
        subprocess.run([ROOT / "tests" / "bpf" / test], check=True, stdout=subprocess.DEVNULL,
                       env=dict(os.environ, SMTPGATE_TRANSCRIPT=str(place / name)))
    found = {f"/{file.name}": file for file in place.iterdir()}
    for file in found.values() if brief else ():
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines[:2 * BRIEF]))
    return found


@functools.lru_cache(maxsize=None)
def files(arch):
    """{path in the guest: file} of an architecture."""
    if arch == "amd64":
        build, roots = ROOT / "build", [pathlib.Path("/")]
        found = {"/bin/busybox": pathlib.Path(shutil.which("busybox"))}
    else:
        build, roots = PLACE / arch, [PLACE / "sysroot"]
        found = {"/bin/busybox": PLACE / "sysroot" / "bin" / "busybox"}
    for name in ("smtpgate", "progrun"):
        found.update(needed_libraries(build / name, roots))
        found[f"/bin/{name}"] = build / name
    return {**found, "/bin/replay": HERE / "replay.sh"}


def emulator(arch):
    """The command line's beginning."""
    name = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[arch]
    own = PLACE / "qemu" / "usr" / "bin" / name
    found = shutil.which(name) or (str(own) if own.exists() else None)
    return [found, "-L", "/usr/share/qemu"] if found else None


def missing(kernel):
    """Why a kernel can't be run; None if it can."""
    if kernel.place == "-":
        return "the archive did not give it"
    if not emulator(kernel.arch):
        return "no emulator"
    if kernel.arch != "amd64" and not (PLACE / kernel.arch / "smtpgate").exists():
        return "nothing was built for it"
    return None


# ---- one network card ----

class Stand:
    """The gate's card and, in a network namespace of its own, the client's."""

    def __init__(self, guest, number, want):
        self.guest, self.want = guest, want
        self.card, self.peer = guest.device(number, 0), guest.device(number, 1)
        # An address of the gate for each source, by which the client's routes choose the source;
        # others on each card, so that nobody has old neighbours.
        self.mail = {source: ("2001:db8::" if ":" in source else "192.0.2.")
                     + str(100 + 10 * number + place)
                     for place, source in enumerate(LISTED + UNLISTED)}
        guest.run("unshare -n sleep 100000 >/dev/null 2>&1 & echo $! >/tmp/client")
        self.inside = f"nsenter -t {guest.run('cat /tmp/client').out.strip()} -n --"
        # Moved too early, the card would stay where it is.
        wait(lambda: guest.run(f"[ $(readlink /proc/self/ns/net) != "
                               f"$({self.inside} readlink /proc/self/ns/net) ]", ok=None).code == 0,
             "the client's namespace")
        guest.run(f"ip link set {self.peer} netns $(cat /tmp/client)")
        self.connected("", self.card, self.mail.values())
        self.connected(self.inside, self.peer, self.mail)
        for source, target in self.mail.items():
            guest.run(f"{self.inside} ip {'-6' if ':' in source else '-4'} route add "
                      f"{target}/{128 if ':' in source else 32} dev {self.peer} src {source}")

    def connected(self, run, device, addresses):
        """A card is up, with addresses that can be used at once."""
        self.guest.run(f"{run} sh -c 'echo 0 >/proc/sys/net/ipv6/conf/{device}/accept_dad'")
        self.guest.run(f"{run} ip link set {device} up")
        for address in addresses:
            length = 64 if ":" in address else 24
            self.guest.run(f"{run} ip addr add {address}/{length} dev {device}")

    def end(self):
        """Nothing of it is left."""
        self.gate("detach --all", ok=None)
        self.guest.run("kill $(cat /tmp/client)", ok=None)
        self.guest.run("rm -rf /var/lib/smtpgate /sys/fs/bpf/smtpgate", ok=None)
        self.guest.run(f"ip link set {self.card} down; ip addr flush dev {self.card}", ok=None)

    def gate(self, command, ok=0):
        """smtpgate -j COMMAND; the object."""
        done = self.guest.run(f"smtpgate -j {command}", ok=ok)
        return json.loads(done.out)

    def connect(self, wanted):
        """{(source, port): seconds to wait}: those whose connection is answered by what was said.
        All at the same time. nc waits for the connection, and without end for an answer: one that
        is cut off in between has none."""
        tries = [f"( [ \"$(echo hello | timeout {seconds + 20} {self.inside} nc -w {seconds} "
                 f"{self.mail[source]} {port})\""
                 f" = hello ] && echo {source} {port} ) 2>/dev/null &"
                 for (source, port), seconds in wanted.items()]
        done = self.guest.run(" ".join([*tries, "wait"]))
        return {(source, int(port)) for source, port in map(str.split, done.out.splitlines())}

    def reaches(self, source):
        """A try of one that will hardly get through."""
        return bool(self.connect({(source, GUARDED): 1}))

    def is_open_to(self, *sources):
        """Exactly these reach the guarded port, and all of them the other one."""
        everyone = LISTED + UNLISTED
        wanted = ({(source, GUARDED) for source in sources}
                  | {(source, OTHER) for source in everyone})
        got = self.connect({(source, port): 40 if (source, port) in wanted else 1
                            for source in everyone for port in (GUARDED, OTHER)})
        assert got == wanted, f"no answer: {wanted - got}; answered all the same: {got - wanted}"

    def status(self):
        """What is true of every healthy gate is checked on the way."""
        status = self.gate("status")
        assert status["in_sync"], status
        return status

    def dropped(self):
        """Packets so far."""
        return self.status()["counters"]["dropped"]


def wait(function, what):
    """Until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not function():
        if time.monotonic() > deadline:
            raise Failed(f"still not so after {PATIENCE:.0f} s: {what}")
        time.sleep(0.05)


class Held:
    """A connection that stays: what is said into it comes back, if the packets get through."""

    def __init__(self, stand, source):
        self.guest = stand.guest
        self.guest.run("rm -f /tmp/say /tmp/heard; mkfifo /tmp/say")
        self.guest.run(f"{stand.inside} nc -w 30 {stand.mail[source]} {GUARDED} "
                       "</tmp/say >/tmp/heard 2>/dev/null & sleep 100000 >/tmp/say 2>/dev/null & "
                       "echo $! >/tmp/holder")

    def say(self, word):
        """Into the connection."""
        self.guest.run(f"echo {word} >/tmp/say")

    def heard(self):
        """The words that came back."""
        return self.guest.run("cat /tmp/heard").out.split()

    def hears(self, *words):
        """They come back, and nothing else."""
        wait(lambda: self.heard() == list(words), f"hearing {' '.join(words)}")

    def close(self):
        """Ends it."""
        self.guest.run("kill $(cat /tmp/holder); rm -f /tmp/say", ok=None)


# ---- what is looked at ----

def replay(guest, name, frags):
    """Answers that were the same, and the verifier's word."""
    said = guest.run(f"replay /{name}.{'frags frags' if frags else 'linear'}", ok=(0, 1),
                     timeout=900).out
    same = re.search(r"^same (\d+)$", said, re.M)
    if not same or not int(same[1]):
        raise Failed(said)
    steps = re.search(r"^processed (\d+) insns", said, re.M)
    return int(same[1]), int(steps[1]) if steps else None


def open_and_shut(stand):
    """A gate's life: attached, first entries, an open connection, deletes, the last delete."""
    stand.is_open_to(*LISTED, *UNLISTED)
    stand.gate(f"attach {stand.card} --mode {stand.want}")
    got = stand.status()["interfaces"][0]
    assert got["attached"] and got["xdp_mode"] == stand.want or stand.want == "auto", got
    assert stand.status()["mode"] == "off"
    stand.is_open_to(*LISTED, *UNLISTED)
    stand.gate(f"add {LISTED[0]}")
    stand.is_open_to(LISTED[0])
    stand.gate(f"add {LISTED[1]}")
    stand.is_open_to(*LISTED)
    for source in LISTED:
        an_open_connection(stand, source)
    stand.gate(f"delete {LISTED[0]}")
    stand.is_open_to(LISTED[1])
    stand.gate(f"delete {LISTED[1]}", ok=3)         # the last one asks, and nobody answers
    stand.is_open_to(LISTED[1])
    stand.gate(f"delete {LISTED[1]} -y")
    assert stand.status()["mode"] == "off"
    stand.is_open_to(*LISTED, *UNLISTED)
    stand.gate(f"add {LISTED[0]}")
    stand.gate("disable -y")
    assert stand.status()["mode"] == "off"
    stand.is_open_to(*LISTED, *UNLISTED)
    stand.gate("undo")
    stand.is_open_to(LISTED[0])
    return got["xdp_mode"]


def an_open_connection(stand, source):
    """It outlives a replacement of the program, and a delete cuts it at once."""
    held = Held(stand, source)
    held.say("one")
    held.hears("one")
    before = stand.dropped()
    stand.gate(f"attach {stand.card}")              # replaced in place
    assert stand.dropped() >= before, "the counters were lost"
    held.say("two")
    held.hears("one", "two")
    stand.gate(f"delete {source}")
    before = stand.dropped()
    held.say("three")
    wait(lambda: stand.dropped() > before, "a packet of the open connection dropped")
    assert held.heard() == ["one", "two"], "a deleted source was heard"
    stand.gate(f"add {source}")
    held.hears("one", "two", "three")               # sent again by TCP
    held.close()


def reading(stand):
    """stats, blocked, list, check, history, preview, watch, doctor, metrics."""
    stand.reaches(UNLISTED[0])
    reasons = {(row["reason"], row["verdict"]): row["packets"]
               for row in stand.gate("stats")["reasons"]}
    assert reasons["unlisted", "drop"] and reasons["listed", "pass"], reasons
    blocked = {row["address"]: row for row in stand.gate("blocked")["sources"]}
    assert blocked[UNLISTED[0]]["port"] == GUARDED and blocked[UNLISTED[0]]["verdict"] == "drop"
    entry, = stand.gate("list")["entries"]
    assert entry["who"] == LISTED[0] and entry["last_seen"] and entry["connections"], entry
    assert stand.gate(f"check {LISTED[0]}")["results"][0]["allowed"] is True
    assert stand.gate(f"check {UNLISTED[0]}", ok=1)["results"][0]["allowed"] is False
    assert stand.gate("history")
    held = Held(stand, LISTED[0])
    held.say("one")
    held.hears("one")
    preview = stand.gate("preview")
    assert LISTED[0] in json.dumps(preview["kept"]) and not preview["cut"], preview
    held.close()
    watching(stand)
    checks = {row["name"]: row for row in stand.gate("doctor", ok=(0, 1))["checks"]}
    for name in ("kernel", "jit", "bpffs", "list", "coverage", "mode"):
        assert checks[name]["status"] == "ok", checks[name]
    attached = stand.status()["interfaces"][0]["xdp_mode"]
    metrics = stand.guest.run("smtpgate metrics").out
    assert (f'smtpgate_interface_attached{{interface="{stand.card}",xdp_mode="{attached}"}} 1'
            in metrics) and metrics.endswith("# EOF\n"), metrics[-500:]


def watching(stand):
    """watch tells of a source that comes meanwhile."""
    stand.guest.run("smtpgate -j watch --every 1s >/tmp/watched 2>/tmp/watched.err & "
                    "echo $! >/tmp/watch")

    def told():
        stand.reaches(UNLISTED[1])
        rows = [json.loads(line) for line in stand.guest.run("cat /tmp/watched").out.splitlines()]
        return any(row.get("address") == UNLISTED[1] and row["packets"] for row in rows)

    wait(told, "watch naming a source")
    stand.guest.run("kill $(cat /tmp/watch)")


def mending(stand):
    """The pins are deleted, the link is taken off: sync brings both back."""
    stand.guest.run("rm -r /sys/fs/bpf/smtpgate")
    assert not stand.gate("status")["in_sync"]
    wait(lambda: stand.reaches(UNLISTED[0]), "without pins nothing is in force")
    stand.gate("sync")
    assert stand.status()["interfaces"][0]["attached"]
    stand.is_open_to(LISTED[0])


def changing(stand):
    """Modes; a list of a thousand prefixes and back; an end that passes; detach."""
    stand.gate("observe")
    stand.is_open_to(*LISTED, *UNLISTED)
    assert stand.status()["counters"]["would_drop"]
    stand.gate("enforce")
    stand.is_open_to(LISTED[0])
    stand.gate("pause 1h")
    stand.is_open_to(*LISTED, *UNLISTED)
    stand.gate("enforce")
    stand.gate("set limit none")
    stand.guest.run("for i in $(seq 0 249); do for j in 0 4; do echo 10.$i.$j.0/22; "
                    "echo fd00:$i:$j::/64; done; done >/tmp/many")
    assert stand.gate("import /tmp/many")["added"] == 1000
    assert stand.status()["prefixes"] == 1001
    assert stand.gate("check 10.249.7.255")["results"][0]["allowed"]
    stand.is_open_to(LISTED[0])
    assert stand.gate("undo")
    assert stand.status()["prefixes"] == 1
    stand.gate(f"add {UNLISTED[0]} --for 1s")
    wait(lambda: not stand.reaches(UNLISTED[0]), "an end that passes")
    stand.is_open_to(LISTED[0])
    stand.gate(f"detach {stand.card}")
    stand.is_open_to(*LISTED, *UNLISTED)


# ---- one kernel ----

class Report:
    """TAP as it goes on."""

    def __init__(self):
        self.number, self.failed, self.ran = 0, 0, 0

    def test(self, name, function, *args):
        """Runs one; (whether it passed, what it returned)."""
        self.number += 1
        start = time.monotonic()
        try:
            value = function(*args)
        except Exception:  # pylint: disable=broad-except
            self.failed += 1
            print(f"not ok {self.number} - {name}")
            for line in traceback.format_exc().splitlines():
                print("# " + line)
            sys.stdout.flush()
            return False, None
        print(f"ok {self.number} - {name} # {time.monotonic() - start:.1f} s", flush=True)
        return True, value

    def skip(self, kernel, why):
        """A kernel that is not run is named."""
        self.number += 1
        print(f"ok {self.number} - {kernel.arch} {kernel.wanted} # SKIP {why}", flush=True)

    def finish(self):
        """The plan, and the exit status."""
        if not self.ran:
            self.number += 1
            self.failed += 1
            print(f"not ok {self.number} - no kernel was run")
        print(f"1..{self.number}")
        return 1 if self.failed else 0


def word(passed):
    """A cell of the table."""
    return {True: "ok", False: "**failed**", None: "–"}[passed]


def verdicts(report, guest, name, frags):
    """The replays: the table's cells."""
    cells, steps = {}, 0
    for what in ("table", "sources"):
        same = []
        for multi in (False, True)[:1 + frags]:
            passed, got = report.test(f"{name}: {what} {'multi-buffer' if multi else 'linear'}",
                                      replay, guest, what, multi)
            same.append(got[0] if passed else None)
            steps = max(steps, got[1] or 0 if passed else 0)
        cells[what] = word(False) if None in same else f"{sum(same):,} same"
    return {"load": word(bool(steps)), "steps": f"{steps:,}" if steps else "–",
            "packets": cells["table"], "sources": cells["sources"]}


def examine(report, kernel, brief):
    """All of it on one kernel: the rows of the table."""
    stands = STANDS[kernel.arch]
    name = f"{kernel.arch} {kernel.wanted}"
    row = {**dict.fromkeys(COLUMNS, "–"), "arch": kernel.arch, "kernel": kernel.version,
           "day": datetime.date.today().isoformat()}
    passed, guest = report.test(
        f"{name}: {kernel.package} {kernel.version} boots", Guest, kernel.arch,
        pathlib.Path(kernel.place), {**files(kernel.arch), **recordings(brief)},
        [card for card, _ in stands], MODULES, emulator(kernel.arch))
    if not passed:
        return [{**row, "load": "**no boot**"}]
    try:
        guest.run("mkdir -p /var/lib; for p in 22 25; do nc -ll -p $p -e /bin/cat "
                  ">/dev/null 2>&1 & done")
        cards = [on_card(report, guest, name, number, *stand)
                 for number, stand in enumerate(stands)]
        release = guest.run("uname -r").out
        row.update(verdicts(report, guest, name, version_of(release) >= (5, 18)))
        return [{**row, **cells} for cells in cards]
    except (Failed, OSError) as lost:       # the guest ended, or does not answer
        report.test(f"{name}: to the end", throw, lost)
        return [{**row, "load": "**ended**"}]
    finally:
        guest.close()


def throw(error):
    """For what failed outside a test."""
    raise error


def version_of(release):
    """(major, minor)"""
    return tuple(map(int, re.match(r"(\d+)\.(\d+)", release).groups()))


def on_card(report, guest, name, number, card, want):
    """The command line tool on one card: the table's cells."""
    cells = {"card": card, "mode": want, "connections": word(False), "commands": "–"}
    name = f"{name}, {card}, {want}"
    passed, stand = report.test(f"{name}: the network", Stand, guest, number, want)
    if not passed:
        return cells
    passed, mode = report.test(f"{name}: opens and shuts", open_and_shut, stand)
    if passed:
        cells.update(mode=mode, connections="ok")
        # With the one queue it is only asked how attach gets on.
        cells["commands"] = "–" if want == "auto" else word(all([
            report.test(f"{name}: {function.__name__}", function, stand)[0]
            for function in (reading, mending, changing)]))
    report.test(f"{name}: ends", stand.end)
    return cells


# ---- the table ----

COLUMNS = {"arch": "arch", "kernel": "kernel", "card": "network card", "mode": "XDP",
           "load": "loads", "steps": "verifier's steps", "packets": "packets",
           "sources": "sources", "connections": "connections", "commands": "commands",
           "day": "day"}
HEAD = """# Kernels

What `sudo make check-kernels` saw: the program and the command line tool on Debian's
kernels, in virtual machines. Written by the run; not edited by hand.

- loads: the program passed the verifier, multi-buffer too from 5.18 on; steps: the instructions
  that it went through, of the 1,000,000 it may (the larger of the two programs)
- packets, sources: so many of the recorded answers of `tests/bpf/test_packets.py` and
  `test_sources.py` were the same there, and none differed (`--brief` asks for the first ones only)
- XDP: what `attach` was asked for and got; with one queue it was asked for `auto`, and the commands
  were left out
- connections: attach, add, an open connection through a replacement of the program, delete,
  delete of the last, disable, undo, with a client of IPv4 and IPv6; commands: stats, blocked, list,
  check, history, preview, watch, doctor, metrics, sync after the pins were deleted, modes, import,
  expiry, detach

"""
TAIL = """
e1000 has no native XDP. virtio_net with one queue for the one CPU shares it where the kernel knows
how to; one that does not refuses, and `attach` falls back to generic, saying so.
"""


def result_file(kernel):
    """What was found on a kernel."""
    return PLACE / "results" / f"{kernel.package}_{kernel.version}.json"


def write_table(path):
    """docs/KERNELS.md"""
    text = HEAD + "| " + " | ".join(COLUMNS.values()) + " |\n|" + "---|" * len(COLUMNS) + "\n"
    left = ""
    for kernel in index():
        file = result_file(kernel)
        if file.exists():
            for row in json.loads(file.read_text("utf-8")):
                text += "| " + " | ".join(str(row[key]) for key in COLUMNS) + " |\n"
        else:
            left += (f"\nNot run: {kernel.arch} {kernel.wanted}: "
                     f"{missing(kernel) or 'not asked for'}.\n")
    path.write_text(text + left + TAIL, encoding="utf-8")


def main():
    """Runs what is asked for."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))   # ends the guest on the way
    options = argparse.ArgumentParser()
    options.add_argument("--table", type=pathlib.Path)
    options.add_argument("--brief", action="store_true")
    options.add_argument("parts", nargs="*")
    options = options.parse_args()
    report = Report()
    for kernel in index():
        if not all(part in f"{kernel.arch} {kernel.wanted}" for part in options.parts):
            continue
        why = missing(kernel)
        if why:
            report.skip(kernel, why)
        else:
            rows = examine(report, kernel, options.brief)
            result_file(kernel).parent.mkdir(exist_ok=True)
            result_file(kernel).write_text(json.dumps(rows), encoding="utf-8")
            report.ran += 1
    if options.table:
        write_table(options.table)
    sys.exit(report.finish())


if __name__ == "__main__":
    main()
