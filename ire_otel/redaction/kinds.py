r"""What a secret looks like: one pattern a kind.

Patterns are RE2's (no look-around, no back-references), and each has exactly one group: the secret, all that is taken
out. Attribute values are often JSON, at times JSON inside JSON, and are looked at as they stand: so a token may follow
an escape (`\n`), a quote may have backslashes before it, and no secret may end inside an escape or hold a bare `"`.
"""

from collections.abc import Callable
from typing import Final, NamedTuple


class Kind(NamedTuple):
    """One kind of secret."""

    name: str
    """What the mark says."""
    pattern: str
    counts: Callable[[str], bool] | None = None
    """Tells whether what was found is worth taking out; None: it always is."""


MARK: Final = "[redacted:{}]"
"""What is left of a secret: its kind, and neither its length nor a hash. Holds nothing that JSON would escape."""

_START: Final = r"(?:\A|[^A-Za-z0-9\\]|\\(?:[bfnrt]|u[0-9A-Fa-f]{4}))"
"""Before a token: no letter or digit, or a JSON escape that ends in one. No backslash: `\\r8_` begins with a CR."""
_WORD: Final = r"[A-Za-z0-9_-]"
_LINE_BREAK: Final = r"(?:[ \t\r\n]|\\+[nrt])"
_BASE64: Final = r"(?:[A-Za-z0-9+/=]|\\+[nrtu/])"
_BEARER: Final = r"(?:[A-Za-z._~+/=-]|\\+/|\\+u00[0-9A-Fa-f]{2})"
_BARE: Final = r"""(?:[^0-9 \t\r\n"'`\\,;&|<>{}()\[\]\x00]|\\+(?:/|u[0-9A-Fa-f]{4}))"""
"""Of a value without quotes, one character that is no digit."""
_BARE_VALUE: Final = rf"{_BARE}{{0,31}}[0-9](?:[0-9]|{_BARE})*"
"""A value without quotes. Ordinary words have no digits, secrets have one among their first characters."""

STRONG_NAMES: Final = (
    r"(?i:pass(?:word|wd|phrase)|[;_]pwd|authorization|(?:api|account|signing|encryption|subscription|private|master)[_-]?key"
    r"|(?:client|app|shared|webhook)[_-]?secret|secret[_-]?key(?:[_-]?base)?|(?:secret[_-]?)?access[_-]?key"
    r"|service[_-]?(?:role[_-]?)?key|(?:access|auth|authentication|refresh|bearer|session|security|id)[_-]?token)"
    r"|[A-Z0-9]_(?:TOKEN|SECRET)"
)
"""Names whose values are secrets."""
WEAK_NAMES: Final = r"(?i:token)"
"""Names whose values may be: a token is also a word, a count, a place in a list."""


def is_secret(value: str) -> bool:
    """Tell whether the value of a name like `password` is more than a word about it ("required", "string")."""
    return len(value) >= _SHORTEST and not _is_word(value) and not value.startswith(MARK[:10])


def is_long_secret(value: str) -> bool:
    """Tell whether the value of a name like `token` is a credential: long, of letters and digits, without blanks."""
    return (
        len(value) >= _SHORTEST_OF_WEAK
        and is_secret(value)
        and any(map(str.isdigit, value))
        and any(map(str.isalpha, value))
        and not any(map(str.isspace, value))
    )


def _is_word(value: str) -> bool:
    return len(value) <= _LONGEST_WORD and value.isalpha() and (value[1:].islower() or value.isupper())


_SHORTEST: Final = 6
_SHORTEST_OF_WEAK: Final = 16
_LONGEST_WORD: Final = 20


def _token(name: str, prefix: str, rest: str, end: str = "") -> Kind:
    return Kind(name, f"{_START}({prefix}{rest}){end}")


_PRIVATE_KEY: Final = Kind(
    "private-key",
    r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:"
    r'(?:[^-"\\]|\\+[^-"\\]|-{1,4}[^-"\\])*-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----'
    # Cut off before its end: what looks like the key.
    rf"|{_LINE_BREAK}*(?:[A-Za-z-]+: [^\r\n\"\\]*{_LINE_BREAK}+)*{_BASE64}{{32,}}(?:{_BASE64}|{_LINE_BREAK})*))",
)

