"""Options of the detector ``mmd``."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from luthier.foundation.schema.plugins import DetectorConfig


class Config(DetectorConfig):
    """Compare what texts are about: maximum mean discrepancy of embeddings, each direction by its own spread.

    Attributes:
        dimensions: Directions in which the reference's texts differ most; at most a tenth of its rows are used.
    """

    SOURCE: ClassVar[str] = "arXiv:0804.1026; Gretton et al. 2012, JMLR 13"

    dimensions: Annotated[int, Field(ge=1, le=256)] = 32
