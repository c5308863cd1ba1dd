# SPDX-License-Identifier: GPL-2.0-only
"""A virtual machine with a given kernel, and nothing in it but busybox and what is put there.

Software emulation, no disk, no network but two bridges in a network namespace of its own that ends
with it. The guest runs what it is told over its serial line, one command after the other: all
judgement is on this side. Knows nothing of smtpgate.
"""
import base64
import gzip
import json
import lzma
import os
import pathlib
import re
import select
import shutil
import subprocess
import tempfile
import time

# The network card that the gate sits on, and beside it the client's, on one bridge for each. Native
# XDP in virtio_net wants a transmit queue for each CPU beyond those in use, or has to share: hence
# queues, which only a tap device has.
CPUS = 1
CARDS = {
    "virtio_net": ("virtio-net-pci,mq=on,vectors=10", 2 * CPUS),
    "virtio_net, one queue": ("virtio-net-pci", 1),
    "e1000": ("e1000", 1),
}
CLIENT = ("virtio-net-pci", 1)

MACHINES = {
    "amd64": (["-cpu", "max", "-nodefaults"], "ttyS0"),
    "arm64": (["-M", "virt", "-cpu", "max", "-nodefaults"], "ttyAMA0"),
}

# Names a bridge's cables; multicast is flooded, nothing of this namespace's own takes part.
NETWORK = """
set -e
sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
for cable in $CABLES; do
    number=${cable%%:*}
    bridge=br$((number / 2))
    ip link show "$bridge" >/dev/null 2>&1 ||
        ip link add "$bridge" up type bridge mcast_snooping 0 stp_state 0
    queues=
    [ "${cable#*:}" = 1 ] || queues=multi_queue
    ip tuntap add dev "tap$number" mode tap $queues
    ip link set "tap$number" master "$bridge" up
done
exec "$@"
"""

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /tmp
mount -t bpf none /sys/fs/bpf
export PATH=/bin HOME=/tmp
for module in $(cat /modules/order); do
    insmod "/modules/$module" 2>>/tmp/insmod
done
ip link set lo up
exec </dev/CONSOLE >/dev/CONSOLE 2>&1
stty raw -echo
echo "@@ ready"
while read -r line; do
    sh -c "$line" </dev/null >/tmp/out 2>/tmp/err
    echo "@@ $? =$(base64 /tmp/out | tr -d '\\n') =$(base64 /tmp/err | tr -d '\\n')"
done
poweroff -f
"""


class Failed(AssertionError):
    """A command ended otherwise than it had to, or the guest said nothing more."""


class Result:
    """What a command in the guest said."""

    def __init__(self, command, code, out, err):
        self.command, self.code, self.out, self.err = command, code, out, err

    @property
    def json(self):
        """The one JSON object that it printed."""
        return json.loads(self.out)

    def __str__(self):
        return (f"$ {self.command}\nexit {self.code}\nstdout: {self.out.strip()[-2000:]}\n"
                f"stderr: {self.err.strip()[-2000:]}")


# What is in it.

def needed_libraries(program, roots):
    """{path in the guest: file} of a program's loader and libraries, all the way down."""
    found, todo = {}, [program]
    while todo:
        shown = subprocess.run(["readelf", "-W", "-l", "-d", todo.pop()], check=True,
                               stdout=subprocess.PIPE, text=True).stdout
        names = re.findall(r"\(NEEDED\)\s+Shared library: \[(.*?)\]", shown)
        for loader in re.findall(r"program interpreter: (/.*?)\]", shown):
            found[loader] = place_of(loader.lstrip("/"), roots)
        for name in names:
            if not any(pathlib.PurePath(path).name == name for path in found):
                found["/lib/" + name] = place_of(name, roots)
                todo.append(found["/lib/" + name])
    return found


def place_of(name, roots):
    """A library's file below the first of `roots` that has it."""
    for root in roots:
        for path in (root / name, *sorted(root.glob(f"lib/*-linux-gnu/{name}")),
                     *sorted(root.glob(f"usr/lib/*-linux-gnu/{name}"))):
            if path.exists():
                return path.resolve()
    raise FileNotFoundError(f"{name} is nowhere below {', '.join(map(str, roots))}")


def module_files(tree):
    """{name: file} of a kernel's modules."""
    return {re.sub(r"\.ko.*", "", path.name).replace("-", "_"): path
            for path in tree.rglob("*.ko*")}


def module_data(path):
    """A module as insmod wants it."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dc", path], stdout=subprocess.PIPE, check=True).stdout
    return data


def add_modules(tree, wanted, place):
    """Puts modules and what they build on into a folder, with their order; those not there are
    part of the kernel, or it has no such thing."""
    files, order = module_files(tree), []

    def add(name):
        if name in order or name not in files:
            return
        data = module_data(files[name])
        for needed in re.search(rb"\0depends=([^\0]*)", data).group(1).decode().split(","):
            add(needed.replace("-", "_"))
        (place / name).write_bytes(data)
        order.append(name)

    place.mkdir()
    for name in wanted:
        add(name)
    (place / "order").write_text("\n".join(order) + "\n", encoding="ascii")


def kernel_image(tree, place):
    """The kernel's file as the emulator takes it."""
    found = sorted(path for path in tree.rglob("vmlinu[xz]*") if path.is_file())
    if not found:
        raise FileNotFoundError(f"no kernel below {tree}")
    data = found[0].read_bytes()
    # arm64: a program for EFI that holds the kernel, which older emulators do not open.
    if data[4:8] == b"zimg":
        start, size = (int.from_bytes(data[at:at + 4], "little") for at in (8, 12))
        image = place / "image"
        image.write_bytes(gzip.decompress(data[start:start + size]))
        return image
    return found[0]


