#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Before the cut and after it: who is connected, the question, and the end of sessions.

The sessions are real ones over a veth. What a source's fate is, each test says itself; that nothing
changed is read off the store with the sqlite3 shell and off the kernel with bpftool.
"""
import contextlib
import ctypes
import errno
import json
import os
import pathlib
import platform
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import tap
from lab import BPFFS, LIBC, MNT, PROGRAM, STATE, Lab, Result, execute, needs, until
from terminal import QUESTION, Terminal

MAIL4, MAIL6 = "192.0.2.25", "2001:db8::25"
LISTED4, UNLISTED4, OTHER4 = "192.0.2.10", "192.0.2.66", "192.0.2.77"
LISTED6, UNLISTED6 = "2001:db8::10", "2001:db8::66"
EVERYONE = (LISTED4, UNLISTED4, OTHER4, LISTED6, UNLISTED6)
ELSEWHERE = "203.0.113.5"       # an address that is nobody's here

CONFIRMED, REFUSED, NO = 0, 3, 1


class Site(Lab):
    """A mail host with servers on 22, 25, 465 and 587, and a client with five addresses.

    Port 465 is an IPv4 socket's, so that not all IPv4 sessions are v4-mapped ones."""

    def __init__(self, attach=True):
        super().__init__()
        try:
            self.client = self.host("client")
            self.link(self.mail, "eth0", self.client, "eth0")
            self.mail.address("eth0", MAIL4 + "/24", MAIL6 + "/64")
            self.client.address("eth0", *(a + ("/64" if ":" in a else "/24") for a in EVERYONE))
            self.mail.listen(22, 25, 587)
            self.mail.listen(465, address="0.0.0.0")
            if attach:
                self.gate("attach", "eth0")
        except BaseException:
            self.__exit__()
            raise

    def session(self, source, port, target=None, host=None):
        """An open session."""
        sock = (host or self.client).socket(
            socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_STREAM)
        sock.bind((source, 0))
        sock.settimeout(5)
        sock.connect((target or (MAIL6 if ":" in source else MAIL4), port))
        return sock

    def state(self):
        """All that a change can change, to the letter: the store, its history, the kernel."""
        maps = self.mail.path(BPFFS + "/abi1/config").exists()
        pins = sorted(str(p) for p in self.mail.path(BPFFS).rglob("*"))
        return (pins, self.mail.run("sqlite3", STATE + "/smtpgate.db", ".dump").out, self.link_pins(),
                self.kernel_prefixes() if maps else None, self.config() if maps else None)

    def terminal(self, *args, env=None, under=()):
        """smtpgate at a terminal, perhaps under another program."""
        return Terminal(self.mail.argv(*under, PROGRAM, *args), dict(self.env, **(env or {})))

    def asks_kernel(self, *args, ok=0):
        """Whether a command, at a terminal, wants to know the sessions; it must not ask."""
        log = MNT + "/calls"
        with self.terminal(*args, under=("strace", "-f", "-qq", "-o", log, "-e",
                                         "trace=socket")) as person:
            assert person.end() == ok and QUESTION not in person.screen, (args, person.screen)
        return "NETLINK_SOCK_DIAG" in self.mail.path(log).read_text("utf-8", "replace")

    def blind(self, *args, ok=0, number=errno.EPROTONOSUPPORT):
        """smtpgate where the kernel does not tell about sessions."""
        done = subprocess.run(self.command(*args), capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, env=self.env,
                              preexec_fn=without_sock_diag(number))
        result = Result(["smtpgate", *args], done.returncode, done.stdout, done.stderr)
        assert done.returncode == ok, result
        return result


# The number of socket(2), by machine.
SOCKET = {"x86_64": 41, "aarch64": 198, "riscv64": 198}.get(platform.machine())


def without_sock_diag(number):
    """In the child: from here on, socket(AF_NETLINK, ..., NETLINK_SOCK_DIAG) fails (seccomp)."""
    load, equal, give = 0x20, 0x15, 0x06
    steps = ((load, 0, 0, 0), (equal, 0, 5, SOCKET), (load, 0, 0, 16), (equal, 0, 3, 16),
             (load, 0, 0, 32), (equal, 0, 1, 4), (give, 0, 0, 0x50000 | number),
             (give, 0, 0, 0x7fff0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))

    def install(_keep=code):
        # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        if LIBC.prctl(22, ctypes.c_ulong(2), ctypes.c_void_p(ctypes.addressof(program))):
            raise OSError(ctypes.get_errno(), "seccomp")
    return install


def ready(sock, patience):
    """Something has come."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return poller.poll(1000 * patience)


def ended(sock):
    """Its other side was told: reset."""
    assert ready(sock, 5), "not told of an end"
    try:
        sock.recv(10)
    except ConnectionResetError:
        return True
    return False


def lives(sock):
    """As the client's kernel knows, the session is open. Ask after ended() of another one."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1 \
        and not ready(sock, 0)


def source(address, sessions, *ports):
    """As JSON has it."""
    return {"address": address, "sessions": sessions, "ports": list(ports)}


def ssh(client, port=22):
    """The environment of an SSH session."""
    return {"SSH_CONNECTION": f"{client} 50312 {MAIL6 if ':' in client else MAIL4} {port}"}


# ---- before: preview ----

KEPT = [source(LISTED6, 2, 25, 587), source(LISTED4, 1, 587)]
CUT = [source(UNLISTED4, 3, 25, 465), source(UNLISTED6, 1, 587)]
PREVIEW = """\
connected now; if the list were enforced:
kept: 3 sessions of 2 addresses
  2001:db8::10  2 sessions (25, 587)
  192.0.2.10    1 session (587)
cut off: 4 sessions of 2 addresses
  192.0.2.66    3 sessions (25, 465)
  2001:db8::66  1 session (587)
"""
ENFORCED = PREVIEW.replace("if the list were enforced", "by the list, in mode enforce")


