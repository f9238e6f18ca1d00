"""Options of the detector ``rank``."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from luthier.foundation.schema.plugins import DetectorConfig


class Config(DetectorConfig):
    """Compare a number's ranks with the reference's (Mann-Whitney): lengths, confidence, log-probabilities.

    Attributes:
        quantiles: Greatest number of the reference's values that are kept; a larger reference keeps its quantiles.
    """

    SOURCE: ClassVar[str] = "Mann and Whitney 1947, Annals of Mathematical Statistics 18"

    quantiles: Annotated[int, Field(ge=64, le=65_536)] = 4096
