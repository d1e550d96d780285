"""The client: `Client` and what it gives out."""

from .client import Client
from .prompts import Prompts, Source, Writing
from .sequence import Sequence
from .served import ServedModel
from .settings import Settings
from .tensors import Result, Value
from .writing import Ending, Piece

__all__ = [
    "Client",
    "Ending",
    "Piece",
    "Prompts",
    "Result",
    "Sequence",
    "ServedModel",
    "Settings",
    "Source",
    "Value",
    "Writing",
]