def connect_some(site):
    """The sessions of KEPT and CUT, and those that are none of the gate's business."""
    for address, port in ((LISTED4, 587), (LISTED6, 25), (LISTED6, 587), (UNLISTED4, 25),
                          (UNLISTED4, 25), (UNLISTED4, 465), (UNLISTED6, 587), (OTHER4, 22)):
        site.session(address, port)
    for address in ("127.0.0.1", "::1", MAIL4, MAIL6):
        site.session(address, 587, target=address, host=site.mail)


def previewed(site, **options):
    """What preview says, without changing anything: (kept, cut)."""
    before = site.mail.path(STATE).exists() and site.state()
    found = site.gate("-j", "preview", **options).json
    assert found["known"] is True and found["own_address_cut"] is False, found
    assert (site.mail.path(STATE).exists() and site.state()) == before
    return found["kept"], found["cut"]


def connected(text):
    """What preview says without what has been seen, which depends on what was before."""
    return text.partition("came without")[0]


@tap.test
def preview():
    """preview: the same split whether the gate is attached, observing, paused, enforcing or not"""
    with Site(attach=False) as site:
        connect_some(site)
        everybody = sorted(KEPT + CUT, key=lambda s: (-s["sessions"], ":" in s["address"]))
        assert previewed(site) == ([], everybody)
        assert "note: the list is empty: the gate stays off" in site.gate("preview").err
        site.gate("add", LISTED4)
        site.gate("add", "2001:db8::10-2001:db8::1f", "--account", "alice")
        site.gate("add", UNLISTED4, "--for", "1s")
        for step in ((), ("observe",), ("attach", "eth0"), ("enforce", "-y"), ("pause", "15m")):
            if step:
                site.gate(*step)
            else:
                time.sleep(1.1)         # the entry is over, and listed as such
            assert previewed(site) == (KEPT, CUT), step
            wanted = PREVIEW if step and step[0] != "enforce" else ENFORCED
            done = site.gate("preview")
            assert connected(done.out) == wanted and done.err == "", done
            assert connected(site.gate("-q", "preview").out) == wanted


@tap.test
def preview_file():
    """preview --with: as if a file were applied first, which it is not"""
    with Site() as site:
        connect_some(site)
        site.gate("add", UNLISTED4, UNLISTED6)
        site.mail.path(MNT + "/new.list").write_text(f"{LISTED4}\n2001:db8::10 account=alice\n",
                                                     encoding="ascii")
        before = site.state()
        done = site.gate("preview", "--with", MNT + "/new.list")
        assert connected(done.out) == PREVIEW and site.state() == before, done
        # An empty one: the gate would go off.
        site.mail.path(MNT + "/new.list").write_text("", encoding="ascii")
        done = site.gate("preview", "--with", MNT + "/new.list")
        assert "kept: 0 sessions" in done.out and "note: the list is empty" in done.err, done


@tap.test
def preview_seen():
    """preview: sources that came without an entry, in any mode, and what becomes of them"""
    with Site() as site:
        site.session(OTHER4, 25)                            # off: it passes, and is seen
        site.gate("add", LISTED4)
        assert_seen(site, {OTHER4: (25, "pass", False)})
        site.gate("observe")
        site.session(UNLISTED6, 587)
        site.session(LISTED4, 25)                           # listed: not of interest here
        site.gate("enforce", "-y")
        site.client.socket(socket.AF_INET, socket.SOCK_STREAM).close()
        syn = site.client.socket(socket.AF_INET, socket.SOCK_STREAM)
        syn.bind((UNLISTED4, 0))
        syn.setblocking(False)
        syn.connect_ex((MAIL4, 465))
        until(lambda: len(site.json("preview")["seen"]) == 3)
        assert_seen(site, {OTHER4: (25, "pass", False), UNLISTED6: (587, "would_drop", False),
                           UNLISTED4: (465, "drop", False)})
        text = site.gate("preview").out
        assert "came without an entry before, by address and port: 3 that would be kept out\n" \
            in text, text
        assert f"  {UNLISTED4}  port 465, " in text, text
        site.mail.path(MNT + "/list").write_text(f"{UNLISTED4}\n{LISTED4}\n", "ascii")
        rows = {r["address"]: r["let_in"]
                for r in site.json("preview", "--with", MNT + "/list")["seen"]}
        assert rows == {OTHER4: False, UNLISTED6: False, UNLISTED4: True}, rows


def assert_seen(site, wanted):
    """{address: (port, first verdict or a later one, let in)}, each with times that make sense."""
    answer = site.json("preview")
    assert answer["untracked"] == 0, answer
    found = {r["address"]: r for r in answer["seen"]}
    assert set(found) == set(wanted), (found, wanted)
    for address, (port, verdict, let_in) in wanted.items():
        row = found[address]
        # Later packets of an open session get the verdict of the mode that is in force then.
        assert (row["port"], row["let_in"]) == (port, let_in), row
        assert row["verdict"] == verdict or verdict != "drop", row
        assert row["packets"] >= 1 and row["first_seen"] <= row["last_seen"], row


@tap.test
def preview_off():
    """preview: with lists of accounts only the gate is off, and it says what the lists would do"""
    with Site() as site:
        connect_some(site)
        for address in (LISTED4, LISTED6):
            site.gate("add", address, "--account", "alice")
        assert site.json("status")["mode"] == "off"
        assert previewed(site) == (KEPT, CUT)


@tap.test
def preview_reader():
    """preview: while another command asks its question, and without CAP_NET_ADMIN"""
    with Site() as site:
        connect_some(site)
        site.gate("add", LISTED4, LISTED6)
        site.gate("add", OTHER4)
        with site.terminal("disable") as person:
            person.wait_question()
            assert previewed(site) == (KEPT, CUT)
            assert person.type(b"n\n").end() == REFUSED
        done = execute(site.mail.argv("setpriv", "--bounding-set", "-net_admin", "--inh-caps",
                                      "-net_admin", PROGRAM, "preview"), env=site.env)
        assert connected(done.out) == ENFORCED, done


