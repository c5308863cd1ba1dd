# SPDX-License-Identifier: GPL-2.0-only
"""Packages, and the machines that they are installed on, for the tests of the package.

A machine is a chroot made by mmdebstrap from the sources that this machine's apt has; it is made
once and never written to: each test has a layer of its own over it, in memory, in a host of the lab
(own network, mounts and processes). No systemd runs there. Packages are built from a copy of the
sources, below build/deb.
"""
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
from lab import MNT, ROOT

DEB = ROOT / "build" / "deb"
SUITE = os.environ.get("SUITE", "bookworm")
TREE = MNT + "/root"
PREVIOUS = "da2584f"            # of 0.1.0
INSIDE = ("iproute2", "python3", "systemd", "libbpf1", "libcurl4", "libjansson4", "libncursesw6",
          "libsqlite3-0")
HARMLESS = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def run(*argv, ok=0, timeout=900, **options):
    """A command on this machine; what it said."""
    done = subprocess.run(list(map(str, argv)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", timeout=timeout, check=False, **options)
    assert ok is None or done.returncode == ok, \
        f"$ {' '.join(map(str, argv))}\nexit {done.returncode}\n{done.stdout[-3000:]}"
    return done.stdout


def apt_sources():
    """The files in which this machine's apt is told where Debian is."""
    etc = pathlib.Path("/etc/apt")
    found = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    found = [f for f in found if f.suffix in (".list", ".sources") and f.is_file()
             and "debian" in f.read_text("utf-8", "replace")]
    assert found, "apt has no source of Debian below /etc/apt"
    return found


def chroot():
    """The machine nobody writes to."""
    made = DEB / ("chroot-" + SUITE)
    if not made.exists():
        half = made.with_suffix(".tmp")
        shutil.rmtree(half, ignore_errors=True)
        DEB.mkdir(parents=True, exist_ok=True)
        run("mmdebstrap", "--quiet", "--variant=minbase", "--include=" + ",".join(INSIDE), SUITE,
            half, *apt_sources())
        half.rename(made)
    return made


def build(source, tree, arch=None):
    """Builds the package of a source tree at `tree`; returns the .deb. What was said lies beside it."""
    # A tree below build/ is none of this repository's.
    env = dict(os.environ, LC_ALL="C.UTF-8", GIT_CEILING_DIRECTORIES=str(source.parent),
               **({"DEB_ARCH": arch} if arch else {}))
    said = run(source / "dist" / "deb.sh", tree, env=env)
    return pathlib.Path(said.strip().splitlines()[-1])


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


class Guest:
    """A machine on a host of the lab."""

    def __init__(self, lab, bpffs=True):
        self.lab, self.host = lab, lab.mail
        lower = chroot()
        steps = [f"mkdir {MNT}/layer {TREE}", f"mount -t tmpfs -o mode=755 tmpfs {MNT}/layer",
                 f"mkdir {MNT}/layer/upper {MNT}/layer/work",
                 f"mount -t overlay -o lowerdir={lower},upperdir={MNT}/layer/upper,"
                 f"workdir={MNT}/layer/work overlay {TREE}",
                 f"mount -t proc proc {TREE}/proc", f"mount -t sysfs sysfs {TREE}/sys",
                 f"mount --bind /dev {TREE}/dev", f"mount -t tmpfs tmpfs {TREE}/run"]
        steps += [f"mount -t bpf -o mode=700 bpf {TREE}/sys/fs/bpf"] if bpffs else []
        self.host.run("sh", "-ec", "\n".join(steps))

    def path(self, inner):
        """A file as the test sees it."""
        return self.host.path(TREE + inner)

    def __call__(self, *command, ok=0, stdin=None, env=None):
        """Runs a command there."""
        return self.host.run("chroot", TREE, *command, ok=ok, stdin=stdin,
                             env=dict(HARMLESS, **(env or {})))

    def dpkg(self, *args, ok=0):
        """Runs dpkg; a question would find nobody."""
        return self("dpkg", *args, ok=ok)

    def install(self, deb):
        """Installs a package that lies on this machine: no network is there."""
        shutil.copy(deb, self.path("/tmp"))
        return self.dpkg("-i", "/tmp/" + deb.name)
