"""What Triton is told."""

from __future__ import annotations

from pathlib import Path

from headrace.bench.peers.triton import Triton, config
from headrace.contract import read_model


def test_its_configuration_is_of_the_model_and_the_setting(models: Path) -> None:
    spec = read_model(models / "tiny-lstm" / "1" / "model.onnx")[1]
    for setting in Triton.settings:
        text = config(spec, setting)
        assert text.count("{") == text.count("}") >= 5
        assert f"max_batch_size: {setting.options['batch']}\n" in text
        assert 'name: "tiny-lstm"' in text
        assert f"max_queue_delay_microseconds: {setting.options['delay']} " in text
