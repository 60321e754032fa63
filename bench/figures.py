"""Saves the figures of benchmarks."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def save(name: str, figures: Any, indent: int = 2) -> None:
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=indent) + "\n")
