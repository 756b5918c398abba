"""Make the words of search and the keys of text orders the same on every server, whatever its locale.

`lower()`, the full-text parser and pg_trgm ask the database's locale what a letter is. The functions below name code
points instead, and use only `normalize()` and `lower(… COLLATE "C")`, which no locale changes.
"""

from __future__ import annotations

# ruff: noqa: RUF001, S608 - letters that look alike are the subject; the statements are made of constants
import json
import re

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Code points in hexadecimal, from Unicode 14. tests/catalog/test_search_words.py compares them with Python's tables.
# Ranges include code points that have no character or that _FOLDED and NFKD replace.

# Punctuation, symbols, white space and control characters (general categories P, S, Z, Cc), but for ' - . and U+30FB.
_SEPARATORS = """
    1-26 28-2C 2F 3A-60 7B-BF D7 F7 2C2-2C5 2D2-2EB 2ED 2EF-2FF 375 3F6 482 55A-55F 589-5C6 5F3-61F 66A-66D 6D4 6DD-6DE
    6E9 6FD-6FE
    700-70F 7F6-7F9 7FE-7FF 830-83E 85E 888 890-891 8E2 964-965 970 9F2-9F3 9FA-9FB 9FD A76 AF0-AF1 B70 BF3-BFA C77
    C7F C84 D4F D79 DF4 E3F E4F E5A-E5B F01-F17 F1A-F1F F34 F36 F38 F3A-F3D F85 FBE-FC5 FC7-FDA 104A-104F 109E-109F
    10FB 1360-1368 1390-1399 1400 166D-166E 1680 169B-169C 16EB-16ED 1735-1736 17D4-17D6 17D8-17DB 1800-180A
    1940-1945 19DE-19FF 1A1E-1A1F 1AA0-1AA6 1AA8-1AAD 1B5A-1B6A 1B74-1B7E 1BFC-1BFF 1C3B-1C3F 1C7E-1C7F 1CC0-1CC7
    1CD3 2010-212E 213A-214D 214F 218A-244A 2500-2775 2794-2BFF 2CE5-2CEA 2CF9-2CFC 2CFE-2CFF 2D70 2E00-2E2E
    2E30-3004 3008-3020 3030 3037 303D-303F 30A0 3190-3191 31C0-31E3 327F 4DC0-4DFF A490-A4C6 A4FE-A4FF
    A60D-A60F A673 A67E A6F2-A716 A720-A721 A789-A78A A828-A82B A836-A839 A874-A877 A8CE-A8CF A8F8-A8FA A8FC
    A92E-A92F A95F A9C1-A9CD A9DE-A9DF AA5C-AA5F AA77-AA79 AADE-AADF AAF0-AAF1 AB5B AB6A-AB6B ABEB FBB2-FE46
    FFF9-FFFD 10100-10102 10137-1013F 10179-10189 1018C-101FC 1039F 103D0 1056F 10857 10877-10878 1091F 1093F
    10A50-10A58 10A7F 10AC8 10AF0-10AF6 10B39-10B3F 10B99-10B9C 10EAD 10F55-10F59 10F86-10F89 11047-1104D
    110BB-110C1 110CD 11140-11143 11174-11175 111C5-111C8 111CD 111DB 111DD-111DF 11238-1123D 112A9 1144B-1144F
    1145A-1145D 114C6 115C1-115D7 11641-11643 11660-1166C 116B9 1173C-1173F 1183B 11944-11946 119E2 11A3F-11A46
    11A9A-11A9C 11A9E-11AA2 11C41-11C45 11C70-11C71 11EF7-11EF8 11FD5-11FFF 12470-12474 12FF1-12FF2 13430-13438
    16A6E-16A6F 16AF5 16B37-16B3F 16B44-16B45 16E97-16E9A 16FE2 1BC9C 1BC9F 1CF50-1D15D 1D16A-1D16C 1D183-1D184
    1D18C-1D1A9 1D1AE-1D241 1D245 1D300-1D356 1D800-1D9FF 1DA37-1DA3A 1DA6D-1DA74 1DA76-1DA83 1DA85-1DA8B 1E14F
    1E2FF 1E95E-1E95F 1ECAC 1ECB0 1ED2E 1EEF0-1F0F5 1F10D-1FBCA"""

