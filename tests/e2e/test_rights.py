#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Whom smtpgate listens to: what another user can write to does not decide what root does, a user
with three capabilities does what root does, and a group may read.

The attacks are real ones: each was seen to work on a program without the check.
"""
import os
import pathlib
import re
import shutil
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import lab
import tap
from lab import BPFFS, MNT, STATE

PROGRAM = MNT + "/smtpgate"
MALLORY, KEEPER, READER = 64995, 64996, 64997   # nobody has these numbers
GROUP = 64998
CAPS = "+bpf,+net_admin,+perfmon"
LISTED = "192.0.2.7"
PRECIOUS = MNT + "/precious"
SECRET = "of root's, and nobody else's\n"

READING = (("list",), ("list", "--lint"), ("list", "--accounts"), ("status",), ("check", LISTED),
           ("stats",), ("blocked",), ("metrics",), ("history",), ("export",), ("set",), ("preview",))
CHANGING = (("add", "198.51.100.1"), ("delete", "-y", LISTED), ("edit", LISTED, "--remark", "x"),
            ("set", "limit", "20"), ("sync", "-y"), ("undo",), ("disable", "-y"), ("observe",),
            ("attach", "eth0"), ("-n", "add", "198.51.100.1"))


class Site(lab.Lab):
    """A mail host, and users on it."""

    def __init__(self):
        super().__init__()
        try:
            for host in (self.mail, self.host("client")):   # nobody sends but the test
                host.sysctl("ipv6/conf/all/disable_ipv6", 1)
                host.sysctl("ipv6/conf/default/disable_ipv6", 1)
            self.link(self.mail, "eth0", self.hosts["client"], "eth0")
            shutil.copy(lab.PROGRAM, self.mail.path(PROGRAM))
            self.mail.run("chmod", "0711", MNT + "/bpf")
            self.file(PRECIOUS, SECRET, 0, 0o600)
        except BaseException:
            self.__exit__()
            raise

    def as_user(self, user, *args, caps=None, group=None, ok=0, stdin=None, state=STATE,
                bpffs=BPFFS, env=None):
        """smtpgate as another user, perhaps with capabilities."""
        rights = (f"--inh-caps={caps}", f"--ambient-caps={caps}") if caps else ()
        return self.mail.run("setpriv", f"--reuid={user}", f"--regid={group or user}",
                             "--clear-groups", *rights, "--", PROGRAM, "--state", state, "--bpffs",
                             bpffs, *args, ok=ok, stdin=stdin, env=dict(self.env, **(env or {})))

    def file(self, path, data, user, mode):
        """A file as a user left it there."""
        where = self.mail.path(path)
        where.write_bytes(data if isinstance(data, bytes) else data.encode())
        os.chown(where, user, user)
        where.chmod(mode)
        return where

    def directory(self, path, user, mode=0o755):
        """A directory likewise."""
        where = self.mail.path(path)
        where.mkdir()
        os.chown(where, user, user)
        where.chmod(mode)
        return where

    def refused(self, state, words=CHANGING + READING):
        """Root uses nothing of such a state directory, and says why."""
        for args in words:
            done = self.gate("--state", state, "--bpffs", BPFFS + "-2", *args, ok=5)
            assert "could change what this command does" in done.err or "symbolic link" in done.err, done
            assert "hint:" in done.err and not done.out, done
        self.unhurt()

    def unhurt(self):
        """Root's own file."""
        where = self.mail.path(PRECIOUS)
        assert where.exists(), "root deleted its own file"
        assert where.read_text(encoding="ascii") == SECRET and where.stat().st_mode & 0o777 == 0o600


def hot_journal(victim):
    """A rollback journal that has SQLite delete @victim when it is replayed."""
    name = victim.encode()
    head = bytes.fromhex("d9d505f920a163d7") + struct.pack(">IIIII", 0, 7, 16, 512, 4096)
    # One byte after the other added up, as signed characters.
    total = sum(b - 256 if b > 127 else b for b in name) & 0xffffffff
    return head.ljust(512, b"\0") + struct.pack(">I", 262145) + name + \
        struct.pack(">II", len(name), total) + head[:8]


