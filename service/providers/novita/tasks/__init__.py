"""Novita's asynchronous tasks that are documented in full, and the shape of any other.

https://novita.ai/docs/api-reference/model-apis-introduction, checked 2026-09
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.providers.novita.dialect import Dialect
from service.providers.novita.tasks.img2img import IMG2IMG
from service.providers.novita.tasks.inpainting import INPAINTING
from service.providers.novita.tasks.txt2img import TXT2IMG
from service.providers.novita.tasks.upscale import UPSCALE

TASKS: Mapping[str, Dialect] = MappingProxyType(
    {dialect.operation.name: dialect for dialect in (TXT2IMG, IMG2IMG, INPAINTING, UPSCALE)}
)