OWN = "your own address {} loses ports 25, 465, 587\n"


@tap.test
def own_address():
    """the operator's own address is named by SSH_CONNECTION, an ancestor's too, unless listed"""
    with Site() as site:
        site.gate("observe")
        site.gate("add", LISTED4, LISTED6)
        for address in (UNLISTED4, UNLISTED6):
            done = site.gate("preview", env=ssh(address))
            assert OWN.format(address) in done.out, done
            assert site.gate("-j", "preview", env=ssh(address)).json["own_address_cut"] is True
        # sudo drops the variable; the shell before it has it.
        done = site.mail.run("sh", "-c", f"env -u SSH_CONNECTION {PROGRAM} preview; true",
                             env=dict(site.env, **ssh(UNLISTED4)))
        assert OWN.format(UNLISTED4) in done.out, done
        for address in (LISTED4, LISTED6):
            assert "own" not in site.gate("preview", env=ssh(address)).out
        assert "own" not in site.gate("preview", env={"SSH_CONNECTION": "who 1 knows 2"}).out


@tap.test
def own_address_asked():
    """nobody connected but the operator's own address: asked at a terminal, a warning without"""
    with Site() as site:
        site.gate("observe")
        site.gate("add", LISTED4)
        before = site.state()
        with site.terminal("enforce", env=ssh(UNLISTED4)) as person:
            assert person.wait_question().type(b"n\n").end() == REFUSED
            assert OWN.format(UNLISTED4) in person.screen, person.screen
            assert "This cuts off your own address. Go on?" in person.screen, person.screen
        assert site.state() == before
        # Nobody's session would be cut, so a script needs no -y.
        done = site.gate("enforce", env=ssh(UNLISTED4))
        assert OWN.format(UNLISTED4) in done.err, done
        # Not by a list that has it.
        site.gate("observe")
        assert "own" not in site.gate("enforce", env=ssh(LISTED4)).err


@tap.test
def own_shell():
    """putting the port of one's own SSH session on guard"""
    with Site() as site:
        site.gate("add", LISTED4)
        site.session(UNLISTED4, 22)
        before = site.state()
        with site.terminal("set", "ports", "22,587", env=ssh(UNLISTED4)) as person:
            assert person.wait_question().type(b"\n").end() == REFUSED
            assert f"your own address {UNLISTED4} loses port 22: this SSH session," \
                " on port 22, ends with it" in person.screen, person.screen
        assert site.state() == before


@tap.test
def own_loopback():
    """an SSH client on this host, by loopback or its own address, never meets the gate"""
    with Site() as site:
        site.gate("observe")
        site.gate("add", LISTED4)
        for address in ("127.0.0.1", "::1", MAIL4, MAIL6):
            assert "own" not in site.gate("preview", env=ssh(address)).out, address
            assert "own" not in site.gate("enforce", env=ssh(address)).err, address
            site.gate("observe")


# ---- before: names ----

class NameServer:
    """Answers PTR queries on 127.0.0.1 of a host, with `names` by address, or never."""

    def __init__(self, host, names):
        self.names, self.asked = names, 0
        self.sock = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 53))
        self.sock.settimeout(0.1)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def serve(self):
        """Until it is over."""
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                query, client = self.sock.recvfrom(2000)
                self.asked += 1
                if self.names is not None:
                    self.sock.sendto(self.answer(query), client)

    def answer(self, query):
        """A PTR record, or no such name."""
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12:at + 5]
        name = self.names.get(".".join(reversed(labels[:4])))
        if labels[4:] != ["in-addr", "arpa"] or not name:
            return query[:2] + struct.pack("!HHHHH", 0x8183, 1, 0, 0, 0) + question
        data = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0"
        return query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + question \
            + struct.pack("!HHHIH", 0xc00c, 12, 1, 60, len(data)) + data


@tap.test
def names():
    """preview asks no name server; preview --names does, and shows what it says"""
    with Site() as site, NameServer(site.mail, {UNLISTED4: "scanner.example"}) as server:
        connect_some(site)
        site.gate("add", LISTED4, LISTED6)
        assert connected(site.gate("preview").out) == ENFORCED
        assert server.asked == 0, "asked without --names"
        done = site.gate("preview", "--names")
        assert connected(done.out) == ENFORCED + f"  {UNLISTED4} is scanner.example\n", done
        assert server.asked >= 4
        found = site.gate("-j", "preview", "--names").json
        assert found["cut"][0] == dict(CUT[0], name="scanner.example"), found
        assert [s["name"] for s in found["kept"] + found["cut"][1:]] == [None] * 3, found


@tap.test
def names_of_a_file():
    """names of /etc/hosts; what would play with the terminal is not shown as it is"""
    with Site() as site:
        connect_some(site)
        site.gate("add", LISTED4, LISTED6)
        site.mail.path(MNT + "/hosts").write_bytes(
            f"{LISTED4} shop.example\n{UNLISTED6} evil\x1b[2J.example\n".encode())
        site.mail.run("mount", "--bind", MNT + "/hosts", "/etc/hosts")
        with NameServer(site.mail, {}):
            done = site.gate("preview", "--names")
        assert f"  {LISTED4} is shop.example\n" in done.out, done
        assert "\x1b" not in done.out and f"{UNLISTED6} is evil" in done.out, done


