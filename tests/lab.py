# SPDX-License-Identifier: GPL-2.0-only
"""A laboratory of throw-away hosts, so that a test can ask a real kernel over a real (veth) NIC.

Each host is one process (`cat`, waiting on a pipe) that is process 1 of its own network, mount and
process namespaces. Closing the pipe ends it, and with it go its processes, interfaces, bpffs pins
and files: everything a host stores lies below MNT, a tmpfs that only its own mount namespace sees.
The pipe also closes when the test is killed, so nothing can be left behind on the machine.

Sockets need no child process: a socket stays in the network namespace it was made in, so
Host.socket() steps in, makes one, steps out, and the test uses it like any other.
"""
import contextlib
import ctypes
import ipaddress
import json
import os
import pathlib
import select
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("SMTPGATE", str(ROOT / "build" / "smtpgate"))
BPFTOOL = "/usr/sbin/bpftool" if os.path.exists("/usr/sbin/bpftool") else "bpftool"

MNT = "/mnt"                    # in each host's own mount namespace, a tmpfs
STATE = MNT + "/state"
BPFFS = MNT + "/bpf/smtpgate"   # on a bpffs of its own
GUARDED = (25, 465, 587)

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)

START = """
set -e
read -r pid rest </proc/self/stat
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs %(mnt)s
mkdir %(mnt)s/bpf
[ -z "$1" ] || mount -t bpf bpf %(mnt)s/bpf
# No name server: swaks and Dovecot look up the machine's own name, and would wait for one.
# A gate of the machine's own is none of a test's.
[ ! -d /var/lib/smtpgate ] || mount -t tmpfs -o mode=755 tmpfs /var/lib/smtpgate
[ ! -e /etc/resolv.conf ] || mount --bind /dev/null /etc/resolv.conf
ip link set lo up
echo "$pid"
exec cat
""" % {"mnt": MNT}


class Failed(AssertionError):
    """A command ended otherwise than it had to."""


class Result:
    """What a command said."""

    def __init__(self, argv, code, out, err):
        self.argv, self.code, self.out, self.err = argv, code, out, err

    @property
    def json(self):
        """The one JSON object that -j promises."""
        value = json.loads(self.out)
        assert value.get("schema") == 1, f"no schema 1: {self.out!r}"
        return value

    def __str__(self):
        return (f"$ {' '.join(self.argv)}\nexit {self.code}\n"
                f"stdout: {self.out.strip()}\nstderr: {self.err.strip()}")


def execute(argv, ok=0, stdin=None, env=None, timeout=60, shown=None):
    """Runs a command; `ok` is the exit code it must end with, a tuple of them, or None for any."""
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout, env=env,
                          text=True, errors="replace", check=False,
                          **({"stdin": subprocess.DEVNULL} if stdin is None else {}))
    result = Result(shown or argv, done.returncode, done.stdout, done.stderr)
    if ok is not None and done.returncode not in (ok if isinstance(ok, tuple) else (ok,)):
        raise Failed(f"expected exit {ok}\n{result}")
    return result


