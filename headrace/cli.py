"""The command line: it only dispatches. What a command needs is imported when it runs."""

from __future__ import annotations

import sys
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO, get_origin

import typer

from headrace.server.settings import Settings

from .errors import ConfigurationError, HeadraceError

app = typer.Typer(
    help="Stateful sequence models: from PyTorch to a gRPC server that keeps their states.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ALL = "all"
STDIN = Path("-")
Address = Annotated[str, typer.Option(help="host:port of the server.")]


@app.command()
def train(
    tasks: Annotated[list[str], typer.Argument(help="Names of tasks, or `all`.")],
    quick: Annotated[bool, typer.Option(help="A short budget: one seed, a few seconds.")] = False,
    seed: Annotated[int, typer.Option(help="Of a quick run; full runs take three.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for runs.")] = Path("runs"),
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted run.")] = True,
) -> None:
    """Trains models on real data; leaves <out>/<task>/checkpoint.pt and its learning curve."""
    from rich.console import Console

    from headrace import training

    console = Console()
    for task in training.TASKS if tasks == [ALL] else tasks:
        path = training.run(task, out=out, quick=quick, seed=seed, resume=resume, console=console)
        console.print(f"{task}: {path}")


@app.command()
def export(
    checkpoints: Annotated[list[Path] | None, typer.Argument(help="Checkpoints of training runs.")] = None,
    module: Annotated[
        str | None, typer.Option(help="my.package:build, a function that gives your own nn.Module, instead of a run.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="With --module: its state dict.")] = None,
    example: Annotated[Path | None, typer.Option(help="With --module: a file with an EXAMPLE of its inputs.")] = None,
    name: Annotated[str | None, typer.Option(help="With --module: the model's name.")] = None,
    models: Annotated[Path, typer.Option(help="Folder to publish into.")] = Path("models"),
    version: Annotated[str | None, typer.Option(help="By default the next whole number.")] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"], typer.Option(help="Other than fp32: a smaller file, <name>-<precision>.")
    ] = "fp32",
    max_drop: Annotated[float, typer.Option(help="How much worse the smaller file's score may be.")] = 0.01,
    opset: Annotated[int, typer.Option(help="ONNX opset; above 21, recurrent layers have no GPU kernels.")] = 20,
) -> None:
    """Writes <models>/<name>/<version>/model.onnx, after it was compared with PyTorch over a grid of ragged batches."""
    from rich.console import Console

    from headrace.export import export_checkpoint, export_user_module

    how: dict[str, Any] = {"precision": precision, "max_drop": max_drop, "opset": opset, "console": Console()}
    if not checkpoints and module is None:
        raise ConfigurationError("nothing to export: name checkpoints, or your own module with --module")
    if module is not None:
        if example is None or checkpoints:
            raise ConfigurationError("--module needs --example, and takes no checkpoints but --checkpoint")
        given = name or module.partition(":")[2]
        export_user_module(module, checkpoint, example, models, given, version, **how)
    for run in checkpoints or ():
        export_checkpoint(run, models, version=version, **how)


def serve(config: Path | None = None, **given: Any) -> None:
    """Serves a folder of models until it is stopped. Every setting can stand in a TOML file too."""
    import asyncio
    import logging

    from headrace.server.process import new_event_loop, prepare

    prepare()
    from headrace.server.app import App
    from headrace.server.app import serve as run
    from headrace.server.transport.listen import authority

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    settings = Settings.load(config, {name: value for name, value in given.items() if value is not None})

    def ready(server: App) -> None:
        grpc, http = (authority(settings.host, port) for port in (server.port, server.metrics_port))
        print(f"serving gRPC on {grpc}, metrics on http://{http}/metrics", flush=True)
        for model in server.models:
            verb = "generate" if model.spec.generation else "stream" if model.spec.stateful else "models"
            print(f"  headrace {verb} {model.spec.name} --address {grpc}", flush=True)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run(settings, ready))


def _serve_signature() -> Signature:
    """`--config`, and an option for each setting, with its own text.

    Typer takes options from a signature alone; made from the settings' table, it need not repeat them.
    """
    keyword = Parameter.KEYWORD_ONLY
    file = typer.Option(help="TOML file of settings.")
    options = [Parameter("config", keyword, default=None, annotation=Annotated[Path | None, file])]
    for name, field in Settings.model_fields.items():
        kind: Any = str if get_origin(field.annotation) is Literal else field.annotation
        default = f" [{field.default}]" if field.default is not None else ""
        option = typer.Option(help=f"{field.description}{default}")
        options.append(Parameter(name, keyword, default=None, annotation=Annotated[kind | None, option]))
    return Signature(options)


serve.__signature__ = _serve_signature()  # type: ignore[attr-defined]
app.command()(serve)


@app.command()
def stream(
    model: Annotated[str, typer.Argument(help="Name of a served model.")],
    source: Annotated[str, typer.Argument(help="A file of CSV lines or text, or - for standard input.")] = "-",
    address: Address = "127.0.0.1:8001",
) -> None:
    """Streams CSV lines (one a time step) or text through a model, and prints the results as they come."""
    import asyncio

    from . import connect
    from .stream import stream as run

    async def session(lines: TextIO) -> None:
        async with connect(address) as client:
            await run(model, lines, client, sys.stdout)

    with sys.stdin if source == "-" else _opened(Path(source)) as lines:
        asyncio.run(session(lines))


@app.command()
def generate(
    model: Annotated[str, typer.Argument(help="Name of a served model that writes.")],
    prompt: Annotated[str, typer.Argument(help="What the text begins with; - for lines of standard input.")] = "",
    prompts: Annotated[Path | None, typer.Option(help="A file with a prompt a line, instead; - for stdin.")] = None,
    source: Annotated[str | None, typer.Option(help="What the model reads first, if it reads something.")] = None,
    sources: Annotated[Path | None, typer.Option(help="A file with a source a line, instead; - for stdin.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of each text; else what the model takes, or 1000.")] = None,
    temperature: Annotated[float, typer.Option(help="0: the likeliest token, always.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Draws from so many likeliest tokens; 0: from all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Draws from the likeliest tokens with so much probability.")] = 1.0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1: tokens that came before are less likely.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="The same seed, the same texts; by default a random one.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="A text ends before this; may be repeated.")] = None,
    copies: Annotated[int, typer.Option(help="So many texts of each prompt.")] = 1,
    address: Address = "127.0.0.1:8001",
) -> None:
    """Writes texts: one is printed as it comes, several a line each."""
    import asyncio

    from headrace.client import Writing

    from . import connect
    from .generate import generate as run

    begin = _lines(prompts or STDIN) if prompts or prompt == "-" else [prompt]
    how = Writing(
        source=_lines(sources) if sources else source,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        stop=stop or (),
        copies=copies,
    )

    async def session() -> None:
        async with connect(address) as client:
            await run(client, model, begin, how, sys.stdout, sys.stderr)

    asyncio.run(session())


def _lines(file: Path) -> list[str]:
    """Raises ConfigurationError if there are none."""
    with sys.stdin if file == STDIN else _opened(file) as text:
        try:
            lines = text.read().splitlines()
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{file} is no text: {error}") from error
    if not lines:
        raise ConfigurationError(f"{file} has no lines")
    return lines


def _opened(file: Path) -> TextIO:
    try:
        return file.open()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error


@app.command()
def inspect(file: Annotated[Path, typer.Argument(help="Any .onnx.")]) -> None:
    """Tells what an .onnx says of itself, what can be guessed of it, and what is missing to serve it."""
    from rich.console import Console

    from headrace.adopt import inspect_file

    inspect_file(file, Console())


@app.command()
def adopt(
    file: Annotated[Path, typer.Argument(help="Any .onnx.")],
    value: Annotated[list[str] | None, typer.Option(help="INPUT=NUMBER, of an input that is always the same.")] = None,
) -> None:
    """Drafts the model.toml with which somebody else's .onnx can be served."""
    from rich.console import Console

    from headrace.adopt import adopt_file

    adopt_file(file, Console(), dict(map(_number, value or ())))


def _number(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    try:
        return name, float(number)
    except ValueError:
        raise ConfigurationError(f"{text!r} is not INPUT=NUMBER") from None


@app.command()
def draw(
    caption: Annotated[str, typer.Argument(help="Such as: a seven")],
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("drawn.png"),
    seed: Annotated[int, typer.Option(help="Another seed, another picture.")] = 0,
    model: Annotated[Path, typer.Option(help="The exported model.")] = Path("models/captions/1/model.onnx"),
) -> None:
    """Draws the digit that a caption names, and writes a PNG."""
    from headrace.export.decode import Loop
    from headrace.export.draw import draw_png

    draw_png(Loop.load(model), caption, out, seed)
    print(out)


@app.command()
def models(address: Address = "127.0.0.1:8001") -> None:
    """Lists what a server serves."""
    from . import connect_blocking

    with connect_blocking(address) as client:
        for served in client.models():
            print(f"{served.name}/{served.version}  {served.device}  {served.spec.summary()}")


@app.command()
def demo(
    quick: Annotated[bool, typer.Option(help="Short training budgets.")] = False,
    folder: Annotated[Path, typer.Option(help="For runs and models.")] = Path("runs/demo"),
) -> None:
    """Trains, exports, verifies, serves, streams, cuts a connection, and ends with a table."""
    from headrace.bench.demo import demo as run

    run(folder, quick=quick)


def main(arguments: list[str] | None = None) -> None:
    """Runs a command, of the process's own arguments if none are given.

    Errors that a user can do something about are one line, without a traceback.
    """
    try:
        app(arguments)
    except HeadraceError as error:
        print(f"headrace: {error}", file=sys.stderr)
        raise SystemExit(1) from None
