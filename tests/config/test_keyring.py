"""The secret that the service makes for itself, when it has no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.loading import SettingsError, load_settings
from service.configured import make_keyring


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    settings = load_settings({"GENRELAY_DATA_DIR": str(tmp_path)})
    first, second = make_keyring(settings), make_keyring(settings)
    assert second.decrypt(first.encrypt("a secret")) == "a secret"
    [made] = tmp_path.iterdir()
    assert made.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", ["", "short", "\n" * 40])
def test_a_secret_file_that_was_never_written_whole_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret_key").write_text(content)
    with pytest.raises(SettingsError, match="secret_key"):
        make_keyring(load_settings({"GENRELAY_DATA_DIR": str(tmp_path)}))
