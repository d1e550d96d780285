"""The rewritten graph is a sound one, and only graphs whose nodes are those of the spec are rewritten."""

from __future__ import annotations

import mmap

import onnx
import pytest

from headrace.errors import ConfigurationError
from headrace.server.caches.kinds import layout
from headrace.server.caches.rewrite import rewritten
from headrace.spec import Cache

from ...export.decoders import translator, translator_graph
from .graphs import Case


def test_a_rewritten_graph_passes_the_checker() -> None:
    spec = translator().describe("translator")
    made = rewritten(translator_graph(), layout(spec, mmap.PAGESIZE))
    onnx.checker.check_model(made)
    operators = [node.op_type for node in made.graph.node]
    assert operators.count("GroupQueryAttention") == 4 and not any(n.domain == "headrace" for n in made.graph.node)
    assert operators.count("ScatterND") == 4  # of growing caches alone


def test_the_window_is_that_of_the_spec() -> None:
    case = Case(window=5)
    (node,) = [n for n in rewritten(case.graph(), layout(case.spec, 4096)).graph.node if n.op_type.startswith("Group")]
    assert {a.name: a.i for a in node.attribute}["local_window_size"] == 5


@pytest.mark.parametrize(
    ("caches", "why"),
    [
        ((Cache(name="other", heads=2, width=8),), "a cache c, which its spec does not know"),
        ((Cache(name="c", heads=2, width=8), Cache(name="d", heads=2, width=8)), "one attention node for each"),
        ((Cache(name="c", heads=2, width=8, window=3),), "a window of 0, and its spec of 3"),
        ((Cache(name="c", heads=1, width=8),), "2 heads of keys, and its spec 1"),
    ],
    ids=["another name", "one too many", "another window", "other heads"],
)
def test_a_graph_that_does_not_fit_its_spec_is_refused(caches: tuple[Cache, ...], why: str) -> None:
    case = Case()
    spec = case.spec.model_copy(update={"caches": caches})
    with pytest.raises(ConfigurationError, match=why):
        rewritten(case.graph(), layout(spec, mmap.PAGESIZE))
