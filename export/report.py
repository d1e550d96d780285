"""The one-page report of an export: a Markdown page and a picture, published beside the model."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from headrace.spec import ModelSpec

from .compare import Difference
from .lighter import Lighter
from .parity import TOLERANCE, Report
from .precision import LIMITS, Precision
from .runners import placement

PAGE, PICTURE = "report.md", "parity.png"

FLOOR = 1e-9
"""Errors below are drawn alike."""


def pages(
    graph: onnx.ModelProto,
    spec: ModelSpec,
    report: Report,
    small: Lighter | None,
    coarse: Report | None,
    notes: Sequence[str] = (),
) -> dict[str, bytes]:
    """The files of the report, by name.

    report: of the float32 graph
    small:  what the published graph was reduced to, and `coarse` what was found of it, if it was
    notes:  what else is to be said of how it runs, a line each
    """
    page = _page(graph, spec, report, small, coarse, notes)
    return {PAGE: page.encode(), PICTURE: picture(spec.name, report.cases)}


def _page(
    graph: onnx.ModelProto,
    spec: ModelSpec,
    report: Report,
    small: Lighter | None,
    coarse: Report | None,
    notes: Sequence[str],
) -> str:
    lines = [
        f"# {spec.name}",
        spec.summary(),
        "## Parity with PyTorch",
        *([_parity(small.precision, coarse)] if small and coarse else []),
        _parity("fp32", report),
        f"![Largest error by batch and cut]({PICTURE})",
        _table(("wrong on purpose", "differs by"), ((name, f"{error:.2f}") for name, error in report.controls.items())),
        "## Scores",
        _table(
            ("metric", "value", "published", "data"),
            ((s.metric, f"{s.value:.4f}", s.published, s.data) for s in spec.scores),
        ),
        "## Size and speed",
        str(small) if small else f"{graph.ByteSize():,} bytes, float32",
        "## Where the nodes run",
        _table(("provider", "operators"), placement(graph)),
        *(f"- {note}" for note in notes),
        "## Made with",
        _table(("package", "version"), spec.versions.items()),
    ]
    return "\n\n".join(lines) + "\n"


def _parity(precision: Precision, report: Report) -> str:
    found, limit = report.parity, LIMITS[precision]
    return f"{precision}: largest relative error {found.error:.1e} in {found.cases} cases; {limit:.0e} is allowed."


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *body]) if body else "None."


def picture(title: str, cases: Iterable[Difference]) -> bytes:
    """PNG: the largest error for each number of rows and each cut, in shades."""
    cells = errors(cases)
    sizes, cuts = sorted({rows for rows, _ in cells}), sorted({cut for _, cut in cells})
    grid: NDArray[np.float64] = np.array([[max(cells[rows, cut], FLOOR) for rows in sizes] for cut in cuts])
    figure = Figure(figsize=(6, 1.6 + 0.5 * len(cuts)), layout="constrained")
    axes = figure.add_subplot(title=f"{title}: largest relative error", xlabel="sequences in the batch")
    image = axes.imshow(grid, norm=LogNorm(FLOOR, TOLERANCE), cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(sizes)), map(str, sizes))
    axes.set_yticks(range(len(cuts)), cuts)
    for (y, x), error in np.ndenumerate(grid):
        axes.text(x, y, f"{error:.0e}", ha="center", va="center", color="white" if error < 1e-6 else "black")
    figure.colorbar(image)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def errors(cases: Iterable[Difference]) -> dict[tuple[int, str], float]:
    """(rows, cut) → the largest error."""
    found: dict[tuple[int, str], float] = {}
    for case in cases:
        found[case.rows, case.cut] = max(found.get((case.rows, case.cut), 0.0), case.error)
    return found