# Accents, Hebrew and Arabic points, the tatweel, and characters that are invisible (Default_Ignorable_Code_Point).
_DROPPED = """
    AD 300-36F 483-489 591-5BD 5BF 5C1-5C2 5C4-5C5 5C7 610-61A 61C 640 64B-65F 670 6D6-6DC 6DF-6E4 6E7-6E8 6EA-6ED 711
    730-74A 898-89F 8CA-8E1 8E3-8FF 115F-1160 17B4-17B5 180B-180F 1AB0-1AFF 1DC0-1DFF 200B-200F 202A-202E 2060-206F
    20D0-20FF 3164 FE00-FE0F FE20-FE2F FEFF FFA0 FFF0-FFF8 1BCA0-1BCA3 1D173-1D17A E0000-E0FFF"""

# Fractions, enclosed numbers and squared words, which stand for words of their own: 8½ is 8 1 2.
_COMPOSED = """
    BC-BE 20A8 2100-2101 2105-2106 2116 2121 213B 2150-215F 2189 2460-249B 24EA 320E-3229 3250-325F 326E-327E
    3280-3289 32B1-32CF 32FF-33FF FDFC 1F100-1F10A 1F12D-1F12E 1F14A-1F14F 1F190 1F200-1F201"""

# Scripts that are written without spaces or, as Korean, with endings attached: Thai, Lao, Burmese, Hangul, Khmer, Tai,
# kana, Bopomofo, Chinese characters, Yi, Tangut, Khitan, Nushu. Of their blocks, _SEPARATORS takes the punctuation.
_UNSPACED = """
    E00-EFF 1000-109F 1100-11FF 1780-17FF 1950-19DF 1A20-1AAF 2E80-2FDF 3000-30FA 30FC-A4CF A960-A97F A9E0-A9FF
    AA60-AADF AC00-D7FF F900-FAFF 11700-1174F 16FE0-18DFF 1AFF0-1B2FF 20000-3FFFF"""

# Letters whose small letter is at a distance; of a range with /2, every second letter.
_SMALL = """
    184+1 186+CE 18E+4F 18F+CA 194+CF 19C+D3 19F+D6 1A2+1 1A7+1 1A9+DA 1B1+D9 1B7+DB 1B8+1 1BC+1 1F6-61 1F7-38 21C+1
    222+1 241+1 245+47 24A+1 370-372/2+1 376+1 37F+74 391-3A1+20 3A3-3A9+20 3C2+1 3CF+8 3D8-3EE/2+1 3F7+1 3FA+1
    3FD-3FF-82 402-404/2+50 405-406+50 408-40B+50 40F+50 410-418+20 41A-42F+20 460-474/2+1 478-480/2+1 48A-4BE/2+1
    4C0+F 4C3-4CD/2+1 4D4+1 4D8+1 4E0+1 4E8+1 4F6+1 4FA-52E/2+1 531-556+30 10A0-10C5+1C60 10C7+1C60 10CD+1C60
    13F8-13FD-8 1C80-184E 1C81-184D 1C82-1844 1C83-1C84-1842 1C85-1843 1C86-183C 1C87-1824 1C88+89C3 1C90-1CBA-BC0
    1CBD-1CBF-BC0 1EFA+1 2132+1C 2183+1 2C00-2C2F+30 2C6D-2A1C 2C6F-2A1F 2C70-2A1E 2C75+1 2C80-2CE2/2+1 2CEB-2CED/2+1
    2CF2+1 A640-A66C/2+1 A680-A69A/2+1 A722-A72E/2+1 A732-A73E/2+1 A74E+1 A75A-A75C/2+1 A760-A76E/2+1 A77D-8A04
    A77E-A784/2+1 A78B+1 A78D-A528 A796-A79E/2+1 A7AB-A54F A7B0-A512 A7B1-A52A A7B3+3A0 A7B4-A7C2/2+1 A7C4-30
    A7C7-A7C9/2+1 A7D0+1 A7D6-A7D8/2+1 A7F5+1 AB70-ABBF-97D0 10400-10427+28 104B0-104D3+28 10570-1057A+27
    1057C-1058A+27 1058C-10592+27 10594-10595+27 10C80-10CB2+40 118A0-118BF+20 16E40-16E5F+20 1E900-1E921+22"""

