"""Servers on loopback that the tests start, in a thread or as separate programs."""
