#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Puts what the JSON Schemas say of the keys into smtpgate-json(7), so that it is said once.

keys.py SCHEMAS <PAGE >PAGE, in scdoc's language: a line "@KEYS commands@" is replaced by a section
for each command, "@KEYS error@" by the keys of the error, "@KEYS objects@" by the objects that
several commands print. Knows the schemas' form, and no command. What a schema has and this does not
understand is an error, not left out.
"""
import json
import pathlib
import re
import sys

FOLDER = pathlib.Path(sys.argv[1])
SAID_ONCE = ("schema", "ok")        # by the page itself
APART = ("common", "error")
OBJECTS = "common.json#/$defs/"


def read(name):
    """A schema."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def follow(value):
    """The name of the object in common.json that a reference means, or None; and what it means."""
    if "$ref" not in value:
        return None, value
    file, _, way = value["$ref"].partition("#/$defs/")
    if not way:
        return file.removesuffix(".json"), read(file.removesuffix(".json"))
    meant = read("common")["$defs"][way]
    beside = {key: item for key, item in value.items() if key != "$ref"}
    return way, {**follow(meant)[1], **beside}


def plain(text):
    """Text without meaning to scdoc."""
    return re.sub(r"([\\*_`<>\[\]#|~])", r"\\\1", text)


def quoted(value):
    """A word as JSON writes it."""
    return plain(json.dumps(value))


def one_of(words):
    """a, b or c"""
    words = list(dict.fromkeys(words))
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def is_object(value):
    """Has keys of its own."""
    return "properties" in value


def kind(value):
    """What may stand there, in words."""
    name, value = follow(value)
    if is_object(value):
        return f"_{plain(name)}_" if name else "object"
    if "const" in value:
        return quoted(value["const"])
    if "enum" in value:
        return one_of(map(quoted, value["enum"]))
    if "anyOf" in value:
        kinds = [kind(item) for item in value["anyOf"]]
        return one_of(sorted(kinds, key=lambda word: word == "null"))
    if value.get("format"):
        return {"date-time": "time", "ipv4": "address", "ipv6": "address"}[value["format"]]
    if value["type"] == "array" and "items" in value:
        return f"array of {re.sub('^object$', 'objects', kind(value['items']))}"
    return one_of([value["type"]] if isinstance(value["type"], str) else value["type"])


def inner(value):
    """(what to write behind the key, object) of each object within, unless it has a name."""
    name, value = follow(value)
    if is_object(value):
        return [] if name else [("", value)]
    if value.get("type") == "array" and "items" in value:
        return [("[]" + more, found) for more, found in inner(value["items"])]
    return [found for item in value.get("anyOf", []) for found in inner(item)]


def keys(value, path=""):
    """The paragraphs of an object's keys, and of those within."""
    for key, item in value["properties"].items():
        if not path and key in SAID_ONCE:
            continue
        way = path + key
        said = follow(item)[1]["description"]
        rare = "" if key in value.get("required", ()) else ", not in every answer"
        yield f"*{plain(way)}* ({kind(item)}{rare})\n\t{plain(said)}\n"
        for more, found in inner(item):
            yield from keys(found, way + more + ".")


def forms(schema):
    """(what is said of it, object) of each form that an answer may have."""
    for form in schema.get("oneOf", [schema]):
        name, value = follow(form)
        said = plain(form.get("description", "") if "oneOf" in schema else "")
        yield said, (name, value)


def body(schema):
    """All that is said of a command below its name."""
    for said, (name, value) in forms(schema):
        if said:
            yield said + "\n"
        if name:
            yield f"As *{name}*.\n"
        else:
            yield from keys(value)


def commands():
    """A section for all commands that answer alike."""
    alike = {}
    for path in sorted(FOLDER.glob("*.json")):
        if path.stem not in APART:
            schema = read(path.stem)
            alike.setdefault("\n".join(body(schema)), []).append((path.stem, schema["title"]))
    for text, members in alike.items():
        yield f"## {', '.join(name for name, _ in members)}\n"
        for name, title in members:
            more = re.sub(r"^smtpgate -j (--)?[a-z]+[:;]? ?", "", title)
            if more:
                yield f"*{name}*: {plain(more)}.\n"
        yield text


def objects():
    """A section for each object that has a name."""
    for name, value in read("common")["$defs"].items():
        if is_object(value):
            yield f"## {name}\n"
            yield plain(value["description"]) + "\n"
            yield from keys(localised(value))


def localised(value):
    """A part of common.json, with its references written as other files write them."""
    return json.loads(json.dumps(value).replace('"#/$defs/', f'"{OBJECTS}'))


WHAT = {"commands": commands, "objects": objects, "error": lambda: body(read("error"))}


def main():
    """The page, filled in."""
    for line in sys.stdin:
        match = re.fullmatch(r"@KEYS (\w+)@\n", line)
        print("\n".join(WHAT[match[1]]()) if match else line, end="")


if __name__ == "__main__":
    main()