# Latin letters that have no accent to drop, each after its plain letter; as in PostgreSQL's unaccent.rules.
_PLAIN = """
    aȺᴀᶏⱥ bƀƁƂƃɃɓʙᴃᵬᶀ cƇƈȻȼɕᴄꞒꞓ dÐðĐđƉƊƋƌȡɖɗᴅᴆᵭᶁᶑꝱꝹꝺ eƐɆɇɛᴇᶒᶓⱸ fƑƒᵮᶂꜰꝻꝼ gƓǤǥɠɡɢʛᶃꞠꞡꞬ hĦħɦɧʜⱧⱨꞪ iıƖƗɨɩɪᵻᶖꞮ jȷɈɉɟʝᴊꞲ
    kƘƙᴋᶄⱩⱪꝀꝁꝂꝃꝄꝅꞢꞣ lŁłƚȴȽɫɬɭʟᴌᶅⱠⱡⱢꝆꝇꝈꝉꝲꞭ mɱᴍᵯᶆⱮꝳ nŊŋƝƞȠȵɲɳɴᵰᶇꝴꞐꞑꞤꞥ oØøᴏⱺꝊꝋꝌꝍ pƤƥᴘᵱᵽᶈⱣꝐꝑꝒꝓꝔꝕ qĸʠꝖꝗꝘꝙ
    rƦɌɍɼɽɾʀᵲᵳᶉⱤꝵꝶꞦꞧ sȿʂᵴᶊẜẝⱾꜱꞨꞩꟅ tŦŧƫƬƭƮȶȾʈᴛᵵⱦꝷꞆꞇ uɄʉᴜᵾᶙ vƲʋᴠᶌỼỽⱱⱴꝞꝟ wᴡⱲⱳ xᶍ yƳƴɎɏʏỾỿ zƵƶȤȥɀʐʑᴢᵶᶎⱫⱬⱿꟆ"""

# The zeros of decimal digits beyond ASCII.
_DIGITS = """
    660 6F0 7C0 966 9E6 A66 AE6 B66 BE6 C66 CE6 D66 DE6 E50 ED0 F20 1040 1090 17E0 1810 1946 19D0 1A80 1A90 1B50 1BB0
    1C40 1C50 A620 A8D0 A900 A9D0 A9F0 AA50 ABF0"""

_SEVERAL = {
    "ß": "ss", "ẞ": "ss", "æ": "ae", "Æ": "ae", "œ": "oe", "Œ": "oe", "þ": "th", "Þ": "th", "—": " - ", "―": " - ",
}  # fmt: skip

# Punctuation beyond ASCII, after what people type for it.
_TYPED = """
    'ʹʺʻʼʽʾʿ՚׳״‘’‚‛′‹› "“”„‟″«» -֊־‐‑‒–− .· /⁄"""

_LONGEST_WORD = 100
_LONGEST_COMPOUND = 40  # bytes


def _letters() -> dict[str, str]:
    """Return what each character is folded to."""
    letters = {}
    for first, last, step, distance in re.findall(r"(\w+)(?:-(\w+))?(/2)?([+-]\w+)(?=\s|$)", _SMALL):
        for code in range(int(first, 16), int(last or first, 16) + 1, 2 if step else 1):
            letters[chr(code)] = chr(code + int(distance, 16))
    for zero in _DIGITS.split():
        letters |= {chr(int(zero, 16) + value): str(value) for value in range(10)}
    return letters | {letter: group[0] for group in (_PLAIN + _TYPED).split() for letter in group[1:]} | _SEVERAL


