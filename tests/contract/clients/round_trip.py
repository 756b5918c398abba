"""Creates, changes, lists and deletes a book with the client that openapi-python-client generated.

Called with the address of a service and a token; test_generated_clients.py also checks its types.
"""

import sys

from bookstore_client import AuthenticatedClient
from bookstore_client.api.books import change_book, create_book, delete_book, get_book, list_books
from bookstore_client.models import Book, BookInput, BookInputPatch, BookPage, ListBooksSortItem

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
with client:
    created = create_book.sync_detailed(client=client, body=BookInput(title="Generated"))
    assert created.status_code == 201, created.content
    assert isinstance(created.parsed, Book)
    book_id, etag = created.parsed.id, created.headers["etag"]

    patch = BookInputPatch(publication_year=1969)
    changed = change_book.sync_detailed(book_id, client=client, body=patch, if_match=etag)
    assert changed.status_code == 200, changed.content
    assert isinstance(changed.parsed, Book)
    assert (changed.parsed.title, changed.parsed.publication_year) == ("Generated", 1969)
    stale = change_book.sync_detailed(book_id, client=client, body=patch, if_match=etag)
    assert stale.status_code == 412, stale.content

    page = list_books.sync(client=client, sort=[ListBooksSortItem.ID_DESCENDING], limit=1)
    assert isinstance(page, BookPage)
    assert [book.id for book in page.items] == [book_id]

    deleted = delete_book.sync_detailed(book_id, client=client, if_match=changed.headers["etag"])
    assert deleted.status_code == 204, deleted.content
    assert get_book.sync_detailed(book_id, client=client).status_code == 404
