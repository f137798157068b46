"""The document as a page for people: HTML without scripts, which loads nothing.

A viewer in JavaScript is a megabyte of somebody else's code beside everybody's API keys; this one has nothing to run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--link:light-dark(#0b57d0,#8ab4f8)}
*{box-sizing:border-box}
body{margin:0 auto;max-width:76rem;padding:1rem;font:15px/1.5 system-ui,sans-serif;display:grid;gap:2rem;\
grid-template-columns:17rem minmax(0,1fr)}
nav{position:sticky;top:0;align-self:start;max-height:100vh;overflow:auto;font-size:13px;padding:.5rem 0}
nav ul{list-style:none;margin:0 0 .8rem;padding:0}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
section{border-top:1px solid var(--line);padding:.5rem 0 1.5rem}
h3{margin:.6rem 0 .2rem;font-size:1.05rem}h4{margin:.9rem 0 .2rem}
code,pre{font:13px/1.45 ui-monospace,monospace;background:var(--soft);border-radius:3px}
code{padding:.05rem .25rem;overflow-wrap:anywhere}pre{padding:.7rem;overflow:auto;max-height:30rem}
table{border-collapse:collapse;width:100%;margin:.3rem 0}
td,th{border-bottom:1px solid var(--line);padding:.25rem .5rem .25rem 0;text-align:left;vertical-align:top}
b.method{display:inline-block;min-width:4.2rem;font:600 13px ui-monospace,monospace}
summary{cursor:pointer}small{opacity:.75}
@media(max-width:50rem){body{display:block}nav{position:static;max-height:none}}
"""
STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
Node = dict[str, Any]


def render_page(document: Node) -> str:
    """Return the document as one HTML page."""
    info = document["info"]
    body = [f"<h1>{_text(info['title'])} <small>{_text(info['version'])}</small></h1>", _prose(info["description"])]
    body.append('<p>For programs: <a href="openapi.json">openapi.json</a></p>')
    for tag in document["tags"]:
        body.append(f"<h2>{_text(tag['name'])}</h2>{_prose(tag['description'])}")
        body += [_operation(document, *each) for each in _of_tag(document, tag["name"])]
    body.append("<h2>Schemas</h2>")
    body += [_schema_section(name, found) for name, found in document["components"]["schemas"].items()]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(info['title'])}: HTTP interface</title><style>{_STYLE}</style></head>"
        f"<body>{_navigation(document)}<main>{''.join(body)}</main></body></html>\n"
    )


def _of_tag(document: Node, tag: str) -> Iterator[tuple[str, str, Node]]:
    for part in ("paths", "webhooks"):
        for path, methods in document[part].items():
            yield from ((method.upper(), path, said) for method, said in methods.items() if tag in said["tags"])


def _navigation(document: Node) -> str:
    lists = []
    for tag in document["tags"]:
        entries = (
            f'<li><a href="#{said["operationId"]}">{_text(said["summary"])}</a></li>'
            for _, _, said in _of_tag(document, tag["name"])
        )
        lists.append(f"<strong>{_text(tag['name'])}</strong><ul>{''.join(entries)}</ul>")
    return f"<nav>{''.join(lists)}</nav>"


def _operation(document: Node, method: str, path: str, said: Node) -> str:
    parts = [
        f'<section id="{said["operationId"]}"><h3>{_text(said["summary"])}</h3>',
        f'<p><b class="method">{method}</b> <code>{_text(path)}</code></p>{_prose(said["description"])}',
    ]
    rows = [
        (
            f"<code>{_text(each['name'])}</code><br><small>{each['in']}</small>",
            _type(each["schema"]),
            each["description"],
        )
        for each in said.get("parameters", ())
    ]
    parts.append(_table("Parameters", [(name, kind, _prose(description)) for name, kind, description in rows]))
    if "requestBody" in said:
        parts += ["<h4>Body</h4>", *_content(said["requestBody"]["content"])]
    answers = [
        (f"<code>{status}</code>", _prose(found["description"]) + "".join(_content(found.get("content", {}))))
        for status, found in ((status, _resolve(document, each)) for status, each in said["responses"].items())
    ]
    return "".join([*parts, _table("Answers", answers), "</section>"])


def _resolve(document: Node, node: Node) -> Node:
    if "$ref" not in node:
        return node
    found = document
    for name in node["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def _content(content: Node) -> Iterator[str]:
    for kind, media in content.items():
        yield f"<p><small>{_text(kind)}</small> {_type(media['schema'])}</p>"
        shown = {"Example": media["example"]} if "example" in media else {}
        shown |= {name: each["value"] for name, each in media.get("examples", {}).items() if "value" in each}
        for name, value in shown.items():
            pretty = json.dumps(value, indent=2, ensure_ascii=False)
            yield f"<details><summary>{_text(name)}</summary><pre>{_text(pretty)}</pre></details>"


def _schema_section(name: str, schema: Node) -> str:
    rows = [
        (
            f"<code>{_text(field)}</code>"
            + ("" if field in schema.get("required", ()) else "<br><small>optional</small>"),
            _type(found),
            _prose(found.get("description", "")),
        )
        for field, found in schema.get("properties", {}).items()
    ]
    rest = "" if rows else f"<p>{_type(schema)}</p>"
    title = f'<section id="{_anchor(name)}"><h3>{_text(name)}</h3>'
    return f"{title}{_prose(schema.get('description', ''))}{_table('', rows)}{rest}</section>"


def _type(schema: Node) -> str:
    """Return what a schema says in a few words, with links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{_anchor(name)}">{_text(name)}</a>'
    for word in ("oneOf", "anyOf"):
        if word in schema and "properties" not in schema:
            return " or ".join(_type(each) for each in schema[word])
    if "const" in schema:
        return f"<code>{_text(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return ", ".join(f"<code>{_text(json.dumps(each))}</code>" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kinds = schema.get("type", "anything")
    said = " or ".join(kinds) if isinstance(kinds, list) else kinds
    return _text(f"{said} {_bounds(schema)}".strip())


def _bounds(schema: Node) -> str:
    found = [schema["format"]] if "format" in schema else []
    found += [f"from {schema['minimum']}"] if "minimum" in schema else []
    found += [f"to {schema['maximum']}"] if "maximum" in schema else []
    found += [f"default {json.dumps(schema['default'])}"] if schema.get("default") is not None else []
    return f"({', '.join(found)})" if found else ""


def _table(title: str, rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return f"{f'<h4>{title}</h4>' if title else ''}<table>{''.join(lines)}</table>" if lines else ""


def _prose(text: str) -> str:
    """Return paragraphs and lists; what stands between backticks is code."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        if all(line.startswith("- ") for line in lines):
            found.append(f"<ul>{''.join(f'<li>{_inline(line[2:])}</li>' for line in lines)}</ul>")
        elif block:
            found.append(f"<p>{_inline(' '.join(lines))}</p>")
    return "".join(found)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", _text(text))


def _anchor(name: str) -> str:
    return "schema-" + re.sub(r"[^A-Za-z0-9.]", "-", name)


def _text(text: str) -> str:
    return escape(str(text))
