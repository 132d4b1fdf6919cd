"""What the immutable values of the public interface are made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

Metadata = dict[str, Any]


class Value(BaseModel):
    """A value that doesn't change after it was made, and refuses fields that it doesn't have."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )
