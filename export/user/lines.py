"""Where in the user's own files something happens: of errors, and of the nodes of a traced graph."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.export import ExportedProgram

from headrace.errors import ConfigurationError

NODE = re.compile(r"translating node %(?P<name>\w+)")
"""What the exporter says of an operator that it cannot translate."""

COLOURS = re.compile(r"\x1b\[\d*m")

FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in \S+\n\s*(?P<code>[^\n]*)')


def files(module: nn.Module) -> set[str]:
    """The files in which the classes of `module` and of its parts are written, torch's own left out."""
    classes = {kind for part in module.modules() for kind in type(part).__mro__ if _own(kind.__module__)}
    return {file for kind in classes if (file := _file(kind)) is not None}


def of_trace(trace: str | None, own: set[str]) -> str:
    """`file:line: code` of the innermost frame in the user's files, of a stack trace as text; "" if there is none."""
    frames = [found for found in FRAME.finditer(trace or "") if found["file"] in own]
    return f"{frames[-1]['file']}:{frames[-1]['line']}: {frames[-1]['code'].strip()}" if frames else ""


def of_error(error: BaseException, own: set[str]) -> str:
    """The same of where an error was raised, or of what was traced when it was."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
    return f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""


@contextmanager
def told(module: nn.Module, name: str, doing: str) -> Iterator[None]:
    """Errors of any kind become ConfigurationError with the user's line and torch's first paragraph."""
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        where, words = of_error(error, files(module)), _words(error)
        raise ConfigurationError(
            f"{name} cannot be {doing} ({type(error).__name__}): {words}" + (f"; at {where}" if where else "")
        ) from error


def untranslated(error: Exception, program: ExportedProgram, own: set[str]) -> str:
    """The operator that has no translation, the user's line, and the inmost reason, without the exporter's advice."""
    causes = list(_causes(error))
    found = next((node for cause in causes if (node := NODE.search(str(cause)))), None)
    nodes = {node.name: node for node in program.graph_module.graph.nodes}
    node = nodes.get(found["name"]) if found else None
    where = of_trace(node.meta.get("stack_trace"), own) if node is not None else ""
    operator = f"{found['name']} has no ONNX form here: " if found else ""
    return f"{operator}{_words(causes[-1])}" + (f"; at {where}" if where else "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what led to it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _words(error: BaseException) -> str:
    """What follows the first paragraph is advice on the tracer's own options; colours are for its terminal."""
    return " ".join(COLOURS.sub("", str(error)).split("\n\n")[0].split())[:400]


def _own(module: str) -> bool:
    return module.split(".")[0] not in ("torch", "builtins", "abc", "typing")


def _file(kind: type) -> str | None:
    try:
        return inspect.getsourcefile(kind)
    except (TypeError, OSError):
        return None
