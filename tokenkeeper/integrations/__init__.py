"""Tokenkeeper inside other libraries, one file and one extra for each; import the file itself."""