class Host:
    """A machine of its own: network, mounts, processes, files."""

    def __init__(self, name, bpffs=True):
        self.name = name
        self.sockets = []
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--",
             "sh", "-c", START, "sh", "yes" if bpffs else ""],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = self.holder.stdout.readline()
        if not line.strip():
            why = self.holder.stderr.read().decode("utf-8", "replace").strip()
            self.close()
            raise RuntimeError(f"cannot make a namespace (root is needed): {why}")
        self.pid = int(line)
        self.netns = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def close(self):
        """Ends the host and all that runs and exists in it."""
        for sock in self.sockets:
            sock.close()
        with contextlib.suppress(OSError):
            self.holder.stdin.close()
        try:
            self.holder.wait(3)
        except subprocess.TimeoutExpired:
            self.holder.kill()
            self.holder.wait(5)
        self.holder.stdout.close()
        self.holder.stderr.close()
        if hasattr(self, "netns"):
            os.close(self.netns)
            del self.netns

    def path(self, inner):
        """A file of this host as the test process sees it."""
        return pathlib.Path(f"/proc/{self.pid}/root{inner}")

    def argv(self, *command):
        """The command line that runs `command` on this host."""
        # --root: where the tests run in a chroot, nsenter would otherwise leave it.
        return ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--root",
                f"--wd=/proc/{self.pid}/root", "--", *map(str, command)]

    def run(self, *command, ok=0, stdin=None, env=None, timeout=60):
        """Runs a command on this host."""
        return execute(self.argv(*command), ok, stdin, env, timeout, list(map(str, command)))

    def start(self, *command, **options):
        """Starts a command on this host and returns the process."""
        return subprocess.Popen(self.argv(*command), **options)

    def ip(self, *lines, ok=0):
        """Runs lines of ip(8)."""
        return self.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n", ok=ok)

    @contextlib.contextmanager
    def inside(self):
        """The calling thread is in this host's network namespace."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(self.netns)
            yield
        finally:
            setns(home)
            os.close(home)

    def socket(self, *args):
        """A socket of this host, closed with it."""
        with self.inside():
            sock = socket.socket(*args)
        self.sockets.append(sock)
        return sock

    def sysctl(self, name, value):
        """Sets a setting of this host's network."""
        with self.inside(), open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
            file.write(str(value))

    def address(self, device, *addresses):
        """Gives a device addresses ("192.0.2.1/24"), usable at once."""
        self.ip(*(f"addr add {a} dev {device}" + (" nodad" if ":" in a else "")
                  for a in addresses))

    def mac(self, device):
        """The hardware address as six bytes."""
        shown = json.loads(self.run("ip", "-j", "link", "show", "dev", device).out)
        return bytes.fromhex(shown[0]["address"].replace(":", ""))

    def listen(self, *ports, address="::"):
        """Listens (the kernel completes handshakes by itself); returns the sockets."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = []
        for port in ports:
            sock = self.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind((address, port))
            sock.listen(4096)
            sock.setblocking(False)
            made.append(sock)
        return made

    def packets(self, device):
        """A raw socket on a device: sends and sees whole frames."""
        sock = self.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.bind((device, 3))
        return sock


def setns(descriptor):
    """setns(2) of the calling thread into a network namespace (Python has it from 3.12 on)."""
    if LIBC.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, "setns: " + os.strerror(number))


class Lab:
    """A mail host under test and whatever stands around it."""

    def __init__(self, bpffs=True):
        self.hosts = {}
        self.env = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
                    "LANG": "C.UTF-8", "SMTPGATE_STATE": STATE, "SMTPGATE_BPFFS": BPFFS}
        if (str(ROOT) + "/").startswith(MNT + "/"):
            raise RuntimeError(f"the tests need {MNT} for themselves; move the source elsewhere")
        self.mail = self.host("mail", bpffs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for host in self.hosts.values():
            host.close()

    def host(self, name, bpffs=False):
        """One more host."""
        try:
            self.hosts[name] = Host(name, bpffs)
        except BaseException:
            self.__exit__()
            raise
        return self.hosts[name]

    @staticmethod
    def link(one, one_name, two, two_name, mtu=1500):
        """A cable between two hosts."""
        # Not in the host's process namespace: the other host's number means nothing there.
        execute(["nsenter", f"--target={one.pid}", "--net", "--", "ip", "link", "add", one_name,
                 "mtu", str(mtu), "type", "veth", "peer", "name", two_name, "mtu", str(mtu),
                 "netns", str(two.pid)])
        one.ip(f"link set {one_name} up")
        two.ip(f"link set {two_name} up")

    def command(self, *args):
        """The command line of smtpgate on the mail host, with the lab's own directories."""
        return self.mail.argv(PROGRAM, *args)

    def gate(self, *args, ok=0, stdin=None, env=None):
        """Runs smtpgate on the mail host."""
        return execute(self.command(*args), ok, stdin, dict(self.env, **(env or {})),
                       shown=["smtpgate", *map(str, args)])

    def json(self, *args, ok=0, stdin=None):
        """Runs `smtpgate -j` on the mail host and returns the object."""
        return self.gate("-j", *args, ok=ok, stdin=stdin).json

    def bpftool(self, *args, ok=0):
        """Runs `bpftool -j` on the mail host, returns the parsed answer."""
        done = self.mail.run(BPFTOOL, "-j", *args, ok=ok)
        return json.loads(done.out) if done.out.strip() else None

    # What the kernel holds, read with nothing of smtpgate's.

    def link_pins(self):
        """The pinned links: {pin name: link id}."""
        directory = self.mail.path(BPFFS)
        names = sorted(p.name for p in directory.iterdir() if p.name.startswith("link_")) \
            if directory.is_dir() else []
        # Some versions of bpftool (Debian 13's) print the link and end with 255 all the same.
        return {n: self.bpftool("link", "show", "pinned", f"{BPFFS}/{n}", ok=(0, 255))["id"]
                for n in names}

    def kernel_prefixes(self):
        """The networks in the two pinned tries."""
        found = set()
        for name, size, make in (("allow4", 4, ipaddress.IPv4Network),
                                 ("allow6", 16, ipaddress.IPv6Network)):
            for row in self.bpftool("map", "dump", "pinned", f"{BPFFS}/abi1/{name}"):
                key = bytes(int(b, 16) for b in row["key"])
                found.add(make((key[4:4 + size], int.from_bytes(key[:4], "little"))))
        return found

    def stored_prefixes(self):
        """The networks that the list as shown stands for, worked out without smtpgate."""
        found = []
        for entry in self.json("list")["entries"]:
            first, dash, last = entry["who"].partition("-")
            if dash:
                found += ipaddress.summarize_address_range(ipaddress.ip_address(first.strip()),
                                                           ipaddress.ip_address(last.strip()))
            else:
                found.append(ipaddress.ip_network(first))
        return set(found)

    def config(self):
        """The pinned runtime words and the ports on guard."""
        row = self.bpftool("map", "dump", "pinned", f"{BPFFS}/abi1/config")[0]
        data = bytes(int(b, 16) for b in row["value"])
        words = [int.from_bytes(data[8 * i:8 * i + 8], "little") for i in range(8)]
        return {"abi": words[0], "store_id": words[1], "applied": words[2], "mode": words[3],
                "ports": {p for p in range(65536) if data[64 + p]}}


