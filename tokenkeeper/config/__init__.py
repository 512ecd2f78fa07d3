"""From a YAML file, a mapping or the environment to providers (extra "yaml" for the first two)."""
