#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""smtpgate doctor before real Postfix, before servers that mean it harm, and on odd networks.

A remedy is worth what it does: where one is given for Postfix or for the gate, it is carried out
and the doctor asked again.
"""
import contextlib
import os
import pathlib
import random
import re
import select
import shlex
import socket
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import relay as mail_relay
import tap
from examining import LONGEST, doctor, expect, find, show
from lab import MNT, PROGRAM, Lab, can_make, needs, until
from terminal import Terminal

MAIL = {4: "192.0.2.25", 6: "2001:db8::25"}
# The tests' relay takes every domain for its own, which looks like an open relay, and is one.
OWN_DOMAIN = ("-e", f"virtual_mailbox_domains={mail_relay.DOMAIN}")
OPEN = "smtpd_relay_restrictions=permit_mynetworks,permit_sasl_authenticated,reject"


def service(port, *options):
    """One more smtpd for postconf=."""
    return [("-M", f"{port}/inet={port} inet n - n - - smtpd"),
            *(("-P", f"{port}/inet/{option}") for option in options)]


@contextlib.contextmanager
def make(*postconf, relay=True):
    """A mail host with an attached card and a relay."""
    with Lab() as lab:
        lab.client = lab.host("client")
        lab.link(lab.mail, "eth0", lab.client, "eth0")
        lab.mail.address("eth0", MAIL[4] + "/24", MAIL[6] + "/64")
        if relay:
            lab.relay = mail_relay.Relay(lab.mail, postconf=[OWN_DOMAIN, *postconf])
        lab.gate("attach", "eth0")
        lab.gate("-q", "add", "198.51.100.7", "2001:db8:7::7")
        yield lab


def settings(row):
    """The postconf arguments of a remedy, for postconf=."""
    words = shlex.split(row["remedy"], comments=True)
    assert words[:2] == ["postconf", "-P"] and words[-3:] == ["&&", "postfix", "reload"], words
    return tuple(words[1:-3])


# Real Postfix.

@tap.test
def good():
    """a good relay: nothing is wrong, no mail is delivered, no DATA is sent"""
    with make() as lab:
        rows = doctor(lab, ok=0)
        warning, = expect(rows, ("relay_password", 25, "warn"))
        assert warning["remedy"].startswith("smtpgate set ports 465,587 "), warning
        for port in (465, 587):
            assert "without a password" in find(rows, "relay_password", port)[0]["message"]
            assert "only over TLS" in find(rows, "relay_auth", port)[0]["message"]
        lab.gate("set", "ports", "465,587")
        assert {r["status"] for r in doctor(lab, ok=0)} == {"ok"}
        lab.relay.stop()
        log = lab.relay.log()
        assert f"connect from unknown[{MAIL[4]}]" in log
        assert f"connect from unknown[{MAIL[6]}]" in log
        assert "[127.0.0.1]" not in log and "data=" not in log and "message-id" not in log
        assert "lost connection" not in log, "the doctor hangs up without QUIT"
        assert lab.relay.delivered() == 0


@tap.test
def no_auth():
    """587 without AUTH that takes recipients: an open relay, and its remedy closes it"""
    broken = [("-e", "mynetworks=192.0.2.0/24"), ("-P", "587/inet/" + OPEN),
              ("-P", "587/inet/smtpd_recipient_restrictions="),
              ("-P", "587/inet/smtpd_sasl_auth_enable=no")]
    with make(*broken) as lab:
        lab.gate("set", "ports", "465,587")
        rows = doctor(lab, ok=1)
        relaying, login = expect(rows, ("relay_password", 587, "FAIL"), ("relay_auth", 587, "warn"))
        assert "open relay" in relaying["message"] and MAIL[4] in relaying["message"]
        assert "mynetworks" in relaying["message"]
    with make(*broken, settings(relaying), settings(login)) as lab:
        lab.gate("set", "ports", "465,587")
        expect(doctor(lab, ok=0))


@tap.test
def nobody_can_log_in():
    """587 that takes no recipient and offers no AUTH: a warning"""
    with make(("-P", "587/inet/smtpd_sasl_auth_enable=no")) as lab:
        lab.gate("set", "ports", "465,587")
        expect(doctor(lab, ok=0), ("relay_auth", 587, "warn"))


@tap.test
def own_users_only():
    """587 that takes mail for its own users without a password, and its remedy"""
    broken = [("-P", "587/inet/smtpd_recipient_restrictions="),
              ("-P", "587/inet/smtpd_relay_restrictions=reject_unauth_destination")]
    with make(*broken) as lab:
        lab.gate("set", "ports", "465,587")
        row, = expect(doctor(lab, ok=1), ("relay_password", 587, "FAIL"))
        assert "own users" in row["message"]
    with make(*broken, settings(row)) as lab:
        lab.gate("set", "ports", "465,587")
        expect(doctor(lab, ok=0))


@tap.test
def open_mx():
    """port 25 that relays for anybody fails, and its remedy leaves an MX"""
    with make(("-e", "mynetworks=192.0.2.0/24 [2001:db8::]/32"), ("-P", "25/inet/" + OPEN)) as lab:
        row, = expect(doctor(lab, ok=1), ("relay_password", 25, "FAIL"))
        assert "open relay" in row["message"]
    with make(("-e", "mynetworks=192.0.2.0/24 [2001:db8::]/32"), ("-P", "25/inet/" + OPEN),
              settings(row)) as lab:
        expect(doctor(lab, ok=0), ("relay_password", 25, "warn"))


@tap.test
def one_family():
    """a relay that is open by IPv6 only is found"""
    with make(("-e", "mynetworks=[2001:db8::]/32"), ("-P", "25/inet/" + OPEN)) as lab:
        row, = expect(doctor(lab, ok=1), ("relay_password", 25, "FAIL"))
        assert MAIL[6] in row["message"] and MAIL[4] not in row["message"]


@tap.test
def clear_auth():
    """AUTH before STARTTLS fails, with and without TLS, and the remedy mends it"""
    broken = [("-P", "587/inet/smtpd_tls_security_level=may"),
              ("-P", "587/inet/smtpd_tls_auth_only=no")]
    with make(*broken) as lab:
        lab.gate("set", "ports", "465,587")
        row, = expect(doctor(lab, ok=1), ("relay_auth", 587, "FAIL"))
    with make(*broken, settings(row)) as lab:
        lab.gate("set", "ports", "465,587")
        expect(doctor(lab, ok=0))
    broken = [("-P", "587/inet/smtpd_tls_security_level=none"),
              ("-P", "587/inet/smtpd_tls_auth_only=no")]
    with make(*broken) as lab:
        lab.gate("set", "ports", "465,587")
        row, = expect(doctor(lab, ok=1), ("relay_auth", 587, "FAIL"))
        assert "has no TLS" in row["message"]
    with make(*broken, settings(row)) as lab:
        lab.gate("set", "ports", "465,587")
        doctor(lab, ok=0)


@tap.test
def auth_on_25():
    """AUTH on 25 while 25 is not guarded fails; guarding it or taking AUTH off mends it"""
    broken = [("-P", "25/inet/smtpd_sasl_auth_enable=yes")]
    with make(*broken) as lab:
        lab.gate("set", "ports", "465,587")
        row, = expect(doctor(lab, ok=1), ("unguarded_auth", 25, "FAIL"))
        assert "a leaked password works there" in row["message"]
        lab.gate("set", "ports", "25,465,587")
        expect(doctor(lab, ok=0), ("relay_password", 25, "warn"))
    with make(*broken, settings(row)) as lab:
        lab.gate("set", "ports", "465,587")
        expect(doctor(lab, ok=0))


@tap.test
def other_ports():
    """AUTH on 2525 in clear, 2526 behind STARTTLS, 2527 by TLS from the first byte; not on 2528"""
    auth = "smtpd_sasl_auth_enable=yes"
    extra = [*service(2525, auth, "smtpd_tls_auth_only=no"), *service(2526, auth),
             *service(2527, auth, "smtpd_tls_wrappermode=yes"), *service(2528)]
    with make(*extra) as lab:
        lab.gate("set", "ports", "465,587")
        wanted = [("unguarded_auth", port, "FAIL") for port in (2525, 2526, 2527)]
        rows = expect(doctor(lab, ok=1), *wanted)
        for row in rows:
            remedy = row["remedy"].split("   #")[0].split()
            assert remedy == ["smtpgate", "set", "ports", "465,587,2525,2526,2527"], remedy
        lab.gate("set", "ports", "465,587,2525,2526,2527")
        expect(doctor(lab, ok=1), ("relay_auth", 2525, "FAIL"),
               *(("relay_password", p, "FAIL") for p in (2525, 2526, 2527)))


@tap.test
def only_loopback_address():
    """a host without an address: what is asked from 127.0.0.1 proves nothing"""
    with make(("-P", "25/inet/" + OPEN)) as lab:
        lab.mail.ip("addr flush dev eth0")
        rows = doctor(lab, ok=1)
        expect(rows, ("relay_password", 25, "unknown"))
        assert "no interface leads to a server" in find(rows, "coverage")[0]["message"]


# Servers that are no relay, or mean harm. Each is (what it does with a connection).

def flood(data):
    def serve(sock):
        while True:
            sock.sendall(data)
    return serve


def script(*steps):
    """Sends text; takes a line where a step is None; then waits for the end."""
    def serve(sock):
        file = sock.makefile("rb")
        for step in steps:
            if step is None:
                file.readline(1000)
            else:
                sock.sendall(step)
        file.read(100000)
    return serve


def then(first, second):
    def serve(sock):
        sock.sendall(first)
        sock.recv(1000)
        second(sock)
    return serve


def at_once(_):
    return None


HARMFUL = {
    "silent": script(),
    "closes at once": at_once,
    "garbage": flood(random.Random(1).randbytes(65536)),
    "endless line": flood(b"220-" + b"x" * 65536),
    "endless greeting": flood(b"220-and more\r\n" * 4000),
    "greets, then silent": script(b"220 mail.example ESMTP\r\n"),
    "endless EHLO": then(b"220 mail.example ESMTP\r\n", flood(b"250-AUTHOR\r\n" * 4000)),
    "endless line in EHLO": then(b"220 mail.example ESMTP\r\n", flood(b"x" * 65536)),
    "no TLS behind STARTTLS": script(b"220 mail.example ESMTP\r\n", None,
                                     b"250-mail.example\r\n250 STARTTLS\r\n", None,
                                     b"220 go ahead\r\n", None, b"\0" * 100),
    "refuses STARTTLS": script(b"220 mail.example ESMTP\r\n", None,
                               b"250-mail.example\r\n250 STARTTLS\r\n", None,
                               b"454 4.7.0 TLS is not available\r\n"),
    "floods a dialogue": then(b"220 mail.example ESMTP\r\n",
                              then(b"250 mail.example\r\n", flood(b"550-no\r\n" * 4000))),
    "FTP": script(b"220 FTP here\r\n", None, b"530 Please log in with USER and PASS\r\n", None,
                  b"530 Please log in with USER and PASS\r\n"),
    "paints": script(b"220 mail.example ESMTP\r\n", None, b"250 mail.example\r\n", None,
                     b"250 ok\r\n", None, b"451 \x1b[2J\xe2\x80\xae not now\r\n"),
}


class Server:
    """Listens on a host and serves each connection by a function, in threads of its own."""

    def __init__(self, host, port, serve, address="::"):
        self.sock, = host.listen(port, address=address)
        self.sock.setblocking(True)
        self.serve = serve
        self.taken = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.sock.accept()
                sock.settimeout(LONGEST)
                self.taken.append(sock)
                threading.Thread(target=self.one, args=(sock,), daemon=True).start()

    def one(self, sock):
        with contextlib.suppress(OSError), sock:
            self.serve(sock)

    def close(self):
        for sock in (self.sock, *self.taken):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def serving(lab, servers, address="::"):
    """`servers` is {port: function}."""
    made = [Server(lab.mail, port, serve, address) for port, serve in servers.items()]
    try:
        yield made
    finally:
        for server in made:
            server.close()


@tap.test
def harmful_guarded():
    """guarded ports that are silent, close, flood, break off or paint: unknown, in bounded time"""
    ports = dict(enumerate(HARMFUL, 6001))
    with make(relay=False) as lab, serving(lab, {p: HARMFUL[n] for p, n in ports.items()}):
        lab.gate("set", "ports", ",".join(map(str, ports)))
        rows = doctor(lab, ok=1)
        for port, name in ports.items():
            row, = find(rows, "relay_password", port)
            assert row["status"] == "unknown", f"{name}: {row}"
            said = row["message"]
            if name in ("silent", "closes at once", "garbage", "FTP"):
                assert ("nothing is said" if name == "silent" else "no SMTP") in said, said
        said = find(rows, "relay_password", 6000 + len(HARMFUL))[0]["message"]
        assert "451 \\x1b[2J\\xe2\\x80\\xae not now" in said, said


@tap.test
def harmful_unguarded():
    """the same on ports that are not guarded: never a FAIL, and AUTH beside them is found"""
    good_auth = script(b"220 mail.example ESMTP\r\n", None,
                       b"250-mail.example\r\n250 AUTH PLAIN\r\n")
    ports = dict(enumerate(HARMFUL, 7001))
    servers = {p: HARMFUL[n] for p, n in ports.items()}
    with make(relay=False) as lab, serving(lab, {**servers, 7100: good_auth}):
        rows = doctor(lab, ok=1)
        failed, = find(rows, "unguarded_auth", status="FAIL")
        assert failed["port"] == 7100
        unknown = {ports[r["port"]] for r in find(rows, "unguarded_auth", status="unknown")}
        assert unknown == {"endless greeting", "greets, then silent", "endless EHLO",
                           "endless line in EHLO", "no TLS behind STARTTLS",
                           "refuses STARTTLS"}, unknown


@tap.test
def a_teaser():
    """a server that lets a client wait behind its first line (postscreen) is waited for"""
    release = threading.Event()

    def teaser(sock):
        sock.sendall(b"220-mail.example ESMTP\r\n")
        release.wait(LONGEST)
        script(b"220 mail.example ESMTP\r\n", None, b"250-x\r\n250 AUTH LOGIN\r\n")(sock)
    with make(relay=False) as lab, serving(lab, {25: teaser}):
        lab.gate("set", "ports", "465,587")
        timer = threading.Timer(6, release.set)     # longer than a silent port is given
        timer.start()
        rows = doctor(lab, ok=1)
        timer.cancel()
        assert find(rows, "unguarded_auth", 25, "FAIL"), show(rows)


@tap.test
def many_ports():
    """more than 64 ports: the guarded and the likely ones are asked, the rest is named"""
    auth = script(b"220 mail.example ESMTP\r\n", None, b"250-x\r\n250 AUTH LOGIN\r\n")
    with make(relay=False) as lab, serving(lab, {587: at_once, 2525: auth}):
        first, last = 1025, 1125
        lab.mail.listen(*range(first, last))
        rows = doctor(lab, ok=1)
        assert find(rows, "unguarded_auth", 2525, "FAIL"), show(rows)
        row, = find(rows, "unguarded_auth", status="unknown")
        assert f"{last - first - 62} of the listening ports" in row["message"], row
        assert "1087, 1088, " in row["message"] and row["message"].endswith(", ..."), row


@tap.test
def loopback_is_left_alone():
    """what listens on loopback only is neither asked nor covered"""
    with make(relay=False) as lab:
        quiet = [*lab.mail.listen(587, 10025, address="127.0.0.1"),
                 *lab.mail.listen(10026, address="::1")]
        rows = doctor(lab, ok=0)
        expect(rows, ("relay_password", None, "warn"))
        for sock in quiet:
            try:
                sock.accept()
                raise AssertionError("a loopback port was asked")
            except BlockingIOError:
                pass


@tap.test
def link_local():
    """a listener that only IPv6 link-local leads to is asked by its scope"""
    with make(relay=False) as lab:
        lab.mail.ip("addr flush dev eth0 scope global")
        until(lambda: "tentative" not in lab.mail.run("ip", "-6", "addr", "show", "eth0").out)
        sock = lab.mail.socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("::", 587))
        sock.listen()
        sock.settimeout(LONGEST)
        peer = []

        def serve():
            peer.append(sock.accept())
            peer[0][0].close()
        thread = threading.Thread(target=serve)
        thread.start()
        rows = doctor(lab, ok=1)
        thread.join(LONGEST)
        assert peer and peer[0][1][0].startswith("fe80::"), (peer, show(rows))


@tap.test
def gate_on_lo():
    """a gate on lo drops the doctor too: unknown, with the look-up that tells"""
    with make(relay=False) as lab, serving(lab, {587: at_once}):
        lab.gate("-q", "attach", "lo")
        rows = doctor(lab, ok=1)
        row, = find(rows, "relay_password", 587)
        assert row["status"] == "unknown" and "no connection" in row["message"], row
        assert row["remedy"].startswith(f"smtpgate check {MAIL[6]} "), row


# What it is careful about.

def strip_library(lab, how):
    """libcurl is missing, or is not what it should be, on the mail host alone."""
    path = next(line.split("=> ")[1] for line in
                lab.mail.run("ldconfig", "-p").out.splitlines() if "libcurl.so.4 " in line)
    path = os.path.realpath(path)
    lab.mail.path(MNT + "/nothing").write_bytes(how)
    lab.mail.run("mount", "--bind", MNT + "/nothing", path)


@tap.test
def no_library():
    """without libcurl the relay checks are unknown, with the package to install; coverage works"""
    for how in (b"", b"no library"):
        with make() as lab:
            strip_library(lab, how)
            rows = doctor(lab, ok=1)
            for name in ("relay_password", "relay_auth"):
                row, = find(rows, name)
                assert row["status"] == "unknown" and row["remedy"] == "apt install libcurl4", row
            assert find(rows, "coverage", status="ok", interface="eth0")
            lab.gate("status")


@tap.test
def not_loaded():
    """libcurl is loaded by doctor alone, and only where there is something to ask"""
    def opened(command):
        return lab.mail.run("strace", "-f", "-e", "trace=openat", PROGRAM, command, ok=(0, 1),
                            env=lab.env).err
    with make(relay=False) as lab:
        assert "libcurl" not in opened("status") + opened("doctor")
        with serving(lab, {587: at_once}):
            assert "libcurl" in opened("doctor")


@tap.test
def careful():
    """asks as nobody, looks no name up, ignores proxies, goes nowhere but to its own addresses"""
    with make() as lab:
        trap = lab.mail.listen(3128, address="127.0.0.1")[0]
        env = dict(lab.env, ALL_PROXY="http://127.0.0.1:3128", all_proxy="http://127.0.0.1:3128",
                   smtp_proxy="http://127.0.0.1:3128", HOME=MNT)
        done = lab.mail.run("strace", "-f", "-e", "trace=connect,sendto,setresuid,execve,setgroups",
                            PROGRAM, "doctor", ok=(0, 1), env=env)
        lines = done.err.splitlines()
        drop = next(i for i, line in enumerate(lines) if "setresuid(65534, 65534, 65534)" in line)
        places = [(i, line) for i, line in enumerate(lines)
                  if re.search(r"connect\(.*AF_INET", line)]
        assert places
        for i, line in places:
            assert i > drop and (MAIL[4] in line or MAIL[6] in line), line
            assert re.search(r"port=htons\((25|465|587)\)", line), line
        assert not re.search(r"resolv|nsswitch|AF_UNIX", "\n".join(line for _, line in places))
        # Others' programs: by fixed paths, without an environment, and before the first question.
        others = [(i, line) for i, line in enumerate(lines) if "execve(" in line][1:]
        for i, line in others:
            assert i < drop and re.search(r'execve\("/(usr/)?s?bin/[a-z0-9-]+", .*/\* 0 vars \*/',
                                          line), line
        try:
            trap.accept()
            raise AssertionError("went through a proxy")
        except BlockingIOError:
            pass


def state(pid, name):
    """A line of /proc/PID/status, or with a number a field behind the name in stat."""
    file = pathlib.Path(f"/proc/{pid}/{'status' if isinstance(name, str) else 'stat'}")
    text = file.read_text("ascii", "replace")
    return re.search(rf"^{name}:\s*(.*)$", text, re.M)[1] if isinstance(name, str) else \
        text.rpartition(")")[2].split()[name]


@tap.test
def at_a_terminal():
    """who listens to strangers has no terminal to type into, and no way to more rights"""
    with make(relay=False) as lab:
        listener = lab.mail.listen(587)[0]      # says nothing
        with Terminal(lab.command("doctor"), lab.env) as terminal:
            until(lambda: select.select([listener], [], [], 0)[0], 20)
            task = f"/proc/{terminal.process.pid}/task/{terminal.process.pid}/children"
            pid, = pathlib.Path(task).read_text("ascii").split()
            assert state(pid, "Uid").split() == ["65534"] * 4
            assert state(pid, "NoNewPrivs") == "1"
            assert state(pid, 4) == "0" != state(terminal.process.pid, 4)   # number of the tty
            terminal.type(b"\x03")              # and ^C still ends it
            assert terminal.end() != 0


@tap.test
def not_root():
    """without root: the relay is asked, the gate's part is unknown"""
    with make() as lab:
        nobody = ("setpriv", "--reuid", 65534, "--regid", 65534, "--clear-groups")
        # the relay's copy: nobody may not look into a clone below /root
        rows = doctor(lab, ok=1, prefix=nobody, program="/usr/sbin/smtpgate")
        row, = find(rows, "coverage")
        assert row["status"] == "unknown" and row["remedy"] == "sudo smtpgate doctor", row
        assert find(rows, "relay_auth", 587, "ok") and find(rows, "relay_password", 465, "ok")


