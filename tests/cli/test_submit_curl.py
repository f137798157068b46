"""`genrelay jobs submit` with what a provider's documentation has: a body of its own, or a whole curl command."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.cli.curl_command import is_curl, read_curl
from service.cli.failures import Failure
from service.cli.job_files import read_job
from tests.cli.command import CommandLine, Ran, clean_environment, run
from tests.serving import serving
from tests.world import job_body, txt2img

EXAMPLES = Path(__file__).parents[2] / "examples"
URL = "https://api.novita.ai/v3/async/txt2img"
BODY = {"request": {"prompt": "a lighthouse at dawn"}}
PROVIDERS = {
    "data": [
        {"name": "one", "operations": [{"name": "a", "path": "/v3/async/txt2img"}, {"name": "b", "path": "/v3/b"}]},
        {"name": "two", "operations": [{"name": "c", "path": "/v3/b"}]},
    ]
}


def command(*parts: str) -> str:
    """Return a curl command over several lines."""
    return " \\\n".join(("curl", *parts)) + "\n"


@pytest.mark.parametrize("example", ["novita/txt2img.curl", "modelslab/text2img.curl"])
async def test_a_curl_command_out_of_the_documentation_becomes_a_job(genrelay: CommandLine, example: str) -> None:
    job = await genrelay.json("jobs", "submit", str(EXAMPLES / example), "--test", "--wait")
    provider, _, operation = example.removesuffix(".curl").partition("/")
    assert (job["provider"], job["operation"], job["status"]) == (provider, operation, "succeeded")


async def test_a_file_can_be_named_without_an_option_whatever_it_holds(genrelay: CommandLine, tmp_path: Path) -> None:
    whole, own = tmp_path / "job.json", tmp_path / "own.json"
    whole.write_text(json.dumps(job_body()))
    own.write_text(json.dumps(txt2img()))
    first, second, third = await asyncio.gather(
        genrelay.json("jobs", "submit", str(whole)),
        genrelay.json("jobs", "submit", str(own), "--provider", "novita", "--operation", "txt2img", "--test"),
        genrelay.json("jobs", "submit", "-", "--test", given=command(URL, f"-d '{json.dumps(txt2img())}'")),
    )
    assert (first["destination"], second["test"], third["operation"]) == ("acme", True, "txt2img")


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ((f"--location '{URL}'", "--header 'Content-Type: application/json'", "--data-raw '{}'"), "/v3/async/txt2img"),
        ((f"--location --request POST '{URL}'", "--data '{}'"), "/v3/async/txt2img"),
        ((f'-sSL -XPOST "{URL}/?a=b#c"', "-H 'Accept: */*'", "-d'{}'"), "/v3/async/txt2img"),
        ((f"--url {URL}", "--json '{}'", "| jq .data"), "/v3/async/txt2img"),
        (("-d @body.json", "-u me:secret", "--max-time 30", URL, "> out.json"), "/v3/async/txt2img"),
        (("--data-binary @./below/../body.json", "-o out.json", URL), "/v3/async/txt2img"),
        (("-k -m 5 -w '%{http_code}'", "http://127.0.0.1:8090/v3/b", "-d '{}'", "&& echo done"), "/v3/b"),
        (("HTTPS://api.novita.ai/v3/b", "-d '{}'; echo"), "/v3/b"),
        (("http://[::1]:8090/v3/b", "-d '{}'|jq ."), "/v3/b"),
        (("-A curl -o curl", "-x curl --preproxy curl", "https://x.example/v3/b", "-d '{}'"), "/v3/b"),
        (("https://x.example/v3/b", "-d '{}' # it's a comment"), "/v3/b"),
        (("-s > out.json 2>/dev/null", "https://x.example/v3/b", "-d '{}'"), "/v3/b"),
        (("-d '{}'", "--", "https://x.example/v3/b"), "/v3/b"),
    ],
)
def test_curl_is_read_however_it_is_written(tmp_path: Path, options: tuple[str, ...], where: str) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "body.json").write_text(json.dumps(BODY))
    said = json.dumps(BODY).replace("'", "'\\''")
    text = command(*options).replace("{}'", f"{said}'")
    for spelled in (text, f"# from the page\n\n$ {text}", text.replace("\n", "\r\n"), "\ufeff" + text):
        assert is_curl(spelled)
        found = read_curl(spelled, str(tmp_path / "page.curl"))
        assert (found.path, found.body) == (where, BODY)


@pytest.mark.parametrize(
    "before",
    [
        "KEY=x ",
        "KEY='a b' OTHER=\"$KEY\" ",
        "$ KEY=x ",
        "#!/bin/sh\nset -eu\n\n",
        "#!/usr/bin/env bash\nKEY=x # it's mine\n",
        "export KEY=x\n",
        "$ export KEY=$(cat key.txt)\n$ ",
        "export KEY=x; export OTHER='y' && ",
        "/usr/bin/",
    ],
)
def test_what_only_sets_variables_can_be_before_the_command(before: str) -> None:
    text = before + command(URL, '-H "Authorization: Bearer $KEY"', f"-d '{json.dumps(BODY)}'")
    for spelled in (text, text.replace("\n", "\r\n"), "\ufeff" + text):
        assert is_curl(spelled)
        assert read_curl(spelled, "-").body == BODY


def test_a_body_of_twenty_megabytes_is_read() -> None:
    # Takes hours when the time is quadratic.
    image = "A" * 20_000_000
    said = json.dumps({"image_base64": image})
    for quoted in (f"'{said}'", json.dumps(said)):
        text = command(URL, f"-d {quoted}")
        assert is_curl(text)
        assert read_curl(text, "-").body["image_base64"] == image


@pytest.mark.parametrize("text", ["{}", "[1]", '"curl "', "curling", "wget https://x", "", "# curl\n{}", "a curl of"])
def test_what_is_no_curl_command_is_not_taken_for_one(text: str) -> None:
    assert not is_curl(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (command(URL), "has no body"),
        (command("-d '{}'"), "names no URL"),
        (command("-d '{}'", "https://"), "can't be read"),
        (command("-d '{}'", URL, "https://elsewhere.example/v3"), "names several URLs"),
        (command("-d '{}'", "-d '{}'", URL), "several bodies"),
        (command("-d '{}", URL), "leaves a quotation mark open"),
        (command("-F image=@a.png", URL), "uses -F"),
        (command("-G -d '{}'", URL), "uses -G"),
        (command("-d @-", URL), "reads its body from standard input"),
        (command('-d "$BODY"', URL), "only a shell can read"),
        (command("--data-raw $'{\\'a\\': 1}'", URL), "only a shell can read"),
        (command('-d "{\\"prompt\\": \\"$PROMPT\\"}"', URL), "only a shell can read"),
        (command('-d "{\\"prompt\\": \\"${PROMPT}\\"}"', URL), "only a shell can read"),
        (command('-d "{\\"prompt\\": \\"$(cat prompt.txt)\\"}"', URL), "only a shell can read"),
        (command('-d "{\\"prompt\\": \\"`cat prompt.txt`\\"}"', URL), "only a shell can read"),
        (command('-d "{\\"prompt\\": \\"for $5\\"}"', URL), "only a shell can read"),
        (command('-d "{\\"prompt\\": \\"\\\\$PROMPT\\"}"', URL), "only a shell can read"),
        (command('-d \'{"prompt": "\'"$PROMPT"\'"}\'', URL), "only a shell can read"),
        (command('-d {\\"prompt\\":$PROMPT}', URL), "only a shell can read"),
        (command("-d$(cat body.json)", URL), "only a shell can read"),
        (command("-d @$FILE", URL), "only a shell can read"),
        (command("-d '[1]'", URL), "must hold a JSON object"),
        (command('-d \'{"prompt": "secret,}\'', URL), "is not JSON: line 1, column"),
        (command("-d @nowhere.json", URL), "nowhere.json can't be read: No such file"),
        (command("-d '{}'", URL) + command("-d '{}'", URL), "there are several"),
        (command("-d '{}'", URL, "| jq .\n") + "KEY=x " + command("-d '{}'", URL), "there are several"),
        (command("-d '{}'", URL, "--next", "-d '{}'", URL), "there are several"),
        (command("--data='{}'", URL), "gives --data=…, which curl does not take; write --data and its value as two"),
        (command("-d '{}'", f"--url={URL}"), "gives --url=…, which curl does not take"),
        (command("-d '{\\\n}'", URL), "has a backslash at the end of a line in the body"),
        (command('-d "{\\\\\n}"', URL), "has a backslash at the end of a line in the body"),
        (command(f"{URL}\n-d '{{}}'"), "goes on after a line that does not end with a backslash"),
        (command(f"{URL} \\ \n-d '{{}}'"), "goes on after a line that does not end with a backslash"),
        (command(f"-d '{{}}'\n'{URL}'"), "goes on after a line that does not end with a backslash"),
        (command(f"{URL}?a=1&b=2", "-d '{}'"), "ends at an & outside of quotation marks"),
        (command('-d "{"prompt": "a lighthouse"}"', URL), "is a quotation mark missing?"),
        (command("--no-such-option 1", "-d '{}'", URL), "is no option, no value and no URL"),
        (command("-d '{}'", "api.novita.ai/v3"), "names no URL that begins with https://"),
        (command("-d '{}'", "$URL"), "has a variable, a command or unquoted braces in place of an option or the URL"),
        (command("$OPTIONS", "-d '{}'", URL), "has a variable, a command or unquoted braces in place of"),
        (command("-$OPTIONS", "-d '{}'", URL), "has a variable, a command or unquoted braces in place of"),
        (command("--$OPTION", "-d '{}'", URL), "has a variable, a command or unquoted braces in place of"),
        (command('-d {\\"a\\":1,\\"b\\":2}', URL), "or unquoted braces in it"),
        (command("-d '{}'", "'https://x.example/v3/{a,b}'"), "names a URL with {…} or […]"),
        (command("-d '{}'", "'https://x.example/v3?n=[1-3]'"), "names a URL with {…} or […]"),
        (command("-d '{}'", "'https://x.example/v3\n/b'"), "can't be read"),
        (command("-K page.conf", "-d '{}'", URL), "uses -K, whose file is not read"),
        (command("-d @-", URL, "<<EOF\n{}\nEOF"), "has a here-document"),
        ("sudo " + command("-d '{}'", URL).replace(" \\\n", " "), "does not begin with curl, but with sudo"),
        ("cd below\n" + f"curl -d '{{}}' {URL}", "does not begin with curl, but with cd"),
        ("sk-secret\n" + f"curl -d '{{}}' {URL}", "does not begin with curl;"),
        (f"echo '{{}}' | curl -d @- {URL}", "does not begin with curl, but with echo"),
    ],
)
def test_a_command_that_cannot_be_used_says_why(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "page.curl"
    file.write_text(text)
    assert is_curl(text)
    with pytest.raises(Failure) as raised:
        read_curl(text, str(file))
    told = "\n".join(raised.value.lines())
    assert said in told
    assert raised.value.status == 2
    assert "secret" not in told


@pytest.mark.parametrize(
    ("body", "prompt"),
    [
        ("""'{"prompt": "$5, ${x} and `y` for $(z)"}'""", "$5, ${x} and `y` for $(z)"),
        (r'''"{\"prompt\": \"\$5, \${x} and \`y\`\"}"''', "$5, ${x} and `y`"),
        (r'''"{\"prompt\": \"5 $, or 5$\"}"''', "5 $, or 5$"),
        (r"""'{"prompt": "it'\''s $5"}'""", "it's $5"),
        (r"{\"prompt\":\"\$5\"}", "$5"),
    ],
)
def test_what_a_shell_leaves_alone_is_read_as_it_is(body: str, prompt: str) -> None:
    header = '-H "Authorization: Bearer $NOVITA_API_KEY" -H "X-Day: `date`"'
    found = read_curl(command(header, f"-d {body}", "https://$HOST/v3/b"), "-")
    assert (found.path, found.body) == ("/v3/b", {"prompt": prompt})


