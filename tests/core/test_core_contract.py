"""What core checks of a provider's module and of its hooks, before it calls any of them."""

from __future__ import annotations

import functools
from datetime import timedelta
from types import SimpleNamespace

import attrs
import pytest

from keyhinge import (
    API_VERSION,
    Capabilities,
    ConfigError,
    InvalidSettings,
    KeyManager,
    KeyRef,
    Provider,
    ProviderContractError,
    ProviderLoadError,
    Sealed,
    hookimpl,
    setting,
    settings,
)


@settings
class Nothing:
    """No settings."""


def module(kind, **members):
    """A provider's module that makes a `kind`."""

    @hookimpl
    def keyhinge_configure(settings, section):
        return kind() if callable(kind) else kind

    parts = {
        "keyhinge_api": API_VERSION,
        "keyhinge_settings": Nothing,
        "keyhinge_configure": keyhinge_configure,
        **members,
    }
    return SimpleNamespace(**{name: part for name, part in parts.items() if part is not ...})


def open_with(found):
    """Open one section of it."""
    config = {"keyManagement": {"provider": "toy", "toy": {}}}
    return KeyManager.open(config, providers={"toy": found}, environ={})


class Good(Provider):
    """Keeps to the API."""

    capabilities = Capabilities(encrypts=True, binds_context=True)

    @hookimpl
    def keyhinge_encrypt(self, plaintext, context):
        """Encrypt, so to speak."""
        return Sealed(b"x" + plaintext, "k", "1")

    @hookimpl
    def keyhinge_decrypt(self, value, context):
        """Decrypt."""
        return value.ciphertext[1:]


def with_hook(name, hook):
    """The good provider with one more hook, or another one."""
    return type("Other", (Good,), {name: hook})


async def coroutine(self, plaintext, context):
    """Async."""


async def async_generator(self, plaintext, context):
    """Async generator."""
    yield


def generator():
    """A function that yields; a new one each time, as the marker is written onto it."""

    def hook(self, plaintext, context):
        yield Sealed(b"x")

    return hook


