#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The policy service as a process: what it answers while lists change, clients misbehave and the
store is locked, damaged or gone; and that it needs no rights but to read that file.

It runs as a user of its own, on standard input and output or on a listening socket as systemd hands
it over, and each answer is compared byte for byte. A model of the rule, written from the words of
the specification, answers some thousand random questions beside it.
"""
import contextlib
import ipaddress
import json
import os
import pathlib
import random
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import lab
import tap

USER, GROUP = 64998, 64999      # nobody has these numbers
PROGRAM = lab.MNT + "/smtpgate"
SANITIZED = lab.ROOT / "build" / "asan" / "smtpgate"
STORE = lab.STATE + "/smtpgate.db"
SOCKET = b"\0smtpgate-policy"   # in the host's own network namespace; leaves no file
PATIENCE = 20.0                 # seconds for any answer; only a hang comes near
MEMORY_KIB = 40 * 1024          # the page cache of the store is 16 MiB of it
CLIENTS_MAX = 512               # of user/cmd_policy.c

DUNNO = "action=DUNNO\n\n"
UNREADABLE = "the list of allowed senders cannot be read; try again later\n\n"
UNCLEAR = "the request cannot be understood\n\n"
TROUBLE = "action=DEFER_IF_PERMIT 4.3.0 " + UNREADABLE
MALFORMED = "action=DEFER_IF_PERMIT 4.3.0 " + UNCLEAR


def refusal(account, address):
    """The answer to who may not."""
    return (f"action=REJECT 5.7.1 account {account} may not send from {address};"
            " ask the mail administrator to list it\n\n")


def request(account=None, address=None, more=b""):
    """As Postfix sends one; None: without that attribute."""
    lines = [b"request=smtpd_access_policy", b"protocol_state=RCPT", b"sender=a@shop.example"]
    if address is not None:
        lines.append(b"client_address=" + os.fsencode(address))
    if account is not None:
        lines.append(b"sasl_username=" + os.fsencode(account))
    return b"\n".join(lines) + b"\n" + more + b"\n"


class Client:
    """One end of a connection: asks and waits for answers."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.rest = reader, writer, b""

    def send(self, data):
        """All of it."""
        while data:
            data = data[os.write(self.writer, data):]

    def answer(self):
        """The next answer; "" at the end."""
        end = time.monotonic() + PATIENCE
        while b"\n\n" not in self.rest:
            left = end - time.monotonic()
            assert left > 0 and select.select([self.reader], [], [], left)[0], "no answer"
            data = os.read(self.reader, 65536)
            if not data:
                break
            self.rest += data
        answer, mark, self.rest = self.rest.partition(b"\n\n")
        return (answer + mark).decode("ascii")

    def ask(self, account=None, address=None):
        """One request and its answer."""
        self.send(request(account, address))
        return self.answer()

    def expect(self, answer, account=None, address=None):
        """Asserts it."""
        got = self.ask(account, address)
        assert got == answer, f"{account} from {address}: {got!r}, expected {answer!r}"


