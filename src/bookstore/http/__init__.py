"""The HTTP edge: gate, limits, authorization, conditional requests, problem details and the server process.

Belongs here: everything that knows requests and responses. Does not belong here: queries (see `catalog`) and
transactions (see `database`). `observability`, `app`, `doctor` and `cli` import it.
"""
