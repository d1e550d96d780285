"""The graph that ONNX Runtime GenAI is given computes what the model does; GenAI itself is not needed for that."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from headrace.bench.attention.genai_model import PARTS, PAST, SIZE, SPARE, write
from headrace.bench.attention.truth import Truth
from headrace.bench.decoder import HEADS, LAYERS, decoder


def test_a_prompt_and_the_tokens_behind_it_are_those_of_the_model(tmp_path: Path) -> None:
    model = decoder()
    write({name: values.numpy() for name, values in model.state_dict().items()}, tmp_path)
    onnx.checker.check_model(tmp_path / "model.onnx")
    session = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    ids, room = np.arange(9), np.zeros((1, HEADS, 9, SIZE), np.float32)
    caches = {PAST.format(layer, part): room[:, :, :0] for layer in range(LAYERS) for part in PARTS}
    found = []
    for begin, end in ((0, 7), (7, 8), (8, 9)):
        step = {"input_ids": ids[None, begin:end], "attention_mask": np.ones((1, end), np.int64)}
        got = session.run(None, step | caches)
        found.append(got[0][0])
        caches = dict(zip(caches, got[1:], strict=True))
    logits = np.concatenate(found)  # [ids, symbols + 1]
    assert np.abs(logits[:, :SPARE] - Truth(model).logits(ids.tolist())).max() < 1e-4
    assert (logits[:, SPARE] < -1e8).all()


def test_the_configuration_says_which_symbol_is_none(tmp_path: Path) -> None:
    write({name: values.numpy() for name, values in decoder().state_dict().items()}, tmp_path)
    model = json.loads((tmp_path / "genai_config.json").read_text())["model"]
    assert (model["eos_token_id"], model["pad_token_id"], model["vocab_size"]) == (SPARE, SPARE, SPARE + 1)
