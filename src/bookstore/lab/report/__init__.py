"""Presentation of runs: terminal table, conclusions, export formats, the HTML page and its plots.

Turns figures into text and plots; `analysis` turns them into verdicts. Only the command line imports this package.
The page's scripts and styles are in `assets`.
"""