class Service(Client):
    """The process, and the one client on its standard input and output."""

    def __init__(self, site, *words, prefix=(), listener=None):
        shell = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"' if listener else 'exec "$@"'
        argv = ["setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--",
                "sh", "-c", shell, "sh", *prefix, PROGRAM, "policy", *words]
        # The socket has to be descriptor 3, whatever it is here.
        prepare = (lambda: os.dup2(listener.fileno(), 3)) if listener else None
        # Standard error is a socket, as under spawn(8) and systemd.
        self.err, theirs = socket.socketpair()
        self.process = site.mail.start(
            *argv, stdin=subprocess.DEVNULL if listener else subprocess.PIPE,
            stdout=subprocess.DEVNULL if listener else subprocess.PIPE, stderr=theirs,
            env=site.env, pass_fds=(3, listener.fileno()) if listener else (), preexec_fn=prepare)
        theirs.close()
        super().__init__(self.process.stdout.fileno() if self.process.stdout else -1,
                         self.process.stdin.fileno() if self.process.stdin else -1)

    def pid(self):
        """The process itself is a child of nsenter."""
        pid = self.process.pid
        return int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()[0])

    def peak(self):
        """The most memory it ever had, in KiB."""
        status = pathlib.Path(f"/proc/{self.pid()}/status").read_text("ascii")
        return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)

    def running(self):
        return self.process.poll() is None

    def end(self):
        """The end of input ends it; a signal where there is no input. Returns how it ended."""
        if self.process.stdin:
            self.process.stdin.close()
        elif self.running():
            os.kill(self.pid(), signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self.err.settimeout(PATIENCE)
        said = self.err.recv(4096).decode()
        self.err.close()
        assert not said, f"standard error is the client's connection: {said}"
        if self.process.stdout:
            self.process.stdout.close()
        return code


class Site(lab.Lab):
    """A mail host with a state directory that the service's group may read."""

    def __init__(self, program=lab.PROGRAM):
        super().__init__()
        self.cleanup = contextlib.ExitStack()
        shutil.copy(program, self.mail.path(PROGRAM))
        state = self.mail.path(lab.STATE)
        state.mkdir()
        os.chown(state, 0, GROUP)
        state.chmod(0o2750)

    def __exit__(self, *_):
        self.cleanup.close()
        super().__exit__()

    def service(self, *words, prefix=()):
        """On standard input and output; ends with the site."""
        service = Service(self, *words, prefix=prefix)
        self.cleanup.callback(lambda: service.err.fileno() < 0 or service.end())
        return service

    def listening(self, *words, prefix=()):
        """On a listening socket."""
        listener = self.mail.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(SOCKET)
        listener.listen(1024)
        service = Service(self, *words, prefix=prefix, listener=listener)
        self.cleanup.callback(lambda: service.err.fileno() < 0 or service.end())
        return service

    def client(self):
        """One more connection."""
        sock = self.mail.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(SOCKET)
        client = Client(sock.fileno(), sock.fileno())
        client.sock = sock
        return client

    @property
    def store(self):
        return self.mail.path(STORE)

    def sql(self, *statements):
        """Asks or changes the store behind everybody's back; the rows, columns parted by |."""
        # SQLite finds its way by names, and ours for a file of the host means another one to it.
        return self.mail.run("sqlite3", "-bail", STORE,
                             stdin=";\n".join(statements) + ";\n").out.splitlines()

    def fill(self):
        """alice from one address, everybody else from the office."""
        self.gate("-q", "add", "192.0.2.0/24", "--remark", "office")
        self.gate("-q", "add", "203.0.113.7", "--account", "alice")


@contextlib.contextmanager
def filled():
    """A site with the two lists, which answer as they must."""
    with Site() as site:
        site.fill()
        yield site


def sane(client):
    """The lists of fill(), and nothing else."""
    client.expect(DUNNO, "alice", "203.0.113.7")
    client.expect(refusal("alice", "192.0.2.1"), "alice", "192.0.2.1")
    client.expect(DUNNO, "bob", "192.0.2.1")
    client.expect(refusal("bob", "203.0.113.7"), "bob", "203.0.113.7")


def troubled(client, answer=TROUBLE):
    """Nobody is let through and nobody is refused for good."""
    for account, address in (("alice", "203.0.113.7"), ("alice", "192.0.2.1"), ("bob", "192.0.2.1"),
                             ("bob", "203.0.113.7")):
        client.expect(answer, account, address)
    client.expect(DUNNO, "", "203.0.113.7")     # no account: not this service's business


# ---- how it is spoken to ----

@tap.test
def standard_input():
    """on standard input and output, as a user without rights; the end of input ends it"""
    with filled() as site:
        service = site.service()
        sane(service)
        service.expect(DUNNO)
        service.expect(DUNNO, None, "203.0.113.7")
        service.expect(DUNNO, "", "203.0.113.7")
        service.expect(refusal("alice", "an unknown address"), "alice")
        service.expect(refusal("alice", "unknown"), "alice", "unknown")
        service.expect(DUNNO, "ALICE", "::ffff:203.0.113.7")
        service.expect(refusal("alice", "::ffff:192.0.2.1"), "alice", "::ffff:192.0.2.1")
        service.expect(refusal("alice", "2001:db8::1"), "alice", "2001:db8::1")
        service.send(request("alice", "203.0.113.7") * 3 + request("alice", "192.0.2.1"))
        assert [service.answer() for _ in range(4)] == \
            [DUNNO] * 3 + [refusal("alice", "192.0.2.1")]
        service.send(request("alice", "203.0.113.7")[:-1])
        assert service.end() == 0


@tap.test
def listening_socket():
    """on a listening socket: connections come and go, the process stays"""
    with filled() as site:
        service = site.listening()
        first, second = site.client(), site.client()
        sane(first)
        sane(second)
        first.send(request("alice", "192.0.2.1")[:40])
        sane(second)
        first.send(request("alice", "192.0.2.1")[40:])
        assert first.answer() == refusal("alice", "192.0.2.1")
        second.send(request("alice", "203.0.113.7") * 2)
        second.sock.shutdown(socket.SHUT_WR)
        assert [second.answer() for _ in range(3)] == [DUNNO, DUNNO, ""]
        for _ in range(50):         # gone before the answer
            gone = site.client()
            gone.send(request("alice", "203.0.113.7") * 50)
            gone.sock.close()
        sane(first)
        assert service.running()


@tap.test
def handed_over():
    """what systemd hands over is taken if it is meant for this process, and refused if it is none"""
    with filled() as site:
        ask = request("alice", "192.0.2.1").decode()
        answer = refusal("alice", "192.0.2.1")
        for env in ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "1"},
                    {"LISTEN_PID": "1"}):
            done = site.gate("policy", stdin=ask, env=env)
            assert (done.out, done.err) == (answer, ""), done
        for fds in ("0", "-0", "x", ""):
            done = lab.execute(site.mail.argv("sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", PROGRAM,
                                              "policy"), stdin=ask,
                               env=dict(site.env, LISTEN_FDS=fds))
            assert (done.out, done.err) == (answer, ""), done
        for redirection in ("3</dev/null", "3</", "3>&-"):
            done = lab.execute(site.mail.argv(
                "bash", "-c", f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" {redirection}', "sh", PROGRAM,
                "policy"), 2, env=site.env)
            assert done.out == "" and "descriptor 3 from systemd is no listening socket" in done.err


