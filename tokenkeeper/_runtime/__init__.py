"""Threads, forks and event loops. Nothing here knows what a token is."""
