#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The package: built twice, looked at by lintian and blhc, installed, removed and purged in a chroot
without a network, cross-built for arm64 and run there under qemu-user. SUITE=trixie: all that with the
tools of that suite, and the tests of what they built."""
import hashlib
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import guest
import steady
import tap
from lab import execute, expect, needs, until

LISTED, UNLISTED = "192.0.2.10", "192.0.2.66"
PINS, STATE = "/sys/fs/bpf/smtpgate", "/var/lib/smtpgate"
QEMU = "/usr/bin/qemu-aarch64-static"
# Debian 12's debhelper looks for units only below /lib, later ones complain about that.
UNITS = ("" if guest.SUITE == "bookworm" else "usr/") + "lib/systemd/system/"
# What it must put where, and with which mode; not all of it.
PLACES = {
    "usr/sbin/smtpgate": "rwxr-xr-x", "usr/lib/sysusers.d/smtpgate.conf": "rw-r--r--",
    "usr/lib/tmpfiles.d/smtpgate.conf": "rw-r--r--",
    UNITS + "smtpgate.service": "rw-r--r--", UNITS + "smtpgate-pre.service": "rw-r--r--",
    "usr/lib/udev/rules.d/60-smtpgate.rules": "rw-r--r--",
    "usr/share/man/man8/smtpgate.8.gz": "rw-r--r--",
    "usr/share/bash-completion/completions/smtpgate": "rw-r--r--",
    "usr/share/smtpgate/schema/status.json": "rw-r--r--",
    "usr/share/smtpgate/prometheus/alerts.yml": "rw-r--r--",
}


def make(bpffs=True):
    """A mail host with a client, and nothing of smtpgate's on it."""
    lab = steady.make(LISTED, UNLISTED, attach=False)
    try:
        lab.mail.listen(steady.PORT)
        machine = guest.Guest(lab, bpffs)
    except BaseException:
        lab.__exit__()
        raise
    return lab, machine


def tries(lab, *states):
    """What becomes of a connection of the listed source, and of the unlisted one."""
    expect(lab.client, [(s, steady.MAIL[4], 587, state)
                        for s, state in zip((LISTED, UNLISTED), states)])


def device(machine):
    """eth0, as ip(8) tells."""
    return machine("ip", "link", "show", "dev", "eth0").out


@tap.test
def twice_the_same():
    """two builds in two different directories: the same bytes"""
    sums = []
    shutil.rmtree(guest.DEB / "elsewhere", ignore_errors=True)
    for tree in (guest.DEB / f"smtpgate-{guest.version()}",
                 guest.DEB / "elsewhere" / "a" / "longer-name"):
        deb = guest.package() if "elsewhere" not in str(tree) else guest.build(guest.ROOT, tree)
        sums.append(hashlib.sha256(deb.read_bytes()).hexdigest())
    assert sums[0] == sums[1], f"{sums}; diffoscope tells where"


@tap.test
def lintian_is_silent():
    """lintian says nothing"""
    guest.look(["lintian", "--allow-root"], guest.package().with_suffix(".changes"))


@tap.test
def blhc_is_silent():
    """blhc says nothing of the build: each compiler call is hardened"""
    guest.look(["blhc", "--all"], guest.package().with_suffix(".build"))


@tap.test
def places():
    """files and modes in the package"""
    listing = guest.run("dpkg-deb", "-c", guest.package())
    rows = {row[5].removeprefix("./"): (row[0], row[1]) for row in
            (line.split(None, 5) for line in listing.splitlines())}
    for name, mode in PLACES.items():
        assert rows.get(name) == ("-" + mode, "root/root"), (name, rows.get(name))
    assert not [n for n in rows if n.startswith(("var/", "etc/", "usr/local/"))], "none of these"


@tap.test
def installed():
    """installed without a network, a question or a service: nothing is attached, users are there"""
    lab, machine = make()
    with lab:
        answer = machine.install(guest.package())
        assert "warning" not in answer.out + answer.err, answer
        assert "xdp" not in device(machine)
        assert not machine.path(PINS).exists() and not machine.path(STATE + "/smtpgate.db").exists()
        assert "smtpgate" in machine("getent", "group", "smtpgate", ok=(0, 2)).out, "no group"
        wants = machine.path("/etc/systemd/system")
        enabled = {p.name for p in wants.glob("*.wants/smtpgate*")}
        assert enabled == {"smtpgate.service", "smtpgate-pre.service"}, enabled
        tries(lab, "open", "open")
        machine("smtpgate", "--version")
        assert not machine.dpkg("--audit").out


@tap.test
def systemd_has_nothing_to_say():
    """the suite's own systemd understands each unit, and finds no service exposed by more than 2.0"""
    lab, machine = make()
    with lab:
        machine.install(guest.package())
        files = [n for n in machine.dpkg("-L", "smtpgate").out.split()
                 if "/systemd/system/" in n and "." in n]
        assert len(files) == 9, files
        answer = machine("systemd-analyze", "verify", "--man=no", *files,
                         env={"SYSTEMD_LOG_LEVEL": "info"})
        assert not answer.out and not answer.err, answer
        for name in files:
            if name.endswith(".service"):
                machine("systemd-analyze", "security", "--offline=true", "--no-pager",
                        "--threshold=20", name)


@tap.test
@needs(guest.FOREIGN, "SUITE=another (make check does it for this one)")
def tests_pass_there():
    """the suite's compilers have no warning; unit, golden and BPF tests pass with its libraries"""
    with guest.builder() as machine:
        guest.copy_sources(guest.ROOT, machine.path("/build") / "source")
        answer = machine("make", "-C", "/build/source", "-j2", "all", timeout=900)
        assert "warning" not in answer.out + answer.err, answer
        for layer in ("unit", "golden", "program"):
            answer = machine("make", "-s", "-j2", "-C", "/build/source", layer, timeout=1800)
            last = answer.out.strip().splitlines()[-1]
            print(f"# {layer}: {last}", flush=True)
            assert " 0 failed" in last and not last.startswith("0 passed"), answer


