"""Fleets of real processes on one store, and what they met."""
