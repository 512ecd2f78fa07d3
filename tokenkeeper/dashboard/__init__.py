"""The dashboard of a store, for people on call (extra "dashboard")."""

from tokenkeeper.dashboard.app import dashboard

__all__ = ["dashboard"]
