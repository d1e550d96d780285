"""The reference decoder as ONNX Runtime GenAI takes it: a graph around GroupQueryAttention, and genai_config.json.

It is what that project's own model builder writes for such a model: caches in one buffer for past and present, turning
inside the attention operator, lengths from the attention mask.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..decoder import HEADS, LAYERS, LONGEST, SYMBOLS, WIDTH

Weights = Mapping[str, NDArray[np.float32]]

MICROSOFT, OPSET, IR = "com.microsoft", 20, 10
SIZE = WIDTH // HEADS

#: One symbol more than there are ends texts and fills rows, which no other can; it is never the likeliest.
SPARE = len(SYMBOLS)
NEVER = -1e9

#: The names that GenAI expects: of the cells before, and of those behind.
PAST, PRESENT = "past_key_values.{}.{}", "present.{}.{}"
PARTS = ("key", "value")


def write(weights: Weights, folder: Path) -> None:
    """`folder/model.onnx` and `folder/genai_config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(graph(weights), folder / "model.onnx")
    (folder / "genai_config.json").write_text(json.dumps(config(), indent=1))


def config() -> dict[str, object]:
    inputs = {"input_ids": "input_ids", "attention_mask": "attention_mask"}
    inputs |= {f"past_{part}_names": PAST.format("%d", part) for part in PARTS}
    outputs = {"logits": "logits"} | {f"present_{part}_names": PRESENT.format("%d", part) for part in PARTS}
    decoder = {
        "filename": "model.onnx",
        "head_size": SIZE,
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "session_options": {"intra_op_num_threads": 1, "inter_op_num_threads": 1, "provider_options": []},
        "inputs": inputs,
        "outputs": outputs,
    }
    tokens = {"bos_token_id": 0, "eos_token_id": SPARE, "pad_token_id": SPARE, "vocab_size": SPARE + 1}
    model = {"type": "llama", **tokens, "context_length": LONGEST, "decoder": decoder}
    search = {"do_sample": False, "max_length": LONGEST, "num_beams": 1, "past_present_share_buffer": True}
    return {"model": model, "search": search}


def graph(weights: Weights) -> onnx.ModelProto:
    """input_ids [batch, time], attention_mask [batch, total], caches [batch, heads, …, size] → logits and caches."""
    drawn = _Drawing(weights)
    lengths = drawn.lengths()
    x = drawn("Gather", drawn.constant(np.pad(weights["embed.weight"], ((0, 1), (0, 0)))), "input_ids")
    for layer in range(LAYERS):
        x = drawn.block(x, layer, lengths)
    head = np.pad(weights["head.weight"], ((0, 1), (0, 0)))  # [symbols + 1, width]
    products = drawn("MatMul", drawn.norm(x, "norm"), drawn.constant(head.T))
    bias = np.append(weights["head.bias"], np.float32(NEVER))
    drawn("Add", products, drawn.constant(bias), out=["logits"])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    made = helper.make_graph(drawn.nodes, "decoder", *_interface(), drawn.constants)
    return helper.make_model(made, opset_imports=opsets, ir_version=IR)


def _interface() -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """What goes in and what comes out."""
    tensor, whole, real = helper.make_tensor_value_info, TensorProto.INT64, TensorProto.FLOAT
    caches = [(layer, part) for layer in range(LAYERS) for part in PARTS]
    ids, mask = tensor("input_ids", whole, ["batch", "time"]), tensor("attention_mask", whole, ["batch", "total"])
    past = [tensor(PAST.format(*c), real, ["batch", HEADS, "past", SIZE]) for c in caches]
    present = [tensor(PRESENT.format(*c), real, ["batch", HEADS, "total", SIZE]) for c in caches]
    return [ids, mask, *past], [tensor("logits", real, ["batch", "time", SPARE + 1]), *present]


class _Drawing:
    """Nodes and constants of a graph; a call adds a node and names what it gives."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, kind: str, *inputs: str, out: list[str] | None = None, domain: str = "", **about: Any) -> str:
        names = out or [f"n{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, **about))
        return names[0]

    def constant(self, values: NDArray[np.generic]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def lengths(self) -> tuple[str, str, str, str]:
        """What attention asks for beside the cells: each row's last place, cells in all, cosines and sines."""
        one = self.constant(np.array(1))
        used = self("ReduceSum", "attention_mask", self.constant(np.array([1])), keepdims=0)
        last = self("Cast", self("Sub", used, one), to=TensorProto.INT32)
        total = self("Cast", self("Gather", self("Shape", "attention_mask"), one), to=TensorProto.INT32)
        angles = np.arange(LONGEST)[:, None] * self._weights["rotary.frequencies"]  # [longest, size / 2]
        turns = (self.constant(turn(angles).astype(np.float32)) for turn in (np.cos, np.sin))
        return last, total, *turns  # type: ignore[return-value]

    def block(self, x: str, layer: int, lengths: tuple[str, str, str, str]) -> str:
        """[batch, time, width] → the same."""
        name, parts = f"blocks.{layer}", [f"{part}{layer}" for part in "qkv"]
        together = self.linear(self.norm(x, f"{name}.norm"), f"{name}.project_in")
        self("Split", together, out=parts, axis=-1, num_outputs=3)
        past, present = ([names.format(layer, part) for part in PARTS] for names in (PAST, PRESENT))
        about: dict[str, Any] = {"num_heads": HEADS, "kv_num_heads": HEADS, "do_rotary": 1, "scale": SIZE**-0.5}
        out = [f"y{layer}", *present]
        y = self("GroupQueryAttention", *parts, *past, *lengths, out=out, domain=MICROSOFT, **about)
        x = self("Add", x, self.linear(y, f"{name}.project_out"))
        wide = self.linear(self.norm(x, f"{name}.feed.0"), f"{name}.feed.1")
        return self("Add", x, self.linear(self("Gelu", wide, domain=MICROSOFT), f"{name}.feed.3"))

    def linear(self, x: str, name: str) -> str:
        products = self("MatMul", x, self.constant(self._weights[f"{name}.weight"].T))
        return self("Add", products, self.constant(self._weights[f"{name}.bias"]))

    def norm(self, x: str, name: str) -> str:
        scale, bias = (self.constant(self._weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)
