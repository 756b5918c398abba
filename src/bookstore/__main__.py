"""`python -m bookstore`: the same as the `bookstore` command."""

from bookstore.cli import main

if __name__ == "__main__":
    main()
