# SPDX-License-Identifier: GPL-2.0-only
"""System calls that fail, and kills: strace's fault injection into every changing command.

A clean run is recorded first; of the calls that it made, as many of each kind as CAPS says fail
once each (spread evenly; all where there are few), with errors that fit, then all of a kind from
the first or from the middle on; and the command is killed at KILLS of them. After each the host is
looked at (look()), healed with one command, looked at again, and brought back.
"""
import re

from scene import (BPFFS, LISTED, MNT, NEW, PROGRAM, RANGE, TEMPORARY, Scene, Wrong, calls,
                   same, says)

NUMEROUS = "203.0.113.1-203.0.113.254"
BASE, MORE = MNT + "/base.list", MNT + "/more.list"

ERRORS = {
    "openat": ("EIO", "EMFILE", "EACCES", "ENOSPC", "EROFS", "ENOMEM"), "mkdir": ("EIO", "ENOSPC"),
    "bpf": ("ENOMEM", "EPERM", "EBUSY", "E2BIG"), "pwrite64": ("ENOSPC", "EIO"),
    "write": ("ENOSPC", "EIO"), "fdatasync": ("EIO", "ENOSPC"), "fsync": ("EIO", "ENOSPC"),
    "pread64": ("EIO",), "read": ("EIO", "EINTR"), "ftruncate": ("EIO", "ENOSPC"),
    "unlink": ("EIO", "EPERM"), "fcntl": ("ENOLCK", "EIO"), "flock": ("EINTR", "ENOLCK"),
    "mmap": ("ENOMEM", "EPERM"), "newfstatat": ("EIO", "EACCES", "ENOENT", "ENOMEM"),
    "socket": ("EMFILE", "ENOBUFS"), "bind": ("ENOBUFS",), "sendto": ("ENOBUFS", "EINTR"),
    "recvmsg": ("ENOBUFS", "EINTR"), "setsockopt": ("ENOMEM",), "getsockname": ("ENOBUFS",),
    "connect": ("EACCES",), "ioctl": ("EIO", "ENODEV"), "fchmod": ("EPERM",), "fchown": ("EPERM",),
    "lseek": ("EIO",), "getdents64": ("EIO", "ENOENT"), "access": ("EIO",),
    "mount": ("EPERM", "EBUSY"), "close": ("EIO",), "rename": ("EIO",),
    "statfs": ("EIO",), "readlink": ("EACCES",), "perf_event_open": ("EPERM",),
    "memfd_create": ("ENOMEM",), "getrandom": ("EINTR",), "prlimit64": ("EPERM",),
    "fstatfs": ("EIO",), "setrlimit": ("EPERM",), "uname": ("EFAULT",),
}
CAPS = {"bpf": 16, "pwrite64": 8, "newfstatat": 4, "fcntl": 5, "close": 2, "mmap": 3, "read": 3,
        "ioctl": 3}
CAP = 4                         # of all other kinds
KILLS = 24
LATER = ("bpf", "pwrite64", "fdatasync", "unlink")     # fail from the middle on, too
# Those of bpf(2) that change something: none of them is left out.
CHANGING = re.compile(r"BPF_(MAP_UPDATE|MAP_DELETE|LINK_|OBJ_PIN|PROG_LOAD|MAP_FREEZE)")
# Words of an answer that say what has changed.
TELLS = ("stored", "in force", "detached", "list:", "guarded", "is open", "carried out")
TELLING = re.compile(r"BPF_(MAP_UPDATE|MAP_DELETE|LINK_|OBJ_PIN)|fdatasync|unlink|pwrite64|flock"
                     r"|munmap|ftruncate")


class Command:  # pylint: disable=too-many-instance-attributes
    """A command under faults. Verdicts are for (listed, unlisted, new), port 587."""

    def __init__(self, name, *args, before=(), back=(), was="in out out", then="in out out",
                 sync=False, always=False, link=False, caps=1.0):
        # pylint: disable=too-many-arguments
        self.name, self.args = name, args
        self.before = before    # brings about the state before
        self.back = back        # and this brings it back after the command has done its work
        self.was, self.then = was.split(), then.split()
        self.sync = sync        # heal with sync, never with another change
        self.always = always    # bring it back after every fault
        self.link = link        # it is about the link, which counts before what is stored
        self.caps = caps