@tap.test
def lost_store():
    """a store that is damaged or gone fails with its hint; the relay is asked all the same"""
    with make() as lab:
        store = lab.mail.path(lab.env["SMTPGATE_STATE"]) / "smtpgate.db"
        kept = store.read_bytes()
        for data in (b"", b"not a database" * 100):
            store.write_bytes(data)
            rows = doctor(lab, ok=1)
            row, = find(rows, "coverage", status="FAIL")
            assert "25, 465, 587 were assumed" in row["message"], row
            assert find(rows, "relay_auth", 587, "ok")
        store.write_bytes(kept)
        doctor(lab, ok=0)


@tap.test
def words():
    """text and JSON say the same; -q shows only what is not ok"""
    with make() as lab:
        text = lab.gate("doctor").out.splitlines()
        rows = lab.json("doctor")["checks"]
        shown = [f"{r['number']:2} {r['status']:7} {r['message']}" for r in rows]
        assert [line for line in text if not line.startswith("   ")] == shown
        hints = [r["remedy"] for r in rows if r["remedy"]]
        assert [line.strip() for line in text if line.startswith("   ")] == \
            ["hint: " + hint for hint in hints]
        quiet = lab.gate("-q", "doctor").out.splitlines()
        assert len(quiet) == 2 and quiet[0].startswith(" 1 warn "), quiet