def test_what_comes_after_the_command_is_not_part_of_it() -> None:
    text = command(URL, "-d '{}'", "&& curl https://elsewhere.example -d '{\"a\": 1}'")
    assert read_curl(text, "-").body == {}


@given(st.text() | st.text("curl -dX@'\"\\\n{}$ https://", max_size=60).map("curl ".__add__))
def test_no_text_does_anything_but_be_read_or_refused(text: str) -> None:
    if is_curl(text):
        try:
            read_curl(text, "nowhere/page.curl")
        except Failure:
            return


async def submit_to_a_recorder(arguments: tuple[str, ...], text: str) -> tuple[Ran, list[Request], list[Any]]:
    """Run `jobs submit -` against a service that only writes down what it is sent."""
    requests: list[Request] = []
    bodies: list[Any] = []

    async def list_providers(request: Request) -> Response:
        requests.append(request)
        return JSONResponse(PROVIDERS)

    async def take(request: Request) -> Response:
        requests.append(request)
        bodies.append(await request.json())
        return JSONResponse({"title": "refused", "detail": "by the recorder"}, 422)

    routes = [Route("/v1/providers", list_providers), Route("/v1/jobs", take, methods=["POST"])]
    async with serving(Starlette(routes=routes)) as url:
        environment = clean_environment(GENRELAY_URL=url, GENRELAY_API_KEY="a-key-of-ours")
        ran = await run("jobs", "submit", "-", *arguments, environment=environment, given=text)
    return ran, requests, bodies


