"""A second renderer, for testing only: other bodies, other optics, other ranges than `crystalscope.scenes`.

Nothing that is trained may import it (see docs/explanations/test-renderer.md).
"""
