"""Reading `config.yaml` without opening anything: for tools that check, show or describe it.

A module of its own, so that `import keyhinge` doesn't pay for what `KeyManager.open` needs.
"""

from keyhinge.config._configuration import Configuration, load_configuration, read_configuration
from keyhinge.config._reference import SettingReference, reference
from keyhinge.config._schema import json_schema
from keyhinge.config._views import SettingView

__all__ = [
    "Configuration",
    "SettingReference",
    "SettingView",
    "json_schema",
    "load_configuration",
    "read_configuration",
    "reference",
]
