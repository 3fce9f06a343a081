"""Sections that build on other sections."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from keyhinge import (
    Asked,
    Capabilities,
    ConfigError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidContextError,
    KeyManager,
    KeyRef,
    OperationError,
    Provider,
    ProviderContractError,
    Sealed,
    SectionNotConfiguredError,
    UnavailableError,
    hookimpl,
    setting,
    settings,
)

PURPOSE = {"keyhinge": "wrapper/1"}
NOT_BYTES: Any = Encrypt("b", {})  # type: ignore[arg-type]


@settings
class WrapperSettings:
    """Settings of a section that wraps another one's values."""

    over: str = setting(default="inner", help="The section below.")
    also: list[str] = setting(factory=list, help="Sections whose values are opened too.")


class Wrapper(Provider):
    """Hands everything down, under a context of the library's own."""

    capabilities = Capabilities(encrypts=True, binds_context=True, key_versions=True)

    def __init__(self, client: Any, name: str, events: list[str]) -> None:
        self.client = client
        self._name = name
        self._events = events

    @hookimpl
    def keyhinge_encrypt(self, plaintext, context):
        """Encrypt below."""
        value = self.client.encrypt(plaintext, {**PURPOSE, **context})
        return Sealed(value.to_bytes(), "w", value.version)

    @hookimpl
    def keyhinge_decrypt(self, value, context):
        """Decrypt below."""
        inner = EncryptedValue.from_bytes(value.ciphertext)
        return self.client.decrypt(inner, {**PURPOSE, **context})

    @hookimpl
    def keyhinge_rewrap_many(self, items):
        """Rewrap below."""
        below = [
            Decrypt(EncryptedValue.from_bytes(i.value.ciphertext), {**PURPOSE, **i.context})
            for i in items
        ]
        return [
            x if isinstance(x, OperationError) else Sealed(x.to_bytes(), "w", x.version)
            for x in self.client.rewrap_many(below)
        ]

    @hookimpl
    def keyhinge_current_key(self):
        """Tell the key below."""
        return KeyRef("w", self.client.current_key().version)

    @hookimpl
    def keyhinge_close(self):
        """Note it."""
        self._events.append(f"close {self._name}")


class WrapperModule:
    """What its entry point would name."""

    keyhinge_api, keyhinge_settings = 1, WrapperSettings
    wraps_keys = False

    def __init__(self, events: list[str]) -> None:
        self._events = events
        self.sections: list[Any] = []

    @hookimpl
    def keyhinge_configure(self, settings, section):
        """Make the provider."""
        self.sections.append(section)
        client = section.over(settings.over, also=settings.also, wraps_keys=self.wraps_keys)
        return Wrapper(client, section.name, self._events)


@pytest.fixture
def wrapper(module):
    """The wrapping provider; its events are those of the toy provider too."""
    return WrapperModule(module.events)


@pytest.fixture
def make(module, wrapper):
    """Open sections: those with `over` are wrappers, the others toys."""
    made = []

    def make(primary, blocks, **options):
        sections = {
            name: {"type": "wrapper" if "over" in block else "toy", **block}
            for name, block in blocks.items()
        }
        options.setdefault("providers", {"toy": module, "wrapper": wrapper})
        keys = KeyManager.open(
            {"keyManagement": {"provider": primary, **sections}}, environ={}, **options
        )
        made.append(keys)
        return keys

    yield make
    for keys in made:
        keys.close()


TWO = {"outer": {"over": "inner"}, "inner": {"version": "7"}}


