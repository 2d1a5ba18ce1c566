"""The adapter group: which parameters are trained."""

from typing import Literal

from tunix_exp.schema import Config


class NoAdapterConfig(Config):
    """Every parameter of the model is trained."""

    name: Literal["none"]


AdapterConfig = NoAdapterConfig
