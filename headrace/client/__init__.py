"""The client: `Client` and what it gives out."""

from .client import Client
from .sequence import Sequence
from .served import ServedModel
from .settings import Settings
from .tensors import Result, Value

__all__ = ["Client", "Result", "Sequence", "ServedModel", "Settings", "Value"]
