"""Cleans raw rows into entries, or refuses them, and records each correction. Pure functions."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from bookstore.catalog.datasets.csv_reader import BadRow, RawRow
from bookstore.catalog.datasets.entry import Entry, Finding, Outcome
from bookstore.catalog.datasets.name_list import AUTHOR_SEPARATOR, GENRE_SEPARATOR, split_names
from bookstore.catalog.isbn import is_isbn13, to_isbn13
from bookstore.catalog.models import EARLIEST_YEAR, LATEST_YEAR, MAX_NAME_LENGTH, MAX_TITLE_LENGTH
from bookstore.config.text import normalise

MAX_NAMES: Final = 1000
"""Authors, or genres, per book. Positions are 2-byte integers, and a longer cell is not a list of names."""

_FLOAT: Final = re.compile(r"\d+(\.\d*)?([eE]\+?\d+)?")
_WHOLE: Final = re.compile(r"([+-]?\d+)(?:\.0*)?")


def clean(raw: RawRow | BadRow, findings: list[Finding]) -> Entry | None:
    """Return the book in `raw`, or None if the row is refused. Appends corrections and refusals to `findings`."""
    if isinstance(raw, BadRow):
        fields, reason = f"{raw.fields} fields", f"the header has {raw.expected}"
        findings.append(Finding(raw.row, Outcome.REFUSED, "row", fields, reason))
        return None
    row = _Row(raw.row, findings)
    title = row.title(raw.title, raw.original_title)
    authors = row.names("authors", raw.authors, AUTHOR_SEPARATOR)
    genres = row.names("genres", raw.genres, GENRE_SEPARATOR)
    if title is None or authors is None or genres is None:
        return None
    isbn13 = row.isbn13(raw.isbn13.strip(), raw.isbn.strip())
    year = row.year(raw.publication_year)
    return Entry(raw.row, title, isbn13, year, row.language(raw.language), authors, genres)


class _Row:
    """Cleans the cells of one row and records findings with its number."""

    __slots__ = ("_findings", "_number")

    def __init__(self, number: int, findings: list[Finding]) -> None:
        self._number = number
        self._findings = findings

    def _record_mended(self, column: str, found: str, reason: str) -> None:
        self._findings.append(Finding(self._number, Outcome.MENDED, column, found, reason))

    def _record_refused(self, column: str, found: str, reason: str) -> None:
        self._findings.append(Finding(self._number, Outcome.REFUSED, column, _truncate(found), reason))

    def title(self, cell: str, original: str) -> str | None:
        title = normalise(cell)
        if not title and (title := normalise(original)):
            self._record_mended("title", "", "empty, original_title used")
        elif title != cell:
            self._record_mended("title", cell, "spaces or accents normalised")
        if not title:
            self._record_refused("title", "", "a book needs a title")
            return None
        if len(title) > MAX_TITLE_LENGTH:
            self._record_refused("title", title, f"longer than {MAX_TITLE_LENGTH} characters")
            return None
        return title

    def names(self, column: str, cell: str, separator: str) -> tuple[str, ...] | None:
        names, repeated, longest = _parse_names(cell, separator)
        if longest > MAX_NAME_LENGTH:
            self._record_refused(column, cell, f"a name is longer than {MAX_NAME_LENGTH} characters")
            return None
        if len(names) > MAX_NAMES:
            self._record_refused(column, f"{len(names)} names", f"more than {MAX_NAMES} names")
            return None
        if repeated:
            self._record_mended(column, repeated, "repeated within the row, dropped")
        return names

    def isbn13(self, long: str, short: str) -> str | None:
        """Return `long` if it is intact, else the ISBN-13 of `short`, else None."""
        computed = to_isbn13(_strip_spreadsheet_marks(short)) if short else None
        if short and computed is None:
            self._record_mended("isbn", short, "not a valid ISBN, dropped")
        chosen = self._long_or_computed(long, computed) if long else computed
        if computed is not None and chosen == computed and len(number := _strip_spreadsheet_marks(short)) < 10:
            self._record_mended("isbn", number, "leading zeros restored")
        return chosen

    def _long_or_computed(self, long: str, computed: str | None) -> str | None:
        if is_isbn13(long):
            isbn13: str | None = long
        elif (isbn13 := to_isbn13(_strip_spreadsheet_marks(long))) is not None:
            self._record_mended("isbn13", long, "written as 13 digits")
        if isbn13 is not None:
            if computed is not None and computed != isbn13:
                self._record_mended("isbn", computed, "not the same book as isbn13, dropped")
            return isbn13
        damaged = _FLOAT.fullmatch(long) and not long.isdigit()
        problem = "damaged by a spreadsheet" if damaged else "not a valid ISBN-13"
        self._record_mended("isbn13", long, f"{problem}, {'dropped' if computed is None else 'computed from isbn'}")
        return computed

    def year(self, cell: str) -> int | None:
        year = _parse_year(cell)
        if year is None and cell.strip():
            reason = f"not a year from {EARLIEST_YEAR} to {LATEST_YEAR}, dropped"
            self._record_mended("publication_year", _truncate(cell), reason)
        return year

    def language(self, cell: str) -> str | None:
        written = cell.strip()
        language = short_code(written)
        if language != (written or None):
            reason = "not a language code, dropped" if language is None else "shortest code used"
            self._record_mended("language", _truncate(cell), reason)
        return language


@lru_cache(4096)
def _parse_names(cell: str, separator: str) -> tuple[tuple[str, ...], str, int]:
    """Return the distinct names in `cell`, the first repeated name or "", and the length of the longest."""
    names = [name for part in split_names(cell, separator) if (name := normalise(part))]
    once = tuple(dict.fromkeys(names))
    repeated = "" if len(once) == len(names) else next(name for name in once if names.count(name) > 1)
    return once, repeated, max(map(len, once), default=0)


@lru_cache(4096)
def _parse_year(cell: str) -> int | None:
    # Data frames write integer columns with missing values as floats: 2008.0.
    match = _WHOLE.fullmatch(cell.strip())
    if match is None or len(match[1]) > 6:
        return None
    year = int(match[1])
    return year if EARLIEST_YEAR <= year <= LATEST_YEAR else None


def _strip_spreadsheet_marks(number: str) -> str:
    """Return `number` without harmless spreadsheet additions: ="0439023483", 439023483.0."""
    return number.strip('="').removesuffix(".0")


def _truncate(text: str, most: int = 100) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


_LANGUAGE_TAG: Final = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{2}))?")

# ISO 639-1 code, then its three-letter codes of ISO 639-2: some languages have two, one based on the English name (B)
# and one on the native name (T). BCP 47 (RFC 5646, 2.2.1) requires the two-letter code where one exists.
_CODES: Final = """
aa aar, ab abk, ae ave, af afr, ak aka, am amh, an arg, ar ara, as asm, av ava, ay aym, az aze, ba bak,
be bel, bg bul, bi bis, bm bam, bn ben, bo bod tib, br bre, bs bos, ca cat, ce che, ch cha, co cos, cr cre,
cs ces cze, cu chu, cv chv, cy cym wel, da dan, de deu ger, dv div, dz dzo, ee ewe, el ell gre, en eng,
eo epo, es spa, et est, eu eus baq, fa fas per, ff ful, fi fin, fj fij, fo fao, fr fra fre, fy fry, ga gle,
gd gla, gl glg, gn grn, gu guj, gv glv, ha hau, he heb, hi hin, ho hmo, hr hrv, ht hat, hu hun, hy hye arm,
hz her, ia ina, id ind, ie ile, ig ibo, ii iii, ik ipk, io ido, is isl ice, it ita, iu iku, ja jpn, jv jav,
ka kat geo, kg kon, ki kik, kj kua, kk kaz, kl kal, km khm, kn kan, ko kor, kr kau, ks kas, ku kur, kv kom,
kw cor, ky kir, la lat, lb ltz, lg lug, li lim, ln lin, lo lao, lt lit, lu lub, lv lav, mg mlg, mh mah,
mi mri mao, mk mkd mac, ml mal, mn mon, mr mar, ms msa may, mt mlt, my mya bur, na nau, nb nob, nd nde,
ne nep, ng ndo, nl nld dut, nn nno, no nor, nr nbl, nv nav, ny nya, oc oci, oj oji, om orm, or ori, os oss,
pa pan, pi pli, pl pol, ps pus, pt por, qu que, rm roh, rn run, ro ron rum, ru rus, rw kin, sa san, sc srd,
sd snd, se sme, sg sag, si sin, sk slk slo, sl slv, sm smo, sn sna, so som, sq sqi alb, sr srp, ss ssw,
st sot, su sun, sv swe, sw swa, ta tam, te tel, tg tgk, th tha, ti tir, tk tuk, tl tgl, tn tsn, to ton,
tr tur, ts tso, tt tat, tw twi, ty tah, ug uig, uk ukr, ur urd, uz uzb, ve ven, vi vie, vo vol, wa wln,
wo wol, xh xho, yi yid, yo yor, za zha, zh zho chi, zu zul
"""

_SHORTEST: Final = {long: two for two, *longs in (entry.split() for entry in _CODES.split(",")) for long in longs}


@lru_cache(4096)
def short_code(text: str) -> str | None:
    """Return `en` for eng, `en-US` for en_us, `fil` for fil, which has no two-letter code; None for other texts."""
    match = _LANGUAGE_TAG.fullmatch(text)
    if match is None or (language := match[1].lower()) == "und":
        return None
    language = _SHORTEST.get(language, language)
    return f"{language}-{match[2].upper()}" if match[2] else language
