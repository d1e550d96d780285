"""Models, tasks on real data and one training loop, from a seed to a checkpoint.

run:   trains a task by name, publishes its checkpoint; finished: whether that is done; record: how it went
score: any model of a task's signature → its figure on the real test set
load:  a checkpoint → the model and its spec
TASKS: the names
"""

from __future__ import annotations

from .recipes import RECIPES
from .runs import finished, load, record, run, score

TASKS = tuple(RECIPES)

__all__ = ["TASKS", "finished", "load", "record", "run", "score"]
