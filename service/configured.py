"""What the settings come to, before anything is started: our keys, and the providers with the operator's word on them."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from config.loading import SettingsError
from config.providers import OperationSettings, ProviderSettings
from config.settings import PREFIX, Settings
from service.crypto import Keyring
from service.providers.contract import OperationConfig, Provider
from service.providers.registry import PROVIDERS


def make_keyring(settings: Settings) -> Keyring:
    """Return the keys from the settings, or from a secret made once and kept in the data folder."""
    if settings.secret_key:
        return Keyring([key.get_secret_value() for key in settings.secret_key])
    path = Path(settings.data_dir).expanduser() / "secret_key"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _write_once(path, secrets.token_urlsafe(48))
    found = path.read_text(encoding="utf-8").strip()
    if len(found) < 32:
        raise SettingsError(f"{path}: holds fewer than 32 characters; put the secret back, or set GENRELAY_SECRET_KEY")
    return Keyring([found])


def _write_once(path: Path, text: str) -> None:
    """Make a file that nobody ever sees half written; whoever comes second leaves the first one's alone."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def configured_providers(settings: Settings) -> dict[str, Provider]:
    """Return every provider with the operator's word on its operations; raises SettingsError."""
    found: dict[str, Provider] = {}
    mistakes: list[str] = []
    for name, provider in PROVIDERS.items():
        given: ProviderSettings = getattr(settings.providers, name)
        try:
            found[name] = provider.configured({key: _config(said) for key, said in given.operations.items()})
        except ValueError as error:
            mistakes.append(f"{PREFIX}PROVIDERS__{name.upper()}__OPERATIONS: {error}")
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return found


def _config(said: OperationSettings) -> OperationConfig:
    outputs = None if said.outputs is None else tuple(said.outputs)
    return OperationConfig(said.enabled, said.path, said.webhook, outputs)
