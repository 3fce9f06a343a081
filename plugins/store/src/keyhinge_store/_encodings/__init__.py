"""The encodings: one small class for each."""

from keyhinge_store._encodings._bytes import BytesCodec
from keyhinge_store._encodings._columns import ColumnsCodec
from keyhinge_store._encodings._monetr import MonetrCodec
from keyhinge_store._encodings._own import OwnCodec
from keyhinge_store._encodings._text import TextCodec

__all__ = ["BytesCodec", "ColumnsCodec", "MonetrCodec", "OwnCodec", "TextCodec"]
