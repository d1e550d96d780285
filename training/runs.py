"""From the name of a task to a published checkpoint, and back to the model."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from headrace.errors import ConfigurationError
from headrace.spec import ModelSpec, Score

from . import checkpoint, curve
from .loop import Epoch, Run, fit
from .models import SequenceModel, build
from .recipes import Recipe, recipe
from .task import Task
from .threads import torch_threads

CHECKPOINT, CURVE, SCORES = "checkpoint.pt", "curve.png", "scores.json"


def run(
    task: str,
    *,
    out: Path,
    quick: bool,
    seed: int = 0,
    resume: bool = True,
    console: Console | None = None,
    threads: int = 1,
) -> Path:
    """Trains `task`, scores it and publishes `out/task/checkpoint.pt`, whose path it returns.

    A full run trains all seeds of the recipe and publishes the one with the lowest loss on the selection slice; a quick
    one trains `seed` alone, for a short time. With `resume` an interrupted run goes on where its last epoch ended.
    Progress goes to `console`. One thread of torch is the default: a second one gives the language model half as much
    again on idle cores, and takes nine tenths of the speed where it has to wait for a busy one.
    Raises ConfigurationError for an unknown task, a folder that cannot be written, another model's checkpoint, or a
    quick run in the place of a full one.
    """
    how, console = recipe(task), console or Console()
    if quick and finished(task, out):
        raise ConfigurationError(
            f"{out / task} holds a full run; a quick one would replace it, so choose another --out"
        )
    made = how.make(task)
    with torch_threads(threads):
        runs = _train(made, how, out / task, quick=quick, seed=seed, resume=resume, console=console)
        chosen = min(runs, key=lambda r: r.best_loss)
        with console.status(f"{task}: scoring"):
            scores = _scores(made, runs, chosen, None if quick else how.gate)
    for score in scores:
        console.print(f"{task}: {verdict(score)}", highlight=False)
    return _publish(out / task, made, runs, chosen, scores)


@dataclass(frozen=True, slots=True)
class Record:
    """How a finished full run went: seconds in training, all seeds together, and each seed's epochs."""

    seconds: float
    histories: Mapping[int, Sequence[Epoch]]


def finished(task: str, out: Path) -> bool:
    """Whether `out/task` holds what a full run of the task publishes, as its recipe is today.

    Raises ConfigurationError for an unknown task or a file that is no checkpoint.
    """
    how, path = recipe(task), out / task / CHECKPOINT
    if not path.exists():
        return False
    known = checkpoint.read(path)["identity"]
    wanted = {"task": task, "model": how.make(task).config, "budget": asdict(how.full)}
    return {key: known.get(key) for key in wanted} == wanted


def record(task: str, out: Path) -> Record:
    """Of the full run in `out/task`. Raises ConfigurationError if a seed's file is no checkpoint."""
    seeds = {c["identity"]["seed"]: c for c in map(checkpoint.read, sorted((out / task).glob("full-seed-*.pt")))}
    histories = {seed: [Epoch(*losses) for losses in content["history"]] for seed, content in seeds.items()}
    return Record(sum(content["spent"] for content in seeds.values()), histories)


def load(path: Path, **asked: bool) -> tuple[SequenceModel, ModelSpec]:
    """The published model at `path`, ready to be used, and its spec with the scores that it reached.

    asked: options of the model that need no weights of their own, so that it can have them after training: `weights`
    shows an encoder's attention, `sampled` makes a mixture draw.
    Raises ConfigurationError if there is no such file, or it holds no published model, or one of another architecture.
    """
    content = checkpoint.read(path)
    if "scores" not in content:
        raise ConfigurationError(f"{path} is a run that is not finished; finish it, then take its {CHECKPOINT}")
    try:
        task, config, weights = content["identity"]["task"], content["identity"]["model"], content["model"]
        scores = tuple(Score.model_validate_json(score) for score in content["scores"])
    except (KeyError, TypeError, ValidationError) as error:
        raise ConfigurationError(f"{path} is not a published checkpoint, it lacks or garbles {error}") from error
    model = build(config | asked if asked else config)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        named = config["architecture"]
        raise ConfigurationError(f"{path} says it is of a {named}, but its weights are of another: {error}") from error
    return model.eval(), model.describe(task).model_copy(update={"scores": scores})


def score(task: str, model: SequenceModel) -> Score:
    """The figure of any model with the signature of the task's own, on the task's scored part."""
    return recipe(task).make(task).score(model)


def _train(
    task: Task, how: Recipe, folder: Path, *, quick: bool, seed: int, resume: bool, console: Console
) -> list[Run]:
    """One run for each seed, one after the other, under one progress bar each."""
    budget, seeds = (how.quick, [seed]) if quick else (how.full, range(seed, seed + how.seeds))
    runs = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[how]}"))
    with Progress(*columns, console=console) as progress:
        for number in seeds:
            bar = progress.add_task(f"{task.name}, seed {number}", total=1.0, how="")
            path = folder / f"{'quick' if quick else 'full'}-seed-{number}.pt"
            report = partial(_advance, progress, bar)
            runs.append(fit(task, budget, number, path, resume=resume, clock=time.monotonic, report=report))
            progress.update(bar, completed=1.0)
    return runs


def _advance(progress: Progress, bar: TaskID, used: float, how: str) -> None:
    progress.update(bar, completed=used, how=how)


def _scores(task: Task, runs: Sequence[Run], chosen: Run, gate: float | None) -> list[Score]:
    """The figure of the chosen run; behind it, if there are several, their median, which is what the gate is for.

    At the end the chosen run's further figures.
    """
    figures = {id(r): task.score(r.model) for r in runs}
    own, more = figures[id(chosen)], task.also(chosen.model)
    if len(runs) == 1:
        return [own.model_copy(update={"gate": gate}), *more]
    middle = {"metric": f"{own.metric}, median of {len(runs)} seeds", "gate": gate}
    return [own, own.model_copy(update={**middle, "value": median(s.value for s in figures.values())}), *more]


def verdict(score: Score) -> str:
    """One line: the figure, the published one, and how it stands to the gate."""
    line = f"{score.metric} {score.value:.3f} (published: {score.published})"
    if score.gate is None:
        return line
    reached = score.value >= score.gate if score.better == "higher" else score.value <= score.gate
    return f"{line}, gate {score.gate} {'reached' if reached else 'MISSED'}"


def _publish(folder: Path, task: Task, runs: Sequence[Run], chosen: Run, scores: Sequence[Score]) -> Path:
    """Writes picture and figures first: where the checkpoint is, the rest is too."""
    curve.draw(folder / CURVE, task.name, {r.seed: r.history for r in runs})
    figures = [score.model_dump() for score in scores]
    (folder / SCORES).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    content = {"identity": chosen.identity, "model": chosen.best, "scores": [s.model_dump_json() for s in scores]}
    checkpoint.write(folder / CHECKPOINT, content)
    return folder / CHECKPOINT
