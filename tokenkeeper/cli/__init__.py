"""The command line (extra "cli"): one file for each command."""
