"""Trained models become verified, self-describing ONNX files with ragged batches.

checkpoint → trace → verify → publish → models/<name>/<version>/model.onnx
"""

from .run import export_checkpoint, export_model
from .user import export_module, export_user_module

__all__ = ["export_checkpoint", "export_model", "export_module", "export_user_module"]