@tap.test
def no_injection():
    """what a client calls itself stays one line of printable ASCII in the answer"""
    with filled() as site:
        service = site.service()
        for name, shown in ((b"a\rb", "a\\x0db"), (b"\x1b[31m", "\\x1b[31m"), (b"\xff", "\\xff"),
                            ("b\u00fcro".encode(), "b\\xc3\\xbcro"), (b"%s%n", "%s%n"),
                            (b"a=OK", "a=OK"), (b"' OR 1=1 --", "' OR 1=1 --")):
            service.expect(refusal(shown, "198.51.100.1"), name, "198.51.100.1")
        service.expect(refusal("x", "a\\x0db"), "x", b"a\rb")
        for length in (100, 200, 511, 512, 1023):
            answer = service.ask("x" * length, "198.51.100.1")
            assert answer.startswith("action=REJECT 5.7.1 account xxx"), answer
            assert "... may not send from 198.51.100.1;" in answer or length < 128, answer
            assert len(answer) < 512 and answer.endswith("list it\n\n"), answer
        service.expect(DUNNO, "x" * 1023, "192.0.2.1")


JUNK = {
    "no request": b"sasl_username=bob\nclient_address=192.0.2.1\n\n",
    "another request": b"request=junk\nsasl_username=bob\n\n",
    "twice": request("bob", "192.0.2.1", b"sasl_username=bob\n"),
    "address twice": request("bob", "192.0.2.1", b"client_address=192.0.2.1\n"),
    "request twice": request("bob", "192.0.2.1", b"request=smtpd_access_policy\n"),
    "NUL": request("bob\0", "192.0.2.1"),
    "no =": request("bob", "192.0.2.1", b"junk\n"),
    "long login": request("b" * 1024, "192.0.2.1"),
    "long address": request("bob", "1" * 64),
    "empty": b"\n",
    "nobody logged in": b"\n",
}


@tap.test
def odd_addresses():
    """an address is what it says, in every spelling; what is none is in no list"""
    with Site() as site:
        site.gate("-q", "add", "203.0.113.7", "--account", "alice")
        site.gate("-q", "add", "2001:db8::/32", "--account", "alice")
        service = site.service()
        for good in ("203.0.113.7", "::ffff:203.0.113.7", "::FFFF:203.0.113.7", "2001:db8::1",
                     "2001:DB8:0:0::1", "2001:db8::203.0.113.7"):
            service.expect(DUNNO, "alice", good)
        for bad in ("unknown", "203.0.113.07", "203.0.113.7 ", " 203.0.113.7", "203.0.113.7/32",
                    "203.0.113", "::ffff:2001:db8::203.0.113.7", "::ffff:::ffff:203.0.113.7",
                    "::ffff:cb00:7107", "[2001:db8::1]", "IPv6:2001:db8::1", "2001:db8::1%eth0",
                    "2001:db8:::1", "0xcb.0.113.7", "3405803783", "localhost"):
            service.expect(refusal("alice", bad), "alice", bad)


@tap.test
def malformed():
    """what cannot be understood is never DUNNO, whatever is set for trouble"""
    with filled() as site:
        for words, answer in (((), MALFORMED), (("--trouble", "defer"), MALFORMED),
                              (("--trouble", "dunno"), MALFORMED),
                              (("--trouble", "reject"), "action=REJECT 5.3.0 " + UNCLEAR)):
            service = site.service(*words)
            for what, data in JUNK.items():
                service.send(data)
                got = service.answer()
                assert got == answer, f"{what} with {words}: {got!r}"
                sane(service)
            service.send(b"".join(JUNK.values()))
            assert [service.answer() for _ in JUNK] == [answer] * len(JUNK)
            assert service.end() == 0


@tap.test
def abuse():
    """a line or a request without end closes the connection, and that one only"""
    with filled() as site:
        for data in (b"x" * 4097, b"x=\n" * 201, b"\0" * 5000, request("bob", "192.0.2.1")[:-1] * 60):
            service = site.service()
            service.send(data)
            assert service.answer() == ""
            assert service.end() == 0
        service = site.listening()
        other = site.client()
        for data in (b"x" * 4097, b"x=\n" * 201):
            client = site.client()
            client.send(data)
            assert client.answer() == ""
            sane(other)
        assert service.running()


@tap.test
def sanitized():
    """random bytes, requests and breaks, with sanitizers in the program"""
    dice = random.Random(20240607)
    with Site(SANITIZED) as site:
        site.env["ASAN_OPTIONS"] = "exitcode=99:detect_leaks=1"
        site.fill()
        pieces = [*JUNK.values(), request("alice", "203.0.113.7"), request("alice", "192.0.2.1"),
                  b"\n", b"sasl_username=", b"x" * 900, b"\xff\0="]
        for _ in range(30):
            service = site.service()
            for _ in range(dice.randrange(1, 12)):
                data = dice.choice(pieces)
                data = data[:dice.randrange(len(data))] if dice.random() < 0.3 else data
                with contextlib.suppress(BrokenPipeError):
                    service.send(data)
            assert service.end() == 0
        service = site.listening()
        for _ in range(100):
            client = site.client()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.send(b"".join(dice.choices(pieces, k=6)))
            client.sock.close()
        whole = site.store.read_bytes()
        put(site, whole[:5000])
        troubled(site.client())
        put(site, whole)
        sane(site.client())
        assert service.end() == -signal.SIGTERM


# ---- many, and bad ones among them ----

@tap.test
def hundreds():
    """hundreds of connections that all ask at once"""
    with filled() as site:
        service = site.listening()
        clients = [site.client() for _ in range(400)]
        for _ in range(3):
            for number, client in enumerate(clients):
                client.send(request("alice", "203.0.113.7" if number % 2 else "192.0.2.1") * 2)
            for number, client in enumerate(clients):
                answer = DUNNO if number % 2 else refusal("alice", "192.0.2.1")
                assert [client.answer(), client.answer()] == [answer] * 2
        assert service.running() and service.peak() < MEMORY_KIB


