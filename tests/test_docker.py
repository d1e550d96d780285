"""The image without an engine: its install steps fill a clean environment, which serves, streams and is probed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .dockerfile import Builder, Instruction, instructions, stages

ROOT = Path(__file__).resolve().parent.parent
BUILD, FINAL = stages(ROOT / "Dockerfile")

#: The packages may have to be downloaded first.
pytestmark = pytest.mark.timeout(600)

#: The image's folders that its build makes.
FOLDERS = ("/src", "/opt/headrace")


@dataclass(frozen=True, slots=True)
class Image:
    """What the final stage would hold, below `root`; `env` is all that its processes see."""

    root: Path
    env: dict[str, str]

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Not from the checkout, whose folders could be imported in place of what is installed."""
        return subprocess.run(
            command, check=False, cwd=self.root, env=self.env, input=stdin, text=True, capture_output=True, timeout=60
        )


@dataclass(frozen=True, slots=True)
class Served:
    process: subprocess.Popen[str]
    address: str
    metrics_port: str


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The first stage's steps, carried out by this interpreter in place of the base's."""
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    builder = Builder(ROOT, tmp_path_factory.mktemp("image"), FOLDERS, {**os.environ, "PATH": here})
    builder.build(BUILD)
    env = {name: builder.moved(value).replace("$PATH", os.defpath) for name, value in FINAL.env.items()}
    return Image(builder.root, env)


@pytest.fixture
def served(image: Image, models: Path, tmp_path: Path) -> Iterator[Served]:
    """The image's own command, with this machine's loop-back, the tiny models and free ports."""
    here = {"0.0.0.0": "127.0.0.1", "/models": str(models)}
    command = [here.get(word, word) for word in FINAL.last("ENTRYPOINT").exec_form + FINAL.last("CMD").exec_form]
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [*command, "--port", "0", "--metrics-port", "0"],
            cwd=image.root,
            env=image.env,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        with process:
            try:
                yield _where(process, tmp_path / "log")
            finally:
                process.kill()


def _where(process: subprocess.Popen[str], log: Path) -> Served:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.match(r"serving gRPC on (\S+), metrics on http://[^:]+:(\d+)/metrics", line)
    assert found, f"{line}\n{log.read_text()}"
    return Served(process, found[1], found[2])


def _probe(served: Served) -> list[str]:
    """The HEALTHCHECK's command, asking the port that is really open."""
    return [word.replace("8002", served.metrics_port) for word in FINAL.last("HEALTHCHECK").exec_form]


def test_no_torch_and_no_installer_is_in_it(image: Image) -> None:
    here = "import importlib.util as u; print([n for n in ('torch', 'onnxscript', 'pip', 'grpc') if u.find_spec(n)])"
    assert image.run("python", "-c", here).stdout == "['grpc']\n"


def test_it_serves_a_stream_from_the_clean_environment(image: Image, served: Served) -> None:
    steps = "0.1,0.2,0.3\n-1,2,0.5\n"
    streamed = image.run("headrace", "stream", "tiny-gru", "-", "--address", served.address, stdin=steps)
    assert streamed.returncode == 0, streamed.stderr
    assert [line.split("\t")[0] in ("low", "middle", "high") for line in streamed.stdout.splitlines()] == [True, True]


def test_the_probe_tells_up_from_down_and_a_stop_is_clean(image: Image, served: Served) -> None:
    assert image.run(*_probe(served)).returncode == 0
    served.process.send_signal(getattr(signal, FINAL.last("STOPSIGNAL").text))
    assert served.process.wait(timeout=60) == 0
    assert image.run(*_probe(served)).returncode != 0


def test_it_does_not_run_as_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", FINAL.last("USER").text)


def test_it_is_probed_and_its_ports_are_those_of_the_settings() -> None:
    assert FINAL.last("EXPOSE").words == ["8001", "8002"]
    assert "/healthz" in FINAL.last("HEALTHCHECK").exec_form[-1]


def test_the_environment_moves_between_equal_bases() -> None:
    assert BUILD.base == "${BASE} AS build"
    assert FINAL.base == "${BASE}"
    assert FINAL.last("COPY").text == "--from=build /opt/headrace /opt/headrace"


def test_what_is_copied_reaches_the_builder() -> None:
    """.dockerignore shuts out everything and lets in what it names."""
    first, *lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    sources = {name for copy in BUILD.all("COPY") for name in copy.words[:-1]}
    assert first == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == sources


def test_the_reader_joins_lines_and_leaves_out_comments_and_flags() -> None:
    text = "# no\nrun --mount=type=cache,target=/a --x=y \\\n  # between\n  echo \\\n  b\n\nUSER 1\n"
    run, user = instructions(text)
    assert (run.name, run.command) == ("RUN", "echo b")
    assert user == Instruction("USER", "1")
    assert Instruction("CMD", '["a", "b c"]').exec_form == ["a", "b c"]


def test_a_failing_step_fails_the_build(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM x\nWORKDIR /w\nRUN echo broken && false\n")
    (stage,) = stages(file)
    with pytest.raises(AssertionError, match="broken"):
        Builder(tmp_path, tmp_path / "root", ("/w",), {}).build(stage)
