"""A connection's keys: where the rows of each go, and whether a key may be given to another sequence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.errors import AlreadyExists, HeadraceError

from ..handles import CLOSED, Handles, why
from ..lane import Lane
from ..models import Model
from ..steps import Answer, Closed, Failed, Opened


@dataclass(frozen=True, slots=True)
class Route:
    """Where the rows of a key go. lane: None for a model without states, whose rows go to each lane in turn."""

    model: Model
    lane: Lane | None

    def pick(self) -> Lane:
        return self.model.lane(None) if self.lane is None else self.lane


class Keys:
    """Mutable, on the event loop. `_live`: keys whose sequences are open, as the client was told; `_asked`: opens of a
    key that are not answered yet.

    Within one lane the lane decides whose a key is. Between lanes it is decided here, once, before an open is posted.
    """

    def __init__(self) -> None:
        self._routes: list[Route] = []
        self._codes = Handles()  # key → index in _routes
        self._live: set[int] = set()
        self._asked: Counter[int] = Counter()

    def __repr__(self) -> str:
        return f"Keys(live={len(self._live)}, routes={len(self._routes)})"

    def claim(self, key: int, route: Route) -> None:
        """From now on the key's rows go this way.

        Raises AlreadyExists if the key is in use on another way, InvalidInput if it is too large; without effect.
        """
        code = self._codes[key]
        if code >= 0 and (key in self._live or self._asked[key]) and self._routes[code] != route:
            raise AlreadyExists(f"key {key} is another sequence of this connection; choose a free key, or close it")
        if route not in self._routes:
            self._routes.append(route)
        self._codes[key] = self._routes.index(route)

    def asked(self, key: int) -> None:
        """An open of the key was posted."""
        self._asked[key] += 1

    def close(self, keys: Iterable[int]) -> None:
        """Keys of models without states lose their way when their close is posted: no lane knows of them."""
        for key in keys:
            self._codes[key] = CLOSED

    def heard(self, answer: Answer) -> None:
        """What a lane says of keys, in its order.

        A failure without position is a refused open or a lost sequence. Which of them cannot be told while an open is
        under way; taken for its refusal, it comes right with the open's own answer, which is taken for the other then.
        """
        match answer:
            case Opened(key):
                self._answered(key)
                self._live.add(key)
            case Failed(int() as key, None):
                if not self._answered(key):
                    self._live.discard(key)
            case Closed(keys):
                self._live.difference_update(keys)
            case _:
                pass

    def lookup(self, keys: NDArray[np.uint32]) -> NDArray[np.int32]:
        """[rows] keys → [rows] what `route` takes, negative for a key that was never opened."""
        return self._codes.lookup(keys)

    def route(self, code: int) -> Route:
        return self._routes[code]

    def why(self, key: int) -> HeadraceError:
        """Why a key has no route."""
        return why(self._codes[key], key)

    def lanes(self) -> dict[Lane, Model]:
        """All that rows of this connection may have gone to."""
        return {lane: r.model for r in self._routes for lane in (r.model.lanes if r.lane is None else (r.lane,))}

    def _answered(self, key: int) -> bool:
        """Counts an open off, if one is under way."""
        under_way = self._asked[key] > 0
        if self._asked[key] <= 1:
            del self._asked[key]
        else:
            self._asked[key] -= 1
        return under_way