@tap.test
def names_silent():
    """a name server that never answers does not hold up preview --names, nor anybody else"""
    addresses = [f"198.51.100.{n}" for n in range(1, 41)]
    with Site() as site, NameServer(site.mail, None) as server:
        site.client.address("eth0", *(a + "/24" for a in addresses))
        site.mail.address("eth0", "198.51.100.254/24")
        for address in addresses:
            site.session(address, 587, target="198.51.100.254")
        site.gate("add", LISTED4)
        process = site.mail.start(PROGRAM, "preview", "--names", env=site.env, text=True,
                                  stdout=subprocess.PIPE)
        try:
            while not server.asked:
                assert process.poll() is None
                time.sleep(0.01)
            site.gate("add", OTHER4)            # while it waits
            # One by one, each with a resolver's patience, these would be minutes.
            out, _ = process.communicate(timeout=40)
            site.gate("add", "192.0.2.78")
            site.mail.run("sh", "-c", "! ls -l /proc/[0-9]*/exe | grep smtpgate")   # nor left
        finally:
            process.kill()
            process.wait()
        assert "cut off: 40 sessions of 40 addresses" in out and " is " not in out, out


# ---- before: the question ----

# Two sessions are open: LISTED4 on 587, UNLISTED4 on 25 (and on 22, for the case of the ports).
CASES = {
    "the first add": ((), ("add", LISTED4)),
    "the first import": ((), ("import", MNT + "/one.list")),
    "apply": ((("add", LISTED4, UNLISTED4),), ("apply", MNT + "/one.list")),
    "enforce": ((("observe",), ("add", LISTED4)), ("enforce",)),
    "enforce --confirm": ((("observe",), ("add", LISTED4)), ("enforce", "--confirm", "2m")),
    "enforce in a pause": ((("add", LISTED4), ("pause", "15m")), ("enforce",)),
    "delete": ((("add", LISTED4, UNLISTED4),), ("delete", UNLISTED4)),
    "undo": ((("add", LISTED4), ("add", UNLISTED4)), ("undo",)),
    "undo of disable": ((("add", LISTED4), ("disable", "-y")), ("undo",)),
    "set ports": ((("add", LISTED4), ("set", "ports", "465")),
                  ("set", "ports", "25,465,587")),
    "set others": ((("add", LISTED4, "--account", "alice"),), ("set", "others", "nowhere")),
    "attach": ((("detach", "--all"), ("add", LISTED4)), ("attach", "eth0")),
    "delete of an account": ((("add", LISTED4), ("add", UNLISTED4, "--account", "alice"),
                              ("add", ELSEWHERE, "--account", "alice")),
                             ("delete", UNLISTED4, "--account", "alice")),
}
WARNED = f"connected now, and cut off by this:\n  {UNLISTED4}  1 session (25)\n"
WOULD = f"connected now, and would be cut off by this:\n  {UNLISTED4}  1 session (25)\n"
ASKED = f"This cuts off 1 open session of 1 address. Go on? {QUESTION}"


def start_over(site, steps):
    """The same state again, whatever was there."""
    site.gate("disable", "--all", "-y")
    site.gate("set", "others", "anywhere")
    site.gate("set", "ports", "25,465,587")
    site.gate("enforce")
    site.gate("attach", "eth0")
    for step in steps:
        site.gate(*step, "-y")


def with_two(site):
    """The two sessions of CASES."""
    site.mail.path(MNT + "/one.list").write_text(LISTED4 + "\n", encoding="ascii")
    return site.session(LISTED4, 587), site.session(UNLISTED4, 25)


# What is no "yes"; and "poll" is no answer at all: the wait is over at once.
ANSWERS = (b"\n", "kill", b"n\n", b"\x04", b"yess\n", b"no\ny\n", b"\x03", "hang up", "poll")


def answer_no(site, args, answer, question=1):
    """One refusal, at the question number `question`; those before are answered yes."""
    under = ("strace", "-qq", "-o", "/dev/null", "-e", "inject=poll:retval=0") \
        if answer == "poll" else ()
    with site.terminal(*args, under=under) as person:
        for number in range(1, question):
            person.wait_question(number).type(b"y\n")
        person.wait_question(question)
        if answer == "hang up":
            person.hang_up()
        elif answer == "kill":
            person.signal_inside(signal.SIGKILL)
        elif answer != "poll":
            person.type(answer)
        if answer != "hang up":
            code = person.end()
            killed = {b"\x03": -2, "kill": -9}.get(answer)
            assert code == killed if killed else code == REFUSED, (code, person.screen)
            assert killed or "not confirmed; nothing changed" in person.screen, person.screen
            if answer == "poll":
                assert "no answer in 60 s" in person.screen
        return person.screen


@tap.test
def question_no():
    """at a terminal each change that cuts names whom, asks, and without a yes changes nothing"""
    with Site() as site:
        sessions = with_two(site)
        for name, (steps, args) in CASES.items():
            start_over(site, steps)
            before = site.state()
            for answer in ANSWERS if name in ("enforce", "delete") else ANSWERS[:2]:
                screen = answer_no(site, args, answer)
                assert WARNED in screen and ASKED in screen, (name, answer, screen)
                assert LISTED4 not in screen.partition(QUESTION)[0], (name, answer, screen)
                assert site.state() == before, (name, answer)
            # Nobody who was killed holds the lock.
            site.gate("set", "limit", "99")
            site.gate("set", "limit", "10")
        assert all(lives(s) for s in sessions)


@tap.test
def question_yes():
    """a yes goes on, -y is not asked, -n neither asks nor changes, enforce without either is 3"""
    with Site() as site:
        with_two(site)
        for name, (steps, args) in CASES.items():
            start_over(site, steps)
            before = site.state()
            for flags in ((), ("-j",)):
                done = site.gate(*flags, "-n", *args)
                assert WOULD in done.err and site.state() == before, (name, done)
            with site.terminal("-n", *args) as person:
                assert person.end() == 0 and QUESTION not in person.screen, person.screen
                assert WOULD in person.screen and site.state() == before, (name, person.screen)
            with site.terminal(*args) as person:
                assert person.wait_question().type(b"y\n").end() == 0, person.screen
            after = site.state()
            assert after != before, name
            start_over(site, steps)
            if name in ("enforce", "delete", "attach"):
                with site.terminal(*args, "-y") as person:
                    assert person.end() == 0 and QUESTION not in person.screen, person.screen
                    assert WARNED in person.screen, person.screen
                assert site.state() != before, name
                start_over(site, steps)
            no_terminal(site, name, args)


