"""Graphs of one attention node around a few linear layers, and what they give, computed plainly in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from headrace.export.caches import CACHED, CROSS, DOMAIN
from headrace.export.rotary import ROTARY
from headrace.spec import FILLED, LENGTHS, PAST, Cache, Chunk, Input, ModelSpec, Output, Start, State

FEATURES, LONGEST, CHUNK, SOURCE = 5, 40, 8, 12
FREQUENCY = 0.3
Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Case:
    """y = attention of q = x Wq to k = x Wk and v = x Wv so far; or, with `cross`, to those of the source.

    With `carried` there is a state too: the time steps so far, given as an output. With `turned`, q, k and v are the
    parts of one product, and q and k are turned by their position. With `fed`, y is that plus tanh(q).
    """

    heads: int = 2
    kv_heads: int = 2
    width: int = 8
    window: int = 0
    carried: bool = False
    cross: bool = False
    longest: int = LONGEST
    turned: bool = False
    fed: bool = False

    @property
    def spec(self) -> ModelSpec:
        steps = (Output(name="steps", dtype="float32", shape=(1,), time=False),) if self.carried else ()
        cache = Cache(name="c", heads=self.kv_heads, width=self.width, window=self.window or None, filled=self.cross)
        return ModelSpec(
            name="case",
            inputs=(_input("x"),),
            outputs=(Output(name="y", dtype="float32", shape=(self.heads * self.width,), time=True), *steps),
            states=(State(name="n", input="n", output="n_out", dtype="float32", shape=(1,)),) if self.carried else (),
            caches=(cache,),
            longest=None if self.window or self.cross else self.longest,
            chunk=Chunk(longest=CHUNK),
            start=Start(inputs=(_input("source"),), longest=SOURCE) if self.cross else None,
        )

    @property
    def weights(self) -> dict[str, Values]:
        rng, sizes = np.random.default_rng(0), {"q": self.heads, "k": self.kv_heads, "v": self.kv_heads}
        return {n: rng.standard_normal((FEATURES, heads * self.width), np.float32) for n, heads in sizes.items()}

    def graph(self) -> onnx.ModelProto:
        about = {"cache": "c", "heads": self.heads, "kv_heads": self.kv_heads, "scale": self.width**-0.5}
        names, y = ["q"] if self.cross else ["q", "k", "v"], "mixed" if self.fed else "y"
        nodes = _product() if self.turned else [helper.make_node("MatMul", ["x", f"W{n}"], [n]) for n in names]
        if self.cross:
            nodes.append(helper.make_node(CROSS, ["q", LENGTHS, FILLED], [y], domain=DOMAIN, **about))
        else:
            inputs = [*(["q:turned", "k:turned"] if self.turned else ["q", "k"]), "v", LENGTHS, PAST]
            nodes.append(helper.make_node(CACHED, inputs, [y], domain=DOMAIN, window=self.window, **about))
        if self.carried:
            nodes += _counted()
        if self.turned:
            nodes += [_turn(name, self.width) for name in "qk"]
            nodes.sort(key=lambda node: node.op_type == CACHED)
        if self.fed:
            nodes += [helper.make_node("Tanh", ["q"], ["bent"]), helper.make_node("Add", ["mixed", "bent"], ["y"])]
        if self.turned:
            return _model(nodes, self.spec, _tables(self))
        return _model(nodes, self.spec, {f"W{n}": self.weights[n] for n in names})

    def start(self) -> onnx.ModelProto | None:
        """Of a cross-attention, the keys and values of the source; an input that is not finite gives such cells."""
        if not self.cross:
            return None
        nodes = [
            node
            for name, tensor in (("k", "c.keys"), ("v", "c.values"))
            for node in (
                helper.make_node("MatMul", ["source", f"W{name}"], [name]),
                helper.make_node("Reshape", [name, "apart"], [tensor]),
            )
        ]
        weights = {f"W{name}": self.weights[name] for name in "kv"}
        return _model(nodes, self.spec.started(), weights | {"apart": np.array([-1, self.kv_heads, self.width])})

    def truth(self, x: Values, source: Values | None = None) -> Values:
        """x [time, features] of a whole sequence → y [time, heads * width]."""
        looked = x if source is None else source
        q, k, v = (
            (values @ self.weights[name]).reshape(len(values), -1, self.width).transpose(1, 0, 2)
            for name, values in (("q", x), ("k", looked), ("v", looked))
        )  # [heads, time, width]
        bent = np.tanh(q) if self.fed else 0 * q
        if self.turned:
            q, k = _turned(q), _turned(k)
        k, v = (cells.repeat(self.heads // self.kv_heads, 0) for cells in (k, v))
        scores = q @ k.transpose(0, 2, 1) * self.width**-0.5  # [heads, time, cells]
        if not self.cross:
            ago = np.arange(len(x))[:, None] - np.arange(len(x))
            scores = np.where((ago >= 0) & (ago < (self.window or len(x))), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        y = (weights / weights.sum(-1, keepdims=True)) @ v + bent  # [heads, time, width]
        mixed: Values = y.transpose(1, 0, 2).reshape(len(x), -1)
        return mixed


def _turned(x: Values) -> Values:
    """x [heads, time, width] turned by the angle position * FREQUENCY, the same for each pair."""
    angles = np.arange(x.shape[1], dtype=np.float32)[:, None] * FREQUENCY
    left, right = np.split(x, 2, axis=2)
    pair = [left * np.cos(angles) - right * np.sin(angles), left * np.sin(angles) + right * np.cos(angles)]
    return np.concatenate(pair, axis=2)


def _product() -> list[onnx.NodeProto]:
    """q, k and v as parts of one product, and the cosines and sines of each token's position [tokens, 1, width / 2]."""
    make = helper.make_node
    return [
        make("MatMul", ["x", "W"], ["qkv"]),
        make("Split", ["qkv"], ["q", "k", "v"], axis=1, num_outputs=3),
        # The token's place in the batch, less that of its row's first one, and what the row has had before.
        make("CumSum", [LENGTHS, "0"], ["starts"], exclusive=1),
        make("CumSum", [LENGTHS, "0"], ["ends"]),
        make("Shape", ["x"], ["count"], start=0, end=1),
        make("Squeeze", ["count"], ["tokens"]),
        make("Range", ["0", "tokens", "1"], ["token"]),
        make("Unsqueeze", ["token", "column"], ["token:column"]),
        make("GreaterOrEqual", ["token:column", "ends"], ["behind"]),
        make("Cast", ["behind"], ["behind:count"], to=TensorProto.INT64),
        make("ReduceSum", ["behind:count", "column"], ["row"], keepdims=0),
        make("Sub", [PAST, "starts"], ["ahead"]),
        make("Gather", ["ahead", "row"], ["token:ahead"]),
        make("Add", ["token", "token:ahead"], ["position"]),
        make("Cast", ["position"], ["position:real"], to=TensorProto.FLOAT),
        make("Unsqueeze", ["position:real", "deep"], ["position:deep"]),
        make("Mul", ["position:deep", "frequencies"], ["angles"]),
        make("Cos", ["angles"], ["cosine"]),
        make("Sin", ["angles"], ["sine"]),
    ]


