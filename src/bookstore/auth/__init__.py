"""Access tokens: their format, the tokens file, and the set of tokens that the service accepts now.

Belongs here: creating, storing, reloading and checking tokens. Does not belong here: which route needs which scope
(see `http.authorization`). `http`, `app`, `doctor` and `cli` import it.
"""
