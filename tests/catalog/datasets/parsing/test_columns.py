"""Columns of published exports, near misses, and columns that feed one."""

from __future__ import annotations

import pytest

from bookstore.catalog.datasets.parsing.columns import find_columns
from bookstore.exceptions import ConfigurationError

GOODREADS = (
    "Book Id,Title,Author,Author l-f,Additional Authors,ISBN,ISBN13,My Rating,Average Rating,Publisher,Binding,Number"
    " of Pages,Year Published,Original Publication Year,Date Read,Date Added,Bookshelves,Bookshelves with positions,"
    "Exclusive Shelf,My Review,Spoiler,Private Notes,Read Count,Owned Copies"
)
LIBRARYTHING = (
    "Book Id,Title,Sort Character,Primary Author,Primary Author Role,Secondary Author,Secondary Author Roles,"
    "Publication,Date,Review,Rating,Comment,Private Comment,Summary,Media,Physical Description,Weight,Height,Thickness,"
    "Length,Dimensions,Page Count,LCCN,Acquired,Date Started,Date Read,Barcode,BCID,Tags,Collections,Languages,Original"
    " Languages,LC Classification,ISBN,ISBNs,Subjects,Dewey Decimal,Dewey Wording,Other Call Number,Copies,Source,Entry"
    " Date,From Where,OCLC,Work id,Lending Patron,Lending Status,Lending Start,Lending End"
)
CALIBRE = (
    "author_sort,authors,comments,cover,formats,id,identifiers,isbn,languages,library_name,pubdate,publisher,rating,"
    "series,series_index,size,tags,timestamp,title,title_sort,uuid"
)
BOOK_CROSSING = "ISBN,Book-Title,Book-Author,Year-Of-Publication,Publisher,Image-URL-S,Image-URL-M,Image-URL-L"
KAGGLE = (
    "bookID,title,authors,average_rating,isbn,isbn13,language_code,  num_pages,ratings_count,text_reviews_count,"
    "publication_date,publisher"
)
GOODBOOKS = (
    "book_id,goodreads_book_id,best_book_id,work_id,books_count,isbn,isbn13,authors,original_publication_year,"
    "original_title,title,language_code,average_rating,ratings_count,work_ratings_count,work_text_reviews_count,"
    "ratings_1,image_url,small_image_url"
)
STORYGRAPH = (
    "Title,Authors,Contributors,ISBN/UID,Format,Read Status,Date Added,Last Date Read,Dates Read,Read Count,Moods,Pace,"
    "Star Rating,Review,Content Warnings,Tags,Owned?"
)


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (GOODREADS, {"title": ["Title"], "authors": ["Author", "Additional Authors"], "isbn": ["ISBN"],
                     "isbn13": ["ISBN13"], "publication_year": ["Original Publication Year", "Year Published"]}),
        (LIBRARYTHING, {"title": ["Title"], "authors": ["Primary Author", "Secondary Author"], "isbn": ["ISBN"],
                        "language": ["Languages"]}),
        (CALIBRE, {"title": ["title"], "authors": ["authors"], "isbn": ["isbn"], "publication_year": ["pubdate"],
                   "language": ["languages"]}),
        (BOOK_CROSSING, {"title": ["Book-Title"], "authors": ["Book-Author"], "isbn": ["ISBN"],
                         "publication_year": ["Year-Of-Publication"]}),
        (KAGGLE, {"title": ["title"], "authors": ["authors"], "isbn": ["isbn"], "isbn13": ["isbn13"],
                  "publication_year": ["publication_date"], "language": ["language_code"]}),
        (GOODBOOKS, {"title": ["title"], "authors": ["authors"], "isbn": ["isbn"], "isbn13": ["isbn13"],
                     "publication_year": ["original_publication_year"], "language": ["language_code"],
                     "original_title": ["original_title"]}),
        (STORYGRAPH, {"title": ["Title"], "authors": ["Authors"], "isbn": ["ISBN/UID"]}),
    ],
    ids=["goodreads", "librarything", "calibre", "book-crossing", "kaggle", "goodbooks", "storygraph"],
)  # fmt: skip
def test_published_headers(header: str, read: dict[str, list[str]]) -> None:
    """The columns of published exports are found without options, and every other column is listed."""
    names = header.split(",")
    found = find_columns("books.csv:1", names, {})
    assert {ours: [names[index] for index in at] for ours, at in found.positions.items()} == read
    assert len(found.unread) == len(names) - sum(map(len, read.values()))


@pytest.mark.parametrize("name", ["TITLE", "Title ", "_title_", "T i t l e"])
def test_case_spaces_and_underscores_do_not_matter(name: str) -> None:
    """Names match without regard to case, spaces and underscores."""
    assert find_columns("books.csv:1", [name, "Authors"], {}).positions == {"title": (0,), "authors": (1,)}


@pytest.mark.parametrize(
    ("name", "ours"),
    [("langauge", "language"), ("Publication Yr", "publication_year"), ("isbm13", "isbn13"), ("genrs", "genres"),
     ("ISBNs", "isbn"), ("orignal_title", "original_title")],
)  # fmt: skip
def test_near_miss_of_an_optional_column(name: str, ours: str) -> None:
    """A misspelt optional column is an error that names it; --column reads it, or reads none."""
    header = ["title", "authors", name]
    with pytest.raises(ConfigurationError, match=f"books.csv:1: unknown column '{name}'; did you mean '{ours}'"):
        find_columns("books.csv:1", header, {})
    assert find_columns("books.csv:1", header, {ours: name}).positions[ours] == (2,)
    assert find_columns("books.csv:1", header, {ours: ""}).unread == [name]


@pytest.mark.parametrize(
    "theirs", ["Author+Additional Authors", "'Author'+'Additional Authors'", "author + ADDITIONAL_AUTHORS"]
)
def test_several_columns_feed_one(theirs: str) -> None:
    """Header names joined by a plus sign are read together, in that order."""
    header = ["Title", "Author", "Additional Authors"]
    assert find_columns("books.csv:1", header, {"authors": theirs}).positions["authors"] == (1, 2)


def test_plus_sign_in_a_name() -> None:
    """A header name that contains a plus sign is one column."""
    assert find_columns("books.csv:1", ["Title", "A+B"], {"authors": "A+B"}).positions["authors"] == (1,)


def test_two_columns_that_match() -> None:
    """Two columns that mean the same are an error; --column chooses one."""
    header = ["title", "authors", "ISBN 13", "isbn13"]
    with pytest.raises(
        ConfigurationError, match=r"'ISBN 13' and 'isbn13' both match isbn13.*--column isbn13='ISBN 13'"
    ):
        find_columns("books.csv:1", header, {})
    assert find_columns("books.csv:1", header, {"isbn13": "ISBN 13"}).positions["isbn13"] == (2,)


def test_required_column_cannot_be_left_out() -> None:
    """--column authors= is an error."""
    with pytest.raises(ConfigurationError, match="--column authors=: a book needs authors"):
        find_columns("books.csv:1", ["title", "authors"], {"authors": ""})
