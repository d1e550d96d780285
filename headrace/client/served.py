"""What a server serves, as its clients see it."""

from __future__ import annotations

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
    """Mutable: the models that the server listed last, by (name, version), the oldest version of each first.

    One object each, for as long as its spec stays.
    """

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ServedModel] = {}

    def __repr__(self) -> str:
        return f"Catalogue(models={len(self._models)})"

    def learn(self, reply: pb.ModelsReply) -> list[ServedModel]:
        """All models of `reply`, in its order. Raises ConfigurationError if a spec cannot be read."""
        served = [self._met(m) for m in reply.models]
        self._models = {(m.name, m.version): m for m in served}
        return served

    def _met(self, told: pb.ModelsReply.Model) -> ServedModel:
        spec, place = ModelSpec.from_json(told.spec), (told.name, told.version)
        known = self._models.get(place)
        if known is None or known.spec != spec or known.device != told.device:
            return ServedModel(told.name, told.version, spec, told.device)
        return known

    def find(self, name: str, version: str) -> ServedModel | None:
        return self._models.get((name, version))

    def newest(self, name: str) -> ServedModel | None:
        return next((m for m in reversed(self._models.values()) if m.name == name), None)
