"""Small pieces without state that every other part of the package may use."""
