"""Trained models become verified, self-describing ONNX files with ragged batches.

checkpoint → trace → verify → publish → models/<name>/<version>/model.onnx
"""

from .run import export_checkpoint, export_model

__all__ = ["export_checkpoint", "export_model"]