def pack(tree, target):
    """A folder as an initramfs."""
    names = subprocess.run(["find", ".", "-mindepth", "1"], cwd=tree, stdout=subprocess.PIPE,
                           check=True).stdout
    packed = subprocess.run(["busybox", "cpio", "-o", "-H", "newc"], cwd=tree, input=names,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    target.write_bytes(gzip.compress(packed, 1))


class Guest:
    """A running machine. `files`: {path in it: file here}."""

    def __init__(self, arch, tree, files, cards, modules, emulator):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="guest-"))
        self.arch, self.cards, self.rest, self.said = arch, list(cards), b"", []
        self.process = None
        try:
            self.fill(tree, files, modules)
            self.start(kernel_image(tree, self.work), emulator)
        except BaseException:
            self.close()
            raise

    def fill(self, tree, files, modules):
        """Makes the initramfs."""
        root = self.work / "root"
        for name in ("bin", "proc", "sys", "dev", "tmp"):
            (root / name).mkdir(parents=True)
        for inner, file in files.items():
            path = root / inner.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, path)
        add_modules(tree, modules, root / "modules")
        init = root / "init"
        init.write_text(INIT.replace("CONSOLE", MACHINES[self.arch][1]), encoding="ascii")
        init.chmod(0o755)
        pack(root, self.work / "initramfs")

    def start(self, kernel, emulator):
        """Boots it, in a network namespace of its own."""
        options, console = MACHINES[self.arch]
        argv, cables = [*emulator, *options], []
        for number, card in enumerate(self.cards):
            for end, (model, queues) in enumerate((CARDS[card], CLIENT)):
                tap = 2 * number + end
                cables.append(f"{tap}:{queues}")
                backend = f"tap,id=n{tap},ifname=tap{tap},script=no,downscript=no"
                argv += ["-netdev", backend + (f",queues={queues}" if queues > 1 else ""),
                         "-device", f"{model},romfile=,netdev=n{tap},"
                                    f"mac={self.mac(number, end)}"]
        argv += ["-accel", "tcg", "-smp", str(CPUS), "-m", "1024", "-display", "none",
                 "-no-reboot", "-serial", "stdio", "-kernel", str(kernel),
                 "-initrd", str(self.work / "initramfs"),
                 "-append", f"console={console} quiet loglevel=1 panic=-1 rdinit=/init"]
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--", "sh", "-c", NETWORK, "sh",
             *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=dict(os.environ, CABLES=" ".join(cables)))
        self.answer(600, "boot")

    @staticmethod
    def mac(number, end):
        """The address of a card: its number, and 0 the gate's, 1 the client's."""
        return f"52:54:00:00:0{number}:0{end}"

    def answer(self, timeout, command):
        """The words behind the next @@."""
        deadline = time.monotonic() + timeout
        while True:
            while b"\n" not in self.rest:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Failed(f"no answer in {timeout} s: {command}\n{self.console()}")
                if not select.select([self.process.stdout], [], [], left)[0]:
                    continue
                part = os.read(self.process.stdout.fileno(), 65536)
                if not part:
                    raise Failed(f"the guest ended: {command}\n{self.console()}")
                self.rest += part
            line, self.rest = self.rest.split(b"\n", 1)
            line = line.decode("utf-8", "replace").strip("\r")
            if "@@ " in line:
                return line.split("@@ ", 1)[1].split()
            self.said.append(line)

    def console(self):
        """The last that was said beside answers."""
        text = "\n".join(self.said[-40:]) + "\n" + self.rest.decode("utf-8", "replace")
        return re.sub(r"[^\x20-\x7e\n]", "", text)[-4000:]

    def run(self, command, ok=0, timeout=180):
        """One line of shell in the guest; `ok` as in lab.execute()."""
        assert "\n" not in command, "one line"
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        words = self.answer(timeout, command)
        code, out, err = int(words[0]), *(base64.b64decode(w[1:]).decode("utf-8", "replace")
                                          for w in words[1:3])
        result = Result(command, code, out, err)
        if ok is not None and code not in (ok if isinstance(ok, tuple) else (ok,)):
            raise Failed(f"expected exit {ok}\n{result}")
        return result

    def device(self, number, end):
        """The name that the kernel gave to a card."""
        found = self.run(f"grep -l '^{self.mac(number, end)}$' /sys/class/net/*/address", ok=None)
        if not found.out:
            raise Failed(f"no network card {self.mac(number, end)}\n{self.console()}\n"
                         + self.run("cat /tmp/insmod; ls /sys/class/net", ok=None).out)
        return found.out.split("/")[4]

    def close(self):
        """Ends it."""
        if self.process:
            self.process.kill()
            self.process.wait(10)
            self.process.stdin.close()
            self.process.stdout.close()
        shutil.rmtree(self.work, ignore_errors=True)