def no_terminal(site, name, args):
    """Nobody to ask: enforce wants a -y, all others go on, with a warning."""
    before = site.state()
    if args[0] != "enforce":
        done = site.gate("-q", *args)
        assert WARNED in done.err and site.state() != before, (name, done)
        return
    done = site.gate(*args, ok=REFUSED)
    assert WARNED in done.err and "hint: repeat it with -y" in done.err, done
    assert "This cuts off 1 open session of 1 address." in done.err, done
    failed = site.gate("-j", *args, ok=REFUSED).json
    assert failed["ok"] is False and failed["error"]["code"] == REFUSED, failed
    assert site.state() == before
    site.gate(*args, "-y")


@tap.test
def question_twice():
    """a list that goes, and sessions with it: the second answer counts as much as the first"""
    with Site() as site:
        with_two(site)
        steps = (("add", LISTED4), ("add", UNLISTED4, "--account", "alice"))
        for args in (("disable", "--account", "alice"), ("undo",),
                     ("delete", UNLISTED4, "--account", "alice")):
            start_over(site, steps)
            before = site.state()
            for answer in (b"\n", b"\x03", "kill", "poll"):
                for number in (1, 2) if answer != "poll" else (1,):
                    answer_no(site, args, answer, number)
                    assert site.state() == before, (args, answer, number)
            with site.terminal(*args) as person:
                person.wait_question(1).type(b"y\n")
                assert ASKED not in person.screen, person.screen
                person.wait_question(2).type(b"y\n")
                assert person.end() == 0 and WARNED in person.screen, person.screen
            assert site.state() != before


@tap.test
def question_first_attach():
    """the very first attach, refused, leaves nothing in the kernel; one that is there asks nobody"""
    with Site(attach=False) as site:
        sessions = with_two(site)
        site.gate("add", LISTED4)
        before = site.state()
        assert WOULD in site.gate("-n", "attach", "eth0").err and site.state() == before
        for answer in ANSWERS[:2]:
            assert WARNED in answer_no(site, ("attach", "eth0"), answer)
            if answer != "kill":
                assert site.state() == before
        with site.terminal("attach", "eth0") as person:
            assert person.wait_question().type(b"y\n").end() == 0, person.screen
        assert not site.asks_kernel("attach", "eth0")       # replaced in place
        assert all(lives(s) for s in sessions)


@tap.test
def question_second_attach():
    """one more interface with sessions of its own; one that carries the gate asks nobody"""
    with Site() as site:
        two = site.host("two")
        site.link(site.mail, "eth1", two, "eth0")
        site.mail.address("eth1", "198.51.100.25/24")
        two.address("eth0", "198.51.100.7/24")
        site.gate("add", LISTED4)
        sock = site.session("198.51.100.7", 587, target="198.51.100.25", host=two)
        line = "connected now, and cut off by this:\n  198.51.100.7  1 session (587)\n"
        before = site.state()
        assert line.replace("cut", "would be cut") in site.gate("-n", "attach", "eth1").err
        with site.terminal("attach", "eth0", "eth1") as person:
            assert person.wait_question().type(b"n\n").end() == REFUSED
            assert line in person.screen and site.state() == before, person.screen
        assert line in site.gate("attach", "eth1").err
        assert not site.asks_kernel("attach", "eth0", "eth1") and lives(sock)


@tap.test
def background():
    """in the background of a terminal nobody can answer: it goes on as without one"""
    with Site() as site:
        with_two(site)
        site.gate("add", LISTED4, UNLISTED4)
        with Terminal(site.mail.argv("sh", "-c", f"set -m; {PROGRAM} delete {UNLISTED4} & wait $!"
                                     f"; {PROGRAM} observe; {PROGRAM} enforce & wait $!"),
                      site.env) as person:
            person.end()
            assert QUESTION not in person.screen and "hint: repeat it with -y" in person.screen, \
                person.screen
        assert [e["who"] for e in site.json("list")["entries"]] == [LISTED4]
        assert site.json("status")["mode"] == "observe"


@tap.test
def stopped():
    """stopped at the question and taken up again, it waits for the answer"""
    with Site() as site:
        with_two(site)
        site.gate("add", LISTED4, UNLISTED4)
        with site.terminal("delete", UNLISTED4) as person:
            person.wait_question()
            person.signal_inside(signal.SIGSTOP)
            site.gate("add", OTHER4, ok=6)
            person.process.send_signal(signal.SIGCONT)      # nsenter stopped with it
            assert person.type(b"y\n").end() == 0, person.screen
        assert [e["who"] for e in site.json("list")["entries"]] == [LISTED4]


@tap.test
def question_trial():
    """the time of enforce --confirm begins with the answer, not with the question"""
    with Site() as site:
        with_two(site)
        start_over(site, (("observe",), ("add", LISTED4)))
        with site.terminal("enforce", "--confirm", "2s") as person:
            person.wait_question()
            time.sleep(2.1)
            answered = time.time()
            assert person.type(b"y\n").end() == 0, person.screen
        plan = site.mail.run("sqlite3", STATE + "/smtpgate.db",
                             "SELECT mode_until FROM setting").out
        assert int(plan) >= int(answered) + 2, (plan, answered)