def _turn(name: str, width: int) -> onnx.NodeProto:
    return helper.make_node(ROTARY, [name, "cosine", "sine"], [f"{name}:turned"], domain=DOMAIN, width=width)


def _tables(case: Case) -> dict[str, NDArray[np.generic]]:
    """What the nodes of `_product` take."""
    weights = np.concatenate([case.weights[name] for name in "qkv"], axis=1)
    whole = {"0": np.array(0), "1": np.array(1), "column": np.array([1]), "deep": np.array([1, 2])}
    return {"W": weights, "frequencies": np.full(case.width // 2, FREQUENCY, np.float32), **whole}


def _input(name: str) -> Input:
    return Input(name=name, dtype="float32", shape=(FEATURES,))


def _counted() -> list[onnx.NodeProto]:
    """n_out [rows, 1] = n + lengths, given as `steps` too."""
    return [
        helper.make_node("Cast", [LENGTHS], ["more"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["more", "one"], ["column"]),
        helper.make_node("Constant", [], ["one"], value_ints=[1]),
        helper.make_node("Add", ["n", "column"], ["n_out"]),
        helper.make_node("Identity", ["n_out"], ["steps"]),
    ]


def _model(nodes: list[onnx.NodeProto], spec: ModelSpec, weights: dict[str, NDArray[np.generic]]) -> onnx.ModelProto:
    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    ins, outs = (
        [helper.make_tensor_value_info(s.name, kinds[s.dtype], [s.axis, *s.shape]) for s in side]
        for side in (spec.graph_inputs, spec.graph_outputs)
    )
    nodes = sorted(nodes, key=lambda node: node.op_type != "Constant")
    made = [numpy_helper.from_array(cells, name) for name, cells in weights.items()]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(helper.make_graph(nodes, "case", ins, outs, made), opset_imports=opsets, ir_version=10)
