# SPDX-License-Identifier: GPL-2.0-only
"""A store that is full, read-only, damaged, cut off, not a file, or someone else's.

Whatever happens to it, the gate stays as it was: closed, the listed let in. A command either does
all of its work or says no and changes nothing; `status --check` says no unless all is well. Then the
fault is taken away, and one command brings the two together.
"""
import contextlib
import os
import random
import shutil
import stat

from scene import DATABASE, LISTED, MNT, NEW, PROGRAM, STATE, Scene, Wrong, calls, same, says

COPY = MNT + "/copy"
JOURNAL = DATABASE + "-journal"
PAGE = 4096
COMMANDS = (("add", NEW), ("delete", LISTED), ("sync",))


class Fault:
    """`make(scene)` brings it about; `undo` (shell) takes it away, None: a copy is put back.

    `size`: the state directory is a file system of its own, that large. `fine`: commands may do
    their work all the same, and `status --check` may say that all is well."""

    def __init__(self, name, make, undo=None, size=None, fine=False):
        # pylint: disable=too-many-arguments,too-many-positional-arguments
        self.name, self.make, self.undo, self.size, self.fine = name, make, undo, size, fine


def shell(script):
    """A fault that a line of shell makes."""
    return lambda scene: scene.shell(script)


def page(number, what):
    """One page of the database filled with something."""
    def spoil(scene):
        data = {"zeros": bytes(PAGE), "ones": b"\xff" * PAGE,
                "noise": random.Random(number).randbytes(PAGE)}[what]
        with open(scene.path(DATABASE), "r+b") as file:
            file.seek((number - 1) * PAGE)
            file.write(data)
    return spoil


def cut(pages):
    """The database ends after so many pages."""
    return lambda scene: os.truncate(scene.path(DATABASE), pages * PAGE)


def hot(spoil=None):
    """A change that was killed while it wrote to the database leaves its journal."""
    def leave(scene):
        found = calls(scene.lab, "add", NEW)
        writes = [c for c in found if c[0] == "pwrite64"]
        scene.gate("delete", NEW)
        last = max(c[1] for c in writes) - 2
        scene.run("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e",
                  f"inject=pwrite64:signal=KILL:when={last}", PROGRAM, "add", NEW)
        path = scene.path(JOURNAL)
        if not path.exists():
            raise Wrong("no journal was left")
        if spoil:
            spoil(path)
    return leave


def overwrite(path, offset, data):
    """Writes into a file, which keeps its length."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def fill(scene):
    """No room on the file system."""
    with open(scene.path(STATE + "/ballast"), "wb", buffering=0) as file, \
            contextlib.suppress(OSError):
        while True:
            file.write(bytes(PAGE))


FAULTS = [
    Fault("disk full", fill, f"rm {STATE}/ballast", size="256k", fine=True),
    Fault("file system read-only", shell(f"mount -o remount,ro {STATE}"),
          f"mount -o remount,rw {STATE}", size="1m", fine=True),
    Fault("store deleted", shell(f"rm {DATABASE}")),
    Fault("state directory deleted", shell(f"rm -r {STATE}")),
    Fault("store emptied", cut(0)),
    Fault("store of one byte", lambda scene: os.truncate(scene.path(DATABASE), 1)),
    Fault("store replaced by a text", lambda scene: scene.path(DATABASE).write_text("no store\n")),
    Fault("store replaced by a directory", shell(f"rm {DATABASE}; mkdir {DATABASE}")),
    Fault("store replaced by a FIFO", shell(f"rm {DATABASE}; mkfifo {DATABASE}")),
    Fault("store replaced by a symbolic link to it",
          shell(f"mv {DATABASE} {MNT}/moved; ln -s ../moved {DATABASE}"), fine=True),
    Fault("store replaced by a symbolic link to nothing", shell(f"ln -sf nowhere {DATABASE}")),
    Fault("store owned by another user", shell(f"chown 65534 {DATABASE}"), fine=True),
    Fault("store that anyone may write", shell(f"chmod 666 {DATABASE}"), fine=True),
    Fault("store that nobody may read", shell(f"chmod 0 {DATABASE}"), fine=True),
    Fault("state directory owned by another user", shell(f"chown 65534 {STATE}"),
          f"chown 0 {STATE}", fine=True),
    Fault("state directory that anyone may write", shell(f"chmod 777 {STATE}"),
          f"chmod 750 {STATE}", fine=True),
    Fault("lock replaced by a directory", shell(f"rm -f {STATE}/lock; mkdir {STATE}/lock"),
          fine=True),
    Fault("lock replaced by a FIFO", shell(f"rm -f {STATE}/lock; mkfifo {STATE}/lock"), fine=True),
    Fault("lock replaced by a symbolic link",
          shell(f"rm -f {STATE}/lock; ln -s {MNT}/other {STATE}/lock"), fine=True),
    Fault("journal replaced by a directory", shell(f"mkdir {JOURNAL}"), f"rmdir {JOURNAL}",
          fine=True),
    Fault("journal replaced by a FIFO", shell(f"mkfifo {JOURNAL}"), f"rm -f {JOURNAL}", fine=True),
    Fault("journal replaced by a symbolic link", shell(f"ln -s {DATABASE} {JOURNAL}"),
          f"rm -f {JOURNAL}", fine=True),
    Fault("journal of noise", fine=True, make=lambda scene:
          scene.path(JOURNAL).write_bytes(random.Random(1).randbytes(9000))),
    Fault("hot journal", hot(), "true", fine=True),
    Fault("hot journal, header zeroed", hot(lambda p: overwrite(p, 0, bytes(28)))),
    Fault("hot journal, a page of it noise",
          hot(lambda p: overwrite(p, 512 + 4 + 4200, random.Random(2).randbytes(PAGE)))),
    Fault("hot journal, cut off", hot(lambda p: os.truncate(p, 512 + 2000))),
    Fault("hot journal deleted", hot(lambda p: p.unlink())),
]
PAGES = 16                      # of the store that is made here


def all_faults():
    """The named ones, and those of each page."""
    return (FAULTS + [Fault(f"page {n} of the store: {what}", page(n, what), fine=n > 1)
                      for n in range(1, PAGES + 1) for what in ("zeros", "noise")]
            + [Fault(f"store cut off after page {n}", cut(n)) for n in range(1, PAGES)])


def put_back(scene):
    """The copy takes the store's place again."""
    for kept in (scene.path(STATE), scene.path(MNT + "/moved"), scene.path(MNT + "/other")):
        with contextlib.suppress(FileNotFoundError):
            if kept.is_dir() and not kept.is_symlink():
                shutil.rmtree(kept)
            else:
                kept.unlink()
    shutil.copytree(scene.path(COPY), scene.path(STATE))