async def test_a_key_in_the_file_is_neither_sent_nor_shown() -> None:
    own = {"key": "sk-secret", "api_key": "sk-secret", **BODY}
    header = "-H 'Authorization: Bearer sk-secret'"
    named = ("--provider", "one", "--operation", "a")
    for arguments, text in (
        ((), command(URL, header, f"-d '{json.dumps(own)}'")),
        (named, json.dumps(own)),
        ((), json.dumps({"provider": "one", "operation": "a", "input": own})),
    ):
        ran, requests, bodies = await submit_to_a_recorder(arguments, text)
        assert bodies == [{"provider": "one", "operation": "a", "input": BODY}]
        assert "secret" not in ran.out + ran.err
        assert {request.headers["authorization"] for request in requests} == {"Bearer a-key-of-ours"}


def test_a_command_in_another_encoding_is_refused_rather_than_changed(tmp_path: Path) -> None:
    file = tmp_path / "page.curl"
    file.write_bytes(command(URL, '-d \'{"prompt": "a caf\u00e9"}\'').encode("latin-1"))
    with pytest.raises(Failure, match=r"page\.curl is not UTF-8"):
        read_job(str(file), "one", "a", list)


async def test_an_operation_is_inferred_from_the_path_or_chosen_by_options() -> None:
    both = command("http://gateway.example/v3/b", "-d '{}'")
    ambiguous, _, none = await submit_to_a_recorder((), both)
    assert ambiguous.status == 2
    assert "several operations live at /v3/b" in ambiguous.err
    assert "--provider one --operation b; --provider two --operation c" in ambiguous.err
    assert none == []
    chosen, _, [job] = await submit_to_a_recorder(("--provider", "two"), both)
    assert (chosen.status, job["operation"]) == (1, "c")
    unknown, _, none = await submit_to_a_recorder((), command("https://x.example/v3/async/task-result", "-d '{}'"))
    assert unknown.status == 2
    assert "no operation that is known lives at /v3/async/task-result" in unknown.err
    assert none == []
    _, requests, [job] = await submit_to_a_recorder(
        ("--provider", "new", "--operation", "thing"), command("https://x.example/new", "-d '{}'")
    )
    assert (job["provider"], job["operation"], len(requests)) == ("new", "thing", 1)


@pytest.mark.parametrize(
    ("arguments", "said"), [((), "which file?"), (("a.json", "--file", "b.json"), "the file is named twice")]
)
async def test_a_file_is_named_once(arguments: tuple[str, ...], said: str) -> None:
    ran = await run("jobs", "submit", *arguments, environment=clean_environment(GENRELAY_API_KEY="k"))
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err
