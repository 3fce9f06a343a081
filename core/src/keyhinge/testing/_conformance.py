"""The conformance tests: what every provider must do, chosen by its declared capabilities."""

from __future__ import annotations

from keyhinge.testing._cases_batch import BatchCases
from keyhinge.testing._cases_hostile import HostileCases
from keyhinge.testing._cases_keys import KeyCases
from keyhinge.testing._cases_living import LivingCases
from keyhinge.testing._cases_module import ModuleCases
from keyhinge.testing._cases_secrets import SecretCases
from keyhinge.testing._cases_value import ContextCases, ValueCases

__all__ = ["ProviderConformance"]


class ProviderConformance(
    ModuleCases,
    ValueCases,
    ContextCases,
    HostileCases,
    BatchCases,
    KeyCases,
    LivingCases,
    SecretCases,
):
    """Subclass this, name your provider's module, give two settings; inherit all tests.

    ```python
    class TestMine(ProviderConformance):
        provider = keyhinge_mine
        client_libraries = ("mine_client",)

        def settings(self): return {"keyFile": "one.key"}
        def other_settings(self): return {"keyFile": "other.key"}
    ```

    Fixtures are pytest's own: an autouse fixture of the subclass can prepare a service. A case
    that fails says which rule of the contract the provider breaks, and where it is written down.
    """