class TestUse:
    @pytest.mark.parametrize("order", [["outer", "inner"], ["inner", "outer"]])
    def test_round_trip(self, make, order):
        keys = make("outer", {name: TWO[name] for name in order})
        value = keys.encrypt(b"x", context={"a": "1"})
        assert (value.section, value.key_id, value.version) == ("outer", "w", "7")
        assert EncryptedValue.from_bytes(value.ciphertext).section == "inner"
        assert keys.decrypt(value, context={"a": "1"}) == b"x"
        assert keys.current_key() == KeyRef("w", "7")
        assert keys.decrypt(keys.rewrap(value, context={"a": "1"}), context={"a": "1"}) == b"x"
        assert keys.check().ok
        with pytest.raises(InvalidCiphertextError):
            keys.decrypt(value, context={"a": "2"})

    def test_three_floors(self, make):
        keys = make("top", {"top": {"over": "outer"}, **TWO})
        value = keys.encrypt(b"x", context={})
        assert keys.decrypt(value, context={}) == b"x"

    def test_the_inner_value_cannot_be_opened_from_outside(self, make):
        """A value stored under one section can't be planted as a wrapped one, nor the reverse."""
        keys = make("outer", TWO)
        value = keys.encrypt(b"x", context={})
        inner = EncryptedValue.from_bytes(value.ciphertext)
        for context in ({}, PURPOSE, {"a": "1"}):
            with pytest.raises((InvalidCiphertextError, InvalidContextError)):
                keys.decrypt(inner, context=context)
        planted = keys.encrypt(b"evil", context={}, section="inner")
        with pytest.raises(InvalidCiphertextError):
            keys.decrypt(EncryptedValue("outer", "w", "7", planted.to_bytes()), context={})

    def test_reserved_context_only_inside(self, make):
        keys = make("outer", TWO)
        for section in (None, "inner"):
            with pytest.raises(InvalidContextError, match="library's own"):
                keys.encrypt(b"x", context=PURPOSE, section=section)

    @pytest.mark.parametrize("label", ["other", "outer", "nowhere"])
    def test_only_the_fixed_sections_open(self, make, label):
        """A value can't choose the section that opens it."""
        keys = make("outer", {**TWO, "other": {"key": "k", "version": "7"}})
        value = keys.encrypt(b"x", context={})
        inner = EncryptedValue.from_bytes(value.ciphertext)
        moved = EncryptedValue(label, inner.key_id, inner.version, inner.ciphertext)
        planted = EncryptedValue("outer", value.key_id, value.version, moved.to_bytes())
        with pytest.raises(InvalidCiphertextError):
            keys.decrypt(planted, context={})
        with pytest.raises(InvalidCiphertextError):
            keys.rewrap(planted, context={})

    def test_also(self, make):
        old = make("outer", TWO).encrypt(b"x", context={})
        keys = make(
            "outer",
            {"outer": {"over": "new", "also": ["inner"]}, "new": {"version": "8"}, **TWO_INNER},
        )
        assert keys.decrypt(old, context={}) == b"x"
        fresh = keys.encrypt(b"y", context={})
        first, second = keys.rewrap_many([Decrypt(old, {}), Decrypt(fresh, {})])
        for outcome, plaintext in ((first, b"x"), (second, b"y")):
            assert EncryptedValue.from_bytes(outcome.value.ciphertext).section == "new"
            assert keys.decrypt(outcome.value, context={}) == plaintext

    def test_batches_below(self, make, wrapper):
        """Each item has its own fate, and no item can choose its section."""
        make(
            "outer", {"outer": {"over": "new", "also": ["inner"]}, "new": {}, **TWO_INNER, "x": {}}
        )
        client = wrapper.sections[0].clients[0]
        made = client.encrypt_many([Encrypt(b"a", PURPOSE), NOT_BYTES, Encrypt(b"c", {})])
        assert [type(each).__name__ for each in made] == [
            "EncryptedValue",
            "InvalidPlaintextError",
            "EncryptedValue",
        ]
        assert made[0].section == "new"
        elsewhere = EncryptedValue("x", made[2].key_id, made[2].version, made[2].ciphertext)
        opened = client.decrypt_many(
            [Decrypt(made[2], {}), Decrypt(elsewhere, {}), Decrypt(made[0], PURPOSE)]
        )
        assert (opened[0], opened[2]) == (b"c", b"a")
        assert type(opened[1]) is InvalidCiphertextError

    def test_aliases_of_the_section_below(self, make):
        old = make("outer", TWO).encrypt(b"x", context={})
        keys = make(
            "outer",
            {"outer": {"over": "renamed"}, "renamed": {"version": "7", "aliases": ["inner"]}},
        )
        assert keys.decrypt(old, context={}) == b"x"
        again = keys.rewrap(old, context={})
        assert EncryptedValue.from_bytes(again.ciphertext).section == "renamed"

    def test_errors_from_below(self, make, variant, wrapper):
        @hookimpl
        def encrypt(self, plaintext, context):
            raise UnavailableError("is sealed")

        providers = {"toy": variant(keyhinge_encrypt=encrypt), "wrapper": wrapper}
        keys = make("outer", TWO, providers=providers)
        with pytest.raises(UnavailableError) as caught:
            keys.encrypt(b"x", context={})
        assert (caught.value.section, caught.value.retryable) == ("inner", True)

    def test_rubbish_from_below(self, make, variant, wrapper):
        hook = hookimpl(lambda self, plaintext, context: None)
        providers = {"toy": variant(keyhinge_encrypt=hook), "wrapper": wrapper}
        with pytest.raises(ProviderContractError) as caught:
            make("outer", TWO, providers=providers).encrypt(b"x", context={})
        assert caught.value.section == "inner"

    def test_capabilities_below(self, make, wrapper):
        keys = make("outer", TWO)
        client = wrapper.sections[0].clients[0]
        assert client.name == "inner"
        assert client.capabilities == keys.capabilities("inner")


