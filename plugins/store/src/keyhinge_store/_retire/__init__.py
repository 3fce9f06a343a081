"""Retiring a section, a key or a version: does anything need it still, and may anything come back?

The answer is about live rows. A fence, which is a trigger, is what makes it last.
"""

from keyhinge_store._retire._can_retire import Retirement, TableRetirement, can_retire
from keyhinge_store._retire._fence import Fence
from keyhinge_store._retire._fences import add_fence, fence_statements, fences, remove_fence
from keyhinge_store._retire._refuse import refuse_fenced

__all__ = [
    "Fence",
    "Retirement",
    "TableRetirement",
    "add_fence",
    "can_retire",
    "fence_statements",
    "fences",
    "refuse_fenced",
    "remove_fence",
]
