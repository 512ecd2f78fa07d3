"""Lets the search find HTTP status codes: Sphinx leaves numbers out of its index.

``_static/search-numbers.js`` does the same in the browser, where Sphinx drops them from queries.
"""

from sphinx.search.en import SearchEnglish


class EnglishWithStatusCodes(SearchEnglish):
    """English, with numbers of three digits as words."""

    def word_filter(self, word):
        """Return whether *word* goes into the index."""
        return (len(word) == 3 and word.isdigit()) or super().word_filter(word)


def setup(app):
    """Register the extension with Sphinx."""
    app.add_search_language(EnglishWithStatusCodes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
