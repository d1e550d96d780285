"""Somebody else's `.onnx`: what it says of itself, what can be guessed, and a draft of the `model.toml` it needs."""

from .commands import adopt_file as adopt_file
from .commands import inspect_file as inspect_file