def refill(site):
    """A list of root's, in force."""
    site.gate("-q", "-y", "detach", "--all", ok=(0, 1))
    site.mail.run("rm", "-rf", STATE, BPFFS)
    site.gate("-q", "attach", "eth0")
    site.gate("-q", "add", LISTED, "--remark", "kept")


SITE = None


def setup():
    """One site for all."""
    global SITE                         # pylint: disable=global-statement
    if SITE is None:
        SITE = Site()


# ---- whom root trusts ----

@tap.test
def journal_planted():
    """a journal planted beside the store: not replayed, and no file that it names is deleted"""
    SITE.directory(MNT + "/hers", MALLORY)
    good = MNT + "/good"
    SITE.gate("-q", "--state", good, "add", LISTED)
    store = SITE.mail.path(good + "/smtpgate.db").read_bytes()
    SITE.file(MNT + "/hers/smtpgate.db", store, MALLORY, 0o666)
    for args in READING + CHANGING:
        SITE.file(MNT + "/hers/smtpgate.db-journal", hot_journal(PRECIOUS), MALLORY, 0o666)
        SITE.refused(MNT + "/hers", (args,))
    # In a directory that is root's by now: what she left in it is still hers.
    os.chown(SITE.mail.path(MNT + "/hers"), 0, 0)
    os.chown(SITE.mail.path(MNT + "/hers/smtpgate.db"), 0, 0)
    SITE.mail.path(MNT + "/hers/smtpgate.db").chmod(0o640)
    SITE.refused(MNT + "/hers")
    SITE.mail.path(MNT + "/hers/smtpgate.db-journal").unlink()
    SITE.gate("--state", MNT + "/hers", "--bpffs", BPFFS + "-2", "list")


@tap.test
def lock_planted():
    """a lock that is another file's second name, or a link to it: not written to"""
    for make in (os.link, os.symlink):
        where = SITE.directory(f"{MNT}/lock-{make.__name__}", MALLORY, 0o777)
        if make is os.link:             # as where fs.protected_hardlinks is 0
            os.link(SITE.mail.path(PRECIOUS), where / "lock")
        else:
            os.symlink(PRECIOUS, where / "lock")
        SITE.refused(f"{MNT}/lock-{make.__name__}", CHANGING[:9])


@tap.test
def directories():
    """a state directory that others own, can write to or replace is refused, also by its parents"""
    for name, user, mode in (("owned", MALLORY, 0o755), ("group", 0, 0o775), ("all", 0, 0o757),
                             ("sticky", 0, 0o1777)):
        SITE.directory(f"{MNT}/{name}", user, mode)
        SITE.refused(f"{MNT}/{name}", (("list",), ("add", LISTED)))
    SITE.directory(MNT + "/owned/roots", 0)
    SITE.refused(MNT + "/owned/roots", (("list",), ("add", LISTED)))
    SITE.refused(MNT + "/owned/roots/none", (("list",), ("add", LISTED)))
    SITE.directory(MNT + "/safe", 0, 0o700)
    link = SITE.mail.path(MNT + "/to-hers")
    os.symlink(MNT + "/owned", link)                # root's link into her directory
    SITE.refused(MNT + "/to-hers", (("list",), ("add", LISTED)))
    os.symlink(MNT + "/safe", SITE.mail.path(MNT + "/hers-to-safe"))
    os.chown(SITE.mail.path(MNT + "/hers-to-safe"), MALLORY, MALLORY, follow_symlinks=False)
    SITE.refused(MNT + "/hers-to-safe", (("list",), ("add", LISTED)))
    # What is fine: like /tmp, and a link of root's to what is root's.
    SITE.directory(MNT + "/sticky/roots", 0, 0o700)
    os.symlink(MNT + "/safe", SITE.mail.path(MNT + "/to-safe"))
    for good in (MNT + "/sticky/roots", MNT + "/to-safe", MNT + "/safe/", MNT + "//safe/../safe"):
        SITE.gate("-q", "--state", good, "--bpffs", BPFFS + "-2", "add", LISTED)


