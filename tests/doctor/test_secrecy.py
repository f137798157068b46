"""No secret is in what the doctor says, wherever it was given and whoever repeats it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import quote

from hypothesis import Phase, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from service.doctor import as_json, examine
from service.doctor.redaction import make_redaction
from tests.doctor.looking import settings
from tests.listening import http_answer, listening

SECRETS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"\\,'"), min_size=20, max_size=60
)
_NAMES = (
    "GENRELAY_SECRET_KEY",
    "GENRELAY_BOOTSTRAP_API_KEY",
    "GENRELAY_PROVIDERS__NOVITA__API_KEY",
    "GENRELAY_PROVIDERS__MODELSLAB__API_KEY",
    "GENRELAY_SPOOL__SECRET_ACCESS_KEY",
    "GENRELAY_SPOOL__ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GENRELAY_API_KEY",
)


@given(st.sampled_from(_NAMES), SECRETS, st.text(max_size=50), st.text(max_size=50))
def test_a_secret_of_the_environment_is_taken_out_of_any_text(name: str, secret: str, before: str, after: str) -> None:
    redact = make_redaction({name: secret})
    assert secret not in redact(f"{before}{secret}{after}")


@given(st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=8, max_size=30))
def test_the_password_in_a_url_is_taken_out_alone_too(password: str) -> None:
    redact = make_redaction({"GENRELAY_DATABASE_URL": f"postgresql://me:{password}@db.example.com/none"})
    assert password not in redact(f"no user with {password} here")


def test_secrets_in_files_and_in_toml_are_taken_out_too(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("the-key-in-a-file\n")
    (tmp_path / "toml").write_text(
        '[providers.novita]\napi_key = "the-key-in-the-toml"\nbase_url = "https://good.example"\n'
    )
    (tmp_path / "secret_key").write_text("the-key-in-the-data-folder-and-more")
    redact = make_redaction(
        {
            "GENRELAY_PROVIDERS__NOVITA__API_KEY_FILE": str(tmp_path / "key"),
            "GENRELAY_CONFIG": str(tmp_path / "toml"),
            "GENRELAY_DATA_DIR": str(tmp_path),
        }
    )
    text = "the-key-in-a-file the-key-in-the-toml the-key-in-the-data-folder-and-more https://good.example"
    assert redact(text) == "[secret] [secret] [secret] https://good.example"


# One example takes a second, and a smaller one would say no more.
@profile(max_examples=3, phases=(Phase.generate,))
@given(st.lists(SECRETS.map(lambda text: f"{text}-and-thirty-two-of-them"), min_size=7, max_size=7, unique=True))
def test_nothing_that_is_said_holds_a_planted_secret(planted: list[str]) -> None:
    """Everybody who is asked repeats all secrets, in all that an answer has."""
    novita, modelslab, one, other, password, spool, own = planted
    repeated = " ".join(planted)

    async def run() -> str:
        async def repeat(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            body = json.dumps({"reason": repeated, "message": repeated, "status": "error", "type": repeated}).encode()
            writer.write(http_answer(403, body, "Content-Type: application/json", f"Location: https://x/{repeated}"))
            await writer.drain()

        async with listening(repeat) as server:
            url = f"http://127.0.0.1:{server.port}"
            environ = settings(
                f"postgresql://me:{quote(password, safe='')}@127.0.0.1:9/none",
                GENRELAY_PUBLIC_URL=url,
                GENRELAY_SECRET_KEY=f"{one},{other}",
                GENRELAY_PROVIDERS__NOVITA__API_KEY=novita,
                GENRELAY_PROVIDERS__NOVITA__BASE_URL=url,
                GENRELAY_PROVIDERS__MODELSLAB__API_KEY=modelslab,
                GENRELAY_PROVIDERS__MODELSLAB__BASE_URL=url,
                GENRELAY_BOOTSTRAP_API_KEY=own,
                GENRELAY_SPOOL__BUCKET="a-spool",
                GENRELAY_SPOOL__ENDPOINT_URL=url,
                GENRELAY_SPOOL__ACCESS_KEY_ID="AKIAEXAMPLE",
                GENRELAY_SPOOL__SECRET_ACCESS_KEY=spool,
            )
            return json.dumps(as_json(await examine(environ)))

    said = asyncio.run(run())
    for secret in planted:
        assert json.dumps(secret)[1:-1] not in said


async def test_settings_that_can_t_be_used_are_told_without_their_secrets() -> None:
    environ = {
        "GENRELAY_DATABASE_URL": "mysql://me:hunter2-hunter2@db/none",
        "GENRELAY_SECRET_KEY": "short-but-secret",
        "GENRELAY_BOOTSTRAP_API_KEY": "with blanks and so not good",
        "GENRELAY_PROVIDERS__NOVITA__API_KEY_FILE": "/no/such/file",
    }
    said = json.dumps(as_json(await examine(environ)))
    for secret in ("hunter2", "short-but-secret", "with blanks"):
        assert secret not in said
    assert '"ok": false' in said
