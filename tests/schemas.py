# SPDX-License-Identifier: GPL-2.0-only
"""Holds what smtpgate prints with -j against dist/schema. Knows no command and no expectation.

A schema is open, as keys may be added. Here it is also used closed: what the program prints and its
schema does not describe is a fault too, or a schema that says nothing would hold for everything.

Needs jsonschema (Debian: python3-jsonschema). References are put in here, so that any version of it
will do, and nothing is looked for on the network.
"""
import copy
import functools
import json
import pathlib

import jsonschema

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "dist" / "schema"
CHECKER = jsonschema.FormatChecker(formats=("ipv4", "ipv6"))

# Beside one for each command.
MORE = ("common", "error", "version")
# Commands that print no JSON of their own, and why.
WITHOUT = {"policy": "speaks Postfix's policy protocol; with -j only its errors are JSON",
           "exporter": "answers over HTTP; with -j only its errors are JSON"}


def names():
    """The schemas that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


@functools.lru_cache(maxsize=None)
def read(name):
    """A schema as it is in its file."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def put_in(value, home):
    """`value`, of the schema `home`, without references: each is replaced by what it names, which
    is another file or one of its $defs."""
    if isinstance(value, list):
        return [put_in(item, home) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" not in value:
        return {key: put_in(item, home) for key, item in value.items()}
    file, _, path = value["$ref"].partition("#")
    there = read(file.removesuffix(".json")) if file else home
    named = there
    for key in path.split("/")[1:]:
        named = named[key]
    beside = {key: item for key, item in value.items() if key != "$ref"}
    return {**put_in(named, there), **beside}


def close(schema):
    """The same, and no key may be there that is not described."""
    if isinstance(schema, list):
        return [close(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: item if key in ("enum", "const", "examples") else close(item)
              for key, item in schema.items()}
    if isinstance(schema.get("properties"), dict):
        closed["additionalProperties"] = False
    return closed


class Schema:
    """One of the files, ready to be asked."""

    def __init__(self, name):
        self.name = name
        self.raw = read(name)
        whole = put_in(self.raw, self.raw)
        self.forms = {}
        for form, schema in (("open", whole), ("closed", close(copy.deepcopy(whole)))):
            self.forms[form] = jsonschema.Draft202012Validator(schema, format_checker=CHECKER)

    def faults(self, value, form="open"):
        """What does not fit, in words; [] if all does."""
        return [f"{error.json_path}: {error.message[:300]}"
                for error in map(nearest, self.forms[form].iter_errors(value))]

    def judge(self, value):
        """Both forms: what breaks a promise, else what is not described."""
        faults = self.faults(value)
        if faults:
            return [f"dist/schema/{self.name}.json does not hold: {fault}" for fault in faults]
        return [f"not described in dist/schema/{self.name}.json: {fault}"
                for fault in self.faults(value, "closed")]


def nearest(error):
    """Of several forms that could be meant, what is wrong with the one that fits best."""
    while error.context:
        branches = {}
        for inner in error.context:
            branches.setdefault(inner.schema_path[0], []).append(inner)
        # The form of which the fewest things are wrong; a wrong key of many: the deepest.
        best = min(branches.values(), key=lambda b: (len(b), -max(len(e.path) for e in b)))
        error = max(best, key=lambda inner: len(inner.path))
    return error


def load():
    """All of them by name, but the one that only holds parts."""
    return {name: Schema(name) for name in names() if name != "common"}
