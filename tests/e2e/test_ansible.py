#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The Ansible role and the cloud-init user-data on a throw-away host, by Debian's ansible-core.

What a run did is read from the kernel's own tables and from smtpgate, before and after; what Ansible
says of it (changed, the diff, the message) must be that. A run takes two seconds of computing, so few
of them show much each.
"""
import json
import pathlib
import re
import shlex
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
# pylint: disable=wrong-import-position
import tap
import yaml
from lab import BPFFS, MNT, PROGRAM, ROOT, Lab, execute

ROLES = ROOT / "dist/ansible/roles"
CLOUD = ROOT / "dist/cloud-init/user-data.yml"
BIN = MNT + "/bin"
LOG = MNT + "/calls"

# What the throw-away host has not: the package manager, the network, systemd. A unit that was enabled
# or started is so from then on.
STUB = f"""#!/bin/sh
echo "$(basename "$0") $*" >>{LOG}
case "$(basename "$0") $*" in
"systemctl show "*) for unit; do :; done
    active=inactive; [ ! -e {MNT}/start.$unit ] || active=active
    printf 'Id=%s\\nLoadState=loaded\\nActiveState=%s\\n' "$unit" "$active" ;;
"systemctl is-enabled "*) [ -e {MNT}/enable.$(echo "$2" | tr -d "'") ] ;;
"systemctl enable "*|"systemctl start "*) touch {MNT}/"$1.$2" ;;
esac
"""

SMTPGATE = f"""#!/bin/sh
exec {PROGRAM} "$@"
"""

# The example, and what only this host wants of it.
GIVEN = {"smtpgate_executable": PROGRAM}

# All that the example leaves out, and how the history calls it. The card by its other name.
GATE = {"mode": "observe", "realm": "mail.example", "others": "nowhere", "interfaces": ["ens5"],
        "xdp_mode": "generic"}
GATE_COMMANDS = ["-j observe", "-j set realm mail.example", "-j set others nowhere",
                 "-j attach eth0 --mode generic"]

# One run of bad tasks: each must fail with smtpgate's own sentence, and change nothing.
FAILING = {
    "bad entry": ({"smtpgate_list": {"entries": [{"who": "192.0.2.1"}, {"who": "192.0.2.1/23"}]}},
                  "standard input:2:9: 192.0.2.1/23: bits are set beyond the first 23; nothing changed"
                  "\nhint: 192.0.2.0/23 is the segment, 192.0.2.1 the address"),
    "a line in a remark": ({"smtpgate_list": {"entries": [{"who": "192.0.2.1",
                                                           "remark": "a\n192.0.2.2"}]}},
                           "control character U+000A"),
    "nothing": ({"smtpgate_list": {"entries": []}}, "set confirm: true"),
    "an empty file": ({"smtpgate_list": {"list": ""}}, "standard input is empty"),
    "no interface": ({"smtpgate_gate": {"interfaces": ["eth0", "eth7"]}},
                     "there is no interface eth7 here\nhint: there are: "),
    "the second of two": ({"smtpgate_gate": {"ports": [465], "limit": "many"}},
                          "\ndone before: set ports 465"),
}


class Managed(Lab):
    """A mail host as Ansible manages it."""

    def __init__(self):
        super().__init__()
        try:
            self.mail.ip("link add eth0 type veth peer name eth1", "link set eth0 up",
                         "link property add dev eth0 altname ens5")
            self.mail.path(BIN).mkdir()
            for name in ("systemctl", "curl", "sha256sum", "apt-get"):
                self.file(f"{BIN}/{name}", STUB, 0o755)
            self.file(f"{BIN}/smtpgate", SMTPGATE, 0o755)
            self.file(MNT + "/ansible.cfg", "")     # in place of the machine's
        except BaseException:
            self.__exit__()
            raise
        self.env = dict(self.env, PATH=f"{BIN}:{self.env['PATH']}", HOME=MNT,
                        ANSIBLE_ROLES_PATH=str(ROLES), ANSIBLE_LOCAL_TEMP=MNT + "/local",
                        ANSIBLE_REMOTE_TEMP=MNT + "/remote", ANSIBLE_NOCOLOR="1",
                        ANSIBLE_PYTHON_INTERPRETER="/usr/bin/python3",
                        ANSIBLE_CONFIG=MNT + "/ansible.cfg", PYTHONDONTWRITEBYTECODE="1")

    def file(self, name, text, mode=0o644):
        """Writes a file of the host."""
        path = self.mail.path(name)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def play(self, book, *options, ok=0, **variables):
        """Runs a playbook; returns what it said."""
        return execute(self.mail.argv("ansible-playbook", "-i", "mail,", "-c", "local", book, "-e",
                                      json.dumps({**GIVEN, **variables}), *options),
                       ok, env=self.env, timeout=200, shown=["ansible-playbook", str(book), *options])

    def calls(self):
        """What was called of what the host has not, since this was last asked."""
        path = self.mail.path(LOG)
        said = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return said

    def state(self):
        """All that a run could change, in the store and in the kernel."""
        entries = [[e[k] for k in ("id", "who", "account", "remark", "created", "expires")]
                   for e in self.json("list")["entries"]]
        pinned = self.mail.path(BPFFS).is_dir()
        return (entries, self.json("set"), self.json("history")["changes"], self.json("status")["mode"],
                self.link_pins(), pinned and (self.kernel_prefixes(), self.config()))


def recap(said):
    """{ok: N, changed: N, ...} of a run."""
    line = re.search(r"^mail +: (.*)$", said.out, re.M).group(1)
    return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", line)}


def has(said, *lines):
    """These lines stand in what was printed."""
    missing = [line for line in lines if line not in said.out.splitlines()]
    assert not missing, f"not said: {missing}\n{said}"


@tap.test
def role():
    """the role: checked, done, done again, repaired; each says what it is"""
    with Managed() as lab:
        example = ROOT / "dist/ansible/example.yml"
        diff = ("-ports: 25,465,587", "+ports: 465,587", "-limit: 10", "+limit: 20",
                "+198.51.100.0/24  # office", "+203.0.113.7  # web shop", "+203.0.113.9  account=alice",
                "+2001:db8:7::10-2001:db8:7::1f  until=2035-12-01T18:00:00Z  # new office",
                "-interface eth0: not attached")
        before = lab.state()
        said = lab.play(example, "--check", "--diff")
        assert recap(said)["changed"] == 5, said
        has(said, *diff)
        assert lab.state() == before and not lab.mail.path(BPFFS).exists()
        assert not [c for c in lab.calls() if " enable " in c or " start " in c]

        said = lab.play(example, "--diff")
        assert recap(said)["changed"] == 5, said
        has(said, *diff)
        assert "the gate drops every other source on ports 465, 587" in " ".join(said.err.split())
        lab.gate("status", "--check")
        assert list(lab.link_pins()) and lab.config()["ports"] == {465, 587}
        assert len(lab.kernel_prefixes()) > 3 and lab.kernel_prefixes() == lab.stored_prefixes()
        assert [c for c in lab.calls() if " enable " in c or " start " in c] == [
            f"systemctl {verb} {unit}" for verb, unit in
            (("enable", "smtpgate-pre.service"), ("enable", "smtpgate.service"),
             ("enable", "smtpgate-policy.socket"), ("start", "smtpgate-policy.socket"))]

        before = lab.state()
        said = lab.play(example, "--diff")
        assert recap(said)["changed"] == 0 and not recap(said)["failed"] and not said.err, said
        assert lab.state() == before

        # Somebody's hand: an entry gone, one too much, one changed, the gate taken off.
        lab.gate("delete", "203.0.113.7")
        lab.gate("add", "192.0.2.99", "--remark", "by hand")
        lab.gate("edit", "198.51.100.0/24", "--remark", "other")
        lab.gate("detach", "eth0")
        said = lab.play(example, "--check", "--diff")
        wanted = ("+203.0.113.7  # web shop", "-192.0.2.99  # by hand", "-198.51.100.0/24  # other",
                  "+198.51.100.0/24  # office", "-interface eth0: not attached")
        has(said, *wanted)
        assert recap(said)["changed"] == 2, said
        said = lab.play(example, "--diff")
        has(said, *wanted)
        assert recap(said)["changed"] == 2, said
        lab.gate("status", "--check")
        assert {e[1]: e[3] for e in lab.state()[0]} == {e[1]: e[3] for e in before[0]}
        assert lab.kernel_prefixes() == lab.stored_prefixes()


@tap.test
def fresh():
    """a first check with a package that a task before would bring: a change, and no question to apt"""
    with Managed() as lab:
        package = MNT + "/smtpgate.deb"
        lab.file(MNT + "/here.deb", "no package")
        # What the machine could install is not looked at, and costs seconds.
        lab.file(MNT + "/apt.conf", f'Dir::State "{MNT}"; Dir::Cache "{MNT}";')
        lab.env["APT_CONFIG"] = MNT + "/apt.conf"
        brought = {"name": "Brought", "ansible.builtin.copy": {
            "src": MNT + "/here.deb", "dest": package, "mode": "0644"}}
        role_of = {"ansible.builtin.include_role": {"name": "smtpgate"}}
        lab.file(MNT + "/book.yml", json.dumps([{"hosts": "mail", "gather_facts": False, "tasks": [
            brought,
            {**role_of, "vars": {"smtpgate_package": package}},
            # One that is there already is for apt, which finds that it is none.
            {**role_of, "vars": {"smtpgate_package": MNT + "/here.deb"}}]}]))
        said = lab.play(MNT + "/book.yml", "--check", ok=2, smtpgate_executable=MNT + "/none")
        assert recap(said)["changed"] == 2 and recap(said)["failed"] == 1, said
        assert f"There is no {package} on this host yet." in said.out, said
        *_, last = re.findall(r"^TASK \[smtpgate : (.*)\] \*+\nfatal: ", said.out, re.M)
        assert last == "The package from a file", said
        assert not lab.mail.path(package).exists() and not lab.calls()


@tap.test
def refused():
    """settings and interfaces twice; what smtpgate refuses fails with its sentence, changes nothing"""
    with Managed() as lab:
        lab.gate("add", "192.0.2.10", "--remark", "stays")
        tasks = [{"name": name, **{module: {"executable": PROGRAM, **args}
                                   for module, args in task.items()},
                  "ignore_errors": True, "register": f"said_{number}"}
                 for number, (name, (task, _)) in enumerate(FAILING.items())]
        tasks[:0] = [{"name": name, "smtpgate_gate": {"executable": PROGRAM, **GATE}, "register": name}
                     for name in ("first", "second")]
        every = ", ".join(task["register"] for task in tasks)
        tasks += [{"name": "nothing, meant so",
                   "smtpgate_list": {"executable": PROGRAM, "entries": [], "confirm": True}},
                  {"name": "what was said", "ansible.builtin.copy": {
                      "dest": MNT + "/said", "content": "{{ [" + every + "] | to_json }}"}}]
        lab.file(MNT + "/book.yml", json.dumps([{
            "hosts": "mail", "gather_facts": False,
            # An empty run of the role is no run of it: only its modules are wanted.
            "roles": [{"role": "smtpgate", "when": False}], "tasks": tasks}]))
        history = len(lab.json("history")["changes"])
        said = lab.play(MNT + "/book.yml")
        results = json.loads(lab.mail.path(MNT + "/said").read_text(encoding="utf-8"))
        assert [result["changed"] for result in results[:2]] == [True, False], results[:2]
        assert results[1]["diff"]["before"] == results[1]["diff"]["after"], results[1]
        # As ip(8) tells it: 1 native, 2 generic.
        shown = json.loads(lab.mail.run("ip", "-j", "link", "show", "dev", "eth0").out)
        assert shown[0]["xdp"]["mode"] == 2, shown
        for (name, (_, sentence)), result in zip(FAILING.items(), results[2:], strict=True):
            assert result["failed"] and sentence in result["msg"], (name, result)
            assert result["changed"] == ("done before" in result["msg"]), (name, result)
            assert result["rc"] == (3 if name == "nothing" else 2), (name, result)
        assert "gate is now off" in " ".join(said.err.split()), said
        # Of those: only the ports that were set before the limit was refused, and the last.
        changes = lab.json("history")["changes"]
        assert [c["command"] for c in changes[:len(changes) - history]] == [
            "-j -y apply - --format json", "-j set ports 465", *reversed(GATE_COMMANDS)], changes
        assert lab.json("status")["entries"] == 0 and not lab.kernel_prefixes()


def first_boot(lab):
    """Writes the files of the user-data and returns runcmd as the script that cloud-init makes of it:
    a list is a command, a text is lines of it. Both below MNT, the rest is the machine's."""
    data = yaml.safe_load(CLOUD.read_text(encoding="utf-8"))
    # Without, cloud-init has no lists of packages to install from.
    assert data["package_update"] is True and "packages" not in data, data
    for file in data["write_files"]:
        path = lab.mail.path(MNT + file["path"])
        path.parent.mkdir(exist_ok=True)
        lab.file(MNT + file["path"], file["content"], int(file.get("permissions", "0644"), 8))
    lines = [line if isinstance(line, str) else shlex.join(line) for line in data["runcmd"]]
    script = "\n".join(lines) + "\n"
    assert script.count("/etc/smtpgate.list") == 1 and script.count("/root/") == 3, script
    return script.replace("/etc/smtpgate.list", MNT + "/etc/smtpgate.list").replace(
        "/root/", MNT + "/root/")


@tap.test
def cloud_init():
    """the user-data for cloud-init: a first boot leaves the gate on guard; one that fails says so"""
    with Managed() as lab:
        lab.mail.address("eth0", "192.0.2.25/24", "2001:db8::25/64")
        script = first_boot(lab)
        said = execute(lab.mail.argv("sh"), 2, script, lab.env)
        assert "attach" in said.err and lab.json("status")["interfaces"] == [], said
        lab.calls()

        lab.mail.ip("link set eth1 up", "route add default via 192.0.2.1 dev eth0",
                    "route add default via 2001:db8::1 dev eth0")
        execute(lab.mail.argv("sh"), 0, script, lab.env)
        assert [line.split()[0] for line in lab.calls()] == ["curl", "sha256sum", "apt-get"]
        lab.gate("status", "--check")
        assert list(lab.link_pins()) and lab.config()["ports"] == {465, 587}
        assert {e["who"] for e in lab.json("list")["entries"]} == {
            "198.51.100.0/24", "203.0.113.7", "203.0.113.9"}
        assert lab.kernel_prefixes() == lab.stored_prefixes()


if __name__ == "__main__":
    tap.main()
