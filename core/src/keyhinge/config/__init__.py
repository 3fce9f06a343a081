"""Reading `config.yaml` without opening anything: for tools that check, show or describe it.

A module of its own, so that `import keyhinge` doesn't pay for what `KeyManager.open` needs.
"""

from keyhinge.config._configuration import Configuration, load_configuration, read_configuration
from keyhinge.config._durations import duration_text, parse_duration
from keyhinge.config._reference import SettingReference, reference
from keyhinge.config._schema import json_schema
from keyhinge.config._views import SettingView

__all__ = [
    "Configuration",
    "SettingReference",
    "SettingView",
    "duration_text",
    "json_schema",
    "load_configuration",
    "parse_duration",
    "read_configuration",
    "reference",
]
