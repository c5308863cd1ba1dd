#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Records the picture on README's first screen, so that it shows what the program really does.

The commands of SCENES are typed into real shells, each on a terminal of its own, on the hosts of
the demonstration. What those terminals show, and when, becomes docs/demo.cast (asciinema, version
2) and docs/demo.svg: without a script, moved by CSS alone, the whole story where nothing moves.
Nothing is written unless every command ended as it must.
"""
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from xml.sax.saxutils import escape

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# pylint: disable=wrong-import-position
import demo
import lab as laboratory

DOCS = laboratory.ROOT / "docs"
COLUMNS = 110
KEY, THINK, READ, HOLD = 0.035, 0.5, 1.0, 7.0   # seconds: a key, before typing, after, at the end
PATIENCE = 20

SWAKS = f"swaks --auth-user {demo.USER} --auth-password {demo.USERS[demo.USER]}"
MAIL, SHOP, THIEF = "root@mail", "shop@" + demo.LISTED, "thief@" + demo.UNLISTED
# (host, prompt, colour of the prompt, [(what is typed, its exit status, what it must show)])
SCENES = [
    ("mail", MAIL, 32, [
        ("smtpgate set ports 465,587", 0, "465, ?587"),
        (f"smtpgate add {demo.LISTED} --remark 'web shop'", 0, "added #1"),
        ("smtpgate attach eth0", 0, "attached, native mode")]),
    ("stranger", THIEF, 31, [
        (f"{SWAKS}  # the right password, stolen", 2, "connect: timeout")]),
    ("shop", SHOP, 34, [
        (SWAKS + " | tail -n 6", 0, r"235 2\.7\.0 Auth(.|\n)*250 2\.0\.0 Ok: queued")]),
    ("mail", MAIL, 32, [
        ("smtpgate blocked", 0, re.escape(demo.UNLISTED) + ".* drop"),
        ("smtpgate status", 0, "enforce: unlisted sources are dropped")]),
]

SWAKSRC = f"""--server {demo.MAIL}
--port 587
--tls
--timeout 3
--from {demo.USER}@mail.example
--to {demo.mail_relay.RECIPIENT}
--ehlo client.example
--hide-send
--hide-informational
"""

# Each prompt says on descriptor 9 how the last command ended; none is shown behind the last one.
RC = """
PS1='\\[\\e[1;%(colour)dm\\]%(name)s\\[\\e[0m\\]%(sign)s '
left=%(count)d
PROMPT_COMMAND='echo $? >&9; [ $((left--)) -gt 0 ] || exec true'
"""


class Screen:
    """What a terminal shows, and since when; knows the few sequences that occur, and no others."""

    TOKEN = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|([\r\n\b\a\t])|([^\x00-\x1f\x7f])")

    def __init__(self):
        self.rows = [[]]
        self.column = 0
        self.style = ""
        self.rest = ""

    def feed(self, text, when, typed):
        """Takes what was written at a moment; `typed`: as the echo of keys."""
        text = self.rest + text
        place = 0
        while place < len(text):
            token = self.TOKEN.match(text, place)
            if not token:
                break
            place = token.end()
            self._token(token, when, typed)
        self.rest = text[place:]
        assert len(self.rest) < 12, f"not known to this terminal: {self.rest[:20]!r}"

    def _token(self, token, when, typed):
        numbers, final, control, char = token.groups()
        if char:
            if self.column == COLUMNS:
                assert not typed, f"wider than {COLUMNS} columns: {line_of(self.rows[-1])}"
                self.rows.append([])
                self.column = 0
            row = self.rows[-1]
            row += [(" ", "", when, typed)] * (self.column + 1 - len(row))
            row[self.column] = (char, self.style, when, typed)
            self.column += 1
        elif control == "\n":
            self.rows.append([])
        elif control == "\r":
            self.column = 0
        elif control == "\t":
            row = self.rows[-1]
            self.column += 8 - self.column % 8
            row += [(" ", "", when, typed)] * (self.column - len(row))
        elif control == "\b":
            self.column = max(0, self.column - 1)
        elif final == "m":
            self._colour(numbers)
        elif final == "K" and numbers in ("", "0"):
            del self.rows[-1][self.column:]
        else:
            assert control == "\a", f"not known to this terminal: {token.group()!r}"

    def _colour(self, numbers):
        for number in (numbers or "0").split(";"):
            if number in ("", "0"):
                self.style = ""
            elif number in ("1", "2") or re.fullmatch("[39][0-7]", number):
                self.style += f" s{number}"
            else:
                assert number == "39", f"not known to this terminal: SGR {number}"
                self.style = re.sub(r" s[39]\d", "", self.style)


def line_of(row):
    """The text of a row."""
    return "".join(cell[0] for cell in row)


class Recording:
    """The clock, what was written when, and the screen."""

    def __init__(self):
        self.start = time.monotonic()
        self.events = []
        self.screen = Screen()

    def now(self):
        """Seconds since the beginning."""
        return time.monotonic() - self.start

    def wrote(self, data, typed=False):
        """Something appeared."""
        when = self.now()
        text = data.decode("utf-8")
        self.events.append((when, text))
        self.screen.feed(text, when, typed)


class Shell:
    """A shell at a terminal of its own on a host."""

    def __init__(self, host, env, recording):
        self.recording = recording
        self.terminal, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        self.said, saying = os.pipe()
        # A session of the host's own process namespace: bash wants to see who leads its terminal.
        argv = host.argv("setsid", "--ctty", "--wait", "bash", "-c",
                         f"exec bash --noprofile --rcfile {laboratory.MNT}/rc -i 9>&{saying}")
        self.process = subprocess.Popen(argv, stdin=inside, stdout=inside, stderr=inside, env=env,
                                        pass_fds=(saying,))
        os.close(inside)
        os.close(saying)

    def close(self):
        """Ends it."""
        self.process.kill()
        self.process.wait(5)
        os.close(self.terminal)
        os.close(self.said)

    def _read(self, patience, typed=False):
        """Takes what is shown next; False if there is nothing."""
        if not select.select([self.terminal], [], [], patience)[0]:
            return False
        try:
            data = os.read(self.terminal, 65536)
        except OSError:     # the shell has ended
            return False
        self.recording.wrote(data, typed)
        return bool(data)

    def prompted(self):
        """Waits until the command has ended, and all of it is shown; returns its exit status."""
        end = time.monotonic() + PATIENCE
        while not select.select([self.said], [], [], 0)[0]:
            assert time.monotonic() < end, "a command does not end"
            self._read(0.02)
        status = int(os.read(self.said, 16))
        while self._read(0.15):
            pass
        return status

    def type(self, line):
        """Types a line and Enter, key by key."""
        time.sleep(THINK)
        for key in line:
            os.write(self.terminal, key.encode())
            end = time.monotonic() + KEY
            while time.monotonic() < end:
                self._read(max(0, end - time.monotonic()), typed=True)
        time.sleep(THINK / 2)
        os.write(self.terminal, b"\r")


def play(lab, recording):
    """Types all of it."""
    for host in lab.hosts.values():
        host.path(laboratory.MNT + "/inputrc").write_text("set enable-bracketed-paste off\n")
        host.path(laboratory.MNT + "/.swaksrc").write_text(SWAKSRC)
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "xterm", "LANG": "C.UTF-8",
           "HOME": laboratory.MNT, "HISTFILE": "/dev/null", "INPUTRC": laboratory.MNT + "/inputrc",
           "SMTPGATE_BPFFS": laboratory.BPFFS}
    for name, prompt, colour, lines in SCENES:
        host = lab.hosts[name]
        host.path(laboratory.MNT + "/rc").write_text(RC % {
            "colour": colour, "name": prompt, "count": len(lines),
            "sign": "#" if prompt == MAIL else "$"})
        shell = Shell(host, env, recording)
        try:
            shell.prompted()
            for line, status, shows in lines:
                before = len(recording.screen.rows)
                shell.type(line)
                got = shell.prompted()
                shown = "\n".join(map(line_of, recording.screen.rows[before:]))
                assert got == status and re.search(shows, shown), f"{line}: exit {got}\n{shown}"
                time.sleep(READ)
        finally:
            shell.close()


def write_cast(recording, length, path):
    """As asciinema plays it."""
    height = len(recording.screen.rows)
    head = {"version": 2, "width": COLUMNS, "height": height, "title": "smtpgate"}
    lines = [head] + [[round(when, 3), "o", text] for when, text in recording.events]
    lines.append([round(length, 3), "o", ""])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


# The picture.

WIDE, HIGH, LEFT, TOP = 8.4, 19, 16, 48     # a cell, and where the first one is

STYLE = """
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace;
white-space:pre;fill:#24292f}
.w{fill:#f6f8fa}.f{fill:none;stroke:#d0d7de}.c{fill:#f6f8fa;opacity:0}.u{fill:#57606a;opacity:0}
.s1{font-weight:bold}.s2{fill:#6e7781}.s31,.s91{fill:#cf222e}.s32,.s92{fill:#1a7f37}
.s33,.s93{fill:#9a6700}.s34,.s94{fill:#0969da}.s35,.s95{fill:#8250df}.s36,.s96{fill:#1b7c83}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.w{fill:#161b22}.f{stroke:#30363d}
.c{fill:#161b22}.u{fill:#8b949e}.s2{fill:#8b949e}.s31,.s91{fill:#ff7b72}.s32,.s92{fill:#56d364}
.s33,.s93{fill:#e3b341}.s34,.s94{fill:#79c0ff}.s35,.s95{fill:#d2a8ff}.s36,.s96{fill:#76e3ea}}
"""


def runs(row):
    """(first column, text, style, since, typed) of neighbours that are alike."""
    found = []
    for column, (char, style, when, typed) in enumerate(row):
        if found and (typed, style) == (found[-1][4], found[-1][2]) and (
                typed or when - found[-1][3] < 0.05):
            found[-1][1] += char
        else:
            found.append([column, char, style, when, typed])
    return [run for run in found if run[1].strip()]


class Picture:
    """Lines of SVG, and the style that moves them."""

    def __init__(self, length):
        self.length = length
        self.rules = []
        self.known = {}
        self.body = []

    def percent(self, when):
        """A moment as keyframes have it."""
        return f"{when / self.length * 100:.2f}%"

    def rule(self, frames, timing="step-end"):
        """The class of what moves so."""
        if (frames, timing) not in self.known:
            name = f"a{len(self.known)}"
            self.known[frames, timing] = name
            self.rules.append(f"@keyframes {name}{{{frames}}}.{name}{{animation:{name} "
                              f"{self.length:.1f}s {timing} infinite}}")
        return self.known[frames, timing]

    def since(self, when):
        """The class of what is there from a moment on."""
        return self.rule(f"0%{{opacity:0}}{self.percent(when)},to{{opacity:1}}")

    def row(self, number, row):
        """Draws a row of the screen."""
        top = TOP + number * HIGH
        for column, text, style, when, typed in runs(row):
            shown = text.rstrip()
            kind = f"{style.strip()} {self.since(row[0][2] if typed else when)}".strip()
            self.body.append(
                f'<text class="{kind}" x="{LEFT + column * WIDE:.1f}" y="{top}" '
                f'textLength="{len(shown) * WIDE:.1f}" xml:space="preserve">{escape(shown)}</text>')
        keys = [(column, cell[2]) for column, cell in enumerate(row) if cell[3]]
        if keys:
            self._typing(top, keys, row[0][2])

    def _typing(self, top, keys, prompt):
        """A cover over a line that is being typed; it goes to the right, a cursor before it."""
        count, left = len(keys), LEFT + keys[0][0] * WIDE
        begin, end = self.percent(keys[0][1]), self.percent(keys[-1][1])
        moves = self.rule(f"0%,{begin}{{transform:none;opacity:1;animation-timing-function:"
                          f"steps({count})}}{end},to{{transform:translateX({count * WIDE:.1f}px);"
                          "opacity:1}", "linear")
        blinks = self.rule(f"0%{{opacity:0}}{self.percent(prompt)}{{opacity:1}}"
                           f"{self.percent(keys[-1][1] + THINK / 2)},to{{opacity:0}}")
        self.body.append(
            f'<g class="c {moves}"><rect x="{left:.1f}" '
            f'y="{top - 15}" width="{COLUMNS * WIDE:.0f}" height="{HIGH}"/>'
            f'<rect class="u {blinks}" x="{left:.1f}" y="{top - 13}" width="{WIDE}" height="16"/></g>')

    def text(self, rows):
        """The whole picture."""
        for number, row in enumerate(rows):
            if row:
                self.row(number, row)
        width, height = round(2 * LEFT + COLUMNS * WIDE), TOP + len(rows) * HIGH
        dots = "".join(f'<circle cx="{20 + 18 * i}" cy="17" r="5.5" fill="{colour}"/>'
                       for i, colour in enumerate(("#ff5f57", "#febc2e", "#28c840")))
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                f'width="{width}" height="{height}" role="img" aria-label="smtpgate on a mail host: '
                'a thief with the right password gets no connection, the listed shop does">\n'
                f"<style>{STYLE}" + "\n".join(self.rules)
                + "\n@media(prefers-reduced-motion:reduce){*{animation:none!important}}</style>\n"
                f'<clipPath id="v"><rect width="{width}" height="{height}" rx="8"/></clipPath>\n'
                f'<g clip-path="url(#v)"><rect class="w" width="{width}" height="{height}"/>{dots}\n'
                + "\n".join(self.body) + f'\n<rect class="f" x=".5" y=".5" width="{width - 1}" '
                f'height="{height - 1}" rx="8"/></g></svg>\n')


def main():
    """Returns the exit code."""
    if os.geteuid() != 0:
        print("recording: this needs root, because it makes network namespaces and loads a program "
              "into the kernel; run: sudo make recording", file=sys.stderr)
        return 4
    with laboratory.Lab() as lab:
        demo.Demo(lab)
        recording = Recording()
        play(lab, recording)
    rows = recording.screen.rows
    while rows and not rows[-1]:
        rows.pop()
    length = recording.now() + HOLD
    write_cast(recording, length, DOCS / "demo.cast")
    text = Picture(length).text(rows)
    assert len(text) < 60000, f"the picture has {len(text)} bytes"
    (DOCS / "demo.svg").write_text(text, encoding="utf-8")
    print(f"docs/demo.svg and docs/demo.cast: {len(rows)} lines, {length:.0f} s")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (AssertionError, laboratory.Failed) as failure:
        print(f"recording: {failure}", file=sys.stderr)
        sys.exit(1)
