"""The server as a whole, in this process: what keeps it from starting, what operators see of it, how it ends."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import grpc
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import headrace
from headrace.errors import ConfigurationError
from headrace.protos import inference_pb2 as inference
from headrace.protos import sequences_pb2 as sequences
from headrace.server.app import App, running
from headrace.server.journal import Record
from headrace.server.settings import Settings
from headrace.server.transport.listen import authority

CHUNK = np.ones((2, 3), np.float32)  # two time steps of the tiny models' three features


@dataclass
class HeldJournal:
    """A slow disk: records are safe once the test says so."""

    keeps: bool = True
    reached: Event = field(default_factory=Event)
    free: Event = field(default_factory=Event)

    def append(self, record: Record) -> None:
        self.reached.set()
        assert self.free.wait(20)


def free_ports(models: Path) -> Settings:
    return Settings(models=models, port=0, metrics_port=0)


async def get(app: App, path: str) -> tuple[int, str]:
    """Status and text of a page of the metrics port."""
    return await asyncio.to_thread(fetch, f"http://127.0.0.1:{app.metrics_port}{path}")


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def refused(settings: Settings) -> str:
    """What `running` says against these settings."""

    async def start() -> None:
        async with running(settings):
            pass

    with pytest.raises(ConfigurationError) as caught:
        asyncio.run(start())
    return str(caught.value)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def single(models: Path, tmp_path: Path) -> Path:
    """A folder with one model."""
    shutil.copytree(models / "tiny-gru", tmp_path / "tiny-gru")
    return tmp_path


def test_a_port_in_use_is_named(single: Path, taken: int) -> None:
    assert f"port {taken} of 127.0.0.1" in refused(Settings(models=single, port=taken, metrics_port=0))


@pytest.mark.parametrize("host", ["nonsense.invalid", "192.0.2.1", "x" * 300])
def test_a_host_that_is_not_here_is_named_and_no_port(tmp_path: Path, host: str) -> None:
    message = refused(Settings(models=tmp_path, host=host, port=0, metrics_port=0))
    assert message.startswith(f"host {host!r} is no address of this machine (") and "port" not in message


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_both_ports_can_be_had_at_an_address_of_ipv6(single: Path) -> None:
    async def main() -> None:
        async with running(Settings(models=single, host="::1", port=0, metrics_port=0)) as app:
            page = await asyncio.to_thread(fetch, f"http://{authority('::1', app.metrics_port)}/healthz")
            assert page == (200, "ok\n")
            async with grpc.aio.insecure_channel(authority("::1", app.port)) as channel:
                live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
                assert inference.ServerLiveResponse.FromString(await live(b"", timeout=10)).live

    asyncio.run(main())


def test_a_metrics_port_in_use_is_named_and_nothing_keeps_running(single: Path, taken: int) -> None:
    assert f"metrics port {taken}" in refused(Settings(models=single, port=0, metrics_port=taken))


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert f"no folder {missing}" in refused(Settings(models=missing, port=0, metrics_port=0))
    assert f"{tmp_path} holds no" in refused(Settings(models=tmp_path, port=0, metrics_port=0))


@pytest.mark.parametrize("content", [b"", b"no model at all"])
def test_a_corrupt_model_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken" / "1" / "model.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert str(file) in refused(Settings(models=tmp_path, port=0, metrics_port=0))


def test_a_model_cut_short_is_named(single: Path) -> None:
    file = single / "tiny-gru" / "1" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-200])
    assert str(file) in refused(Settings(models=single, port=0, metrics_port=0))


def test_a_model_in_a_folder_of_another_name_is_told_where_it_belongs(single: Path) -> None:
    (single / "tiny-gru").rename(single / "other")
    assert "move it to tiny-gru/1/" in refused(Settings(models=single, port=0, metrics_port=0))


def test_metrics_count_what_was_answered(single: Path) -> None:
    async def test() -> None:
        async with running(free_ports(single)) as app, headrace.connect(f"127.0.0.1:{app.port}") as client:
            sequence = await client.open("tiny-gru")
            for _ in range(3):
                await sequence.step(CHUNK)
            samples = scraped((await get(app, "/metrics"))[1])
        for name in ("queue_seconds", "step_seconds", "compute_seconds", "batch_rows", "batch_tokens"):
            assert samples[f"headrace_{name}_count", ""] == samples[f"headrace_{name}_bucket", "+Inf"] == 3
        assert samples["headrace_batch_tokens_bucket", "1.0"] == 0
        assert samples["headrace_batch_tokens_bucket", "2.0"] == 3  # each batch was one chunk of two time steps
        assert samples["headrace_steps_total", ""] == 3
        assert samples["headrace_tokens_total", ""] == 6
        assert samples["headrace_live_sequences", ""] == 1

    asyncio.run(test())


def test_what_either_face_refuses_is_counted(single: Path) -> None:
    async def test() -> None:
        async with running(free_ports(single)) as app, grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
            frames = channel.stream_stream("/headrace.v1.Sequences/Stream", sequences.Request.SerializeToString)
            call = frames(iter([sequences.Request(opens=[sequences.Open(key=1, model="none", id="a")])]))
            assert [reply async for reply in call]
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            with pytest.raises(grpc.aio.AioRpcError):
                await infer(inference.ModelInferRequest(model_name="none").SerializeToString())
            text = (await get(app, "/metrics"))[1]
        errors = [
            s for f in text_string_to_metric_families(text) for s in f.samples if s.name == "headrace_errors_total"
        ]
        assert [(sample.labels["code"], sample.labels["model"], sample.value) for sample in errors] == [
            ("UnknownModel", "", 2)
        ]

    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_silent_probe_does_not_hold_up_the_end(single: Path) -> None:
    async def test() -> None:
        async with running(free_ports(single)) as app:
            silent = socket.create_connection(("127.0.0.1", app.metrics_port))
        silent.close()

    asyncio.run(asyncio.wait_for(test(), 30))


def scraped(text: str) -> dict[tuple[str, str], float]:
    """(name, upper bound or "") → value, of a server with one lane."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, sample.labels.get("le", "")): sample.value for sample in samples}


