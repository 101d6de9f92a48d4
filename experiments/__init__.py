"""The claims of the course, one file each, in a folder for each chapter.

`experiments.frame` says what an experiment consists of, `python -m experiments` which there are.
The first line of its docstring is its claim in words, `CLAIMS` has the figures. A Config with the
field `out` writes, and writes only there.
"""