def _class(text: str) -> str:
    """Return code points in hexadecimal as the inside of a bracket expression."""
    return "".join(re.sub(r"[0-9A-F]+", lambda code: rf"\U{int(code[0], 16):08X}", part) for part in text.split())


_FOLDED = json.dumps(_letters(), ensure_ascii=False).replace("'", "''")
_UNSPACED_CLASS = _class(_UNSPACED)
_JOINERS = "''.・-"
_IS_PLAIN = (
    rf"(length($1) <= {_LONGEST_WORD}"
    r""" AND $1 !~ '[^A-Za-z0-9 ,:;()#!?.]|[0-9][Ee]|[0-9]\.|\.[^ ]' COLLATE "C")"""
)

# In the order in which they use each other.
_FUNCTIONS = {
    # Small plain letters, for text in NFKD. jsonb finds a key by bisection; translate() compares with each.
    "fold_letters(text) RETURNS text STRICT": f"""
        SELECT CASE WHEN octet_length($1) = length($1) THEN lower($1 COLLATE "C") ELSE normalize((
            SELECT string_agg(coalesce('{_FOLDED}'::jsonb ->> letter, letter), '' ORDER BY place)
            FROM string_to_table(lower($1 COLLATE "C"), NULL) WITH ORDINALITY AS split (letter, place)
        ), NFC) END""",
    # Text in small letters without accents, and with the punctuation of a keyboard. NFKD would make a space of an acute
    # accent that is used as an apostrophe, and letters of the sign of a trade mark.
    "fold_text(text) RETURNS text STRICT": rf"""
        SELECT CASE WHEN octet_length($1) = length($1) THEN lower($1 COLLATE "C") ELSE fold_letters(regexp_replace(
            normalize(
                regexp_replace(translate($1, '´™℠', '''  '), '[{_class(_COMPOSED)}]' COLLATE "C", ' \& ', 'g'), NFKD
            ), '[{_class(_DROPPED)}]+' COLLATE "C", '', 'g'
        )) END""",
    # At most 200 characters, because an index entry is limited to 2,704 bytes; NFKD makes eighteen characters of one.
    "sort_key(text) RETURNS text STRICT": "SELECT left(fold_text(left($1, 200)), 200)",
    # Tokens with spaces between them. Of punctuation, only ' . - and the middle dot of kana are left, between letters.
    "search_tokens(text) RETURNS text STRICT": rf"""
        SELECT btrim(regexp_replace(
            regexp_replace(
                ' ' || fold_text($1) || ' ', '[{_UNSPACED_CLASS}]+(?:・[{_UNSPACED_CLASS}]+)*' COLLATE "C", ' \& ', 'g'
            ), '[{_JOINERS}]*[{_class(_SEPARATORS)}]+[{_JOINERS}]*|[{_JOINERS}]{{2,}}' COLLATE "C", ' ', 'g'
        ))""",
    # The words of a text. `word` is a part of a token, `compound` all of its parts in one, as email for e-mail. Of an
    # unspaced script, the words are all pairs of letters and the last letter.
    """search_terms(source text)
    RETURNS TABLE (token bigint, place bigint, word text, compound text, is_unspaced boolean) ROWS 10""": rf"""
        SELECT token.place, part.place, left(part.word, {_LONGEST_WORD}), nullif(compound, part.word), is_unspaced
        FROM (
            SELECT *, CASE WHEN NOT is_unspaced AND octet_length(whole) <= {_LONGEST_COMPOUND}
                AND whole !~ '^[0-9]+$' COLLATE "C" THEN whole END AS compound
            FROM (
                SELECT place, text, translate(text, '''.・-', '') AS whole,
                    text ~ '^[{_UNSPACED_CLASS}]' COLLATE "C" AS is_unspaced
                FROM string_to_table(search_tokens(source), ' ') WITH ORDINALITY AS split (text, place) WHERE text <> ''
            ) AS told OFFSET 0  -- once for each token, not for each part
        ) AS token CROSS JOIN LATERAL unnest(
            CASE WHEN is_unspaced
            THEN ARRAY(
                SELECT letter || lead(letter, 1, '') OVER (ORDER BY place)
                FROM string_to_table(whole, NULL) WITH ORDINALITY AS split (letter, place) ORDER BY place
            )
            ELSE string_to_array(translate(text, '.・-', ''''''''), '''') END
        ) WITH ORDINALITY AS part (word, place)""",
    # Compounds and single letters are stored beside the words. No word contains a quote or a backslash.
    "search_words_of_terms(text) RETURNS tsvector STRICT": """
        SELECT coalesce(string_agg(
            '''' || word || ''':' || position || CASE
                WHEN is_unspaced THEN ' ''' || left(word, 1) || ''':' || position
                WHEN place = 1 AND compound IS NOT NULL THEN ' ''' || compound || ''':' || position
                ELSE '' END, ' '
        ), '')::tsvector
        FROM (SELECT *, row_number() OVER (ORDER BY token, place) AS position FROM search_terms($1)) AS term""",
    # The full-text parser makes the same words of short plain text on every server, and takes a sixth of the time. Left
    # out are numbers such as 1e5 and 1. and all signs that it takes for parts of words, addresses or markup.
    "search_words_of_folded(text) RETURNS tsvector STRICT": rf"""
        SELECT CASE WHEN {_IS_PLAIN} THEN to_tsvector('pg_catalog.simple', $1) ELSE search_words_of_terms($1) END""",
    "search_words(text) RETURNS tsvector STRICT": rf"""
        SELECT CASE WHEN {_IS_PLAIN} THEN to_tsvector('pg_catalog.simple', lower($1 COLLATE "C"))
        ELSE search_words_of_folded(fold_text($1)) END""",
    # A tsvector is limited to 1 MB, and a letter takes at most 22 bytes of it.
    "search_document(title text, names text) RETURNS tsvector": """
        SELECT setweight(search_words(title), 'A') || setweight(search_words(left(coalesce(names, ''), 30000)), 'B')""",
    # The words of a document that can replace a mistyped one: those with spaces around them.
    "search_vocabulary(tsvector) RETURNS SETOF text": rf"""
        SELECT word FROM unnest(tsvector_to_array($1)) AS word WHERE word !~ '^[{_UNSPACED_CLASS}]' COLLATE "C" """,
    # A word in letters of which pg_trgm makes trigrams on every server. In the locale C, it does so of ASCII only.
    "spelling(text) RETURNS text STRICT": """
        SELECT CASE WHEN octet_length($1) = length($1) THEN $1 ELSE (
            SELECT string_agg(
                CASE WHEN ascii(letter) < 128 THEN letter ELSE chr(97 + mod(ascii(letter), 26)) END, '' ORDER BY place
            ) FROM string_to_table($1, NULL) WITH ORDINALITY AS split (letter, place)
        ) END""",
}

