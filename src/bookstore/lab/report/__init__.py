"""Presentation of runs: terminal table, conclusions in words, export formats, the HTML page and its plots.

Belongs here: figures turned into text and plots. Does not belong here: figures turned into verdicts (see
`analysis`). Only the command line imports it; scripts and styles of the page are in `assets`.
"""
