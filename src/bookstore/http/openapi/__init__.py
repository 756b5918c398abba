"""The OpenAPI document: what the handlers declare, completed with problem responses and examples.

Belongs here: everything that exists only for the document. Does not belong here: behaviour. `http.routes`, `app` and
`cli` import it.
"""
