"""Configurations: a YAML file, a mapping or the environment (extra "yaml" for the first two)."""
