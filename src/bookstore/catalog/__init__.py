"""The domain: books, authors and genres. Tables, wire structs, validation, search, sorting and pagination.

Belongs here: everything that is true of the catalogue whatever the transport and the driver. Does not belong here:
HTTP, engines, transactions; a repository works within the `Session` that it receives and never commits. `database`,
`http`, `doctor`, `app` and `cli` import it; the lab does not.
"""
