# SPDX-License-Identifier: GPL-2.0-only
"""A disk whose cache forgets when the power goes.

A machine that is killed in an emulator loses its memory, but all that it wrote is safe in the files
of the emulator's host. A real disk loses what nobody told it to flush, and what it wrote of that is
in no order. So this one keeps what is written to itself until a flush; when the power is cut, a
random half of what was not flushed gets to the medium. Speaks NBD, as qemu does. Knows nothing of what is tested.
"""
import contextlib
import os
import random
import socket
import struct
import threading

BLOCK = 4096
MAGIC, OPTION, REPLY = 0x4e42444d41474943, 0x49484156454f5054, 0x3e889045565a9
GO, ABORT, ACK, INFO, UNKNOWN = 7, 2, 1, 3, 0x80000001
READ, WRITE, LEAVE, FLUSH = 0, 1, 2, 3
HAS_FLAGS, CAN_FLUSH = 1, 4


class Disk:
    """A disk at a socket, for one machine after the other. `medium`: the file with what is safe."""

    def __init__(self, medium, path):
        self.file = os.open(medium, os.O_RDWR | os.O_CLOEXEC)
        self.size = os.fstat(self.file).st_size
        self.path = path
        self.cache = {}
        self.flushes = 0
        self.lock = threading.Lock()
        self.deadly = None          # (number of the flush at which the power goes, is it done first?)
        self.dead = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @property
    def words(self):
        """What qemu is told."""
        return f"file=nbd+unix:///?socket={self.path},format=raw,cache=writeback"

    # Power.

    def die_at(self, number, done):
        """The power is to go at the flush of that number from now on."""
        with self.lock:
            self.flushes, self.deadly = 0, (number, done)
            self.dead.clear()

    def lose(self, seed):
        """The power has gone: half of what was not flushed is lost. Returns (lost, kept) blocks."""
        chance = random.Random(seed)
        with self.lock:
            kept = [block for block in sorted(self.cache) if chance.random() < 0.5]
            lost = len(self.cache) - len(kept)
            for block in kept:
                os.pwrite(self.file, self.cache[block], block * BLOCK)
            self.cache.clear()
            self.deadly = None
            self.dead.clear()
        return lost, len(kept)

    # What a disk does.

    def block(self, number):
        """What a machine reads."""
        found = self.cache.get(number)
        return os.pread(self.file, BLOCK, number * BLOCK) if found is None else found

    def read(self, start, length):
        """Any part of it."""
        first, last = start // BLOCK, (start + length + BLOCK - 1) // BLOCK
        with self.lock:
            if not any(n in self.cache for n in range(first, last)):
                return os.pread(self.file, length, start)
            data = b"".join(self.block(n) for n in range(first, last))
        return data[start - first * BLOCK:][:length]

    def write(self, start, data):
        """Into the cache."""
        with self.lock:
            at = 0
            while at < len(data):
                number, offset = divmod(start + at, BLOCK)
                part = data[at:at + BLOCK - offset]
                if len(part) < BLOCK:
                    old = self.block(number)
                    part = old[:offset] + part + old[offset + len(part):]
                self.cache[number] = part
                at += BLOCK - offset

    def flush(self):
        """From the cache to the medium. False: the power has gone."""
        with self.lock:
            self.flushes += 1
            deadly = self.deadly and self.flushes >= self.deadly[0]
            if not deadly or self.deadly[1]:
                for number, data in self.cache.items():
                    os.pwrite(self.file, data, number * BLOCK)
                self.cache.clear()
            if deadly:
                self.dead.set()
            return not deadly

    # How it is spoken with.

    def serve(self):
        """One machine after the other."""
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            with sock, contextlib.suppress(OSError, EOFError, struct.error):
                if self.greet(sock):
                    while self.request(sock):
                        pass

    def greet(self, sock):
        """Agrees on what is spoken."""
        sock.sendall(struct.pack(">QQH", MAGIC, OPTION, 3))
        take(sock, 4)
        while True:
            _, option, length = struct.unpack(">QII", take(sock, 16))
            take(sock, length)
            answer = struct.pack(">QI", REPLY, option)
            if option == GO:
                told = struct.pack(">HQH", 0, self.size, HAS_FLAGS | CAN_FLUSH)
                sock.sendall(answer + struct.pack(">II", INFO, len(told)) + told
                             + answer + struct.pack(">II", ACK, 0))
                return True
            sock.sendall(answer + struct.pack(">II", ACK if option == ABORT else UNKNOWN, 0))
            if option == ABORT:
                return False

    def request(self, sock):
        """One question. False: the machine is gone."""
        _, _, kind, handle, start, length = struct.unpack(">IHHQQI", take(sock, 28))
        data = b""
        if kind == READ:
            data = self.read(start, length)
        elif kind == WRITE:
            self.write(start, take(sock, length))
        elif kind == LEAVE:
            return False
        elif kind == FLUSH and not self.flush():
            sock.recv(1)            # no answer any more; until the machine is gone
            return False
        sock.sendall(struct.pack(">IIQ", 0x67446698, 0, handle) + data)
        return True

    def close(self):
        """Ends it."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)
        os.close(self.file)


def take(sock, length):
    """So many bytes."""
    data = bytearray()
    while len(data) < length:
        part = sock.recv(min(length - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
