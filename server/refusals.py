"""What callers are told where the lane itself is at fault, or out of time."""

from __future__ import annotations

from typing import assert_never

from headrace.errors import DeadlineExceeded, HeadraceError, Unavailable

from .commands import Cancel, Close, Fork, Generate, Leave, NamedSteps, Open, Request, Step
from .steps import NEXT, Answers, Failed, failures


def untold(command: Request | None, answers: Answers) -> Answers:
    """Of a command that broke the lane half way: its rows that are not among the answers to all others."""
    if command is None:
        return []
    told = {(sink, a.key, p) for sink, a in answers if isinstance(a, Failed) for p in (a.position, NEXT)}
    return [
        (sink, answer)
        for sink, answer in unanswered(command, out_of_order())
        if isinstance(answer, Failed) and (sink, answer.key, answer.position) not in told
    ]


def unanswered(command: Request, error: HeadraceError) -> Answers:
    """What the caller of a command hears if nothing else can be said."""
    match command:
        case Step(steps) | NamedSteps(steps):
            return failures(steps, error)
        case Open():
            return [(command.sink, Failed(command.key, None, error))]
        case Close() | Fork():
            return [(command.sink, Failed(key, None, error)) for key in command.keys]
        case Generate():
            texts = range(len(command.prompts) * command.copies)
            return [(command.sink, Failed(key, None, error)) for key in texts]
        case Cancel() | Leave():
            return []
        case _:
            assert_never(command)


def out_of_order() -> HeadraceError:
    return Unavailable("a fault stopped this model on this server; go on with another replica", retry_after=1.0)


def too_late() -> HeadraceError:
    return DeadlineExceeded("the step's time ran out before it was computed; nothing was applied, give it more time")


def not_logged(error: OSError) -> HeadraceError:
    message = f"the step was not applied: the journal cannot be written ({error}); send it again"
    return Unavailable(message, retry_after=0.5)
