"""What librosa compiles when it is imported, before processes begin that use it."""

import importlib

# Where librosa 0.11 has functions that numba compiles, and keeps on disk, at import.
COMPILING = ("librosa.util.utils", "librosa.core.audio", "librosa.core.pitch", "librosa.beat")


def compile_librosa() -> None:
    """Have it compiled by this process alone.

    Processes that begin together and find nothing compiled write over one another's files, and
    every later import of them crashes (https://github.com/numba/numba/issues/10128).
    """
    for module in COMPILING:
        importlib.import_module(module)
