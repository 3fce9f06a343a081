"""Which sections build on which, and whose key a value needs that was made by one that does.

Such a value's key id is `SECTION/KEYID`, of the section below, and its version is the one below.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import attrs

from keyhinge import KeyhingeError, KeyManager

__all__ = ["Building", "Need", "Way", "building_of"]

Way = tuple[str, str]
"""The name of a section in a value, and the beginning of its key id, up to the key below."""


class Need(Enum):
    """Whether a value needs a section, or a key or version of it, to be opened."""

    NO = "no"
    YES = "yes"
    UNCLEAR = "unclear"


@attrs.frozen
class Building:
    """Sections that build on others, by what the configuration says.

    Attributes:
        owners: The section of each name that values may carry, aliases too.
        below: The sections that each one builds on, directly; without those that are so broken
            that nobody knows.
    """

    owners: Mapping[str, str] = attrs.field(factory=dict)
    below: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    def reaches(self, name: str, target: str) -> bool:
        """Tell whether a section builds on another, directly or through others."""
        seen: set[str] = set()
        todo = list(self.below.get(name, ()))
        while todo:
            found = todo.pop()
            if found not in seen:
                seen.add(found)
                todo += self.below.get(found, ())
        return target in seen

    def need(self, label: str, key_id: str, names: tuple[str, ...]) -> tuple[Need, str]:
        """Tell whether a value needs the section of some names, which isn't its own.

        Args:
            label: The value's section, as it stands in the value.
            key_id: Its key id.
            names: The names of the section that is asked about: one, or it and its aliases.

        Returns:
            The answer, and with "yes" the key id below.
        """
        target = self.owners.get(names[0], names[0])
        name = self.owners.get(label, label)
        if self.below.get(name) == ():
            return Need.NO, ""
        first, _, rest = key_id.partition("/")
        if rest or key_id.endswith("/"):
            if first in names:
                return Need.YES, rest
            owner = self.owners.get(first, "")
            if owner in self.below.get(name, ()):
                return self.need(first, rest, names) if owner != target else (Need.NO, "")
        return (Need.UNCLEAR if self.reaches(name, target) else Need.NO), ""

    def ways(self, names: tuple[str, ...]) -> tuple[Way, ...]:
        """Give the beginnings of key ids of values that need the section of some names."""
        # Of a section so broken that nobody knows, the values may still say it: see `need`.
        unknown = [label for label, owner in self.owners.items() if owner not in self.below]
        broken = {(label, f"{name}/") for label in unknown for name in names}
        return tuple(sorted(broken.union(self._paths(names, names, direct=True))))

    def vague(self, names: tuple[str, ...]) -> tuple[Way, ...]:
        """Give the beginnings behind which a slash must come, for it to be clear what is needed."""
        return self._paths(names, ("",), direct=False)

    def _paths(
        self, names: tuple[str, ...], ends: tuple[str, ...], *, direct: bool
    ) -> tuple[Way, ...]:
        target = self.owners.get(names[0], names[0])
        found = set()
        for name in self.below:
            # What once was built on the section may be stored still, and names it.
            if (direct and self.below[name]) or self.reaches(name, target):
                for beginning in self._beginnings(name, target, ends, direct=direct, seen=()):
                    found |= {(label, beginning) for label in self._labels(name)}
        return tuple(sorted(found))

    def _beginnings(
        self, name: str, target: str, ends: tuple[str, ...], *, direct: bool, seen: tuple[str, ...]
    ) -> set[str]:
        found = {f"{end}/" if direct else end for end in ends}
        for inner in self.below[name]:
            if inner == target or inner in seen or not self.reaches(inner, target):
                continue
            deeper = self._beginnings(inner, target, ends, direct=direct, seen=(*seen, name))
            found |= {f"{label}/{each}" for label in self._labels(inner) for each in deeper}
        return found

    def _labels(self, name: str) -> list[str]:
        return [label for label, owner in self.owners.items() if owner == name]


def building_of(keys: KeyManager) -> Building:
    """Ask the configuration which sections build on which."""
    owners: dict[str, str] = {}
    below: dict[str, tuple[str, ...]] = {}
    for name, block in keys.configuration.sections.items():
        owners |= dict.fromkeys((name, *block.aliases), name)
        try:
            below[name] = keys.builds_on(name)
        except KeyhingeError:  # so broken that nobody knows
            continue
    return Building(owners, below)
