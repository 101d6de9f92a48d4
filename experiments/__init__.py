"""The claims of the course, one file each, in a folder for each chapter.

An experiment is a module with three parts, for the command line, a test and a notebook alike:

    Config             a frozen dataclass, each field documented; `Config.smoke()` runs in seconds
    run(config)        -> Result, a frozen dataclass; the fields in its repr go to result.json
    plot(result)       -> a matplotlib Figure or animation, or a dict of them by name

The first line of its docstring is its claim. A Result may have `claims`, the expected figures
beside the measured ones. A Config with the field `out` writes, and writes only there.
"""
