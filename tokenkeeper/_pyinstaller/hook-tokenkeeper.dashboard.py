# ruff: noqa: N999 - PyInstaller names hooks so
"""What a program needs that imports ``tokenkeeper.dashboard``: the files of its page."""

from PyInstaller.utils.hooks import collect_data_files

datas = collect_data_files("tokenkeeper.dashboard")
