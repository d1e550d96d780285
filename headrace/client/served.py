"""What a server serves, as its clients see it."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.errors import ConfigurationError
from headrace.protos import sequences_pb2 as pb
from headrace.spec import ModelSpec

from .codes import again


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """One version of a model. Compared by identity: frames are gathered by it, row after row."""

    name: str
    version: str
    spec: ModelSpec
    device: str


class Catalogue:
    """Mutable: the models that the server listed last, by (name, version), the oldest version of each first.

    One object each, for as long as its spec stays. A spec that cannot be read harms those alone who want its model.
    """

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ServedModel] = {}
        self._unreadable: dict[tuple[str, str], ConfigurationError] = {}

    def __repr__(self) -> str:
        return f"Catalogue(models={len(self._models)})"

    def learn(self, reply: pb.ModelsReply) -> list[ServedModel]:
        """All models of `reply` whose specs can be read, in its order."""
        met, self._unreadable = self._models, {}
        self._models = {}
        for told in reply.models:
            place = (told.name, told.version)
            try:
                self._models[place] = _met(told, met.get(place))
            except ConfigurationError as error:  # of a newer server, for instance
                self._unreadable[place] = error
        return list(self._models.values())

    def find(self, name: str, version: str) -> ServedModel | None:
        """Raises ConfigurationError if it is there and its spec cannot be read."""
        if (name, version) in self._unreadable:
            raise again(self._unreadable[name, version])
        return self._models.get((name, version))

    def newest(self, name: str) -> ServedModel | None:
        """Of those that can be read. Raises ConfigurationError if there are only others."""
        known = next((m for m in reversed(self._models.values()) if m.name == name), None)
        unreadable = next((error for (other, _), error in self._unreadable.items() if other == name), None)
        if known is None and unreadable is not None:
            raise again(unreadable)
        return known


def _met(told: pb.ModelsReply.Model, known: ServedModel | None) -> ServedModel:
    spec = ModelSpec.from_json(told.spec)
    if known is None or known.spec != spec or known.device != told.device:
        return ServedModel(told.name, told.version, spec, told.device)
    return known
