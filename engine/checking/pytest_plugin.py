"""The plugin's old place: an editable installation names it until it is made anew.  See `bptt_engine.pytest_plugin`."""

from bptt_engine.pytest_plugin import gradcheck, pytest_addoption, pytest_report_header

__all__ = ["gradcheck", "pytest_addoption", "pytest_report_header"]
