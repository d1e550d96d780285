"""Who may import whom, as one table checked on every module's syntax tree; and that no module outgrows the ceiling."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("headrace", "server", "training", "export", "protos", "bench")
PACKAGES = ("headrace.client", "headrace.adopt", *(f"headrace.{folder}" for folder in FOLDERS[1:]))
CEILING = 300

#: What measurements leave, environments of other servers among it: none of the project's code.
RESULTS = "bench/results"

LEAVES = tuple(
    f"headrace.{leaf}" for leaf in ("spec", "parts", "errors", "ragged", "contract", "foreign", "dtypes", "symbols")
)
CLIENT = (*LEAVES, "headrace.protos", "headrace.client")

#: What measures a decoder's ticks.
DECODERS = tuple(f"headrace.bench.{part}" for part in ("decoders", "decoder_parts", "decoder_lane"))

#: Module or package → what it may import of the project besides itself; the longest name that fits counts.
ALLOWED: dict[str, tuple[str, ...]] = {
    "headrace": (*LEAVES, "headrace.client", "headrace.blocking"),
    "headrace.__main__": ("headrace.cli",),
    **dict.fromkeys(LEAVES, LEAVES),
    "headrace.protos": (),
    "headrace.adopt": LEAVES,
    "headrace.training": LEAVES,
    "headrace.export": (*LEAVES, "headrace.training"),
    "headrace.server": LEAVES,
    "headrace.server.app": (*LEAVES, "headrace.server"),
    "headrace.server.transport": LEAVES,
    "headrace.server.rpc": (*LEAVES, "headrace.protos", "headrace.server"),
    **dict.fromkeys(("headrace.client", "headrace.blocking", "headrace.stream"), CLIENT),
    "headrace.cli": (*LEAVES, "headrace.server.settings"),
    "headrace.bench": ("headrace",),
    "headrace.bench.gpu": ("headrace",),  # the engine without the server, against what the device allows
    "headrace.bench.caches": ("headrace",),  # a lane without the server
    "headrace.bench.stateless": ("headrace",),  # the same of a model without states
    **dict.fromkeys(DECODERS, ("headrace",)),  # the engine of caches and a lane, without the server
    "headrace.bench.tuned_echo": ("headrace",),  # the server's way with gRPC, without the server
}
#: What no entry above may open up.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "headrace.bench": ("headrace.server",),
    **dict.fromkeys(("headrace.server", "headrace.server.rpc"), ("headrace.server.transport",)),  # the app alone does
}
#: Modules that import the rest when a command runs, so that each command needs only its own libraries.
DISPATCHERS = ("headrace.cli",)

#: Measurements of PyTorch, or of models that are made or judged by it.
TORCH_MEASURED = tuple(
    f"headrace.bench.{part}"
    for part in (
        "reference",
        "decoder",
        "encoder",
        "user_encoder",
        "attention.truth",
        "attention.workers.eager",
        "attention.workers.hugging",
    )
)

#: Library → where it may be imported.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "torch": ("headrace.training", "headrace.export", *TORCH_MEASURED),
    "onnxruntime": (
        *("headrace.server.engine", "headrace.server.prepared", "headrace.server.memory", "headrace.server.device"),
        *("headrace.server.walk", "headrace.server.watch"),
        "headrace.server.caches",
        *(
            "headrace.export",
            "headrace.bench.bare",
            "headrace.bench.encoders",
            "headrace.adopt.probe",
            "headrace.bench.peers.kept",
        ),
        *("headrace.bench.gpu", "headrace.bench.decoder_parts"),
    ),
    "grpc": (
        *("headrace.server.rpc", "headrace.server.transport", "headrace.server.app", "headrace.client"),
        "headrace.bench",
    ),
    "ctypes": tuple(f"headrace.server.{part}" for part in ("transport", "memory", "device", "cuda")),
    "prometheus_client": ("headrace.server.metrics", "headrace.server.health", "headrace.server.app"),
}


@dataclass(frozen=True, slots=True)
class Module:
    name: str
    file: Path

    @property
    def package(self) -> str:
        return self.name if self.file.stem == "__init__" else self.name.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Import:
    target: str
    line: int
    relative: bool
    deferred: bool  # inside a function


def modules(root: Path) -> list[Module]:
    """Every module of the project below `root`, by the name that it is imported under; generated ones left out."""
    files = [file for folder in FOLDERS for file in sorted((root / folder).rglob("*.py"))]
    ours = [file for file in files if not file.is_relative_to(root / RESULTS) and not file.stem.endswith("_pb2")]
    return [Module(import_name(file.relative_to(root)), file) for file in ours]


def import_name(path: Path) -> str:
    parts = path.with_suffix("").parts if path.stem != "__init__" else path.parent.parts
    return ".".join(parts if parts[0] == "headrace" else ("headrace", *parts))


def imports(module: Module, known: set[str]) -> list[Import]:
    return [
        Import(target, node.lineno, isinstance(node, ast.ImportFrom) and node.level > 0, deferred)
        for node, deferred in statements(ast.parse(module.file.read_text()), deferred=False)
        for target in targets(node, module, known)
    ]


def statements(node: ast.AST, *, deferred: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Import statements, those under TYPE_CHECKING too, and whether they stand inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, deferred
        yield from statements(child, deferred=deferred or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def targets(node: ast.Import | ast.ImportFrom, module: Module, known: set[str]) -> list[str]:
    """Full names of the imported modules: `from a import b` is a.b where that is a module, else a."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    above = module.package.split(".")[: len(module.package.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*above, *(node.module.split(".") if node.module else [])])
    inner = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in known or name in PACKAGES else base for name in inner]


