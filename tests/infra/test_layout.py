"""The layout of the repository: imports of tests, and descriptions of packages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import ROOT

TIERS = ("unit", "integration", "system", "infra")
MODULES = sorted(path for tier in TIERS for path in (ROOT / "tests" / tier).rglob("*.py"))
PACKAGES = sorted(path.parent for path in (ROOT / "router").glob("*/__init__.py"))
FLAT = sorted(path.stem for path in (ROOT / "router").glob("*.py") if path.stem != "__init__")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_test_module_imports_no_test_and_no_bench(path: Path) -> None:
    unwanted = re.compile(r"bench\b|tests\.(?!support\b)")
    assert [name for name in imported(path) if unwanted.match(name)] == []


def test_number_of_top_level_modules_is_limited() -> None:
    assert len(FLAT) <= 6, FLAT


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_package_says_what_it_owns_and_must_not_know(package: Path) -> None:
    doc = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    assert "Must not" in doc, f"router/{package.name}/__init__.py"


def test_architecture_names_every_package_and_flat_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page[page.index("## Packages") : page.index("## Where to change")]
    named = set(re.findall(r"`(\w+)`", table))
    assert {package.name for package in PACKAGES} | set(FLAT) - {"__main__"} <= named


def test_modules_in_the_architecture_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    ways = re.findall(r"`([a-z]+/[a-z_]+)(?:\.js)?`", page)
    there = {
        str(path.relative_to(ROOT / "router").with_suffix(""))
        for path in (ROOT / "router").rglob("*.*")
    }
    assert ways
    assert [way for way in ways if way not in there] == []
