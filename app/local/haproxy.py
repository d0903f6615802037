"""Starts HAProxy in place of its binary, as Serve on this machine needs it.

Serve runs ``python -I app/local/haproxy.py RULES BINARY -f CONFIGURATION …``
(:mod:`app.local.proxy` sees to that) each time it has written the configuration. This changes it
for a single machine and the rules of this service (:mod:`app.local.proxy_rules`), and becomes the
binary, as the process that Serve has started and watches.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1

# A section goes on until another one's name begins a line.
_REST_OF_SECTION = r"\n(?:(?:[ \t#].*)?\n)*"
_STATISTICS_PAGE = re.compile(rf"^listen stats{_REST_OF_SECTION}", re.MULTILINE)
_METRICS_EVERYWHERE = re.compile(r"(?<=^frontend prometheus\n)( *bind) :", re.MULTILINE)
_ERRORFILE = re.compile(r"^[ \t]*errorfile .*\n", re.MULTILINE)
_TIMEOUT = re.compile(r"timeout [\w-]+ ")
_NOWHERE = re.compile(r"(?<=^backend default_backend\n) *http-request return .*\n", re.MULTILINE)
_DEFAULTS = re.compile(r"^defaults\n", re.MULTILINE)
_FRONTEND = re.compile(r"^frontend http_frontend\n.*\n", re.MULTILINE)
_ROUTE = re.compile(r"^ *use_backend (?P<backend>\S+) if (?P<asked>\S+)\n", re.MULTILINE)
_LOCAL_SERVER = re.compile(r"^( *server \S+ )127\.0\.0\.1:", re.MULTILINE)
_SERVER = re.compile(r"^ *server (?P<name>\S+) (?P<address>\S+) .*?(?P<backup> backup)?$", re.M)


def adapt(configuration: str, rules: Mapping[str, Any]) -> str:
    """The configuration as this machine and these rules want it.

    Args:
        configuration: As Serve writes it.
        rules: The fields of ``app.local.proxy_rules.Rules``, and ``host``, the service's address.
    """
    # It shows what the metrics show, on every network, and always on the same port, so that a
    # second service on the machine would not start.
    text = _STATISTICS_PAGE.sub("", configuration)
    text = _METRICS_EVERYWHERE.sub(rf"\1 {rules['host']}:", text)
    if ":" in rules["host"]:
        # Serve writes 127.0.0.1, but the replicas listen on the service's own IPv6 address.
        text = _LOCAL_SERVER.sub(rf"\1{rules['host']}:", text)
    text = _ERRORFILE.sub("", text)
    for name in filter(None, map(_TIMEOUT.match, rules["defaults"])):
        text = re.sub(rf"^[ \t]*{name[0]}.*\n", "", text, flags=re.MULTILINE)
    text = _DEFAULTS.sub(lambda found: found[0] + _lines(rules["defaults"]), text)
    text = _FRONTEND.sub(lambda found: found[0] + _lines(rules["frontend"]), text)
    text = _NOWHERE.sub(lambda _: _lines([rules["nowhere"]]), text)
    for route in list(_ROUTE.finditer(text)):
        text = _bound(text, route, rules)
    return text


def _lines(lines: list[str]) -> str:
    return "".join(f"    {line}\n" for line in lines)


def _bound(text: str, route: re.Match[str], rules: Mapping[str, Any]) -> str:
    """Bound what goes to the replicas of a backend.

    Queries and probes get backends of their own with the same replicas, so that each kind is
    counted, and only the first backend looks after the replicas' health.
    """
    name, asked = route["backend"], route["asked"]
    found = re.search(rf"^backend {re.escape(name)}{_REST_OF_SECTION}", text, re.MULTILINE)
    if found is None:
        return text
    section = found[0]
    replicas = sum(server["backup"] is None for server in _SERVER.finditer(section)) or 1
    query, probe = f"{{ path {rules['query']} }}", f"{{ path_beg {rules['probes']} }}"
    drive = f"{{ path {rules['drives']} }}"
    queries, probes = f"{name}-queries", f"{name}-probes"
    full = f"{{ be_conn({queries}) ge {replicas * rules['queries']} }}"
    crowded = f"{{ be_conn({name}) ge {replicas * rules['others']} }}"
    routing = [
        f"{rules['refusal']} if {asked} {query} {full}",
        f"{rules['refusal']} if {asked} !{query} !{probe} !{drive} {crowded}",
        f"use_backend {queries} if {asked} {query}",
        f"use_backend {probes} if {asked} {probe}",
    ]
    followers = "".join(_follower(section, name, other) for other in (queries, probes))
    text = text.replace(section, section + followers)
    return text.replace(route[0], _lines(routing) + route[0])


def _follower(section: str, name: str, other: str) -> str:
    """A backend's section under another name, whose replicas are as ready as the backend's."""
    tracking = rf"    server \g<name> \g<address> no-check track {name}/\g<name>"
    followed = _SERVER.sub(lambda found: found.expand(tracking) + (found["backup"] or ""), section)
    return followed.replace(f"backend {name}\n", f"backend {other}\n", 1)


def main(rules: str, binary: str, *arguments: str) -> None:
    """Become HAProxy; what goes wrong ends the process, and Serve tells it."""
    # It would outlive a Serve that is killed, and keep the port.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Serve does not write it again before this process answers, or has ended.
    path = Path(arguments[arguments.index("-f") + 1])
    path.write_text(adapt(path.read_text(), json.loads(Path(rules).read_text())))
    os.execv(binary, [binary, *arguments])  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