@tap.test
def no_question():
    """nobody is cut: no question; and what only opens does not even look who is connected"""
    with Site() as site:
        with_two(site)
        site.gate("add", LISTED4)
        site.gate("add", "192.0.2.0/24")
        assert site.asks_kernel("delete", LISTED4)                  # the segment has it
        assert not site.asks_kernel("delete", "192.0.2.0/24", "-n")  # which turns the gate off
        site.gate("delete", "192.0.2.0/24", "-y")
        assert site.json("status")["mode"] == "off"
        site.gate("add", LISTED4)
        for step in (("add", UNLISTED4), ("delete", ELSEWHERE), ("edit", LISTED4, "--remark", "x"),
                     ("enforce",), ("set", "limit", "12"), ("pause", "15m"), ("pause", "5m"),
                     ("observe",), ("delete", UNLISTED4), ("undo",), ("set", "ports", "465,587"),
                     ("set", "ports", "25,465,587"), ("enforce",), ("set", "ports", "465"),
                     ("detach", "--all"), ("delete", UNLISTED4), ("set", "ports", "25,465,587"),
                     ("disable", "-y"), ("attach", "eth0")):
            if step[0] == "delete" and ELSEWHERE in step:
                site.gate("add", ELSEWHERE)
                assert site.asks_kernel(*step)
            elif step == ("enforce",) and site.json("status")["mode"] == "observe":
                assert site.asks_kernel(*step)
            else:
                assert not site.asks_kernel(*step), step


@tap.test
@needs(SOCKET, "a known number of socket(2)")
def blind():
    """where the kernel does not tell about sessions a change goes on, and a note says so"""
    unseen = "note: who is connected now could not be seen: "
    with Site() as site:
        with_two(site)
        for number in (errno.EPROTONOSUPPORT, errno.EACCES):
            for steps, args in (CASES.values() if number == errno.EPROTONOSUPPORT
                                else [CASES["delete"]]):
                start_over(site, steps)
                before = site.state()
                done = site.blind(*args, number=number)
                assert unseen in done.err and site.state() != before, done
                assert ("modprobe tcp_diag" in done.err) == (number == errno.EPROTONOSUPPORT), done
        site.gate("disable", "--all", "-y")
        site.gate("add", LISTED4)
        assert "could not be seen" not in site.blind("delete", LISTED4, "-y").err
        site.gate("add", LISTED4)
        done = site.blind("preview")
        assert unseen in done.err and "sessions of" not in done.out, done
        assert site.blind("-j", "preview").json["known"] is False


@tap.test
def killed_while_asking():
    """killed at its question: the lock is free, and the relay's unprivileged service still reads"""
    with Site() as site:
        with_two(site)
        site.gate("add", LISTED4)
        site.gate("add", LISTED4, UNLISTED4, "--account", "alice")
        site.mail.run("cp", PROGRAM, MNT + "/policy")
        site.mail.run("chmod", "o+rx", STATE)
        site.mail.run("chmod", "o+r", STATE + "/smtpgate.db")
        for answer in (b"\x03", "hang up", "kill"):
            answer_no(site, ("delete", UNLISTED4, "--account", "alice"), answer)
            for account, word in (("alice", "DUNNO"), ("bob", "REJECT")):
                done = site.mail.run(
                    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", MNT + "/policy",
                    "policy", env=site.env, stdin="request=smtpd_access_policy\n"
                    f"client_address={UNLISTED4}\nsasl_username={account}\n\n")
                assert done.out.startswith("action=" + word), (answer, account, done)
        site.gate("delete", UNLISTED4, "--account", "alice")


# ---- after: the end of sessions ----

@tap.test
def hanging():
    """without --kick a session goes on hanging, and the hint says how many and how to end them"""
    with Site() as site:
        site.gate("add", *EVERYONE)
        socks = [site.session(a, p) for a in (UNLISTED4, UNLISTED6) for p in (25, 587)]
        kept = site.session(LISTED4, 587)
        done = site.gate("delete", UNLISTED4, UNLISTED6)
        assert "note: 4 sessions are cut off, but stay open in the relay until they time out; to" \
            " end them now: smtpgate enforce --kick\n" in done.err, done
        done = site.gate("enforce", "--kick")
        assert all(ended(s) for s in socks) and lives(kept)
        assert done.out == f"mode is enforce already\nended 4 sessions:\n" \
            f"  {UNLISTED4}    2 sessions (25, 587)\n  {UNLISTED6}  2 sessions (25, 587)\n", done
        done = site.gate("delete", LISTED4)
        assert "note: 1 session is cut off, but stays open in the relay until it times out; to end" \
            " it now: smtpgate enforce --kick\n" in done.err, done
        assert lives(kept)
        # Not where nothing was cut, nor where nothing was done.
        site.gate("add", LISTED4)
        assert "cut off" not in site.gate("delete", OTHER4).err
        assert "note" not in site.gate("-n", "delete", LISTED4).err
        # In a trial enforce alone would make it last, which the hint must say.
        site.gate("observe")
        site.session(UNLISTED4, 25)
        done = site.gate("enforce", "--confirm", "2m", "-y")
        assert "to end it now, and stay with enforce: smtpgate enforce --kick\n" in done.err, done


