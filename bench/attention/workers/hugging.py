"""Hugging Face transformers: `generate` with a cache, or continuous batching. `python hugging.py WEIGHTS MODE`.

The reference decoder is a GPT-NeoX (Black et al. 2022) without parallel residuals, turned over whole heads; only its
projections lie otherwise, head by head, and its head has no bias.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from talk import Clock, Written, serve
from torch import Tensor
from transformers import ContinuousBatchingConfig, GenerationConfig, GPTNeoXConfig, GPTNeoXForCausalLM
from transformers.generation import BaseStreamer

Weights = Mapping[str, NDArray[np.float32]]

#: Of the reference decoder, whose weights tell all else.
HEADS, LONGEST = 4, 2048

#: Ours → theirs, of each layer.
NAMES = {
    "norm": "input_layernorm",
    "project_out": "attention.dense",
    "feed.0": "post_attention_layernorm",
    "feed.1": "mlp.dense_h_to_4h",
    "feed.3": "mlp.dense_4h_to_h",
}

#: Continuous batching: tokens in a call, cells in a page, pages.
TOKENS, PAGE, PAGES = 512, 256, 96


def model(weights: Weights) -> GPTNeoXForCausalLM:
    """Raises RuntimeError if a weight is missing or too many."""
    symbols, width = weights["embed.weight"].shape
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks"))
    turns = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0}
    config = GPTNeoXConfig(
        vocab_size=symbols,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        intermediate_size=4 * width,
        max_position_embeddings=LONGEST,
        use_parallel_residual=False,
        rope_parameters=turns,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    made = GPTNeoXForCausalLM(config).eval()
    made.load_state_dict(renamed(weights, layers))
    return made


def renamed(weights: Weights, layers: int) -> dict[str, Tensor]:
    """Our weights by their names."""
    found = {"gpt_neox.embed_in.weight": weights["embed.weight"], "lm_head.weight": weights["head.weight"]}
    for part in ("weight", "bias"):
        for k in range(layers):
            ours, theirs = f"blocks.{k}", f"gpt_neox.layers.{k}"
            found |= {f"{theirs}.{b}.{part}": weights[f"{ours}.{a}.{part}"] for a, b in NAMES.items()}
            found[f"{theirs}.attention.query_key_value.{part}"] = by_head(weights[f"{ours}.project_in.{part}"])
    found["gpt_neox.final_layer_norm.weight"] = weights["norm.weight"]
    found["gpt_neox.final_layer_norm.bias"] = weights["norm.bias"] + unbiased(weights)
    return {name: torch.from_numpy(np.ascontiguousarray(values, np.float32)) for name, values in found.items()}


def by_head(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """[3 * heads * width, ...], queries, keys, values → [heads * 3 * width, ...]."""
    apart = rows.reshape(3, HEADS, -1, *rows.shape[1:])
    return apart.swapaxes(0, 1).reshape(rows.shape)


def unbiased(weights: Weights) -> NDArray[np.float32]:
    """The head's bias c as one of what comes in, x, with W x = c: [width]. Exact, for there are fewer symbols."""
    head, bias = weights["head.weight"].astype(np.float64), weights["head.bias"].astype(np.float64)
    return np.linalg.lstsq(head, bias, rcond=None)[0].astype(np.float32)


class Batch:
    """`generate`: prompts are padded on their left to the longest, and all take every step together.

    cache: "dynamic", which grows with each step, or "static", which is as long as it will be from the beginning.
    """

    def __init__(self, weights: Weights, cache: str) -> None:
        self._model, self._cache = model(weights), cache

    @torch.inference_mode()
    def logits(self, ids: list[int]) -> list[float]:
        return self._model(torch.tensor([ids])).logits[0, -1].tolist()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def write(self, prompts: list[list[int]], new: int) -> Written:
        clock = Clock()
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])  # [sequences, longest]
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        how = GenerationConfig(
            max_new_tokens=new, do_sample=False, cache_implementation=self._cache, pad_token_id=0, eos_token_id=None
        )
        texts = self._model.generate(ids, attention_mask=mask, generation_config=how, streamer=First(clock))
        return clock.together(texts[:, longest:].tolist())


class First(BaseStreamer):  # type: ignore[misc]  # of a library without types
    """Tells a clock of tokens; what comes before all others is the prompts."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._prompts = clock, True

    def put(self, value: Tensor) -> None:
        if not self._prompts:
            self._clock()
        self._prompts = False

    def end(self) -> None: ...


class Continuous:
    """Continuous batching over paged caches: no padding, and sequences join and leave at every step."""

    def __init__(self, weights: Weights) -> None:
        self._model = model(weights)
        self._alone = Batch(weights, "dynamic")  # the other's attention is another from its first call on

    def logits(self, ids: list[int]) -> list[float]:
        return self._alone.logits(ids)

    def write(self, prompts: list[list[int]], new: int) -> Written:
        how = GenerationConfig(max_new_tokens=new, do_sample=False, eos_token_id=-1)
        pages = ContinuousBatchingConfig(page_size=PAGE, num_blocks=PAGES, max_batch_tokens=TOKENS)
        with self._model.continuous_batching_context_manager(
            generation_config=how, continuous_batching_config=pages, persistent_manager=True
        ) as manager:
            clock, first, done = Clock(), dict[str, float](), dict[str, list[int]]()
            names = manager.add_requests(inputs=prompts, max_new_tokens=new, streaming=True)
            while len(done) < len(prompts):
                said = manager.get_result(timeout=1.0)
                if said is None and not manager.is_running():
                    raise RuntimeError("continuous batching has ended")
                if said is not None:
                    first.setdefault(said.request_id, clock.seconds)
                    done |= {said.request_id: said.generated_tokens} if said.is_finished() else {}
            return Written(clock.seconds, [first[name] for name in names], [done[name] for name in names])


if __name__ == "__main__":
    torch.set_num_threads(1)
    with np.load(Path(sys.argv[1])) as file:
        given = dict(file)
    serve(Continuous(given) if sys.argv[2] == "continuous" else Batch(given, sys.argv[2]))
