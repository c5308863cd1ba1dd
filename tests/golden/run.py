#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Golden tests of the command line: what a person sees and what a script gets, word for word.

A case is a file *.txt beside this one: prose, and steps of this form:

    $ smtpgate add 192.0.2.10          a command for bash (lines may continue with "> ")
    added #1 192.0.2.10                its standard output
    2> smtpgate: note: ...             its standard error
    [exit 0; changed: store list]      how it ended and what it changed

Everything outside of steps is prose. The second line of a file names the case. Each case runs on a
throw-away host (tests/lab.py): own network, an interface eth0 (peer p0), own bpffs, empty state.

What a step changed is read behind smtpgate's back: the bytes of the files in the state directory
(store), the keys of the two tries and their ends (list), the mode, the guarded ports and the revision in the
kernel, the pinned links and the programs behind them (links). So "[exit 2]" says that nothing was
touched, and a step that ends otherwise than 0, or runs with -n, must have touched nothing. A line
"# needs: COMMAND" skips the case on kernels where the command fails.

Each plain step that changed nothing runs once more with -j: one line of JSON on standard output,
"schema" 1, the keys that SPEC section 3 promises, what dist/schema says and nothing that it does
not describe, and in an error the same words as in the text. Each command has to be met once like
that.

run.py [--update] [NAME...]; --update rewrites the expectations: read each difference before you
believe it. Words that a step may use beside the usual ones: `on-terminal TEXT COMMAND...` runs the
command on a terminal and types TEXT (printf escapes; "" is the end of input) when asked, and
`syn N SOURCE PORT` sends N connection attempts from p0.
"""
import concurrent.futures
import ctypes
import difflib
import hashlib
import json
import os
import pathlib
import pty
import re
import shlex
import socket
import subprocess
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
# With sanitizers in it, where that has been built: what is wrong with memory is wrong here too.
SANITIZED = pathlib.Path(__file__).resolve().parents[2] / "build" / "asan" / "smtpgate"
PLAIN = SANITIZED.parents[1] / "smtpgate"
if SANITIZED.exists() and (not PLAIN.exists()
                           or SANITIZED.stat().st_mtime >= PLAIN.stat().st_mtime - 60):
    os.environ["ASAN_OPTIONS"] = "exitcode=99"
    os.environ.setdefault("SMTPGATE", str(SANITIZED))
import lab  # pylint: disable=wrong-import-position

LIMIT = 240  # seconds that a line may take: the longest needs some 30 on a machine that has time
AT_ONCE = 4     # cases

COMMANDS = ("attach detach add edit delete list check disable observe enforce preview confirm"
            " pause history undo status stats blocked watch import apply diff export set policy metrics"
            " exporter sync doctor help").split()
READING = "list check history status stats metrics blocked preview diff doctor help".split()
ENTRY_CHANGE = {"changed": bool, "added": int, "deleted": int}
MODE_CHANGE = {"changed": bool, "mode": str, "mode_until": (str, None), "mode_then": (str, None)}
CONTRACT = {
    "status": {"mode": str, "in_sync": bool, "entries": int, "prefixes": int, "ports": [int],
               "interfaces": [{"name": str, "attached": bool, "xdp_mode": str}],
               "mode_until": (str, None), "mode_then": (str, None),
               "counters": {"passed": int, "dropped": int, "would_drop": int}},
    "list": {"entries": [{"id": int, "who": str, "kind": str, "account": (str, None),
                          "remark": str, "created": str, "expires": (str, None), "expired": bool,
                          "last_seen": (str, None), "connections": int}]},
    "list --lint": {"use_known_since": (str, None),
                    "advice": [{"kind": str, "count": int, "entries": [int], "who": (str, None),
                                "account": (str, None), "text": str, "hint": str}]},
    "list --accounts": {"accounts": [{"account": (str, None), "entries": int,
                                      "last_use": (str, None)}]},
    "check": {"results": [{"address": str, "allowed": bool, "entry": (dict, None)}]},
    "stats": {"reasons": [{"reason": str, "verdict": str, "packets": int, "bytes": int}]},
    "blocked": {"sources": [{"address": str, "port": (int, None), "packets": int, "attempts": int,
                             "first_seen": str, "last_seen": str, "verdict": str, "let_in": bool,
                             "ended_entry": (int, None)}],
                "total": int, "untracked": int},
    "add": ENTRY_CHANGE, "delete": ENTRY_CHANGE, "disable": ENTRY_CHANGE, "edit": ENTRY_CHANGE,
    "observe": MODE_CHANGE, "enforce": MODE_CHANGE, "confirm": MODE_CHANGE, "pause": MODE_CHANGE,
    "history": {"changes": [{"id": int, "time": str, "who": str, "uid": int, "from": (str, None),
                             "command": str, "added": int, "deleted": int, "edited": int,
                             "undone": bool, "undone_by": (int, None)}]},
    "undo": dict(ENTRY_CHANGE, edited=int, undone=[{"id": int, "command": str}]),
    "attach": {"changed": bool}, "detach": {"changed": bool}, "set": {"changed": bool},
    "doctor": {"healthy": bool,
               "checks": [{"number": int, "name": str, "status": str, "port": (int, None),
                           "interface": (str, None), "message": str, "remedy": (str, None)}]},
    "metrics": {"metrics": [{"name": str, "type": str, "help": str,
                             "samples": [{"labels": dict, "value": (int, None)}]}]},
    "import": ENTRY_CHANGE, "apply": ENTRY_CHANGE, "diff": ENTRY_CHANGE, "sync": {}, "help": {},
}
CONTRACT["export"] = CONTRACT["list"]
ERROR = {"error": {"code": int, "message": str, "hint": (str, None)}}
WORDS = {"mode": ("off", "observe", "enforce", "paused"),
         "mode_then": ("observe", "enforce"), "xdp_mode": ("native", "generic", "none"),
         "kind": ("address", "segment", "range", "covered", "adjacent", "wide", "private", "unused",
                  "ended"), "verdict": ("pass", "drop", "would_drop"),
         "status": ("ok", "warn", "FAIL", "unknown")}


# What the kernel and the disk hold, read without smtpgate.

def load_libbpf():
    """libbpf is there: smtpgate needs it."""
    for name in ("libbpf.so.1", "libbpf.so.0"):
        try:
            return ctypes.CDLL(name, use_errno=True)
        except OSError:
            pass
    raise RuntimeError("libbpf is missing")


BPF = load_libbpf()


def obj_get(path):
    """A descriptor of a pinned object, or None."""
    fd = BPF.bpf_obj_get(os.fsencode(path))
    return fd if fd >= 0 else None


def trie_ends(path, size):
    """The keys of a pinned trie, and until when each lets in."""
    fd = obj_get(path)
    if fd is None:
        return None
    ends = {}
    value = ctypes.create_string_buffer(24)
    key, following = None, ctypes.create_string_buffer(size)
    while BPF.bpf_map_get_next_key(fd, key, following) == 0:
        BPF.bpf_map_lookup_elem(fd, following, value)
        ends[following.raw] = value.raw[:8]
        key, following = following, ctypes.create_string_buffer(size)
    os.close(fd)
    return ends


def snapshot(path=pathlib.Path):
    """Everything that a command can change, by the words that an exit line uses. `path` makes a
    path of the host one of ours."""
    pins = path(lab.BPFFS)
    maps = pins / "abi1"
    state = path(lab.STATE)
    files = {}
    if state.is_dir():
        for file in state.rglob("*"):
            if file.name != "lock" and file.is_file() and file.stat().st_size < 1 << 22:
                files[str(file.relative_to(state))] = hashlib.sha256(file.read_bytes()).digest()
    tries = [trie_ends(maps / "allow4", 12), trie_ends(maps / "allow6", 20)]
    taken = {"store": files, "list": tries, "mode": None, "ports": None, "revision": None,
             "links": {}}
    fd = obj_get(maps / "config")
    if fd is not None:
        value = ctypes.create_string_buffer(64 + 65536)
        zero = ctypes.c_uint32(0)
        if BPF.bpf_map_lookup_elem(fd, ctypes.byref(zero), value) == 0:
            taken["revision"] = value.raw[:24]
            taken["mode"] = value.raw[24:32]  # not the clock: it may be read anew
            taken["ports"] = value.raw[64:]
        os.close(fd)
    names = sorted(os.listdir(pins)) if pins.is_dir() else []
    for name in names:
        if name.startswith("link_"):
            fd = obj_get(pins / name)
            info = ctypes.create_string_buffer(64)
            size = ctypes.c_uint32(64)
            BPF.bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size))
            kind, link, program = struct.unpack("=III", info.raw[:12])
            taken["links"][name] = (kind, link, program, info.raw[16:20])
            os.close(fd)
    return taken


def changes(before, after):
    """The words for what differs."""
    return [word for word in before if before[word] != after[word]]


# Case files.

class Step:
    """One command and what is expected of it. `said` and `end` are what came of it."""

    def __init__(self, command, expected):
        self.command, self.expected = command, expected
        self.faults = []

    @property
    def plain(self):
        """The words of a single smtpgate command, else None."""
        text = self.command
        if re.search(r"[|;&<>`\n]|\$\(", re.sub(r"'[^']*'", "", text)):
            return None
        try:
            words = shlex.split(text)
        except ValueError:
            return None
        return words if words and words[0] == "smtpgate" else None

    @property
    def verb(self):
        """The command's name; status when there is none, None when it is no command."""
        skip = False
        tail = re.split(r"[|;&<>\n]", self.command.partition("smtpgate")[2])[0]
        words = re.findall(r"'[^']*'|\S+", tail)
        if "--version" in words:
            return None
        for word in ["help"] if "--help" in words else words:
            if skip or word.startswith("-"):
                skip = word in ("--state", "--bpffs")
            else:
                return word if word in COMMANDS else None
        return "status"

    @property
    def shape(self):
        """Which of the promised keys hold for its JSON."""
        words = self.command.split()
        return " ".join([self.verb or ""] + [w for w in ("--accounts", "--lint") if w in words])

    @property
    def schema(self):
        """Which schema holds for its JSON, unless it is an error."""
        return "version" if "--version" in self.command.split() else self.verb

    @property
    def json(self):
        """Was JSON asked for?"""
        return re.search(r"smtpgate\b.* (-[a-z]*j[a-z]*|--json)( |$)", self.command)

    @property
    def dry(self):
        """Was -n given?"""
        return re.search(r"smtpgate\b.* (-[a-z]*n[a-z]*|--dry-run)( |$)", self.command)