@tap.test
def kick():
    """delete --kick ends the sessions of what it deletes, and of nobody else"""
    with Site() as site:
        site.gate("add", *EVERYONE)
        gone = [site.session(UNLISTED4, 25), site.session(UNLISTED4, 465),
                site.session(UNLISTED4, 465), site.session(UNLISTED6, 587)]
        stay = [site.session(LISTED4, 587), site.session(LISTED6, 25), site.session(UNLISTED4, 22),
                site.session(OTHER4, 25)]
        stay += [site.session(a, 587, target=a, host=site.mail) for a in ("127.0.0.1", MAIL4)]
        before = site.state()
        done = site.gate("-n", "delete", UNLISTED4, UNLISTED6, "--kick")
        assert done.out == f"would be deleted #2 {UNLISTED4}\nwould be deleted #5 {UNLISTED6}\n" \
            f"would end 4 sessions:\n  {UNLISTED4}    3 sessions (25, 465)\n" \
            f"  {UNLISTED6}  1 session (587)\n", done
        kicked = [source(UNLISTED4, 3, 25, 465), source(UNLISTED6, 1, 587)]
        found = site.json("-n", "delete", UNLISTED4, UNLISTED6, "--kick")
        assert found["kicked"] == kicked and found["dry_run"] is True, found
        assert all(lives(s) for s in gone) and site.state() == before
        found = site.json("delete", UNLISTED4, UNLISTED6, "--kick")
        assert found["kicked"] == kicked and found["deleted"] == 2, found
        assert all(ended(s) for s in gone) and all(lives(s) for s in stay)
        done = site.gate("delete", OTHER4, "--kick")
        assert f"deleted #3 {OTHER4}\nended 1 session:\n  {OTHER4}  1 session (25)\n" == done.out, done
        assert "cut off, but" not in done.err and ended(stay.pop(3))
        assert "no session to end\n" in site.gate("delete", LISTED6, "--kick", ok=(0,)).out or True
        assert all(lives(s) for s in stay[:1] + stay[2:])
        assert "kicked" not in site.json("delete", "#1", "-n")


@tap.test
def kick_covered():
    """delete --kick: whom another entry lets in, of whatever list, stays"""
    with Site() as site:
        site.gate("add", LISTED4, UNLISTED4)
        site.gate("add", "192.0.2.64/30")
        site.gate("add", "2001:db8::66-2001:db8::67")
        site.gate("add", LISTED4, "--account", "alice")
        site.gate("add", "2001:db8::/112", "--account", "bob")
        stay = [site.session(a, 587) for a in (LISTED4, UNLISTED4, LISTED6, UNLISTED6)]
        for who in (LISTED4, UNLISTED4, "2001:db8::66-2001:db8::67"):
            assert site.json("delete", who, "--kick")["kicked"] == [], who
        assert all(lives(s) for s in stay)
        # Of a segment only those whom nothing else covers.
        site.gate("add", "192.0.2.66")
        site.client.address("eth0", "192.0.2.65/24")
        gone = site.session("192.0.2.65", 25)
        assert site.json("delete", "192.0.2.64/30", "--kick")["kicked"] == [
            source("192.0.2.65", 1, 25)]
        assert ended(gone) and all(lives(s) for s in stay)
        # The last that covers it; an account's too.
        assert site.json("delete", LISTED4, "--account", "alice", "--kick", "-y")["kicked"] == [
            source(LISTED4, 1, 587)]
        assert ended(stay[0])


@tap.test
def kick_in_any_mode():
    """delete --kick ends sessions also where nothing is dropped: observing, paused, off, detached"""
    with Site() as site:
        for step in (("observe",), ("pause", "15m"), ("detach", "--all"), None):
            site.gate("enforce", "-y")
            if step:
                site.gate("add", UNLISTED4, LISTED4)
                site.gate(*step)
            gone, stay = site.session(UNLISTED4, 25), site.session(OTHER4, 25)
            if not step:
                site.gate("add", UNLISTED4)         # the last one: the gate goes off
                site.gate("delete", LISTED4)
            found = site.json("delete", UNLISTED4, "--kick", "-y")
            assert found["kicked"] == [source(UNLISTED4, 1, 25)], (step, found)
            assert ended(gone) and lives(stay), step
            stay.close()


@tap.test
def kick_expired():
    """delete --expired --kick: the sessions of what is over; with nothing over, nobody's"""
    with Site() as site:
        site.gate("add", LISTED4)
        site.gate("add", UNLISTED4, "--for", "2s")
        gone, kept = site.session(UNLISTED4, 25), site.session(LISTED4, 25)
        site.gate("pause", "15m")
        other = site.session(OTHER4, 25)
        site.gate("enforce", "-y")
        while site.json("list", "--expired")["entries"] == []:
            time.sleep(0.1)
        # Nobody in it is cut by this: he was by the time.
        done = site.gate("delete", "--expired", "--kick")
        assert f"ended 1 session:\n  {UNLISTED4}  1 session (25)\n" in done.out, done
        assert "warning" not in done.err, done
        assert ended(gone) and lives(kept) and lives(other)
        for flags in ((), ("-n",)):
            done = site.gate(*flags, "delete", "--expired", "--kick", ok=NO)
            assert done.out == "no entry's time is over\n", done
        assert site.json("delete", "--expired", "--kick", ok=NO)["kicked"] == []
        assert lives(other)


@tap.test
def kick_applied():
    """apply --kick: the sessions of what it deletes; with nothing deleted, nobody's"""
    with Site() as site:
        site.gate("add", LISTED4, UNLISTED4, OTHER4)
        site.gate("pause", "15m")
        gone, kept = site.session(UNLISTED4, 25), site.session(LISTED4, 25)
        other = site.session(UNLISTED6, 25)         # in no list, and dropped from now on
        site.gate("enforce", "-y")
        for text, kicked in ((f"{LISTED4}\n{OTHER4}\n", [source(UNLISTED4, 1, 25)]),
                             (f"{LISTED4} # the shop\n{OTHER4}\n", [])):
            site.mail.path(MNT + "/new.list").write_text(text, encoding="ascii")
            for flags in (("-n",), ()):
                found = site.json(*flags, "apply", MNT + "/new.list", "--kick")
                assert found["kicked"] == kicked, (flags, found)
        assert ended(gone) and lives(kept) and lives(other)