# Coverage.

@contextlib.contextmanager
def network(*lines, attach=("eth0",)):
    """A mail host with cards eth0 and eth1 to two clients and a listener on every address."""
    with Lab() as lab:
        for number in (0, 1):
            other = lab.host(f"client{number}")
            lab.link(lab.mail, f"eth{number}", other, "eth0")
        lab.mail.ip(*lines)
        for name in attach:
            lab.gate("attach", name)
        yield lab


def coverage(lab, **expected):
    """Asserts {interface: "ok"} or {interface: the interfaces that lack the gate}."""
    rows = find(doctor(lab), "coverage")
    found = {}
    for row in rows:
        if row["interface"]:
            name = row["interface"].replace(".", "_")
            found[name] = row["status"]
            if row["status"] == "FAIL":
                assert row["remedy"].startswith("smtpgate attach "), row
                found[name] = row["remedy"].removeprefix("smtpgate attach ")
    assert found == expected, f"{found} is not {expected}\n{show(rows)}"


def listening(lab, address="::", port=587):
    """Something listens, and ends each conversation at once."""
    return serving(lab, {port: at_once}, address)


QUIET6 = [f"link set eth{n} addrgenmode none" for n in (0, 1)]


@tap.test
def second_card():
    """a second card without the gate fails until it is attached; without address it is no way in"""
    with network("addr add 192.0.2.25/24 dev eth0") as lab:
        lab.mail.ip(*QUIET6, "addr flush dev eth1", "addr flush dev eth0 scope link")
        with listening(lab, "0.0.0.0"):
            coverage(lab, eth0="ok")
            lab.mail.ip("addr add 198.51.100.25/24 dev eth1")
            coverage(lab, eth0="ok", eth1="eth1")
            lab.gate("attach", "eth1")
            coverage(lab, eth0="ok", eth1="ok")
            lab.gate("detach", "--all")
            coverage(lab, eth0="eth0", eth1="eth1")
        row, = find(doctor(lab, ok=1), "coverage")
        assert row["message"] == "the gate is attached nowhere", row