def after(scene, args, done, old, left, wrong):
    """What has to hold after a command on a spoilt store."""
    # pylint: disable=too-many-arguments,too-many-positional-arguments
    name = args[0]
    if done.code == 124:
        wrong.append(f"{name} hangs")
    if done.code not in (0, 3, 4, 5):
        wrong.append(f"{name}: exit {done.code}")
    seen = scene.verdicts()
    if seen["unlisted"] != "out":
        wrong.append(f"{name}: an unlisted source gets in")
    if seen["listed"] != "in" and not (name == "delete" and done.code == 0):
        wrong.append(f"{name}: the listed source is dropped")
    if done.code != 0 or name == "sync":
        if scene.prefixes() not in (old["prefixes"], left):
            wrong.append(f"{name}: exit {done.code}, and the list in force is another")
        if "smtpgate: " not in done.err and done.code:
            wrong.append(f"{name}: no words")
        return
    now = scene.store(whole=False)
    if scene.differences(now):
        wrong.append(f"{name}: exit 0, and {scene.differences(now)}")
    if (seen["new"] == "in") != (name == "add"):
        wrong.append(f"{name}: exit 0, and the source is {seen['new']}")


def one(scene, fault):
    """Makes a fault; returns its row."""
    wrong, said, mode = [], [], scene.path(STATE).stat().st_mode
    assert stat.S_ISDIR(mode)
    scene.shell(f"rm -rf {COPY}; cp -a {STATE} {COPY}")
    old = scene.store()
    fault.make(scene)
    left = scene.prefixes()     # a change that was killed may have begun
    told = scene.run("timeout", "20", PROGRAM, "status", "--check")
    seen = scene.verdicts()
    if told.code not in (0, 1, 4, 5) or (told.code == 0 and not fault.fine):
        wrong.append(f"status --check: exit {told.code}")
    try:
        for args in COMMANDS:
            done = scene.run("timeout", "20", PROGRAM, *args)
            said.append((done.code, says(done)))
            after(scene, args, done, old, left, wrong)
            if done.code == 0 and args[0] != "sync":
                scene.gate(*(("add", LISTED) if args[0] == "delete" else ("delete", NEW)))
    except (Wrong, OSError) as error:
        wrong.append(f"{args[0]}: {error}")
    try:
        healed = heal(scene, fault, old)
    except (Wrong, OSError) as error:
        healed = "nothing"
        wrong.append(str(error))
    return {"fault": fault.name, "status": str(told.code), "add": said[0] if said else (0, ""),
            "delete": str(said[1][0]) if len(said) > 1 else "?",
            "sync": str(said[2][0]) if len(said) > 2 else "?",
            "seen": f"{seen['listed']}/{seen['unlisted']}", "healed": healed, "wrong": wrong}


def heal(scene, fault, old):
    """Takes the fault away, and lets a command heal the rest."""
    if fault.undo:
        scene.shell(fault.undo)
    else:
        put_back(scene)
    done, by = scene.gate("sync", ok=None), "sync"
    if done.code == 3:          # the copy is older than what is in force
        done, by = scene.gate("sync", "-y", ok=None), "sync -y"
    now = scene.store()
    if done.code or not same(now, old) or scene.differences(now):
        raise Wrong(f"{by} does not heal: {says(done)}; {scene.differences(now)}")
    scene.gate("status", "--check")
    return by if fault.undo else f"a copy put back, {by}"


def rows(wanted=None):
    """A row for each fault."""
    wanted = wanted or all_faults()
    for size in sorted({f.size for f in wanted}, key=str):
        scene = None
        try:
            for fault in (f for f in wanted if f.size == size):
                scene = scene or Scene(state_size=size)
                found = one(scene, fault)
                if found["wrong"]:
                    scene.__exit__()
                    scene = None
                yield found
        finally:
            if scene:
                scene.__exit__()
