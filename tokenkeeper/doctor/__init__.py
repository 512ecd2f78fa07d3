"""Looks at a provider step by step, and says in words what keeps it from its tokens."""
