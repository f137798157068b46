"""Every provider there is, by its name in our API.

A new provider needs: a module in this folder whose `PROVIDER` satisfies `contract.Provider` (shapes for `checking`,
calls, readers, a table of its errors, each beside a link and the date it was checked), its settings in
`config.settings.ProvidersSettings`, its line below, and recorded samples in `tests/providers/samples/<name>/`, without
which the contract suite fails.
"""

from __future__ import annotations

from service.providers.contract import Provider
from service.providers.novita import PROVIDER as NOVITA

PROVIDERS: dict[str, Provider] = {"novita": NOVITA}