_INDEXES_BY_SORT_KEY = """
    SELECT relname, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE pg_table_is_visible(indrelid) AND strpos(pg_get_indexdef(indexrelid), 'sort_key(') > 0"""

_REFRESH_DOCUMENTS = """
    WITH fresh AS MATERIALIZED (
        SELECT book.id, search_document(title, names) AS document
        FROM book LEFT JOIN (
            SELECT book_id, string_agg(name, ' ' ORDER BY position) AS names
            FROM book_author JOIN author ON author.id = author_id GROUP BY book_id
        ) AS credit ON book_id = book.id
    )
    UPDATE book_document SET document = fresh.document FROM fresh
    WHERE fresh.id = book_document.book_id AND fresh.document <> book_document.document"""

_REFRESH_WORDS = """
    WITH used AS MATERIALIZED (SELECT DISTINCT word FROM book_document, {} AS word), gone AS (
        DELETE FROM search_word WHERE NOT EXISTS (SELECT FROM used WHERE used.word = search_word.word)
    )
    INSERT INTO search_word SELECT word FROM used ON CONFLICT DO NOTHING"""


def upgrade() -> None:
    _lock()
    for signature, body in _FUNCTIONS.items():
        _run(f"CREATE OR REPLACE FUNCTION {signature} LANGUAGE sql IMMUTABLE PARALLEL SAFE BEGIN ATOMIC {body}; END")
    _run(_REFRESH_DOCUMENTS)
    _run(_REFRESH_WORDS.format("search_vocabulary(document)"))
    _run("CREATE INDEX ix_search_word_spelling ON search_word USING gin (spelling(word) gin_trgm_ops)")
    _replace_indexes()
    _run("DROP INDEX ix_search_word_word")
    _run("DROP TEXT SEARCH CONFIGURATION catalogue")


