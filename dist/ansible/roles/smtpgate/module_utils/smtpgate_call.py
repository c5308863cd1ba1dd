# SPDX-License-Identifier: GPL-2.0-only
"""How the modules of this role call smtpgate: what it says becomes what Ansible says.

smtpgate judges and tells what changed; nothing here knows what an entry or a port may look like.
"""
import json
import subprocess

ARGUMENTS = {
    "confirm": {"type": "bool", "default": False},
    "executable": {"type": "path"},
}
CONFIRMATION = 3    # exit status: wanted a confirmation and had none


class Gate:
    """The smtpgate of the managed host, called for one module."""

    def __init__(self, module):
        self.module = module
        self.notes = []
        self.done = []      # commands that changed something, for the message when a later one fails
        self.program = module.params["executable"] or module.get_bin_path(
            "smtpgate", opt_dirs=["/usr/sbin", "/usr/local/sbin"])
        if not self.program:
            module.fail_json(msg="smtpgate is not installed on this host, or not in PATH, /usr/sbin or"
                                 " /usr/local/sbin: install the package, or name it with executable")

    def run(self, words, stdin=""):
        """Runs a command; returns its exit status and what it printed.

        Not by AnsibleModule.run_command(), which leaves an empty input out, and takes it ill when a
        command ends without having read all of it."""
        try:
            done = subprocess.run([self.program, *words], input=stdin.encode("utf-8"),
                                  capture_output=True, check=False)
        except OSError as error:
            self.module.fail_json(msg=f"cannot run {self.program}: {error.strerror}")
        return (done.returncode, done.stdout.decode("utf-8", "replace"),
                done.stderr.decode("utf-8", "replace"))

    def ask(self, *words):
        """What a command that only looks says, as an object."""
        _, out, err = self.run(["-j", *words])
        return self._object(words, out, err)

    def text(self, *words, stdin=""):
        """What a command that only looks prints, as lines."""
        status, out, err = self.run(words, stdin)
        if status != 0:
            self.module.fail_json(msg=err.strip() or f"smtpgate {words[0]} ended with {status}",
                                  rc=status)
        return out.splitlines(keepends=True)

    def change(self, *words, stdin=""):
        """Runs a command that changes something, or in check mode one that says what it would."""
        flags = ["-j"]
        if self.module.check_mode:
            flags.append("-n")
        if self.module.params["confirm"]:
            flags.append("-y")
        _, out, err = self.run(flags + list(words), stdin)
        answer = self._object(words, out, err)
        for kind, sentence in sentences(err):
            # What is asked before is no more than a note where nothing is changed.
            if kind == "warning" or self.module.check_mode and "asked first" in sentence:
                self.module.warn(sentence)
            else:
                self.notes.append(sentence)
        if answer["changed"]:
            self.done.append(" ".join(words))
        return answer

    def _object(self, words, out, err):
        try:
            answer = json.loads(out)
        except ValueError:
            self.module.fail_json(msg=f"smtpgate {words[0]} printed no JSON: {(out + err).strip()}")
        if not answer["ok"]:
            self._fail(answer["error"], err)
        return answer

    def _fail(self, error, err):
        hint = error.get("hint") or ""
        if error["code"] == CONFIRMATION and not self.module.params["confirm"]:
            hint = "if that is meant, set confirm: true (in the role: smtpgate_confirm)"
        message = error["message"] + (f"\nhint: {hint}" if hint else "")
        if self.done and not self.module.check_mode:
            message += f"\ndone before: {', '.join(self.done)}"
        self.module.fail_json(msg=message, rc=error["code"], hint=hint,
                              changed=bool(self.done) and not self.module.check_mode,
                              details=err.splitlines())


def sentences(err):
    """("warning" or "note", text) of what smtpgate said on standard error; a line that belongs to
    the one above stays with it."""
    found = []
    for line in err.splitlines():
        for kind in ("warning", "note"):
            start = f"smtpgate: {kind}: "
            if line.startswith(start):
                found.append((kind, line[len(start):]))
                break
        else:
            if found and line.startswith(" "):
                kind, text = found[-1]
                found[-1] = kind, f"{text}\n{line}"
    return found
