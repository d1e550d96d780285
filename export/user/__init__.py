"""Anybody's module, unchanged: run on probes, planned, traced with its layers ragged, compared, published."""

from .module import export_module as export_module
from .run import export_user_module as export_user_module
