"""ONNX Runtime GenAI: its generator, or its engine. `python genai.py FOLDER MODE`; `genai_model` makes the folder.

No text may end by itself, and no symbol may be taken for padding, so the model has one symbol more, which is never
written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og
from numpy.typing import NDArray
from talk import Clock, Written, serve

#: Events that are taken at once.
EVENTS = 64


class Generator:
    """One batch: prompts are padded on their right to the longest, all take every step together; caches are as long as
    they will be from the beginning, and written in place."""

    def __init__(self, folder: str) -> None:
        self._model = og.Model(folder)
        self._padding: int = json.loads((Path(folder) / "genai_config.json").read_text())["model"]["pad_token_id"]

    def logits(self, ids: list[int]) -> list[float]:
        generator = self._begun([ids], len(ids) + 1)
        generator.append_tokens(np.array([ids], np.int32))
        return generator.get_logits()[0, -1, : self._padding].tolist()  # type: ignore[no-any-return]

    def write(self, prompts: list[list[int]], new: int) -> Written:
        clock, longest = Clock(), max(map(len, prompts))
        ids = np.array([p + [self._padding] * (longest - len(p)) for p in prompts], np.int32)  # [sequences, longest]
        generator, texts = self._begun(prompts, longest + new), list[NDArray[np.int32]]()
        generator.append_tokens(ids)
        for _ in range(new):
            generator.generate_next_token()
            texts.append(generator.get_next_tokens().copy())  # [sequences]
            clock()
        return clock.together(np.stack(texts, 1).tolist())

    def _begun(self, prompts: list[list[int]], longest: int) -> Any:
        options = og.GeneratorParams(self._model)
        options.set_search_options(batch_size=len(prompts), max_length=longest, do_sample=False)
        return og.Generator(self._model, options)


class Engine:
    """Requests of their own, which its static batching takes together."""

    def __init__(self, folder: str, batch: int) -> None:
        self._alone = Generator(folder)
        config = og.Config(folder)
        config.overlay(f'{{"engine": {{"static_batching": {{"max_batch_size": {batch}}}}}}}')
        self._model = og.Model(config)

    def logits(self, ids: list[int]) -> list[float]:
        return self._alone.logits(ids)

    def write(self, prompts: list[list[int]], new: int) -> Written:
        clock, engine = Clock(), og.Engine(self._model)
        requests = [self._request(engine, prompt, new) for prompt in prompts]
        texts: list[list[int]] = [[] for _ in requests]
        first, events = [0.0] * len(requests), engine.create_event_buffer(EVENTS)
        while engine.has_pending_requests():
            for event in engine.run(events):
                if event.flags & og.EngineEventFlags.FAILED:
                    raise RuntimeError(f"the engine failed: {event.error_code}")
                if event.flags & og.EngineEventFlags.TOKEN:
                    place = requests.index(event.request)
                    texts[place].append(event.token)
                    first[place] = first[place] or clock.seconds
        return Written(clock.seconds, first, texts)

    def _request(self, engine: Any, prompt: list[int], new: int) -> Any:
        options = og.RequestOptions()
        options.set_max_session_tokens(len(prompt) + new)
        request = engine.create_request(options=options)
        turn = og.TurnOptions(request)
        turn.set_max_generated_tokens(new)
        turn.set_do_sample(False)
        request.begin_turn(np.array(prompt, np.int32), turn)
        return request


if __name__ == "__main__":
    serve(Engine(sys.argv[1], int(sys.argv[3])) if sys.argv[2] == "engine" else Generator(sys.argv[1]))
