"""Words, stems, prose and sentences: what retrieval, synthesis and the checks all count. Pure."""

import re
from collections.abc import Iterable

STOPWORDS = frozenset(
    re.findall(
        r"\S+",
        """
        a about above after again all also am an and any are aren't as at be because been before being below between
        both but by can could did do does doing don't down during each either else few for from further get got had
        has have having he her here hers him his how i if in into is isn't it its itself just me more most my no nor
        not of off on once one only or other our out over own really same she should so some still such than that
        the their them then there these they this those through to too under until up us use used uses using very
        was we were what when where whether which while who whom why will with would you your
        """,
    )
)
"""English words that say nothing about a passage's subject."""

WORD = re.compile(r"[^\W\d]\w*(?:'[a-z]+)?")
CAPITAL = r"A-Z\u00c0-\u00de\u0391-\u03a9\u0410-\u042f"
"""Capital letters of Latin, Greek and Cyrillic, for use inside a character class."""
_SENTENCE_END = re.compile(rf"(?<=[.!?])[\"”)]?\s+(?=[\"“(]?[{CAPITAL}0-9\"“_])")
_CODE_LINE = re.compile(r"^(?: {3,}|\t|>>>|\.\.\. |[|+#$]|[-=*~^`]{3,}|\.\. |:\w+)|::=|https?://\S+\s*$")
_ROLE = re.compile(r":[a-zA-Z:+-]+:`([^`<]+?)(?:\s*<[^>]*>)?`|`{1,2}([^`<]+?)(?:\s*<[^>]*>)?`{1,2}_{0,2}")
_MARKDOWN_IMAGE = re.compile(r"!\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])")
_MARKDOWN_LINK = re.compile(r"\[([^\]]+)\](?:\([^)]*\)|\[[^\]]*\])")
_MARKDOWN_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_TAG = re.compile(r"<!--.*?-->|</?[A-Za-z][^>]*>", re.DOTALL)
_BARE_URL = re.compile(r"<?https?://\S+>?")
_BLOCK_END = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+•]|\d+[.)])\s)")
_MIN_WORDS, _MAX_WORDS, _MIN_LETTERS = 6, 60, 0.62


def words(text: str) -> list[str]:
    """The words of `text` in lower case, in order."""
    return [word.lower() for word in WORD.findall(text)]


def stem(word: str) -> str:
    """Plural and verb endings cut off: a light suffix stemmer after Harman, "How effective is suffixing?" (1991)."""
    for ending, replacement in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) > 2 and not word.endswith("ss"):  # noqa: PLR2004 - a stem has three letters
            return (word[: -len(ending)] + replacement).rstrip("e")
    return word.rstrip("e") or word


def stems(text: str) -> set[str]:
    """The stems of the content words of `text`."""
    return {stem(word) for word in words(text) if word not in STOPWORDS and len(word) > 1}


def key_terms(text: str) -> tuple[str, ...]:
    """The content words of `text`, each stem once, in order."""
    seen: dict[str, str] = {}
    for word in words(text):
        if word not in STOPWORDS and len(word) > 1:
            seen.setdefault(stem(word), word)
    return tuple(seen.values())


def similarity(left: set[str], right: set[str]) -> float:
    """Jaccard similarity of two sets, 0 to 1; two empty sets are alike."""
    union = left | right
    return len(left & right) / len(union) if union else 1.0


def strip_markup(text: str) -> str:
    """`text` without Markdown fences, images, link targets, reStructuredText roles and HTML tags."""
    for pattern, replacement in ((_MARKDOWN_FENCE, ""), (_TAG, ""), (_MARKDOWN_IMAGE, ""), (_MARKDOWN_LINK, r"\1")):
        text = pattern.sub(replacement, text)
    text = _ROLE.sub(lambda match: match[1] or match[2], text)
    return _BARE_URL.sub("", text).replace("**", "")


def paragraphs(text: str) -> list[str]:
    """The prose paragraphs of a plain, Markdown or reStructuredText text: no code, grammar, tables or headings."""
    blocks = _BLOCK_END.split(text.replace("\r\n", "\n"))
    return [prose for block in blocks if (prose := _prose(block))]


def _prose(block: str) -> str:
    lines = [line for line in block.split("\n") if line.strip()]
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    lines = [line[indent:] for line in lines]
    if any(_CODE_LINE.search(line) for line in lines):
        return ""
    joined = re.sub(r"^(?:[-*+•]|\d+[.)])\s+", "", " ".join(" ".join(lines).split()))
    letters = sum(character.isalpha() for character in joined)
    return joined if joined and letters / len(joined) >= _MIN_LETTERS else ""


def sentences(paragraph: str) -> list[str]:
    """The complete sentences of a prose paragraph: 6 to 60 words, a capital at the start, a full stop at the end."""
    found = (part.strip() for part in _SENTENCE_END.split(paragraph))
    return [part for part in found if _complete(part)]


def _complete(sentence: str) -> bool:
    count = len(sentence.split())
    begins = sentence[:1].isupper() or sentence[:1] in "\"“'_" or sentence[:1].isdigit()
    return begins and sentence.rstrip("\"”')")[-1:] in tuple(".!?") and _MIN_WORDS <= count <= _MAX_WORDS


def count_matches(pattern: re.Pattern[str], texts: Iterable[str]) -> int:
    """How many of `texts` contain `pattern`."""
    return sum(1 for text in texts if pattern.search(text))
