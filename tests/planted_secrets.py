"""Secrets of every kind, made up, and the texts that hold them; and texts that hold none though they look like it."""

import base64
import json
import random
import string
from typing import Final, NamedTuple

_random = random.Random(7)  # noqa: S311 # made up, and the same every time
_LETTERS: Final = string.ascii_letters + string.digits


class Planted(NamedTuple):
    """One secret."""

    kind: str
    """What its mark says where it stands by itself."""
    secret: str
    text: str
    """A text with the secret in it."""


def _made(length: int, letters: str = _LETTERS) -> str:
    return "".join(_random.choices(letters, k=length - 1)) + "7"


def _part(content: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _private_key(kind: str, lines: int) -> str:
    body = "\n".join(_made(64, _LETTERS + "+/") for _ in range(lines))
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----"


_JWT: Final = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part({'sub': '1', 'roles': ['x'] * 120})}.{_made(342)}"
_HEX: Final = "0123456789abcdef"

_TOKENS: Final = {
    "openai-key": ["sk-" + _made(48), "sk-proj-" + _made(60, _LETTERS + "-_"), "sk-or-v1-" + _made(64, _HEX)],
    "anthropic-key": ["sk-ant-" + "api03-" + _made(93, _LETTERS + "-_")],
    "aws-access-key-id": ["AKIA" + _made(16, string.ascii_uppercase + string.digits)],
    "google-api-key": ["AIza" + _made(35, _LETTERS + "-_")],
    "google-oauth-secret": ["GOCSPX-" + _made(28)],
    "github-token": ["ghp_" + _made(36), "gho_" + _made(36), "ghs_" + _made(36), "github_pat_" + _made(82)],
    "gitlab-token": ["glpat-" + _made(20, _LETTERS + "-_")],
    "slack-token": ["xoxb-" + f"{_made(12, string.digits)}-{_made(12, string.digits)}-{_made(24)}"],
    "stripe-key": ["sk_live_" + _made(24), "rk_live_" + _made(24)],
    "hugging-face-token": ["hf_" + _made(34, string.ascii_letters)],
    "supabase-key": ["sb_secret_" + _made(31, _LETTERS + "_"), "sbp_" + _made(40, _HEX)],
    "tavily-key": ["tvly-dev-" + _made(32)],
    "perplexity-key": ["pplx-" + _made(48)],
    "groq-key": ["gsk_" + _made(52)],
    "xai-key": ["xai-" + _made(80)],
    "replicate-token": ["r8_" + _made(37)],
    "firecrawl-key": ["fc-" + _made(32, _HEX)],
    "jina-key": ["jina_" + _made(60, _LETTERS + "_-")],
    "langsmith-key": ["lsv2_pt_" + _made(32, _HEX) + "_" + _made(10, _HEX)],
    "sendgrid-key": ["SG." + f"{_made(22)}.{_made(43)}"],
    "npm-token": ["npm_" + _made(36)],
    "pypi-token": ["pypi-" + _made(150, _LETTERS + "-_")],
    "jwt": [_JWT],
    "private-key": [_private_key("RSA PRIVATE KEY", 25), _private_key("OPENSSH PRIVATE KEY", 6)],
}
_ASSIGNED: Final = {
    "secret": [
        ("{}", "db_password={} sslmode=require"),
        ("{}", "export SERPER_API_KEY={}; run"),
        ("{}", '{{"client_secret": "{}", "scope": "read"}}'),
        ("{}", "{{'api_key': '{}'}}"),
        ("{}", "aws_secret_access_key = {}"),
        ("{}", "access_token: {}"),
        ("{}", "https://api.example.com/v1?apikey={}&q=robots"),
        ("{}", "Server=db;Uid=ire;Pwd={};"),
        ("{}", "token: {} in the log"),
    ],
    "url-password": [
        ("{}", "postgresql://ire:{}@db.example.org:5432/ire"),
        ("{}", "redis://:{}@cache:6379/0 was slow"),
        ("p@{}!", "mongodb+srv://ire:{}@c0.example.net/?w=1"),
    ],
    "slack-webhook": [
        ("T0A1B2C3D/B0A1B2C3D/{}", "post to https://hooks.slack.com/services/{} when done"),
    ],
    "authorization": [
        ("{}", "Authorization: Bearer {}"),
        ("{}", 'curl -H "authorization: Basic {}" https://example.com'),
        ("{}", "sent 'Bearer {}' twice"),
    ],
}

TOKENS: Final = [
    Planted(kind, secret, f"the answer was {secret}, which is odd")
    for kind, secrets in _TOKENS.items()
    for secret in secrets
]
"""Secrets that show by themselves what they are."""
ASSIGNED: Final = [
    Planted(kind, secret, text.format(secret))
    for kind, given in _ASSIGNED.items()
    for form, text in given
    for secret in [form.format(_made(32))]
]
"""Secrets that show by what stands round them."""
PLANTED: Final = [*TOKENS, *ASSIGNED]

HARMLESS: Final = [
    "Input tokens: 45000, output_tokens: 3800, max_tokens=128000, total_tokens: 48800",
    "password: required. Password: at least 12 characters; the token was spent. secret: GPT-4o-mini",
    '{"password": "required", "token": "running", "secret": "unknown", "api_key": null, "tokens": [1, 2, 3]}',
    "task-force, risk-averse, desk-research, sk-learn, sk-SK, disk-encryption-at-rest-for-everyone-2025",
    "https://medium.com/@author/why-cobots-win-9f8e7d6c5b4a and http://host:8080/path?mail=a@example.org#top",
    "doi:10.1145/3442188.3445922 sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "f81d4fae-7dec-11d0-a765-00a0c91e6bf6 trc_20260213_a1b2c3d4e5f60718 4bf92f3577b34da6a3ce929d0e0e4736",
    "Bearer bonds; the bearer of this letter; basic authentication; Authorization: Bearer authentication",
    "a PEM file begins with -----BEGIN PRIVATE KEY----- and ends with -----END",
    "api_key=settings.api_key, password=config.get('db1'), token=os.environ['TOKEN_1'], pwd=/home/user2",
    "eyJ is how a JWT begins; hf_transfer and npm_config_registry are settings; SG.1 and AIza are not keys",
    '["password:",12345678,90123456,"next"]',
    '{"question":"What is the password?","a":"secret=","b":"9a8b7c6d5e4f"}',
    "next_page_token=45000 session: 2024-2025, key findings: 14.2 % growth, Q3-2025; author: O'Brien 'et al.'",
    "Ratio 3:1 at 10:30, ftp://example.com/a:b@c, C:\\task\\new\\rubric.txt, file:///tmp/x:1@2",
]
"""What research texts hold."""
