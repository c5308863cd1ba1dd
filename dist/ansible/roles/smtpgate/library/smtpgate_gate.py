# SPDX-License-Identifier: GPL-2.0-only
"""The settings and interfaces of a gate as Ansible wants them. What is not given stays as it is."""
import socket

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.smtpgate_call import ARGUMENTS, Gate

DOCUMENTATION = r"""
module: smtpgate_gate
short_description: Settings, mode and interfaces of smtpgate
description:
  - Each option that is given is made so, in this order. Options that are not given stay as they are.
  - Wants root on the managed host.
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
options:
  ports:
    description: The guarded ports.
    type: list
    elements: int
  limit:
    description: How many entries each list takes, a number or none.
    type: str
  realm:
    description: The realm that account names may carry, or none.
    type: str
  others:
    description: Where accounts without a list may send from while the host list is empty.
    type: str
    choices: [anywhere, nowhere]
  interfaces:
    description:
      - To be on guard. Others that are stay so; C(smtpgate detach) takes the gate off.
      - A card's alternative name does as well and means the card, so the diff tells its own name.
    type: list
    elements: str
  xdp_mode:
    description: How the program is attached to O(interfaces). Not given, native if the driver can.
    type: str
    choices: [native, generic]
  mode:
    description:
      - What happens to the unlisted. Ends a pause or a trial that is under way.
      - Observing begins before the rest is done, enforcing after it.
    type: str
    choices: [observe, enforce]
  confirm:
    description: Answers yes to what smtpgate asks.
    type: bool
    default: false
  executable:
    description: Where smtpgate is, if not in PATH.
    type: path
"""

EXAMPLES = r"""
- name: Only the ports that customers send through, on the card that faces the Internet
  smtpgate_gate:
    ports: [465, 587]
    interfaces: [eth0]
"""

RETURN = r"""
notes:
  description: What smtpgate remarked on.
  returned: success
  type: list
"""

SETTINGS = ("ports", "limit", "realm", "others")


def spelled(value):
    """A setting as smtpgate takes it."""
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def own_name(name):
    """A card may have more names than the one that smtpgate lists it by. One that is no card's stays
    as it is, for smtpgate to refuse."""
    try:
        return socket.if_indextoname(socket.if_nametoindex(name))
    except OSError:
        return name


def to_attach(status, wanted, xdp_mode):
    """Which interfaces are not on guard, or in another mode than they shall be."""
    there = {card["name"]: card for card in status["interfaces"]}
    return [name for name in wanted
            if not there.get(name, {}).get("attached") or not there[name]["good"]
            or xdp_mode not in (None, there[name]["xdp_mode"])]


class Making:
    """The state of the gate, as lines for the diff, and what is done to it."""

    def __init__(self, gate):
        self.gate, self.params, self.changed = gate, gate.module.params, False
        self.before, self.after = {}, {}

    def note(self, name, before, after):
        """A line of the diff, if there is anything to tell."""
        self.before[name], self.after[name] = before, after

    def change(self, *words):
        """Runs a command that changes something."""
        answer = self.gate.change(*words)
        self.changed |= answer["changed"]
        return answer

    def mode(self, wanted):
        """Switches over, if that is the mode that was asked for."""
        if self.params["mode"] == wanted:
            answer = self.change(wanted)
            self.note("mode", f"not {wanted}" if answer["changed"] else wanted, wanted)

    def settings(self):
        """Sets what is given."""
        given = [name for name in SETTINGS if self.params[name] is not None]
        before = self.gate.ask("set") if given else {}
        for name in given:
            answer = self.change("set", name, spelled(self.params[name]))
            self.note(name, spelled(before[name]), spelled(answer[name]))

    def interfaces(self):
        """Attaches what is not on guard, all or nothing."""
        wanted = list(dict.fromkeys(map(own_name, self.params["interfaces"] or [])))
        xdp_mode = self.params["xdp_mode"]
        if not wanted:
            return
        status = self.gate.ask("status")
        missing = to_attach(status, wanted, xdp_mode)
        if missing:
            self.change("attach", *missing, *(("--mode", xdp_mode) if xdp_mode else ()))
        states = {card["name"]: card["state"] for card in status["interfaces"]}
        for name in wanted:
            state = states.get(name, "not attached")
            self.note(f"interface {name}", state,
                      f"attached, {xdp_mode or 'native or generic'} mode" if name in missing else state)


def main():
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "list", "elements": "int"},
            "limit": {"type": "str"},
            "realm": {"type": "str"},
            "others": {"type": "str", "choices": ["anywhere", "nowhere"]},
            "interfaces": {"type": "list", "elements": "str"},
            "xdp_mode": {"type": "str", "choices": ["native", "generic"]},
            "mode": {"type": "str", "choices": ["observe", "enforce"]},
            **ARGUMENTS},
        supports_check_mode=True)
    gate = Gate(module)
    making = Making(gate)
    making.mode("observe")
    making.settings()
    making.interfaces()
    making.mode("enforce")
    module.exit_json(changed=making.changed, notes=gate.notes, diff={
        side: "".join(f"{name}: {value}\n" for name, value in lines.items())
        for side, lines in (("before", making.before), ("after", making.after))})


if __name__ == "__main__":
    main()
