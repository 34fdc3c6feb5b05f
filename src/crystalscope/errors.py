"""The one family of errors: expected X, got Y, do Z.

Every error has a built-in co-parent, so that code that knows nothing of crystalscope can still catch it.
"""

from __future__ import annotations


class CrystalscopeError(Exception):
    """Base of every error that crystalscope raises on purpose.

    The message says what was expected, what came and what to do.
    """


class ConfigError(CrystalscopeError, ValueError):
    """A setting is missing, unknown or outside its range."""


class ReadError(CrystalscopeError, OSError):
    """A picture, video, log or table cannot be read."""


class WriteError(CrystalscopeError, OSError):
    """A result cannot be written."""


class InputError(CrystalscopeError, ValueError):
    """Data handed to a function is not what the function is defined for."""


class MissingExtraError(CrystalscopeError, ImportError):
    """An optional dependency is needed and is not installed."""
