"""What only the service can tell, in Prometheus's format, on a port of its own.

Workers count into a memory that they share with the server's main process (`block`, `shared`), which serves the
page (`exposition`, `port`). `pool`, `requests` and `beat` are what a worker counts with; none of them is there
where no port is asked for.
"""