def test_draining_is_told_to_probes_and_answers_what_was_admitted(single: Path) -> None:
    async def test() -> None:
        journal = HeldJournal()
        async with running(free_ports(single), journal) as app, headrace.connect(f"127.0.0.1:{app.port}") as client:
            assert await get(app, "/healthz") == (200, "ok\n")
            assert (await get(app, "/elsewhere"))[0] == 404
            sequence = await client.open("tiny-gru")
            step = asyncio.create_task(sequence.step(CHUNK))
            assert await asyncio.to_thread(journal.reached.wait, 20)
            drain = asyncio.create_task(app.models.drain())
            await asyncio.sleep(0)  # it begins, and waits for the step
            assert await get(app, "/healthz") == (503, "draining\n")
            assert not drain.done() and not step.done()
            journal.free.set()
            assert (await step).shape == (2, 3)
            await drain

    asyncio.run(asyncio.wait_for(test(), 30))


def test_every_wrong_setting_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "headrace.toml"
    file.write_text('port = 99999\nprot = 8001\ndevice = "tpu"\nlanes = 2\n')
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(file, {"batch_rows": 0})
    for name in ("port:", "prot:", "device:", "batch_rows:"):
        assert name in str(caught.value)
    assert "lanes" not in str(caught.value)


def test_what_is_given_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "headrace.toml"
    file.write_text("port = 9000\nlanes = 2\n")
    settings = Settings.load(file, {"port": 9001})
    assert (settings.port, settings.lanes, settings.batch_rows) == (9001, 2, Settings().batch_rows)


@pytest.mark.parametrize("text", [None, "port = "])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "headrace.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"headrace\.toml cannot be read"):
        Settings.load(file, {})


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "headrace.toml"
    file.write_bytes(b"port = 9000 # \xff\xfe")
    with pytest.raises(ConfigurationError, match=r"headrace\.toml cannot be read as settings: 'utf-8' codec"):
        Settings.load(file, {})


def test_the_command_ends_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "headrace", "serve", "--device", "cpu", "--models", str(tmp_path / "missing")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("headrace: there is no folder")