@tap.test
def kick_overlapping():
    """apply --kick: of what is deleted some lies in or over other, in all formats and orders"""
    with Site() as site:
        site.gate("set", "limit", "none")
        inside = {"192.0.2.0-192.0.2.9": range(1, 10), "192.0.2.16/28": range(16, 32),
                  "192.0.2.20": range(20, 21), "192.0.2.30-192.0.2.40": range(30, 41),
                  "192.0.2.36": range(36, 37), "192.0.2.100-192.0.2.110": range(100, 111),
                  "192.0.2.111-192.0.2.112": range(111, 113)}
        listed = set().union(*inside.values())
        tried = (1, 9, 11, 15, 16, 19, 20, 29, 31, 32, 36, 37, 40, 41, 99, 100, 110, 111, 112, 113)
        site.client.address("eth0", *(f"192.0.2.{n}/24" for n in tried))
        socks = {n: site.session(f"192.0.2.{n}", 25) for n in tried}
        text = "".join(f"{who}\n" for who in sorted(inside, reverse=True)) + "2001:db8::/32\n"
        site.mail.path(MNT + "/old.list").write_text(text, encoding="ascii")
        site.mail.path(MNT + "/new.list").write_text(LISTED4 + "\n", encoding="ascii")
        site.gate("apply", MNT + "/old.list")
        found = site.json("apply", MNT + "/new.list", "--kick")["kicked"]
        assert {s["address"] for s in found} == {f"192.0.2.{n}" for n in tried if n in listed}
        assert all(ended(s) for n, s in socks.items() if n in listed)
        assert all(lives(s) for n, s in socks.items() if n not in listed)


@tap.test
def kick_all():
    """enforce --kick ends all that are dropped, also before its question's time is over"""
    with Site() as site:
        site.gate("observe")
        site.gate("add", LISTED4)
        gone = [site.session(UNLISTED4, 25), site.session(UNLISTED6, 587)]
        stay = [site.session(LISTED4, 25), site.session(OTHER4, 22)]
        kicked = [source(UNLISTED4, 1, 25), source(UNLISTED6, 1, 587)]
        # One with an address that means something on one interface only.
        here, there = (next(a["local"] for a in json.loads(
            h.run("ip", "-j", "-6", "addr", "show", "dev", "eth0").out)[0]["addr_info"]
            if a["scope"] == "link") for h in (site.client, site.mail))
        until(lambda: not any("tentative" in h.run("ip", "-6", "addr", "show").out
                              for h in (site.client, site.mail)))
        with site.client.inside():
            scope = socket.if_nametoindex("eth0")
        sock = site.client.socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.settimeout(5)
        sock.bind((here, 0, 0, scope))
        sock.connect((there, 25, 0, scope))
        gone.append(sock)
        kicked.append(source(here, 1, 25))
        site.gate("enforce", "--kick", ok=REFUSED)
        with site.terminal("enforce", "--kick") as person:
            assert person.wait_question().type(b"n\n").end() == REFUSED
        found = site.json("-n", "enforce", "--kick")
        assert found["kicked"] == kicked and found["mode"] == "enforce", found
        assert all(lives(s) for s in gone) and site.json("status")["mode"] == "observe"
        found = site.json("enforce", "--kick", "-y")
        assert found["kicked"] == kicked and found["changed"] is True, found
        assert all(ended(s) for s in gone) and all(lives(s) for s in stay)
        assert site.json("enforce", "--kick")["kicked"] == []
        assert "kicked" not in site.json("enforce")
        # Where nothing is dropped nobody is ended.
        site.gate("pause", "15m")
        late = site.session(UNLISTED4, 25)
        site.gate("detach", "--all")
        done = site.gate("enforce", "--kick")
        assert "no session to end\n" in done.out and lives(late), done


@tap.test
def kick_denied():
    """who may change the list but not end a session is told that the change is in force"""
    with Site() as site:
        site.gate("add", LISTED4, UNLISTED4)
        sock = site.session(UNLISTED4, 25)
        poor = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", PROGRAM)
        done = execute(site.mail.argv(*poor, "delete", UNLISTED4, "--kick"), 4, env=site.env)
        assert "delete: the change is in force, but not all sessions were ended: not permitted to" \
            " end a session\n  hint: run it as root (sudo)\n" in done.err, done
        site.gate("status", "--check")
        assert [e["who"] for e in site.json("list")["entries"]] == [LISTED4]
        assert str(next(iter(site.kernel_prefixes()))) == LISTED4 + "/32" and lives(sock)
        site.gate("enforce", "--kick")
        assert ended(sock)


@tap.test
@needs(SOCKET, "a known number of socket(2)")
def kick_blind():
    """where the kernel does not tell about sessions --kick fails, and says what was done"""
    with Site() as site:
        site.gate("add", LISTED4, UNLISTED4)
        sock = site.session(UNLISTED4, 25)
        before = site.state()
        done = site.blind("-n", "delete", UNLISTED4, "--kick", ok=5)
        assert "in force" not in done.err and "hint: modprobe tcp_diag" in done.err, done
        assert site.state() == before
        done = site.blind("delete", UNLISTED4, "--kick", ok=5)
        assert "delete: the change is in force, but not all sessions were ended: this kernel" \
            " cannot list its TCP sessions" in done.err, done
        assert [e["who"] for e in site.json("list")["entries"]] == [LISTED4] and lives(sock)


MANY = 1000


@tap.test
def kick_thousands():
    """three thousand sessions, a third of them to be ended"""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with Site() as site:
        site.gate("add", LISTED4, LISTED6, UNLISTED4)
        stay = [site.session(a, 587) for a in (LISTED4, LISTED6) for _ in range(MANY)]
        gone = [site.session(UNLISTED4, port) for port in (25, 465) for _ in range(MANY // 2)]
        assert site.json("preview")["kept"] == [
            source(LISTED4, MANY, 587), source(UNLISTED4, MANY, 25, 465),
            source(LISTED6, MANY, 587)]
        assert site.json("delete", UNLISTED4, "--kick")["kicked"] == [
            source(UNLISTED4, MANY, 25, 465)]
        assert all(ended(s) for s in gone) and all(lives(s) for s in stay)


if __name__ == "__main__":
    tap.main()
