"""What the server adds to bare ONNX Runtime, measured: `python -m headrace.bench`."""
