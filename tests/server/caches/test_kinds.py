"""How many cells a row of each kind of cache has."""

from __future__ import annotations

import pytest

from headrace.errors import ConfigurationError
from headrace.server.caches.kinds import Kind, layout
from headrace.spec import Cache

from .graphs import CHUNK, LONGEST, SOURCE, Case

PAGE = 4096


def kind(case: Case) -> Kind:
    return layout(case.spec, PAGE).kinds[0]


def test_rows_end_where_pages_do() -> None:
    for case in (Case(), Case(heads=3, kv_heads=3), Case(window=5), Case(cross=True), Case(width=1024, heads=8)):
        of = kind(case)
        assert of.heads * of.room * of.width * 4 % PAGE == 0


def test_a_row_has_room_for_the_longest_sequence() -> None:
    assert kind(Case(width=1024)).room == LONGEST and LONGEST <= kind(Case()).room < LONGEST + 64
    assert kind(Case(width=1024, cross=True)).room == SOURCE


def test_a_window_keeps_what_a_step_that_is_taken_back_needs() -> None:
    of = kind(Case(window=5, width=1024))
    assert (of.kept, of.most, of.room) == (4 + CHUNK, 4 + CHUNK + 2 * 3, 4 + CHUNK + CHUNK)


def test_a_window_does_not_slide_where_the_longest_sequence_has_room() -> None:
    spec = Case(window=25, width=1024).spec.model_copy(update={"longest": LONGEST})
    assert (layout(spec, PAGE).kinds[0].room, layout(spec, PAGE).kinds[0].kept) == (LONGEST, 0)


def test_caches_alike_are_of_one_kind() -> None:
    one = Cache(name="a", heads=2, width=8)
    caches = (one, one.model_copy(update={"name": "b"}), Cache(name="c", heads=1, width=8))
    of = layout(Case().spec.model_copy(update={"caches": caches}), PAGE)
    assert of.of == (0, 0, 1) and of.cell_bytes == 2 * 4 * 8 * (2 + 2 + 1)


def test_other_dtypes_are_refused() -> None:
    caches = (Cache(name="half", heads=2, width=8, dtype="float16"),)
    with pytest.raises(ConfigurationError, match="and half is not; export it so"):
        layout(Case().spec.model_copy(update={"caches": caches}), PAGE)
