"""deploy/nginx.conf as it stands, in front of the app: certificate and ports are those of the test."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..conftest import run
from ..promises.generated import PROJECT
from ..promises.servers import HOST, free_port, wait_for
from ..security.process import App, Start

SITE = "www.example.com"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or "nginx"


@dataclass
class Proxy:
    """A private nginx, and the app behind it."""

    app: App
    http: int
    https: int

    def get(self, path: str, **headers: str) -> http.client.HTTPResponse:
        context = ssl._create_unverified_context()  # the certificate is the test's own
        connection = http.client.HTTPSConnection(HOST, self.https, timeout=10, context=context)
        return _ask(connection, path, headers)

    def get_unencrypted(self, path: str) -> http.client.HTTPResponse:
        return _ask(http.client.HTTPConnection(HOST, self.http, timeout=10), path, {})


def _ask(
    connection: http.client.HTTPConnection, path: str, headers: dict[str, str]
) -> http.client.HTTPResponse:
    connection.request("GET", path, headers={"Host": SITE, **headers})
    answer = connection.getresponse()
    answer.text = answer.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return answer


@pytest.fixture
def proxy(start: Start, tmp_path: Path) -> Iterator[Proxy]:
    app = start(BASE_URL=f"https://{SITE}", TRUSTED_PROXIES=HOST)
    port, tls_port = free_port(), free_port()
    site = _site(tmp_path, {80: port, 443: tls_port, 8888: app.port, 8889: free_port()})
    main = tmp_path / "main.conf"
    main.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
        "http { access_log off;\n"
        + "".join(
            f"{kind}_temp_path {tmp_path}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"include {site}; }}\n"
    )
    checked = run(NGINX, "-t", "-c", main, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr
    nginx = subprocess.Popen([NGINX, "-c", main], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _listens(tls_port), "nginx")
        yield Proxy(app, port, tls_port)
    finally:
        nginx.terminate()
        nginx.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _site(folder: Path, ports: dict[int, int]) -> Path:
    """Copy the project's file, with other ports and a certificate that is made here."""
    certificate, key = folder / "site.pem", folder / "site.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", f"/CN={SITE}", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    text = (PROJECT / "deploy/nginx.conf").read_text()
    text = text.replace(f"/etc/ssl/certs/{SITE}.pem", str(certificate))
    text = text.replace(f"/etc/ssl/private/{SITE}.key", str(key))
    text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.MULTILINE)
    for old, new in ports.items():
        text = re.sub(rf"(listen |127\.0\.0\.1:){old}\b", rf"\g<1>{new}", text)
    path = folder / "site.conf"
    path.write_text(text)
    return path


def test_a_page_comes_through_nginx_and_its_cookie_is_secure(proxy: Proxy) -> None:
    moved = proxy.get_unencrypted("/login?next=/account")
    assert (moved.status, moved.headers["Location"]) == (308, f"https://{SITE}/login?next=/account")
    for _ in range(4):  # one of the two instances is not there
        page = proxy.get("/login")
        assert page.status == 200
        assert page.headers["Strict-Transport-Security"]


def test_the_app_sees_the_visitors_address_and_the_request_id_of_nginx(proxy: Proxy) -> None:
    page = proxy.get("/no-such-page", **{"X-Forwarded-For": "192.0.2.7", "X-Request-ID": "planted"})
    assert page.status == 404
    wait_for(lambda: page.headers["X-Request-ID"] in proxy.app.log, "the line in the log")
    assert "192.0.2.7" not in proxy.app.log
    assert "planted" not in proxy.app.log


def test_readiness_is_not_for_the_world(proxy: Proxy) -> None:
    assert proxy.get("/readyz").status == 404
    assert proxy.get("/healthz").status == 200
