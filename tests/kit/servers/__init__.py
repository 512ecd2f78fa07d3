"""Servers that the tests start as programs of their own, on loopback."""
