# SPDX-License-Identifier: GPL-2.0-only
"""What the attached program would do with a packet, asked of the kernel thousands of times a second.

BPF_PROG_TEST_RUN on the very program that a pinned link runs, by the bare system call: neither
smtpgate's code nor libbpf is between the test and the verdict. The packets count as seen.
"""
import ctypes
import os
import platform
import struct
import time

import frames

NUMBER = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}.get(
    platform.machine(), 280)
MAP_LOOKUP, MAP_NEXT, OBJ_GET, TEST_RUN, PROG_BY_ID, INFO = 1, 4, 7, 10, 13, 15
XDP_DROP, XDP_PASS = 1, 2
ETHER = b"\x02\0\0\0\0\1\x02\0\0\0\0\2"
TARGET = {4: "192.0.2.25", 6: "2001:db8:f::25"}
LIBC = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    """bpf(2) with the attributes as they are; they are filled in place."""
    done = LIBC.syscall(NUMBER, command, attributes, len(attributes))
    if done < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"bpf({command}): {os.strerror(number)}")
    return done


def address_of(buffer):
    """The buffer's address as the kernel wants it: a u64."""
    return ctypes.addressof(buffer)


def attributes(form, *values):
    """A buffer of the system call's attributes."""
    return ctypes.create_string_buffer(struct.pack(form, *values), 128)


def opened(path):
    """A descriptor of what is pinned there."""
    name = ctypes.create_string_buffer(os.fsencode(str(path)))
    return bpf(OBJ_GET, attributes("=QII", address_of(name), 0, 0))


class Verdicts:
    """The gate on one interface: `pin` is its link's."""

    def __init__(self, pin):
        self.pin = pin
        self.prog_id, self.prog = 0, -1
        self.frame = ctypes.create_string_buffer(128)
        self.frames = {}

    def refresh(self):
        """The program may have been replaced; to be called after each change."""
        link = opened(self.pin)
        try:
            info = ctypes.create_string_buffer(64)
            bpf(INFO, attributes("=IIQ", link, len(info), address_of(info)))
        finally:
            os.close(link)
        prog_id = struct.unpack_from("=III", info)[2]
        if prog_id != self.prog_id:
            self.close()
            self.prog = bpf(PROG_BY_ID, attributes("=III", prog_id, 0, 0))
            self.prog_id = prog_id
        return prog_id

    def close(self):
        """Lets go of the program."""
        if self.prog >= 0:
            os.close(self.prog)
            self.prog = -1

    def frame_for(self, version, number, port, flags):
        """A TCP packet without data, from an address to a port."""
        key = (version, port, flags)
        if key not in self.frames:
            zero, target = ("0.0.0.0" if version == 4 else "::"), TARGET[version]
            head = frames.tcp(zero, target, 40000, port, flags, 1)
            self.frames[key] = ETHER + (
                b"\x08\0" + frames.ip4(zero, target, head) if version == 4 else
                b"\x86\xdd" + frames.ip6(zero, target, frames.TCP, head))
        at, size = (26, 4) if version == 4 else (22, 16)
        whole = self.frames[key]
        return whole[:at] + number.to_bytes(size, "big") + whole[at + size:]

    def passes(self, version, number, port, flags=frames.ACK):
        """Does it get past the gate? The source is the address of that number."""
        data = self.frame_for(version, number, port, flags)     # whose checksums nobody looks at
        ctypes.memmove(self.frame, data, len(data))
        # prog_fd, retval, data_size_in, data_size_out, data_in, data_out, repeat
        attr = attributes("=IIIIQQI", self.prog, 0, len(data), 0, address_of(self.frame), 0, 1)
        bpf(TEST_RUN, attr)
        verdict = struct.unpack_from("=II", attr)[1]
        assert verdict in (XDP_DROP, XDP_PASS), f"verdict {verdict}"
        return verdict == XDP_PASS


def value(path, size=64 + 65536):
    """The only element of a pinned array."""
    key, data, fd = ctypes.create_string_buffer(4), ctypes.create_string_buffer(size), opened(path)
    try:
        bpf(MAP_LOOKUP, attributes("=IIQQ", fd, 0, address_of(key), address_of(data)))
        return data.raw
    finally:
        os.close(fd)


def trie(path, version):
    """The networks in a pinned trie, and when they end (Unix seconds; None: never).

    {(version, first number, last number): end}"""
    size, found, fd = (4 if version == 4 else 16), {}, opened(path)
    offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    key, following = None, ctypes.create_string_buffer(4 + size)
    data = ctypes.create_string_buffer(24)
    try:
        while True:
            try:
                bpf(MAP_NEXT, attributes("=IIQQ", fd, 0, address_of(key) if key else 0,
                                         address_of(following)))
            except FileNotFoundError:
                return found
            key = ctypes.create_string_buffer(following.raw, 4 + size)
            bpf(MAP_LOOKUP, attributes("=IIQQ", fd, 0, address_of(key), address_of(data)))
            length, first = struct.unpack("=I", key.raw[:4])[0], int.from_bytes(key.raw[4:], "big")
            until = struct.unpack_from("=Q", data)[0]
            assert until & 0xff == length, f"length {until & 0xff} in a prefix of {length}"
            found[version, first, first | (1 << (8 * size - length)) - 1] = \
                (until >> 8) / 1000 + offset if until >> 8 else None
    finally:
        os.close(fd)
