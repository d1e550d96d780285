"""Numbers on the wire are little-endian, whatever this machine's are."""

from __future__ import annotations

import numpy as np

from headrace.spec import Dtype

#: Cells of the columns of a frame.
KEYS, POSITIONS, TIMES = np.dtype("<u4"), np.dtype("<i8"), np.dtype("<u8")

#: Cells of tensors.
CELLS: dict[Dtype, np.dtype[np.generic]] = {
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "float16": np.dtype("<f2"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "bool": np.dtype("?"),
}
