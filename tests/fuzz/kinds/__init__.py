"""The kinds of files that qat8 reads in Python, what hostile ones look like, and who reads them.

Each module has a function of its own name that gives its kinds.
"""

import importlib

MODULES = ("data_files", "texts", "images", "states", "weights", "models")


def of(module: str) -> list:
    return getattr(importlib.import_module(f"kinds.{module}"), module)()