@tap.test
def one_address():
    """a listener on the address of one card is reached through all of them, as Linux does it"""
    with network("addr add 192.0.2.25/24 dev eth0", "addr add 198.51.100.25/24 dev eth1",
                 "addr add 203.0.113.25/32 dev lo", *QUIET6) as lab:
        for address in ("192.0.2.25", "198.51.100.25", "203.0.113.25"):
            with listening(lab, address):
                coverage(lab, eth0="ok", eth1="eth1")


@tap.test
def families():
    """a listener on 0.0.0.0 is not reached where there is only IPv6; one on :: is"""
    with network("addr add 192.0.2.25/24 dev eth0", "addr flush dev eth1", *QUIET6) as lab:
        lab.mail.address("eth1", "2001:db8::25/64")
        with listening(lab, "0.0.0.0"):
            coverage(lab, eth0="ok")
            with listening(lab, port=465):
                coverage(lab, eth0="ok", eth1="eth1")


@tap.test
@needs(can_make("bridge"), "bridge")
def bridge():
    """a bridge is covered when all its ports are, or when it is attached itself"""
    with network("link add br0 type bridge", "link set eth0 master br0", "link set eth1 master br0",
                 "link set br0 up", "addr add 192.0.2.25/24 dev br0") as lab:
        lab.mail.ip("addr flush dev eth0", "addr flush dev eth1")
        with listening(lab):
            coverage(lab, br0="eth1")
            lab.gate("attach", "eth1")
            coverage(lab, br0="ok")
            lab.gate("detach", "--all")
            coverage(lab, br0="eth0 eth1")
            lab.gate("attach", "br0")
            coverage(lab, br0="ok")


