"""The reference model on ONNX Runtime with the states of sequences kept by id, for peers that keep none.

It runs inside a peer, so it imports nothing of the project. All states lie in one array per state, and a batch is
gathered from it and scattered into it by one array operation each: what somebody would write who wants it fast.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

#: Live sequences at most.
SLOTS = 1024

#: Flags of a step.
START, END = 1, 2


class Kept:
    """Mutable: `_slots`, the live sequences; `_free`, the slots of none; `_states`.

    threads: of the runtime, inside one operator.
    """

    def __init__(self, model: str, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        outputs = [output.name for output in self._session.get_outputs()]
        shapes = {i.name: i.shape[1:] for i in self._session.get_inputs() if f"{i.name}_out" in outputs}
        self._states = {name: np.zeros((SLOTS, *shape), np.float32) for name, shape in shapes.items()}
        self._wanted = [outputs[0], *(f"{name}_out" for name in shapes)]
        self._slots: dict[int, int] = {}
        self._free = list(range(SLOTS))

    def step(self, ids: Sequence[int], flags: Sequence[int], values: NDArray[np.float32]) -> NDArray[np.float32]:
        """One time step of each of these sequences, no two the same: [rows, features] to [rows, outputs].

        flags: START, END or both, of each. Raises KeyError for a sequence that never started.
        """
        rows = np.array([self._slot(id, flag) for id, flag in zip(ids, flags, strict=True)])
        feed = {name: state[rows] for name, state in self._states.items()}
        feed |= {"values": values, "lengths": np.ones(len(rows), np.int64)}
        answers, *states = self._session.run(self._wanted, feed)
        for state, new in zip(self._states.values(), states, strict=True):
            state[rows] = new
        self._end([id for id, flag in zip(ids, flags, strict=True) if flag & END])
        return np.asarray(answers)

    def _slot(self, id: int, flag: int) -> int:
        if flag & START:
            if id not in self._slots:
                self._slots[id] = self._free.pop()
            for state in self._states.values():
                state[self._slots[id]] = 0
        return self._slots[id]

    def _end(self, ids: Sequence[int]) -> None:
        self._free += [self._slots.pop(id) for id in ids]