def within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def entry(name: str) -> str:
    """The table's longest name that `name` lies in. Modules right in headrace/ have one each."""
    return max((place for place in ALLOWED if within(name, (place,))), key=len)


def package_of(name: str) -> str:
    return next((package for package in PACKAGES if within(name, (package,))), "headrace")


def problem(module: Module, found: Import) -> str | None:
    """What is wrong with an import, if anything is."""
    library = found.target.partition(".")[0]
    if library in LIBRARIES:
        return None if within(module.name, LIBRARIES[library]) else f"{library} has no place here"
    if library != "headrace":
        return None
    own, package = entry(module.name), package_of(module.name)
    if found.relative != (package_of(found.target) == package):
        return f"{found.target}: relative inside a package, absolute across packages"
    if found.deferred and own in DISPATCHERS:
        return None
    inside = own != "headrace" and within(found.target, (own,))
    allowed = (inside or within(found.target, ALLOWED[own])) and not within(found.target, FORBIDDEN.get(own, ()))
    return None if allowed else f"{found.target} must not be imported"


def violations(root: Path) -> list[str]:
    everything = modules(root)
    known = {module.name for module in everything}
    return [
        f"{module.file.relative_to(root)}:{found.line}: {wrong}"
        for module in everything
        for found in imports(module, known)
        if (wrong := problem(module, found))
    ]


def test_every_import_is_in_the_table() -> None:
    assert violations(ROOT) == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    everything = modules(ROOT)
    known = {module.name for module in everything}
    graph = {module.name: {found.target for found in imports(module, known)} & known for module in everything}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_no_module_is_over_the_ceiling() -> None:
    everything = modules(ROOT)
    assert len(everything) > 50  # the walk found the project
    lengths = {str(m.file.relative_to(ROOT)): len(m.file.read_text().splitlines()) for m in everything}
    assert {name: lines for name, lines in lengths.items() if lines > CEILING} == {}


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("server/lane.py", "from headrace.training import TASKS"),
        ("server/lane.py", "from headrace import training"),
        ("server/lane.py", "from headrace.protos import sequences_pb2"),
        ("server/lane.py", "from headrace.server.steps import Steps"),
        ("server/lane.py", "from ..errors import HeadraceError"),
        ("server/lane.py", "if TYPE_CHECKING:\n    import torch.nn"),
        ("server/lane.py", "def late():\n    import grpc"),
        ("server/repository.py", "import prometheus_client"),
        ("server/repository.py", "from .transport.listen import listen"),
        ("server/repository.py", "from ctypes import CDLL"),
        ("server/rpc/stream.py", "from ..transport.call import Call"),
        ("server/transport/call.py", "from ..steps import Steps"),
        ("headrace/client/client.py", "from headrace.server.steps import Steps"),
        ("headrace/client/client.py", "import onnxruntime"),
        ("headrace/cli.py", "from headrace.training import TASKS"),
        ("headrace/cli.py", "from headrace.errors import HeadraceError"),
        ("headrace/blocking.py", "from .client import Client"),
        ("headrace/spec.py", "from .client import Client"),
        ("headrace/__init__.py", "from .cli import main"),
        ("training/loop.py", "from headrace.export import export_model"),
        ("bench/load.py", "from headrace.server.app import App"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, place: str, line: str) -> None:
    write(tmp_path / place, line)
    (found,) = violations(tmp_path)
    assert found.startswith(f"{place}:")


def test_what_the_table_allows_passes(tmp_path: Path) -> None:
    write(tmp_path / "server/rpc/stream.py", "import grpc\nfrom ..steps import Steps\nfrom headrace.protos import pb")
    write(tmp_path / "server/app.py", "from .steps import Steps\nfrom .transport.listen import listen")
    write(tmp_path / "server/transport/call.py", "import ctypes, grpc\nfrom .stream import Stream")
    write(tmp_path / "server/steps.py", "import numpy as np\nfrom headrace.errors import HeadraceError")
    write(tmp_path / "headrace/cli.py", "def train():\n    from headrace.training import TASKS")
    assert violations(tmp_path) == []


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