@tap.test
@needs(can_make("vlan"), "802.1Q")
def vlan():
    """a VLAN is covered by the card below it"""
    with network("link add link eth0 name eth0.5 type vlan id 5",
                 "link add link eth1 name eth1.6 type vlan id 6", "link set eth0.5 up",
                 "link set eth1.6 up", "addr add 192.0.2.25/24 dev eth0.5",
                 "addr add 198.51.100.25/24 dev eth1.6") as lab:
        lab.mail.ip("addr flush dev eth0", "addr flush dev eth1")
        with listening(lab):
            coverage(lab, eth0_5="ok", eth1_6="eth1")
            lab.gate("attach", "eth1")
            coverage(lab, eth0_5="ok", eth1_6="ok")


@tap.test
@needs(can_make("bond"), "bonding")
def bond():
    """a bond is covered when it is attached"""
    with network("link set eth0 down", "link set eth1 down",
                 "link add bond0 type bond mode active-backup", "link set eth0 master bond0",
                 "link set eth1 master bond0", "link set bond0 up",
                 "addr add 192.0.2.25/24 dev bond0", attach=()) as lab:
        with listening(lab):
            coverage(lab, bond0="bond0")
            lab.gate("attach", "bond0")
            coverage(lab, bond0="ok")


@tap.test
@needs(can_make("macvlan"), "macvlan")
def macvlan():
    """a macvlan is covered by the card below it, and a bridge on macvlans by both"""
    with network("link add link eth0 name mv0 type macvlan", "link set mv0 up",
                 "link add link eth1 name mv1 type macvlan", "link set mv1 up",
                 "addr add 192.0.2.25/24 dev mv0") as lab:
        lab.mail.ip(*(f"addr flush dev {name}" for name in ("eth0", "eth1", "mv1")))
        with listening(lab):
            coverage(lab, mv0="ok")
            lab.mail.ip("addr add 198.51.100.25/24 dev mv1")
            coverage(lab, mv0="ok", mv1="eth1")


