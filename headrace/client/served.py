"""What a server serves, as its clients see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.protos import sequences_pb2 as pb
from headrace.spec import ModelSpec


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """One version of a model. Compared by identity: frames are gathered by it, row after row."""

    name: str
    version: str
    spec: ModelSpec
    device: str


class Catalogue:
    """Mutable: the models heard of so far, by (name, version); one object each, for as long as its spec stays."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ServedModel] = {}

    def __repr__(self) -> str:
        return f"Catalogue(models={len(self._models)})"

    def learn(self, reply: pb.ModelsReply) -> list[ServedModel]:
        """All models of `reply`, in its order. Raises ConfigurationError if a spec cannot be read."""
        return [self._learn(m) for m in reply.models]

    def _learn(self, told: pb.ModelsReply.Model) -> ServedModel:
        spec, place = ModelSpec.from_json(told.spec), (told.name, told.version)
        known = self._models.get(place)
        if known is None or known.spec != spec or known.device != told.device:
            known = self._models[place] = ServedModel(told.name, told.version, spec, told.device)
        return known

    def find(self, name: str, version: str) -> ServedModel | None:
        return self._models.get((name, version))

    def versions(self, name: str) -> Iterable[ServedModel]:
        """Every known version of a model; empty if it was never heard of."""
        return (m for m in self._models.values() if m.name == name)
