"""Reads YAML files as plain Python values with their line numbers. Rejects the traps of YAML: `NO`
for Norway, repeated keys, anchors and aliases, tags, deep nesting. Which keys a file may have is
checked by the caller.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import yaml

from router.errors import ConfigError
from router.text_files import plain_number, printable

MAX_DEPTH = 8
MAX_NODES = 100_000  # 2,000 regions with every key written out are 60,000
MAX_FAULTS = 100

Where = tuple[str | int, ...]  # keys and indexes from the top of the file


@dataclass(slots=True)
class Document:
    """The content of a YAML file, its lines, and the faults found so far.

    `value`: None, bool, finite float, str, list, or dict with keys as written, nested.
    `lines`: the line, from 1, of each key and list item.
    `scalars`: each scalar as written, single-quoted if it was quoted in any way.
    `faults`: (line, `source:line: where: what; fix`), as found.
    `faulty`: the places with a fault; a value there means nothing.
    """

    source: str
    value: Any = None
    lines: dict[Where, int] = field(default_factory=dict)
    scalars: dict[Where, str] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)
    faulty: set[Where] = field(default_factory=set)

    def add_fault(self, where: Where, fault: str) -> None:
        self.faulty.add(where)
        self.add_fault_on(self.line(where), f"{_dotted(where)}: {fault}" if where else fault)

    def add_fault_on(self, line: int, fault: str) -> None:
        """Raises ConfigError with the faults so far when there are MAX_FAULTS of them."""
        self.faults.append((line, f"{self.source}:{line}: {fault}"))
        if len(self.faults) >= MAX_FAULTS:
            rest = f"{self.source}: stopped after {MAX_FAULTS} faults; correct these first"
            raise ConfigError([*self.error().faults, rest])

    def line(self, where: Where) -> int:
        """The line of a key; if the key is not in the file, the line of what would contain it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def shown(self, where: Where) -> str:
        """The scalar as written, for use in a fault; `this` for a list or mapping."""
        return printable(self.scalars.get(where, "this"))

    def error(self) -> ConfigError:
        """All faults, by line."""
        in_order = sorted(self.faults, key=lambda fault: fault[0])
        return ConfigError(fault for _, fault in in_order)


def read_yaml(text: str, source: str) -> Document:
    """The one document in YAML text; empty text has the value None.

    Traps become the document's faults. Raises ConfigError if the rest cannot be read: it is no
    YAML, is nested more than MAX_DEPTH deep, has more than MAX_NODES values and keys, or has
    MAX_FAULTS faults; also if PyYAML was built without libyaml.
    """
    if not yaml.__with_libyaml__:
        raise ConfigError(["PyYAML lacks libyaml; install one of its wheels"])
    document = Document(source)
    try:
        document.value = _Reader(yaml.CSafeLoader(text), document).read()
    except yaml.MarkedYAMLError as error:
        mark, start = error.problem_mark, error.context_mark
        line = mark.line + 1 if mark is not None else 1
        began = f" ({error.context}, line {start.line + 1})" if start is not None else ""
        document.add_fault_on(line, f"not valid YAML: {error.problem}{began}")
    except yaml.reader.ReaderError as error:
        line = text.encode().count(b"\n", 0, error.position) + 1
        document.add_fault_on(line, "has a control character; remove it")
    except UnicodeError:
        document.add_fault_on(1, "has half a surrogate pair, which is not text; remove it")
    else:
        return document
    raise document.error()


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns YAML events into plain values in one pass. Events are several times faster than
    PyYAML's node tree, and deep nesting and aliases are rejected before they use memory.
    """

    loader: Any  # a CSafeLoader, whose methods types-PyYAML leaves untyped
    document: Document
    nodes: Iterator[int] = field(default_factory=count)

    def read(self) -> Any:
        self.loader.get_event()  # the start of the stream
        if self.loader.check_event(yaml.StreamEndEvent):
            return None
        self.loader.get_event()  # the start of the document
        value = self._value(())
        self.loader.get_event()  # the end of the document
        if not self.loader.check_event(yaml.StreamEndEvent):
            line = self._next_line()
            self.document.add_fault_on(line, "a second document starts here; keep one")
        return value

    def _value(self, where: Where) -> Any:
        if len(where) > MAX_DEPTH:
            fault = f"is nested more than {MAX_DEPTH} deep; flatten it"
            self.document.add_fault(where[:2], fault)
            raise self.document.error()
        self._count()
        event = self.loader.get_event()
        self._refuse_extras(event, where)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, where)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(where)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(where)
        return None

    def _count(self) -> None:
        """Reject a document that is too large before it uses memory."""
        if next(self.nodes) >= MAX_NODES:
            fault = f"holds more than {MAX_NODES:,} values and keys; split the fleet"
            self.document.add_fault_on(self._next_line(), fault)
            raise self.document.error()

    def _refuse_extras(self, event: yaml.Event, where: Where) -> None:
        if getattr(event, "anchor", None) is not None:
            fault = "anchors (&) and aliases (*) are refused; write the value out"
            self.document.add_fault(where, fault)
        if getattr(event, "tag", None) is not None:
            self.document.add_fault(where, "tags (!) are refused; remove the tag")

    def _list(self, where: Where) -> list[Any]:
        items: list[Any] = []
        while not self.loader.check_event(yaml.SequenceEndEvent):
            spot = (*where, len(items))
            self.document.lines[spot] = self._next_line()
            items.append(self._value(spot))
        self.loader.get_event()
        return items

    def _mapping(self, where: Where) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not self.loader.check_event(yaml.MappingEndEvent):
            line = self._next_line()
            key = self._key(where)
            spot = (*where, key)
            first = self.document.lines.get(spot)
            self.document.lines[spot] = line
            if key in mapping:
                self.document.add_fault(spot, f"is given on line {first} already; keep one")
            mapping[key] = self._value(spot)
        self.loader.get_event()
        return mapping

    def _key(self, where: Where) -> str:
        """A key as written: `NO` and `1` are keys like any other."""
        self._count()
        event = self.loader.peek_event()
        if isinstance(event, yaml.ScalarEvent) and event.anchor is None and event.tag is None:
            return str(self.loader.get_event().value)
        self.document.add_fault((*where, "?"), "a key must be plain text")
        self._value((*where, "?"))
        return "?"

    def _scalar(self, event: yaml.ScalarEvent, where: Where) -> Any:
        text = event.value
        self.document.scalars[where] = text if event.implicit[0] else f"'{text}'"
        tag = self.loader.resolve(yaml.ScalarNode, text, event.implicit).rpartition(":")[2]
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() in ("true", "yes", "on")
        return plain_number(text) if tag in ("int", "float") else text

    def _next_line(self) -> int:
        return int(self.loader.peek_event().start_mark.line) + 1


def _dotted(where: Where) -> str:
    return "".join(map(_step, where)).removeprefix(".")


def _step(step: str | int) -> str:
    if isinstance(step, str) and re.fullmatch(r"[\w?-]+", step):
        return f".{printable(step)}"
    return f"[{step}]" if isinstance(step, int) else f"['{printable(step)}']"
