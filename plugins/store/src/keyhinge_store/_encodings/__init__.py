"""The encodings: one small class for each."""

from keyhinge_store._encodings._own import OwnCodec

__all__ = ["OwnCodec"]
