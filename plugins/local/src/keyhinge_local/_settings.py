"""Settings of a `local` section."""

from __future__ import annotations

from pathlib import Path

from keyhinge import InvalidSettings, Secret, secret, setting, settings


@settings
class LocalSettings:
    """Settings of a `local` section: exactly one of `keyFile` and `key`."""

    key_file: Path | None = setting(
        default=None,
        alias="keyFile",
        help="The key file, made by `keyhinge local init`. Its owner must be the process's user "
        "or root, and nobody else may read it. A change of the file is noticed within a second.",
        example="keyhinge.key",
    )
    key: Secret | None = secret(
        default=None,
        alias="key",
        help="The content of a key file instead of its path, for `${NAME}`. A new version is "
        "known after a restart or reload.",
        example="${KEYHINGE_LOCAL_KEY}",
        file_twin=False,
    )
    allow_group_read: bool = setting(
        default=False,
        alias="allowGroupRead",
        help="Whether the key file's group may read it. Kubernetes mounts with fsGroup need it.",
    )

    def __attrs_post_init__(self) -> None:
        if self.key_file is None and self.key is None:
            missing = "is required (or `key`); make a key file with `keyhinge local init`"
            raise InvalidSettings({"keyFile": missing})
        if self.key_file is not None and self.key is not None:
            raise InvalidSettings({"key": "can't stand beside `keyFile`; keep one of the two"})
        if self.key is not None and self.allow_group_read:
            raise InvalidSettings({"allowGroupRead": "means a file, and there is only a `key`"})
