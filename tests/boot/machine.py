# SPDX-License-Identifier: GPL-2.0-only
"""A machine in qemu: a disk, network cards on cables of a laboratory's host, a root shell on a serial
line of its own, power and cards that can be pulled.

Software emulation: it runs anywhere. Knows nothing of what is tested.
"""
import base64
import json
import pathlib
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time

import lab

CPUS = 2
HUNG_S = 20
# Native XDP in virtio_net wants a transmit queue for each CPU beyond those in use.
QUEUES = 2 * CPUS
KERNEL = "root=/dev/vda rw console=ttyS0 panic=-1"


class Failed(AssertionError):
    """A command ended otherwise than it had to, or the guest said nothing more."""


def mac(number):
    """The hardware address of card 1, 2, ..."""
    return f"52:54:00:00:00:{number:02x}"


class Line:
    """Lines of text over a socket of qemu's."""

    def __init__(self, path, timeout=20):
        end = time.monotonic() + timeout
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(str(path))
                break
            except OSError:
                self.sock.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.rest = b""

    def send(self, text):
        """Says a line."""
        self.sock.sendall(text.encode() + b"\n")

    def line(self, deadline):
        """The next line; None when the other end is gone. TimeoutError at the deadline."""
        while b"\n" not in self.rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise TimeoutError
            try:
                part = self.sock.recv(1 << 20)
            except ConnectionResetError:
                part = b""
            if not part:
                return None
            self.rest += part
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode("utf-8", "replace").strip("\r")

    def close(self):
        """Ends it."""
        self.sock.close()


