# SPDX-License-Identifier: GPL-2.0-only
"""Packages, and the machines that they are built and installed on, for the tests of the package.

A machine is a chroot made by mmdebstrap from where this machine's apt gets Debian; it is made once and
never written to: each test has a layer of its own over it, in memory, in a host of the lab (own network,
mounts and processes). No systemd runs there.

Packages are built from a copy of the sources, below build/deb. Those of another suite than this
machine's ($SUITE) are built by its own tools, in such a machine without a network, and lie below
build/deb-SUITE.
"""
import contextlib
import functools
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parent / "e2e"))
# pylint: disable=wrong-import-position
import archive
from lab import MNT, ROOT, Host

SUITE, FOREIGN = archive.SUITE, archive.foreign()
DEB = archive.place(ROOT / "build", "deb")
TREE = MNT + "/root"
PREVIOUS = "da2584f"            # of 0.1.0
INSIDE = ("iproute2", "python3", "systemd", "libbpf1", "libcurl4", "libjansson4", "libncursesw6",
          "libsqlite3-0")
# What else the machine has that packages of another suite are built on: checkers, and what unit,
# golden and BPF tests need.
TOOLS = ("build-essential", "lintian", "blhc", "libcmocka-dev", "iproute2", "procps", "ethtool",
         "sqlite3", "nftables", "iptables", "python3-jsonschema")
