"""Text from edges, Redis and people, made safe for a terminal, a log line or an event.

All such text goes through `escaped`: a control character could forge a line, move the cursor or
reverse the text around it.
"""

import json
from typing import Any


def escaped(text: str) -> str:
    r"""The text with every unprintable character written as an escape, such as `\x1b` or `\u202e`.

    The result is one line. Escaping text a second time changes nothing.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def escaped_lines(text: str) -> str:
    """The same for text of several lines, such as a traceback: line ends stay."""
    return "\n".join(map(escaped, text.split("\n")))


def escaped_json(text: str) -> str:
    """JSON text that means the same, with what is not printable in its strings escaped."""
    return "\n".join(
        line if line.isprintable() else "".join(map(_json_char, line)) for line in text.split("\n")
    )


def _json_char(c: str) -> str:
    return c if c.isprintable() else json.dumps(c)[1:-1]


def escaped_values(value: Any) -> Any:
    """Plain data with every string in it escaped, keys included."""
    match value:
        case str():
            return escaped(value)
        case dict():
            return {escaped_values(key): escaped_values(one) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [escaped_values(one) for one in value]
        case _:
            return value
