"""`make models`: every task trained with its full budget, exported, and told of in docs/models.md.

What is done is left as it is: a task whose checkpoint is of today's recipe is not trained again, an interrupted run
goes on, and a model is exported only where its checkpoint is newer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from headrace import training
from headrace.contract import read_model
from headrace.export import export_checkpoint, export_model
from headrace.spec import ModelSpec, Score
from headrace.training import curve, pictures
from headrace.training.runs import CHECKPOINT, Record

HEAD = """# The project's own models

Each trained with its full budget by `make models`, on real data of which neither training nor selection saw the scored
part; see [training/data/DATA.md](../training/data/DATA.md). The figures stand in the `.onnx` files themselves. *Parity*
is the largest relative error of the exported graph against eager PyTorch, over whole sequences, chunks and single steps
in ragged batches. Training times are of one thread of a shared core, all seeds together.

| Model | Score | Gate | Published | Size | Parity | Training |
|---|---|---|---|---|---|---|
"""

ATTENTION, INTERVALS = "vowels-encoder", "sunspots-mixture"

#: Models that are others' weights with more to say: of which task, and what is asked of it.
COMPANIONS = {"vowels-attention": (ATTENTION, "weights"), "sunspots-sampled": (INTERVALS, "sampled")}
DPI = 55


@dataclass(frozen=True, slots=True)
class Made:
    """A model that was trained and exported."""

    task: str
    spec: ModelSpec
    file: Path
    checkpoint: Path
    record: Record


def make(tasks: Sequence[str], runs: Path, models: Path, page: Path, console: Console) -> None:
    """Trains and exports `tasks`, and writes `page` with its pictures in a folder beside it.

    Raises ConfigurationError for an unknown task, or a model that cannot be exported.
    """
    for task in tasks:
        if not training.finished(task, runs):
            training.run(task, out=runs, quick=False, console=console)
        if not newest(task, task, runs, models):
            export_checkpoint(runs / task / CHECKPOINT, models, console=console)
    for name, (task, asked) in COMPANIONS.items():
        if task in tasks and not newest(name, task, runs, models):
            model, spec = training.load(runs / task / CHECKPOINT, **{asked: True})
            export_model(model, spec.model_copy(update={"name": name}), models, console=console)
    write(page, [made(task, runs, models) for task in tasks])
    console.print(f"{page}: {len(tasks)} models")


def newest(model: str, task: str, runs: Path, models: Path) -> Path | None:
    """The latest published file of a model, if it is younger than the checkpoint of the task that trained it."""
    files = sorted((models / model).glob("*/model.onnx"), key=lambda file: file.stat().st_mtime)
    trained = (runs / task / CHECKPOINT).stat().st_mtime
    return files[-1] if files and files[-1].stat().st_mtime >= trained else None


def made(task: str, runs: Path, models: Path) -> Made:
    """What `make` left of a task."""
    file = newest(task, task, runs, models)
    assert file is not None
    _, spec = read_model(file)
    return Made(task, spec, file, runs / task / CHECKPOINT, training.record(task, runs))


def write(page: Path, models: Sequence[Made]) -> None:
    """The page, and a folder `pictures` beside it."""
    folder = page.parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for model in filter(learnt, models):
        curve.draw(folder / f"{model.task}.png", model.task, model.record.histories, DPI)
    sections = [f"## {m.task}\n\n{_section(m)}" for m in models]
    page.write_text(HEAD + "".join(map(_row, models)) + "\n" + "\n".join(sections) + "".join(_extras(folder, models)))


def _row(model: Made) -> str:
    score, seconds = judged(model.spec), model.record.seconds
    seeds = len(model.record.histories)
    time = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    cells = (
        f"[{model.task}](#{model.task})",
        f"{score.metric} {score.value:.3f}",
        f"{'≥' if score.better == 'higher' else '≤'} {score.gate}",
        score.published,
        f"{model.file.stat().st_size / 1000:,.0f} kB",
        f"{model.spec.parity.error:.0e}" if model.spec.parity else "",
        time if seeds == 1 else f"{time}, {seeds} seeds",
    )
    return f"| {' | '.join(cells)} |\n"


def judged(spec: ModelSpec) -> Score:
    """The score that the gate is for: the only one, or the median of the seeds."""
    return next(score for score in spec.scores if score.gate is not None)


def learnt(model: Made) -> bool:
    """Whether there is a curve to be drawn: not of what was solved at once."""
    return any(len(history) > 1 for history in model.record.histories.values())


def _section(model: Made) -> str:
    takes = [f"`{i.name}` {i.dtype} {['time', *i.shape]}".replace("'", "") for i in model.spec.inputs]
    gives = [f"`{o.name}` {['time' if o.time else 'rows', *o.shape]}".replace("'", "") for o in model.spec.outputs]
    figures = [f"- {s.metric} {s.value:.3f} ({s.data}; published: {s.published})" for s in model.spec.scores]
    kind = "Stateful" if model.spec.stateful else "Stateless"
    picture = [f"![learning curve of {model.task}](pictures/{model.task}.png)", ""] if learnt(model) else []
    first = f"{kind}: {model.spec.task}. {', '.join(takes)} → {', '.join(gives)}."
    return "\n".join([first, "", *figures, "", *picture])


def _extras(folder: Path, models: Sequence[Made]) -> list[str]:
    """Pictures of what single models see, each under a heading."""
    found = {model.task: model for model in models}
    parts = []
    if ATTENTION in found:
        pictures.attention(folder / "attention.png", found[ATTENTION].checkpoint)
        text = "Weights of every head over one test utterance; `vowels-attention` gives them as a second output."
        parts.append(f"\n## Attention\n\n{text}\n\n![attention weights](pictures/attention.png)\n")
    if INTERVALS in found:
        pictures.intervals(folder / "intervals.png", found[INTERVALS].checkpoint)
        text = "The mixture's forecast of each scored year, from all years before it; `sunspots-sampled` draws from it."
        parts.append(f"\n## Intervals\n\n{text}\n\n![forecast intervals](pictures/intervals.png)\n")
    return parts


def main(tasks: Sequence[str]) -> None:
    make(tasks or training.TASKS, Path("runs"), Path("models"), Path("docs/models.md"), Console())


if __name__ == "__main__":
    main(sys.argv[1:])