# Connecting.

class Stream:
    """An unfinished connect()."""

    def __init__(self, client, source, target, port):
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        self.sock = client.socket(family, socket.SOCK_STREAM)
        self.client = client
        self.sock.setblocking(False)
        if source:
            self.sock.bind((source, 0))
        self.state = "timeout"
        try:
            self.sock.connect((target, port))
            self.state = "open"
        except BlockingIOError:
            pass
        except OSError as error:
            self.state = reason(error)

    def finish(self):
        """Called when the socket became writable."""
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.state = reason(OSError(error, "")) if error else "open"

    def close(self):
        """Ends the connection."""
        self.client.sockets.remove(self.sock)
        self.sock.close()


def reason(error):
    """A word for a connect() that failed."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "timeout"
    return os.strerror(error.errno)


def connect_all(client, wanted, patience=5.0, quiet=0.3):
    """Connects to many at once: `wanted` is [(source, target, port, expected)].

    Waits until every one that should come to something has (`patience` at most), and for `quiet`
    seconds that those which should be blocked stay silent. Returns the states found."""
    streams = [Stream(client, s, t, p) for s, t, p, _ in wanted]
    poller = select.poll()
    by_number = {}
    for stream in streams:
        if stream.state == "timeout":
            poller.register(stream.sock, select.POLLOUT)
            by_number[stream.sock.fileno()] = stream
    start = time.monotonic()
    while by_number:
        busy = any(stream.state == "timeout" and row[3] != "timeout"
                   for stream, row in zip(streams, wanted))
        left = start + (patience if busy else quiet) - time.monotonic()
        if left <= 0:
            break
        for number, _ in poller.poll(left * 1000):
            by_number.pop(number).finish()
            poller.unregister(number)
    states = [s.state for s in streams]
    for stream in streams:
        stream.close()
    return states


def expect(client, wanted):
    """Asserts the outcome of each (source, target, port, expected)."""
    wanted = list(wanted)
    wrong = [f"{s} -> {t} port {p}: {state}, expected {e}"
             for (s, t, p, e), state in zip(wanted, connect_all(client, wanted)) if state != e]
    assert not wrong, "\n".join(wrong)


def connect(client, target, port, source=None, timeout=0.5):
    """One connection attempt: "open", "timeout", "refused" or the system's words."""
    return connect_all(client, [(source, target, port, "open")], patience=timeout)[0]


def until(condition, patience=5.0):
    """Waits for something that has to become true."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"{condition} did not become true in {patience} s"
        time.sleep(0.01)


# Tests that this machine's kernel cannot run.

def needs(there, what):
    """Decorator below @test: the test is skipped, and says why, where `what` is missing."""
    def decorate(function):
        if there:
            return function

        def skipped():
            return None
        first = (function.__doc__ or function.__name__).strip().splitlines()[0]
        skipped.__name__ = function.__name__
        skipped.__doc__ = f"{first} # SKIP {what} is missing here"
        return skipped
    return decorate


def can_make(kind):
    """Can this kernel make such a device?"""
    host = Host("trial", bpffs=False)
    try:
        host.ip("link add base type veth peer name other")
        line = {"vlan": "link add link base name x type vlan id 5",
                "macvlan": "link add link base name x type macvlan"}.get(
                    kind, f"link add x type {kind}")
        return host.ip(line, ok=None).code == 0
    finally:
        host.close()
