"""Reads the Terraform module and checks it against the schema of the AWS provider.

data/terraform-aws-schema.json has the schema of the types that the module uses. To rewrite it, run
in a folder with the provider (`terraform init`):

    terraform providers schema -json | python -m tests.support.terraform
"""

import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import hcl2

from tests.support.servers import ROOT

MODULE = ROOT / "infra" / "cloudfront" / "terraform"
SCHEMA = Path(__file__).parent / "data" / "terraform-aws-schema.json"
PROVIDER = "registry.terraform.io/hashicorp/aws"

# Names that every block may have.
_META = {"count", "depends_on", "for_each", "lifecycle", "provider"}

Block = dict[str, Any]


def bare(node: Any) -> Any:
    """The output of hcl2 without its markers and without quotes around text."""
    if isinstance(node, dict):
        items = ((key, value) for key, value in node.items() if not key.startswith("__"))
        return {key.strip('"'): bare(value) for key, value in items}
    if isinstance(node, list):
        return [bare(each) for each in node]
    if isinstance(node, str) and node.startswith('"'):
        return node[1:-1]
    return node


@cache
def blocks(kind: str, folder: Path = MODULE) -> dict[str, Block]:
    """All blocks of a kind in a folder: `aws_x.name` or `name` → body."""
    found: dict[str, Block] = {}
    for path in sorted(folder.glob("*.tf")):
        for each in bare(hcl2.loads(path.read_text())).get(kind, ()):
            for label, body in each.items():
                if kind in {"resource", "data"}:
                    found |= {f"{label}.{name}": inner for name, inner in body.items()}
                else:
                    found[label] = body
    return found


@cache
def schema() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(SCHEMA.read_text())
    return document


def faults(address: str, body: Block, kind: str = "resource") -> list[str]:
    """The violations of the provider's schema in a block."""
    type_ = address.split(".", maxsplit=1)[0]
    known = schema()[kind].get(type_)
    if known is None:
        return [f"{address}: unknown type"]
    inner = {name: value for name, value in body.items() if name not in _META}
    return list(_faults(address, inner, known))


def _faults(where: str, body: Block, known: Mapping[str, Any]) -> Iterator[str]:
    nested = known.get("blocks", {})
    for name in body:
        if name not in known["attributes"] and name not in nested:
            yield f"{where}: unknown {name}"
    for name, need in known["attributes"].items():
        if need == "required" and name not in body:
            yield f"{where}: lacks {name}"
    for name, one in nested.items():
        given = body.get(name, [])
        if not one["min"] <= len(given) <= (one["max"] or len(given)):
            yield f"{where}: {len(given)} blocks {name}"
        for each in given:
            yield from _faults(f"{where}.{name}", each, one)


def _shortened(block: Mapping[str, Any]) -> Block:
    """A block of the schema, reduced to what `faults` needs."""
    attributes = {
        name: "required" if one.get("required") else "optional"
        for name, one in sorted(block.get("attributes", {}).items())
        if one.get("required") or one.get("optional")
    }
    nested = {
        name: {
            "min": one.get("min_items", 0),
            "max": one.get("max_items", 0),
            **_shortened(one["block"]),
        }
        for name, one in sorted(block.get("block_types", {}).items())
    }
    return {"attributes": attributes, **({"blocks": nested} if nested else {})}


def _of_provider(document: Mapping[str, Any]) -> Block:
    provider = document["provider_schemas"][PROVIDER]
    made = {
        kind: {
            type_: _shortened(provider[f"{schemas}_schemas"][type_]["block"])
            for type_ in sorted({address.split(".")[0] for address in blocks(kind)})
        }
        for kind, schemas in (("resource", "resource"), ("data", "data_source"))
    }
    # Providers before 6.46 lack this block. It is copied from the documentation of 6.46.
    made["resource"]["aws_cloudfront_distribution"]["blocks"].setdefault(
        "cache_tag_config", {"min": 0, "max": 1, "attributes": {"header_name": "required"}}
    )
    return made


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(_of_provider(json.load(sys.stdin)), indent=1) + "\n")
