"""Measurements of speed and quality, with one command and one form of results for all of them.

Every module of this package, other than its two subpackages, is a benchmark. It has

- a docstring, whose first line is the title of its page and whose other lines are the text below the title;
- ``run(folders)``, which measures, and returns rows that JSON can hold;
- ``page(rows)``, which renders the rows as the lines of a page in Markdown.
"""
