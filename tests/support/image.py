"""Reads the stages of the Dockerfile."""

import re
from dataclasses import dataclass, field

from tests.support.servers import (
    ROOT,
)

DOCKERFILE = ROOT / "Dockerfile"


@dataclass
class Stage:
    """The instructions between one FROM and the next, in order."""

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.steps if name == instruction]

    def one(self, instruction: str) -> str:
        (rest,) = self.all(instruction)
        return rest


def stages() -> list[Stage]:
    """The stages of the Dockerfile, with continued lines joined and without comments."""
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", DOCKERFILE.read_text()).splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            found.append(Stage(rest.split()[0]))
        elif found and instruction.isupper():
            found[-1].steps.append((instruction, rest))
    return found


BUILD, FINAL = stages()
