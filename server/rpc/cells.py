"""Numbers on the wire are little-endian, whatever this machine's are."""

from __future__ import annotations

import numpy as np

from headrace.spec import Dtype

#: Cells of the columns of a frame.
KEYS, POSITIONS, TIMES = np.dtype("<u4"), np.dtype("<i8"), np.dtype("<u8")

#: Cells of tensors.
CELLS: dict[Dtype, np.dtype[np.generic]] = {"float32": np.dtype("<f4"), "int64": np.dtype("<i8")}
