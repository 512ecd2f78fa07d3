"""Plugins that others wrote."""