TWO_INNER = {"inner": TWO["inner"]}


class TestBuildsOn:
    def test_the_edges(self, make):
        """Directly, the one that encrypts first; the provider's aliases don't matter."""
        blocks = {"top": {"over": "outer", "also": ["other", "inner"]}, **TWO, "other": {}}
        keys = make("top", blocks)
        assert keys.builds_on() == keys.builds_on("top") == ("outer", "other", "inner")
        assert keys.builds_on("outer") == ("inner",)
        assert keys.builds_on("inner") == ()
        keys.reload()
        assert keys.builds_on() == ("outer", "other", "inner")

    def test_of_what_cannot_be_used(self, make):
        """Whoever asks wants to know what to keep: also for sections that are broken now."""
        broken = {"keyy": "x"}
        circle = {"a": {"over": "b"}, "b": {"over": "a"}}
        keys = make("x", {"x": {}, "outer": {"over": "inner"}, "inner": broken, **circle})
        assert (keys.builds_on("outer"), keys.builds_on("a")) == (("inner",), ("b",))
        with pytest.raises(ConfigError, match="keyy"):
            keys.builds_on("inner")
        with pytest.raises(ConfigError, match="no section 'nowhere'"):
            keys.builds_on("nowhere")


class TestRefused:
    @pytest.mark.parametrize(
        "blocks",
        [
            {"a": {"over": "a"}},
            {"a": {"over": "b"}, "b": {"over": "a"}},
            {"a": {"over": "b"}, "b": {"over": "c"}, "c": {"over": "a"}},
            {"a": {"over": "b", "also": ["a"]}, "b": {}},
        ],
    )
    def test_circles(self, make, blocks):
        with pytest.raises(ConfigError, match=r"keyManagement\.a: builds on itself"):
            make("a", blocks)

    def test_a_circle_elsewhere(self, make):
        blocks = {"x": {}, "a": {"over": "b"}, "b": {"over": "a"}, "c": {"over": "b"}}
        keys = make("x", blocks)
        assert keys.decrypt(keys.encrypt(b"1", context={}), context={}) == b"1"
        for name in "abc":
            with pytest.raises(ConfigError, match="builds on"):
                keys.encrypt(b"1", context={}, section=name)

    @pytest.mark.parametrize("blocks", [{"over": "nowhere"}, {"over": "inner", "also": ["no"]}])
    def test_unknown_target(self, make, blocks):
        with pytest.raises(ConfigError, match=r"keyManagement\.outer.*doesn't have"):
            make("outer", {"outer": blocks, **TWO_INNER})

    def test_over_after_configure(self, make, wrapper):
        make("outer", TWO)
        with pytest.raises(ConfigError, match="only in keyhinge_configure"):
            wrapper.sections[0].over("inner")

    def test_use_during_configure(self, module, wrapper):
        class Hasty(WrapperModule):
            @hookimpl
            def keyhinge_configure(self, settings, section):
                section.over("inner").encrypt(b"x", {})

        sections = {"outer": {"type": "hasty"}, "inner": {"type": "toy"}}
        config = {"keyManagement": {"provider": "outer", **sections}}
        providers = {"toy": module, "hasty": Hasty([])}
        with pytest.raises(ConfigError, match="being configured"):
            KeyManager.open(config, providers=providers, environ={})

    def test_a_primary_that_builds_on_a_broken_section(self, make):
        with pytest.raises(ConfigError, match=r"builds on the section 'inner'.*keyy"):
            make("outer", {"outer": {"over": "inner"}, "inner": {"keyy": "x"}})
        with pytest.raises(ConfigError, match=r"builds on the section 'outer'"):
            make("top", {"top": {"over": "outer"}, "outer": {"over": "inner"}, "inner": {"k": "x"}})

    def test_another_one_that_does(self, make):
        keys = make("x", {"x": {}, "outer": {"over": "inner"}, "inner": {"keyy": "x"}})
        keys.encrypt(b"x", context={})
        with pytest.raises(ConfigError, match="builds on the section 'inner'"):
            keys.encrypt(b"x", context={}, section="outer")
        with pytest.raises(SectionNotConfiguredError, match="keyy"):
            keys.decrypt(EncryptedValue("outer", "w", "7", b"x"), context={})

    def test_only_an_old_section_below_is_broken(self, make):
        old = make("outer", TWO).encrypt(b"x", context={})
        blocks = {"outer": {"over": "new", "also": ["inner"]}, "new": {}, "inner": {"keyy": "x"}}
        keys = make("outer", blocks)
        assert keys.decrypt(keys.encrypt(b"y", context={}), context={}) == b"y"
        with pytest.raises(SectionNotConfiguredError, match="keyy"):
            keys.decrypt(old, context={})

    def test_an_old_section_below_builds_on_itself(self, make):
        """It was opened and is broken all the same: it says why, not that it isn't ready."""
        old = make("outer", TWO).encrypt(b"x", context={})
        blocks = {
            "outer": {"over": "new", "also": ["inner"]},
            "new": {},
            "inner": {"over": "inner"},
        }
        with pytest.raises(SectionNotConfiguredError, match=r"'inner'.*builds on itself"):
            make("outer", blocks).decrypt(old, context={})


