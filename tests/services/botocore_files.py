"""boto3's descriptions of AWS, read once for a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def read_once() -> Iterator[None]:
    """Have botocore parse each of its JSON files once, and not again for each session.

    Every provider makes a session of its own, and most of what that takes is to read megabytes of
    JSON. Within a session botocore shares what it has read, so it may be shared between them.
    """
    from botocore.loaders import JSONFileLoader

    load, parsed = JSONFileLoader.load_file, dict[str, Any]()

    def load_file(self: JSONFileLoader, file_path: str) -> Any:
        if file_path not in parsed:
            data = load(self, file_path)
            if data is None:  # it may be there the next time
                return None
            parsed[file_path] = data
        return parsed[file_path]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", load_file)
        yield
