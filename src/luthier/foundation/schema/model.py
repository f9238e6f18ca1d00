"""ModelChoice: which base, what it is made of, whether it may be used."""

from __future__ import annotations

from typing import ClassVar, Literal

from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.noun import Identity, Noun, Record, Witness


class ModelShape(Noun):
    """Dimensions that memory, time and method arithmetic need.

    Attributes:
        linear_shapes: Every linear layer of one decoder block as name suffix to (out, in), for example
            ``{"q_proj": (576, 576)}``; for mixtures of experts each expert's layers are counted in ``experts``.
        num_parameters: All parameters, tied ones once.
    """

    architecture: str
    num_parameters: int
    vocabulary: int
    width: int
    num_layers: int
    num_heads: int
    num_key_value_heads: int
    head_width: int
    feed_forward: int
    max_positions: int
    is_tied: bool
    num_experts: int = 0
    experts_per_token: int = 0
    sliding_window: int | None = None
    linear_shapes: dict[str, tuple[int, int]] = {}


class LicenceVerdict(Noun):
    """Whether the declared use is allowed, by which entry of the catalogue, as of when."""

    licence: str
    verdict: Literal["allowed", "denied", "unknown"]
    reason: str
    source: str = ""
    checked_on: str = ""


class ModelIdentity(Identity):
    """What the base is.

    Attributes:
        name: Catalogue name, or the folder's own.
        weights: Digest over the manifest of all model files (name and sha256, sorted).
        chat_template: Blob of the template in use, bytes exact.
        tool_template: Name of the template chosen for tools; ``own`` where the base's has a tool role.
        end_token: Text of the token that ends a turn.
        quantise: ``none`` or ``nf4``.
    """

    name: str
    weights: Digest
    shape: ModelShape
    licence: LicenceVerdict
    chat_template: Digest
    tool_template: str
    end_token: str
    quantise: str = "none"


class ModelWitness(Witness):
    """Where the files lie on this machine and where they came from."""

    path: str
    origin: str = ""
    memory_bytes: int = 0
    seconds: float = 0.0


class ModelChoice(Record[ModelIdentity, ModelWitness]):
    """Stage 2's record."""

    KIND: ClassVar[str] = "model_choice"