def parse(text):
    """A list of prose lines (str) and steps."""
    parts, lines = [], text.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].startswith("$ "):
            parts.append(lines[at])
            at += 1
            continue
        command = [lines[at][2:]]
        at += 1
        while at < len(lines) and lines[at].startswith("> "):
            command.append(lines[at][2:])
            at += 1
        expected = []
        while at < len(lines) and not lines[at].startswith("$ "):
            expected.append(lines[at])
            at += 1
            if expected[-1].startswith("[exit"):
                break
        # Without its last line a step ends at the first empty one: a case just written.
        if not expected or not expected[-1].startswith("[exit"):
            end = expected.index("") if "" in expected else len(expected)
            at -= len(expected) - end
            expected = expected[:end]
        parts.append(Step("\n".join(command), expected))
    return parts


def render(parts):
    """The text of a case file."""
    lines = []
    for part in parts:
        if isinstance(part, Step):
            lines += ["$ " + part.command.replace("\n", "\n> "), *part.expected]
        else:
            lines.append(part)
    return "\n".join(lines) + "\n"


NORMAL = [
    (re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "YYYY-MM-DDTHH:MM:SSZ"),
    (re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d\b"), "YYYY-MM-DD HH:MM"),
    (re.compile(r"\bended 20\d\d-\d\d-\d\d\b"), "ended YYYY-MM-DD"),
    (re.compile(r"\bin \d+ (s|min|h|days)\b"), r"in N \1"),
    (re.compile(r"\bprocess \d+"), "process PID"),
    (re.compile(r"\bid \d+\)"), "id N)"),
    (re.compile(r"\bLinux \d+\.\d+\S*?(?=:? )"), "Linux N"),
    (re.compile(r'"seconds":\d+\.\d+'), '"seconds":N'),
    # What some kernels put into every network namespace.
    (re.compile(r"\b(tunl0|sit0|gre0|gretap0|erspan0|ip_vti0|ip6_vti0|ip6tnl0|ip6gre0), "), ""),
    (re.compile(re.escape(lab.STATE) + r"\b"), "STATE"),
    (re.compile(re.escape(lab.BPFFS) + r"\b"), "BPFFS"),
    (re.compile(re.escape(lab.MNT) + r"/"), "TMP/"),
]


def normal(text):
    """Without what differs from run to run. Bytes that no terminal shows are written out."""
    for pattern, word in NORMAL:
        text = pattern.sub(word, text)
    return "".join(c if c == "\n" or c.isprintable() else
                   f"\\x{ord(c):02x}" if not 0xdc80 <= ord(c) <= 0xdcff else
                   f"\\x{ord(c) - 0xdc00:02x}" for c in text)


# Running.

SYN = r"""
import socket, struct, sys
count, source, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind(("p0", 0x800))
tcp = struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, 2, 1024, 0, 0)
if ":" in source:
    ip = struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + socket.inet_pton(10, source) * 2
    kind = 0x86dd
else:
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + socket.inet_aton(source) * 2
    kind = 0x800
for _ in range(count):
    sock.send(b"\xff" * 6 + b"\x02" + b"\0" * 5 + struct.pack("!H", kind) + ip + tcp)
"""


def on_terminal(typed, argv):
    """Runs `argv` on a terminal, types `typed` once it asks, shows what the terminal showed."""
    typed = typed.encode().decode("unicode_escape").encode() or b"\x04"
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(argv[0], argv)
    shown, asked = b"", False
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
        if not asked and shown.endswith(b"[y/N] "):
            asked = True
            os.write(terminal, typed)
    _, status = os.waitpid(child, 0)
    sys.stdout.buffer.write(shown.replace(b"\r\n", b"\n"))
    return os.waitstatus_to_exitcode(status)


class Case:
    """A case file and the host that it runs on."""

    def __init__(self, name, text):
        self.name, self.parts = name, parse(text)
        self.faults, self.skip = [], False
        self.before = text
        self.lab = self.env = None

    @property
    def steps(self):
        """The steps alone."""
        return [part for part in self.parts if isinstance(part, Step)]

    @property
    def title(self):
        """The second line, by agreement."""
        lines = self.before.splitlines()
        return lines[1].lstrip("# ") if len(lines) > 1 else "?"

    def prepare(self):
        """A host with an interface, a copy of the program and a directory to work in."""
        host = self.lab.mail
        bin_dir = host.path(lab.MNT + "/bin")
        bin_dir.mkdir()
        program = bin_dir / "smtpgate"
        program.write_bytes(pathlib.Path(lab.PROGRAM).read_bytes())
        (bin_dir / "syn.py").write_text(SYN, encoding="ascii")
        words = {"syn": f'exec python3 {lab.MNT}/bin/syn.py "$@"',
                 "on-terminal": f'exec python3 "{HERE}/run.py" --on-terminal "$@"'}
        for word, line in words.items():
            (bin_dir / word).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        for file in bin_dir.iterdir():
            file.chmod(0o755)
        host.path(lab.MNT + "/work").mkdir()
        host.ip("link add eth0 type veth peer name p0")
        for device in ("all", "eth0", "p0"):
            host.sysctl(f"ipv6/conf/{device}/disable_ipv6", 1)   # no traffic of its own
        host.ip("link set eth0 up", "link set p0 up")
        self.env = dict(self.lab.env, LC_ALL="C.UTF-8")
        self.env.pop("NO_COLOR", None)
        self.env["PATH"] = f"{lab.MNT}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        # Whoever logged in on this machine, the history says root.
        self.env["SUDO_USER"], self.env["SUDO_UID"] = "root", "0"
        self.env["STATE"], self.env["BPFFS"] = lab.STATE, lab.BPFFS
        self.env["PYTHONPATH"] = str(HERE)      # for steps that look into the kernel themselves
        self.env["PYTHONDONTWRITEBYTECODE"] = "1"

    def shell(self, command):
        """(exit status, stdout, stderr) of a line for bash on the host."""
        host = self.lab.mail
        argv = ["nsenter", f"--target={host.pid}", "--mount", "--net", "--pid", "--uts", "--root",
                f"--wd={host.path(lab.MNT + '/work')}", "--", "bash", "-c", command]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, env=self.env,
                              timeout=LIMIT, check=False)
        return (done.returncode, done.stdout.decode("utf-8", "surrogateescape"),
                done.stderr.decode("utf-8", "surrogateescape"))

    def run(self):
        """Runs all steps; fills self.faults."""
        if not self.steps:
            self.faults.append("no step in it")
        with lab.Lab() as self.lab:
            self.prepare()
            needs = re.search("^# needs: (.*)$", self.before, re.M)
            self.skip = bool(needs and self.shell(needs.group(1))[0])
            if self.skip:
                return
            state = snapshot(self.lab.mail.path)
            for step in self.steps:
                state = self.run_step(step, state)
                self.faults += [f"$ {step.command}\n    {fault}" for fault in step.faults]

    def run_step(self, step, before):
        """Runs one step; replaces its expectation by what was seen. Returns the state after."""
        code, out, err = self.shell(step.command)
        after = snapshot(self.lab.mail.path)
        changed = changes(before, after)
        seen = []
        for text, mark in ((out, ""), (err, "2> ")):
            text = normal(text)
            seen += [(mark + line).rstrip(" ")  # manners.txt looks for blanks at the end
                     for line in text.removesuffix("\n").split("\n") if text]
            if text and not text.endswith("\n"):
                seen[-1] += "[no newline]"
        seen.append(f"[exit {code}" + (f"; changed: {' '.join(changed)}" if changed else "") + "]")
        wanted, step.expected = step.expected, seen
        if wanted != seen:
            step.faults.append("differs")
        if "smtpgate" not in step.command:
            return after
        reads = step.plain and step.verb in READING
        # sync mends what it can; attach leaves its empty maps ready, used by nobody
        partly = step.verb in ("sync", "attach") and code == 5
        if changed and (step.dry or reads or (step.plain and code and not partly)):
            step.faults.append(f"must change nothing, changed: {' '.join(changed)}")
        if code > 6:
            step.faults.append(f"no exit status of smtpgate's: {code}")
        if step.json and not re.search("/dev/full|>&-|on-terminal", step.command):
            step.faults += judge_json(step, code, out)
        if step.plain and not step.json:
            step.faults += judge_text(step, code, out, err)
            if not changed and code != 6 and (reads or code or "--state" not in step.command):
                self.twin(step, code, err, after)
        return after

    def twin(self, step, code, err, before):
        """The same with -j."""
        twin_code, out, twin_err = self.shell(step.command.replace("smtpgate", "smtpgate -j", 1))
        faults = judge_json(step, twin_code, out)
        if twin_code != code:
            faults.append(f"exit {twin_code} with -j, {code} without")
        if changed := changes(before, snapshot(self.lab.mail.path)):
            faults.append(f"changed with -j: {' '.join(changed)}")
        if not faults and "error" in json.loads(out):
            error = json.loads(out)["error"]
            for text in filter(None, (error["message"], error["hint"])):
                if text not in err:
                    faults.append(f"-j says otherwise than the text: {text}")
            if re.search(r"^smtpgate: (?!note: |warning: )", twin_err, re.M):
                faults.append("-j prints the error on standard error too")
        step.faults += ["with -j: " + fault for fault in faults]


