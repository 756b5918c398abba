"""Deploy each profile, load it, watch it, compare the runs. Speaks HTTP and SQL to the service."""