@tap.test
def files():
    """a store that others own or can write to, or that is a link, is refused"""
    state = MNT + "/files"
    SITE.gate("-q", "--state", state, "--bpffs", BPFFS + "-2", "add", LISTED)
    store = SITE.mail.path(state + "/smtpgate.db")
    whole = store.read_bytes()
    for user, mode in ((MALLORY, 0o640), (0, 0o660), (0, 0o646)):
        os.chown(store, user, 0)
        store.chmod(mode)
        SITE.refused(state, (("list",), ("add", "192.0.2.8")))
        assert store.read_bytes() == whole
    store.unlink()
    SITE.file(MNT + "/elsewhere.db", whole, MALLORY, 0o644)
    os.symlink(MNT + "/elsewhere.db", store)
    SITE.refused(state, (("list",), ("add", "192.0.2.8")))


@tap.test
def pins_of_others():
    """pins in a directory that others can change are not taken for the gate; detach takes it off"""
    refill(SITE)
    where = SITE.mail.path(BPFFS)
    for user, mode in ((MALLORY, 0o700), (0, 0o770), (0, 0o707)):
        os.chown(where, user, 0)
        where.chmod(mode)
        for args in CHANGING[:9]:
            done = SITE.gate(*args, ok=5)
            assert "could take the gate off" in done.err and "hint:" in done.err, done
    os.chown(where, 0, 0)
    where.chmod(0o700)
    os.chown(where.parent, MALLORY, 0)              # she could put another in its place
    for args in CHANGING[:9]:
        assert "could change what this command does" in SITE.gate(*args, ok=5).err
    assert SITE.json("list")["entries"][0]["who"] == LISTED
    SITE.gate("-q", "detach", "eth0")
    os.chown(where.parent, 0, 0)
    assert "xdp" not in SITE.mail.run("ip", "link", "show", "dev", "eth0").out
    SITE.mail.run("rm", "-r", BPFFS)


@tap.test
def answers_planted():
    """the file of the policy service's answers: a pipe, a link, a long one, nonsense: no metrics of it"""
    refill(SITE)
    counts = SITE.mail.path(STATE + "/policy.counts")
    want = SITE.gate("metrics").out
    for plant in (lambda: os.mkfifo(counts), lambda: os.symlink(PRECIOUS, counts),
                  lambda: counts.write_bytes(b"\xff" * 100000), counts.mkdir):
        plant()
        assert SITE.gate("metrics").out == want
        if counts.is_dir() and not counts.is_symlink():
            counts.rmdir()
        else:
            counts.unlink()


# ---- without root ----

