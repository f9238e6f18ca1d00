"""Which characters have no shape, which spaces are odd, which letters imitate Latin ones."""

from __future__ import annotations

import re
from typing import Final


def _one_of(*ranges: tuple[int, int]) -> str:
    return "".join(chr(first) if first == last else f"{chr(first)}-{chr(last)}" for first, last in ranges)


CONTROL: Final = _one_of((0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x84), (0x86, 0x9F))
ZERO_WIDTH: Final = _one_of(
    (0xAD, 0xAD), (0x034F, 0x034F), (0x061C, 0x061C), (0x180E, 0x180E), (0x200B, 0x200D), (0x2060, 0x2064),
    (0x206A, 0x206F), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB),
)  # fmt: skip
FILLER: Final = _one_of((0x115F, 0x1160), (0x3164, 0x3164), (0xFFA0, 0xFFA0))
BIDI: Final = _one_of((0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069))
VARIATION: Final = _one_of((0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
TAG: Final = _one_of((0xE0000, 0xE007F))
SPACE: Final = _one_of(
    (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x202F, 0x202F), (0x205F, 0x205F), (0x2800, 0x2800),
    (0x3000, 0x3000),
)  # fmt: skip
LINE_END: Final = _one_of((0x0D, 0x0D), (0x85, 0x85), (0x2028, 0x2029))

KIND_OF: Final[dict[str, str]] = {
    "control": CONTROL,
    "zero_width": ZERO_WIDTH + FILLER,
    "bidi": BIDI,
    "variation": VARIATION,
    "tag": TAG,
    "space": SPACE,
    "line_end": LINE_END,
}
SUSPECT: Final = re.compile("[" + "".join(KIND_OF.values()) + "]")
CLASSES: Final[dict[str, re.Pattern[str]]] = {kind: re.compile(f"[{span}]") for kind, span in KIND_OF.items()}

JOINING_SCRIPT: Final = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\u1a20-\u1bff\ua800-\uabff\ufb50-\ufdff\ufe70-\ufeff]"
)
"""Scripts in which a joiner or non-joiner changes how letters look: Arabic, Syriac, Indic, Khmer, Mongolian."""

RIGHT_TO_LEFT: Final = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
CJK: Final = re.compile("[\u2e80-\u2fdf\u3040-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
JAMO: Final = re.compile("[\u1100-\u115e\u1161-\u11ff]")
BRAILLE: Final = re.compile("[\u2801-\u28ff]")
OVERRIDES: Final = "\u202d\u202e"
FLAG: Final = re.compile("\U0001f3f4[\U000e0061-\U000e007a]{4,6}\U000e007f")
"""A subdivision flag, the one lawful use of tag characters (UTS 51)."""

MIXED_WORD: Final = re.compile(r"[^\W\d_]*(?:[A-Za-z][\u0370-\u04ff]|[\u0370-\u04ff][A-Za-z])[^\W\d_]*")
LOOKALIKES: Final[dict[int, str]] = dict(
    zip(
        map(ord, "аеорсухіјѕԁһԛԝАВЕКМНОРСТУХІЈЅԌΑΒΕΖΗΙΚΜΝΟΡΤΥΧοιν"),  # noqa: RUF001  the point of it
        "aeopcyxijsdhqwABEKMHOPCTYXIJSGABEZHIKMNOPTYXoiv",
        strict=True,
    )
)
"""Source: UTS 39 confusables, the single letters that most fonts draw alike."""
