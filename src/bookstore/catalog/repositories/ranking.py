"""The order of lists with a search text: `relevance`, and which orders common words allow."""

from __future__ import annotations

from collections.abc import Mapping

from bookstore.catalog import pagination, search, sorting


def sort_keys(
    order: str,
    orders: sorting.Orders,
    pairs: Mapping[str, sorting.SortKeys] = {},
    *,
    has_words: bool,
    is_common: bool,
) -> sorting.SortKeys:
    """Return the sort keys of `order`. Common words are not ranked; for them relevance means the id.

    Results of words that are not common are few, and can be sorted by any keys. Raises ApiError for unknown keys, for
    an order without an index where there are no words (`pairs` have one), for relevance without words, and for common
    words with any order but relevance or id: no index serves both, and sorting half of a large catalogue takes seconds.
    """
    names = {name.removeprefix("-") for name in order.split(",")}
    if not has_words and "relevance" in names:
        raise pagination.invalid_parameter("sort", "found 'relevance' without q; sorting by relevance requires q")
    if is_common and not names <= {"relevance", "id"}:
        detail = (
            f"more than {search.MAX_RANKED} results contain the words of q; allowed is relevance or id, or more words"
        )
        raise pagination.invalid_parameter("sort", detail)
    if is_common:
        order = "-id" if order == "-id" else "id"
    if has_words:
        return pagination.sort_keys(lambda: sorting.parse(order, orders))
    return pagination.sort_keys(lambda: sorting.parse_indexed(order, orders, pairs))
