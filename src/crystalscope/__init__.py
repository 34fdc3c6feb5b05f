"""crystalscope: pictures of a crystallization in, numbers that a particle scientist can defend out."""

__version__ = "0.1.0.dev0"
