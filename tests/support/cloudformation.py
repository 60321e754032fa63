"""Reads the CloudFormation template."""

from typing import Any

import yaml

from tests.support.servers import ROOT

TEMPLATE = ROOT / "infra" / "cloudfront" / "template.yaml"

Template = dict[str, Any]


class Loader(yaml.SafeLoader):
    """Loads CloudFormation's short forms as the long ones: `!Ref X` gives `{"Ref": "X"}`."""


def _long_form(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> dict[str, Any]:
    key = name if name == "Ref" else f"Fn::{name}"
    if isinstance(node, yaml.ScalarNode):
        return {key: loader.construct_scalar(node)}
    assert isinstance(node, yaml.SequenceNode)
    return {key: loader.construct_sequence(node, deep=True)}


Loader.add_multi_constructor("!", _long_form)


def loaded(text: str) -> Template:
    template: Template = yaml.load(text, Loader)
    return template


def at(template: Template, path: str) -> Any:
    """The value at a path such as `Distribution.Origins.0`, relative to Properties."""
    name, *steps = path.split(".")
    found = template["Resources"][name]["Properties"]
    for step in steps:
        found = found[int(step) if step.isdigit() else step]
    return found
