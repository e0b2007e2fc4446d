"""Hypothesis without deadlines: the first call of a kernel compiles, and other work may share the processor."""

from hypothesis import settings

settings.register_profile("noise", deadline=None)
settings.load_profile("noise")