class Machine:
    """A machine that is on. `outside`: the host with its cables tap1, tap2, ...; `disk`: qemu's words
    for the drive; `cargo`: a tar archive, the guest's second disk."""

    def __init__(self, outside, image, disk, cards=(1, 2), cargo=None, words="", log=None,
                 queues=QUEUES):
        self.queues = queues
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="smtpgate-boot-"))
        self.log = log or self.work / "console"
        self.shell = self.qmp = self.process = None
        self.has_shell = False
        argv = [shutil.which("qemu-system-x86_64"), "-nodefaults", "-machine", "pc",
                "-display", "none", "-no-reboot", "-smp", str(CPUS), "-m", "1024",
                "-accel", "tcg", "-cpu", "max", "-device", "virtio-rng-pci,addr=0x10",
                "-serial", f"file:{self.log}",
                "-chardev", f"socket,id=shell,path={self.work}/shell,server=on,wait=off",
                "-device", "virtio-serial-pci,addr=0x11", "-device", "virtconsole,chardev=shell",
                "-qmp", f"unix:{self.work}/qmp,server=on,wait=off",
                "-kernel", str(image / "kernel"), "-initrd", str(image / "initrd"),
                "-append", f"{KERNEL} {words}".strip(),
                "-drive", f"if=none,id=disk,{disk}", "-device", "virtio-blk-pci,drive=disk,addr=0x8"]
        if cargo:
            argv += ["-drive", f"if=none,id=cargo,file={cargo},format=raw,readonly=on",
                     "-device", "virtio-blk-pci,drive=cargo,addr=0x9"]
        for number in cards:
            argv += ["-netdev", self.netdev(number),
                     "-device", ",".join(f"{k}={v}" for k, v in self.card(number).items())]
        try:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/proc/{outside.pid}/ns/net",
                 "--", *argv], stdin=subprocess.DEVNULL, stdout=open(self.work / "said", "wb"),
                stderr=subprocess.STDOUT)
            try:
                self.qmp = Line(self.work / "qmp")
            except OSError:
                raise Failed("qemu: " + (self.work / "said").read_text()) from None
            self.qmp.line(time.monotonic() + 20)
            self.monitor("qmp_capabilities")
            self.shell = Line(self.work / "shell")
        except BaseException:
            self.close()
            raise

    def netdev(self, number):
        """qemu's end of a cable."""
        return f"tap,id=cable{number},ifname=tap{number},script=no,downscript=no,queues={self.queues}"

    def card(self, number):
        """A card and its slot: Debian names it after that, ens4, ens5, ..."""
        return {"driver": "virtio-net-pci", "id": f"card{number}", "netdev": f"cable{number}",
                "mac": mac(number), "addr": hex(number + 3), "mq": "on",
                "vectors": 2 * self.queues + 2, "romfile": ""}

    # What is done to it from outside.

    def monitor(self, command, **arguments):
        """Asks qemu for something."""
        self.qmp.send(json.dumps({"execute": command, "arguments": arguments}))
        deadline = time.monotonic() + 30
        while True:
            answer = json.loads(self.qmp.line(deadline))
            if "error" in answer:
                raise Failed(f"{command}: {answer['error']}")
            if "return" in answer:
                return answer["return"]

    def unplug(self, number, timeout=60):
        """Pulls a card; returns when the guest let go of it."""
        self.monitor("device_del", id=f"card{number}")
        deadline = time.monotonic() + timeout
        while True:
            said = json.loads(self.qmp.line(deadline))
            if (said.get("event") == "DEVICE_DELETED"
                    and said["data"].get("device") == f"card{number}"):
                break
        self.monitor("netdev_del", id=f"cable{number}")

    def plug(self, number):
        """Puts a card in."""
        self.monitor("netdev_add", type="tap", id=f"cable{number}", ifname=f"tap{number}",
                     script="no", downscript="no", queues=self.queues)
        card = self.card(number)
        self.monitor("device_add", **dict(card, mq=True))

    def cut(self):
        """The power fails."""
        self.process.kill()
        self.process.wait(20)

    # What is done in it.

    def ready(self, timeout=400):
        """Waits for the shell, which says so once."""
        if self.has_shell:
            return
        if self.answer(timeout, "boot") != ["ready"]:
            raise Failed(f"no shell\n{self.console()}")
        self.has_shell = True

    def answer(self, timeout, command):
        """The words behind the next @@."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                line = self.shell.line(deadline)
                if line is None:
                    raise Failed(f"the guest ended: {command}\n{self.console()}")
                if "@@ " in line:
                    return line.split("@@ ", 1)[1].split()
        except TimeoutError:
            raise Failed(f"no answer in {timeout} s: {command}\n{self.console()}") from None

    def say(self, command):
        """Starts a line of shell in the guest; answer() later."""
        assert "\n" not in command, "one line"
        self.shell.send(command)

    def result(self, command, ok=0, timeout=180):
        """What came of say(): `ok` as in lab.execute()."""
        words = self.answer(timeout, command)
        out, err = (base64.b64decode(w[1:]).decode("utf-8", "replace") for w in words[1:3])
        result = lab.Result([command], int(words[0]), out, err)
        if ok is not None and result.code not in (ok if isinstance(ok, tuple) else (ok,)):
            raise Failed(f"expected exit {ok}\n{result}")
        return result

    def run(self, command, ok=0, timeout=180):
        """One line of shell in the guest, and what came of it."""
        self.say(command)
        return self.result(command, ok, timeout)

    def up(self, timeout=400):
        """Waits until systemd has nothing more to start; its word for how it went."""
        self.ready(timeout)
        return self.run("systemctl is-system-running --wait", ok=None, timeout=timeout).out.strip()

    def off(self, timeout=180):
        """
        Shuts it down in order. Linux 6.1 takes the queues of virtio cards away as its very last deed
        while packets still come in; an answer to one may then wait for its queue for ever (start_xmit
        in the console), nothing of XDP in the trace. What hangs after systemd's last word is switched off.
        """
        self.say("systemctl --no-block poweroff")
        deadline = time.monotonic() + timeout
        last_word = None
        while self.process.poll() is None:
            now = time.monotonic()
            if now > deadline:
                raise Failed(f"still on after {timeout} s\n{self.console()}")
            if not last_word and "Powering off." in self.console():
                last_word = now
            if last_word and now > last_word + HUNG_S:
                print("# the kernel hangs at its last deed: switched off", flush=True)
                self.process.kill()
            time.sleep(0.2)

    def console(self):
        """The last that the kernel and systemd said."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return re.sub(r"\x1b\[[0-9;]*m|[^\x20-\x7e\n]", "", text)[-3000:]

    def close(self):
        """Ends it."""
        for line in (self.shell, self.qmp):
            if line:
                line.close()
        if self.process:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait(20)
        shutil.rmtree(self.work, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
