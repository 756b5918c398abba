"""Engine profiles: keys, defaults, layers, rules between keys, rendering and the JSON Schema.

Belongs here: everything about a profile file. Does not belong here: what the engine or the server does with a key
(see `database.engine` and `http.server`). Anything above `config` may import it.
"""
