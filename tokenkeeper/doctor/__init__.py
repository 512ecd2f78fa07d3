"""Examines a provider step by step and reports why it gets no token, and what to do about it."""
