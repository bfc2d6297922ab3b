"""Values as YAML text that every reader takes the same way: old YAML 1.1 ones too."""

from typing import Any

import yaml
from yaml.cyaml import CSafeDumper

from holdfast_protocol.blueprint.yaml_text import core_value


class _Dumper(CSafeDumper):
    def ignore_aliases(self, _: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    if "\n" in value:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|")
    try:
        plain = isinstance(core_value(value), str)
    except ValueError:
        plain = False
    # What old readers would take for something else, the dumper quotes by itself.
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def write(value: Any) -> str:
    """Return a JSON value as block YAML, keys in the order they have, texts of several lines as blocks."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=4096
    )
    return text