def stuff(client, data, most):
    """Sends without ever reading, until the other side takes no more; returns how much went."""
    client.sock.setblocking(False)
    sent = 0
    while sent < most:
        try:
            sent += client.sock.send(data[sent % len(data):])
        except BlockingIOError:
            if not select.select([], [client.sock], [], 0.5)[1]:
                break
        except (BrokenPipeError, ConnectionResetError):
            break
    client.sock.setblocking(True)
    return sent


@tap.test
def bad_clients():
    """one never reads, one stops half way, one never ends its line: the others are served"""
    with filled() as site:
        service = site.listening()
        sane(site.client())
        before = service.peak()
        half, deaf, endless = site.client(), site.client(), site.client()
        half.send(request("alice", "203.0.113.7")[:-3])
        one = request("alice", "192.0.2.1")
        sent = stuff(deaf, one, len(one) * 20000)
        assert sent < len(one) * 20000, "it took all without an answer being read"
        stuff(endless, b"x" * 65536, 10 << 20)
        with contextlib.suppress(ConnectionResetError):
            assert endless.answer() == ""
        for _ in range(100):
            sane(site.client())
        assert service.running()
        assert service.peak() < MEMORY_KIB, f"{service.peak()} KiB, {before} before"
        # Both can still go on, and nothing was lost.
        half.send(request("alice", "203.0.113.7")[-3:])
        assert half.answer() == DUNNO
        for number in range(sent // len(one)):
            assert deaf.answer() == refusal("alice", "192.0.2.1"), f"answer {number}"
        deaf.send(one[sent % len(one):])
        assert deaf.answer() == refusal("alice", "192.0.2.1")
        assert deaf.rest == b""


@tap.test
def too_many():
    """more connections than there is room for: the new one is served, the longest silent one goes"""
    low, high = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, high), high))
    try:
        with filled() as site:
            service = site.listening()
            clients = []
            for _ in range(CLIENTS_MAX + 100):
                clients.append(site.client())
                clients[-1].expect(DUNNO, "alice", "203.0.113.7")
            closed = 0
            for client in clients:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.send(request("bob", "192.0.2.1"))
                    answer = client.answer()
                    assert answer in (DUNNO, "")
                    closed += answer == ""
                    continue
                closed += 1
            assert closed == 100, f"{closed} were closed"
            sane(site.client())
            assert service.running() and service.peak() < MEMORY_KIB
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (low, high))


@tap.test
def few_descriptors():
    """with few file descriptors the new connection is served all the same"""
    with filled() as site:
        service = site.listening(prefix=("prlimit", "--nofile=24"))
        kept = []
        for _ in range(60):
            kept.append(site.client())
            sane(kept[-1])
        assert service.running()


# ---- the lists change ----

@tap.test
def list_changes():
    """every change of the lists is seen by the next request of the same connection"""
    with Site() as site:
        site.gate("-q", "set", "limit", "none")     # makes the store
        service = site.service()
        home, shop = "203.0.113.7", "198.51.100.9"

        def see(*rows):
            for account, address, good in rows:
                service.expect(DUNNO if good else refusal(account, address), account, address)

        see(("alice", home, True), ("bob", shop, True))
        site.gate("-q", "add", home, "--account", "alice")
        see(("alice", home, True), ("alice", shop, False), ("bob", shop, True))
        site.gate("-q", "set", "others", "nowhere")
        see(("alice", home, True), ("bob", shop, False), ("bob", home, False))
        site.gate("-q", "-y", "set", "others", "anywhere")
        see(("bob", shop, True))
        site.gate("-q", "add", shop)
        see(("bob", shop, True), ("bob", home, False), ("alice", shop, False))
        site.gate("-q", "add", shop, "--account", "ALICE")
        see(("alice", shop, True), ("alice", home, True))
        site.gate("-q", "delete", home, "--account", "alice")
        see(("alice", home, False), ("alice", shop, True))
        # The realm makes two spellings one, and two again.
        see(("alice@mail.example", shop, True), ("alice@mail.example", home, False))
        site.gate("-q", "add", home)
        see(("alice@mail.example", home, True), ("alice", home, False))
        site.gate("-q", "set", "realm", "mail.example")
        see(("alice@mail.example", home, False), ("Alice@MAIL.example", shop, True))
        site.gate("-q", "-y", "set", "realm", "none")
        see(("alice@mail.example", home, True))
        site.gate("-q", "-y", "disable", "--account", "alice")
        see(("alice", home, True), ("alice", "192.0.2.1", False))
        site.gate("-q", "-y", "disable", "--all")
        see(("alice", "192.0.2.1", True), ("bob", "192.0.2.1", True))


