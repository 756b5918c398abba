"""The subcommands of `bookstore`, one module each, imported when the command is called.

Belongs here: options, and calls into the package. Does not belong here: output helpers and parameter types that two
commands share (see `cli`). Only `cli` imports it, and `app` for `litestar run`.
"""