class TestHooks:
    def test_good(self):
        with open_with(module(Good)) as keys:
            assert keys.decrypt(keys.encrypt(b"x", context={}), context={}) == b"x"

    @pytest.mark.parametrize(
        "hook",
        [
            hookimpl(lambda self, context, plaintext: None),
            hookimpl(lambda self, text, context: None),
            hookimpl(lambda self, plaintext: None),
            hookimpl(lambda self: None),
            hookimpl(lambda self, plaintext, context, more: None),
            hookimpl(lambda self, plaintext, context=None: None),
            hookimpl(lambda self, plaintext=b"", context=None: None),
            hookimpl(lambda self, *args: None),
            hookimpl(lambda self, plaintext, context, *args: None),
            hookimpl(lambda self, plaintext, context, **more: None),
            hookimpl(lambda self, plaintext, *, context: None),
            hookimpl(lambda self, plaintext, context, /: None),
        ],
    )
    def test_arguments(self, hook):
        message = r"keyhinge_encrypt must take exactly \(plaintext, context\), in this order"
        with pytest.raises(ProviderContractError, match=message):
            open_with(module(with_hook("keyhinge_encrypt", hook)))

    @pytest.mark.parametrize(
        ("hook", "message"),
        [
            (lambda self, plaintext, context: None, "lacks the @hookimpl marker"),
            (hookimpl(coroutine), "is async"),
            (hookimpl(async_generator), "is async"),
            (hookimpl(generator()), "is a generator"),
            (hookimpl(wrapper=True)(generator()), "can't be a wrapper"),
            (hookimpl(hookwrapper=True)(generator()), "can't be a wrapper"),
            (hookimpl(specname="keyhinge_decrypt")(lambda self: None), "uses specname"),
            (hookimpl(optionalhook=True)(lambda self: None), "uses specname or optionalhook"),
            (functools.partial(print), "isn't a function"),
            ("text", "isn't a function"),
            (None, "isn't a function"),
        ],
    )
    def test_refused(self, hook, message):
        with pytest.raises(ProviderContractError, match=f"keyhinge_encrypt {message}"):
            open_with(module(with_hook("keyhinge_encrypt", hook)))

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("keyhinge_encrypt_may", r"\(did you mean 'keyhinge_encrypt_many'\?\)\. This is"),
            ("keyhinge_shutdown", ""),
            ("keyhinge_configure", ""),
        ],
    )
    def test_unknown_hook(self, name, hint):
        for hook in (hookimpl(lambda self: None), lambda self: None):
            with pytest.raises(ProviderContractError, match=f"{name} isn't a hook.*{hint}"):
                open_with(module(with_hook(name, hook)))

    @pytest.mark.parametrize("missing", ["keyhinge_encrypt", "keyhinge_decrypt"])
    def test_required(self, missing):
        members = {"capabilities": Good.capabilities}
        for name in {"keyhinge_encrypt", "keyhinge_decrypt"} - {missing}:
            members[name] = vars(Good)[name]
        abstract = type("Abstract", (Provider,), dict(members))
        with pytest.raises(ProviderContractError, match=f": it doesn't implement {missing}\\."):
            open_with(module(abstract))
        # Not even by switching Python's own check off.
        setattr(abstract, "__abstractmethods__", frozenset())  # noqa: B010 - not known to `type`
        with pytest.raises(ProviderContractError, match=f"doesn't implement {missing}"):
            open_with(module(abstract))

    def test_property_that_would_connect_is_not_evaluated(self):
        class Connecting(Good):
            """Has properties that must not be looked at."""

            @property
            def client(self):
                raise AssertionError("evaluated")

            @property
            def keyhinge_check(self):
                raise AssertionError("evaluated")

        with pytest.raises(ProviderContractError, match="keyhinge_check isn't a function"):
            open_with(module(Connecting))
        del Connecting.keyhinge_check
        with open_with(module(Connecting)) as keys:
            keys.encrypt(b"x", context={})

    def test_static_and_inherited_hooks(self):
        class Base(Good):
            """Has a hook."""

            @hookimpl
            def keyhinge_current_key(self):
                return KeyRef("base")

        class Static(Base):
            """Has hooks without self."""

            @staticmethod
            @hookimpl
            def keyhinge_encrypt(plaintext, context):
                return Sealed(b"y" + plaintext, "static")

            @classmethod
            @hookimpl
            def keyhinge_decrypt(cls, value, context):
                return value.ciphertext[1:]

        with open_with(module(Static)) as keys:
            value = keys.encrypt(b"x", context={})
            assert (value.key_id, keys.current_key()) == ("static", KeyRef("base"))
            assert keys.decrypt(value, context={}) == b"x"

    def test_hooks_of_one_instance(self):
        class Choosing(Good):
            """Has an optional hook only in some instances."""

            def __init__(self):
                self.keyhinge_current_key = hookimpl(lambda: KeyRef("own"))  # type: ignore[method-assign]

        with open_with(module(Choosing)) as keys:
            assert keys.current_key() == KeyRef("own")

    def test_a_decorator_that_keeps_the_signature(self):
        def retried(function):
            @functools.wraps(function)
            def again(*args):
                return function(*args)

            return again

        hook = retried(hookimpl(lambda self, plaintext, context: Sealed(b"z", "k", "1")))
        with open_with(module(with_hook("keyhinge_encrypt", hook))) as keys:
            assert keys.encrypt(b"x", context={}).ciphertext == b"z"


class TestConfigure:
    @pytest.mark.parametrize("result", [None, 1, "provider", Good, object(), SimpleNamespace()])
    def test_not_a_provider(self, result):
        found = module(lambda: result)
        with pytest.raises(ProviderContractError, match="not a Provider"):
            open_with(found)

    @pytest.mark.parametrize("capabilities", [..., None, {"encrypts": True}, Capabilities, 1])
    def test_capabilities(self, capabilities):
        kind = type("Other", (Good,), {"capabilities": capabilities})
        if capabilities is ...:

            class Bare(Provider):
                keyhinge_encrypt = Good.keyhinge_encrypt
                keyhinge_decrypt = Good.keyhinge_decrypt

            kind = Bare
        with pytest.raises(ProviderContractError, match="capabilities"):
            open_with(module(kind))

    def test_capabilities_of_one_instance(self):
        class Sized(Good):
            def __init__(self):
                self.capabilities = Capabilities(encrypts=True, binds_context=True, max_plaintext=3)

        with open_with(module(Sized)) as keys:
            assert keys.capabilities().max_plaintext == 3

    def test_its_own_exception(self):
        def fail():
            raise ValueError("S3CR3T")

        with pytest.raises(ProviderContractError, match="configuring it raised ValueError") as got:
            open_with(module(fail))
        assert "S3CR3T" not in str(got.value)
        assert got.value.__cause__ is got.value.__context__ is None
        assert got.value.operation == "configure"

    def test_its_config_error(self):
        def fail():
            try:
                raise ValueError("S3CR3T")
            except ValueError as error:
                raise ConfigError("the key id isn't one") from error

        with pytest.raises(ConfigError, match="the key id isn't one") as caught:
            open_with(module(fail))
        assert caught.value.__cause__ is caught.value.__context__ is None

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
    def test_what_ends_programs_goes_through(self, error):
        def fail():
            raise error

        with pytest.raises(type(error)):
            open_with(module(fail))

    @pytest.mark.parametrize(
        "hook",
        [
            ...,
            None,
            lambda settings, section: Good(),
            hookimpl(lambda section, settings: Good()),
            hookimpl(lambda settings, section=None: Good()),
            hookimpl(lambda settings: Good()),
            hookimpl(lambda: Good()),
        ],
    )
    def test_configure_hook(self, hook):
        with pytest.raises(ProviderLoadError, match="keyhinge_configure"):
            open_with(module(Good, keyhinge_configure=hook))


