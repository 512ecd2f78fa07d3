"""A soak: everything that may happen to tokens happens at once, and somebody keeps the books."""
