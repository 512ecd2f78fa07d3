"""Makes the README's links absolute in the package's metadata, where no file is beside it."""

import re
from configparser import ConfigParser
from pathlib import Path

HERE = Path(__file__).parent
RELATIVE_LINK = re.compile(r'(\]\(|(?:src|srcset)=")(?!https?://|#)([^)"#]+)')


def with_absolute_links(readme: str, home: str) -> str:
    """Return *readme* with links to files of the repository at *home*."""

    def absolute(link: re.Match[str]) -> str:
        kind = "raw" if link[2].endswith((".svg", ".png")) else "blob"
        return f"{link[1]}{home}/{kind}/main/{link[2]}"

    return RELATIVE_LINK.sub(absolute, readme)


if __name__ == "__main__":
    from setuptools import setup

    settings = ConfigParser()
    settings.read(HERE / "setup.cfg", encoding="utf-8")
    urls = dict(re.findall(r"(\w+) = (\S+)", settings["metadata"]["project_urls"]))
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=with_absolute_links(readme, urls["Source"]),
        long_description_content_type="text/markdown",
    )