@tap.test
def capabilities():
    """a user with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON does what root does, in directories of his own"""
    state, bpffs = MNT + "/keeper", MNT + "/bpf/keeper"
    refill(SITE)
    SITE.gate("-q", "detach", "--all")
    SITE.directory(state, KEEPER, 0o700)
    SITE.directory(bpffs, KEEPER, 0o700)

    def keeper(*args, caps=CAPS, ok=0):
        return SITE.as_user(KEEPER, *args, caps=caps, ok=ok, state=state, bpffs=bpffs)

    for caps in ("+bpf,+net_admin", "+bpf,+perfmon", "+net_admin,+perfmon", None):
        done = keeper("attach", "eth0", caps=caps, ok=4)
        assert "CAP_BPF" in done.err and "CAP_PERFMON" in done.err, done
        keeper("-j", "attach", "eth0", caps=caps, ok=4)
    keeper("attach", "eth0")
    keeper("add", LISTED, "192.0.2.8", "--for", "1h")
    keeper("add", "2001:db8::/48")
    for args in (("edit", LISTED, "--for", "2h"), ("set", "ports", "25,587"), ("observe",),
                 ("enforce",), ("pause", "1m"), ("enforce",), ("delete", "192.0.2.8"), ("undo",),
                 ("sync",), ("attach", "eth0"), ("sync",), ("check", LISTED), ("list", "--lint"),
                 ("blocked",), ("stats",), ("metrics",), ("preview",)):
        done = keeper(*args)
        assert "behind" not in done.err and "permit" not in done.err, done
    done = keeper("-j", "status", "--check").json
    assert done["in_sync"] and done["interfaces"][0]["attached"], done
    # What he made is his own: root will not be led by it, and can take it off all the same.
    before = SITE.mail.run("ls", "-ln", state, bpffs).out
    for args in (("add", "192.0.2.9"), ("list",)):
        done = SITE.gate("--state", state, "--bpffs", bpffs, *args, ok=5)
        assert f"sudo -u '#{KEEPER}'" in done.err, done
    assert SITE.mail.run("ls", "-ln", state, bpffs).out == before
    keeper("detach", "eth0")
    assert "xdp" not in SITE.mail.run("ip", "link", "show", "dev", "eth0").out
    keeper("-y", "disable")


@tap.test
def readers():
    """a group that may read the store reads the list, and is told what it is not told; nobody else is"""
    refill(SITE)
    SITE.gate("-q", "add", "198.51.100.0/24", "--account", "alice", "--for", "1h")
    state = SITE.mail.path(STATE)
    for path, mode in ((state, 0o2750), (state / "smtpgate.db", 0o640)):
        os.chown(path, 0, GROUP)
        path.chmod(mode)
    before = [p.read_bytes() for p in sorted(state.iterdir())]
    whole = {args: SITE.gate(*args, ok=None) for args in READING}

    def reader(*args, group=GROUP, **options):
        return SITE.as_user(READER, *args, group=group, **options)

    for args in (("history",), ("export",), ("set",), ("list",), ("list", "--accounts"),
                 ("list", "--account", "alice"), ("list", "--lint"), ("list", "kept")):
        done = reader(*args)
        assert done.out == SITE.gate(*args).out, done
        assert ("only root may look" in done.err) is (args[0] == "list"), done
        told, want = reader("-j", *args).json, SITE.json(*args)
        assert args[-1] != "--lint" or (told.pop("use_known_since"), want.pop("use_known_since"))[0] is None
        assert told == want, (told, want)
    assert reader("diff", "-", stdin=whole[("export",)].out).out.startswith("the list is equal")
    assert "198.51.100.9" in reader("diff", "-", stdin="198.51.100.9\n", ok=1).out
    for address, code in ((LISTED, 0), ("198.51.100.7", 0), ("203.0.113.1", 1)):
        done = reader("check", address, ok=code)
        assert "what the store says" in done.err and "no interface" not in done.err, done
        done = reader("-j", "check", address, ok=code).json
        assert done["source"] == "store" and done["disagree"] is False
        assert done["results"][0]["allowed"] is (code == 0)
    # What is the kernel's to tell is not told as nothing.
    for args in (("status",), ("status", "--check"), ("stats",), ("blocked",), ("metrics",),
                 ("preview",), ("-n", "add", "198.51.100.9")):
        done = reader(*args, ok=4)
        assert "not permitted to look at the gate in the kernel" in done.err and not done.out, done
    for args in CHANGING:
        done = reader(*args, ok=4)
        assert "permit" in done.err, done
    # No store at all is not an empty list.
    state.joinpath("smtpgate.db").rename(state / "away")
    for args in (("list",), ("export",), ("check", LISTED)):
        assert "permit" in reader(*args, ok=4).err
    state.joinpath("away").rename(state / "smtpgate.db")
    for args in READING + CHANGING:
        assert reader(*args, group=READER, ok=4).err
    assert before == [p.read_bytes() for p in sorted(state.iterdir())]
    assert SITE.json("status", "--check")["in_sync"]