@tap.test
def expiry():
    """an expired entry lets nobody in, and opens nothing"""
    with Site() as site:
        site.gate("-q", "add", "192.0.2.0/24")
        site.gate("-q", "add", "203.0.113.7", "--account", "alice")
        service = site.service()
        sane(service)
        now = int(time.time())
        site.sql(f"UPDATE entry SET expires = {now - 1} WHERE account = 'alice'")
        for address in ("203.0.113.7", "192.0.2.1", "198.51.100.1"):
            service.expect(refusal("alice", address), "alice", address)
        service.expect(DUNNO, "bob", "192.0.2.1")
        site.sql(f"UPDATE entry SET expires = {now - 1}")
        for account in ("alice", "bob"):
            for address in ("203.0.113.7", "192.0.2.1"):
                service.expect(refusal(account, address), account, address)
        site.sql(f"UPDATE entry SET expires = {now + 1000}")
        sane(service)
        # A wider entry still covers what a narrower one does no more.
        site.gate("-q", "add", "203.0.113.0/24", "--account", "alice")
        site.sql(f"UPDATE entry SET expires = {now - 1} WHERE id = 2")
        service.expect(DUNNO, "alice", "203.0.113.7")


# ---- the store cannot be read ----

@contextlib.contextmanager
def locked(site):
    """As a writer at its commit."""
    with site.mail.start("sqlite3", STORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdin.write(b"BEGIN EXCLUSIVE; SELECT 'held';\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == b"held\n"
        yield
        writer.stdin.write(b"ROLLBACK;\n")


@tap.test
def store_locked():
    """locked by a writer that does not end: deferred within bounded time, good again after"""
    with filled() as site:
        service = site.service()
        sane(service)
        with locked(site):
            troubled(service)
        sane(service)
        with locked(site):
            late = site.service()       # it never saw the store
            troubled(late)
        sane(late)
        sane(service)


@tap.test
def store_locked_for_many():
    """so are hundreds who all ask while it is locked, and those who ask often"""
    with filled() as site:
        for warm in (True, False):
            service = site.listening()
            clients = [site.client() for _ in range(300)]
            for client in clients if warm else ():
                client.expect(DUNNO, "alice", "203.0.113.7")
            with locked(site):
                for client in clients:
                    client.send(request("alice", "203.0.113.7") * 10)
                for client in clients:
                    assert [client.answer() for _ in range(10)] == [TROUBLE] * 10
            for client in clients:
                client.expect(DUNNO, "alice", "203.0.113.7")
                client.sock.close()
            service.end()
            site.mail.sockets[:] = [s for s in site.mail.sockets if s.fileno() >= 0
                                    and not close_listener(s)]


def close_listener(sock):
    """Frees the name; true when it was one."""
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    sock.close()
    return True


def put(site, content):
    """Another file at the store's place, readable as the store was."""
    other = site.store.with_name("other")
    other.write_bytes(content)
    os.chown(other, 0, GROUP)
    other.chmod(0o640)
    other.rename(site.store)


@tap.test
def store_gone():
    """removed, emptied, replaced, forbidden: deferred, and good again in the same process"""
    with filled() as site:
        service = site.service()
        sane(service)
        whole = site.store.read_bytes()
        aside = site.store.with_name("aside")
        state = site.mail.path(lab.STATE)

        def move_away():
            site.store.rename(aside)

        def move_back():
            aside.rename(site.store)

        def write(content):
            return lambda: site.store.write_bytes(content)

        def directory():
            move_away()
            site.store.mkdir()

        def no_directory():
            site.store.rmdir()
            move_back()

        version = int.from_bytes(whole[60:64], "big")  # as SQLite's file format has it
        newer = whole[:60] + (version + 1).to_bytes(4, "big") + whole[64:]
        foreign = whole[:68] + b"\0\0\0\1" + whole[72:]
        cases = {
            "removed": (move_away, move_back),
            "a directory": (directory, no_directory),
            "emptied": (write(b""), write(whole)),
            "text": (write(b"not a store\n" * 3000), write(whole)),
            "cut": (write(whole[:5000]), write(whole)),
            "no directory": (lambda: state.rename(f"{state}.away"),
                             lambda: state.with_name(state.name + ".away").rename(state)),
            "forbidden directory": (lambda: state.chmod(0), lambda: state.chmod(0o2750)),
            "put: empty": (lambda: put(site, b""), lambda: put(site, whole)),
            "put: text": (lambda: put(site, b"junk" * 5000), lambda: put(site, whole)),
            "put: of a newer version": (lambda: put(site, newer), lambda: put(site, whole)),
            "put: of another program": (lambda: put(site, foreign), lambda: put(site, whole)),
            "newer": (lambda: site.sql(f"PRAGMA user_version = {version + 1}"),
                      lambda: site.sql(f"PRAGMA user_version = {version}")),
            "older": (lambda: site.sql("PRAGMA user_version = 1"),
                      lambda: site.sql(f"PRAGMA user_version = {version}")),
            "no tables": (lambda: site.sql("ALTER TABLE entry RENAME TO entries"),
                          lambda: site.sql("ALTER TABLE entries RENAME TO entry")),
            "no settings": (lambda: site.sql("CREATE TABLE kept AS SELECT * FROM setting",
                                             "DELETE FROM setting"),
                            lambda: site.sql("INSERT INTO setting SELECT * FROM kept",
                                             "DROP TABLE kept")),
        }
        for what, (harm, mend) in cases.items():
            harm()
            try:
                troubled(service)
                late = site.service()
                troubled(late)
                mend()
                sane(service)
                sane(late)
                late.end()
            except AssertionError as error:
                raise AssertionError(f"{what}: {error}") from error


@tap.test
def store_forbidden():
    """a file that may not be read any more: deferred, also where it was open already"""
    with filled() as site:
        service = site.service()
        sane(service)
        site.store.chmod(0)
        troubled(service)       # whatever is done to the file, it is opened anew
        late = site.service()
        troubled(late)
        put(site, site.store.read_bytes())
        site.store.chmod(0)
        troubled(service)
        site.store.chmod(0o640)
        sane(service)
        sane(late)


@tap.test
def store_replaced():
    """another store put in its place is the one that is asked"""
    with filled() as site:
        service = site.service()
        sane(service)
        first = site.store.read_bytes()
        site.gate("-q", "delete", "203.0.113.7", "--account", "alice", "-y")
        second = site.store.read_bytes()
        service.expect(DUNNO, "alice", "192.0.2.1")
        put(site, first)
        sane(service)
        put(site, second)
        service.expect(DUNNO, "alice", "192.0.2.1")
        service.expect(refusal("alice", "203.0.113.7"), "alice", "203.0.113.7")


@tap.test
def store_behind_links():
    """another store behind the same name: a link turned to it, a backup copied over the file"""
    with filled() as site:
        top = site.mail.path(lab.MNT)
        shutil.copytree(top / "state", top / "other", copy_function=shutil.copy2)
        for path in (top / "other", top / "other" / "smtpgate.db"):
            os.chown(path, 0, GROUP)
        site.gate("-q", "-y", "--state", lab.MNT + "/other", "delete", "203.0.113.7", "--account",
                  "alice")
        (top / "link").symlink_to("state")
        service = Service(site, "--state", lab.MNT + "/link")
        site.cleanup.callback(lambda: service.err.fileno() < 0 or service.end())
        for _ in range(3):
            sane(service)
            (top / "next").symlink_to("other")
            (top / "next").rename(top / "link")
            service.expect(DUNNO, "alice", "192.0.2.1")
            (top / "next").symlink_to("state")
            (top / "next").rename(top / "link")
        # The same number of changes since the copy was made: SQLite's own counter is the same.
        copy = site.store.read_bytes()
        site.gate("-q", "add", "198.51.100.1", "--account", "alice")
        service.expect(DUNNO, "alice", "198.51.100.1")
        site.store.write_bytes(copy)
        site.gate("-q", "add", "198.51.100.2", "--account", "alice")
        service.expect(refusal("alice", "198.51.100.1"), "alice", "198.51.100.1")
        service.expect(DUNNO, "alice", "198.51.100.2")


@tap.test
def trouble_is_said():
    """by hand the reason is on standard error; with a log, it is there, once, and that it is over"""
    with filled() as site:
        (site.mail.path(lab.MNT) / "dev").mkdir()
        site.mail.run("mount", "-t", "tmpfs", "tmpfs", "/dev")
        log = site.mail.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = site.mail.path("/dev/log")
        log.bind(str(path))
        path.chmod(0o666)
        log.settimeout(PATIENCE)
        service = site.service()
        sane(service)
        whole = site.store.read_bytes()
        site.store.unlink()
        troubled(service)
        troubled(service)
        assert log.recv(4096).decode().endswith("smtpgate: policy: there is no store in "
                                                + lab.STATE)
        done = site.mail.run(PROGRAM, "--state", lab.STATE, "policy",
                             stdin=request("bob", "192.0.2.1").decode())
        assert done.out == TROUBLE, done
        assert done.err == f"smtpgate: policy: there is no store in {lab.STATE}\n", done
        log.recv(4096)
        put(site, whole)
        sane(service)
        assert log.recv(4096).decode().endswith("the store can be read again")
        done = site.mail.run(PROGRAM, "--state", lab.STATE, "policy", stdin="request=smtp")
        assert not done.out and "ended inside a request" in done.err, done


@tap.test
def store_damaged():
    """any page of it destroyed: an answer is right, or deferred"""
    with filled() as site:
        site.gate("-q", "set", "limit", "none")
        for number in range(8):
            site.gate("-q", "add", *(f"198.51.100.{number * 20 + i}" for i in range(20)),
                      "--account", f"account{number}")
        service = site.service()
        sane(service)
        whole = site.store.read_bytes()
        deferred = 0
        for at in range(0, len(whole), 4096):
            for fill in (b"\xff", b"\0"):
                broken = whole[:at] + fill * 4096 + whole[at + 4096:]
                for write in (lambda b: put(site, b), site.store.write_bytes):
                    write(broken)
                    for client in (service, site.service()):
                        for account, address, right in (
                                ("alice", "203.0.113.7", DUNNO), ("bob", "192.0.2.1", DUNNO),
                                ("alice", "192.0.2.1", refusal("alice", "192.0.2.1")),
                                ("bob", "203.0.113.7", refusal("bob", "203.0.113.7")),
                                ("account3", "198.51.100.65", DUNNO)):
                            got = client.ask(account, address)
                            assert got in (right, TROUBLE), f"page at {at}: {account}: {got}"
                            deferred += got == TROUBLE
                        if client is not service:
                            client.end()
                    write(whole)
                    sane(service)
        assert deferred > 40, f"only {deferred} were deferred"


@tap.test
def trouble_option():
    """--trouble says how trouble is answered"""
    with filled() as site:
        for word, answer in (("defer", TROUBLE), ("reject", "action=REJECT 5.3.0 the list of"
                             " allowed senders cannot be read\n\n"),
                             ("dunno", DUNNO)):
            service = site.service("--trouble", word)
            sane(service)
            whole = site.store.read_bytes()
            site.store.unlink()
            troubled(service, answer)
            put(site, whole)
            sane(service)
        done = site.gate("policy", "--trouble", "ok", ok=2)
        assert "\"ok\" is no answer to trouble" in done.err


HALF_A_CHANGE = """
import os, sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("PRAGMA cache_size = 1")
store.execute("BEGIN")
store.execute("UPDATE entry SET account = 'nobody' WHERE account = 'alice'")
store.execute("UPDATE prefix SET account = 'nobody' WHERE account = 'alice'")
store.execute("CREATE TABLE filler AS WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1"
              " FROM n WHERE i < 400) SELECT i, randomblob(2000) FROM n")
os.kill(os.getpid(), 9)
"""


@tap.test
def killed_writer():
    """a writer killed in the middle: deferred, not answered from half a change; nothing is touched"""
    with filled() as site:
        service = site.service()
        sane(service)
        site.mail.run(sys.executable, "-c", HALF_A_CHANGE, STORE, ok=None)
        journal = site.store.with_name("smtpgate.db-journal")
        assert journal.stat().st_size > 512, "no hot journal was left"
        left = site.store.read_bytes(), journal.read_bytes()
        troubled(service)
        late = site.service()
        troubled(late)
        assert left == (site.store.read_bytes(), journal.read_bytes())
        site.gate("list")       # whoever may write takes the half change back
        assert not journal.exists()
        sane(service)
        sane(late)


# ---- what it may do ----

@tap.test
def reads_only():
    """it reads the store and nothing else: no file is opened for writing, none is made"""
    with filled() as site:
        site.mail.path(lab.MNT + "/trace").mkdir(mode=0o777)
        site.mail.path(lab.MNT + "/trace").chmod(0o777)
        log = lab.MNT + "/trace/log"
        before = {p.name: p.stat() for p in site.mail.path(lab.STATE).iterdir()}
        service = site.service(prefix=(
            "strace", "-qq", "-o", log, "-e",
            "trace=open,openat,openat2,creat,mkdir,mkdirat,rename,renameat2,unlink,unlinkat,truncate,"
            "ftruncate,chmod,fchmod,bpf,socket,connect,mount,pwrite64,write"))
        sane(service)
        site.gate("-q", "add", "198.51.100.1", "--account", "alice")
        service.expect(DUNNO, "alice", "198.51.100.1")
        put(site, site.store.read_bytes())
        service.expect(DUNNO, "alice", "198.51.100.1")
        with locked(site):
            service.expect(TROUBLE, "alice", "198.51.100.1")
        sane(service)
        assert service.end() == 0
        text = site.mail.path(log).read_text("utf-8", "replace")
        assert "smtpgate.db" in text, text
        bad = [line for line in text.splitlines() if not harmless(line)]
        assert not bad, "\n".join(bad)
        assert "-journal" not in "".join(p.name for p in site.mail.path(lab.STATE).iterdir())
        after = {p.name: p.stat() for p in site.mail.path(lab.STATE).iterdir()}
        assert sorted(before) == sorted(after)
        assert before["lock"].st_ino == after["lock"].st_ino


def harmless(line):
    """Answers, words for the log, and files opened for reading; or it was not permitted."""
    if " = -1 EACCES" in line or " = -1 ENOENT" in line:
        return True
    if line.startswith("write(1, ") or line.startswith("socket(AF_UNIX, SOCK_DGRAM"):
        return True
    if line.startswith("connect(") and '"/dev/log"' in line:
        return True
    return line.startswith("open") and "O_WRONLY" not in line and "O_RDWR" not in line \
        and "O_CREAT" not in line and "O_TRUNC" not in line


@tap.test
def may_nothing_else():
    """its user cannot change the store, take the lock, or reach the kernel's half"""
    with filled() as site:
        other = site.host("other")
        site.link(site.mail, "eth0", other, "p0")
        site.gate("-q", "attach", "eth0")

        def as_user(*command, ok=None):
            return lab.execute(site.mail.argv(
                "setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--", *command),
                ok, env=site.env)

        content = site.store.read_bytes()
        as_user("cat", STORE, ok=0)
        for command in (f"echo >>{STORE}", f"echo >{STORE}-journal", f"rm -f {STORE}",
                        f"echo >>{lab.STATE}/lock", f"mv {STORE} {STORE}2", f"touch {lab.STATE}/x",
                        f"ls {lab.BPFFS}", f"cat {lab.BPFFS}/abi1/config",
                        f"rm -f {lab.BPFFS}/link_1", "mount -t tmpfs x /mnt",
                        f"mkdir {lab.BPFFS}/x"):
            done = as_user("sh", "-c", command)
            assert done.code not in (0,), f"{command} was possible"
        for words in (("add", "198.51.100.1"), ("-y", "disable"), ("sync",), ("detach", "--all"),
                      ("set", "limit", "5"), ("attach", "eth0")):
            done = as_user(PROGRAM, *words)
            assert done.code == 4, f"{words}\n{done}"
        assert site.store.read_bytes() == content
        site.gate("status", "--check")


# ---- the whole rule ----

def folded(name):
    """Letters of ASCII without regard to case; bytes.lower() knows no others."""
    return os.fsencode(name).lower()


def canonical(name, realm):
    """One account's two spellings come to one."""
    name, end = folded(name), b"@" + folded(realm)
    if realm and name.endswith(end) and name.find(b"@") == len(name) - len(end) > 0:
        return name[:-len(end)]
    return name


def bounds(who):
    """First and last address of an entry as it is shown."""
    first, dash, last = who.partition("-")
    if dash:
        return ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
    network = ipaddress.ip_network(first)
    return network[0], network[-1]


class Model:
    """The lists as they are shown, and the rule as SPEC section 2 has it."""

    def __init__(self, site, now):
        settings = site.json("set")
        self.realm = settings["realm"] or ""
        self.nowhere = settings["others"] == "nowhere"
        self.now = now
        expires = dict(map(int, row.split("|")) for row in
                       site.sql("SELECT id, expires FROM entry"))
        self.lists = {}
        for entry in site.json("list")["entries"]:
            name = canonical(entry["account"] or "", self.realm)
            self.lists.setdefault(name, []).append((*bounds(entry["who"]), expires[entry["id"]]))

    def allowed(self, account, address):
        """May this account send from this address?"""
        if not self.lists:
            return True
        entries = self.lists.get(canonical(account, self.realm)) or self.lists.get(b"")
        if entries is None:
            return not self.nowhere
        return address is not None and any(
            first.version == address.version and first <= address <= last
            and (not end or end > self.now) for first, last, end in entries)


ACCOUNTS = ["alice", "ALICE", "alice@mail.example", "Alice@Mail.Example", "bob", "bob@other.example",
            "carol@mail.example", "dave", "b\u00fcro", "a@b", "a@b@mail.example", "@mail.example"]
BASES = [ipaddress.ip_address(a) for a in ("192.0.2.0", "198.51.100.0", "2001:db8::",
                                           "2001:db8:0:1:8000::")]


def random_address(dice):
    """Near each other, so that entries meet and nest."""
    return dice.choice(BASES) + dice.randrange(dice.choice((4, 64, 256)))


def random_who(dice):
    first = random_address(dice)
    kind = dice.randrange(3)
    if kind == 0:
        return str(first)
    if kind == 1:
        length = first.max_prefixlen - dice.randrange(9)
        return str(ipaddress.ip_network((first, length), strict=False))
    last = first + dice.randrange(1, 70)
    return f"{first}-{last}"


def change(site, dice):
    """One command, as it may come; what it must not do it refuses."""
    account = dice.choice(ACCOUNTS)
    option = ("--account", account) if dice.random() < 0.7 else ()
    roll = dice.random()
    if roll < 0.6:
        site.gate("-q", "-y", "add", random_who(dice), *option)
    elif roll < 0.75:
        entries = site.json("list")["entries"]
        if entries:
            site.gate("-q", "-y", "delete", f"#{dice.choice(entries)['id']}")
    elif roll < 0.85:
        site.gate("-q", "-y", "set", "others", dice.choice(("anywhere", "nowhere")))
    elif roll < 0.92:
        site.gate("-q", "-y", "set", "realm", dice.choice(("mail.example", "none", "MAIL.EXAMPLE")))
    elif roll < 0.97:
        site.gate("-q", "-y", "disable", *option, ok=(0, 1))
    else:
        site.gate("-q", "-y", "disable", "--all")


@tap.test
def differential():
    """random lists and settings: the service, check and a model of the rule say the same"""
    seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10 ** 9)
    print(f"# SEED={seed}", flush=True)
    dice = random.Random(seed)
    verdicts = {True: 0, False: 0}
    with Site() as site:
        site.gate("-q", "set", "limit", "none")
        service = site.service()
        for _ in range(40):
            for _ in range(dice.randrange(1, 4)):
                change(site, dice)
            now = int(time.time())
            site.sql(f"UPDATE entry SET expires = (CASE abs(random()) % 6 WHEN 0 THEN {now - 5}"
                     f" WHEN 1 THEN {now + 5000} ELSE 0 END)")
            model = Model(site, now)
            borders = [a + step for rows in model.lists.values() for row in rows for a in row[:2]
                       for step in (-1, 0, 1)]
            asked = []
            for _ in range(150):
                account = dice.choice(ACCOUNTS)
                if dice.random() < 0.1:
                    account = "".join(dice.choice((c.upper(), c)) for c in account)
                address = dice.choice(borders) if borders and dice.random() < 0.5 \
                    else random_address(dice)
                asked.append((account, address))
            compare(site, service, model, asked, verdicts)
            again = dice.choice(asked)[0]
            checked = site.json("check", *(str(a) for _, a in asked[:20]), "--account", again,
                                ok=(0, 1))["results"]
            for (_, address), row in zip(asked, checked):
                assert row["policy"] == model.allowed(again, address), \
                    f"SEED={seed}: check of {again} from {address}: {json.dumps(row)}"
    print(f"# {verdicts[True]} allowed, {verdicts[False]} refused", flush=True)
    assert min(verdicts.values()) > 500, f"SEED={seed}: {verdicts}"


def compare(site, service, model, asked, verdicts):
    """Asks the service all at once."""
    service.send(b"".join(request(account, str(address)) for account, address in asked[:75]))
    answers = [service.answer() for _ in asked[:75]]
    answers += [service.ask(account, str(address)) for account, address in asked[75:]]
    for (account, address), answer in zip(asked, answers):
        good = model.allowed(account, address)
        verdicts[good] += 1
        assert (answer == DUNNO) == good and answer.startswith(
            ("action=DUNNO\n", "action=REJECT 5.7.1 ")), \
            f"{account} from {address}: {answer!r}, the model says {good}\n" \
            f"{site.gate('list').out}\n{site.gate('set').out}"


if __name__ == "__main__":
    tap.main()