BUILDER = 12345                 # the user who builds there
HARMLESS = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def run(*argv, ok=0, timeout=900, **options):
    """A command on this machine; what it said."""
    done = subprocess.run(list(map(str, argv)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", timeout=timeout, check=False, **options)
    assert ok is None or done.returncode == ok, \
        f"$ {' '.join(map(str, argv))}\nexit {done.returncode}\n{done.stdout[-3000:]}"
    return done.stdout


def said(*argv):
    """All that a checker said."""
    done = subprocess.run(list(map(str, argv)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    assert not done.stdout.strip() and done.returncode == 0, f"{argv[0]}: {done.stdout}"


def look(checker, path):
    """The suite's own checker has nothing to say of a file in DEB."""
    if not FOREIGN:
        said(*checker, path)
        return
    with builder() as machine:
        machine.bind(DEB)
        said(*machine.argv(*checker, path))


def chroot():
    """The machine that the package is installed on."""
    return archive.chroot(DEB, "chroot", SUITE, INSIDE)


def build_depends():
    """Names of what the package says it is built with."""
    control = (ROOT / "dist" / "debian" / "control").read_text("utf-8")
    wants = control.partition("Build-Depends:")[2].partition("Standards-Version")[0]
    names = [n.split()[0].partition(":")[0] for n in wants.replace("\n", " ").split(",")]
    return ["debhelper" if n == "debhelper-compat" else n for n in names]


@contextlib.contextmanager
def builder():
    """A machine with what building needs, and no network."""
    lower = archive.chroot(DEB, "builder", SUITE, [*build_depends(), *TOOLS])
    host = Host("builder")
    try:
        yield Machine(host, lower)
    finally:
        host.close()


def copy_sources(source, into):
    """What git knows of the sources, or all there is where it knows nothing of them."""
    into.mkdir(parents=True)
    if (source / ".git").exists():
        run("sh", "-ec", f"cd '{source}'; git -c safe.directory='*' ls-files -z --cached --others "
            "--exclude-standard | tar --null -T - -c --ignore-failed-read | tar -x -C " + f"'{into}'")
    else:
        run("cp", "-rT", source, into)


def build_there(source, tree):
    """build() on a machine of the suite, by a user who is not root, in a directory named as here."""
    with builder() as machine:
        home = machine.path("/build")
        copy_sources(source, home / "source")
        inner = home / tree.relative_to(DEB)
        inner.parent.mkdir(parents=True, exist_ok=True)
        machine("chown", "-R", f"{BUILDER}:{BUILDER}", "/build")
        answer = machine("setpriv", f"--reuid={BUILDER}", f"--regid={BUILDER}", "--clear-groups",
                         "/build/source/dist/deb.sh", "/build/" + str(tree.relative_to(DEB)),
                         env={"LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}, timeout=900)
        tree.parent.mkdir(parents=True, exist_ok=True)
        for path in inner.parent.glob("smtpgate*_*"):
            shutil.copy(path, tree.parent)
        return tree.parent / pathlib.Path(answer.out.strip().splitlines()[-1]).name


def build(source, tree, arch=None):
    """Builds the package of a source tree at `tree`; returns the .deb. What was said lies beside it."""
    if FOREIGN:
        return build_there(source, tree)
    # A tree below build/ is none of this repository's.
    env = dict(os.environ, LC_ALL="C.UTF-8", GIT_CEILING_DIRECTORIES=str(source.parent),
               **({"DEB_ARCH": arch} if arch else {}))
    lines = run(source / "dist" / "deb.sh", tree, env=env).strip().splitlines()
    return pathlib.Path(lines[-1])


@functools.lru_cache
def package():
    """This version's package."""
    return build(ROOT, DEB / ("smtpgate-" + version()))


def version():
    """Of the sources."""
    text = (ROOT / "Makefile").read_text("utf-8")
    return text.partition("VERSION := ")[2].split()[0]


def previous():
    """The package of the release before: its own sources, packaged as this one is."""
    made = DEB / "previous" / f"smtpgate_0.1.0-1_{run('dpkg', '--print-architecture').strip()}.deb"
    if made.exists():
        return made
    git = ("git", "-c", "safe.directory=*", "-C", ROOT)
    assert subprocess.run([*git, "cat-file", "-e", PREVIOUS + "^{commit}"], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0, \
        f"commit {PREVIOUS} (release 0.1.0) is not in this clone: git fetch --unshallow"
    source = DEB / "previous" / "source"
    shutil.rmtree(source.parent, ignore_errors=True)
    source.mkdir(parents=True)
    run("sh", "-c", f"git -c safe.directory='*' -C '{ROOT}' archive {PREVIOUS} | tar -x -C '{source}'")
    shutil.copy(ROOT / "dist" / "deb.sh", source / "dist")
    shutil.copytree(ROOT / "dist" / "debian", source / "dist" / "debian")
    changes = source / "dist" / "debian" / "changelog"
    text = changes.read_text("utf-8")
    changes.write_text(text[text.index("smtpgate (0.1.0-1)"):], "utf-8")
    rules = source / "dist" / "debian" / "rules"     # the units at boot came later
    text = rules.read_text("utf-8")
    rules.write_text(text.partition("override_dh_installsystemd:")[0]
                     + "override_dh_installsystemd:\n", "utf-8")
    return build(source, source.parent / "smtpgate-0.1.0")


class Machine:
    """A chroot with a layer of its own over it, on a host of the lab."""

    def __init__(self, host, lower, bpffs=True):
        self.host = host
        steps = [f"mkdir {MNT}/layer {TREE}", f"mount -t tmpfs -o mode=755 tmpfs {MNT}/layer",
                 f"mkdir {MNT}/layer/upper {MNT}/layer/work",
                 f"mount -t overlay -o lowerdir={lower},upperdir={MNT}/layer/upper,"
                 f"workdir={MNT}/layer/work overlay {TREE}",
                 f"mount -t proc proc {TREE}/proc", f"mount -t sysfs sysfs {TREE}/sys",
                 f"mount --rbind /dev {TREE}/dev", f"mount -t tmpfs tmpfs {TREE}/run"]
        steps += [f"mount -t bpf -o mode=700 bpf {TREE}/sys/fs/bpf"] if bpffs else []
        host.run("sh", "-ec", "\n".join(steps))

    def path(self, inner):
        """A file as the test sees it."""
        return self.host.path(TREE + inner)

    def bind(self, directory):
        """A directory of this machine is there, to be read."""
        self.host.run("sh", "-ec", f"mkdir -p '{TREE}{directory}'\n"
                      f"mount --bind -o ro '{directory}' '{TREE}{directory}'")

    def argv(self, *command):
        """The command line that runs a command there."""
        return self.host.argv("chroot", TREE, *command)

    def __call__(self, *command, ok=0, stdin=None, env=None, timeout=60):
        """Runs a command there."""
        return self.host.run("chroot", TREE, *command, ok=ok, stdin=stdin,
                             env=dict(HARMLESS, **(env or {})), timeout=timeout)


class Guest(Machine):
    """A machine that the package is installed on: the lab's mail host."""

    def __init__(self, lab, bpffs=True):
        self.lab = lab
        super().__init__(lab.mail, chroot(), bpffs)

    def be_a_host(self):
        """It is a host of its own, with its own gate. Where a chroot is none, the gate is somebody
        else's, and the package leaves that alone."""
        ischroot = self.path("/usr/bin/ischroot")
        self("rm", "/usr/bin/ischroot")
        ischroot.write_text("#!/bin/sh\nexit 1\n", "utf-8")
        ischroot.chmod(0o755)

    def dpkg(self, *args, ok=0):
        """Runs dpkg; a question would find nobody."""
        return self("dpkg", *args, ok=ok)

    def install(self, deb):
        """Installs a package that lies on this machine: no network is there."""
        shutil.copy(deb, self.path("/tmp"))
        return self.dpkg("-i", "/tmp/" + deb.name)