@tap.test
def readers_of_the_kernel():
    """a pin directory with the setgid bit: its group reads what the kernel holds, and changes nothing"""
    refill(SITE)
    SITE.gate("-q", "detach", "eth0")
    SITE.mail.run("rm", "-r", BPFFS)
    where = SITE.directory(BPFFS, 0)
    os.chown(where, 0, GROUP)
    where.chmod(0o2750)
    state = SITE.mail.path(STATE)
    for path, mode in ((state, 0o2750), (state / "smtpgate.db", 0o640)):
        os.chown(path, 0, GROUP)
        path.chmod(mode)

    def reader(*args, group=GROUP, **options):
        return SITE.as_user(READER, *args, group=group, **options)

    def agree(words=READING + (("status", "--check"),)):
        for args in words:
            want = SITE.gate(*args, ok=None)
            done = reader(*args, ok=want.code)
            assert (done.out, done.err) == (want.out, want.err), f"{done}\n{want}"

    SITE.gate("-q", "attach", "eth0")
    SITE.hosts["client"].packets("eth0").send(
        SITE.mail.mac("eth0") + bytes.fromhex(
            "020000000002 0800 45000028000040004006 0000 cb007107 c0000201"
            "c350 0019 00000000 00000000 5002 ffff 0000 0000"))
    lab.until(lambda: SITE.json("stats")["reasons"])
    agree()
    modes = {p.name: oct(p.stat().st_mode & 0o7777) for p in (where / "abi1").iterdir()}
    assert {n: m for n, m in modes.items() if m != "0o640"} == \
        {n: "0o600" for n in modes if n.startswith("prog_")}, modes
    SITE.gate("-q", "attach", "eth0")           # another program in its place
    SITE.gate("-q", "sync")
    agree((("status", "--check"), ("stats",), ("check", LISTED)))
    for args in CHANGING:
        assert "permit" in reader(*args, ok=(0 if args[0] == "-n" else 4)).err or args[0] == "-n"
    for pin in ("link_1", "abi1/" + next(n for n in modes if n.startswith("prog_"))):
        for what in (("link", "show"), ("prog", "show")):
            assert SITE.mail.run("setpriv", f"--reuid={READER}", f"--regid={GROUP}",
                                 "--clear-groups", lab.BPFTOOL, *what, "pinned", f"{BPFFS}/{pin}",
                                 ok=None).code
    for name in ("allow4", "config"):
        for word in ("update", "delete"):
            value = ("value", "hex", *["00"] * 24) if word == "update" else ()
            assert SITE.mail.run("setpriv", f"--reuid={READER}", f"--regid={GROUP}",
                                 "--clear-groups", lab.BPFTOOL, "map", word, "pinned",
                                 f"{BPFFS}/abi1/{name}", "key", "hex", "20", "0", "0", "0", "c0",
                                 "0", "2", "7", *value, ok=None).code
    # Off, renamed, gone: told as it is.
    SITE.mail.ip("link set eth0 down", "link set eth0 name eth9", "link set eth9 up")
    agree((("status",), ("status", "--check")))
    SITE.mail.ip("link set eth9 down", "link set eth9 name eth0", "link set eth0 up")
    SITE.mail.run("rm", BPFFS + "/link_1")
    assert reader("status", "--check", ok=1).code == 1
    SITE.gate("-q", "sync")
    agree((("status", "--check"), ("stats",)))
    assert reader("list", group=READER, ok=4).err
    SITE.gate("-q", "detach", "eth0")
    assert not [n for n in os.listdir(where / "abi1") if n.startswith("prog_")]
    agree((("status",),))
    SITE.mail.run("rm", "-r", BPFFS)


@tap.test
def by_capability():
    """CAP_BPF alone, as the owner of the pins, reads all that root does"""
    refill(SITE)
    for args in READING + (("status", "--check"),):
        want = SITE.gate(*args, ok=None)
        done = SITE.mail.run("setpriv", "--bounding-set=-all,+bpf", "--inh-caps=-all", "--", PROGRAM,
                             *args, env=SITE.env, ok=want.code)
        assert "NOT TO THIS LIST" not in done.out and done.err == want.err, done


