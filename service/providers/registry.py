"""Every provider there is, by its name in our API. How to add one: docs/adding-a-provider.md."""

from __future__ import annotations

from service.providers.contract import Provider
from service.providers.modelslab import PROVIDER as MODELSLAB
from service.providers.novita import PROVIDER as NOVITA

PROVIDERS: dict[str, Provider] = {"novita": NOVITA, "modelslab": MODELSLAB}