class TestModule:
    def test_class(self):
        class Plugin:
            """A class, where an instance is wanted."""

            keyhinge_api = API_VERSION
            keyhinge_settings = Nothing

        with pytest.raises(ProviderLoadError, match="names a class"):
            open_with(Plugin)

    def test_api_accepted(self):
        open_with(module(Good, keyhinge_api=API_VERSION)).close()

    def test_the_api_before_is_accepted(self, monkeypatch):
        monkeypatch.setattr("keyhinge._discovery.ACCEPTED_API", (API_VERSION, API_VERSION + 1))
        for api in (API_VERSION, API_VERSION + 1):
            open_with(module(Good, keyhinge_api=api)).close()

    @pytest.mark.parametrize(
        ("api", "message"),
        [
            (API_VERSION + 1, "upgrade keyhinge"),
            (API_VERSION + 98, "upgrade keyhinge"),
            (0, "hook API 0, and keyhinge .* speaks 1 only: upgrade that package"),
            (-1, "upgrade that package"),
            (..., "no keyhinge_api"),
            (None, "no keyhinge_api"),
            (True, "its keyhinge_api is a bool; it must be an int"),
            ("1", "its keyhinge_api is a str; it must be an int"),
            (1.0, "its keyhinge_api is a float; it must be an int"),
        ],
    )
    def test_api_refused_before_configure(self, api, message):
        made = []
        with pytest.raises(ProviderLoadError, match=message) as caught:
            open_with(module(lambda: made.append(1), keyhinge_api=api))
        assert not made
        assert "of the application" in str(caught.value)

    @pytest.mark.parametrize("found", [..., None, {}, dict, Nothing()])
    def test_settings(self, found):
        with pytest.raises(ProviderLoadError, match="keyhinge_settings isn't an attrs class"):
            open_with(module(Good, keyhinge_settings=found))

    def test_a_hook_of_the_provider_in_the_module(self):
        with pytest.raises(ProviderLoadError, match="keyhinge_encrypt isn't a hook"):
            open_with(module(Good, keyhinge_encrypt=hookimpl(lambda plaintext, context: None)))


class TestBrokenSettingsClass:
    """It breaks its own section, and no other one."""

    @attrs.define
    class Unusable:
        """Has a type that no YAML gives."""

        thing: object = attrs.field(factory=object)
        other: NoSuchType | None = None  # type: ignore[name-defined] # noqa: F821

    def test_other_sections_work(self, caplog):
        config = {"keyManagement": {"provider": "good", "good": {}, "bad": {"other": "x"}}}
        providers = {
            "good": module(Good),
            "bad": module(Good, keyhinge_settings=self.Unusable),
        }
        with KeyManager.open(config, providers=providers, environ={}) as keys:
            assert keys.encrypt(b"x", context={}).section == "good"
            assert "section bad can't be used" in caplog.text
            with pytest.raises(ProviderLoadError, match="settings class"):
                keys.encrypt(b"x", context={}, section="bad")
        config["keyManagement"]["provider"] = "bad"
        with pytest.raises(ProviderLoadError):
            KeyManager.open(config, providers=providers, environ={})

    def test_the_field_and_what_to_write_are_told(self):
        @settings
        class Timed:
            """Has a type that no YAML gives."""

            timeout: timedelta

        given = module(Good, keyhinge_settings=Timed)
        config = {"keyManagement": {"provider": "bad", "bad": {"timeout": "S3CR3T-5s"}}}
        with pytest.raises(ProviderLoadError) as caught:
            KeyManager.open(config, providers={"bad": given}, environ={})
        told = str(caught.value)
        assert "'keyManagement.bad.timeout': <class 'datetime.timedelta'> isn't a type" in told
        assert "a duration is a str that keyhinge.config.parse_duration reads" in told
        assert "S3CR3T" not in told

    def test_invalid_settings_are_the_operators(self):
        @settings
        class Picky:
            """Refuses."""

            key: str = setting(default="k")

            def __attrs_post_init__(self):
                raise InvalidSettings({"key": "isn't good enough"})

        with pytest.raises(ConfigError, match=r"keyManagement\.toy\.key: isn't good enough"):
            open_with(module(Good, keyhinge_settings=Picky))