class TestWrappingKeys:
    """`over(..., wraps_keys=True)` refuses sections that can't keep a key."""

    @pytest.fixture
    def wrapper(self, module):
        """Wraps keys."""
        made = WrapperModule(module.events)
        made.wraps_keys = True
        return made

    def test_a_section_that_can(self, make):
        keys = make("outer", TWO)
        assert keys.decrypt(keys.encrypt(b"x", context={}), context={}) == b"x"

    @pytest.mark.parametrize(
        ("changed", "problem"),
        [
            ({"encrypts": False, "binds_context": False}, "doesn't encrypt"),
            ({"binds_context": False}, "doesn't authenticate the context"),
        ],
    )
    @pytest.mark.parametrize("also", [False, True])
    def test_sections_that_cannot(self, make, module, variant, wrapper, changed, problem, also):
        weak = variant(capabilities=Capabilities(**{"encrypts": True, **FULL, **changed}))
        providers = {"toy": module, "weak": weak, "wrapper": wrapper}
        blocks = {"outer": {"over": "inner", "also": ["b"]}, "inner": {}, "b": {}}
        blocks["b" if also else "inner"]["type"] = "weak"
        with pytest.raises(ConfigError, match=rf"keyManagement\.outer: can't keep.*{problem}"):
            make("outer", blocks, providers=providers)

    def test_nor_on_a_section_that_builds_on_another(self, make):
        with pytest.raises(ConfigError, match=r"keyManagement\.top.*builds on another"):
            make("top", {"top": {"over": "outer"}, **TWO})