def downgrade() -> None:
    _lock()
    _restore_functions()
    _run(_REFRESH_DOCUMENTS)
    _run(_REFRESH_WORDS.format("unnest(tsvector_to_array(document))"))
    _run("CREATE INDEX ix_search_word_word ON search_word USING gin (word gin_trgm_ops)")
    _replace_indexes()
    _run("DROP INDEX ix_search_word_spelling")
    for name in (
        "search_words_of_folded",
        "search_words_of_terms",
        "search_terms",
        "search_tokens",
        "fold_text",
        "fold_letters",
        "spelling",
    ):
        _run(f"DROP FUNCTION {name}(text)")
    _run("DROP FUNCTION search_vocabulary(tsvector)")


def _run(statement: str) -> None:
    op.get_bind().exec_driver_sql(statement)  # SQLAlchemy would take parts of the patterns for parameters


def _lock() -> None:
    # Writers wait for the end of the migration, so that no document has words of the old function. Readers go on until
    # the indexes are swapped at the very end. Same order as in a write.
    _run("LOCK TABLE author, book, book_document, search_word IN SHARE ROW EXCLUSIVE MODE")


def _replace_indexes() -> None:
    indexes = op.get_bind().exec_driver_sql(_INDEXES_BY_SORT_KEY).all()
    for name, definition in indexes:
        _run(definition.replace(f"INDEX {name} ON", f"INDEX {name}_new ON", 1))
    for name, _ in indexes:
        _run(f"DROP INDEX {name}")
        _run(f"ALTER INDEX {name}_new RENAME TO {name}")


def _restore_functions() -> None:
    """Define the functions as revision 0002 does."""
    schema = (
        op.get_bind()
        .exec_driver_sql("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'unaccent'")
        .scalar()
    )
    words = "asciiword, word, numword, hword_asciipart, hword_part, hword_numpart"
    _run("CREATE TEXT SEARCH CONFIGURATION catalogue (COPY = simple)")
    _run(f"ALTER TEXT SEARCH CONFIGURATION catalogue ALTER MAPPING FOR {words} WITH {schema}.unaccent, simple")
    _run("ALTER TEXT SEARCH CONFIGURATION catalogue DROP MAPPING FOR asciihword, hword, numhword")
    for signature, body in {
        "search_words(text) RETURNS tsvector": (
            "SELECT to_tsvector('catalogue', translate($1, './:@_-+<>&', '          '))"
        ),
        "sort_key(text) RETURNS text": f"SELECT lower({schema}.unaccent('{schema}.unaccent', left($1, 200)))",
    }.items():
        _run(f"CREATE OR REPLACE FUNCTION {signature} LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ {body} $$")
    _run(
        "CREATE OR REPLACE FUNCTION search_document(title text, names text) RETURNS tsvector"
        " LANGUAGE sql IMMUTABLE PARALLEL SAFE AS"
        " $$ SELECT setweight(search_words(title), 'A') || setweight(search_words(coalesce(names, '')), 'B') $$"
    )
