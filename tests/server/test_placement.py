"""Where nodes run, in words; and the work that strayed from the device."""

from __future__ import annotations

from headrace.server.placement import described, strays

NODES = {("CUDA", "MatMul"): 3, ("CPU", "LSTM"): 2, ("CPU", "Shape"): 1, ("CPU", "DynamicQuantizeLSTM"): 1}


def test_each_device_is_named_with_its_operators() -> None:
    assert described(NODES) == "CPU: 2 LSTM, 1 Shape, 1 DynamicQuantizeLSTM; CUDA: 3 MatMul"


def test_only_work_counts_as_strayed() -> None:
    assert strays(NODES, "CUDA") == ["DynamicQuantizeLSTM", "LSTM"]
    assert strays(NODES, "CPU") == ["MatMul"]
    assert strays({("CUDA", "LSTM"): 1, ("CPU", "Shape"): 4}, "CUDA") == []
