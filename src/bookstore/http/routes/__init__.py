"""The HTTP routes: one module for each resource, and the parameters, responses and mutations that they share.

Belongs here: decoding a request, calling a repository, encoding the response. Does not belong here: queries (see
`catalog`), checks of every request (see `http.gate`), the OpenAPI document (see `http.openapi`). Only `app` imports it.
"""
