"""Fleets of real processes on real engines: short forms as tests, long forms by run.py."""