@tap.test
def installed_without_bpffs():
    """installed where there is no bpffs, and installed again with a state: never a failure"""
    lab, machine = make(bpffs=False)
    with lab:
        machine.install(guest.package())
        machine("smtpgate", "add", LISTED)
        machine.install(guest.package())
        assert LISTED in machine("smtpgate", "export").out
        machine.dpkg("-P", "smtpgate")
        assert not machine.path(STATE).exists()


@tap.test
def removed_and_purged():
    """remove says that it leaves list and gate, and does; purge says that it takes both, and does"""
    lab, machine = make()
    with lab:
        before = {str(p) for p in machine.path("/etc").rglob("*")}
        machine.install(guest.package())
        machine("smtpgate", "attach", "eth0")
        machine("smtpgate", "add", LISTED)
        tries(lab, "open", "timeout")
        answer = machine.dpkg("-r", "smtpgate")
        assert "the list stays in" in answer.out.replace("\n", " ") and "unlisted sources are still dropped" in answer.out
        assert not machine.path("/usr/sbin/smtpgate").exists()
        tries(lab, "open", "timeout")
        machine.install(guest.package())
        tries(lab, "open", "timeout")
        machine("smtpgate", "status", "--check")
        assert LISTED in machine("smtpgate", "export").out
        machine.be_a_host()
        answer = machine.dpkg("-P", "smtpgate")
        assert "the guarded ports are open to every source now" in answer.out, answer
        assert f"deleting the list, its history and the settings in {STATE}" in answer.out, answer
        until(lambda: "xdp" not in device(machine))
        tries(lab, "open", "open")
        assert not machine.path(PINS).exists() and not machine.path(STATE).exists()
        left = {str(p) for p in machine.path("/etc").rglob("*")} - before
        left = {n for n in left if not n.rstrip("-").endswith(("passwd", "group", "shadow"))}
        assert not left, left
        assert not list(machine.path("/var/lib/systemd").rglob("*smtpgate*"))


@tap.test
def autopkgtest():
    """the package's own test (autopkgtest) passes where it is installed"""
    lab, machine = make()
    with lab:
        machine.install(guest.package())
        shutil.copy(guest.ROOT / "dist" / "debian" / "tests" / "gate", machine.path("/tmp"))
        answer = machine("/tmp/gate")
        assert "kept 192.0.2.66 out" in answer.out, answer
        assert "xdp" not in device(machine)


# ---- arm64 ----

def cross_chroot():
    """A machine that can compile for arm64, in which the package's sources are built."""
    names = guest.build_depends()
    libraries = [n + ":arm64" for n in names if n.startswith(("lib", "zlib"))]
    native = [n for n in names if not n.startswith(("lib", "zlib"))]
    return guest.archive.chroot(guest.DEB, "cross", guest.SUITE, [
        *native, *libraries, "build-essential", "libc6-dev:arm64", "gcc-aarch64-linux-gnu"],
        "--architectures=amd64,arm64")


def plain(answer, state):
    """What it said, without its own place and time."""
    return [re.sub(r"\d{4}-\d\d-\d\d[T ][\d:]+Z?", "TIME", str(w)).replace(str(state), "STATE")
            for w in (answer.code, answer.out, answer.err)]


@tap.test
def arm64():
    """cross-built for arm64: lintian silent; the user half under qemu-user as on this machine"""
    where = guest.DEB / "arm64"
    shutil.rmtree(where, ignore_errors=True)
    source = where / "source"
    guest.copy_sources(guest.ROOT, source)
    root = cross_chroot()
    inner = root / "build"
    shutil.rmtree(inner, ignore_errors=True)
    shutil.move(source, inner)
    guest.run("chroot", root, "env", "-i", "LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
              "DEB_ARCH=arm64", "/build/dist/deb.sh",
              "/build/out/smtpgate-" + guest.version())
    deb = next((inner / "out").glob("smtpgate_*_arm64.deb"))
    guest.said("lintian", "--allow-root", deb.with_suffix(".changes"))
    guest.run("dpkg-deb", "-x", deb, where / "root")
    words = {}
    for name, program in (("arm64", [QEMU, "-L", str(root), str(where / "root/usr/sbin/smtpgate")]),
                          ("here", [str(guest.ROOT / "build/smtpgate")])):
        state = where / name
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TZ": "UTC",
               "QEMU_LD_PREFIX": str(root), "SMTPGATE_STATE": str(state),
               "LD_LIBRARY_PATH": "", "SMTPGATE_BPFFS": str(where / "none")}
        words[name] = [execute([*program, *args], None, stdin, env) for args, stdin in (
            (["--version"], None), (["add", "192.0.2.0/24", "--remark", "the office"], None),
            (["import", "-"], "198.51.100.3-198.51.100.97\n2001:db8::/48 # v6\n"),
            (["list"], None), (["export"], None), (["check", "192.0.2.7"], None),
            (["delete", "192.0.2.0/24"], None), (["-j", "export"], None), (["add", "x"], None))]
    for one, other in zip(words["arm64"], words["here"]):
        one, other = plain(one, where / "arm64"), plain(other, where / "here")
        assert one == other, (one, other)
    assert words["arm64"][0].code == 0 and "198.51.100.3" in words["arm64"][4].out, words["arm64"][4]


if __name__ == "__main__":
    guest.package()             # once, before any host is there
    tap.main()
