"""The domain: books, authors and genres. Tables, wire structs, validation, search, sorting and pagination.

Belongs here: rules and queries that hold for the catalogue whatever the transport and the driver. Does not belong
here: HTTP, engines, transactions. Imports `config`, `exceptions` and `profile`; `database`, `observability`, `http`,
`doctor`, `app` and `cli` import it, the lab does not.
"""
