"""Whatever stands in a value: it opens, or it is an `InvalidCiphertextError`. Nothing else."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.local._envelope import CONTEXT, open_envelope, parts_of

from keyhinge import Decrypt, EncryptedValue, InvalidCiphertextError
from keyhinge.testing import FakeService

BOUND = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CONTEXTS = st.sampled_from(
    [{}, CONTEXT, {"account": "acct_2"}, {f"k{n:02}": "v" for n in range(16)}]
)
LABELS = st.sampled_from(["kms", "kms/", "/", "", "x" * 512])
VERSIONS = st.sampled_from(["", "1", "2", "9" * 64])


@pytest.fixture(scope="module")
def service():
    return FakeService()


@pytest.fixture(scope="module", params=["warm", "cold"])
def keys(request, service):
    """Open `envelope`; warm, it has the good value's data key at hand."""
    with open_envelope({"kms": service}) as keys:
        if request.param == "warm":
            keys.encrypt(b"x", context=CONTEXT)
        yield keys


@pytest.fixture(scope="module")
def good(keys, service):
    """A value that opens."""
    with open_envelope({"kms": service}) as others:
        return others.encrypt(b"good", context=CONTEXT)


def expect(keys, value, context, plaintext=None):
    """Open a value in every way; each must refuse it, unless it is still the good one."""
    results = []
    try:
        results.append(keys.decrypt(value, context=context))
    except InvalidCiphertextError as failure:
        results.append(failure)
    [opened] = keys.decrypt_many([Decrypt(value, context)])
    [again] = keys.rewrap_many([Decrypt(value, context)])
    results.append(opened.error or opened.value)
    for result in results:
        assert result == plaintext or type(result) is InvalidCiphertextError
    assert again.error is None or type(again.error) is InvalidCiphertextError
    return results[0]


@BOUND
@given(st.binary(min_size=1, max_size=200), CONTEXTS, LABELS, VERSIONS)
def test_any_bytes(keys, raw, context, key_id, version):
    assert type(expect(keys, EncryptedValue("envelope", key_id, version, raw), context)) is (
        InvalidCiphertextError
    )


@BOUND
@given(
    st.sampled_from([b"\x01", b"\x02"]),
    st.binary(min_size=2, max_size=2) | st.just(b"\0\0"),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 300) | st.just(65535),
    st.binary(max_size=300),
    CONTEXTS,
)
def test_any_header(keys, marker, bitmap, commitment, size, rest, context):
    """Of the right form as far as it goes."""
    raw = marker + bitmap + commitment + size.to_bytes(2, "big") + rest
    expect(keys, EncryptedValue("envelope", "kms/k", "1", raw), context)


@BOUND
@given(
    st.sampled_from(["kms", "plain", "nowhere", "envelope"]),
    LABELS,
    VERSIONS,
    st.binary(min_size=1, max_size=64),
    CONTEXTS,
)
def test_any_wrapped_key(keys, service, section, key_id, version, body, context):
    """A well-formed value as wrapped key, and outer labels that fit it."""
    key_id = service.current_key.key_id if key_id == "kms" else key_id
    wrapped = EncryptedValue(section, key_id, version, body).to_bytes()
    raw = b"\x01\0\0" + bytes(32) + len(wrapped).to_bytes(2, "big") + wrapped + bytes(40)
    label = f"{section}/{key_id}"[:512]
    value = EncryptedValue("envelope", label, version, raw)
    for out in keys.decrypt_many([Decrypt(value, context)]):
        # Another key than the service's is what the service itself says it is.
        assert type(out.error).__name__ in {"InvalidCiphertextError", "KeyUnavailableError"}
        if section != "kms":
            assert type(out.error) is InvalidCiphertextError


@BOUND
@given(st.data(), CONTEXTS)
def test_pieces_of_a_good_one(keys, good, data, context):
    """Parts taken out, doubled, cut and changed."""
    raw = good.ciphertext
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, len(raw)))
    middle = data.draw(st.binary(max_size=8) | st.just(raw[start:end] * 2))
    changed = raw[:start] + middle + raw[end:] or b"\0"
    value = EncryptedValue("envelope", good.key_id, good.version, changed)
    same = changed == raw and context == CONTEXT
    result = expect(keys, value, context, b"good" if same else None)
    assert (result == b"good") is same


def test_the_good_one_is_good(keys, good):
    """Or else the cases above would say nothing."""
    assert keys.decrypt(good, context=CONTEXT) == b"good"
    assert parts_of(good).join() == good.ciphertext