TOKENS: Final = (
    _token("anthropic-key", "sk-ant-", rf"{_WORD}{{16,}}"),
    _token("openai-key", "sk-", rf"(?:(?:proj|svcacct|admin|None|or-v1|lf)-{_WORD}{{16,}}|[A-Za-z0-9]{{20,}})"),
    _token("aws-access-key-id", "(?:AKIA|ASIA)", r"[A-Z0-9]{16}", r"\b"),
    _token("google-api-key", "AIza", rf"{_WORD}{{30,}}"),
    _token("google-oauth-secret", "(?:GOCSPX-|ya29\\.)", rf"{_WORD}{{20,}}"),
    _token("github-token", "(?:gh[opsur]_|github_pat_)", r"[A-Za-z0-9_]{20,}"),
    _token("gitlab-token", "gl(?:pat|cbt|dt|ft|oas|ptt|rt|soat)-", r"[A-Za-z0-9_.-]{16,}"),
    _token("slack-token", "(?:xox[abeoprs]|xapp)-", r"[A-Za-z0-9.-]{10,}"),
    Kind("slack-webhook", r"hooks\.slack\.com\\*/services\\*/([A-Za-z0-9]+(?:\\*/[A-Za-z0-9]+){2})"),
    _token("stripe-key", "(?:[rs]k_(?:live|test)|whsec)_", r"[A-Za-z0-9]{10,}"),
    _token("hugging-face-token", "hf_", r"[A-Za-z0-9]{20,}"),
    _token("supabase-key", "(?:sb_secret_|sbp_)", rf"{_WORD}{{16,}}"),
    _token("tavily-key", "tvly-", rf"{_WORD}{{16,}}"),
    _token("perplexity-key", "pplx-", r"[A-Za-z0-9]{20,}"),
    _token("groq-key", "gsk_", r"[A-Za-z0-9]{20,}"),
    _token("xai-key", "xai-", r"[A-Za-z0-9]{20,}"),
    _token("replicate-token", "r8_", r"[A-Za-z0-9]{20,}"),
    _token("firecrawl-key", "fc-", r"[0-9a-f]{32}", r"\b"),
    _token("jina-key", "jina_", rf"{_WORD}{{30,}}"),
    _token("langsmith-key", "lsv2_", r"[a-z]{2}_[A-Za-z0-9_]{20,}"),
    _token("sendgrid-key", "SG\\.", rf"{_WORD}{{16,}}\.{_WORD}{{16,}}"),
    _token("npm-token", "npm_", r"[A-Za-z0-9]{30,}"),
    _token("pypi-token", "pypi-", rf"{_WORD}{{30,}}"),
    _token("jwt", "eyJ", rf"{_WORD}{{8,}}(?:\.{_WORD}*){{0,2}}\.{_WORD}{{8,}}(?:\.{_WORD}+)*"),
    _PRIVATE_KEY,
)
"""Secrets that show by themselves what they are."""

_URL_PASSWORD: Final = Kind(
    "url-password",
    r':(?:\\*/){2}[^ \t\r\n/:@"\\<>\x00]*:'
    r'((?:[^ \t\r\n/"\\<>?#\x00]|\\+[^ \t\r\n/"\\<>?#\x00bfnrt])+)@',
)
_AUTHORIZATION: Final = (
    Kind(
        "authorization",
        r"""(?i:authorization)(?:\\*["'])?[ \t]*[:=][ \t]*(?:\\*["'])?(?i:bearer|basic|token|apikey|negotiate)[ \t]+"""
        rf"((?:[0-9]|{_BEARER})+)",
        is_secret,
    ),
    Kind(
        "authorization",
        rf"\b(?i:bearer)[ \t]+({_BEARER}{{0,31}}[0-9](?:[0-9]|{_BEARER})*)",
        is_long_secret,
    ),
)


def _assigned(names: str, bare: str, counts: Callable[[str], bool]) -> tuple[Kind, ...]:
    """Give what finds the values of `names`, in JSON, in JSON inside JSON, in code and in plain text.

    bare: name and separator before a value without quotes.
    """
    colon, separator = r"[ \t\r\n]*:[ \t\r\n]*", r"[ \t]*(?::|=>?)[ \t]*"
    patterns = (
        rf'(?:{names})"{colon}"((?:[^"\\]|\\[^\n])*)',
        # JSON inside JSON; then what is inside that, as far as its next quote.
        rf'(?:{names})\\"{colon}\\"((?:[^"\\]|\\[^"\\]|\\\\(?:[^"\\]|\\["\\]))*)',
        rf'(?:{names})\\{{3,}}"{colon}\\{{3,}}"((?:[^"\\]|\\+[^"\\])*)',
        rf"(?:{names})'?{separator}'((?:[^'\"\\\n]|\\+[^'\"\\])*)",
        # A quote that ends a JSON string ("the password:", …) has no such character behind it.
        rf'(?:{names}){separator}\\*"([^ \t\r\n,}}\]:"\\](?:[^"\\]|\\+[^"\\])*)',
        rf"(?:{bare})[ \t]*({_BARE_VALUE})",
    )
    return tuple(Kind("secret", pattern, counts) for pattern in patterns)


KINDS: Final = (
    *_AUTHORIZATION,
    *_assigned(rf"{STRONG_NAMES}|(?i:secret)", rf"(?:{STRONG_NAMES})[ \t]*[:=]|(?i:secret)[ \t]*=", is_secret),
    *_assigned(WEAK_NAMES, r"(?i:token|(?:api|access|secret) key)[ \t]*[:=]|(?i:secret)[ \t]*:", is_long_secret),
    *TOKENS,
    _URL_PASSWORD,
)
"""Everything that is looked for. Of two that begin at the same place, the first counts."""
