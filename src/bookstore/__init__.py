"""A bookstore service that redeploys under any engine profile."""
