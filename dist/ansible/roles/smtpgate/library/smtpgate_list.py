# SPDX-License-Identifier: GPL-2.0-only
"""The list of a host as Ansible wants it: equal to what the playbook says, by `smtpgate apply`."""
import json
import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.smtpgate_call import ARGUMENTS, Gate

DOCUMENTATION = r"""
module: smtpgate_list
short_description: Make the allowlist of smtpgate equal to what is given
description:
  - Adds what is missing, deletes what is too much, edits what differs, all or nothing, by
    C(smtpgate apply). What stays keeps its number and counters.
  - Concerns all lists of the host, the host list and those of single accounts.
  - Wants root on the managed host.
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
options:
  entries:
    description:
      - The entries. An empty list deletes all, which wants O(confirm).
      - One of O(entries) and O(list) is required.
    type: list
    elements: dict
    suboptions:
      who:
        description: An address, a segment (192.0.2.0/24) or a range (192.0.2.10-192.0.2.40).
        type: str
        required: true
      remark:
        description: One line of text.
        type: str
      until:
        description: When it ends, as RFC 3339 (2026-12-01T18:00:00Z). An end that is past is allowed.
        type: str
      account:
        description: The SMTP account whose list it belongs to; the host list if not given.
        type: str
  list:
    description: The text of a list file, as C(smtpgate export) prints it.
    type: str
  confirm:
    description: Answers yes to what smtpgate asks before it opens the gate or lets in a very wide range.
    type: bool
    default: false
  executable:
    description: Where smtpgate is, if not in PATH.
    type: path
"""

EXAMPLES = r"""
- name: Office and web shop may send
  smtpgate_list:
    entries:
      - who: 198.51.100.0/24
        remark: office
      - who: 203.0.113.7
        remark: web shop
      - who: 203.0.113.9
        until: "2026-12-01T18:00:00Z"
        account: alice

- name: What a list file says
  smtpgate_list:
    list: "{{ lookup('ansible.builtin.file', 'offices.list') }}"
"""

RETURN = r"""
added:
  description: Entries that were added; deleted and edited count likewise.
  returned: success
  type: int
mode:
  description: The mode afterwards, off, observe, enforce or paused.
  returned: success
  type: str
notes:
  description: What smtpgate remarked on.
  returned: success
  type: list
"""

ENTRY = {
    "who": {"type": "str", "required": True},
    "remark": {"type": "str"},
    "until": {"type": "str"},
    "account": {"type": "str"},
}


def as_json_lines(entries):
    """An object a line: nothing in a value can become a line or a field of its own, and line N of an
    error is entry N."""
    lines = []
    for entry in entries:
        given = {key: value for key, value in entry.items() if value is not None}
        # YAML takes a time without quotes for one, and Ansible prints it with a space.
        if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", given.get("until", "")):
            given["until"] = given["until"].replace(" ", "T")
        lines.append(json.dumps(given) + "\n")
    return "".join(lines) or "[]\n"     # all of nothing is no file at all, which apply refuses


def name_of(line):
    """What an exported line is about: who, and of which account."""
    fields = line.split(" # ")[0].split()
    return fields[0], *(field for field in fields[1:] if field.startswith("account="))


def foreseen(before, changes):
    """The exported lines after changes as "smtpgate -n apply" prints them: "+ LINE"."""
    lines = {name_of(line): line for line in before}
    for change in changes:
        sign, line = change[0], change[2:]
        if sign == "-":
            lines.pop(name_of(line), None)
        else:
            lines[name_of(line)] = line
    return lines.values()


def main():
    module = AnsibleModule(
        argument_spec={"entries": {"type": "list", "elements": "dict", "options": ENTRY},
                       "list": {"type": "str"}, **ARGUMENTS},
        mutually_exclusive=[("entries", "list")], required_one_of=[("entries", "list")],
        supports_check_mode=True)
    gate = Gate(module)
    entries = module.params["entries"]
    form, text = ("list", module.params["list"]) if entries is None else ("json",
                                                                          as_json_lines(entries))
    words = ("apply", "-", "--format", form)
    show = module._diff     # pylint: disable=protected-access
    before = gate.text("export") if show else []
    answer = gate.change(*words, stdin=text)
    result = {key: answer[key] for key in ("changed", "added", "deleted", "edited", "mode")}
    if show:
        after = (foreseen(before, gate.text("-q", "-n", *words, stdin=text)) if module.check_mode
                 else gate.text("export"))
        result["diff"] = {"before_header": "smtpgate list", "after_header": "smtpgate list",
                          "before": "".join(before), "after": "".join(after)}
    module.exit_json(notes=gate.notes, **result)


if __name__ == "__main__":
    main()