FULL = {"binds_context": True, "key_versions": True}


class TestClosing:
    @pytest.mark.parametrize("order", [["outer", "inner"], ["inner", "outer"]])
    def test_inner_after_outer(self, make, module, order):
        keys = make("outer", {name: TWO[name] for name in order})
        module.events.clear()
        keys.close()
        assert module.events == ["close outer", "close inner"]

    @pytest.mark.parametrize("order", [["top", "outer", "inner"], ["inner", "top", "outer"]])
    def test_also_when_reload_drops_them(self, make, module, wrapper, order):
        """At once, without waiting for the garbage collector."""
        blocks = {"top": {"over": "outer"}, **TWO}
        gc.disable()
        try:
            keys = make("top", {name: blocks[name] for name in order})
            wrapper.sections.clear()  # they refer to what is below
            value = keys.encrypt(b"x", context={})
            with pytest.raises(InvalidCiphertextError):
                keys.decrypt(value, context={"a": "1"})
            module.events.clear()
            keys.reload()
            closed = [event for event in module.events if event.startswith("close")]
        finally:
            gc.enable()
        assert closed == ["close top", "close outer", "close inner"]
        assert keys.decrypt(value, context={}) == b"x"


class TestAskedBelow:
    def test_each_call_is_counted_where_it_goes(self, make):
        """By the section below, with calls as its provider takes them; others' calls aren't."""
        keys = make("outer", {"outer": {"over": "inner", "also": ["old"]}, "inner": {}, "old": {}})
        old = make("outer", {"outer": {"over": "old"}, "inner": {}, "old": {}})
        assert keys.asked_below() == {}
        value = keys.encrypt(b"x", context={})
        assert keys.asked_below() == {"inner": (1, 1)}
        keys.decrypt(value, context={})
        keys.encrypt(b"x", context={}, section="old")
        assert keys.asked_below() == {"inner": Asked(2, 2)}
        keys.decrypt(old.encrypt(b"x", context={}), context={})
        assert keys.asked_below() == {"inner": (2, 2), "old": (1, 1)}
        # The toy takes no batches: three values are opened, and encrypted.
        keys.rewrap_many([Decrypt(value, {})] * 3)
        assert keys.asked_below() == {"inner": (8, 8), "old": (1, 1)}
        keys.reload()
        assert keys.asked_below() == {}

    def test_batches_are_one_call(self, make, wrapper, variant):
        hooks = {
            "keyhinge_encrypt_many": lambda self, items: [
                self.keyhinge_encrypt(i.plaintext, i.context) for i in items
            ],
            "keyhinge_decrypt_many": lambda self, items: [
                self.keyhinge_decrypt(i.value, i.context) for i in items
            ],
        }
        batching = variant(**{name: hookimpl(hook) for name, hook in hooks.items()})
        providers = {"toy": batching, "wrapper": wrapper}
        keys = make("outer", {"outer": {"over": "inner"}, "inner": {}}, providers=providers)
        [client] = (section.clients[0] for section in wrapper.sections)
        values = client.encrypt_many([Encrypt(b"x", {})] * 3)
        client.decrypt_many([Decrypt(value, {}) for value in values])
        client.decrypt_many([])
        assert keys.asked_below() == {"inner": (2, 6)}
