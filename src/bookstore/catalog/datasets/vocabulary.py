"""The vocabulary of generated books. Changing a word changes every generated catalogue."""

from __future__ import annotations

# ruff: noqa: RUF001 - Greek and Cyrillic letters are intended
from typing import Final, NamedTuple


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _split_nouns(text: str) -> tuple[str, ...]:
    return tuple(noun.strip() for noun in text.split(","))


GENRES: Final = (
    "Fantasy", "Romance", "Young Adult", "Mystery", "Nonfiction", "Classics", "Historical Fiction",
    "Contemporary", "Thriller", "Science Fiction", "Paranormal", "Children's", "Crime", "Horror", "Humor",
    "Adventure", "History", "Biography", "Memoir", "Graphic Novels", "Dystopia", "Urban Fantasy", "New Adult",
    "Comics", "Picture Books", "Short Stories", "Philosophy", "High Fantasy", "Science", "Psychology",
    "Literary Fiction", "Christian", "Middle Grade", "Business", "Self Help", "Poetry", "War", "Drama",
    "Religion", "Manga", "Politics", "Art", "Food", "Travel", "Music", "Cookbooks", "Steampunk", "True Crime",
    "Western", "Economics",
)  # fmt: skip
"""In descending order of use."""

GIVEN_NAMES: Final = _words(
    """
    Ada Agnes Aisha Alan Albert Alice Amara Amélie Ana Anders Andrea Anna Antonio Arthur Astrid Beatriz
    Ben Björn Bruno Camille Carlos Carmen Caroline Charles Chiara Chloé Clara Claude Colin Daniel David
    Diana Diego Dmitri Dorothy Edith Eduardo Elena Elif Eliza Emily Emma Erik Esther Eva Felix Fiona
    Francesca Frank Gabriel George Giulia Grace Greta Hanna Haruki Helen Henrik Hugo Ida Ingrid Irène
    Isabel Ivan Jack James Jane Javier Jean Joanna João Johan John José Joseph Julia Karin Kate Kazuo
    Keiko Kofi Laura Leïla Leo Lena Lucía Lucy Magda Marcel Margaret María Mark Marta Martin Mary
    Mathilde Max Mei Michael Milan Miriam Mohsin Nadia Naomi Nikolai Nina Noah Nora Olga Oscar Paolo
    Patrick Paul Peter Petra Pierre Rachel Rafael Robert Rosa Ruth Salma Sara Sofia Stefan Susan Sven
    Tariq Thomas Toni Ursula Vera Victor Virginia Walter Wei William Yuki Zadie Zofia
    """
)

SURNAMES: Final = _words(
    """
    Abbott Achebe Adler Ahmed Almeida Andersen Archer Asimov Atkins Bailey Baker Barnes Becker Bell
    Bennett Berg Bernard Blanc Böhm Bowen Brandt Brennan Brooks Bruun Burke Calder Campos Carey Carter
    Castillo Chabon Chen Clarke Cole Conti Cooper Costa Craig Cruz Dahl Dalton Davies Delacroix Diaz
    Doyle Drake Dubois Duran Eaton Ekström Ellis Engel Erdoğan Esposito Evans Farrell Ferrari Ferreira
    Fischer Fletcher Fontaine Forster Foster Fournier Fuentes Gallagher García Garnier Gibson Giordano
    Gordon Graham Grant Greene Greer Grimaldi Gruber Gupta Haas Hale Hansen Harper Hartmann Hayes
    Herrera Hoffmann Holm Horváth Hughes Hunter Ibrahim Ishikawa Ivanov Jansen Jensen Johansson Jordan
    Kaplan Kaur Keller Kelly Khan Kim Klein Kovács Kowalski Krause Lambert Lang Larsen Laurent Lawson
    Leclerc Lehmann Lewis Lind Lopes Lowell Lund Mackenzie Maier Marchetti Marlowe Marsh Martel Martínez
    Mason Mendes Meyer Miller Molina Moreau Morgan Moritz Müller Murakami Murphy Nakamura Navarro Nesbø
    Neumann Newman Nguyen Nolan Novak O'Brien O'Connor Okafor Oliveira Olsen Ortega Osborne Palmer Park
    Pascal Patel Pereira Petersen Petrov Pratt Prescott Quinn Ramírez Ramos Reed Reyes Ricci Richter
    Rivera Rossi Roth Rousseau Rowe Russo Ryan Saito Salazar Santos Sato Schäfer Schmidt Schneider
    Schwarz Serrano Shaw Silva Simon Singh Smith Soto Spencer Stein Strand Suzuki Szabó Tanaka Taylor
    Thorne Torres Turner Vargas Vidal Vogel Wagner Walsh Wang Ward Weber Wells White Winter Wolf Wright
    Yamamoto Yang Young Zhang Zimmermann Żeromski
    """
)

ADJECTIVES: Final = _words(
    """
    Ancient Bitter Blue Borrowed Brief Broken Burning Cold Crooked Dark Distant Drowned Empty Endless
    Fallen Forgotten Frozen Gilded Golden Hidden Hollow Invisible Last Little Long Lost Lonely Midnight
    Nameless Narrow Northern Other Pale Patient Perfect Quiet Restless Scarlet Second Secret Shattered
    Silent Silver Sleeping Slow Small Strange Sudden Tender Thirteenth Unwritten Wandering White Wild
    Winter
    """
)

