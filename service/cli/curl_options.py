"""curl's options: which of them take a value, and which make a body.

https://curl.se/docs/manpage.html (checked 2026-11)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from service.cli.shell_words import EXPANDED, UnreadableError

URL = "--url"
BODIES_FROM_FILES = frozenset({"-d", "--data", "--data-ascii", "--data-binary", "--json"})
BODIES = BODIES_FROM_FILES | {"--data-raw"}
OTHER_BODIES = frozenset({"-F", "--form", "--form-string", "-T", "--upload-file", "--data-urlencode", "-G", "--get"})
CONFIGS = frozenset({"-K", "--config"})
NEXT = frozenset({"-:", "--next"})

_OTHERS_WITH_VALUE = frozenset(
    """
    -A -C -D -E -H -P -Q -U -X -Y -b -c -e -m -o -r -t -u -w -x -y -z --abstract-unix-socket --alt-svc --aws-sigv4
    --cacert --capath --cert --cert-type --ciphers --connect-timeout --connect-to --continue-at --cookie --cookie-jar
    --create-file-mode --crlfile --curves --delegation --dns-interface --dns-ipv4-addr --dns-ipv6-addr --dns-servers
    --doh-url --dump-header --ech --egd-file --engine --etag-compare --etag-save --expect100-timeout --ftp-account
    --ftp-alternative-to-user --ftp-method --ftp-port --ftp-ssl-ccc-mode --happy-eyeballs-timeout-ms --haproxy-clientip
    --header --hostpubmd5 --hostpubsha256 --hsts --interface --ip-tos --ipfs-gateway --keepalive-cnt --keepalive-time
    --key --key-type --knownhosts --krb --libcurl --limit-rate --local-port --login-options --mail-auth --mail-from
    --mail-rcpt --max-filesize --max-redirs --max-time --netrc-file --noproxy --oauth2-bearer --output --output-dir
    --parallel-max --parallel-max-host --pass --pinnedpubkey --preproxy --proto --proto-default --proto-redir --proxy
    --proxy-cacert --proxy-capath --proxy-cert --proxy-cert-type --proxy-ciphers --proxy-crlfile --proxy-header
    --proxy-key --proxy-key-type --proxy-pass --proxy-pinnedpubkey --proxy-service-name --proxy-tls13-ciphers
    --proxy-tlsauthtype --proxy-tlspassword --proxy-tlsuser --proxy-user --proxy1.0 --pubkey --quote --random-file
    --range --rate --referer --request --request-target --resolve --retry --retry-delay --retry-max-time --sasl-authzid
    --service-name --sigalgs --socks4 --socks4a --socks5 --socks5-gssapi-service --socks5-hostname --speed-limit
    --speed-time --ssl-sessions --stderr --telnet-option --tftp-blksize --time-cond --tls-max --tls13-ciphers
    --tlsauthtype --tlspassword --tlsuser --trace --trace-ascii --trace-config --unix-socket --upload-flags --url
    --url-query --user --user-agent --variable --vlan-priority --write-out
    """.split()  # noqa: SIM905 - a table
)
_WITH_VALUE = BODIES | OTHER_BODIES - {"-G", "--get"} | CONFIGS | _OTHERS_WITH_VALUE
NO_ARGUMENT = (
    "has a variable, a command or unquoted braces in place of an option or the URL, which only a shell can read; "
    "write it out"
)


def read_options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield every option with its value, "" without one; a URL without an option is `URL`'s. Raises UnreadableError."""
    left = iter(words)
    for word in left:
        if word == "--":
            yield from ((URL, url) for url in left)
        elif word.startswith("--"):
            _check_name(word)
            yield word, next(left, "") if word in _WITH_VALUE else ""
        elif word.startswith("-") and len(word) > 1:
            yield from _short(word, left)
        else:
            yield URL, word


def _check_name(word: str) -> None:
    name, equals, _ = word.partition("=")
    if equals and name in _WITH_VALUE:
        raise UnreadableError(f"gives {name}=…, which curl does not take; write {name} and its value as two words")
    if EXPANDED in name:
        raise UnreadableError(NO_ARGUMENT)


def _short(word: str, left: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Read short options, which can be run together: `-sXPOST`, `-d@body.json`."""
    for at in range(1, len(word)):
        name = f"-{word[at]}"
        if word[at] == EXPANDED:
            raise UnreadableError(NO_ARGUMENT)
        if name in _WITH_VALUE:
            yield name, word[at + 1 :] or next(left, "")
            return
        yield name, ""
