"""Small pieces without state that every other room may use."""