@tap.test
def units():
    """with the capabilities that each unit has, the gate is seen as root sees it"""
    refill(SITE)
    for path in sorted((lab.ROOT / "dist/systemd").glob("*.service")):
        text = path.read_text(encoding="ascii")
        caps = re.search("^CapabilityBoundingSet=(.*)$", text, re.M)[1].lower().split()
        assert "cap_sys_admin" not in caps, path
        if "\nUser=" in text:
            continue                # the policy service's: it never looks at the kernel
        drop = ",".join(["-all", *("+" + cap.removeprefix("cap_") for cap in caps)])
        for args in (("metrics",), ("status", "--check"), ("blocked",)):
            want = SITE.gate(*args)
            done = SITE.mail.run("setpriv", "--bounding-set=" + drop, "--inh-caps=-all", "--",
                                 PROGRAM, *args, env=SITE.env)
            assert (done.out, done.err) == (want.out, want.err), f"{path}: {done}"


@tap.test
def environment():
    """as root: no file is looked for in a place that only the environment names"""
    refill(SITE)
    hers = MNT + "/env"
    SITE.directory(hers, MALLORY)
    for tool in ("nft", "iptables-save", "iptables-nft-save", "sh", "mount"):
        SITE.file(f"{hers}/{tool}", "#!/bin/sh\ntouch " + hers + "/ran\n", MALLORY, 0o755)
    names = ("PATH HOME TMPDIR SQLITE_TMPDIR TERMINFO TERMINFO_DIRS TERMCAP OPENSSL_CONF"
             " OPENSSL_MODULES SSL_CERT_FILE SSL_CERT_DIR CURL_HOME XDG_CONFIG_HOME NETRC LOCPATH"
             " NLSPATH GCONV_PATH HOSTALIASES PAGER TZDIR LD_LIBRARY_PATH_NOT GNUTLS_SYSTEM_PRIORITY_FILE"
             " P11_KIT_CONFIG LIBBPF_DEBUG").split()
    env = {name: hers for name in names}
    env.update(TZ=":" + hers + "/zone", LANG=hers, LC_ALL=hers, TERM=hers + "/x",
               SMTPGATE_STATE=STATE, SMTPGATE_BPFFS=BPFFS)
    trace = MNT + "/trace"
    strace = shutil.which("strace")
    for args in READING + (("doctor",), ("add", "192.0.2.77"), ("import", "-")):
        SITE.mail.run("env", "-i", *(f"{n}={v}" for n, v in env.items()), strace, "-f", "-qq", "-o",
                      trace, "-e", "trace=file,process", "-e", "signal=none", PROGRAM, *args,
                      stdin="192.0.2.78\n", ok=None)
        lines = SITE.mail.path(trace).read_text(encoding="utf-8", errors="replace").splitlines()
        assert len(lines) > 5, lines
        found = [line for line in lines[1:] if hers in line.replace(STATE, "")]
        assert not found, (args, found)
    assert not SITE.mail.path(hers + "/ran").exists()


@tap.test
def no_mount():
    """with the capabilities alone bpffs cannot be mounted; the hint says so"""
    with lab.Lab(bpffs=False) as bare:
        bare.link(bare.mail, "eth0", bare.host("client"), "eth0")
        shutil.copy(lab.PROGRAM, bare.mail.path(PROGRAM))
        Site.directory(bare, MNT + "/keeper", KEEPER, 0o700)
        done = Site.as_user(bare, KEEPER, "attach", "eth0", caps=CAPS, ok=4,
                            state=MNT + "/keeper", bpffs="/sys/fs/bpf/keeper")
        assert "mount" in done.err and "sudo" in done.err, done


if __name__ == "__main__":
    try:
        tap.main(setup)
    finally:
        if SITE is not None:
            SITE.__exit__()
