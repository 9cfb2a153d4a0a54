"""The version of the installed product."""

import importlib.metadata


def version() -> str:
    """Return the version, or "unknown" when fanous runs from a bare tree."""
    try:
        return importlib.metadata.version("fanous")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
