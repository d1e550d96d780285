"""Modules by name, with weights from a checkpoint and an example from a file."""

from __future__ import annotations

import re
import runpy
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from rich.console import Console
from torch import nn

from headrace.contract import read_model
from headrace.errors import ConfigurationError
from headrace.export import export_module, export_user_module
from headrace.export.user.unwrap import load, unwrapped
from headrace.spec import METADATA_KEY, ModelSpec

from . import zoo

DOCUMENT = Path(__file__).parents[3] / "docs" / "bring-your-own.md"
FLOATS = torch.zeros(2, 5, 6)
TARGET = "tests.export.user.zoo:LastStep"


def spec_of(path: Path) -> ModelSpec:
    return next(ModelSpec.from_json(p.value) for p in onnx.load(path).metadata_props if p.key == METADATA_KEY)


def test_the_documents_own_code_runs(tmp_path: Path, console: Console) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (tmp_path / "document.py").write_text("\n".join(blocks))
    # What the command line does in the document, in a file of the module's own, so that nothing runs twice.
    (gesture,) = (block for block in blocks if "class Gesture" in block)
    (tmp_path / "gestures_of_the_document.py").write_text("import torch\nfrom torch import Tensor, nn\n" + gesture)
    with chdir(tmp_path):
        made = runpy.run_path("document.py")
        path = export_user_module(
            "gestures_of_the_document:Gesture",
            Path("weights.pt"),
            Path("example.py"),
            Path("models"),
            "gesture",
            console=console,
        )
        spec, streamed = spec_of(tmp_path / path), spec_of(tmp_path / made["path"])
        export_module(made["Mean"](), FLOATS, Path("models"), "mean", whole=True, quick=True, console=console)
    assert [s.name for s in spec.states] == ["lstm.h", "lstm.c"] and spec.chunk.longest == 256
    assert spec.summary().startswith("stateful  acceleration [time, 6] -> gesture [1, 5]  parity")
    assert streamed.summary().startswith("stateful  tokens [time] -> y [time, 60]  parity")
    assert made["logits"].shape == (2, 60)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    file = tmp_path / "example.py"
    file.write_text("import torch\ndef example():\n    return torch.zeros(2, 5, 4)\nOPTIONS = {'quick': True}\n")
    return file


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_weights_come_from_the_checkpoint_whatever_wrapped_them(prefix: str, tmp_path: Path) -> None:
    trained, fresh = zoo.LastStep(), zoo.LastStep()
    content = {"epoch": 3, "state_dict": {prefix + name: value for name, value in trained.state_dict().items()}}
    torch.save(content if prefix else trained.state_dict(), tmp_path / "w.pt")
    load(fresh, tmp_path / "w.pt")
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in trained.state_dict().items())


def test_an_attribute_called_module_is_no_wrapper(tmp_path: Path) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.GRU(4, 8)

    trained, fresh = Holder(), Holder()
    for name, content in {"bare": trained, "wrapped": nn.DataParallel(trained)}.items():
        torch.save(content.state_dict(), tmp_path / name)
        load(fresh, tmp_path / name)
        assert torch.equal(fresh.module.weight_hh_l0, trained.module.weight_hh_l0)


def test_a_checkpoints_weights_stand_in_the_file(example: Path, tmp_path: Path, console: Console) -> None:
    module = nn.DataParallel(zoo.LastStep())
    torch.save(module.state_dict(), tmp_path / "w.pt")
    path = export_user_module(TARGET, tmp_path / "w.pt", example, tmp_path / "models", "last", console=console)
    inside = {t.dims[0]: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer if len(t.dims) == 1}
    np.testing.assert_array_equal(inside[3], unwrapped(module).get_parameter("head.bias").detach().numpy())


def test_a_smaller_file_needs_somebody_to_judge_it(example: Path, tmp_path: Path, console: Console) -> None:
    small: dict[str, Any] = {"precision": "int8", "opset": 21, "console": console}
    with pytest.raises(ConfigurationError, match=r"example.py has no function score\(model\)"):
        export_user_module(TARGET, None, example, tmp_path, "last", **small)
    asked = "state = model.initial_state(1)\n    y, _ = model(torch.ones(5, 4), torch.tensor([5]), state)"
    example.write_text(f"{example.read_text()}\ndef score(model):\n    {asked}\n    return y.numel()\n")
    path = export_user_module(TARGET, None, example, tmp_path, "last", **small)
    assert path == tmp_path / "last-int8" / "1" / "model.onnx"
    model, spec = read_model(path)
    assert model.opset_import[0].version == 21
    assert [(s.metric, s.value) for s in spec.scores] == [("score", 3), ("score in float32", 3)]


def test_nothing_but_tensors_is_read(tmp_path: Path) -> None:
    torch.save(zoo.LastStep(), tmp_path / "whole.pt")
    with pytest.raises(ConfigurationError, match=r"whole.pt cannot be read as weights .*state_dict"):
        load(zoo.LastStep(), tmp_path / "whole.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {"other": torch.zeros(2)}}, "does not fit the module: .*Missing key"),
        ([torch.zeros(2)], "holds no state dict"),
        ({"epoch": 3}, "holds no state dict"),
    ],
)
def test_weights_that_do_not_fit_are_refused(content: object, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ConfigurationError, match=words):
        load(zoo.LastStep(), tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere.at_all:build", "No module named 'nowhere'"),
        ("tests.export.user.zoo:Nothing", "KeyError: 'Nothing'"),
        ("tests.export.user.zoo", "gives no module"),
        ("builtins:dict", "gives a dict, not an nn.Module"),
    ],
)
def test_targets_that_give_no_module_are_refused(
    target: str, words: str, example: Path, tmp_path: Path, console: Console
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        export_user_module(target, None, example, tmp_path, "nothing", console=console)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("{'colour': 1}", "OPTIONS has colour; it is a dictionary of longest, "),
        ("{'opset': 21}", "OPTIONS has opset; it is a dictionary of longest, "),
        ("['quick']", r"OPTIONS has \['quick'\]; it is a dictionary"),
    ],
)
def test_options_that_there_are_not_are_refused(options: str, words: str, tmp_path: Path, console: Console) -> None:
    (tmp_path / "example.py").write_text(f"import torch\nEXAMPLE = torch.zeros(2, 5, 4)\nOPTIONS = {options}\n")
    with pytest.raises(ConfigurationError, match=words):
        export_user_module(TARGET, None, tmp_path / "example.py", tmp_path, "nothing", console=console)


@pytest.mark.parametrize(("text", "words"), [("1 / 0", "ZeroDivisionError"), ("x = 1", "neither EXAMPLE nor example")])
def test_examples_that_give_nothing_are_refused(text: str, words: str, tmp_path: Path, console: Console) -> None:
    (tmp_path / "example.py").write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        export_user_module(TARGET, None, tmp_path / "example.py", tmp_path, "nothing", console=console)
