"""What the Open Inference face says of the server and its models."""

from __future__ import annotations

from importlib.metadata import version

from headrace.protos import inference_pb2 as pb
from headrace.spec import LENGTHS, Input, ModelSpec, Output

from .inference_tensors import DATATYPE

TensorMetadata = pb.ModelMetadataResponse.TensorMetadata

PLATFORM = "onnxruntime_headrace"

#: By their names in stock Triton: sequences, with string ids too, and ModelStreamInfer.
EXTENSIONS = ("sequence", "sequence(string_id)", "streaming")

ANY = -1  # size of an axis


def about_server() -> pb.ServerMetadataResponse:
    return pb.ServerMetadataResponse(name="headrace", version=version("headrace"), extensions=EXTENSIONS)


def about_model(spec: ModelSpec, versions: list[str]) -> pb.ModelMetadataResponse:
    """Shapes of a request and its response: a stateful model takes one step [time, ...], others [batch, time, ...]."""
    steps, rows = ((ANY,), (1,)) if spec.stateful else ((ANY, ANY), (ANY,))
    inputs = [_tensor(given, steps) for given in spec.inputs]
    if not spec.stateful:
        inputs.append(TensorMetadata(name=LENGTHS, datatype=DATATYPE["int64"], shape=rows))
    outputs = [_tensor(output, steps if output.time else rows) for output in spec.outputs]
    return pb.ModelMetadataResponse(
        name=spec.name, versions=versions, platform=PLATFORM, inputs=inputs, outputs=outputs
    )


def _tensor(part: Input | Output, lead: tuple[int, ...]) -> TensorMetadata:
    return TensorMetadata(name=part.name, datatype=DATATYPE[part.dtype], shape=(*lead, *part.shape))
