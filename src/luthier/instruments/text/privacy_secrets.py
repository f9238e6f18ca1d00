"""Recognisers of credentials: private keys, tokens with a known prefix, addresses with a password, assigned secrets."""

from __future__ import annotations

import re
from typing import Final

from luthier.instruments.text.privacy_checks import entropy_bits
from luthier.instruments.text.privacy_pattern import Recogniser

_MIN_ENTROPY_BITS: Final = 2.5
_PLACEHOLDER = re.compile(
    r"(?i)^(?:[<\[{$%(]|\*+$|x{3,}|your|my|the|some|example|sample|dummy|placeholder|change|none|null|true|false|test$"
    r"|(?:user)?name$|pass(?:word)?$|passwd$|secret$|token$|string|os\.|process\.|env[.\[(]|getenv|config)|_here|redacted"
)
_VARIABLE_CALL = re.compile(r"[(\[].*[)\]]|\.environ|::|->")

_TOKENS: Final = (
    r"sk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{20,}",
    r"glc_[A-Za-z0-9+/=]{20,}",
    r"hf_[A-Za-z0-9]{30,}",
    r"npm_[A-Za-z0-9]{30,}",
    r"pypi-[A-Za-z0-9_-]{40,}",
    r"xai-[A-Za-z0-9_-]{40,}",
    r"gsk_[A-Za-z0-9]{30,}",
    r"pplx-[A-Za-z0-9]{30,}",
    r"nfp_[A-Za-z0-9]{30,}",
    r"NR(?:AK|AA|BR|II|IQ|RA)-[A-Za-z0-9-]{20,}",
    r"PMA[KT]-[A-Za-z0-9-]{20,}",
    r"dapi[a-f0-9]{32}(?:-\d)?",
    r"AT(?:ATT|CTT)3xF[A-Za-z0-9_=-]{20,}",
    r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
    r"sntry[su]_[A-Za-z0-9_=+/-]{20,}",
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{20,}",
    r"sq[upa]_[a-f0-9]{40}",
    r"hv[sb]\.[A-Za-z0-9_-]{20,}",
    r"dt0c01\.[A-Z0-9]{20,}\.[A-Z0-9]{40,}",
    r"ph[crs]_[A-Za-z0-9]{30,}",
    r"xkeysib-[a-f0-9-]{40,}[A-Za-z0-9-]*",
    r"tvly-[A-Za-z0-9_-]{20,}",
    r"sbp_(?:v0_)?[a-f0-9]{40}",
    r"dop_v1_[a-f0-9]{64}",
    r"LTAI[A-Za-z0-9]{12,24}",
    r"da2-[a-z0-9]{26}",
    r"oy2[a-z0-9]{43}",
    r"rubygems_[a-f0-9]{40,}",
    r"cf(?:at|ut|k)_[A-Za-z0-9]{30,}",
    r"llx-[A-Za-z0-9_-]{40,}",
    r"EAAC[A-Za-z0-9]{30,}",
    r"IGQV[A-Za-z0-9_-]{30,}",
    r"amzn\.mws\.[0-9a-f-]{36}",
    r"\d{8,10}:AA[A-Za-z0-9_-]{33}",
)
"""Tokens that a vendor's prefix and length give away."""

_ASSIGNED = re.compile(
    r"(?ix)"
    r"(?:^|[^a-z]|(?<=[a-z])(?=[A-Z]))"
    r"(?:[a-z0-9_.-]{0,30}[_.-])?"
    r"(?:password|passwd|pwd|passphrase|passcode|secret|token|credentials?|api[_-]?key|access[_-]?key|auth[_-]?key)"
    r"(?:[_-][a-z0-9_-]{0,20})?[\"']?"
    r"\s{0,3}(?:=>|:=|[=:]|\bis\b:?)\s{0,3}"
    r"(?P<quote>[\"'`]?)(?P<value>[^\s\"'`,;<>]{6,200}?)(?=(?P=quote)(?:[\s\"'`,;<>]|[.)]?(?:\s|$)|$))"
)


def is_secret_value(value: str) -> bool:
    """Tell whether an assigned value is a real secret: no placeholder or variable, mixed characters, enough entropy."""
    classes = sum(re.search(each, value) is not None for each in (r"[a-z]", r"[A-Z]", r"\d", r"[^A-Za-z0-9]"))
    return (
        _PLACEHOLDER.search(value) is None
        and _VARIABLE_CALL.search(value) is None
        and classes >= 2
        and re.search(r"\d|[!#$%&*@^~+=]", value) is not None
        and entropy_bits(value) >= _MIN_ENTROPY_BITS
    )


def _has_real_password(url: str) -> bool:
    password = url.split("://", 1)[1].rsplit("@", 1)[0].split(":", 1)[1]
    return _PLACEHOLDER.search(password) is None


def _prefixed(kind: str, pattern: str, *hints: str) -> Recogniser:
    return Recogniser(kind, re.compile(rf"(?<![A-Za-z0-9_-])(?:{pattern})(?![A-Za-z0-9])"), hints=hints)


SECRETS: Final[tuple[Recogniser, ...]] = (
    Recogniser(
        "private_key",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:(?!-----BEGIN).)*?(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|\Z)",
            re.DOTALL,
        ),
        hints=("private key",),
    ),
    Recogniser(
        "url_credentials",
        re.compile(
            r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>]{0,100}:[^\s/@\"'<>]{1,200}@[^\s\"'<>]{1,200}(?<![.,;:!?)\]}])",
            re.IGNORECASE,
        ),
        hints=("://",),
        accept=_has_real_password,
    ),
    Recogniser(
        "jwt",
        re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{4,}\.[\w-]{10,}(?![\w-])"),
        hints=("eyj",),
    ),
    _prefixed("aws_access_key", r"(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA|A3T[A-Z0-9])[A-Z0-9]{16}",
        "akia", "asia", "agpa", "aida", "aroa", "anpa", "anva", "a3t"),
    _prefixed("github_token", r"gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}", "gh", "github_pat"),
    _prefixed("gitlab_token", r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|soat|agent|oas|ffct)-[A-Za-z0-9_.-]{20,300}", "gl"),
    _prefixed("stripe_key", r"(?:sk|pk|rk)_(?:live|test|prod)_[A-Za-z0-9]{10,250}", "_live_", "_test_", "_prod_"),
    _prefixed("slack_token", r"xox[abeoprs]-[A-Za-z0-9-]{10,250}|xapp-[A-Za-z0-9-]{10,250}", "xox", "xapp-"),
    _prefixed(
        "google_key", r"AIza[0-9A-Za-z_-]{35}|GOCSPX-[\w-]{20,}|ya29\.[\w-]{20,}|1//0[\w-]{20,}",
        "aiza", "gocspx-", "ya29.", "1//0",
    ),
    Recogniser(
        "api_key",
        re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(_TOKENS)})(?![A-Za-z0-9])"),
        hint=re.compile(r"[A-Za-z0-9_.+/=-]{16}"),
    ),
    Recogniser(
        "password",
        _ASSIGNED,
        hints=("passw", "pwd", "passphrase", "passcode", "secret", "token", "credential", "key"),
        accept=is_secret_value,
    ),
)  # fmt: skip
"""Each row finds one kind; several rows may share a kind."""