# What must hold of every answer.

def judge_shape(value, shape, where):
    """What does not fit: names of keys."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{where or 'answer'} is no object"]
        faults = []
        for key, inner in shape.items():
            if key not in value:
                faults.append(f"no key {where}{key}")
                continue
            faults += judge_shape(value[key], inner, f"{where}{key}.")
            if key in WORDS and isinstance(value[key], str) and value[key] not in WORDS[key]:
                faults.append(f"{where}{key} is {value[key]!r}")
        return faults
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where[:-1]} is no array"]
        return [f for item in value for f in judge_shape(item, shape[0], where[:-1] + "[].")]
    shapes = shape if isinstance(shape, tuple) else (shape,)
    good = (value is None and None in shapes) or any(
        isinstance(value, s) and not (s is int and isinstance(value, bool))
        for s in shapes if s is not None)
    return [] if good else [f"{where[:-1]} is {value!r}"]


class Schemas:
    """dist/schema, and which of them an answer was held against."""

    def __init__(self):
        # Here, as a step of a case runs this file too, and has no use for them.
        import schemas  # pylint: disable=import-outside-toplevel
        self.without = schemas.WITHOUT
        self.all = schemas.load()
        self.met = set()

    def judge(self, name, value):
        """What does not fit."""
        if name not in self.all:
            return [f"{name}: no command of COMMANDS in tests/golden/run.py with a schema in"
                    " dist/schema"]
        self.met.add(name)
        return self.all[name].judge(value)

    def not_met(self):
        """The commands that the program has and no step has shown the answer of."""
        table = json.loads(subprocess.run([lab.PROGRAM, "-j", "help"], check=True,
                                          stdout=subprocess.PIPE).stdout)["commands"]
        return [f"{name}: no step with -j ended well: add one to tests/golden/schema.txt"
                for name in [row["name"] for row in table] + ["error", "version"]
                if name not in self.met and name not in self.without]


SCHEMAS = None


def judge_json(step, code, out):
    """One line, one object, schema 1, the promised keys, as described."""
    if out.count("\n") != 1 or not out.endswith("\n"):
        return [f"not one line of JSON on standard output: {out!r}"]
    try:
        value = json.loads(out)
    except ValueError as error:
        return [f"no JSON ({error}): {out!r}"]
    if not isinstance(value, dict) or value.get("schema") != 1:
        return [f"no \"schema\":1: {out!r}"]
    if "error" in value or code > 1:
        faults = judge_shape(value, ERROR, "")
        if not faults and (value["error"]["code"] != code or value.get("ok") is not False):
            faults.append(f"exit {code}, but error.code {value['error']['code']},"
                          f" ok {value.get('ok')}")
        return faults + SCHEMAS.judge("error", value)
    faults = [] if value.get("ok") is True else [f"ok is {value.get('ok')}"]
    faults += judge_shape(value, CONTRACT.get(step.shape, {}), "")
    return faults + SCHEMAS.judge(step.schema, value)


ERR_LINE = re.compile(r"smtpgate: |  (hint: |smtpgate |sysctl )")


def judge_text(step, code, out, err):
    """The manners of text: whose words, how many, how wide."""
    faults = [f"stray line on standard error: {line}" for line in err.splitlines()
              if not ERR_LINE.match(line)]
    faults += [f"a line of {len(line)} characters on standard error"
               for line in err.splitlines() if len(line) > 400]
    if "\x1b" in out + err:
        faults.append("colour without a terminal")
    sentences = [line for line in err.splitlines() if line.startswith("smtpgate: ")
                 and not line.startswith(("smtpgate: note: ", "smtpgate: warning: "))]
    if code > 1 and len(sentences) != 1:
        faults.append(f"one sentence is wanted, not {len(sentences)}")
    if not code and sentences:
        faults.append("an error, yet exit 0")
    if step.verb == "help" and not code:
        lines = out.splitlines()
        if len(lines) > 24 or max(map(len, lines)) > 80:
            faults.append(f"help of {len(lines)} lines, {max(map(len, lines))} columns")
        topic = [w for w in step.plain[1:] if w in COMMANDS and w != "help"]
        if topic and not lines[0].startswith(f"  smtpgate {topic[0]}"):
            faults.append("help does not start with an example")
    return faults


# The runner itself.

WRONG = """# SPDX-License-Identifier: GPL-2.0-only
# wrong in every way
$ smtpgate list
no entry
[exit 0]
$ smtpgate list
no entries
[exit 1]
$ smtpgate add 192.0.2.1
added #1 192.0.2.1
2> smtpgate: warning: %s
2> smtpgate: note: stored, but the gate is attached to no interface yet: smtpgate attach IFACE
[exit 0]
$ smtpgate list; exit 9
$ smtpgate -j list | sed 's/$/ and more/' # smtpgate -j list
{"schema":1,"ok":true,"entries":[]} and more
[exit 0]
"""


def runner_fails():
    """Does each kind of wrong expectation fail?"""
    case = Case("self", WRONG)
    case.run()
    found = "\n".join(case.faults)
    return [f"step {i} did not fail" for i, s in enumerate(case.steps, 1) if not s.faults] + [
        f"not found: {what}" for what in ("no exit status of smtpgate's: 9",
                                          "no JSON") if what not in found]


def run_case(path):
    """A case that ran, whatever happened."""
    case = Case(path.stem, path.read_text(encoding="utf-8"))
    try:
        case.run()
    except Exception as error:  # pylint: disable=broad-except
        case.faults.append(f"{type(error).__name__}: {error}")
    return case


def report(number, title, faults, difference=""):
    """One TAP line, and why it is not ok."""
    print(f"{'not ok' if faults else 'ok'} {number} - {title}", flush=True)
    for text in [*faults, difference] if faults else []:
        for line in text.splitlines():
            print("# " + line, flush=True)


def main():
    """Runs the cases and prints TAP."""
    if sys.argv[1:2] == ["--on-terminal"]:
        sys.exit(on_terminal(sys.argv[2], sys.argv[3:]))
    global SCHEMAS  # pylint: disable=global-statement
    SCHEMAS = Schemas()
    update = "--update" in sys.argv
    names = [a for a in sys.argv[1:] if a != "--update"]
    paths = [p for p in sorted(HERE.glob("*.txt")) if not names or p.stem in names]
    print(f"1..{len(paths) + (1 if names else 2)}", flush=True)
    report(1, "the runner notices wrong expectations", runner_fails())
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for number, (path, case) in enumerate(zip(paths, pool.map(run_case, paths)), 2):
            after = render(case.parts)
            difference = "\n".join(difflib.unified_diff(
                case.before.splitlines(), after.splitlines(), path.name, "seen", n=4, lineterm=""))
            if update and difference:
                path.write_text(after, encoding="utf-8")
            failed += bool(case.faults)
            report(number, f"{path.stem}: {case.title}" + (" # SKIP" if case.skip else ""),
                   case.faults, difference)
    if not names:
        missing = SCHEMAS.not_met()
        failed += bool(missing)
        report(len(paths) + 2, "every command's answer was held against its schema", missing)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