NOUNS: Final = _words(
    """
    Archive Army Bell Bird Bone Bridge Cathedral Child City Clock Coast Crown Daughter Door Empire
    Engine Factory Field Fire Forest Garden Ghost Girl Harbour Heart House Hour Island Kingdom Lake
    Language Letter Library Light Machine Map Mirror Moon Mountain Night Ocean Orchard Painter Promise
    Queen Rain Republic River Road Room Sea Season Shadow Sister Sky Soldier Song Star Stone Storm
    Stranger Summer Sword Theory Tide Tower Tree Valley Voice War Watchmaker Widow Wind Window Winter
    Witness Wolf Woman Wood Year
    """
)

PLACES: Final = _words(
    """
    Alexandria Arkham Avalon Barcelona Berlin Bombay Boston Bristol Cairo Carthage Dublin Edinburgh
    Florence Galway Geneva Glass Havana Helsinki Iron Istanbul Kyoto Lagos Lisbon London Macondo
    Marseille Memory Nairobi Naples Nowhere Odessa Oslo Oxford Paris Persia Prague Rome Salt Samarkand
    Seville Shanghai Silence Smoke Stockholm Sumatra Thorns Tomorrow Trieste Venice Verona Vienna Warsaw
    Winter Zanzibar
    """
)


class TitleLanguage(NamedTuple):
    """A language whose titles join nouns by the formats `two` and `three`. `weight` is its share of the books."""

    language: str
    weight: int
    two: str
    three: str
    nouns: tuple[str, ...]


ENGLISH_CODES: Final = (("en", 440), ("en-US", 170), ("en-GB", 40), (None, 90))
"""Language codes of English titles and their weights; None is for books without a language."""

TITLE_LANGUAGES: Final = (
    TitleLanguage("es", 50, "{} y {}", "{}, {} y {}", _split_nouns(
        "El mar, La noche, El viento, La casa, El espejo, La sombra, El reloj, La lluvia, El bosque, La reina, "
        "El jardín, La ciudad, El fuego, La memoria, El puente, La luna, El lobo, La carta, El sueño, La montaña")),
    TitleLanguage("fr", 45, "{} et {}", "{}, {} et {}", _split_nouns(
        "La mer, Le silence, La nuit, Le vent, La maison, Le miroir, L'hiver, La forêt, Le jardin, La reine, "
        "L'étranger, La lettre, Le fleuve, L'été, La pluie, Le château, La mémoire, Le loup, L'île, Le secret")),
    TitleLanguage("de", 45, "{} und {}", "{}, {} und {}", _split_nouns(
        "Das Meer, Die Nacht, Der Wind, Das Haus, Der Spiegel, Die Stille, Der Wald, Die Königin, Der Garten, "
        "Die Stadt, Das Feuer, Die Brücke, Der Mond, Der Fluss, Die Uhr, Der Schnee, Das Schloss, Der Fremde")),
    TitleLanguage("pt", 20, "{} e {}", "{}, {} e {}", _split_nouns(
        "O mar, A noite, O vento, A casa, O espelho, A sombra, O relógio, A chuva, A floresta, A rainha, "
        "O jardim, A cidade, O fogo, A memória, A ponte, A lua, O lobo, A carta, O sonho, O coração")),
    TitleLanguage("it", 20, "{} e {}", "{}, {} e {}", _split_nouns(
        "Il mare, La notte, Il vento, La casa, Lo specchio, L'ombra, L'orologio, La pioggia, Il bosco, "
        "La regina, Il giardino, La città, Il fuoco, La memoria, Il ponte, La luna, Il lupo, La lettera")),
    TitleLanguage("pl", 10, "{} i {}", "{}, {} i {}", _split_nouns(
        "Morze, Noc, Wiatr, Dom, Lustro, Cień, Zegar, Deszcz, Las, Królowa, Ogród, Miasto, Ogień, Pamięć, "
        "Most, Księżyc, Wilk, List, Sen, Śnieg, Źródło, Łąka")),
    TitleLanguage("ru", 25, "{} и {}", "{}, {} и {}", _split_nouns(
        "Море, Ночь, Ветер, Дом, Зеркало, Тень, Часы, Дождь, Лес, Королева, Сад, Город, Огонь, Память, "
        "Мост, Луна, Волк, Письмо, Сон, Гора, Война, Тишина")),
    TitleLanguage("ja", 20, "{}と{}", "{}と{}と{}", _split_nouns(
        "海, 夜, 風, 家, 鏡, 影, 時計, 雨, 森, 女王, 庭, 街, 炎, 記憶, 橋, 月, 狼, 手紙, 夢, 山, 沈黙, 雪国")),
    TitleLanguage("zh", 10, "{}与{}", "{}、{}与{}", _split_nouns(
        "大海, 黑夜, 风, 家, 镜子, 影子, 时钟, 雨, 森林, 女王, 花园, 城市, 火焰, 记忆, 桥, 月亮, 狼, 信, 梦, 山")),
    TitleLanguage("ar", 10, "{} و{}", "{} و{} و{}", _split_nouns(
        "البحر, الليل, الريح, البيت, المرآة, الظل, الساعة, المطر, الغابة, الملكة, الحديقة, المدينة, النار, "
        "الذاكرة, الجسر, القمر, الذئب, الرسالة, الحلم, الجبل")),
    TitleLanguage("el", 5, "{} και {}", "{}, {} και {}", _split_nouns(
        "Η θάλασσα, Η νύχτα, Ο άνεμος, Το σπίτι, Ο καθρέφτης, Η σκιά, Το ρολόι, Η βροχή, Το δάσος, "
        "Η βασίλισσα, Ο κήπος, Η πόλη, Η φωτιά, Η μνήμη, Η γέφυρα, Το φεγγάρι, Ο λύκος, Το όνειρο")),
)  # fmt: skip