def drop_pins(scene):
    """As after a boot: nothing pinned."""
    scene.shell(f"rm -rf {BPFFS}")


def drop_trie(scene):
    """A trie's pin is lost."""
    scene.shell(f"rm -f {BPFFS}/abi1/allow4")


DETACHED = (("detach", "--all"),)
OPEN = "in in in"
COMMANDS = (
    Command("add", "add", NEW, back=(("delete", NEW),), then="in out in"),
    Command("add a range", "add", NUMEROUS, back=(("delete", NUMEROUS),)),
    Command("add to an account", "add", NEW, "--account", "alice",
            back=(("delete", NEW, "--account", "alice", "-y"),), then="in out in", caps=0.5),
    Command("edit a remark", "edit", LISTED, "--remark", "x",
            back=(("edit", LISTED, "--remark", ""),), caps=0.5),
    Command("edit an end", "edit", TEMPORARY, "--forever",
            back=(("edit", TEMPORARY, "--for", "7d"),)),
    Command("delete", "delete", RANGE, back=(("add", RANGE),)),
    Command("disable", "disable", "-y", back=(("apply", BASE),), then=OPEN),
    Command("first add", "add", NEW, before=(("disable", "-y"),), back=(("disable", "-y"),),
            was=OPEN, then="out out in"),
    Command("undo", "undo", before=(("delete", RANGE),), back=(("delete", RANGE),), sync=True),
    Command("import", "import", MORE, back=(("apply", BASE),), then="in out in"),
    Command("apply", "apply", MORE, back=(("apply", BASE),), then="out out in"),
    Command("set ports", "set", "ports", "465,587", back=(("set", "ports", "25,465,587"),)),
    Command("set limit", "set", "limit", "50", back=(("set", "limit", "20"),), caps=0.5),
    Command("set others", "set", "others", "nowhere", back=(("set", "others", "anywhere"),),
            caps=0.5),
    Command("observe", "observe", back=(("enforce", "-y"),), then=OPEN),
    Command("enforce", "enforce", "-y", before=(("observe",),), back=(("observe",),), was=OPEN),
    Command("enforce --confirm", "enforce", "-y", "--confirm", "1h", before=(("observe",),),
            back=(("observe",),), was=OPEN, caps=0.5),
    Command("confirm", "confirm", before=(("observe",), ("enforce", "-y", "--confirm", "1h")),
            back=(("observe",), ("enforce", "-y", "--confirm", "1h")), caps=0.5),
    Command("pause", "pause", "1h", back=(("enforce", "-y"),), then=OPEN),
    Command("detach", "detach", "eth0", back=(("attach", "eth0"),), then=OPEN, sync=True,
            always=True, link=True, caps=0.7),
    Command("attach", "attach", "eth0", before=DETACHED, back=DETACHED, was=OPEN, sync=True,
            always=True, link=True, caps=0.6),
    Command("first attach", "attach", "eth0", before=(*DETACHED, drop_pins),
            back=(*DETACHED, drop_pins), was=OPEN, sync=True, always=True, link=True, caps=0.6),
    Command("attach again", "attach", "eth0", sync=True, caps=0.6),
    Command("sync", "sync", sync=True, caps=0.5),
    Command("sync after a lost map", "sync", before=(drop_trie,), back=(drop_trie,), sync=True,
            always=True, caps=0.5),
    Command("sync after a boot", "sync", before=(drop_pins,), back=(drop_pins,), was=OPEN,
            sync=True, always=True, caps=0.6),
)


def even(items, count):
    """As many of them, spread evenly, first and last among them."""
    count = max(1, round(count))
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[len(items) // 2]]
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]


