"""From the bytes of somebody's CSV file to clean entries.

Belongs here: encodings, delimiters, header names, authors' names, and the spellings of ISBNs, years and missing values.
Does not belong here: anything that needs the database. `importer` imports it.
"""
