"""Reading `config.yaml` without opening anything: for tools that check, show or describe it.

A module of its own, so that `import keyhinge` doesn't pay for what `KeyManager.open` needs.
"""

from keyhinge._config_reference import SettingReference, reference
from keyhinge._config_views import SettingView
from keyhinge._configuration import Configuration, load_configuration, read_configuration
from keyhinge._schema import json_schema

__all__ = [
    "Configuration",
    "SettingReference",
    "SettingView",
    "json_schema",
    "load_configuration",
    "read_configuration",
    "reference",
]
