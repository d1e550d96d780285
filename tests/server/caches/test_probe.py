"""A runtime that does not keep caches in place is found out by their cells, though its results are right."""

from __future__ import annotations

import mmap
from collections.abc import Callable

import pytest

from headrace.errors import ConfigurationError, ModelFailed
from headrace.server.batch import Batch, Outcome, blank
from headrace.server.caches.kinds import layout
from headrace.server.caches.probe import probe
from headrace.server.caches.residents import Residents
from headrace.spec import ModelSpec

from .graphs import Case


def tried(case: Case, fault: Callable[[Residents, Batch], None]) -> None:
    """With a runtime that writes each new cell where it belongs, and has a fault."""
    residents, spec = Residents(layout(case.spec, mmap.PAGESIZE), 4), case.spec

    def run(batch: Batch) -> Outcome:
        write(residents, batch, spec)
        fault(residents, batch)
        return Outcome(blank(spec.outputs, batch.lengths), batch.lengths > 0)

    probe(run, residents, spec)
    assert residents.bytes == 0


def write(residents: Residents, batch: Batch, spec: ModelSpec) -> None:
    assert batch.grown is not None
    rows = residents.enter(*batch.grown, batch.lengths)
    for row, past, count in zip(rows, batch.grown.past, batch.lengths, strict=True):
        for tensor in residents.cells.tensors if not spec.caches[0].filled else ():
            tensor.cells[row, :, past : past + count] = 7


def nothing(residents: Residents, batch: Batch) -> None:
    """No fault."""


def zeroed(residents: Residents, batch: Batch) -> None:
    """What befalls a row that does not step."""
    residents.cells.tensors[1].cells[1] = 0


def elsewhere(residents: Residents, batch: Batch) -> None:
    """A chunk's last cell is not there."""
    residents.cells.tensors[0].cells[2, :, 2] = residents.cells.tensors[0].cells[2, :, 3]
    residents.cells.tensors[0].cells[2, :, 3] = 7


@pytest.mark.parametrize("case", [Case(), Case(window=5), Case(cross=True)], ids=["growing", "window", "filled"])
def test_a_sound_runtime_passes(case: Case) -> None:
    tried(case, nothing)


@pytest.mark.parametrize("fault", [zeroed, elsewhere])
def test_a_fault_is_found(fault: Callable[[Residents, Batch], None]) -> None:
    with pytest.raises(ConfigurationError, match=r"does not keep c\.(keys|values) in place"):
        tried(Case(), fault)


def test_a_filled_cache_that_is_written_is_found() -> None:
    with pytest.raises(ConfigurationError, match=r"does not keep c\.values in place"):
        tried(Case(cross=True), zeroed)


def test_a_runtime_that_refuses_is_told_of() -> None:
    def refused(residents: Residents, batch: Batch) -> None:
        raise ModelFailed("no kernel")

    with pytest.raises(ConfigurationError, match="cannot keep the caches of this model in place: no kernel"):
        tried(Case(), refused)
