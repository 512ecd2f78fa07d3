"""The slow path: how a token that is missing, due or refused is replaced."""