@tap.test
@needs(can_make("vxlan id 5 dev base dstport 4789"), "VXLAN")
def tunnel():
    """a VXLAN is not covered by the card below it: what comes out of a tunnel is not seen there"""
    with network("link add vx0 type vxlan id 5 dev eth0 dstport 4789", "link set vx0 up",
                 "addr add 192.0.2.25/24 dev vx0") as lab:
        lab.mail.ip("addr flush dev eth0", "addr flush dev eth1")
        with listening(lab):
            coverage(lab, vx0="vx0")


@tap.test
@needs(can_make("dummy"), "dummy")
def dummy():
    """an address on a dummy device is reached through the cards"""
    with network("link add dummy0 type dummy", "link set dummy0 up",
                 "addr add 203.0.113.25/32 dev dummy0", "addr add 192.0.2.25/24 dev eth0") as lab:
        lab.mail.ip("addr flush dev eth1")
        with listening(lab, "203.0.113.25"):
            coverage(lab, eth0="ok")


@tap.test
def headless():
    """a device without Ethernet headers cannot be attached: the remedy is nftables"""
    with network("addr add 192.0.2.25/24 dev eth0", "tuntap add dev tun0 mode tun",
                 "link set tun0 up", "addr add 198.51.100.25/24 dev tun0") as lab:
        lab.mail.ip("addr flush dev eth1")
        with listening(lab):
            row, = find(doctor(lab, ok=1), "coverage", interface="tun0")
            assert row["status"] == "FAIL" and row["remedy"].startswith("nft ") \
                and '"tun0" tcp dport { 587 } drop' in row["remedy"], row


@tap.test
def odd_name():
    """an interface's odd name is shown escaped and never put into a line to paste"""
    with network("link set eth1 name a;b$(c)'d", attach=("eth0",)) as lab:
        lab.mail.ip("link set a;b$(c)'d up")
        with listening(lab):
            lab.mail.address("a;b$(c)'d", "192.0.2.25/24")
            row, = [r for r in find(doctor(lab, ok=1), "coverage") if "a;b" in r["message"]]
            assert row["remedy"] == "smtpgate attach IFACE", row


if __name__ == "__main__":
    tap.main()