def label(name, text):
    """What a call is called in the table: bpf(2) is many."""
    if name == "bpf":
        found = re.match(r"bpf\((\w+)", text)
        return f"bpf({found.group(1)})" if found else "bpf"
    for what in ("-journal", "smtpgate.db", "/lock", "/abi1", "/link_", BPFFS, "/etc/", "/dev/",
                 "/run/", "/sys/", "/proc/", MNT):
        if what in text:
            return f"{name} {what.replace(MNT, '').lstrip('/-_') or 'state'}".replace(
                "bpf/smtpgate", "pins")
    return name


def faults(found, caps, share=1.0):
    """[(kind, number or range, error or None for a kill, label)] for the calls of a clean run."""
    start = next(i for i, call in enumerate(found) if f'"{MNT}/' in call[2] and call[0] != "execve")
    kinds = {}
    for name, number, text in found[start:]:
        if name in ERRORS:
            kinds.setdefault(name, []).append((number, text))
    chosen = []
    for name, all_of_it in sorted(kinds.items()):
        must = [c for c in all_of_it if name == "bpf" and CHANGING.search(c[1])]
        some = sorted({*even(all_of_it, CAPS.get(name, CAP) * caps), *even(must, 24 * caps)})
        errors = ERRORS[name]
        for i, (number, text) in enumerate(some):
            chosen.append((name, str(number), errors[i % len(errors)], label(name, text)))
        later = name in LATER or caps >= 1
        for number, text in sorted({all_of_it[0], all_of_it[later * len(all_of_it) // 2]}):
            chosen.append((name, f"{number}+", errors[0], f"{name}, and all after"))
    points = [c for c in found[start:] if TELLING.search(c[2])]
    for name, number, text in even(points, KILLS * caps):
        chosen.append((name, str(number), None, label(name, text)))
    return even(chosen, len(chosen) * share) if share < 1 else chosen


class Fault:  # pylint: disable=too-many-instance-attributes
    """One fault of one command: makes it, looks, heals, looks."""

    def __init__(self, scene, command, ends, what):
        self.scene, self.command = scene, command
        self.before, self.after = ends
        self.name, self.when, self.error, self.text = what
        self.done = self.store = None
        self.hit, self.verdicts, self.apart, self.healed = True, (), [], ""
        self.wrong = []

    def check(self, fine, what):
        """Notes what was wrong."""
        if not fine:
            self.wrong.append(what)

    def make(self):
        """Runs the command with the fault."""
        log = MNT + "/strace"
        inject = f"error={self.error}" if self.error else "signal=KILL"
        self.done = self.scene.run(
            "strace", "-f", "-qq", "-o", log, "-e", f"trace={self.name}", "-e",
            f"inject={self.name}:{inject}:when={self.when}", PROGRAM, *self.command.args)
        text = self.scene.path(log).read_text("utf-8", "replace")
        self.hit = "(INJECTED)" in text or self.done.killed

    def look(self):
        """The store, and all that has to hold while nothing is healed yet."""
        scene, command = self.scene, self.command
        self.store = scene.store()
        self.verdicts = list(scene.verdicts().values())
        # A link that is on counts as wanted, whatever is stored.
        self.apart = [d for d in scene.differences(self.store)
                      if not (d == "attached" and command.link)]
        is_before, is_after = (same(self.store, end) for end in (self.before, self.after))
        self.check(is_before or is_after, "the store is neither the one before nor the one after")
        self.check(all(v in pair for v, pair in zip(self.verdicts, zip(command.was, command.then))),
                   f"verdicts {self.verdicts}")
        if self.verdicts[1] == "in" and command.was[1] == "out":
            self.check(is_after, "open, and not stored so")
        if not self.done.killed:
            self.honest(is_before, is_after)
        told = scene.gate("status", "--check", ok=None)
        self.check(told.code or not self.apart or self.apart == ["another revision"],
                   f"status --check says that all is well: {self.apart}")

    def honest(self, is_before, is_after):
        """The exit code and the words are true."""
        err, code = self.done.err.lower(), self.done.code
        unread = code == 2 and "cannot open" in err and "nothing changed" in err    # its input
        self.check(code in (0, 4, 5, 6) or unread, f"exit {code}")
        if code == 0:
            self.check(is_after, "exit 0, and not stored")
            self.check(not self.apart, f"exit 0, and not in force: {self.apart}")
            self.check(self.verdicts == self.command.then, f"exit 0, and {self.verdicts}")
            return
        if self.name == "write" and self.when.endswith("+"):    # it could not write any words
            return
        self.check("smtpgate: " in err, "no words")
        self.check("libbpf: " not in err, "libbpf's words")
        unchanged = is_before and self.verdicts == self.command.was
        self.check(unchanged or "nothing changed" not in err, "\"nothing changed\" is not so")
        repair = self.command.name.startswith("sync")   # failing, it may have mended a part
        self.check(unchanged or repair or any(word in err for word in TELLS),
                   "a change that is not spoken of")

    def heal(self, number):
        """One command brings kernel and store together."""
        scene = self.scene
        if not scene.attached() and not self.store["interfaces"] and not scene.applied():
            self.healed = "-"   # nothing in the kernel, and nothing is to be
            return
        by = ("sync",) if self.command.sync or number % 8 == 0 else scene.mark()
        self.healed = by[0]
        done = scene.gate(*by, ok=None)
        self.check(done.code == 0, f"{by[0]} does not heal: {says(done)}")
        now = scene.store()
        linked = self.command.link and any(same(now, end) for end in (self.before, self.after))
        self.check(same(now, self.store) or linked, "healing changed the store")
        self.check(not scene.differences(now), f"after {by[0]}: {scene.differences(now)}")
        if now["interfaces"]:
            told = scene.gate("status", "--check", ok=None)
            self.check(told.code == 0, f"status --check after {by[0]}: {says(told)}")
        verdicts = list(scene.verdicts().values())
        for end, expected in ((self.before, self.command.was), (self.after, self.command.then)):
            if same(now, end) and not same(self.before, self.after):
                self.check(verdicts == expected, f"verdicts {verdicts} after healing")

    def bring_back(self):
        """The next fault finds the state before."""
        if self.command.always or not same(self.store, self.before):
            steps(self.scene, self.command.back)
        if not same(self.scene.store(), self.before):
            raise Wrong("the state before could not be brought back")

    def row(self):
        """Of the table."""
        kept = "?" if self.store is None else "same" if same(self.before, self.after) else \
            "before" if same(self.store, self.before) else \
            "after" if same(self.store, self.after) else "neither"
        ended = self.done and not self.done.killed
        return {"command": self.command.name, "call": self.text, "when": f"{self.name}:{self.when}",
                "error": self.error or "KILL", "exit": str(self.done.code) if ended else "-",
                "says": says(self.done) if ended else "", "store": kept,
                "seen": "/".join(self.verdicts[:2]), "behind": bool(self.apart),
                "healed": self.healed, "hit": self.hit, "wrong": self.wrong}


def steps(scene, which):
    """Runs commands, or functions."""
    for step in which:
        if callable(step):
            step(scene)
        else:
            scene.gate(*step)


def prepare(scene):
    """What all commands find."""
    scene.gate("set", "limit", "20")
    scene.gate("add", TEMPORARY, "--for", "7d")
    scene.path(BASE).write_text(scene.gate("export").out, encoding="utf-8")
    scene.path(MORE).write_text("# more\n192.0.2.77 # new\n198.51.100.0/28\n2001:db8:9::/64\n"
                                "203.0.113.7-203.0.113.9\n", encoding="utf-8")


def rows(command, caps=1.0, share=1.0):
    """Makes the faults of one command; yields a row for each."""
    with Scene() as scene:
        prepare(scene)
        steps(scene, command.before)
        for _ in range(2):      # the first makes what all later ones find
            before = scene.store()
            found = calls(scene.lab, *command.args)
            after = scene.store()
            assert not scene.differences(after), (command.name, scene.differences(after))
            steps(scene, command.back)
        for number, what in enumerate(faults(found, caps * command.caps, share)):
            fault = Fault(scene, command, (before, after), what)
            try:
                fault.make()
                fault.look()
                fault.heal(number)
                fault.bring_back()
            except (Wrong, OSError) as error:
                fault.wrong.append(str(error))
                yield fault.row()
                return          # the next would find another state
            yield fault.row()
